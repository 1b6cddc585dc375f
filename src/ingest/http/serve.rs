//! One connection, from its first byte to its last: the lane, then hyper.

use std::{
    convert::Infallible,
    future::{Future, poll_fn},
    pin::{Pin, pin},
    sync::Arc,
    task::Poll,
};

use bytes::Bytes;
use http_body_util::{BodyExt, Either, Full};
use hyper::{
    Method, Request, Response, StatusCode, Version,
    body::{Body, Incoming},
    header::{ALLOW, ALT_SVC, CONNECTION, CONTENT_TYPE, EXPECT, HOST, HeaderValue},
    server::conn::{http1, http2},
    service::service_fn,
};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::{net::TcpStream, time::Instant};
use tokio_util::task::TaskTracker;

use crate::{
    ingest::Handler,
    telemetry::{Route, StatusClass, Surface},
    web::{
        admission::{Refused, Trust},
        cors::{self, Cors},
        peer::{KnownEdge, Network, Peer},
        problem::{Code, Problem, caught},
    },
};

use super::{
    beat,
    connections::AdmittedConnection,
    lane::Lane,
    proxied,
    site::{BoxError, ExpressRoute, Fallback, HEARTBEAT_PATH, MAX_HEARTBEAT, PREFACE, ReplyBody, Site, WorkerPools},
    socket::{Rewound, Socket, Stream},
    tls::TlsHandshake,
    unread::Returning,
    watch::{Watch, Watched},
    workers,
};

/// Bytes of the head of a request.
const MAX_HEAD: usize = 16 << 10;
/// Streams of one HTTP/2 connection that may be open at a time.
const MAX_STREAMS: u32 = 128;
/// Streams that a peer may open and reset before their requests are answered.
const MAX_RESETS: usize = 64;
/// Bytes of answers that wait for one HTTP/2 peer.
const MAX_SEND_BUFFER: usize = 256 << 10;
/// Bytes of all bodies of one HTTP/2 connection that may come before they are read.
const CONNECTION_WINDOW: u32 = 256 << 10;

/// A future that serves a connection to its end.
pub(super) type Connection = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Runs a connection in the pool for all clients, and moves it to the pool for edges once it has proved to be an edge's.
pub(super) fn spawn(
    mut connection: Connection,
    admitted: AdmittedConnection,
    pools: &WorkerPools,
    connections: &TaskTracker,
) {
    let edges = pools.edges.clone();
    let tracker = connections.clone();
    let (worker, held) = pools.clients.least_busy();
    let task = async move {
        let watch = &admitted.watch;
        let moves = poll_fn(|cx| {
            watch.set_waker(cx.waker());
            match connection.as_mut().poll(cx) {
                Poll::Ready(()) => Poll::Ready(false),
                Poll::Pending if watch.is_cut() => Poll::Ready(false),
                Poll::Pending if watch.is_edge() => Poll::Ready(true),
                Poll::Pending => Poll::Pending,
            }
        });
        if moves.await {
            drop(held);
            move_to_edges(connection, admitted, edges, &tracker).await;
        }
    };
    connections.spawn_on(task, &worker.runtime);
}

/// Moves a connection to the pool for edges, if there is one.
async fn move_to_edges(
    connection: Connection,
    admitted: AdmittedConnection,
    edges: Option<Arc<super::WorkerPool>>,
    connections: &TaskTracker,
) {
    admitted.permit.prove(Trust::Edge, now());
    match edges {
        None => until_cut(connection, admitted).await,
        Some(edges) => {
            let (worker, held) = edges.least_busy();
            admitted.watch.moved();
            let task = async move {
                until_cut(connection, admitted).await;
                drop(held);
            };
            connections.spawn_on(task, &worker.runtime);
        }
    }
}

async fn until_cut(mut connection: Connection, admitted: AdmittedConnection) {
    poll_fn(|cx| {
        admitted.watch.set_waker(cx.waker());
        match connection.as_mut().poll(cx) {
            Poll::Pending if !admitted.watch.is_cut() => Poll::Pending,
            Poll::Pending | Poll::Ready(()) => Poll::Ready(()),
        }
    })
    .await;
}

/// Serves a connection to its end.
pub(super) async fn serve<F: Fallback>(mut stream: TcpStream, peer: Peer, site: Arc<Site<F>>, watch: Watch) {
    let Some(peer) = proxied::client(&mut stream, peer, &site.proxies).await else { return };
    let socket = Socket::new(stream, watch.clone());
    converse(socket, peer, site, watch, false).await;
}

/// Serves a connection to its end, by TLS.
pub(super) async fn serve_tls<F: Fallback>(
    mut stream: TcpStream,
    peer: Peer,
    site: Arc<Site<F>>,
    watch: Watch,
    handshake: TlsHandshake,
) {
    let Some(peer) = proxied::client(&mut stream, peer, &site.proxies).await else { return };
    if let Some(io) = handshake.accept(Socket::new(stream, watch.clone())).await {
        watch.start_head(now());
        converse(io, peer, site, watch, true).await;
    }
}

