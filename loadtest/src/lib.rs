//! A load generator for gastank: opens sessions, beats at a set rate, verifies every ack.
//!
//! The loop is *open*: a beat is sent when the [`schedule`] says so, whatever the answers do, and its latency is
//! measured from that time. A service that stalls therefore shows as latency, not as a lower rate.
//!
//! What happens to a beat, in the order of the modules: the [`schedule`] says when, the [`lane`] signs and sends it over a
//! [`transport`], the [`window`] remembers it until its answer comes, [`verify`] judges the answer, [`record`] counts it,
//! and [`report`] says how it went. [`crew`] opens the sessions before and clears them away after.

#![forbid(unsafe_code)]

pub mod api;
pub mod cli;
pub mod clock;
pub mod crew;
pub mod lane;
pub mod process;
pub mod progress;
pub mod record;
pub mod report;
pub mod run;
pub mod schedule;
pub mod session;
pub mod transport;
pub mod verify;
pub mod window;
