//! Admission: how many things of a kind may be open at a time, in all and from one network.
//!
//! A [`Pool`] has so many places. A [`Permit`] is one of them, taken until it is dropped. Connections, handshakes, bodies under
//! way, sessions and requests under way each have a pool of their own, and one rule holds for all of them:
//!
//! * A network ([`Network`]: an IPv4 address or an IPv6 /64) has a share, so that no single one can take every place.
//! * The last places are kept for networks that have proved themselves ([`ProvenNetworks`]): with a valid frame or a valid
//!   credential ([`Trust::Client`]), or with the secret of a registered edge ([`Trust::Edge`]). Many networks together cannot
//!   shut those out. Edges have no share: they speak for everybody.
//!
//! To admit costs one short lock. Whether a network has proved itself is looked up only where the places run short.

use std::{
    collections::HashMap,
    hash::Hash,
    marker::PhantomData,
    sync::{Arc, OnceLock},
    time::Duration,
};

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::web::peer::Network;

/// One in so many places is kept for networks that have proved themselves, in whatever way.
const RESERVE: usize = 8;
/// One in so many places is kept for edges.
const EDGE_RESERVE: usize = 16;
/// Networks of edges that are remembered.
const EDGES: usize = 1024;
/// Networks of clients and senders that are remembered.
const CLIENTS: usize = 16 * 1024;
/// How long it is remembered that a network has proved itself.
const REMEMBERED: Duration = Duration::from_secs(3600);
/// The smallest share that is worked out for a network.
const LEAST_SHARE: usize = 64;

/// How many places there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capacity {
    /// In all.
    pub total: usize,
    /// For one network; `None` where only the total limits it.
    pub per_network: Option<usize>,
}

impl Capacity {
    /// The share of a network where none is configured: a quarter of `total`, and at least 64.
    pub const fn quarter(total: usize) -> usize {
        if total / 4 > LEAST_SHARE { total / 4 } else { LEAST_SHARE }
    }
}

/// Why there is no place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// All places are taken, but for those that are kept for others.
    Full,
    /// This network has its share already.
    Network,
}

/// By what a network has proved itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trust {
    /// A valid frame, account key, identity token or webhook came from it.
    Client,
    /// A registered edge has shown its secret from it.
    Edge,
}

/// The networks that have proved themselves within the last hour. Of clients 16,384 are remembered, of edges 1,024.
#[derive(Default)]
pub struct ProvenNetworks {
    clients: Mutex<HashMap<Network, Instant>>,
    edges: Mutex<HashMap<Network, Instant>>,
}

impl ProvenNetworks {
    /// Remembers that a network has proved itself at `now`.
    pub fn prove(&self, network: Network, trust: Trust, now: Instant) {
        let until = now + REMEMBERED;
        match trust {
            Trust::Client => {
                let clients = &mut *self.clients.lock();
                if clients.len() >= CLIENTS && !clients.contains_key(&network) {
                    // Whichever comes first: to look for the oldest would cost more than it is worth.
                    let any = clients.keys().next().copied();
                    any.map(|any| clients.remove(&any));
                }
                clients.insert(network, until);
            }
            Trust::Edge => {
                let edges = &mut *self.edges.lock();
                if edges.len() >= EDGES && !edges.contains_key(&network) {
                    let oldest = edges.iter().min_by_key(|(_, until)| **until).map(|(network, _)| *network);
                    oldest.map(|oldest| edges.remove(&oldest));
                }
                edges.insert(network, until);
            }
        }
    }

    /// By what a network has proved itself, the strongest first.
    pub fn trust(&self, network: &Network, now: Instant) -> Option<Trust> {
        let known = |of: &Mutex<HashMap<Network, Instant>>| of.lock().get(network).is_some_and(|until| now < *until);
        if known(&self.edges) { Some(Trust::Edge) } else { known(&self.clients).then_some(Trust::Client) }
    }
}

/// The places of one kind `K`.
pub struct Pool<K> {
    capacity: Capacity,
    taken: Mutex<Taken>,
    proven: Arc<ProvenNetworks>,
    kind: PhantomData<fn() -> K>,
}

#[derive(Default)]
struct Taken {
    all: usize,
    by: HashMap<Network, usize>,
}

/// A place that is taken. It is free again when this is dropped.
pub struct Permit<K> {
    pool: Arc<Pool<K>>,
    network: OnceLock<Network>,
}

