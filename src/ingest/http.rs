//! HTTP/1.1 and cleartext HTTP/2: the listener, and heartbeats by `POST /v1/heartbeat`.
//!
//! A heartbeat touches no router. Every other request goes to the [`Fallback`]. Connections, heads, bodies and idle time
//! are bounded here for all of them.

use std::{convert::Infallible, error::Error, io, net::SocketAddr, pin::pin, sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use http_body_util::{BodyExt, Either, Full, combinators::UnsyncBoxBody};
use hyper::{
    Method, Request, Response, StatusCode, Version,
    body::{Body, Incoming},
    header::{ALLOW, CACHE_CONTROL, CONNECTION, CONTENT_TYPE, HeaderValue},
    service::service_fn,
};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto,
};
use tokio::{
    io::AsyncWriteExt,
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    time::Instant,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    peer::Peer,
    problem::{Code, Problem},
    telemetry::{HttpListener, Route, Telemetry, Transport},
    wire::SignedAck,
};

use super::{
    Handler, Reply,
    connection::{Patience, Watch, Watched},
    json,
};

/// The path of heartbeats.
pub const HEARTBEAT_PATH: &str = "/v1/heartbeat";
/// A heartbeat is 48 bytes, in JSON a few hundred.
const MAX_HEARTBEAT: usize = 1024;
/// Streams of one HTTP/2 connection that may be open at a time.
const MAX_STREAMS: u32 = 128;
/// How long a refused connection is given to take its answer.
const REFUSAL: Duration = Duration::from_secs(1);
/// How long to wait when the system has no more descriptors.
const PAUSE: Duration = Duration::from_millis(50);
const BINARY: HeaderValue = HeaderValue::from_static("application/octet-stream");
const JSON: HeaderValue = HeaderValue::from_static("application/json");
const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");

/// What is sent as a body: bytes that are at hand, or what the fallback makes.
pub type ReplyBody<B> = Either<Full<Bytes>, B>;

/// Why the body of a request ends early.
type BoxError = Box<dyn Error + Send + Sync>;

/// What comes as the body of a request, whatever brought it.
pub type RequestBody = UnsyncBoxBody<Bytes, BoxError>;

/// Answers every request that is not a heartbeat.
#[async_trait]
pub trait Fallback: Send + Sync + 'static {
    /// What it answers with.
    type Body: Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static;

    /// Answers a request. Its extensions have the [`Peer`].
    async fn answer(&self, request: Request<RequestBody>) -> Response<Self::Body>;
}

/// What a listener allows.
#[derive(Clone, Copy, Debug)]
pub struct HttpLimits {
    /// Connections at a time. Further ones are answered 503.
    pub connections: usize,
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
}

/// What answers a listener's requests. Without a handler there are no heartbeats here.
pub struct Site<F> {
    /// Answers heartbeats.
    pub heartbeats: Option<Arc<Handler>>,
    /// Answers the rest.
    pub fallback: F,
    /// How long a heartbeat's body may take.
    pub body: Duration,
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
        Ok(Self { socket: TcpListener::bind(addr).await?, name, limits, telemetry })
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
    pub async fn run<F: Fallback>(self, site: Arc<Site<F>>, stop: CancellationToken) {
        let connections = TaskTracker::new();
        let room = Arc::new(Semaphore::new(self.limits.connections));
        loop {
            let accepted = tokio::select! {
                () = stop.cancelled() => break,
                accepted = self.socket.accept() => accepted,
            };
            let (stream, peer) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    // The system ran out of something, or the peer is gone already.
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(PAUSE).await;
                    continue;
                }
            };
            let Ok(place) = Arc::clone(&room).try_acquire_owned() else {
                self.telemetry.connections_refused(self.name).increment(1);
                connections.spawn(refuse(stream));
                continue;
            };
            // Small answers should leave at once.
            drop(stream.set_nodelay(true));
            let (site, stop, telemetry) = (Arc::clone(&site), stop.clone(), self.telemetry.clone());
            let (name, limits) = (self.name, self.limits);
            connections.spawn(async move {
                let counted = telemetry.connection_opened(name);
                serve(stream, peer, site, limits, stop).await;
                drop((counted, place));
            });
        }
        connections.close();
        connections.wait().await;
    }
}

async fn serve<F: Fallback>(
    stream: TcpStream,
    peer: SocketAddr,
    site: Arc<Site<F>>,
    limits: HttpLimits,
    stop: CancellationToken,
) {
    let watch = Watch::new(Patience { head: limits.head, idle: limits.idle });
    let io = TokioIo::new(Watched::new(stream, watch.clone()));
    let service = service_fn(|mut request: Request<Incoming>| {
        let in_flight = watch.request(request.version() == Version::HTTP_2);
        request.extensions_mut().insert(Peer(peer));
        let site = Arc::clone(&site);
        async move {
            let version = request.version();
            let mut response = site.answer(request).await;
            if response.status() == StatusCode::PAYLOAD_TOO_LARGE && version < Version::HTTP_2 {
                // The rest of the body is not read: the next request could not be told from it.
                response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            }
            drop(in_flight);
            Ok::<_, Infallible>(response)
        }
    });
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.idle)
        .pipeline_flush(true)
        .max_buf_size(16 << 10);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(MAX_STREAMS)
        .max_header_list_size(16 << 10)
        .keep_alive_interval(Some(limits.idle))
        .keep_alive_timeout(limits.head);
    let mut connection = pin!(builder.serve_connection(io, service));
    let mut run_out = pin!(watch.run_out());
    let mut stopping = false;
    loop {
        tokio::select! {
            // Errors of a connection are its peer's: malformed heads, resets, silence.
            _ = &mut connection => return,
            () = &mut run_out => return,
            () = stop.cancelled(), if !stopping => {
                stopping = true;
                connection.as_mut().graceful_shutdown();
            }
        }
    }
}

