//! HTTP/1.1 and HTTP/2, with TLS and without: the listeners, and heartbeats by `POST /v1/heartbeat`.
//!
//! A connection start_head in the [`lane`], where heartbeats and introspections in plain HTTP/1.1 are answered. Everything else
//! is hyper's. There, heartbeats touch no router either; every other request goes to the [`Fallback`]. Connections, heads,
//! bodies and idle time are bounded here for all of them.

mod beat;
mod cors;
mod json;
mod lane;
mod plain;
mod proxied;
mod reply;
mod serve;
mod socket;
#[cfg(test)]
mod tests;
mod tls;
mod unread;
mod watch;
mod workers;

use std::{error::Error, io, net::SocketAddr, sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use http_body_util::{Either, Full, combinators::UnsyncBoxBody};
use hyper::{Request, Response, body::Body};
use parking_lot::Mutex;
use tokio::{
    io::AsyncWriteExt,
    net::{TcpListener, TcpStream},
    time::{Instant, MissedTickBehavior},
};
use tokio_util::{
    sync::CancellationToken,
    task::{AbortOnDropHandle, TaskTracker},
};

use crate::{
    telemetry::{HttpListener, OpenConnection, Refusal, Route, Seldom, Telemetry},
    time::UnixMs,
    web::{
        admission::{Admission, Capacity, ConnectionPermit, Pool, Refused, Trust},
        peer::{Peer, Proxies},
    },
};

use super::{Handler, quic::Origins};
use watch::{Timeouts, Watch};

pub use tls::Tls;
pub use workers::{Threads, WorkerPool};

/// The path of heartbeats.
pub const HEARTBEAT_PATH: &str = "/v1/heartbeat";
/// A heartbeat is 48 bytes, in JSON a few hundred.
const MAX_HEARTBEAT: usize = 1024;
/// Time that a refused connection has to read its response.
const REFUSAL: Duration = Duration::from_secs(1);
/// Refused connections that are being answered 503; further ones are closed without an answer.
const REFUSALS: usize = 256;
/// How long to wait when the system has no more descriptors.
const PAUSE: Duration = Duration::from_millis(50);
/// The longest interval between two checks for connections that have timed out.
const CHECK_INTERVAL: Duration = Duration::from_millis(500);
/// How a connection start_head that speaks HTTP/2 (RFC 9113, 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

static ACCEPT_ERRORS: Seldom = Seldom::new();

/// A response body: bytes in memory, or the body of the fallback.
pub type ReplyBody<B> = Either<Full<Bytes>, B>;

/// Why the body of a request ends early.
type BoxError = Box<dyn Error + Send + Sync>;

/// What comes as the body of a request, whatever brought it.
pub type RequestBody = UnsyncBoxBody<Bytes, BoxError>;

/// Answers every request that is not a heartbeat.
#[async_trait]
pub trait Fallback: Send + Sync + 'static {
    /// The body of its responses.
    type Body: Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static;
    /// State that it keeps per connection.
    type Memory: Default + Send + Unpin + 'static;

    /// Answers a request. Its extensions have the [`Peer`].
    async fn answer(&self, request: Request<RequestBody>) -> Response<Self::Body>;

    /// Answers an introspection from memory, if possible: appends the JSON of a 200 response to `body`. If it returns `false`,
    /// nothing was done, and the request takes the general path.
    fn introspect(&self, memory: &mut Self::Memory, question: &IntrospectionRequest<'_>, body: &mut Vec<u8>) -> bool;
}

/// An introspection request. No header occurs twice.
#[derive(Clone, Copy)]
pub struct IntrospectionRequest<'a> {
    /// The type of the body.
    pub content_type: Option<&'a [u8]>,
    /// The caller's credentials.
    pub authorization: Option<&'a [u8]>,
    /// The body.
    pub form: &'a [u8],
}

/// The paths that have a lane of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ExpressRoute {
    Heartbeat,
    Introspect,
}

impl ExpressRoute {
    const ALL: [Self; 2] = [Self::Heartbeat, Self::Introspect];

    const fn route(self) -> Route {
        match self {
            Self::Heartbeat => Route::Heartbeat,
            Self::Introspect => Route::Introspect,
        }
    }

    const fn path(self) -> &'static str {
        match self {
            Self::Heartbeat => HEARTBEAT_PATH,
            Self::Introspect => "/oauth/introspect",
        }
    }

    /// Bytes that a body has at most. A longer one is hyper's to read, or to refuse.
    const fn max_body(self) -> usize {
        match self {
            Self::Heartbeat => MAX_HEARTBEAT,
            Self::Introspect => 8 << 10,
        }
    }

    const fn request_line(self) -> &'static [u8] {
        match self {
            Self::Heartbeat => b"POST /v1/heartbeat HTTP/1.1\r\n",
            Self::Introspect => b"POST /oauth/introspect HTTP/1.1\r\n",
        }
    }
}

