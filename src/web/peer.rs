//! Who is at the other end of a connection.

mod proxies;

use std::net::{IpAddr, SocketAddr};

#[cfg(fuzzing)]
pub use proxies::fuzz;
pub use proxies::{Announced, Proxies, ProxyHeader, announced};

/// The address a request came from; put into its extensions by the listener. Never logged, never stored.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Peer(pub SocketAddr);

impl Peer {
    /// What it shares its limits with.
    pub fn network(self) -> Network {
        match self.0.ip().to_canonical() {
            IpAddr::V4(ip) => Network::V4(ip.octets()),
            IpAddr::V6(ip) => {
                let [a, b, c, d, e, f, g, h, ..] = ip.octets();
                Network::V6([a, b, c, d, e, f, g, h])
            }
        }
    }
}

impl std::fmt::Debug for Peer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Peer(…)")
    }
}

/// What shares a limit: an IPv4 address, or the /64 that one customer has of IPv6. Never logged, never stored.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub enum Network {
    /// An IPv4 address, in either notation.
    V4([u8; 4]),
    /// A /64 of IPv6.
    V6([u8; 8]),
}

impl std::fmt::Debug for Network {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Network(…)")
    }
}

/// In the extensions of an answer: who asked has proved to be a registered edge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KnownEdge;
