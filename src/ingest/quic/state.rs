//! The state that all connections of a listener share.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use crate::{
    ingest::http::Site,
    web::admission::{Connections, Handshakes, Pool, Sessions as SessionKind},
};

use super::{frames::FrameService, limits::QuicLimits};

/// The state that all connections of the listener share.
pub(super) struct ServerState<F> {
    pub(super) service: Arc<FrameService>,
    pub(super) site: Arc<Site<F>>,
    pub(super) limits: QuicLimits,
    pub(super) connections: Arc<Pool<Connections>>,
    pub(super) handshakes: Arc<Pool<Handshakes>>,
    pub(super) sessions: Arc<Pool<SessionKind>>,
    pub(super) stop: CancellationToken,
}
