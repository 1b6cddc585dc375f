//! Limits on acts: by account and by address. Heartbeats, and verdicts for edges that prove who they are, have none.

use std::{hash::Hash, num::NonZeroU32};

use crate::web::{
    limits::{Keyed, Rate},
    peer::{Network, Peer},
    problem::{Code, Problem},
};

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
                Err(Problem::because(Code::Overloaded, detail).retry_after_s(wait_s))
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
    Err(Problem::because(Code::RateLimited, "this is asked too often").retry_after_s(wait_s))
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
        assert_eq!(problem.code(), Code::RateLimited);
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
}
