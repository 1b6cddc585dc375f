//! How much of each kind of request may be under way at a time, so that no kind takes what another needs, and no network
//! what others need.

use crate::web::admission::Capacity;

use super::paths;

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
    /// Every budget.
    pub(super) const ALL: [Self; 5] = [Self::Verdicts, Self::Acts, Self::Hooks, Self::Documents, Self::Admin];

    /// What a request to this path of the public listener is about.
    pub fn of(path: &str) -> Self {
        const DOCUMENTS: [&str; 8] = [
            "/v1/client",
            "/oauth/status",
            "/.well-known/",
            "/errors/",
            "/assets/",
            "/openapi.json",
            "/v2/",
            "/shopify-psicash.js",
        ];
        match path {
            paths::INTROSPECT => Self::Verdicts,
            path if path.starts_with("/hooks/") => Self::Hooks,
            path if DOCUMENTS.iter().any(|document| path.starts_with(document)) => Self::Documents,
            _ => Self::Acts,
        }
    }

    /// Requests that may be under way at a time. One network may have half of them; whoever can reach the listener for
    /// operators may have all of those.
    pub(super) const fn capacity(self) -> Capacity {
        let total = match self {
            Self::Verdicts | Self::Acts | Self::Documents => 1024,
            Self::Hooks => 256,
            Self::Admin => 128,
        };
        let per_network = if matches!(self, Self::Admin) { None } else { Some(total / 2) };
        Capacity { total, per_network }
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
            ("/v1/client", Budget::Documents),
            ("/v1/activate", Budget::Acts),
            ("/oauth/revoke", Budget::Acts),
            ("/hooks/credit", Budget::Hooks),
            ("/hooks/shopify", Budget::Hooks),
            ("/v2/psicash.js", Budget::Documents),
            ("/hooks/account-events", Budget::Hooks),
            ("", Budget::Acts),
        ] {
            assert_eq!(Budget::of(path), budget, "{path}");
        }
    }
}
