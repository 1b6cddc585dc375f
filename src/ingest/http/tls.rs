//! TLS handshakes: so many at a time, in all and from one network, each in as much time as a head may take.

use std::sync::Arc;

use rustls::{HandshakeKind, ServerConfig};
use tokio::time::Instant;
use tokio_rustls::{TlsAcceptor, server::TlsStream};

use crate::{
    telemetry::{Handshake, Refusal, Telemetry},
    web::{
        admission::{HandshakePermit, Handshakes, Pool, Refused},
        peer::Network,
    },
};

use super::socket::Socket;

/// How a listener encrypts.
pub struct Tls {
    acceptor: TlsAcceptor,
    handshakes: Arc<Pool<Handshakes>>,
}

/// A handshake in progress; its outcome is counted on drop.
pub(super) struct TlsHandshake {
    acceptor: TlsAcceptor,
    outcome: Handshake,
    telemetry: Telemetry,
    _permit: HandshakePermit,
}

impl Tls {
    /// Encrypts by `config`, with the limits of `handshakes`.
    pub fn new(config: ServerConfig, handshakes: Arc<Pool<Handshakes>>) -> Self {
        Self { acceptor: TlsAcceptor::from(Arc::new(config)), handshakes }
    }

    /// Begins a handshake, if there is room for one, or says why there is none.
    pub(super) fn handshake(
        &self,
        network: Network,
        now: Instant,
        telemetry: Telemetry,
    ) -> Result<TlsHandshake, Refusal> {
        let permit = self.handshakes.admit(network, now).map_err(|refused| match refused {
            Refused::Full => Refusal::Handshakes,
            Refused::Network => Refusal::AddressHandshakes,
        })?;
        Ok(TlsHandshake { acceptor: self.acceptor.clone(), outcome: Handshake::Failed, telemetry, _permit: permit })
    }
}

impl TlsHandshake {
    /// Performs the handshake. `None` if it fails. Dropping the future earlier counts it as failed.
    pub(super) async fn accept(mut self, socket: Socket) -> Option<TlsStream<Socket>> {
        let stream = self.acceptor.accept(socket).await.ok()?;
        self.outcome = match stream.get_ref().1.handshake_kind() {
            Some(HandshakeKind::Resumed) => Handshake::Resumed,
            _ => Handshake::Full,
        };
        Some(stream)
    }
}

impl Drop for TlsHandshake {
    fn drop(&mut self) {
        self.telemetry.handshakes(self.outcome).increment(1);
    }
}
