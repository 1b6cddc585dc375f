//! Time credit for connected services: a tank of seconds that drains only while heartbeats arrive.
//!
//! > A second is charged if and only if the service vouched for the token in that second.
//!
//! Imports run one way: [`wire`] <- [`engine`] <- [`ingest`], [`accounts`] <- [`control`] <- `service` and the program. The engine knows
//! no socket, store, runtime or clock; `ingest` and `control` meet in it and never import each other. [`web`] is a leaf that both use.

#![forbid(unsafe_code)]

pub mod accounts;
pub mod cli;
pub mod clock;
pub mod cluster;
pub mod config;
pub mod control;
pub mod deadline;
pub mod engine;
pub mod entropy;
mod exposure;
pub mod ingest;
pub mod peer;
pub mod problem;
pub mod service;
pub mod store;
pub mod telemetry;
pub mod tls;
pub mod web;
pub mod wire;
