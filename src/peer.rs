//! Who is at the other end of a connection.

use std::net::SocketAddr;

/// The address a request came from; put into its extensions by the listener. Never logged, never stored.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Peer(pub SocketAddr);

impl std::fmt::Debug for Peer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Peer(…)")
    }
}
