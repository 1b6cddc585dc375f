//! A listener: it accepts connections, admits or refuses them, and hands them over.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use tokio::{
    io::AsyncWriteExt,
    net::{TcpListener, TcpStream},
    time::Instant,
};
use tokio_util::{
    sync::CancellationToken,
    task::{AbortOnDropHandle, TaskTracker},
};

use crate::{
    telemetry::{HttpListener, Refusal, Seldom, Telemetry},
    web::{
        admission::{Pool, Refused, Trust},
        peer::Peer,
    },
};

use super::{
    connections::{AdmittedConnection, OpenConnections},
    serve,
    site::{Fallback, HttpLimits, Site, WorkerPools},
    tls::Tls,
    watch::{Timeouts, Watch},
};

/// Time that a refused connection has to read its response.
const REFUSAL: Duration = Duration::from_secs(1);
/// Refused connections that are being answered 503; further ones are closed without an answer.
const REFUSALS: usize = 256;
/// How long to wait when the system has no more descriptors.
const PAUSE: Duration = Duration::from_millis(50);

static ACCEPT_ERRORS: Seldom = Seldom::new();

/// A listener: its socket, its name in the metrics, and what it allows.
pub struct Listener {
    /// The bound socket.
    pub socket: TcpListener,
    /// Its name.
    pub name: HttpListener,
    /// What it allows.
    pub limits: HttpLimits,
    /// Where its connections are counted.
    pub telemetry: Telemetry,
    /// How it encrypts, if it does.
    pub tls: Option<Tls>,
}

impl Listener {
    /// Binds `addr`.
    ///
    /// # Errors
    ///
    /// Those of the system, when the address cannot be bound.
    pub async fn bind(
        addr: SocketAddr,
        name: HttpListener,
        limits: HttpLimits,
        telemetry: Telemetry,
    ) -> io::Result<Self> {
        Ok(Self { socket: TcpListener::bind(addr).await?, name, limits, telemetry, tls: None })
    }

    /// The same listener, with TLS.
    #[must_use]
    pub fn encrypted(mut self, tls: Tls) -> Self {
        self.tls = Some(tls);
        self
    }

    /// The address that was bound.
    ///
    /// # Errors
    ///
    /// Those of the system.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// Answers requests until told to stop, then lets those under way finish.
    pub async fn run<F: Fallback>(self, site: Arc<Site<F>>, pools: WorkerPools, stop: CancellationToken) {
        let connections = TaskTracker::new();
        let open = Arc::<OpenConnections>::default();
        let looking = AbortOnDropHandle::new(tokio::spawn(Arc::clone(&open).enforce_timeouts(self.limits)));
        let telling = site.heartbeats.clone().map(|handler| Arc::clone(&pools.clients).report_pressure(handler));
        let telling = AbortOnDropHandle::new(tokio::spawn(async {
            match telling {
                Some(telling) => telling.await,
                None => std::future::pending().await,
            }
        }));
        let (mut looking, mut telling) = (looking, telling);
        tokio::select! {
            () = self.accept(&site, &pools, &connections, &open, &stop) => {}
            // They end only by a panic; the supervisor sees this future end.
            _ = &mut looking => return,
            _ = &mut telling => return,
        }
        // From now on the system refuses new connections at once, while open ones finish.
        drop(self.socket);
        open.stop();
        connections.close();
        connections.wait().await;
    }

    #[expect(clippy::disallowed_methods, reason = "how long an address is remembered is told by the runtime's clock")]
    async fn accept<F: Fallback>(
        &self,
        site: &Arc<Site<F>>,
        pools: &WorkerPools,
        connections: &TaskTracker,
        open: &Arc<OpenConnections>,
        stop: &CancellationToken,
    ) {
        let pool = Pool::new(self.limits.connections, Arc::clone(&site.admission.proven));
        let refusals = Arc::new(tokio::sync::Semaphore::new(REFUSALS));
        loop {
            let accepted = tokio::select! {
                () = stop.cancelled() => return,
                accepted = self.socket.accept() => accepted,
            };
            let (stream, peer) = match accepted {
                Ok((stream, peer)) => (stream, Peer(peer)),
                Err(error) => {
                    // The system ran out of something, or the peer is gone already.
                    if let Some(unsaid) = ACCEPT_ERRORS.speak() {
                        tracing::warn!(%error, unsaid, "cannot accept a connection");
                    }
                    tokio::time::sleep(PAUSE).await;
                    continue;
                }
            };
            // All clients of a trusted proxy have its address: they are limited by their own, once it is known.
            if site.proxies.trust(peer.0.ip()) {
                site.admission.proven.prove(peer.network(), Trust::Edge, Instant::now());
            }
            let permit = match pool.admit(peer.network(), Instant::now()) {
                Ok(permit) => permit,
                Err(refused) => {
                    let why = match refused {
                        Refused::Full => Refusal::Full,
                        Refused::Network => Refusal::Address,
                    };
                    self.telemetry.connections_refused(self.name, why).increment(1);
                    // A client that expects TLS could not read the response.
                    if let (None, Ok(permit)) = (&self.tls, Arc::clone(&refusals).try_acquire_owned()) {
                        connections.spawn(async move {
                            refuse(stream).await;
                            drop(permit);
                        });
                    }
                    continue;
                }
            };
            // Small answers should leave at once.
            drop(stream.set_nodelay(true));
            let HttpLimits { head, body, idle, .. } = self.limits;
            let watch = Watch::new(Timeouts { head, body, idle });
            let admitted = AdmittedConnection {
                watch: watch.clone(),
                permit,
                _open: open.enter(watch),
                _counted: self.telemetry.connection_opened(self.name),
            };
            let (site, watch) = (Arc::clone(site), admitted.watch.clone());
            let connection: serve::Connection = match &self.tls {
                None => Box::pin(serve::serve(stream, peer, site, watch)),
                Some(tls) => match tls.handshake(peer.network(), Instant::now(), self.telemetry.clone()) {
                    Ok(handshake) => Box::pin(serve::serve_tls(stream, peer, site, watch, handshake)),
                    Err(why) => {
                        self.telemetry.connections_refused(self.name, why).increment(1);
                        continue;
                    }
                },
            };
            serve::spawn(connection, admitted, pools, connections);
        }
    }
}

/// Answers 503 and closes the connection.
async fn refuse(mut stream: TcpStream) {
    const NO_ROOM: &[u8] =
        b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 1\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
    let answer = async {
        stream.write_all(NO_ROOM).await?;
        stream.shutdown().await
    };
    // The connection is closed, whether or not the peer read the response.
    drop(tokio::time::timeout(REFUSAL, answer).await);
}
