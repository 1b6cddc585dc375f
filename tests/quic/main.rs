//! The QUIC listener of the built program: bare frames, HTTP/3, WebTransport, and those who mean no good.

#![expect(clippy::unwrap_used, reason = "what cannot be done here fails the test")]

mod certificates;
#[path = "../support/client.rs"]
mod client;
mod foreign;
mod frames;
mod http;
mod limits;
mod peer;
#[path = "../support/mod.rs"]
mod support;
