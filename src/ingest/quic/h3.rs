//! HTTP/3: requests to the same site as those of HTTP/1 and 2, and the connections that WebTransport sessions live on.

use std::{
    future::poll_fn,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::{Buf, Bytes};
use h3::{
    error::{Code, StreamError},
    frame::{FrameStream, FrameStreamError},
    proto::frame::{Frame, PayloadLen},
    quic::SendStream as _,
    server::{RequestResolver, RequestStream},
    stream::BufRecvStream,
};
use http_body_util::BodyExt;
use hyper::{
    HeaderMap, Method, Request, Response,
    body::{Body, Frame as BodyFrame, SizeHint},
    header::{CONTENT_LENGTH, HeaderValue},
};
use quinn::Connection;
use tokio::task::JoinSet;

use crate::{ingest::http::Fallback, web::peer::Peer};

use super::{
    bounded::{Bounded, Stream},
    connection::{Exchange, Http3Connection, Sessions},
    limits::CLOSE_DELAY,
    state::ServerState,
    webtransport,
};

/// Bytes of a head.
const MAX_HEAD: u32 = 16 << 10;
/// Bytes that a stream may have besides heads and bodies: the heads of frames, and frames of no meaning.
const SLACK: usize = 16 << 10;
/// Streams of a connection that came to nothing, at most: each leaves a trace in the crate that speaks HTTP/3.
const MAX_FAILED: u32 = 256;
/// A stream of a WebTransport session is not taken.
const REJECTED: u64 = 0x3994_bd84;

/// A connection, as the crate that speaks HTTP/3 knows it.
type Server = h3::server::Connection<Bounded, Bytes>;
/// Serves a connection to its end.
pub(super) async fn serve<F: Fallback>(connection: Connection, state: Arc<ServerState<F>>) {
    let http3 = Arc::new(Http3Connection { connection, sessions: Sessions::default() });
    serve_requests(&http3, &state).await;
    http3.sessions.tell_unread(&http3.connection, &state.service.telemetry);
}

async fn serve_requests<F: Fallback>(http3: &Arc<Http3Connection>, state: &Arc<ServerState<F>>) {
    let each = MAX_HEAD as usize + state.limits.max_body_bytes + SLACK;
    let bounded = Bounded::new(http3.connection.clone(), each);
    let sessions = &state.limits.sessions;
    let mut builder = h3::server::builder();
    builder
        .max_field_section_size(MAX_HEAD.into())
        .send_grease(false)
        .enable_extended_connect(sessions.are_on())
        .enable_webtransport(sessions.are_on())
        .enable_datagram(sessions.are_on())
        .max_webtransport_sessions(sessions.of_connection as u64);
    let Ok(Ok(mut server)) = tokio::time::timeout(state.limits.head, builder.build(bounded)).await else { return };
    let mut requests = JoinSet::new();
    let mut failed = 0;
    let mut stopped = pin!(state.stop.cancelled());
    loop {
        tokio::select! {
            stream = next_stream(&mut server) => match stream {
                Ok(Some(resolver)) => {
                    requests.spawn(request(resolver, Arc::clone(http3), Arc::clone(state)));
                }
                Ok(None) | Err(()) => return,
            },
            Some(done) = requests.join_next(), if !requests.is_empty() => {
                failed += u32::from(!matches!(done, Ok(true)));
                if failed > MAX_FAILED {
                    let code = quinn::VarInt::from_u64(Code::H3_EXCESSIVE_LOAD.value());
                    http3.connection.close(code.unwrap_or_default(), b"too many streams came to nothing");
                    return;
                }
            }
            () = tokio::time::sleep(state.limits.http_idle), if requests.is_empty() => return,
            () = &mut stopped => break,
        }
    }
    // The peer is told the first request that will not be answered (RFC 9114, 5.2); with 0 it would be our last one.
    if server.shutdown(1).await.is_ok() {
        while requests.join_next().await.is_some() {}
        tokio::time::sleep(CLOSE_DELAY).await;
    }
}

/// Waits for the next stream that could be a request. Streams of WebTransport sessions are let go of: there is nothing
/// to be had on them, and what is not read must not be kept.
async fn next_stream(server: &mut Server) -> Result<Option<RequestResolver<Bounded, Bytes>>, ()> {
    let stream = poll_fn(|cx| {
        let stream = server.poll_accept_request_stream(cx);
        server.inner.accepted_streams_mut().wt_uni_streams.clear();
        stream
    });
    let stream = stream.await.map_err(|_| ())?;
    Ok(stream.map(|stream| server.create_resolver(FrameStream::new(BufRecvStream::new(stream)))))
}

/// Answers a request. Whether it was one.
async fn request<F: Fallback>(
    mut resolver: RequestResolver<Bounded, Bytes>,
    http3: Arc<Http3Connection>,
    state: Arc<ServerState<F>>,
) -> bool {
    let first = poll_fn(|cx| resolver.frame_stream.poll_next(cx));
    let Ok(first) = tokio::time::timeout(state.limits.head, first).await else { return false };
    let Ok((request, exchange)) = resolve(resolver, first, state.limits.head).await else { return false };
    let mut request = request;
    request.extensions_mut().insert(Peer(http3.connection.remote_address()));
    if request.method() == Method::CONNECT && webtransport::is_asked_for(&request) {
        webtransport::open(&request, exchange, &http3, &state).await;
    } else {
        // Whatever goes wrong with an answer, its peer is gone or takes nothing.
        drop(answer(request, exchange, &state).await);
    }
    true
}

async fn resolve(
    mut resolver: RequestResolver<Bounded, Bytes>,
    first: Result<Option<Frame<PayloadLen>>, FrameStreamError>,
    timeout: Duration,
) -> Result<(Request<()>, Exchange), ()> {
    if let Ok(Some(Frame::WebTransportStream(_))) = first {
        resolver.frame_stream.reset(REJECTED);
        return Err(());
    }
    let resolved = resolver.accept_with_frame(first).map_err(|_| ())?;
    // Answers a head that is too long by itself.
    tokio::time::timeout(timeout, resolved.resolve()).await.map_err(|_| ())?.map_err(|_| ())
}

async fn answer<F: Fallback>(
    request: Request<()>,
    exchange: Exchange,
    state: &ServerState<F>,
) -> Result<(), StreamError> {
    let (mut send, recv) = exchange.split();
    let length = content_length(request.headers());
    let is_head = request.method() == Method::HEAD;
    let request = request.map(|()| Received { stream: recv, length, ended: false });
    let (mut parts, body) = state.site.answer(request).await.into_parts();
    let mut body = pin!(body);
    if let Some(length) = body.size_hint().exact()
        && !parts.headers.contains_key(CONTENT_LENGTH)
    {
        parts.headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
    }
    let timeout = state.limits.http_idle;
    let taken = async {
        send.send_response(Response::from_parts(parts, ())).await?;
        while !is_head && let Some(frame) = body.frame().await {
            // Our own bodies do not fail; if one did, the peer must not take a part for the whole.
            let Ok(frame) = frame else {
                send.stop_stream(Code::H3_INTERNAL_ERROR);
                return Ok(());
            };
            if let Ok(data) = frame.into_data() {
                send.send_data(data).await?;
            }
        }
        send.finish().await
    };
    tokio::time::timeout(timeout, taken).await.unwrap_or(Ok(()))
}

fn content_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// The body of a request, as it comes.
struct Received {
    stream: RequestStream<Stream<h3_quinn::RecvStream>, Bytes>,
    length: Option<u64>,
    ended: bool,
}

impl Body for Received {
    type Data = Bytes;
    type Error = StreamError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<BodyFrame<Bytes>, StreamError>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        let data = ready!(self.stream.poll_recv_data(cx)).map(|data| {
            data.map(|mut data| {
                let length = data.remaining();
                data.copy_to_bytes(length)
            })
        });
        self.ended = !matches!(data, Ok(Some(_)));
        Poll::Ready(data.transpose().map(|data| data.map(BodyFrame::data)))
    }

    fn is_end_stream(&self) -> bool {
        self.ended
    }

    fn size_hint(&self) -> SizeHint {
        self.length.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}
