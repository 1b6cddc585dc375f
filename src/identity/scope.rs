//! Scopes: what a token is good for at the identity provider, and whether that is enough here.

/// Scopes that a token must have, all of them. Written with spaces between them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Required(Vec<String>);

impl Required {
    /// The scopes in `text`. Of an empty text: none, which every token has.
    pub fn new(text: &str) -> Self {
        Self(text.split(' ').filter(|scope| !scope.is_empty()).map(str::to_owned).collect())
    }

    /// Whether nothing is required.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether these scopes imply all that is required.
    pub fn met_by<'a>(&self, granted: impl Iterator<Item = &'a str> + Clone) -> bool {
        self.0.iter().all(|required| granted.clone().any(|granted| implies(granted, required)))
    }
}

/// Whether who has the scope `granted` has `required` too.
///
/// Scopes that are URLs imply what lies below them, by whole components of the path, as at Firefox Accounts:
/// `https://a/b` implies `https://a/b/c` and never `https://a/bc`. Every other scope implies itself alone.
fn implies(granted: &str, required: &str) -> bool {
    if granted == required {
        return !granted.is_empty();
    }
    match (Url::of(granted), Url::of(required)) {
        (Some(granted), Some(required)) => {
            granted.origin == required.origin
                && required.path.strip_prefix(granted.path).is_some_and(|below| below.starts_with('/'))
        }
        _ => false,
    }
}

/// A scope that is a URL.
struct Url<'a> {
    origin: &'a str,
    path: &'a str,
}

impl<'a> Url<'a> {
    /// Scheme and host are compared as they are written: scopes are names, not addresses. One with a query, a fragment, or
    /// dots that would lead upwards has no place in the tree, and implies nothing but itself.
    fn of(scope: &'a str) -> Option<Self> {
        let rest = scope.strip_prefix("https://")?;
        let host = rest.find('/').unwrap_or(rest.len());
        let (origin, path) = scope.split_at("https://".len() + host);
        let path = path.strip_suffix('/').unwrap_or(path);
        let plain = !scope.contains(['?', '#', '%', '\\', '@']);
        let straight = path.split('/').skip(1).all(|component| !matches!(component, "" | "." | ".."));
        (host > 0 && plain && straight).then_some(Self { origin, path })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_url_implies_what_lies_below_it_by_whole_components() {
        let proxy = "https://identity.mozilla.com/apps/secure-proxy";
        assert!(implies(proxy, proxy));
        assert!(implies(proxy, "https://identity.mozilla.com/apps/secure-proxy/unlimited"));
        assert!(implies("https://a.example/", "https://a.example/b"));
        assert!(implies("https://a.example", "https://a.example/b"));
        for other in [
            "https://identity.mozilla.com/apps/secure-proxyer",
            "https://identity.mozilla.com/apps",
            "https://identity.mozilla.com.evil/apps/secure-proxy/x",
            "http://identity.mozilla.com/apps/secure-proxy/x",
            "https://identity.mozilla.com/apps/secure-proxy/../x",
            "https://identity.mozilla.com/apps/secure-proxy/x?y",
            "https://identity.mozilla.com/apps/secure-proxy/x#y",
        ] {
            assert!(!implies(proxy, other), "{other}");
        }
        assert!(!implies("https://a.example/b/..", "https://a.example/b/../c"));
        assert!(!implies("https://", "https://x"));
    }

    #[test]
    fn every_other_scope_implies_itself_alone() {
        assert!(implies("tank", "tank"));
        for (granted, required) in [("tank", "tank:read"), ("tank", "tanker"), ("tank", "Tank"), ("", ""), ("", "tank")]
        {
            assert!(!implies(granted, required), "{granted} {required}");
        }
    }

    #[test]
    fn all_that_is_required_must_be_there() {
        let required = Required::new("tank  profile ");
        assert!(required.met_by("openid profile tank".split(' ')));
        assert!(!required.met_by("openid tank".split(' ')));
        assert!(!required.met_by("tankprofile".split(' ')));
        assert!(Required::new("").is_empty() && Required::new("").met_by("".split(' ')));
    }

    proptest! {
        #[test]
        fn what_is_implied_begins_with_what_was_granted(granted in "https://[a-c/.]{0,8}", required in "https://[a-c/.]{0,10}") {
            if implies(&granted, &required) {
                let stem = granted.trim_end_matches('/');
                prop_assert!(required == granted || required.starts_with(&(stem.to_owned() + "/")));
            }
        }
    }
}
