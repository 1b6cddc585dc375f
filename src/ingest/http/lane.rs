//! The express lane: heartbeats and introspections in plain HTTP/1.1, answered without hyper.
//!
//! These two are nearly all that a busy service is asked, and each is worth a microsecond of work. So a connection start_head
//! here. A request that is [`plain`] for certain is answered from the buffer that it was read into: no task, no timer, no
//! allocation for it. Anything else goes to hyper with every byte that has not been answered, and the connection stays
//! there. What is read here is what hyper would have read, see [`plain`].
//!
//! The buffers belong to the thread, so that a connection which waits holds none.

#![expect(clippy::disallowed_methods, reason = "time-outs of connections are told by the runtime's clock")]

use std::{
    cell::RefCell,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{
    HeaderMap, Method, Request, Response, StatusCode,
    header::{AUTHORIZATION, CONNECTION, CONTENT_TYPE, FORWARDED, HeaderName, HeaderValue},
};
use tokio::{io::ReadBuf, time::Instant};

use crate::{
    ingest::Handler,
    telemetry::{Route, StatusClass, Surface, Transport},
    time::UnixMs,
    web::{
        admission::Trust,
        peer::{KnownEdge, Peer},
        problem::{Code, Problem, caught, caught_at_once},
    },
};

use super::{
    beat::{self, BeatResponse},
    json,
    plain::{self, Plain, Read},
    reply,
    site::{ExpressRoute, Fallback, IntrospectionRequest, PREFACE, Site},
    socket::Stream,
    watch::{InFlight, Watch},
    workers,
};

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// What a thread reads into and writes from.
struct Buffers {
    input: Box<[u8]>,
    output: Vec<u8>,
    /// A body whose length has to be known before it is written.
    body: Vec<u8>,
}

thread_local! {
    static BUFFERS: RefCell<Buffers> = RefCell::new(Buffers {
        input: vec![0; plain::MAX_PLAIN].into(),
        output: Vec::with_capacity(plain::MAX_PLAIN),
        body: Vec::with_capacity(1024),
    });
}

/// An answer that has to be waited for.
type PendingResponse = Pin<Box<dyn Future<Output = Response<Bytes>> + Send>>;

/// A connection in the lane. Ends with the connection and what has been read of it, if hyper is to go on; with `None` when
/// it is over.
pub(super) struct Lane<S, F: Fallback> {
    io: Option<S>,
    site: Arc<Site<F>>,
    peer: Peer,
    watch: Watch,
    memory: F::Memory,
    /// Whether a valid frame has come: the peer's network has proved itself.
    proved: bool,
    /// Read, and not looked at or not whole.
    unread: Vec<u8>,
    /// Bytes of answers that the peer has not taken yet.
    unsent: Vec<u8>,
    pending: Option<(PendingResponse, InFlight)>,
    /// What is hyper's, once all answers have been taken.
    rest: Option<Bytes>,
}

/// What a read led to.
enum Turn {
    /// There may be more.
    Again,
    /// The peer has nothing more to say.
    Over,
}

impl<S: Stream, F: Fallback> Lane<S, F> {
    pub(super) fn new(io: S, site: Arc<Site<F>>, peer: Peer, watch: Watch) -> Self {
        let memory = F::Memory::default();
        let (unread, unsent) = (Vec::new(), Vec::new());
        Self { io: Some(io), site, peer, watch, memory, proved: false, unread, unsent, pending: None, rest: None }
    }

    fn io(&mut self) -> Pin<&mut S> {
        Pin::new(self.io.as_mut().expect("it is taken when the lane ends, and not polled after that"))
    }

    /// Hands the peer what it has not taken yet. `false` when it is gone.
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<bool> {
        while !self.unsent.is_empty() {
            let unsent = std::mem::take(&mut self.unsent);
            let written = self.io().poll_write(cx, &unsent);
            self.unsent = unsent;
            match ready!(written) {
                Ok(0) | Err(_) => return Poll::Ready(false),
                Ok(written) => drop(self.unsent.drain(..written)),
            }
        }
        // TLS holds back what the socket would not take.
        self.io().poll_flush(cx).map(|flushed| flushed.is_ok())
    }

    /// Reads once and answers what has come in.
    fn poll_turn(&mut self, cx: &mut Context<'_>) -> Poll<Turn> {
        BUFFERS.with_borrow_mut(|buffers| {
            let Buffers { input, output, body } = buffers;
            let kept = self.unread.len();
            input[..kept].copy_from_slice(&self.unread);
            let mut buffer = ReadBuf::new(&mut input[kept..]);
            match ready!(self.io().poll_read(cx, &mut buffer)) {
                Ok(()) if !buffer.filled().is_empty() => {}
                Ok(()) | Err(_) => return Poll::Ready(Turn::Over),
            }
            let length = kept + buffer.filled().len();
            output.clear();
            self.take(&input[..length], output, body);
            self.begin_send(cx, output)
        })
    }

    /// Looks at what had come in while an answer was waited for.
    fn poll_unread(&mut self, cx: &mut Context<'_>) -> Poll<Turn> {
        let unread = std::mem::take(&mut self.unread);
        BUFFERS.with_borrow_mut(|Buffers { output, body, .. }| {
            output.clear();
            self.take(&unread, output, body);
            self.begin_send(cx, output)
        })
    }

    fn begin_send(&mut self, cx: &mut Context<'_>, output: &[u8]) -> Poll<Turn> {
        let mut written = 0;
        // What is unsent comes first.
        if !output.is_empty() && self.unsent.is_empty() {
            match self.io().poll_write(cx, output) {
                Poll::Ready(Ok(0) | Err(_)) => return Poll::Ready(Turn::Over),
                Poll::Ready(Ok(length)) => written = length,
                Poll::Pending => {}
            }
        }
        self.unsent.extend_from_slice(&output[written..]);
        Poll::Ready(Turn::Again)
    }

    /// Answers the requests at the front of `bytes`, and keeps what follows.
    fn take(&mut self, bytes: &[u8], output: &mut Vec<u8>, body: &mut Vec<u8>) {
        self.unread.clear();
        let mut now = Instant::now();
        let wall = self.site.wall();
        let mut rest = bytes;
        while !rest.is_empty() {
            match self.site.heartbeats.as_ref().map_or(Read::Other, |_| plain::read(rest)) {
                Read::Whole(request) => {
                    rest = &rest[request.length..];
                    let written = output.len();
                    let answered = caught_at_once(|| self.answer(&request, wall, output, body));
                    let answered = answered.unwrap_or_else(|problem| {
                        output.truncate(written);
                        let problem =
                            if request.path == ExpressRoute::Introspect { problem.for_oauth() } else { problem };
                        Ok((request.path.route(), refuse(&problem, wall, output)))
                    });
                    match answered {
                        Ok((route, class)) => {
                            let done = Instant::now();
                            self.site.telemetry().http_answer(route, class, done - now);
                            now = done;
                        }
                        Err(pending) => {
                            self.pending = Some((pending, self.watch.request(false)));
                            self.unread.extend_from_slice(rest);
                            return;
                        }
                    }
                }
                Read::Head => {
                    self.unread.extend_from_slice(rest);
                    self.progressed(bytes, rest, now);
                    return self.watch.in_head(now);
                }
                Read::Body => {
                    self.unread.extend_from_slice(rest);
                    self.progressed(bytes, rest, now);
                    return self.watch.in_body(now);
                }
                // Whether it is HTTP/2 shows in 24 bytes.
                Read::Other if rest.len() < PREFACE.len() && PREFACE.starts_with(rest) => {
                    self.unread.extend_from_slice(rest);
                    return self.watch.in_head(now);
                }
                Read::Other => {
                    self.progressed(bytes, rest, now);
                    self.watch.in_head(now);
                    self.rest = Some(Bytes::copy_from_slice(rest));
                    return;
                }
            }
        }
        self.watch.answered(now);
    }

    /// A peer that sends requests without waiting for their answers may always be in the middle of one. It is given the
    /// time for a head anew with every request that was answered.
    fn progressed(&self, bytes: &[u8], rest: &[u8], now: Instant) {
        if rest.len() < bytes.len() {
            self.watch.answered(now);
        }
    }

    /// Answers a request now, or says what has to be waited for.
    fn answer(
        &mut self,
        request: &Plain<'_>,
        wall: UnixMs,
        output: &mut Vec<u8>,
        body: &mut Vec<u8>,
    ) -> Result<(Route, StatusClass), PendingResponse> {
        match request.path {
            ExpressRoute::Heartbeat => self.beat(request, wall, output).map(|status| (Route::Heartbeat, status)),
            ExpressRoute::Introspect => {
                if workers::is_late() {
                    self.site.telemetry().shed(Surface::Verdicts).increment(1);
                    refuse(&Problem::new(Code::Overloaded).for_oauth(), wall, output);
                    return Ok((Route::Introspect, StatusClass::Shed));
                }
                let Plain { content_type, authorization, body: form, .. } = *request;
                body.clear();
                if !self.site.fallback.introspect(
                    &mut self.memory,
                    &IntrospectionRequest { content_type, authorization, form },
                    body,
                ) {
                    return Err(self.ask(request));
                }
                self.watch.mark_as_edge();
                reply::ok(output, "application/json", body.len(), wall);
                output.extend_from_slice(body);
                Ok((Route::Introspect, StatusClass::Success))
            }
        }
    }

    fn beat(
        &mut self,
        request: &Plain<'_>,
        wall: UnixMs,
        output: &mut Vec<u8>,
    ) -> Result<StatusClass, PendingResponse> {
        let handler = self.site.heartbeats.as_ref().expect("without a handler nothing is plain");
        if workers::is_late() {
            self.site.telemetry().shed(Surface::Beats).increment(1);
            refuse(&Problem::new(Code::Overloaded), wall, output);
            return Ok(StatusClass::Shed);
        }
        let said =
            beat::transport_of(request.content_type).and_then(|transport| beat::beat(handler, transport, request.body));
        match said {
            Ok(BeatResponse::Now(acked)) => {
                if !std::mem::replace(&mut self.proved, true) {
                    self.site.admission.proven.prove(self.peer.network(), Trust::Client, Instant::now());
                }
                let content_type = acked.content_type();
                if acked.transport == Transport::Json {
                    let body = json::ack(&acked.ack);
                    reply::ok(output, content_type, body.len(), wall);
                    output.extend_from_slice(&body);
                } else {
                    let body = acked.ack.as_bytes();
                    reply::ok(output, content_type, body.len(), wall);
                    output.extend_from_slice(body);
                }
                handler.sent(acked.transport);
                Ok(StatusClass::Success)
            }
            Ok(settling) => Err(Box::pin(settle(Arc::clone(handler), settling, Instant::now()))),
            Err(problem) => Ok(refuse(&problem, wall, output)),
        }
    }

    /// Asks the way that every other request goes.
    fn ask(&self, request: &Plain<'_>) -> PendingResponse {
        let mut general = Request::new(Full::new(Bytes::copy_from_slice(request.body)));
        *general.method_mut() = Method::POST;
        *general.uri_mut() = hyper::Uri::from_static(request.path.path());
        let said = [
            (CONTENT_TYPE, request.content_type),
            (AUTHORIZATION, request.authorization),
            (FORWARDED, request.forwarded),
            (X_FORWARDED_FOR, request.x_forwarded_for),
        ];
        for (name, value) in said {
            // A value that is none is left out, and then it is missing.
            if let Some(value) = value.and_then(|value| HeaderValue::from_bytes(value).ok()) {
                general.headers_mut().insert(name, value);
            }
        }
        let client = self.site.proxies.client(self.peer, general.headers());
        general.extensions_mut().insert(client);
        let general = general.map(|body| body.map_err(|never| match never {}).boxed_unsync());
        let (site, watch) = (Arc::clone(&self.site), self.watch.clone());
        Box::pin(async move {
            match caught(site.fallback.answer(general)).await {
                Ok(response) => {
                    if response.extensions().get::<KnownEdge>().is_some() {
                        watch.mark_as_edge();
                    }
                    whole(response).await
                }
                Err(problem) => whole(problem.for_oauth().response()).await,
            }
        })
    }
}

impl<S: Stream, F: Fallback> Future for Lane<S, F> {
    type Output = Option<(S, Bytes)>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = Pin::into_inner(self);
        loop {
            if !ready!(this.poll_send(cx)) {
                return Poll::Ready(None);
            }
            if let Some(rest) = this.rest.take() {
                return Poll::Ready(this.io.take().map(|io| (io, rest)));
            }
            if let Some((pending, _)) = &mut this.pending {
                let response = ready!(pending.as_mut().poll(cx));
                this.pending = None;
                let (parts, body) = response.into_parts();
                reply::any(&mut this.unsent, parts.status, &parts.headers, body.len(), this.site.wall());
                this.unsent.extend_from_slice(&body);
                if !this.unread.is_empty() {
                    let _ = this.poll_unread(cx);
                }
                continue;
            }
            if this.watch.is_cut() {
                this.say_goodbye(cx);
                return Poll::Ready(None);
            }
            if this.watch.is_stopping() && this.unread.is_empty() {
                return this.close(cx);
            }
            match ready!(this.poll_turn(cx)) {
                Turn::Again => {}
                Turn::Over => return this.close(cx),
            }
        }
    }
}

