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

/// A handshake that is under way. It is counted when this is dropped.
pub(super) struct Shaking {
    acceptor: TlsAcceptor,
    outcome: Handshake,
    telemetry: Telemetry,
    _permit: HandshakePermit,
}

impl Tls {
    /// Encrypts as `config` says, with as many handshakes at a time as there are places.
    pub fn new(config: ServerConfig, handshakes: Arc<Pool<Handshakes>>) -> Self {
        Self { acceptor: TlsAcceptor::from(Arc::new(config)), handshakes }
    }

    /// Begins a handshake, if there is room for one, or says why there is none.
    pub(super) fn shake(&self, network: Network, now: Instant, telemetry: Telemetry) -> Result<Shaking, Refusal> {
        let permit = self.handshakes.admit(network, now).map_err(|refused| match refused {
            Refused::Full => Refusal::Handshakes,
            Refused::Network => Refusal::AddressHandshakes,
        })?;
        Ok(Shaking { acceptor: self.acceptor.clone(), outcome: Handshake::Failed, telemetry, _permit: permit })
    }
}

impl Shaking {
    /// Shakes hands. `None` if it fails; whoever drops this before it is done has waited too long.
    pub(super) async fn hands(mut self, socket: Socket) -> Option<TlsStream<Socket>> {
        let stream = self.acceptor.accept(socket).await.ok()?;
        self.outcome = match stream.get_ref().1.handshake_kind() {
            Some(HandshakeKind::Resumed) => Handshake::Resumed,
            _ => Handshake::Full,
        };
        Some(stream)
    }
}

impl Drop for Shaking {
    fn drop(&mut self) {
        self.telemetry.handshakes(self.outcome).increment(1);
    }
}
