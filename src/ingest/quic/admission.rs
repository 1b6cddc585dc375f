//! Who is let in: limits on connections in all, from one address, and on handshakes under way.

use std::{collections::HashMap, sync::Arc};

use parking_lot::Mutex;

use crate::peer::Network;

/// What a listener has room for.
#[derive(Clone, Copy, Debug)]
pub struct Room {
    /// Connections at a time.
    pub connections: usize,
    /// Connections at a time from one address; an IPv6 /64 is one.
    pub from_one_address: usize,
    /// Handshakes under way at a time.
    pub handshakes: usize,
}

/// Keeps the count of who is inside.
pub(super) struct Door {
    room: Room,
    inside: Mutex<Inside>,
}

#[derive(Default)]
struct Inside {
    connections: usize,
    handshakes: usize,
    from: HashMap<Network, usize>,
}

/// Why somebody is not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turned {
    /// It is to prove its address first.
    Prove,
    /// There are too many connections.
    Full,
    /// There are too many from this address.
    Address,
    /// There are too many handshakes under way.
    Handshakes,
}

impl Door {
    pub(super) fn new(room: Room) -> Arc<Self> {
        Arc::new(Self { room, inside: Mutex::default() })
    }

    /// Lets a connection in that begins its handshake. `proven`: its address is not made up.
    ///
    /// Under load, and where an address has used up what it has, others may be speaking in its name: it is to prove itself
    /// before it is counted or refused. Proving costs no memory here.
    pub(super) fn enter(self: &Arc<Self>, from: Network, proven: bool) -> Result<(Guest, Greeting), Turned> {
        let inside = &mut *self.inside.lock();
        let of_address = inside.from.get(&from).copied().unwrap_or(0);
        let full = if inside.connections >= self.room.connections {
            Some(Turned::Full)
        } else if of_address >= self.room.from_one_address {
            Some(Turned::Address)
        } else if inside.handshakes >= self.room.handshakes {
            Some(Turned::Handshakes)
        } else {
            None
        };
        let busy = inside.handshakes >= self.room.handshakes.div_ceil(4);
        match full {
            Some(why) if proven => return Err(why),
            None if proven || !busy => {}
            _ => return Err(Turned::Prove),
        }
        inside.connections += 1;
        inside.handshakes += 1;
        inside.from.insert(from, of_address + 1);
        Ok((Guest { door: Arc::clone(self), from }, Greeting(Arc::clone(self))))
    }

    /// Handshakes under way.
    pub(super) fn handshakes(&self) -> usize {
        self.inside.lock().handshakes
    }
}

/// A connection that was let in; it leaves when this is dropped.
pub(super) struct Guest {
    door: Arc<Door>,
    from: Network,
}

/// Its handshake, which is over when this is dropped.
pub(super) struct Greeting(Arc<Door>);

impl Drop for Greeting {
    fn drop(&mut self) {
        self.0.inside.lock().handshakes -= 1;
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        let inside = &mut *self.door.inside.lock();
        inside.connections -= 1;
        if let Some(of_address) = inside.from.get_mut(&self.from) {
            *of_address -= 1;
            if *of_address == 0 {
                inside.from.remove(&self.from);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ADA: Network = Network::V4([192, 0, 2, 1]);
    const BOB: Network = Network::V4([192, 0, 2, 2]);

    fn door(connections: usize, from_one_address: usize, handshakes: usize) -> Arc<Door> {
        Door::new(Room { connections, from_one_address, handshakes })
    }

    fn turned(entered: Result<(Guest, Greeting), Turned>) -> Option<Turned> {
        entered.err()
    }

    #[test]
    fn who_leaves_makes_room_and_leaves_nothing_behind() {
        let door = door(2, 2, 2);
        let (first, greeting) = door.enter(ADA, true).ok().unwrap();
        drop(greeting);
        let second = door.enter(BOB, true).ok().unwrap();
        assert_eq!(turned(door.enter(BOB, true)), Some(Turned::Full));
        assert_eq!(door.handshakes(), 1);
        drop((first, second));
        let inside = door.inside.lock();
        assert_eq!((inside.connections, inside.handshakes, inside.from.len()), (0, 0, 0));
    }

    #[test]
    fn one_address_does_not_take_the_room_of_others() {
        let door = door(10, 1, 10);
        let guest = door.enter(ADA, true).ok().unwrap();
        assert_eq!(turned(door.enter(ADA, true)), Some(Turned::Address));
        assert!(door.enter(BOB, true).is_ok());
        drop(guest);
        assert!(door.enter(ADA, true).is_ok());
    }

    #[test]
    fn many_handshakes_under_way_make_everybody_prove_their_address() {
        let door = door(100, 100, 8);
        let mut inside: Vec<(Guest, Greeting)> = (0..2).map(|_| door.enter(ADA, false).ok().unwrap()).collect();
        assert_eq!(turned(door.enter(ADA, false)), Some(Turned::Prove));
        inside.extend((2..8).map(|_| door.enter(ADA, true).ok().unwrap()));
        assert_eq!(turned(door.enter(BOB, true)), Some(Turned::Handshakes));
        let _inside: Vec<Guest> = inside.into_iter().map(|(guest, _)| guest).collect();
        assert!(door.enter(BOB, false).is_ok());
    }

    #[test]
    fn who_only_claims_an_address_is_not_refused_for_it_but_asked_for_proof() {
        let door = door(10, 1, 10);
        let _guest = door.enter(ADA, true).ok().unwrap();
        assert_eq!(turned(door.enter(ADA, false)), Some(Turned::Prove));
    }
}
