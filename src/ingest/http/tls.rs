//! TLS handshakes: so many at a time, each in as much time as a head may take.

use std::sync::Arc;

use rustls::{HandshakeKind, ServerConfig};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

use crate::telemetry::{Handshake, Telemetry};

use super::socket::Socket;

/// How a listener encrypts.
pub struct Tls {
    acceptor: TlsAcceptor,
    room: Arc<Semaphore>,
}

/// A handshake that is under way. It is counted when this is dropped.
pub(super) struct Shaking {
    acceptor: TlsAcceptor,
    outcome: Handshake,
    telemetry: Telemetry,
    _room: OwnedSemaphorePermit,
}

impl Tls {
    /// Encrypts as `config` says, with at most so many handshakes at a time.
    pub fn new(config: ServerConfig, handshakes: usize) -> Self {
        Self { acceptor: TlsAcceptor::from(Arc::new(config)), room: Arc::new(Semaphore::new(handshakes)) }
    }

    /// Begins a handshake, if there is room for one.
    pub(super) fn shake(&self, telemetry: Telemetry) -> Option<Shaking> {
        let room = Arc::clone(&self.room).try_acquire_owned().ok()?;
        Some(Shaking { acceptor: self.acceptor.clone(), outcome: Handshake::Failed, telemetry, _room: room })
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