/// What a listener allows.
#[derive(Clone, Copy, Debug)]
pub struct HttpLimits {
    /// Connections at a time. Further ones are answered 503.
    pub connections: Capacity,
    /// How long a request's head may take.
    pub head: Duration,
    /// How long a heartbeat's body may take.
    pub body: Duration,
    /// How long a connection may be silent between requests.
    pub idle: Duration,
}

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

/// The services of a listener. Without a handler it does not serve heartbeats.
pub struct Site<F> {
    /// Answers heartbeats.
    pub heartbeats: Option<Arc<Handler>>,
    /// Answers the rest.
    pub fallback: F,
    /// How long a heartbeat's body may take.
    pub body: Duration,
    /// The origins that may use the clients' routes.
    pub origins: Origins,
    /// The proxies in front that are trusted.
    pub proxies: Proxies,
    /// The port of the HTTP/3 listener, which TLS clients are told by `Alt-Svc` (RFC 7838).
    pub h3_port: Option<u16>,
    /// Proven networks, and the limits on bodies in progress.
    pub admission: Arc<Admission>,
    /// Bytes that a body may have: what a stream of HTTP/2 may bring before it is read.
    pub max_body_bytes: usize,
}

/// The pools that serve a listener's connections.
#[derive(Clone)]
pub struct WorkerPools {
    /// Serves all connections at first.
    pub clients: Arc<WorkerPool>,
    /// Serves connections that have proved to be an edge's, if edges have their own pool.
    pub edges: Option<Arc<WorkerPool>>,
}

impl<F> Site<F> {
    fn telemetry(&self) -> &Telemetry {
        &self.heartbeats.as_ref().expect("only what has heartbeats has a lane").telemetry
    }

    fn wall(&self) -> UnixMs {
        self.heartbeats.as_ref().map_or(UnixMs::from_ms(0), |handler| handler.clock.wall())
    }
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

/// An admitted connection: its permit and counters are released on drop.
struct AdmittedConnection {
    watch: Watch,
    permit: ConnectionPermit,
    _open: ConnectionEntry,
    _counted: OpenConnection,
}

/// The open connections of a listener.
#[derive(Default)]
struct OpenConnections(Mutex<(u64, std::collections::HashMap<u64, Watch>)>);

/// The entry of an open connection; removed on drop.
struct ConnectionEntry {
    open: Arc<OpenConnections>,
    number: u64,
}

impl OpenConnections {
    fn enter(self: &Arc<Self>, watch: Watch) -> ConnectionEntry {
        let (next, open) = &mut *self.0.lock();
        *next += 1;
        open.insert(*next, watch);
        ConnectionEntry { open: Arc::clone(self), number: *next }
    }

    /// Closes connections that have timed out. Never returns.
    #[expect(clippy::disallowed_methods, reason = "time-outs of connections are told by the runtime's clock")]
    async fn enforce_timeouts(self: Arc<Self>, limits: HttpLimits) {
        let shortest = limits.head.min(limits.body).min(limits.idle);
        let mut ticks = tokio::time::interval((shortest / 8).clamp(Duration::from_millis(5), CHECK_INTERVAL));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let now = Instant::now();
            let over = |watch: &&Watch| !watch.is_cut() && watch.is_timed_out(now);
            let cut: Vec<_> = self.0.lock().1.values().filter(over).cloned().collect();
            cut.iter().for_each(Watch::cut);
        }
    }

    fn stop(&self) {
        let open: Vec<_> = self.0.lock().1.values().cloned().collect();
        open.iter().for_each(Watch::stop);
    }
}

impl Drop for ConnectionEntry {
    fn drop(&mut self) {
        self.open.0.lock().1.remove(&self.number);
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

/// For the fuzzer: how many bytes a plain request has, if it is one and is whole.
#[cfg(fuzzing)]
pub(super) fn fuzz_plain(bytes: &[u8]) -> Option<usize> {
    match plain::read(bytes) {
        plain::Read::Whole(request) => Some(request.length),
        _ => None,
    }
}

/// For the fuzzer: reads a heartbeat in JSON. Whether it is one.
#[cfg(fuzzing)]
pub(super) fn fuzz_json(text: &[u8]) -> bool {
    json::frame(text).is_some()
}
