//! Limits on acts: by account and by address. Heartbeats, and verdicts for edges that prove who they are, have none.

use std::{
    hash::Hash,
    num::NonZeroU32,
    sync::atomic::{AtomicU32, Ordering},
};

use governor::{
    DefaultKeyedRateLimiter, Quota, RateLimiter,
    clock::{Clock, DefaultClock},
};

use crate::web::peer::{Network, Peer};

use super::problem::{ErrorCode, Problem};

/// So many a second on average, so many at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Requests a second.
    pub per_s: NonZeroU32,
    /// Requests at once.
    pub burst: NonZeroU32,
}

impl Rate {
    /// This rate; `None` if either figure is zero, which turns a limit off.
    pub fn new(per_s: u32, burst: u32) -> Option<Self> {
        Some(Self { per_s: NonZeroU32::new(per_s)?, burst: NonZeroU32::new(burst)? })
    }
}

/// Which limit was reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LimitedBy {
    /// The account's.
    Account,
    /// The address's.
    Address,
    /// That on webhooks and events from the address.
    Hooks,
}

/// Webhooks and events whose signatures are looked at for one address before any of them has proved to be good. What is
/// refused costs one hash then, and no public-key work.
const UNPROVEN_SIGNATURES: (u32, u32) = (5, 50);
/// Wrong client secrets and admin tokens that may come from one address.
const GUESSES: (u32, u32) = (1, 20);

/// Tokens of an edge that name a key which is not known here, and are looked up all the same.
const UNKNOWN_KEYS: Rate =
    Rate { per_s: NonZeroU32::new(10).expect("it is not zero"), burst: NonZeroU32::new(100).expect("it is not zero") };

/// The limits of a service.
pub(super) struct Limits {
    accounts: Option<Keyed<[u8; 16]>>,
    addresses: Option<Keyed<Network>>,
    guesses: Option<Keyed<Network>>,
    hooks: Option<Keyed<Network>>,
    signatures: Option<Keyed<Network>>,
    unknown_keys: Keyed<String>,
}

impl Limits {
    pub(super) fn new(per_account: Option<Rate>, per_address: Option<Rate>, hooks: Option<Rate>) -> Self {
        Self {
            accounts: per_account.map(Keyed::new),
            addresses: per_address.map(Keyed::new),
            guesses: Rate::new(GUESSES.0, GUESSES.1).map(Keyed::new),
            hooks: hooks.map(Keyed::new),
            signatures: Rate::new(UNPROVEN_SIGNATURES.0, UNPROVEN_SIGNATURES.1).map(Keyed::new),
            unknown_keys: Keyed::new(UNKNOWN_KEYS),
        }
    }

    /// Counts an act of an account, or of the session with this id.
    pub(super) fn account(&self, id: &[u8; 16]) -> Result<(), Problem> {
        check(self.accounts.as_ref(), id)
    }

    /// Counts an act that came from an address.
    pub(super) fn address(&self, peer: Option<Peer>) -> Result<(), Problem> {
        peer.map_or(Ok(()), |peer| check(self.addresses.as_ref(), &peer.network()))
    }

    /// Counts a webhook or an event that came from an address.
    pub(super) fn hook(&self, peer: Option<Peer>) -> Result<(), Problem> {
        peer.map_or(Ok(()), |peer| check(self.hooks.as_ref(), &peer.network()))
    }

    /// Counts a signature that is to be looked at, of an address that has not proved itself.
    pub(super) fn unproven_signature(&self, peer: Option<Peer>) -> Result<(), Problem> {
        peer.map_or(Ok(()), |peer| check(self.signatures.as_ref(), &peer.network()))
    }

    /// Counts a token that names a key which is not known here, as shown to an edge.
    ///
    /// # Errors
    ///
    /// 503: nobody can tell now whether it is good.
    pub(super) fn unknown_key(&self, edge: &str) -> Result<(), Problem> {
        match self.unknown_keys.wait_s(&edge.to_owned()) {
            0 => Ok(()),
            wait_s => {
                let detail = "it names a key that is not known here, and too many do";
                Err(Problem::because(ErrorCode::Overloaded, detail).retry_after_s(wait_s))
            }
        }
    }

