//! The runtime's clock, for what decides nothing but how long somebody waits or is remembered.

use std::time::{Duration, Instant};

/// The instant that admission goes by.
#[expect(clippy::disallowed_methods, reason = "how long a network is trusted is told by the runtime's clock")]
pub fn now() -> tokio::time::Instant {
    tokio::time::Instant::now()
}

/// Tells how long a request took. A figure for operators: nothing is decided by it.
pub struct Stopwatch(Instant);

impl Stopwatch {
    /// Starts it.
    #[expect(clippy::disallowed_methods, reason = "the latency of requests is measured at the edge of the program")]
    pub fn start() -> Self {
        Self(Instant::now())
    }

    /// How long ago that was.
    #[expect(clippy::disallowed_methods, reason = "the latency of requests is measured at the edge of the program")]
    pub fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }
}