/// Tells a peer that there is no room, and lets go of it.
async fn refuse(mut stream: TcpStream) {
    const NO_ROOM: &[u8] =
        b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 1\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
    let answer = async {
        stream.write_all(NO_ROOM).await?;
        stream.shutdown().await
    };
    // The peer is told or it is not; either way it is gone.
    drop(tokio::time::timeout(REFUSAL, answer).await);
}

impl<F: Fallback> Site<F> {
    #[expect(clippy::disallowed_methods, reason = "how long a request takes is told by the runtime's clock")]
    pub(super) async fn answer<B>(&self, request: Request<B>) -> Response<ReplyBody<F::Body>>
    where
        B: Body<Data = Bytes, Error: Into<BoxError>> + Send + Unpin + 'static,
    {
        if let Some(handler) = &self.heartbeats
            && request.uri().path() == HEARTBEAT_PATH
        {
            let started = Instant::now();
            let response = self.heartbeat(handler, request).await.unwrap_or_else(|problem| problem.response());
            handler.telemetry.http_request(Route::Heartbeat, response.status().as_u16(), started.elapsed());
            return response.map(Either::Left);
        }
        let request = request.map(|body| body.map_err(Into::into).boxed_unsync());
        self.fallback.answer(request).await.map(Either::Right)
    }

    async fn heartbeat<B>(&self, handler: &Handler, request: Request<B>) -> Result<Response<Full<Bytes>>, Problem>
    where
        B: Body<Data = Bytes> + Unpin,
    {
        if request.method() != Method::POST {
            let mut response = Problem::new(Code::MethodNotAllowed).response();
            response.headers_mut().insert(ALLOW, HeaderValue::from_static("POST"));
            return Ok(response);
        }
        let content_type = request.headers().get(CONTENT_TYPE).map(HeaderValue::as_bytes);
        let transport = match content_type {
            None => Transport::Http,
            Some(value) if is_type(value, b"application/octet-stream") => Transport::Http,
            Some(value) if is_type(value, b"application/json") => Transport::Json,
            Some(_) => return Err(Problem::new(Code::UnsupportedMediaType)),
        };
        let body = read(request.into_body(), MAX_HEARTBEAT, self.body).await?;
        // Until every session is known, `unknown` would be said of sessions that are good.
        if !handler.telemetry.health().is_warm() {
            return Err(Problem::new(Code::WarmingUp));
        }
        let reply = match transport {
            Transport::Json => handler.beat(transport, &json::frame(&body).ok_or(Problem::new(Code::BadFrame))?),
            _ => handler.beat(transport, &body),
        };
        match reply {
            Reply::Silence(_) => Err(Problem::new(Code::BadFrame)),
            Reply::Now(ack) => Ok(answer(handler, transport, &ack)),
            Reply::Settled(ack, account) => {
                if handler.settle(account).await {
                    Ok(answer(handler, transport, &ack))
                } else {
                    Err(Problem::new(Code::StoreUnavailable))
                }
            }
        }
    }
}

fn answer(handler: &Handler, transport: Transport, ack: &SignedAck) -> Response<Full<Bytes>> {
    let (content_type, body) = match transport {
        Transport::Json => (JSON, Bytes::from(json::ack(ack))),
        _ => (BINARY, Bytes::copy_from_slice(ack.as_bytes())),
    };
    handler.sent(transport);
    let mut response = Response::new(Full::new(body));
    response.headers_mut().insert(CONTENT_TYPE, content_type);
    response.headers_mut().insert(CACHE_CONTROL, NO_STORE);
    response
}

/// Reads a body of at most `limit` bytes, in at most `patience`.
async fn read<B>(mut body: B, limit: usize, patience: Duration) -> Result<Bytes, Problem>
where
    B: Body<Data = Bytes> + Unpin,
{
    if body.size_hint().lower() > limit as u64 {
        return Err(Problem::new(Code::BodyTooLarge));
    }
    let reading = async {
        let mut whole = Bytes::new();
        while let Some(frame) = body.frame().await {
            let Ok(data) = frame.map_err(|_| Problem::new(Code::BadRequest))?.into_data() else { continue };
            if whole.len() + data.len() > limit {
                return Err(Problem::new(Code::BodyTooLarge));
            }
            whole = if whole.is_empty() { data } else { [whole, data].concat().into() };
        }
        Ok(whole)
    };
    tokio::time::timeout(patience, reading).await.unwrap_or_else(|_| Err(Problem::new(Code::RequestTimeout)))
}

/// Whether a content type is `wanted`, whatever its case and parameters.
fn is_type(value: &[u8], wanted: &[u8]) -> bool {
    let essence = value.split(|byte| *byte == b';').next().unwrap_or_default();
    essence.trim_ascii().eq_ignore_ascii_case(wanted)
}
