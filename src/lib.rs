//! Time credit for connected services: a tank of seconds that drains only while heartbeats arrive.
//!
//! > A second is charged if and only if the service vouched for the token in that second.
//!
//! Imports run one way: [`time`], [`wire`] <- [`engine`] <- [`store`] <- [`identity`], [`ingest`], [`control`] <- [`hub`], [`rewards`], [`cluster`] <-
//! `service`
//! and the program. [`web`] and [`telemetry`] are leaves that the upper rooms use. The engine knows no socket, store, runtime or
//! clock; `ingest` and `control` meet in it and never import each other.

#![forbid(unsafe_code)]

pub mod cli;
pub mod cluster;
pub mod config;
pub mod control;
pub mod deadline;
pub mod engine;
pub mod entropy;
mod exposure;
pub mod hub;
pub mod identity;
pub mod ingest;
pub mod rewards;
pub mod service;
#[cfg(test)]
#[path = "../tests/support/skips.rs"]
mod skips;
pub mod store;
pub mod telemetry;
pub mod time;
pub mod tls;
pub mod web;
pub mod wire;
