//! A client that speaks QUIC, as quinn does.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use bytes::Bytes;
use gastank::{
    tls::{self, CertHash},
    wire::{Ack, HeartbeatKind},
};
use quinn::{ClientConfig, Connection, Endpoint, EndpointConfig, TokioRuntime, crypto::rustls::QuicClientConfig};
use serde_json::Value;
use tokio::time::timeout;

use crate::{
    client::{Api, Owner, Session, text},
    support::Service,
};

/// How long an answer is waited for.
pub(crate) const PATIENCE: Duration = Duration::from_secs(5);
/// How long silence is listened to.
pub(crate) const QUIET: Duration = Duration::from_millis(300);

/// What a client was told of QUIC.
pub(crate) struct Told {
    pub(crate) addr: SocketAddr,
    pub(crate) hashes: Vec<CertHash>,
}

/// Activates, and reads where QUIC is.
pub(crate) async fn open(api: &Api, owner: &Owner) -> (Session, Told) {
    let answer = api.activate(owner).await.unwrap().must_be(200).json();
    (Session::of(&answer), Told::of(&answer["heartbeat"]))
}

impl Told {
    fn of(heartbeat: &Value) -> Self {
        let hash = |hash: &Value| CertHash(URL_SAFE_NO_PAD.decode(text(hash)).unwrap().try_into().unwrap());
        let hashes = heartbeat["cert_hashes"].as_array().map_or_else(Vec::new, |all| all.iter().map(hash).collect());
        Self { addr: text(&heartbeat["quic"]).parse().unwrap(), hashes }
    }

    /// How to connect with this protocol, trusting who was told of.
    pub(crate) fn config(&self, protocol: &[u8]) -> ClientConfig {
        let mut tls = tls::client(&self.hashes, &[protocol]).unwrap();
        tls.enable_early_data = true;
        ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls).unwrap()))
    }

    /// Connects with this protocol.
    pub(crate) async fn connect(&self, endpoint: &Endpoint, protocol: &[u8]) -> Connection {
        let connecting = endpoint.connect_with(self.config(protocol), self.addr, "localhost").unwrap();
        timeout(PATIENCE, connecting).await.expect("a handshake takes no time").unwrap()
    }
}

/// A socket of our own.
pub(crate) fn endpoint() -> Endpoint {
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    // Bursts of acks are to be heard whole, as far as the kernel grants it.
    drop(socket2::SockRef::from(&socket).set_recv_buffer_size(4 << 20));
    Endpoint::new(EndpointConfig::default(), None, socket, Arc::new(TokioRuntime)).unwrap()
}

/// Where the service speaks QUIC, without asking it.
pub(crate) fn addr(service: &Service) -> SocketAddr {
    service.listener("quic").parse().unwrap()
}

/// Sends a frame in a datagram and waits for its ack.
pub(crate) async fn beat(connection: &Connection, session: &mut Session, kind: HeartbeatKind) -> Ack {
    connection.send_datagram(Bytes::copy_from_slice(&session.frame(kind))).unwrap();
    let ack = timeout(PATIENCE, connection.read_datagram()).await.expect("an ack comes").unwrap();
    session.ack(&ack)
}

/// Nothing comes.
#[track_caller]
pub(crate) fn silent<T>(heard: Result<T, tokio::time::error::Elapsed>) {
    assert!(heard.is_err(), "something came");
}

/// Waits until a condition holds.
pub(crate) async fn until(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    for _ in 0..100 {
        if condition().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("it did not happen: {what}");
}
