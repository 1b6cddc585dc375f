//! HTTP/1.1 and HTTP/2, with TLS and without: the listeners, and heartbeats by `POST /v1/heartbeat`.
//!
//! A connection start_head in the [`lane`], where heartbeats and introspections in plain HTTP/1.1 are answered. Everything else
//! is hyper's. There, heartbeats touch no router either; every other request goes to the [`Fallback`]. Connections, heads,
//! bodies and idle time are bounded here for all of them.

mod beat;
mod connections;
mod json;
mod lane;
mod listener;
mod plain;
mod proxied;
mod reply;
mod serve;
mod site;
mod socket;
#[cfg(test)]
mod tests;
mod tls;
mod unread;
mod watch;
mod workers;

pub use listener::Listener;
pub use site::{Fallback, HEARTBEAT_PATH, HttpLimits, IntrospectionRequest, ReplyBody, RequestBody, Site, WorkerPools};
pub use tls::Tls;
pub use workers::{Threads, WorkerPool};

/// For the fuzzer: how many bytes a plain request has, if it is one and is whole.
#[cfg(fuzzing)]
pub(super) fn fuzz_plain(bytes: &[u8]) -> Option<usize> {
    match plain::read(bytes) {
        plain::Read::Whole(request) => Some(request.length),
        _ => None,
    }
}

/// For the fuzzer: reads a heartbeat in JSON. Whether it is one.
#[cfg(fuzzing)]
pub(super) fn fuzz_json(text: &[u8]) -> bool {
    json::frame(text).is_some()
}
