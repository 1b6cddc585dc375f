//! Heartbeats from the network: bytes in, the engine, bytes out.
//!
//! Every transport feeds the same [`Handler`]. What a transport adds is how bytes come and go, and nothing else.

mod handler;
pub mod http;
pub mod quic;
pub mod udp;

pub use handler::{Followup, Handler, Reply};

/// For the fuzzer: reads a plain request. How many bytes it has, if it is one and is whole.
#[cfg(fuzzing)]
pub fn fuzz_plain(bytes: &[u8]) -> Option<usize> {
    http::fuzz_plain(bytes)
}

/// For the fuzzer: reads a heartbeat in JSON. Whether it is one.
#[cfg(fuzzing)]
pub fn fuzz_json(text: &[u8]) -> bool {
    http::fuzz_json(text)
}
