//! Redirect URIs: where a browser may be sent back to with a code.
//!
//! They are compared as they are written (RFC 9700, 2.1): a slash, a port or an upper-case letter more is another address.
//! The one exception is the port of a loopback address, which an app on the person's machine is given when it starts
//! (RFC 8252, 7.3).

/// Bytes of a redirect URI.
const MAX_BYTES: usize = 512;

/// A redirect URI that may be registered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RedirectUri(String);

/// Why a redirect URI may not be registered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadRedirect(&'static str);

impl RedirectUri {
    /// Reads one: `https` with a host; `http` on this machine (`127.0.0.1`, `[::1]`, `localhost`); or a scheme of an app's own,
    /// which is a domain name backwards. At most 512 visible ASCII characters, without user, fragment and dot segments.
    ///
    /// # Errors
    ///
    /// [`BadRedirect`].
    pub fn parse(text: &str) -> Result<Self, BadRedirect> {
        if text.len() > MAX_BYTES
            || !text.bytes().all(|byte| byte.is_ascii_graphic() && !b"\\\"<>^`{|}".contains(&byte))
        {
            return Err(BadRedirect("is at most 512 visible ASCII characters, as a URL has them"));
        }
        if text.contains(['#', '*']) {
            return Err(BadRedirect("has no fragment and no wildcard"));
        }
        let (scheme, rest) = text.split_once(':').ok_or(BadRedirect("is absolute"))?;
        let Some(rest) = rest.strip_prefix("//") else { return Self::of_app(text, scheme, rest) };
        let (host, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
        if path.split(['/', '?', '&']).any(|segment| matches!(segment, "." | "..")) {
            return Err(BadRedirect("has no dot segments"));
        }
        if host.is_empty() || host.contains('@') || host.bytes().any(|byte| byte.is_ascii_uppercase()) {
            return Err(BadRedirect("has a host in lower case, and no user"));
        }
        let name = host.rsplit_once(':').filter(|(_, port)| is_port(port)).map_or(host, |(name, _)| name);
        if reqwest::Url::parse(text).is_err() {
            return Err(BadRedirect("is a URL, with a host and a port that can be"));
        }
        let on_this_machine = matches!(name, "localhost" | "127.0.0.1" | "[::1]");
        match scheme {
            "https" => Ok(Self(text.to_owned())),
            "http" if on_this_machine => Ok(Self(text.to_owned())),
            "http" => Err(BadRedirect("is https, unless it is on this machine: codes travel in it")),
            _ => Err(BadRedirect("has the scheme https, http on this machine, or that of an app")),
        }
    }

    /// Of an app that has a scheme to itself (RFC 8252, 7.1).
    fn of_app(text: &str, scheme: &str, rest: &str) -> Result<Self, BadRedirect> {
        let fits = scheme.contains('.')
            && scheme.starts_with(|first: char| first.is_ascii_lowercase())
            && scheme.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b".-+".contains(&byte));
        if !fits || !rest.starts_with('/') {
            return Err(BadRedirect("of an app is a domain name backwards and a path, like org.example.app:/back"));
        }
        Ok(Self(text.to_owned()))
    }

    /// The text.
    pub fn into_text(self) -> String {
        self.0
    }
}

/// Where a client is told that hub sessions have ended: `https`, or `http` on this machine, for it is this service that asks it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackchannelUri(String);

impl BackchannelUri {
    /// Reads one: what [`RedirectUri::parse`] takes, but for schemes of apps.
    ///
    /// # Errors
    ///
    /// [`BadRedirect`].
    pub fn parse(text: &str) -> Result<Self, BadRedirect> {
        if !text.starts_with("https://") && !text.starts_with("http://") {
            return Err(BadRedirect("is https, or http on this machine"));
        }
        RedirectUri::parse(text).map(|uri| Self(uri.into_text()))
    }

    /// The text.
    pub fn into_text(self) -> String {
        self.0
    }
}

/// Whether a browser may be sent to `asked`, where `registered` is.
pub fn is_same(registered: &str, asked: &str) -> bool {
    if registered == asked {
        return true;
    }
    match (of_loopback(registered), of_loopback(asked)) {
        (Some(registered), Some(asked)) => registered == asked,
        _ => false,
    }
}

