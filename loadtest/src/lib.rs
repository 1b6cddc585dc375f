//! A load generator for gastank: opens sessions, beats at a set rate, verifies every answer.
//!
//! The loop is *open*: an operation is sent when the [`schedule`] says so, whatever the answers do, and its latency is
//! measured from that time. A service that stalls therefore shows as latency, not as a lower rate.
//!
//! What happens to an operation, in the order of the modules: the [`profile`] and the [`schedule`] say when, a [`work`]
//! composes its message, the [`lane`] sends it over a [`transport`], the [`window`] remembers it until its answer comes, the
//! work judges the answer, [`record`] counts it, and [`report`] says how it went. A [`fleet`] is lanes that do the same
//! thing; [`conduct`] lets fleets run together. A [`scenario`] says
//! which; [`opener`] opens the sessions before and clears them away after, and [`setup`] hands them to the fleets.

#![forbid(unsafe_code)]

pub mod api;
pub mod bulk;
pub mod cli;
pub mod clock;
pub mod conduct;
pub mod credentials;
pub mod criteria;
pub mod fleet;
pub mod floor;
pub mod gauge;
pub mod keeper;
pub mod lane;
pub mod machine;
pub mod opener;
pub mod process;
pub mod profile;
pub mod progress;
pub mod record;
pub mod report;
pub mod run;
pub mod scenario;
pub mod schedule;
pub mod series;
pub mod session;
pub mod setup;
pub mod siege;
pub mod target;
pub mod terms;
pub mod transport;
pub mod verify;
pub mod window;
pub mod work;
pub mod works;
