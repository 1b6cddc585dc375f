//! What apps and browser extensions are told of themselves: the values of `[client]`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::values::{PublicUrl, ValueError};

/// The proxy that a client's traffic goes through: `https` or `http`, a host, and a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProxyServer {
    url: PublicUrl,
    port: u16,
}

impl ProxyServer {
    /// `https` or `http`: how the proxy itself is spoken to.
    pub fn scheme(&self) -> &str {
        self.parts().0
    }

    /// Its host; an IPv6 address in brackets.
    pub fn host(&self) -> &str {
        let authority = self.parts().1;
        match authority.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => host,
            _ => authority,
        }
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.port
    }

    fn parts(&self) -> (&str, &str) {
        self.url.as_str().split_once("://").expect("a public URL has a scheme")
    }
}

impl FromStr for ProxyServer {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let wrong = || ValueError::new("a proxy is such as https://proxy.example.org:8443, without a path");
        let url: PublicUrl = text.parse().map_err(|_| wrong())?;
        if url.as_str().starts_with("http://") && url.is_public() {
            return Err(ValueError::new("tokens are shown to the proxy, so it is spoken to by https"));
        }
        let default = if url.as_str().starts_with("https://") { 443 } else { 80 };
        let mut server = Self { url, port: default };
        if server.parts().1.contains('/') {
            return Err(wrong());
        }
        let port = server.parts().1.strip_prefix(server.host()).and_then(|port| port.strip_prefix(':'));
        server.port = port.map_or(Ok(default), |port| port.parse().map_err(|_| wrong()))?;
        Ok(server)
    }
}

impl fmt::Display for ProxyServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.url.fmt(f)
    }
}

impl Serialize for ProxyServer {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ProxyServer {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

/// Hosts that clients reach without the proxy: names, `*.` and a domain, addresses and networks; one text with spaces between
/// them, or a list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostPatterns(Vec<String>);

impl HostPatterns {
    const MOST: usize = 64;

    /// The patterns, in the order in which they were written.
    pub fn as_slice(&self) -> &[String] {
        &self.0
    }

    fn read<'a>(patterns: impl Iterator<Item = &'a str>) -> Result<Self, ValueError> {
        let patterns = patterns.map(Self::read_one).collect::<Result<Vec<_>, _>>()?;
        if patterns.len() > Self::MOST {
            return Err(ValueError::new(&format!("there are {} at most", Self::MOST)));
        }
        Ok(Self(patterns))
    }

    fn read_one(text: &str) -> Result<String, ValueError> {
        let name = text.strip_prefix("*.").unwrap_or(text);
        let legal = |b: u8| b.is_ascii_alphanumeric() || b"-.:/[]".contains(&b);
        if name.is_empty() || text.len() > 253 || !name.bytes().all(legal) {
            return Err(ValueError::new(&format!(
                "`{text}` is no host, domain or network such as shop.example.org, *.example.org or 10.0.0.0/8"
            )));
        }
        Ok(text.to_ascii_lowercase())
    }
}

impl fmt::Display for HostPatterns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join(" "))
    }
}

impl Serialize for HostPatterns {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for HostPatterns {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Written {
            Text(String),
            List(Vec<String>),
        }
        let patterns = match Written::deserialize(deserializer)? {
            Written::Text(text) => Self::read(text.split([' ', ',']).filter(|one| !one.is_empty())),
            Written::List(list) => Self::read(list.iter().map(String::as_str)),
        };
        patterns.map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proxy_has_a_scheme_a_host_and_a_port() {
        for (text, scheme, host, port) in [
            ("https://proxy.example.org:8443", "https", "proxy.example.org", 8443),
            ("https://proxy.example.org/", "https", "proxy.example.org", 443),
            ("https://[2001:db8::1]:8443", "https", "[2001:db8::1]", 8443),
            ("https://[2001:db8::1]", "https", "[2001:db8::1]", 443),
            ("http://127.0.0.1", "http", "127.0.0.1", 80),
        ] {
            let proxy: ProxyServer = text.parse().expect(text);
            assert_eq!((proxy.scheme(), proxy.host(), proxy.port()), (scheme, host, port), "{text}");
            assert_eq!(proxy.to_string().parse(), Ok(proxy), "{text}");
        }
    }

    #[test]
    fn a_proxy_that_would_see_tokens_in_the_clear_is_refused() {
        for text in ["", "proxy:1", "http://proxy.example.org:3128", "https://a/path", "https://u:p@a", "socks://a:1"] {
            assert!(text.parse::<ProxyServer>().is_err(), "{text}");
        }
    }

    #[test]
    fn hosts_without_the_proxy_are_names_domains_and_networks() {
        let read = |text: &str| HostPatterns::read(text.split(' ')).map(|patterns| patterns.to_string());
        assert_eq!(
            read("Shop.example.org *.example.org 10.0.0.0/8 [::1]").as_deref(),
            Ok("shop.example.org *.example.org 10.0.0.0/8 [::1]")
        );
        for text in ["*", "*.", "a*b", "a;b", "ä.example", &"a".repeat(254)] {
            assert!(read(text).is_err(), "{text}");
        }
        assert!(HostPatterns::read(std::iter::repeat_n("a", 65)).is_err());
    }
}
