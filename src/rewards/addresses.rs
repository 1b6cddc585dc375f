//! How many rewards one address gets on a day: an IPv4 address, or a /64 of IPv6.
//!
//! Addresses are personal data, so they are counted in memory alone, by each node for itself, and forgotten at the end of the day
//! (UTC) and at a restart. The cap is one against crowds of accounts, not a promise.

use std::collections::HashMap;

use parking_lot::Mutex;

use crate::{
    engine::{day_of, next_day},
    time::UnixMs,
    web::peer::Network,
};

/// Addresses that are counted on a day. Each has been paid at least once.
const MOST_ADDRESSES: usize = 262_144;

/// Rewards paid today, by address.
pub(super) struct Addresses {
    /// How many one address gets; 0: as many as it asks for.
    most: u32,
    today: Mutex<Today>,
}

#[derive(Default)]
struct Today {
    day: u32,
    paid: HashMap<Network, u32>,
}

/// A reward that is counted before it is paid.
pub(super) struct Counted {
    day: u32,
    network: Network,
}

impl Addresses {
    pub(super) fn new(most: u32) -> Self {
        Self { most, today: Mutex::default() }
    }

    /// Counts a reward.
    ///
    /// # Errors
    ///
    /// When this address may have another, if it has had as many as it gets.
    pub(super) fn count(&self, network: Option<Network>, wall: UnixMs) -> Result<Option<Counted>, UnixMs> {
        let Some(network) = network.filter(|_| self.most > 0) else { return Ok(None) };
        let mut today = self.today.lock();
        let day = day_of(wall);
        if day > today.day {
            *today = Today { day, paid: HashMap::new() };
        }
        if today.paid.len() >= MOST_ADDRESSES && !today.paid.contains_key(&network) {
            return Err(next_day(wall));
        }
        let paid = today.paid.entry(network).or_default();
        if *paid >= self.most {
            return Err(next_day(wall));
        }
        *paid += 1;
        Ok(Some(Counted { day: today.day, network }))
    }

    /// It was not paid after all.
    pub(super) fn give_back(&self, counted: Option<Counted>) {
        let Some(Counted { day, network }) = counted else { return };
        let mut today = self.today.lock();
        if today.day != day {
            return;
        }
        if let Some(paid) = today.paid.get_mut(&network) {
            *paid -= 1;
            if *paid == 0 {
                today.paid.remove(&network);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_gets_so_many_rewards_on_a_day() {
        let (addresses, network) = (Addresses::new(2), Some(Network::V4([192, 0, 2, 1])));
        let at = |day: u64| UnixMs::from_ms(day * 86_400_000 + 5);
        let first = addresses.count(network, at(1)).unwrap();
        assert!(addresses.count(network, at(1)).is_ok());
        assert_eq!(addresses.count(network, at(1)).err(), Some(UnixMs::from_ms(2 * 86_400_000)));
        assert!(addresses.count(Some(Network::V4([192, 0, 2, 2])), at(1)).is_ok());
        addresses.give_back(first);
        assert!(addresses.count(network, at(1)).is_ok(), "what was not paid does not count");
        assert!(addresses.count(network, at(1)).is_err());
        assert!(addresses.count(network, at(2)).is_ok(), "a new day");
        assert!(Addresses::new(0).count(network, at(1)).unwrap().is_none());
    }

    #[test]
    fn what_is_given_back_after_midnight_counts_for_nothing() {
        let (addresses, network) = (Addresses::new(1), Some(Network::V4([192, 0, 2, 1])));
        let yesterday = addresses.count(network, UnixMs::from_ms(86_399_999)).unwrap();
        let today = UnixMs::from_ms(86_400_000);
        assert!(addresses.count(network, today).is_ok());
        addresses.give_back(yesterday);
        assert!(addresses.count(network, today).is_err());
    }
}
