//! Heartbeats in HTTP bodies, for the express lane, hyper and HTTP/3: reading them, and the responses.

use bytes::Bytes;
use http_body_util::Full;
use hyper::{
    Response,
    header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue},
};

use crate::{
    engine::AccountId,
    ingest::{Handler, Reply},
    telemetry::Transport,
    web::problem::{Code, Problem},
    wire::SignedAck,
};

use super::json;

/// The response to a heartbeat.
pub(super) enum BeatResponse {
    /// This ack.
    Now(AckResponse),
    /// This ack, once the end of the account's session is durable.
    Settling(AckResponse, AccountId),
}

/// An ack, and the transport of its heartbeat.
pub(super) struct AckResponse {
    pub(super) transport: Transport,
    pub(super) ack: SignedAck,
}

/// The format of a body with this content type.
pub(super) fn transport_of(content_type: Option<&[u8]>) -> Result<Transport, Problem> {
    match content_type {
        None | Some(b"application/octet-stream") => Ok(Transport::Http),
        Some(value) if is_type(value, b"application/octet-stream") => Ok(Transport::Http),
        Some(value) if is_type(value, b"application/json") => Ok(Transport::Json),
        Some(_) => Err(Problem::new(Code::UnsupportedMediaType)),
    }
}

/// Hands the heartbeat in a body to the engine.
pub(super) fn beat(handler: &Handler, transport: Transport, body: &[u8]) -> Result<BeatResponse, Problem> {
    // Until all sessions are loaded, valid sessions would get `unknown`.
    if !handler.telemetry.health().is_warm() {
        return Err(Problem::new(Code::WarmingUp));
    }
    let reply = match transport {
        Transport::Json => handler.beat(transport, &json::frame(body).ok_or(Problem::new(Code::BadFrame))?),
        _ => handler.beat(transport, body),
    };
    match reply {
        Reply::Silence(_) => Err(Problem::new(Code::BadFrame)),
        Reply::Now(ack) => Ok(BeatResponse::Now(AckResponse { transport, ack })),
        Reply::Settled(ack, account) => Ok(BeatResponse::Settling(AckResponse { transport, ack }, account)),
    }
}

impl BeatResponse {
    /// The ack, when it may be sent.
    pub(super) async fn settled(self, handler: &Handler) -> Result<AckResponse, Problem> {
        match self {
            Self::Now(acked) => Ok(acked),
            Self::Settling(acked, account) => {
                if handler.settle(account).await {
                    Ok(acked)
                } else {
                    Err(Problem::new(Code::StoreUnavailable))
                }
            }
        }
    }
}

impl AckResponse {
    /// The type of its body.
    pub(super) const fn content_type(&self) -> &'static str {
        match self.transport {
            Transport::Json => "application/json",
            _ => "application/octet-stream",
        }
    }

    /// The ack as a response.
    pub(super) fn response(&self) -> Response<Full<Bytes>> {
        let body = match self.transport {
            Transport::Json => Bytes::from(json::ack(&self.ack)),
            _ => Bytes::copy_from_slice(self.ack.as_bytes()),
        };
        let mut response = Response::new(Full::new(body));
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(self.content_type()));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        response
    }
}

/// Whether a content type is `wanted`, whatever its case and parameters.
fn is_type(value: &[u8], wanted: &[u8]) -> bool {
    let essence = value.split(|byte| *byte == b';').next().unwrap_or_default();
    essence.trim_ascii().eq_ignore_ascii_case(wanted)
}
