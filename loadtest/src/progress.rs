//! Progress on standard error: a bar on a terminal, a plain line now and then elsewhere.

use std::{
    io::{IsTerminal, Write, stderr},
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use indicatif::{ProgressBar, ProgressStyle};

use crate::clock::Clock;

/// How far along a phase is.
pub struct Progress {
    what: &'static str,
    clock: Clock,
    total: u64,
    done: AtomicU64,
    bar: Option<ProgressBar>,
    next_line_ms: AtomicU64,
}

/// How far apart plain lines are.
const LINES_APART: Duration = Duration::from_secs(5);

impl Progress {
    /// A phase of `total` steps.
    pub fn new(what: &'static str, total: u64, clock: Clock) -> Self {
        let style = ProgressStyle::with_template("{prefix} [{bar:30}] {percent:>3}% {eta:>4}  {msg}")
            .expect("the template is well formed")
            .progress_chars("=> ");
        let bar = stderr().is_terminal().then(|| ProgressBar::new(total).with_style(style).with_prefix(what));
        let first_line = clock.now() + LINES_APART;
        let next_line_ms = AtomicU64::new(millis(first_line));
        Self { what, clock, total, done: AtomicU64::new(0), bar, next_line_ms }
    }

    /// One step more.
    pub fn step(&self) {
        let done = self.done.fetch_add(1, Ordering::Relaxed) + 1;
        self.show(done, || format!("{done} of {}", self.total));
    }

    /// `done` steps are behind us, and this is how it goes.
    pub fn at(&self, done: u64, message: impl FnOnce() -> String) {
        self.show(done, message);
    }

    /// The phase is over.
    pub fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }

    fn show(&self, done: u64, message: impl FnOnce() -> String) {
        if let Some(bar) = &self.bar {
            bar.set_position(done.min(self.total));
            bar.set_message(message());
            return;
        }
        let (now, next) = (millis(self.clock.now()), self.next_line_ms.load(Ordering::Relaxed));
        let after = now + millis(LINES_APART);
        let mine = |next| self.next_line_ms.compare_exchange(next, after, Ordering::Relaxed, Ordering::Relaxed).is_ok();
        if now >= next && mine(next) {
            // Progress is for people; nobody there to read it is no reason to stop.
            let _ = writeln!(stderr(), "{}: {}", self.what, message());
        }
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
