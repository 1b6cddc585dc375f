//! What the running program does with bad input, bad clients, a bad store and a bad day.

#![expect(
    clippy::disallowed_methods,
    reason = "the program under test runs by the real clock, and so does who measures it"
)]
#![expect(clippy::unwrap_used, reason = "what cannot be done here fails the test")]

#[path = "support/client.rs"]
mod client;
#[path = "faults/connections.rs"]
mod connections;
#[path = "faults/frames.rs"]
mod frames;
#[path = "support/outage.rs"]
mod outage;
#[path = "faults/process.rs"]
mod process;
#[path = "support/skips.rs"]
mod skips;
#[path = "faults/store.rs"]
mod store;
mod support;
