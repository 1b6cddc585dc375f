//! Who may connect: so many in all, so many from one address, and room that is kept for edges.
//!
//! A connection is admitted before anything of it is read. What is known then is its address, so that is what decides: one
//! address cannot take all the room there is, and the last of it is for addresses that an edge has proved itself from.

use std::{collections::HashMap, sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::{peer::Network, telemetry::Refusal};

/// Addresses that edges are known by at a time.
const EDGES: usize = 1024;
/// How long an address is known for one of an edge's after the edge last proved itself from it.
const REMEMBERED: Duration = Duration::from_secs(3600);
/// Of so many places, one is kept for edges.
const RESERVE: usize = 16;

/// The places of a listener.
pub(super) struct Places {
    all: usize,
    /// From one address; `None` where there is no limit but that on all.
    each: Option<usize>,
    taken: Mutex<Taken>,
}

#[derive(Default)]
struct Taken {
    all: usize,
    by: HashMap<Network, usize>,
    edges: HashMap<Network, Instant>,
}

/// A place that is taken. It is free again when this is dropped.
pub(super) struct Place {
    places: Arc<Places>,
    network: Network,
}

impl Places {
    pub(super) fn new(all: usize, each: Option<usize>) -> Arc<Self> {
        Arc::new(Self { all, each, taken: Mutex::default() })
    }

    /// A place for a connection from this address.
    ///
    /// # Errors
    ///
    /// Why there is none.
    pub(super) fn take(self: &Arc<Self>, network: Network, now: Instant) -> Result<Place, Refusal> {
        let taken = &mut *self.taken.lock();
        let of_edge = taken.edges.get(&network).is_some_and(|until| now < *until);
        let room = if of_edge { self.all } else { self.all - self.all / RESERVE };
        if taken.all >= room {
            return Err(Refusal::Full);
        }
        let mine = taken.by.entry(network).or_default();
        if !of_edge && self.each.is_some_and(|each| *mine >= each) {
            return Err(Refusal::Address);
        }
        *mine += 1;
        taken.all += 1;
        Ok(Place { places: Arc::clone(self), network })
    }
}

impl Place {
    /// Remembers that an edge has proved itself from this connection's address.
    pub(super) fn is_of_an_edge(&self, now: Instant) {
        let edges = &mut self.places.taken.lock().edges;
        if edges.len() >= EDGES && !edges.contains_key(&self.network) {
            edges.retain(|_, until| now < *until);
            let oldest = edges.iter().min_by_key(|(_, until)| **until).map(|(network, _)| *network);
            if let Some(oldest) = oldest.filter(|_| edges.len() >= EDGES) {
                edges.remove(&oldest);
            }
        }
        edges.insert(self.network, now + REMEMBERED);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let taken = &mut *self.places.taken.lock();
        taken.all -= 1;
        if let Some(mine) = taken.by.get_mut(&self.network) {
            *mine -= 1;
            if *mine == 0 {
                taken.by.remove(&self.network);
            }
        }
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

    #[test]
    fn one_address_cannot_take_every_place() {
        let (places, now) = (Places::new(100, Some(10)), Instant::now());
        let mut held: Vec<_> = (0..10).map(|_| places.take(network(1), now).unwrap()).collect();
        assert_eq!(places.take(network(1), now).err(), Some(Refusal::Address));
        held.push(places.take(network(2), now).unwrap());
        held.remove(0);
        held.push(places.take(network(1), now).unwrap());
        drop(held);
        assert!(places.taken.lock().by.is_empty() && places.taken.lock().all == 0);
    }

    #[test]
    fn the_last_places_are_for_edges_that_have_proved_themselves() {
        let (places, now) = (Places::new(32, None), Instant::now());
        let edge = places.take(network(0), now).unwrap();
        edge.is_of_an_edge(now);
        let mut held: Vec<_> = (1..30).map(|number| places.take(network(number), now).unwrap()).collect();
        assert_eq!(places.take(network(31), now).err(), Some(Refusal::Full));
        held.extend((0..2).map(|_| places.take(network(0), now).unwrap()));
        assert_eq!(places.take(network(0), now).err(), Some(Refusal::Full), "what is all is all");
        drop(held.pop());
        assert_eq!(places.take(network(0), now + REMEMBERED).err(), Some(Refusal::Full), "it is long ago");
        assert!(places.take(network(0), now + REMEMBERED / 2).is_ok());
    }

    #[test]
    fn an_edge_has_no_limit_but_that_on_all() {
        let (places, now) = (Places::new(100, Some(2)), Instant::now());
        let first = places.take(network(0), now).unwrap();
        first.is_of_an_edge(now);
        let held: Vec<_> = (0..50).map(|_| places.take(network(0), now).unwrap()).collect();
        assert_eq!(held.len(), 50);
    }

    #[test]
    fn addresses_of_edges_are_remembered_up_to_a_number() {
        let (places, now) = (Places::new(10_000, None), Instant::now());
        for number in 0..2000_u16 {
            places.take(network(number), now).unwrap().is_of_an_edge(now + Duration::from_millis(number.into()));
        }
        let taken = places.taken.lock();
        assert_eq!(taken.edges.len(), EDGES);
        assert!(taken.edges.contains_key(&network(1999)) && !taken.edges.contains_key(&network(0)));
    }
}
