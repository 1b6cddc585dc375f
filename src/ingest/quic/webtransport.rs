//! WebTransport sessions: frames in the datagrams of a browser's HTTP/3 connection.
//!
//! A session is opened by a request and lives as long as the stream of that request. A session carries the frames of as
//! many gastank sessions as its peer has. Streams within it are refused.

use std::{
    future::Future,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use bytes::{Buf, Bytes};
use h3::{error::Code, ext::Protocol};
use http_body_util::Full;
use hyper::{
    Request, Response,
    header::{HeaderName, HeaderValue, ORIGIN},
};
use quinn::Connection;

use crate::{
    ingest::http::Fallback,
    telemetry::{DatagramDrop, Transport, WebTransportOutcome},
    web::{
        admission::Refused,
        peer::Peer,
        problem::{Code as ProblemCode, Problem},
    },
};

use super::{
    connection::{Exchange, Http3Connection, Valid},
    datagram::{CLOSE, CapsuleEvent, Capsules, SessionDatagram},
    frames::{FrameOutcome, FrameService, Tally, ValidFrames},
    limits::now,
    state::ServerState,
};

/// The path of sessions.
pub const PATH: &str = "/v1/webtransport";
/// What browsers look for in an answer.
const DRAFT: HeaderName = HeaderName::from_static("sec-webtransport-http3-draft");

/// Whether a request is for a session.
pub(super) fn is_asked_for(request: &Request<()>) -> bool {
    request.extensions().get::<Protocol>() == Some(&Protocol::WEB_TRANSPORT)
}

/// Opens a session, or refuses it, and stays until it is over.
pub(super) async fn open<F: Fallback>(
    request: &Request<()>,
    mut exchange: Exchange,
    http3: &Arc<Http3Connection>,
    state: &Arc<ServerState<F>>,
) {
    let number = exchange.send_id().into_inner();
    let telemetry = &state.service.telemetry;
    let entered = enter(request, number, http3, state);
    let (valid, _entry) = match entered {
        Ok(entered) => entered,
        Err((outcome, problem)) => {
            telemetry.webtransport_sessions(outcome).increment(1);
            taken(state.limits.first_frame, refuse(&mut exchange, problem.response())).await;
            return;
        }
    };
    let mut response = Response::new(());
    response.headers_mut().insert(DRAFT, HeaderValue::from_static("draft02"));
    if !taken(state.limits.first_frame, exchange.send_response(response)).await {
        return;
    }
    telemetry.webtransport_sessions(WebTransportOutcome::Opened).increment(1);
    let counted = telemetry.webtransport_opened();
    if !http3.sessions.read.swap(true, Ordering::AcqRel) {
        tokio::spawn(read_datagrams(Arc::clone(http3), Arc::clone(&state.service)));
    }
    let closes = tokio::select! {
        () = until_closed(&mut exchange) => false,
        () = state.stop.cancelled() => true,
        () = valid.idle_timeout() => true,
    };
    let closing = async {
        if closes {
            exchange.send_data(Bytes::from_static(&CLOSE)).await?;
        }
        exchange.finish().await
    };
    taken(state.limits.first_frame, closing).await;
    drop(counted);
}

/// Whether a peer takes what it is told. One that gives the stream no room has as long for it as for its first valid frame:
/// it would keep its place for ever.
async fn taken<E>(patience: Duration, telling: impl Future<Output = Result<(), E>>) -> bool {
    matches!(tokio::time::timeout(patience, telling).await, Ok(Ok(())))
}

/// Finds room for a session. It is left when the answer is dropped.
fn enter<F: Fallback>(
    request: &Request<()>,
    number: u64,
    http3: &Arc<Http3Connection>,
    state: &Arc<ServerState<F>>,
) -> Result<(Arc<Valid>, OpenSession), (WebTransportOutcome, Problem)> {
    let limits = &state.limits.sessions;
    if request.uri().path() != PATH {
        return Err((WebTransportOutcome::Path, Problem::new(ProblemCode::NotFound)));
    }
    let origin = request.headers().get(ORIGIN);
    if origin.is_some_and(|origin| !limits.origins.allow(origin.as_bytes())) {
        return Err((WebTransportOutcome::Origin, Problem::new(ProblemCode::OriginNotAllowed)));
    }
    let full = || (WebTransportOutcome::Full, Problem::new(ProblemCode::Overloaded));
    let from = Peer(http3.connection.remote_address()).network();
    let permit = state.sessions.admit(from, now()).map_err(|refused| match refused {
        Refused::Full => full(),
        Refused::Network => (WebTransportOutcome::Address, Problem::new(ProblemCode::RateLimited)),
    })?;
    let open = &mut *http3.sessions.open.lock();
    if open.len() >= limits.of_connection {
        return Err(full());
    }
    let valid = ValidFrames::of(Arc::new(permit), &state.limits);
    open.push((number, Arc::clone(&valid)));
    Ok((valid, OpenSession { http3: Arc::clone(http3), number }))
}

/// A session that is open, in the table of its connection.
struct OpenSession {
    http3: Arc<Http3Connection>,
    number: u64,
}

impl Drop for OpenSession {
    fn drop(&mut self) {
        self.http3.sessions.open.lock().retain(|(number, _)| *number != self.number);
    }
}

async fn refuse(exchange: &mut Exchange, response: Response<Full<Bytes>>) -> Result<(), h3::error::StreamError> {
    let (parts, _) = response.into_parts();
    exchange.send_response(Response::from_parts(parts, ())).await?;
    exchange.finish().await
}

/// Reads a session's own stream until its peer closes it, ends it or talks nonsense.
async fn until_closed(exchange: &mut Exchange) {
    let mut capsules = Capsules::default();
    while let Ok(Some(mut data)) = exchange.recv_data().await {
        while data.has_remaining() {
            match capsules.read(data.chunk()) {
                CapsuleEvent::Nothing => {}
                CapsuleEvent::Closed => return,
                CapsuleEvent::Nonsense => {
                    exchange.stop_stream(Code::H3_MESSAGE_ERROR);
                    return;
                }
            }
            let length = data.chunk().len();
            data.advance(length);
        }
    }
}

/// Answers the datagrams of a connection's sessions, until the connection ends.
async fn read_datagrams(http3: Arc<Http3Connection>, service: Arc<FrameService>) {
    let connection: &Connection = &http3.connection;
    let mut tally = Tally::default();
    while let Ok(datagram) = connection.read_datagram().await {
        tally.read += 1;
        let dropped = match SessionDatagram::parse(&datagram) {
            None => DatagramDrop::Malformed,
            Some(SessionDatagram { prefix, payload, session }) => match http3.sessions.find(session) {
                None => DatagramDrop::NoSession,
                Some(frames) => {
                    let FrameOutcome { valid, answered } =
                        service.datagram(connection, Transport::WebTransport, prefix, payload);
                    if valid {
                        frames.note();
                    }
                    tally.answered += u64::from(answered);
                    continue;
                }
            },
        };
        service.telemetry.datagrams_dropped(dropped).increment(1);
    }
    tally.tell(connection, &service.telemetry);
}
