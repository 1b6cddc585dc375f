//! How much of each kind of request may be under way at a time, so that no kind takes what another needs.
//!
//! What is answered from memory is never under way: it is asked and answered in one go. These are the requests that wait,
//! for the store, for a body, for an identity provider. A request beyond its budget is refused at once, with nothing read.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::{
    Shared, edge,
    problem::{ErrorCode, Problem},
};

/// What a request is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Budget {
    /// Introspection.
    Verdicts,
    /// What goes to the store for somebody: activations, renewals, accounts, revocations, hooks.
    Acts,
    /// Status lists, keys and other documents that are open to everybody.
    Documents,
    /// Operators' requests.
    Admin,
}

impl Budget {
    const ALL: [Self; 4] = [Self::Verdicts, Self::Acts, Self::Documents, Self::Admin];

    /// What a request to this path of the public listener is about.
    pub fn of(path: &str) -> Self {
        const DOCUMENTS: [&str; 4] = ["/oauth/status", "/.well-known/", "/errors/", "/openapi.json"];
        match path {
            edge::INTROSPECT => Self::Verdicts,
            path if DOCUMENTS.iter().any(|document| path.starts_with(document)) => Self::Documents,
            _ => Self::Acts,
        }
    }

    /// Requests that may be under way at a time.
    const fn size(self) -> usize {
        match self {
            Self::Verdicts | Self::Acts | Self::Documents => 1024,
            Self::Admin => 128,
        }
    }
}

/// What is under way.
#[derive(Debug, Default)]
pub(super) struct UnderWay([AtomicUsize; Budget::ALL.len()]);

impl UnderWay {
    fn of(&self, budget: Budget) -> &AtomicUsize {
        &self.0[budget as usize]
    }
}

/// A request that is under way; it is over when this is dropped.
pub(super) struct Pass<'a> {
    shared: &'a Shared,
    budget: Budget,
}

impl Shared {
    /// Lets a request begin.
    ///
    /// # Errors
    ///
    /// 503 when as many are under way as may be.
    pub(super) fn begin(&self, budget: Budget) -> Result<Pass<'_>, Problem> {
        let under_way = self.under_way.of(budget);
        if under_way.fetch_add(1, Ordering::Relaxed) >= budget.size() {
            under_way.fetch_sub(1, Ordering::Relaxed);
            self.instruments.shed(budget);
            return Err(Problem::because(ErrorCode::Overloaded, "too many requests of this kind are under way"));
        }
        Ok(Pass { shared: self, budget })
    }

    /// How many requests are under way.
    pub(super) fn under_way(&self) -> [(Budget, usize); Budget::ALL.len()] {
        Budget::ALL.map(|budget| (budget, self.under_way.of(budget).load(Ordering::Relaxed)))
    }
}

impl Drop for Pass<'_> {
    fn drop(&mut self) {
        self.shared.under_way.of(self.budget).fetch_sub(1, Ordering::Relaxed);
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
            ("/hooks/credit", Budget::Acts),
            ("", Budget::Acts),
        ] {
            assert_eq!(Budget::of(path), budget, "{path}");
        }
    }
}
