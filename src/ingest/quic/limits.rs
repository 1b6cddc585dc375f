//! What a QUIC listener allows, and the figures that its parts share.

use std::{sync::Arc, time::Duration};

use quinn::VarInt;
use tokio::time::Instant;

use crate::web::{admission::Capacity, origin::Origins};

/// The protocol of bare frames.
pub const FRAMES: &[u8] = b"gastank/1";
/// HTTP/3.
pub const HTTP_3: &[u8] = b"h3";
/// How long what was said last is given to leave, before connections are closed.
pub(super) const CLOSE_DELAY: Duration = Duration::from_millis(50);
/// What connections of frames are closed with: the service stops, or a handshake took too long.
pub(super) const GOING: VarInt = VarInt::from_u32(0);
/// What connections of frames are closed with: no valid frame has come for too long.
pub(super) const NO_FRAME: VarInt = VarInt::from_u32(1);

/// What the listener allows.
#[derive(Clone, Debug)]
pub struct QuicLimits {
    /// Connections.
    pub connections: Capacity,
    /// Handshakes under way.
    pub handshakes: Capacity,
    /// How long a connection of frames, or a WebTransport session, has to send its first valid frame.
    pub first_frame: Duration,
    /// How long a connection may be silent.
    pub idle: Duration,
    /// How long a request's head may take.
    pub head: Duration,
    /// How long an HTTP/3 connection may stay open without a request.
    pub http_idle: Duration,
    /// Bytes that a request's body may have.
    pub max_body_bytes: usize,
    /// Bytes of the socket's buffers that are asked for.
    pub buffer_bytes: usize,
    /// WebTransport sessions.
    pub sessions: SessionLimits,
}

/// Bytes of a socket's buffers, as the kernel granted them.
#[derive(Clone, Copy, Debug)]
pub struct Buffers {
    /// For what comes.
    pub receive: usize,
    /// For what goes.
    pub send: usize,
}

/// Who may open sessions, and how many.
#[derive(Clone, Debug)]
pub struct SessionLimits {
    /// Whose pages may.
    pub origins: Arc<Origins>,
    /// Sessions of one connection.
    pub of_connection: usize,
    /// Sessions at a time. With none in all there is no WebTransport.
    pub capacity: Capacity,
}

impl SessionLimits {
    /// Whether there is WebTransport.
    pub(super) const fn are_on(&self) -> bool {
        self.capacity.total > 0
    }
}

#[expect(clippy::disallowed_methods, reason = "connection timeouts are measured by the runtime's clock")]
pub(super) fn now() -> Instant {
    Instant::now()
}
