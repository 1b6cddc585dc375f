//! Values that are more than a number: each is validated once, when it is parsed. Lists are in [`super::lists`].

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::identity;

/// Why a text is not a value. The message says what would be one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ValueError(pub(super) String);

impl ValueError {
    pub(super) fn new(message: &str) -> Self {
        Self(message.to_owned())
    }
}

macro_rules! read_from_text {
    ($($type:ty),+) => {
        $(
            impl TryFrom<String> for $type {
                type Error = ValueError;

                fn try_from(text: String) -> Result<Self, ValueError> {
                    text.parse()
                }
            }

            impl From<$type> for String {
                fn from(value: $type) -> Self {
                    value.to_string()
                }
            }
        )+
    };
}

read_from_text!(ListenAddr, OptionalListenAddr, StoreUrl, PublicUrl, ProviderUrl, HostPort);

/// An address and port to listen on; port 0 picks a free one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ListenAddr(SocketAddr);

impl ListenAddr {
    /// A port of the loopback interface.
    pub const fn loopback(port: u16) -> Self {
        Self(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port))
    }

    /// The address to bind.
    pub const fn get(self) -> SocketAddr {
        self.0
    }
}

impl FromStr for ListenAddr {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let wrong = |_| ValueError(format!("`{text}` is not an address and port such as 127.0.0.1:7080 or [::]:7080"));
        text.parse().map(Self).map_err(wrong)
    }
}

impl fmt::Display for ListenAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// An address and port to listen on, or `off`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum OptionalListenAddr {
    /// There is no such listener.
    Off,
    /// The listener binds this.
    At(ListenAddr),
}

impl OptionalListenAddr {
    /// The address to bind, if the listener is on.
    pub fn get(self) -> Option<SocketAddr> {
        match self {
            Self::Off => None,
            Self::At(addr) => Some(addr.get()),
        }
    }
}

impl FromStr for OptionalListenAddr {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        if text == "off" {
            return Ok(Self::Off);
        }
        text.parse().map(Self::At).map_err(|ValueError(message)| ValueError(format!("{message}, or `off`")))
    }
}

impl fmt::Display for OptionalListenAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Off => f.write_str("off"),
            Self::At(addr) => addr.fmt(f),
        }
    }
}

/// Where the truth is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum StoreUrl {
    /// A SQLite file.
    Sqlite(PathBuf),
    /// A keyspace of a CQL cluster.
    Scylla(ScyllaUrl),
}

/// The nodes and the keyspace of a CQL cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScyllaUrl {
    /// `host:port` of nodes to begin with; at least one.
    pub nodes: Vec<HostPort>,
    /// The keyspace.
    pub keyspace: String,
}

impl FromStr for StoreUrl {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        // The message does not repeat the text: some URLs of stores hold a password.
        let wrong = || {
            let path =
                if text.starts_with(['/', '.']) { format!("; did you mean `sqlite:{text}`?") } else { String::new() };
            ValueError(format!("a store is `sqlite:PATH` or `scylla://host:port,host:port/keyspace`{path}"))
        };
        if let Some(path) = text.strip_prefix("sqlite:") {
            if path.is_empty() || path.starts_with(':') {
                return Err(ValueError("`sqlite:` is followed by the path of a file".to_owned()));
            }
            return Ok(Self::Sqlite(PathBuf::from(path)));
        }
        let (nodes, keyspace) =
            text.strip_prefix("scylla://").and_then(|rest| rest.split_once('/')).ok_or_else(wrong)?;
        let nodes = nodes.split(',').map(|node| node.parse().map_err(|_| wrong())).collect::<Result<_, _>>()?;
        if keyspace.is_empty() || !keyspace.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
            return Err(wrong());
        }
        Ok(Self::Scylla(ScyllaUrl { nodes, keyspace: keyspace.to_owned() }))
    }
}

