//! What a request is held against before anything is done for it: whether the service knows all sessions yet, and the limits.

use std::sync::Arc;

use axum::http::request::Parts as RequestParts;

use crate::{
    control::tokens::{Issuer, Provenance},
    web::{
        admission::{Admission, Trust},
        peer::{Network, Peer},
        problem::{Code, Problem},
        stopwatch::now,
    },
};

use super::{
    instruments::{Instruments, Phase},
    limits::{LimitedBy, Limits},
};

/// The checks of a service.
pub struct Checks {
    limits: Limits,
    admission: Arc<Admission>,
    instruments: Arc<dyn Instruments>,
}

impl Checks {
    pub(super) const fn new(limits: Limits, admission: Arc<Admission>, instruments: Arc<dyn Instruments>) -> Self {
        Self { limits, admission, instruments }
    }

    /// Refuses while not every session is known: an act would be decided as if nobody had been heard of.
    ///
    /// # Errors
    ///
    /// 503.
    pub fn warm(&self) -> Result<(), Problem> {
        match self.instruments.phase() {
            Phase::WarmingUp => Err(Problem::because(Code::WarmingUp, "not every session is known yet")),
            Phase::Ready | Phase::Draining => Ok(()),
        }
    }

    /// Remembers that whoever sent this request has proved who they are.
    pub fn prove(&self, request: &RequestParts, trust: Trust) {
        if let Some(from) = network_of(request) {
            self.admission.proven.prove(from, trust, now());
        }
    }

    /// Counts a request against the limit of the address that it came from.
    ///
    /// # Errors
    ///
    /// 429.
    pub fn limit_address(&self, request: &RequestParts) -> Result<(), Problem> {
        self.limits.address(peer_of(request)).inspect_err(|_| self.instruments.limited(LimitedBy::Address))
    }

    /// Counts a request against the limit of an account or session.
    ///
    /// # Errors
    ///
    /// 429.
    pub fn limit_account(&self, id: &[u8; 16]) -> Result<(), Problem> {
        self.limits.account(id).inspect_err(|_| self.instruments.limited(LimitedBy::Account))
    }

    /// Counts a webhook or an event against the limit of the address that it came from.
    ///
    /// # Errors
    ///
    /// 429.
    pub fn limit_hooks(&self, request: &RequestParts) -> Result<(), Problem> {
        self.limits.hook(peer_of(request)).inspect_err(|_| self.instruments.limited(LimitedBy::Hooks))
    }

    /// Counts a signature that is about to be looked at, unless good ones have come from that address.
    ///
    /// # Errors
    ///
    /// 429.
    pub fn limit_forgeries(&self, request: &RequestParts) -> Result<(), Problem> {
        let peer = peer_of(request);
        let trust = peer.and_then(|peer| self.admission.proven.trust(&peer.network(), now()));
        if trust.is_some() {
            return Ok(());
        }
        self.limits.unproven_signature(peer).inspect_err(|_| self.instruments.limited(LimitedBy::Hooks))
    }

    /// Counts a wrong secret, and refuses it either way.
    pub(super) fn wrong_secret(&self, peer: Option<Peer>) -> Problem {
        match self.limits.guess(peer) {
            Ok(()) => Problem::bad_credentials(),
            Err(problem) => {
                self.instruments.limited(LimitedBy::Address);
                problem
            }
        }
    }

    /// Whether a token that an edge shows is worth a read of the store: only one that this service signed is. Whoever shows
    /// made-up and altered tokens to an edge does not reach it, and those that name a key which is not known here reach it
    /// only so often.
    ///
    /// # Errors
    ///
    /// 503: nobody can tell now.
    pub(super) fn is_worth_a_read(&self, issuer: &Issuer, token: &str, edge: &str) -> Result<bool, Problem> {
        match issuer.provenance(token) {
            Provenance::Ours => Ok(true),
            Provenance::Forged => Ok(false),
            Provenance::UnknownKey => self.limits.unknown_key(edge).map(|()| true),
        }
    }
}

/// Where a request came from, if a listener said so.
pub(super) fn network_of(request: &RequestParts) -> Option<Network> {
    peer_of(request).map(Peer::network)
}

/// The address that a request came from, if a listener said so.
pub(super) fn peer_of(request: &RequestParts) -> Option<Peer> {
    request.extensions.get::<Peer>().copied()
}
