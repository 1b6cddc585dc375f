//! Time: instants and spans, and the clocks that tell them. The ground floor: it imports no other room.
//!
//! Meter time and wall time are different types. [`MeterTime`] is what is charged and what times out; [`UnixMs`] dates rows and
//! tokens and decides nothing else. Below the edges of the program time is a parameter: only an edge is given a [`Clock`].

mod clock;
mod units;

pub use clock::{Clock, ClockFact, FakeClock, MeterClock, MonotonicTicks, RUN_ON, Ticks};
pub use units::{MeterTime, Millis, UnixMs};