impl<S: Stream, F: Fallback> Lane<S, F> {
    /// Says that no more is said; over TLS that is a message.
    fn close(&mut self, cx: &mut Context<'_>) -> Poll<Option<(S, Bytes)>> {
        // The peer hears it or it does not.
        let _ = self.io().poll_shutdown(cx);
        Poll::Ready(None)
    }

    /// Tells a peer whose body did not come in time why its connection ends.
    fn say_goodbye(&mut self, cx: &mut Context<'_>) {
        if self.watch.is_in_body() {
            let mut last = Vec::new();
            let problem = Problem::new(Code::RequestTimeout).response();
            let mut headers = problem.headers().clone();
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
            let body = Problem::new(Code::RequestTimeout).document();
            reply::any(&mut last, problem.status(), &headers, body.len(), self.site.wall());
            last.extend_from_slice(&body);
            // The peer takes it or it does not.
            let _ = self.io().poll_write(cx, &last);
            let _ = self.io().poll_shutdown(cx);
        }
    }
}

async fn settle(handler: Arc<Handler>, said: BeatResponse, since: Instant) -> Response<Bytes> {
    let response = match caught(said.settled(&handler)).await.and_then(|settled| settled) {
        Ok(acked) => {
            handler.sent(acked.transport);
            acked.response()
        }
        Err(problem) => problem.response(),
    };
    handler.telemetry.http_request(Route::Heartbeat, response.status().as_u16(), since.elapsed());
    whole(response).await
}

/// A response whose body is at worker.
#[expect(clippy::disallowed_methods, reason = "the body is one of our own answers")]
async fn whole<B: hyper::body::Body<Data = Bytes>>(response: Response<B>) -> Response<Bytes> {
    let (parts, body) = response.into_parts();
    match body.collect().await {
        Ok(body) => Response::from_parts(parts, body.to_bytes()),
        Err(_) => {
            let mut broken = Response::new(Bytes::new());
            *broken.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
            broken
        }
    }
}

fn refuse(problem: &Problem, wall: UnixMs, output: &mut Vec<u8>) -> StatusClass {
    let headers: HeaderMap = problem.headers();
    let body = problem.document();
    reply::any(output, problem.code().status(), &headers, body.len(), wall);
    output.extend_from_slice(&body);
    StatusClass::of(problem.code().status().as_u16())
}
