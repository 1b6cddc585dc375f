//! QUIC: one endpoint, three kinds of guests.
//!
//! What a connection speaks is told by its ALPN: [`frames`] in datagrams (`gastank/1`), or [`h3`], which also carries
//! WebTransport sessions of browsers. Every frame goes to the same [`Handler`](super::Handler) and every request to the same
//! [`Site`](super::http::Site) as those of the other transports.

mod bounded;
mod connection;
mod datagram;
mod frames;
mod h3;
mod limits;
mod listener;
mod setup;
mod state;
mod webtransport;

pub use limits::{Buffers, FRAMES, HTTP_3, QuicLimits, SessionLimits};
pub use listener::Listener;
pub use webtransport::PATH as WEBTRANSPORT_PATH;

/// For the fuzzer: reads bytes as a datagram and as capsules of WebTransport. Whether they close a session.
#[cfg(fuzzing)]
pub fn fuzz(bytes: &[u8]) -> bool {
    datagram::fuzz(bytes)
}
