//! A whole cluster in virtual time, from one seed: nodes that are the real thing but for their machines, a store that
//! behaves like a CQL server on a bad day, people, edges, and somebody who watches.
//!
//! Everything is left to one sequence of numbers and happens on one thread with a clock that only moves when nobody has
//! anything to do: the same seed gives the same run.

#![expect(clippy::disallowed_methods, reason = "time and chance are the simulation's own")]

mod audit;
pub mod chance;
mod faults;
pub mod link;
mod lists;
#[path = "../../model/memory_store.rs"]
mod memory_store;
mod node;
mod people;
pub mod replicas;
pub mod tables;
mod trace;
mod truth;
mod world;

pub use audit::BOUND;
pub use world::{Report, run};