impl StoreUrl {
    /// The store in a data directory.
    pub fn in_data_dir(data_dir: &Path) -> Self {
        Self::Sqlite(data_dir.join("gastank.db"))
    }
}

impl fmt::Display for StoreUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sqlite(path) => write!(f, "sqlite:{}", path.display()),
            Self::Scylla(ScyllaUrl { nodes, keyspace }) => {
                let nodes: Vec<_> = nodes.iter().map(HostPort::to_string).collect();
                write!(f, "scylla://{}/{keyspace}", nodes.join(","))
            }
        }
    }
}

/// A URL that others are told: `http` or `https`, a host, maybe a port and a path; no trailing slash.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PublicUrl(String);

impl PublicUrl {
    /// The URL, without a trailing slash.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The host, without the brackets of IPv6.
    pub fn host(&self) -> &str {
        host_of(self.0.split_once("://").map_or("", |(_, rest)| rest.split('/').next().unwrap_or_default()))
    }

    /// Whether it is for others than this machine.
    pub fn is_public(&self) -> bool {
        let host = self.host();
        let local = host.eq_ignore_ascii_case("localhost") || host.to_ascii_lowercase().ends_with(".localhost");
        !local && host.parse().map_or(true, |ip: IpAddr| !only_here(ip))
    }
}

/// The host of an authority, without the brackets of IPv6.
fn host_of(authority: &str) -> &str {
    match authority.strip_prefix('[') {
        Some(v6) => v6.split(']').next().unwrap_or_default(),
        None => authority.split(':').next().unwrap_or_default(),
    }
}

/// Whether clients elsewhere cannot reach a listener at this address, as it stands there.
pub(super) fn only_here(ip: IpAddr) -> bool {
    let ip = ip.to_canonical();
    ip.is_loopback() || ip.is_unspecified()
}

impl FromStr for PublicUrl {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let wrong = || {
            // What may hold a password is not repeated.
            let given = if text.contains('@') { "this".to_owned() } else { format!("`{text}`") };
            ValueError(format!(
                "{given} is no public URL such as https://tank.example.org: it begins with https:// or http:// and has no `?`, `#` or `@`"
            ))
        };
        let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://")).ok_or_else(wrong)?;
        let authority = rest.split('/').next().unwrap_or_default();
        let legal = |b: u8| b.is_ascii_graphic() && !b"?#@\"<>\\^`{|}".contains(&b);
        if !rest.bytes().all(legal) || !is_authority(authority, false) {
            return Err(wrong());
        }
        Ok(Self(text.trim_end_matches('/').to_owned()))
    }
}

impl fmt::Display for PublicUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A URL of an identity provider, kept to the letter: issuers differ by a slash at the end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ProviderUrl(String);