/// The address and what follows the port of a loopback URI by address. Not by `localhost`, which may be resolved to elsewhere.
fn of_loopback(uri: &str) -> Option<(&str, &str)> {
    let of = |host: &'static str| {
        let rest = uri.strip_prefix("http://")?.strip_prefix(host)?;
        let rest = match rest.strip_prefix(':') {
            Some(rest) => {
                let end = rest.find(['/', '?']).unwrap_or(rest.len());
                is_port(&rest[..end]).then_some(&rest[end..])?
            }
            None => rest,
        };
        (rest.is_empty() || rest.starts_with(['/', '?'])).then_some((host, rest))
    };
    of("127.0.0.1").or_else(|| of("[::1]"))
}

fn is_port(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit()) && text.parse::<u16>().is_ok_and(|port| port > 0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_may_be_registered_is_exact_and_safe() {
        for good in [
            "https://app.example.org/callback",
            "https://app.example.org:8443/a?b=c",
            "http://127.0.0.1/back",
            "http://[::1]:7000/back",
            "http://localhost:3000/callback",
            "org.example.app:/back",
        ] {
            assert!(RedirectUri::parse(good).is_ok(), "{good}");
        }
        for evil in [
            "",
            "/callback",
            "http://app.example.org/callback",
            "http://127.0.0.1.example.org/",
            "http://localhost.example.org/",
            "https://",
            "https:///callback",
            "https://user@app.example.org/",
            "https://app.example.org/#fragment",
            "https://*.example.org/",
            "https://app.example.org/a/../b",
            "https://App.example.org/",
            "https://app.example.org/a b",
            "https://app.example.org\\@evil.example/",
            "javascript:alert(1)",
            "javascript.x:alert(1)",
            "data:text/html,x",
            "app:/back",
            "org.example.app:back",
            "ftp://app.example.org/",
            "https://127.0.0.1:99999/",
            "https://[::1/",
            "https://%00/",
        ] {
            assert!(RedirectUri::parse(evil).is_err(), "{evil}");
        }
        assert!(RedirectUri::parse(&format!("https://a.example/{}", "x".repeat(512))).is_err());
    }

    #[test]
    fn only_the_port_of_a_loopback_address_may_differ() {
        for (registered, asked) in [
            ("https://a.example/cb", "https://a.example/cb"),
            ("http://127.0.0.1/cb", "http://127.0.0.1:49152/cb"),
            ("http://127.0.0.1:1/cb?x=1", "http://127.0.0.1:2/cb?x=1"),
            ("http://[::1]/cb", "http://[::1]:1234/cb"),
        ] {
            assert!(is_same(registered, asked), "{registered} {asked}");
        }
        for (registered, asked) in [
            ("https://a.example/cb", "https://a.example/cb/"),
            ("https://a.example/cb", "https://a.example:443/cb"),
            ("https://a.example/cb", "https://A.example/cb"),
            ("https://a.example/cb", "https://a.example/cb?x"),
            ("https://a.example/cb", "http://a.example/cb"),
            ("http://127.0.0.1/cb", "http://127.0.0.1:0/cb"),
            ("http://127.0.0.1/cb", "http://127.0.0.1:99999/cb"),
            ("http://127.0.0.1/cb", "http://127.0.0.1:8@evil.example/cb"),
            ("http://127.0.0.1/cb", "http://127.0.0.1.evil.example/cb"),
            ("http://127.0.0.1/cb", "http://127.0.0.1:80/cb2"),
            ("http://127.0.0.1/cb", "http://[::1]/cb"),
            ("http://localhost:1/cb", "http://localhost:2/cb"),
        ] {
            assert!(!is_same(registered, asked), "{registered} {asked}");
        }
    }

    proptest! {
        #[test]
        fn what_is_taken_for_the_same_differs_in_its_port_alone(path in "/[a-z]{0,4}", asked in "http://127\\.0\\.0\\.1(:[0-9]{0,6})?[/a-z@:.]{0,6}") {
            let registered = format!("http://127.0.0.1{path}");
            if is_same(&registered, &asked) {
                let url = reqwest::Url::parse(&asked).unwrap();
                prop_assert_eq!((url.host_str(), url.path()), (Some("127.0.0.1"), path.as_str()));
            }
        }
    }
}
