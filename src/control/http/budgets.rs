//! How much of each kind of request may be under way at a time, so that no kind takes what another needs, and no network
//! what others need.
//!
//! What is answered from memory is never under way: it is asked and answered in one go. These are the requests that wait,
//! for the store or for an identity provider. Their bodies have come in whole before they take a place here: see
//! [`receive`](super::receive).

use std::sync::Arc;

use crate::web::{
    admission::{Capacity, Pool, ProvenNetworks, Refused, RequestPermit, Requests},
    peer::Network,
};

use super::{
    Shared, edge,
    instruments::now,
    problem::{ErrorCode, Problem},
};

/// What a request is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Budget {
    /// Introspection.
    Verdicts,
    /// What goes to the store for somebody: activations, renewals, accounts, revocations.
    Acts,
    /// What other services tell: webhooks and account events.
    Hooks,
    /// Status lists, keys and other documents that are open to everybody.
    Documents,
    /// Operators' requests.
    Admin,
}

impl Budget {
    const ALL: [Self; 5] = [Self::Verdicts, Self::Acts, Self::Hooks, Self::Documents, Self::Admin];

    /// What a request to this path of the public listener is about.
    pub fn of(path: &str) -> Self {
        const DOCUMENTS: [&str; 4] = ["/oauth/status", "/.well-known/", "/errors/", "/openapi.json"];
        match path {
            edge::INTROSPECT => Self::Verdicts,
            path if path.starts_with("/hooks/") => Self::Hooks,
            path if DOCUMENTS.iter().any(|document| path.starts_with(document)) => Self::Documents,
            _ => Self::Acts,
        }
    }

    /// Requests that may be under way at a time. One network may have half of them; whoever can reach the listener for
    /// operators may have all of those.
    const fn capacity(self) -> Capacity {
        let total = match self {
            Self::Verdicts | Self::Acts | Self::Documents => 1024,
            Self::Hooks => 256,
            Self::Admin => 128,
        };
        let per_network = if matches!(self, Self::Admin) { None } else { Some(total / 2) };
        Capacity { total, per_network }
    }
}

/// What is under way.
pub(super) struct UnderWay([Arc<Pool<Requests>>; Budget::ALL.len()]);

impl UnderWay {
    pub(super) fn new(proven: &Arc<ProvenNetworks>) -> Self {
        Self(Budget::ALL.map(|budget| Pool::new(budget.capacity(), Arc::clone(proven))))
    }

    fn of(&self, budget: Budget) -> &Arc<Pool<Requests>> {
        &self.0[budget as usize]
    }
}

impl Shared {
    /// Lets a request begin. Nothing of it is to be waited for any more but what it asks for.
    ///
    /// # Errors
    ///
    /// 503 when as many are under way as may be, 429 when as many are from this network.
    pub(super) fn begin(&self, budget: Budget, from: Option<Network>) -> Result<RequestPermit, Problem> {
        // Whoever has no address is asked by a test or by this process.
        let from = from.unwrap_or(Network::V4([0; 4]));
        self.under_way.of(budget).admit(from, now()).map_err(|refused| {
            self.instruments.shed(budget);
            too_many(refused, "requests of this kind are under way")
        })
    }

    /// How many requests are under way.
    pub(super) fn under_way(&self) -> [(Budget, usize); Budget::ALL.len()] {
        Budget::ALL.map(|budget| (budget, self.under_way.of(budget).taken()))
    }
}

/// The answer where there is no place: it is our trouble, or the caller's.
pub(super) fn too_many(refused: Refused, what: &str) -> Problem {
    match refused {
        Refused::Full => Problem::because(ErrorCode::Overloaded, format!("too many {what}")),
        Refused::Network => Problem::because(ErrorCode::RateLimited, format!("too many {what} from this address")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_path_has_a_budget() {
        for (path, budget) in [
            ("/oauth/introspect", Budget::Verdicts),
            ("/oauth/introspect/", Budget::Acts),
            ("/oauth/status", Budget::Documents),
            ("/oauth/status/abc", Budget::Documents),
            ("/.well-known/jwks.json", Budget::Documents),
            ("/v1/activate", Budget::Acts),
            ("/oauth/revoke", Budget::Acts),
            ("/hooks/credit", Budget::Hooks),
            ("/hooks/account-events", Budget::Hooks),
            ("", Budget::Acts),
        ] {
            assert_eq!(Budget::of(path), budget, "{path}");
        }
    }
}
