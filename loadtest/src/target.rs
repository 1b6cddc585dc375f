//! Where the parts of a service are, and whom to trust there.

use std::{
    net::{SocketAddr, ToSocketAddrs},
    sync::Arc,
    time::Duration,
};

use anyhow::Context;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use url::Url;

use crate::{
    api::HeartbeatTerms,
    cli::TargetArgs,
    process,
    siege::Besieged,
    transport::{Route, TransportKind, Trust},
};

/// A service.
pub struct Target {
    http: Url,
    https: Option<SocketAddr>,
    udp: Option<SocketAddr>,
    quic: Option<SocketAddr>,
    trust: Arc<Trust>,
    /// Whether `trust` was asked for, so that what the service says of its certificates does not count.
    insists: bool,
}

impl Target {
    /// The service that these arguments name.
    pub fn new(args: &TargetArgs) -> Self {
        let (trust, insists) = match (&args.ca, args.insecure) {
            (Some(file), _) => (Trust::Authorities(file.clone()), true),
            (None, true) => (Trust::Anyone, true),
            (None, false) => (Trust::System, false),
        };
        Self {
            http: args.http.clone(),
            https: args.https,
            udp: args.udp,
            quic: args.quic,
            trust: Arc::new(trust),
            insists,
        }
    }

    /// The way to an HTTP listener.
    ///
    /// # Errors
    ///
    /// A name that cannot be resolved.
    pub fn http(&self, url: &Url) -> anyhow::Result<Route> {
        Ok(Route {
            kind: TransportKind::Http1,
            server: resolve(url)?,
            name: authority(url).into(),
            path: "/".into(),
            trust: (url.scheme() == "https").then(|| Arc::clone(&self.trust)),
            connections: 1,
            give_up: Duration::from_secs(2),
        })
    }

    /// The way for this transport, of a service that says this of itself.
    ///
    /// # Errors
    ///
    /// The service names no such listener, or one that cannot be resolved.
    pub fn route(&self, kind: TransportKind, terms: &HeartbeatTerms) -> anyhow::Result<Route> {
        let http = Route { kind, ..self.http(&self.http)? };
        Ok(match kind {
            TransportKind::Http1 | TransportKind::Http2 => http,
            TransportKind::Udp => Route { server: self.udp(terms)?, trust: None, ..http },
            TransportKind::Quic | TransportKind::Http3 | TransportKind::WebTransport => {
                let named = terms.quic.as_deref().context("the service names no QUIC address: give --quic");
                let (server, mut name) = match self.quic {
                    Some(server) => (server, server.to_string()),
                    None => (
                        self.reachable(named.as_ref().map_err(|error| anyhow::anyhow!("{error}"))?)?,
                        named?.to_owned(),
                    ),
                };
                let mut path: Arc<str> = "/v1/webtransport".into();
                if let (TransportKind::WebTransport, Some(url)) = (kind, &terms.webtransport) {
                    let url: Url = url.parse().context("the service names a WebTransport address that is none")?;
                    path = url.path().into();
                    name = authority(&url);
                }
                Route { server, name: name.into(), path, trust: Some(self.quic_trust(terms)), ..http }
            }
        })
    }

    /// Where datagrams go, if the service takes any.
    ///
    /// # Errors
    ///
    /// The service names no such listener, or one that cannot be resolved.
    pub fn udp(&self, terms: &HeartbeatTerms) -> anyhow::Result<SocketAddr> {
        match self.udp {
            Some(address) => Ok(address),
            None => self.reachable(terms.udp.as_deref().context("the service names no UDP address: give --udp")?),
        }
    }

    /// The service as attackers see it.
    ///
    /// # Errors
    ///
    /// A name that cannot be resolved.
    pub fn besieged(&self, terms: &HeartbeatTerms) -> anyhow::Result<Besieged> {
        let quic = self.route(TransportKind::WebTransport, terms).ok();
        let quic = quic.map(|route| (route.server, format!("https://{}{}", route.name, route.path)));
        Ok(Besieged {
            http: self.public_address()?,
            https: self.https,
            udp: self.udp(terms).ok(),
            quic,
            trust: self.quic_trust(terms),
        })
    }

    /// Whether the service is on this machine, as far as can be told.
    pub fn is_local(&self) -> bool {
        resolve(&self.http).is_ok_and(|address| process::is_local(address.ip()))
    }

    /// The address of its public listener.
    ///
    /// # Errors
    ///
    /// A name that cannot be resolved.
    pub fn public_address(&self) -> anyhow::Result<SocketAddr> {
        resolve(&self.http)
    }

    /// An address that the service names. One that says "any address" means the one it was reached at.
    fn reachable(&self, named: &str) -> anyhow::Result<SocketAddr> {
        let named = named.strip_prefix("udp://").unwrap_or(named);
        let cannot = || format!("the service names the address {named}, which cannot be resolved");
        let mut address = named.to_socket_addrs().with_context(cannot)?.next().with_context(cannot)?;
        if address.ip().is_unspecified() {
            address.set_ip(resolve(&self.http)?.ip());
        }
        Ok(address)
    }

    fn quic_trust(&self, terms: &HeartbeatTerms) -> Arc<Trust> {
        let hash = |text: &String| URL_SAFE_NO_PAD.decode(text).ok()?.try_into().ok();
        let hashes: Vec<[u8; 32]> = terms.cert_hashes.iter().filter_map(hash).collect();
        if self.insists || hashes.is_empty() { Arc::clone(&self.trust) } else { Arc::new(Trust::Hashes(hashes)) }
    }
}

fn resolve(url: &Url) -> anyhow::Result<SocketAddr> {
    let cannot = || format!("{url} cannot be resolved");
    url.socket_addrs(|| None).with_context(cannot)?.into_iter().next().with_context(cannot)
}

/// Host and port, as the `host` header has them.
fn authority(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}
