//! Time credit for connected services: a tank of seconds that drains only while heartbeats arrive.
//!
//! > A second is charged if and only if the service vouched for the token in that second.
//!
//! Imports run one way: [`wire`] <- `engine` <- `ingest`, `control` <- the program.

#![forbid(unsafe_code)]

pub mod clock;
pub mod config;
pub mod control;
pub mod engine;
pub mod entropy;
pub mod peer;
pub mod store;
pub mod telemetry;
pub mod wire;
