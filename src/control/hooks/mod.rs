//! Hooks: what other services tell this one.

pub mod deposits;
pub mod events;
pub mod secrets;
pub mod standard;