impl ProviderUrl {
    /// The URL as it was written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ProviderUrl {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        text.parse::<PublicUrl>().map_err(|_| {
            ValueError("a provider's URL is such as https://id.example.org, without `?`, `#` or `@`".into())
        })?;
        if text.starts_with("http://") && !identity::may_be_asked(text) {
            return Err(ValueError("a provider is asked by https, unless it is on the loopback interface".to_owned()));
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for ProviderUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A host, by name or address, and a port.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct HostPort(String);

impl HostPort {
    /// `host:port`.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The host, without the brackets of IPv6.
    pub fn host(&self) -> &str {
        host_of(&self.0)
    }

    /// The port.
    pub fn port(&self) -> u16 {
        self.0.rsplit_once(':').and_then(|(_, port)| port.parse().ok()).expect("it was read with a port")
    }
}

impl FromStr for HostPort {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        if is_authority(text, true) {
            return Ok(Self(text.to_owned()));
        }
        Err(ValueError(format!("`{text}` is not a host and port such as tank.example.org:7080 or [2001:db8::1]:7080")))
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// `host`, `host:port` or `[v6]:port`.
fn is_authority(text: &str, port_needed: bool) -> bool {
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ => (text, None),
    };
    let port_fits = match port {
        Some(port) => port.bytes().all(|b| b.is_ascii_digit()) && port.parse::<u16>().is_ok_and(|port| port != 0),
        None => !port_needed,
    };
    let host_fits = match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        Some(v6) => v6.parse::<std::net::Ipv6Addr>().is_ok(),
        None => {
            let legal = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'.';
            !host.is_empty() && host.len() <= 253 && host.bytes().all(legal)
        }
    };
    port_fits && host_fits
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn stores_are_read_and_anything_else_is_refused() {
        assert_eq!("sqlite:/var/x.db".parse(), Ok(StoreUrl::Sqlite("/var/x.db".into())));
        assert_eq!("sqlite:x.db".parse(), Ok(StoreUrl::Sqlite("x.db".into())));
        let scylla: StoreUrl = "scylla://a:9042,10.0.0.1:9042/tank".parse().expect("is good");
        assert_eq!(scylla.to_string(), "scylla://a:9042,10.0.0.1:9042/tank");
        let bad =
            ["", "x.db", "sqlite:", "sqlite::memory:", "scylla://", "scylla://a:1", "scylla://a:1/", "scylla://a/k"];
        for text in bad.into_iter().chain(["scylla://user:secret@a:1/k", "postgres://a/k", "scylla://a:1/k;drop"]) {
            let error = text.parse::<StoreUrl>().expect_err(text);
            assert!(!error.to_string().contains("secret"));
        }
    }

    #[test]
    fn public_urls_lose_their_trailing_slash_and_carry_no_secrets() {
        let url = |text: &str| text.parse::<PublicUrl>().map(|url| url.as_str().to_owned());
        assert_eq!(url("https://tank.example.org/").as_deref(), Ok("https://tank.example.org"));
        assert_eq!(url("http://[::1]:7080/base").as_deref(), Ok("http://[::1]:7080/base"));
        for text in
            ["", "tank.example.org", "ftp://a", "http://", "http://a b", "https://u:p@a", "https://a?x", "http://a:0"]
        {
            assert!(url(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_public_url_is_for_others_than_this_machine() {
        for (url, public) in [
            ("https://tank.example.org", true),
            ("https://192.0.2.1:8443/base", true),
            ("https://[2001:db8::1]", true),
            ("http://localhost:7080", false),
            ("http://tank.localhost", false),
            ("http://127.0.0.2", false),
            ("http://[::1]:7080", false),
            ("http://0.0.0.0:7080", false),
            ("http://[::ffff:127.0.0.1]", false),
        ] {
            assert_eq!(url.parse::<PublicUrl>().expect("is good").is_public(), public, "{url}");
        }
    }

    #[test]
    fn listeners_need_an_address_and_a_port() {
        assert_eq!("127.0.0.1:0".parse::<ListenAddr>().expect("is good").get().port(), 0);
        assert_eq!("off".parse(), Ok(OptionalListenAddr::Off));
        for text in ["", "7080", ":7080", "localhost:7080", "127.0.0.1", "127.0.0.1:65536", "off "] {
            assert!(text.parse::<ListenAddr>().is_err() && text.parse::<OptionalListenAddr>().is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_shown_is_read_back_the_same(text in "\\PC{0,40}", port: u16) {
            for text in [text.clone(), format!("a.b:{port}"), format!("sqlite:{text}"), format!("https://a/{text}")] {
                if let Ok(value) = text.parse::<HostPort>() { prop_assert_eq!(value.to_string().parse(), Ok(value)); }
                if let Ok(value) = text.parse::<StoreUrl>() { prop_assert_eq!(value.to_string().parse(), Ok(value)); }
                if let Ok(value) = text.parse::<PublicUrl>() { prop_assert_eq!(value.to_string().parse(), Ok(value)); }
                if let Ok(value) = text.parse::<OptionalListenAddr>() { prop_assert_eq!(value.to_string().parse(), Ok(value)); }
            }
        }
    }
}
