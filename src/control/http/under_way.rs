//! The requests that are under way: those that wait, for the store or for an identity provider.
//!
//! What is answered from memory is never under way: it is asked and answered in one go. Bodies have come in whole before their
//! requests take a place here: see [`receive`](super::receive).

use std::sync::Arc;

use crate::web::{
    admission::{Pool, ProvenNetworks, Refused, RequestPermit, Requests},
    peer::Network,
    problem::{Code, Problem},
    stopwatch::now,
};

use super::{budgets::Budget, instruments::Instruments};

/// What is under way.
pub(super) struct UnderWay {
    pools: [Arc<Pool<Requests>>; Budget::ALL.len()],
    instruments: Arc<dyn Instruments>,
}

impl UnderWay {
    pub(super) fn new(proven: &Arc<ProvenNetworks>, instruments: Arc<dyn Instruments>) -> Self {
        Self { pools: Budget::ALL.map(|budget| Pool::new(budget.capacity(), Arc::clone(proven))), instruments }
    }

    /// Lets a request begin. Nothing of it is to be waited for any more but what it asks for.
    ///
    /// # Errors
    ///
    /// 503 when as many are under way as may be, 429 when as many are from this network.
    pub(super) fn begin(&self, budget: Budget, from: Option<Network>) -> Result<RequestPermit, Problem> {
        // Whoever has no address is asked by a test or by this process.
        let from = from.unwrap_or(Network::V4([0; 4]));
        self.pools[budget as usize].admit(from, now()).map_err(|refused| {
            self.instruments.shed(budget);
            too_many(refused, "requests of this kind are under way")
        })
    }

    /// How many requests are under way.
    pub(super) fn figures(&self) -> [(Budget, usize); Budget::ALL.len()] {
        Budget::ALL.map(|budget| (budget, self.pools[budget as usize].taken()))
    }
}

/// The answer where there is no place: it is our trouble, or the caller's.
pub(super) fn too_many(refused: Refused, what: &str) -> Problem {
    match refused {
        Refused::Full => Problem::shed(format!("too many {what}")),
        Refused::Network => Problem::because(Code::RateLimited, format!("too many {what} from this address")),
    }
}