#[expect(clippy::disallowed_methods, reason = "time-outs of connections are told by the runtime's clock")]
fn now() -> Instant {
    Instant::now()
}

async fn converse<S: Stream, F: Fallback>(io: S, peer: Peer, site: Arc<Site<F>>, watch: Watch, encrypted: bool) {
    let lane = Lane::new(io, Arc::clone(&site), peer, watch.clone());
    if let Some((io, first)) = lane.await {
        Box::pin(with_hyper(io, first, peer, site, watch, encrypted)).await;
    }
}

/// Goes on with a connection that is not plain, from its first byte that has not been answered.
async fn with_hyper<S: Stream, F: Fallback>(
    io: S,
    first: Bytes,
    peer: Peer,
    site: Arc<Site<F>>,
    watch: Watch,
    encrypted: bool,
) {
    let multiplexed = first.starts_with(PREFACE);
    let io = TokioIo::new(Watched::new(Rewound::new(first, io), watch.clone()));
    let elsewhere = site.h3.as_ref().filter(|_| encrypted).map(|authority| format!("h3=\"{authority}\"; ma=86400"));
    let elsewhere = elsewhere.and_then(|text| HeaderValue::try_from(text).ok());
    let service = service_fn(|mut request: Request<Incoming>| {
        let in_flight = watch.request(multiplexed);
        request.extensions_mut().insert(peer);
        let (site, watch, elsewhere) = (Arc::clone(&site), watch.clone(), elsewhere.clone());
        async move {
            let waits = request.headers().contains_key(EXPECT);
            let (head, body) = request.into_parts();
            let (body, rest) = Returning::new(body);
            let mut response = site.answer(Request::from_parts(head, body)).await;
            if !multiplexed && rest.is_there() {
                // Who waits to be told to go on sends nothing more after an answer, and who was too slow or sends too much
                // has had its time.
                let refused = [StatusCode::PAYLOAD_TOO_LARGE, StatusCode::REQUEST_TIMEOUT];
                if waits || refused.contains(&response.status()) || !rest.discarded().await {
                    // The next request could not be told from the rest of this one.
                    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
                    watch.mark_body_refused();
                }
            }
            if let Some(elsewhere) = elsewhere {
                response.headers_mut().insert(ALT_SVC, elsewhere);
            }
            if response.extensions().get::<KnownEdge>().is_some() {
                watch.mark_as_edge();
            }
            drop(in_flight);
            Ok::<_, Infallible>(response)
        }
    });
    // Errors of a connection are its peer's: malformed heads, resets, silence.
    if multiplexed {
        let mut builder = http2::Builder::new(TokioExecutor::new());
        builder
            .timer(TokioTimer::new())
            .max_concurrent_streams(MAX_STREAMS)
            .max_pending_accept_reset_streams(MAX_RESETS)
            .max_header_list_size(u32::try_from(MAX_HEAD).expect("a small constant"))
            .max_send_buf_size(MAX_SEND_BUFFER)
            .initial_stream_window_size(stream_window(site.max_body_bytes))
            .initial_connection_window_size(CONNECTION_WINDOW)
            .keep_alive_interval(Some(watch.timeouts().idle))
            .keep_alive_timeout(watch.timeouts().head);
        let mut connection = pin!(builder.serve_connection(io, service));
        let mut told = false;
        poll_fn(|cx| {
            if watch.is_stopping() && !std::mem::replace(&mut told, true) {
                connection.as_mut().graceful_shutdown();
            }
            connection.as_mut().poll(cx).map(drop)
        })
        .await;
    } else {
        let mut builder = http1::Builder::new();
        // The watch tells heads from idle time; hyper would take one for the other.
        builder.pipeline_flush(true).max_buf_size(MAX_HEAD).header_read_timeout(None);
        let mut connection = pin!(builder.serve_connection(io, service));
        let mut told = false;
        poll_fn(|cx| {
            if watch.is_stopping() && !std::mem::replace(&mut told, true) {
                connection.as_mut().graceful_shutdown();
            }
            connection.as_mut().poll(cx).map(drop)
        })
        .await;
    }
}

impl<F: Fallback> Site<F> {
    /// Answers a request, whatever brought it.
    pub(in crate::ingest) async fn answer<B>(&self, request: Request<B>) -> Response<ReplyBody<F::Body>>
    where
        B: Body<Data = Bytes, Error: Into<BoxError>> + Send + Unpin + 'static,
    {
        let cors = Cors::of(&self.cors, &request);
        let mut response = match cors.preflight(&request) {
            Some(Ok(headers)) => cors::answer::<Full<Bytes>>(headers).map(Either::Left),
            Some(Err(problem)) => problem.response().map(Either::Left),
            None => {
                let answered = caught(self.answered(request)).await;
                answered.unwrap_or_else(|problem| problem.response().map(Either::Left))
            }
        };
        cors.say(&mut response);
        response
    }

