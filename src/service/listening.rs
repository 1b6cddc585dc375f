//! Where the service listens.

use std::net::SocketAddr;

/// Where a running service listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listening {
    /// The public HTTP listener.
    pub http: SocketAddr,
    /// The public listener with TLS, if it is on.
    pub https: Option<SocketAddr>,
    /// The UDP listener, if it is on.
    pub udp: Option<SocketAddr>,
    /// The QUIC listener, if it is on.
    pub quic: Option<SocketAddr>,
    /// The listener for operators.
    pub admin: SocketAddr,
}

impl Listening {
    /// The line that tells programs where the service listens.
    pub fn ready_line(&self) -> String {
        let named =
            |name: &str, addr: Option<SocketAddr>| addr.map(|addr| format!(" {name}={addr}")).unwrap_or_default();
        let [https, udp, quic] =
            [("https", self.https), ("udp", self.udp), ("quic", self.quic)].map(|(name, addr)| named(name, addr));
        format!("ready http={}{https}{udp}{quic} admin={}", self.http, self.admin)
    }
}
