//! The whole service, without sockets, against a reference model; and the rules that deserve a test by name.
//!
//! * [`reference`] is the service as a few dozen obvious lines: a millisecond is burned, or it is not.
//! * [`machine`] runs generated histories on both and compares them at every step.
//! * [`history`] is about the heartbeat history: nobody waits for it.
//! * [`rules`], [`threads`] and [`faults`] single out what has a name: free riding, the activation war, unknown outcomes.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod faults;
mod flaky;
mod history;
mod machine;
mod memory_store;
mod reference;
mod rig;
mod rules;
mod threads;