    /// Counts a wrong secret that came from an address.
    pub(super) fn guess(&self, peer: Option<Peer>) -> Result<(), Problem> {
        peer.map_or(Ok(()), |peer| check(self.guesses.as_ref(), &peer.network()))
    }
}

fn check<K: Hash + Eq + Clone>(keyed: Option<&Keyed<K>>, key: &K) -> Result<(), Problem> {
    let wait_s = keyed.map_or(0, |keyed| keyed.wait_s(key));
    if wait_s == 0 {
        return Ok(());
    }
    Err(Problem::because(ErrorCode::RateLimited, "this is asked too often").retry_after_s(wait_s))
}

/// How many checks go by between two cleanings.
const CLEAN_EVERY: u32 = 4096;

/// One limit for each key. A key is kept only while it has used some of its burst, so that what is kept is bounded by
/// the rate of requests times the seconds a burst takes to refill.
struct Keyed<K: Hash + Eq + Clone> {
    limiter: DefaultKeyedRateLimiter<K>,
    clock: DefaultClock,
    checks: AtomicU32,
}

impl<K: Hash + Eq + Clone> Keyed<K> {
    fn new(rate: Rate) -> Self {
        let quota = Quota::per_second(rate.per_s).allow_burst(rate.burst);
        Self { limiter: RateLimiter::keyed(quota), clock: DefaultClock::default(), checks: AtomicU32::new(0) }
    }

    /// Seconds until the key may ask again; zero when it may now.
    fn wait_s(&self, key: &K) -> u32 {
        if self.checks.fetch_add(1, Ordering::Relaxed) % CLEAN_EVERY == CLEAN_EVERY - 1 {
            self.limiter.retain_recent();
        }
        match self.limiter.check_key(key) {
            Ok(()) => 0,
            Err(not_until) => {
                let wait = not_until.wait_time_from(self.clock.now());
                u32::try_from(wait.as_millis().div_ceil(1000)).unwrap_or(u32::MAX).max(1)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    fn peer(ip: &str) -> Option<Peer> {
        Some(Peer((ip.parse::<IpAddr>().unwrap(), 4711).into()))
    }

    #[test]
    fn a_burst_is_let_through_and_no_more() {
        let limits = Limits::new(Rate::new(1, 3), None, None);
        for _ in 0..3 {
            assert!(limits.account(&[1; 16]).is_ok());
        }
        let problem = limits.account(&[1; 16]).unwrap_err();
        assert_eq!(problem.code(), ErrorCode::RateLimited);
        assert!(limits.account(&[2; 16]).is_ok(), "others have their own");
    }

    #[test]
    fn neighbours_in_one_ipv6_network_share_a_limit() {
        let limits = Limits::new(None, Rate::new(1, 1), None);
        assert!(limits.address(peer("2001:db8::1")).is_ok());
        assert!(limits.address(peer("2001:db8::2")).is_err());
        assert!(limits.address(peer("2001:db8:0:1::1")).is_ok());
        assert!(limits.address(peer("192.0.2.1")).is_ok());
        assert!(limits.address(peer("::ffff:192.0.2.1")).is_err(), "the same address in the other notation");
    }

    #[test]
    fn zero_turns_a_limit_off() {
        let limits = Limits::new(Rate::new(0, 5), Rate::new(5, 0), Rate::new(0, 0));
        for _ in 0..100 {
            assert!(limits.account(&[1; 16]).is_ok() && limits.address(peer("192.0.2.1")).is_ok());
        }
    }

    #[test]
    fn keys_that_have_not_asked_for_long_are_forgotten() {
        let keyed = Keyed::new(Rate::new(1_000_000, 1).unwrap());
        for key in 0..CLEAN_EVERY * 8 {
            keyed.wait_s(&key);
        }
        assert!(keyed.limiter.len() < 3 * CLEAN_EVERY as usize, "{}", keyed.limiter.len());
    }
}
