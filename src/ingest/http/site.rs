//! What a listener serves, and what it allows.

use std::{error::Error, sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use http_body_util::{Either, Full, combinators::UnsyncBoxBody};
use hyper::{Request, Response, body::Body};

use crate::{
    ingest::Handler,
    telemetry::{Route, Telemetry},
    time::UnixMs,
    web::{
        admission::{Admission, Capacity},
        cors::CorsRules,
        peer::Proxies,
    },
};

use super::workers::WorkerPool;

/// The path of heartbeats.
pub const HEARTBEAT_PATH: &str = "/v1/heartbeat";
/// A heartbeat is 48 bytes, in JSON a few hundred.
pub(super) const MAX_HEARTBEAT: usize = 1024;
/// How a connection start_head that speaks HTTP/2 (RFC 9113, 3.4).
pub(super) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A response body: bytes in memory, or the body of the fallback.
pub type ReplyBody<B> = Either<Full<Bytes>, B>;

/// Why the body of a request ends early.
pub(super) type BoxError = Box<dyn Error + Send + Sync>;

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
pub(super) enum ExpressRoute {
    Heartbeat,
    Introspect,
}

impl ExpressRoute {
    pub(super) const ALL: [Self; 2] = [Self::Heartbeat, Self::Introspect];

    pub(super) const fn route(self) -> Route {
        match self {
            Self::Heartbeat => Route::Heartbeat,
            Self::Introspect => Route::Introspect,
        }
    }

    pub(super) const fn path(self) -> &'static str {
        match self {
            Self::Heartbeat => HEARTBEAT_PATH,
            Self::Introspect => "/oauth/introspect",
        }
    }

    /// Bytes that a body has at most. A longer one is hyper's to read, or to refuse.
    pub(super) const fn max_body(self) -> usize {
        match self {
            Self::Heartbeat => MAX_HEARTBEAT,
            Self::Introspect => 8 << 10,
        }
    }

    pub(super) const fn request_line(self) -> &'static [u8] {
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

/// The services of a listener. Without a handler it does not serve heartbeats.
pub struct Site<F> {
    /// Answers heartbeats.
    pub heartbeats: Option<Arc<Handler>>,
    /// Answers the rest.
    pub fallback: F,
    /// How long a heartbeat's body may take.
    pub body: Duration,
    /// The origins whose pages may use the service.
    pub cors: CorsRules,
    /// The proxies in front that are trusted.
    pub proxies: Proxies,
    /// Where HTTP/3 is, which TLS clients are told by `Alt-Svc`: an alt-authority of RFC 7838.
    pub h3: Option<String>,
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
    pub(super) fn telemetry(&self) -> &Telemetry {
        &self.heartbeats.as_ref().expect("only what has heartbeats has a lane").telemetry
    }

    pub(super) fn wall(&self) -> UnixMs {
        self.heartbeats.as_ref().map_or(UnixMs::from_ms(0), |handler| handler.clock.wall())
    }
}