macro_rules! kinds {
    ($( $(#[$doc:meta])* $kind:ident, $permit:ident; )+) => {
        $(
            $(#[$doc])*
            #[derive(Clone, Copy, Debug)]
            pub enum $kind {}

            /// Permits one of the
            #[doc = concat!("[`", stringify!($kind), "`].")]
            pub type $permit = Permit<$kind>;
        )+
    };
}

kinds! {
    /// Connections of a listener.
    Connections, ConnectionPermit;
    /// Handshakes of TLS or QUIC that are under way.
    Handshakes, HandshakePermit;
    /// Bodies that have begun and are waited for.
    Bodies, BodyPermit;
    /// Sessions of WebTransport.
    Sessions, SessionPermit;
    /// Requests that have come in whole and are being answered.
    Requests, RequestPermit;
}

impl<K> Pool<K> {
    /// A pool of so many places. The last ones are for networks that `proven` knows.
    pub fn new(capacity: Capacity, proven: Arc<ProvenNetworks>) -> Arc<Self> {
        Arc::new(Self { capacity, taken: Mutex::default(), proven, kind: PhantomData })
    }

    /// A place for this network.
    ///
    /// # Errors
    ///
    /// [`Refused`]: why there is none.
    pub fn admit(self: &Arc<Self>, network: Network, now: Instant) -> Result<Permit<K>, Refused> {
        let taken = &mut *self.taken.lock();
        let mine = taken.by.get(&network).copied().unwrap_or(0);
        self.check(taken.all, mine, &network, now)?;
        taken.all += 1;
        taken.by.insert(network, mine + 1);
        Ok(Permit { pool: Arc::clone(self), network: network.into() })
    }

    /// A place for somebody whose address may be made up: it counts in all, and for no network until
    /// [`Permit::attribute`]. Otherwise whoever sends in the name of a network could use up that network's share.
    ///
    /// # Errors
    ///
    /// [`Refused`]: there is none, or this network could not have one.
    pub fn admit_unattributed(self: &Arc<Self>, network: Network, now: Instant) -> Result<Permit<K>, Refused> {
        let taken = &mut *self.taken.lock();
        let mine = taken.by.get(&network).copied().unwrap_or(0);
        self.check(taken.all, mine, &network, now)?;
        taken.all += 1;
        Ok(Permit { pool: Arc::clone(self), network: OnceLock::new() })
    }

    fn check(&self, all: usize, mine: usize, network: &Network, now: Instant) -> Result<(), Refused> {
        let Capacity { total, per_network } = self.capacity;
        let share = per_network.unwrap_or(usize::MAX);
        if all < total - total / RESERVE && mine < share {
            return Ok(());
        }
        let (room, share) = match self.proven.trust(network, now) {
            None => (total - total / RESERVE, share),
            Some(Trust::Client) => (total - total / EDGE_RESERVE, share),
            Some(Trust::Edge) => (total, usize::MAX),
        };
        if all >= room {
            Err(Refused::Full)
        } else if mine >= share {
            Err(Refused::Network)
        } else {
            Ok(())
        }
    }

    /// How many places are taken.
    pub fn taken(&self) -> usize {
        self.taken.lock().all
    }

    /// How many places there are.
    pub const fn total(&self) -> usize {
        self.capacity.total
    }
}

impl<K> Permit<K> {
    /// Counts an unattributed permit for the network that has turned out to be the peer's.
    ///
    /// # Errors
    ///
    /// [`Refused::Network`] when the network has its share already; the permit is to be given back.
    pub fn attribute(&self, network: Network, now: Instant) -> Result<(), Refused> {
        let taken = &mut *self.pool.taken.lock();
        let mine = taken.by.get(&network).copied().unwrap_or(0);
        let share = self.pool.capacity.per_network.unwrap_or(usize::MAX);
        if mine >= share && self.pool.proven.trust(&network, now) != Some(Trust::Edge) {
            return Err(Refused::Network);
        }
        if self.network.set(network).is_ok() {
            taken.by.insert(network, mine + 1);
        }
        Ok(())
    }

    /// Remembers that the network of this permit has proved itself.
    pub fn prove(&self, trust: Trust, now: Instant) {
        if let Some(network) = self.network.get() {
            self.pool.proven.prove(*network, trust, now);
        }
    }
}

impl<K> Drop for Permit<K> {
    fn drop(&mut self) {
        let taken = &mut *self.pool.taken.lock();
        taken.all -= 1;
        if let Some(network) = self.network.get() {
            release(&mut taken.by, network);
        }
    }
}

fn release<N: Hash + Eq>(by: &mut HashMap<N, usize>, network: &N) {
    if let Some(mine) = by.get_mut(network) {
        *mine -= 1;
        if *mine == 0 {
            by.remove(network);
        }
    }
}

/// What the listeners and the surfaces behind them share: who has proved themselves, and the bodies under way.
pub struct Admission {
    /// The networks that have proved themselves.
    pub proven: Arc<ProvenNetworks>,
    /// Bodies that have begun and are waited for, whatever they are for.
    pub bodies: Arc<Pool<Bodies>>,
}

impl Admission {
    /// Room for so many bodies; nobody has proved anything yet.
    pub fn new(bodies: Capacity) -> Arc<Self> {
        let proven = Arc::<ProvenNetworks>::default();
        Arc::new(Self { bodies: Pool::new(bodies, Arc::clone(&proven)), proven })
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "an instant can only be had from the clock")]
mod tests {
    use super::*;

    fn network(number: u16) -> Network {
        let [high, low] = number.to_be_bytes();
        Network::V4([192, 0, high, low])
    }

    fn pool(total: usize, per_network: Option<usize>) -> Arc<Pool<Connections>> {
        Pool::new(Capacity { total, per_network }, Arc::default())
    }

    #[test]
    fn one_network_cannot_take_every_place_of_any_kind() {
        fn holds<K>() {
            let proven = Arc::<ProvenNetworks>::default();
            let capacity = Capacity { total: 1000, per_network: Some(Capacity::quarter(1000)) };
            let (pool, now) = (Pool::<K>::new(capacity, Arc::clone(&proven)), Instant::now());
            // Even one that has proved itself as a client.
            proven.prove(network(1), Trust::Client, now);
            let held: Vec<_> = std::iter::from_fn(|| pool.admit(network(1), now).ok()).take(2000).collect();
            assert_eq!(held.len(), 250);
            assert_eq!(pool.admit(network(1), now).err(), Some(Refused::Network));
            assert!(pool.admit(network(2), now).is_ok());
        }
        holds::<Connections>();
        holds::<Handshakes>();
        holds::<Bodies>();
        holds::<Sessions>();
        holds::<Requests>();
    }

    #[test]
    fn what_is_dropped_makes_room_and_leaves_nothing_behind() {
        let (pool, now) = (pool(10, Some(2)), Instant::now());
        let first = pool.admit(network(1), now).unwrap();
        let second = pool.admit(network(1), now).unwrap();
        let spoofed = pool.admit_unattributed(network(2), now).unwrap();
        assert_eq!(pool.admit(network(1), now).err(), Some(Refused::Network));
        assert_eq!(pool.taken(), 3);
        drop(first);
        let third = pool.admit(network(1), now).unwrap();
        drop((second, third, spoofed));
        let taken = pool.taken.lock();
        assert!(taken.all == 0 && taken.by.is_empty());
    }

    #[test]
    fn the_last_places_are_for_networks_that_have_proved_themselves() {
        let (pool, now) = (pool(32, None), Instant::now());
        pool.proven.prove(network(1000), Trust::Client, now);
        pool.proven.prove(network(2000), Trust::Edge, now);
        let full = |number, now| pool.admit(network(number), now).err() == Some(Refused::Full);
        let _strangers: Vec<_> = (0..28).map(|number| pool.admit(network(number), now).unwrap()).collect();
        assert!(full(28, now), "the rest is for others");
        let _clients: Vec<_> = (0..2).map(|_| pool.admit(network(1000), now).unwrap()).collect();
        assert!(full(1000, now), "the last is for edges");
        assert!(full(2000, now + REMEMBERED), "it is long ago");
        let edges: Vec<_> = (0..2).map(|_| pool.admit(network(2000), now + REMEMBERED / 2).unwrap()).collect();
        assert!(full(2000, now), "the total is the total");
        drop(edges);
        assert!(pool.admit(network(2000), now).is_ok());
    }

    #[test]
    fn an_edge_has_no_share() {
        let (pool, now) = (pool(100, Some(2)), Instant::now());
        let first = pool.admit(network(0), now).unwrap();
        first.prove(Trust::Edge, now);
        let held: Vec<_> = (0..50).map(|_| pool.admit(network(0), now).unwrap()).collect();
        assert_eq!(held.len(), 50);
    }

    #[test]
    fn whoever_sends_in_the_name_of_a_network_does_not_use_up_its_share() {
        let (pool, now) = (pool(100, Some(2)), Instant::now());
        let spoofed: Vec<_> = (0..50).map(|_| pool.admit_unattributed(network(1), now).unwrap()).collect();
        let held: Vec<_> = (0..2).map(|_| pool.admit(network(1), now).unwrap()).collect();
        assert_eq!(spoofed[0].attribute(network(1), now).err(), Some(Refused::Network));
        assert_eq!(pool.admit_unattributed(network(1), now).err(), Some(Refused::Network));
        drop(held);
        assert!(spoofed[0].attribute(network(1), now).is_ok() && spoofed[0].attribute(network(1), now).is_ok());
        assert_eq!(pool.taken.lock().by.get(&network(1)), Some(&1), "it is counted once");
        drop(spoofed);
        assert!(pool.taken.lock().by.is_empty());
    }

    #[test]
    fn proven_networks_are_remembered_up_to_a_number() {
        let (proven, now) = (ProvenNetworks::default(), Instant::now());
        for number in 0..2000 {
            proven.prove(network(number), Trust::Edge, now + Duration::from_millis(number.into()));
        }
        for number in 0..60_000 {
            proven.prove(network(number), Trust::Client, now);
        }
        assert_eq!(proven.edges.lock().len(), EDGES);
        assert_eq!(proven.clients.lock().len(), CLIENTS);
        assert_eq!(proven.trust(&network(1999), now), Some(Trust::Edge));
        assert_ne!(proven.trust(&network(0), now), Some(Trust::Edge), "the oldest goes first");
    }
}
