//! Limits on what one address asks of the hub.

use std::num::NonZeroU32;

use crate::web::{
    limits::{Keyed, Rate},
    peer::{Network, Peer},
};

/// Sign-ins that may begin or end from one address.
const SIGN_INS: Rate =
    Rate { per_s: NonZeroU32::new(5).expect("it is not zero"), burst: NonZeroU32::new(60).expect("it is not zero") };
/// Wrong client secrets from one address.
const WRONG_SECRETS: Rate =
    Rate { per_s: NonZeroU32::new(1).expect("it is not zero"), burst: NonZeroU32::new(20).expect("it is not zero") };

/// One address asks too often.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TooOften;

/// The limits of the pages and of the provider.
pub struct AddressLimits {
    /// Requests whose cookie or handle may have been made up: each costs a read of the store.
    requests: Option<Keyed<Network>>,
    sign_ins: Keyed<Network>,
    wrong_secrets: Keyed<Network>,
    /// Is told of each refusal.
    refused: Box<dyn Fn() + Send + Sync>,
}

impl AddressLimits {
    /// With this limit on requests; `refused` is told of each refusal.
    pub fn new(requests: Option<Rate>, refused: impl Fn() + Send + Sync + 'static) -> Self {
        Self {
            requests: requests.map(Keyed::new),
            sign_ins: Keyed::new(SIGN_INS),
            wrong_secrets: Keyed::new(WRONG_SECRETS),
            refused: Box::new(refused),
        }
    }

    /// Counts a request.
    pub(super) fn request(&self, from: Option<&Peer>) -> Result<(), TooOften> {
        self.requests.as_ref().map_or(Ok(()), |limit| self.count(limit, from))
    }

    /// Counts a step of a sign-in.
    pub(super) fn sign_in(&self, from: Option<&Peer>) -> Result<(), TooOften> {
        self.count(&self.sign_ins, from)
    }

    /// Counts a wrong client secret.
    pub(super) fn wrong_secret(&self, from: Option<&Peer>) -> Result<(), TooOften> {
        self.count(&self.wrong_secrets, from)
    }

    fn count(&self, limit: &Keyed<Network>, from: Option<&Peer>) -> Result<(), TooOften> {
        match from.map_or(0, |peer| limit.wait_s(&peer.network())) {
            0 => Ok(()),
            _ => {
                (self.refused)();
                Err(TooOften)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        net::IpAddr,
        sync::{
            Arc,
            atomic::{AtomicU32, Ordering},
        },
    };

    use super::*;

    #[test]
    fn each_refusal_is_counted_and_zero_turns_the_limit_on_requests_off() {
        let refused = Arc::new(AtomicU32::new(0));
        let counting = Arc::clone(&refused);
        let limits = AddressLimits::new(Rate::new(1, 2), move || {
            counting.fetch_add(1, Ordering::Relaxed);
        });
        let peer = Peer(("192.0.2.1".parse::<IpAddr>().unwrap(), 4711).into());
        let asked: Vec<_> = (0..4).map(|_| limits.request(Some(&peer)).is_ok()).collect();
        assert_eq!((asked, refused.load(Ordering::Relaxed)), (vec![true, true, false, false], 2));
        assert!(limits.sign_in(Some(&peer)).is_ok() && limits.wrong_secret(Some(&peer)).is_ok(), "limits of their own");
        let unlimited = AddressLimits::new(None, || ());
        assert!((0..10_000).all(|_| unlimited.request(Some(&peer)).is_ok()));
    }
}