    #[expect(clippy::disallowed_methods, reason = "how long a request takes is told by the runtime's clock")]
    async fn answered<B>(&self, request: Request<B>) -> Response<ReplyBody<F::Body>>
    where
        B: Body<Data = Bytes, Error: Into<BoxError>> + Send + Unpin + 'static,
    {
        if let Err(problem) = one_host(&request) {
            return problem.response().map(Either::Left);
        }
        let mut request = request;
        if let Some(peer) = request.extensions().get::<Peer>() {
            let client = self.proxies.client(*peer, request.headers());
            request.extensions_mut().insert(client);
        }
        if let Some(handler) = &self.heartbeats
            && request.uri().path() == HEARTBEAT_PATH
        {
            let started = Instant::now();
            let (class, response) = match self.heartbeat(handler, request).await {
                Ok(response) => (StatusClass::of(response.status().as_u16()), response),
                Err(problem) if problem.code() == Code::Overloaded => (StatusClass::Shed, problem.response()),
                Err(problem) => (StatusClass::of(problem.code().status().as_u16()), problem.response()),
            };
            handler.telemetry.http_answer(Route::Heartbeat, class, started.elapsed());
            return response.map(Either::Left);
        }
        if let Some(Handler { telemetry, .. }) = self.heartbeats.as_deref()
            && request.uri().path() == ExpressRoute::Introspect.path()
            && workers::is_late()
        {
            telemetry.shed(Surface::Verdicts).increment(1);
            let started = Instant::now();
            let response = Problem::new(Code::Overloaded).for_oauth().response();
            telemetry.http_answer(Route::Introspect, StatusClass::Shed, started.elapsed());
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
        if workers::is_late() {
            handler.telemetry.shed(Surface::Beats).increment(1);
            return Err(Problem::new(Code::Overloaded));
        }
        let transport = beat::transport_of(request.headers().get(CONTENT_TYPE).map(HeaderValue::as_bytes))?;
        let from = request.extensions().get::<Peer>().map(|peer| peer.network());
        let body = self.read(request.into_body(), from).await.inspect_err(|problem| {
            if matches!(problem.code(), Code::Overloaded | Code::RateLimited) {
                handler.telemetry.shed(Surface::Beats).increment(1);
            }
        })?;
        let acked = beat::beat(handler, transport, &body)?.settled(handler).await?;
        handler.sent(transport);
        Ok(acked.response())
    }

    /// Reads the body of a heartbeat. One that is there already takes neither a timer nor a permit; one that has to be waited
    /// for takes a place from its network's share.
    async fn read<B>(&self, body: B, from: Option<Network>) -> Result<Bytes, Problem>
    where
        B: Body<Data = Bytes> + Unpin,
    {
        let mut reading = pin!(collect(body, MAX_HEARTBEAT));
        if let Poll::Ready(read) = poll_fn(|cx| Poll::Ready(reading.as_mut().poll(cx))).await {
            return read;
        }
        let permit = from.map(|from| self.admission.bodies.admit(from, now())).transpose();
        let _permit = permit.map_err(|refused| match refused {
            Refused::Full => Problem::new(Code::Overloaded),
            Refused::Network => Problem::new(Code::RateLimited),
        })?;
        tokio::time::timeout(self.body, reading).await.unwrap_or_else(|_| Err(Problem::new(Code::RequestTimeout)))
    }
}

/// Refuses a request of HTTP/1.1 that does not name its host, and any that names several (RFC 9112, 3.2). Which site was
/// meant could be read in two ways then.
fn one_host<B>(request: &Request<B>) -> Result<(), Problem> {
    match (request.headers().get_all(HOST).iter().count(), request.version()) {
        (1, _) => Ok(()),
        (0, version) if version != Version::HTTP_11 => Ok(()),
        (0, _) => Err(Problem::bad_request("a request has to say its host in the header Host")),
        _ => Err(Problem::bad_request("there is more than one header Host")),
    }
}

/// Reads a body of at most `limit` bytes.
async fn collect<B>(mut body: B, limit: usize) -> Result<Bytes, Problem>
where
    B: Body<Data = Bytes> + Unpin,
{
    if body.size_hint().lower() > limit as u64 {
        return Err(Problem::new(Code::BodyTooLarge));
    }
    let mut whole = Bytes::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(|_| Problem::new(Code::BadRequest))?.into_data() else { continue };
        if whole.len() + data.len() > limit {
            return Err(Problem::new(Code::BodyTooLarge));
        }
        whole = if whole.is_empty() { data } else { [whole, data].concat().into() };
    }
    Ok(whole)
}

/// Bytes that one stream of HTTP/2 may bring before they are read: as many as a body may have.
fn stream_window(max_body_bytes: usize) -> u32 {
    const LEAST: u32 = 16 << 10;
    u32::try_from(max_body_bytes).unwrap_or(u32::MAX).clamp(LEAST, CONNECTION_WINDOW)
}
