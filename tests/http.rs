//! What HTTP peers may do wrong, on purpose or not: who is let in, what is read, and that others are served meanwhile.

#![expect(
    clippy::disallowed_methods,
    reason = "the program under test runs by the real clock, and so does who measures it"
)]
#![expect(clippy::unwrap_used, reason = "what cannot be done here fails the test")]

#[path = "support/client.rs"]
mod client;
#[path = "http/conformance.rs"]
mod conformance;
#[path = "http/cors.rs"]
mod cors;
#[path = "http/crowds.rs"]
mod crowds;
#[path = "http/encrypted.rs"]
mod encrypted;
#[path = "http/multiplexed.rs"]
mod multiplexed;
#[path = "http/proxies.rs"]
mod proxies;
#[path = "http/raw.rs"]
mod raw;
#[path = "http/shapes.rs"]
mod shapes;
mod support;
#[path = "http/unread.rs"]
mod unread;
