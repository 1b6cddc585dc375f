//! Looks at a process now and then, and remembers what it saw.

use std::time::Duration;

use crate::process::{self, Pid, Usage};

/// Looks at a process.
pub struct Gauge {
    pid: Pid,
    first: Usage,
    last: Usage,
    max_rss: u64,
    samples: Vec<Sample>,
    watched: Duration,
}

/// What a process used at a time.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub struct Sample {
    /// When, in seconds from the start of the run.
    pub t_s: f64,
    /// Processor time since the sample before, as a share of one core.
    pub cores: f64,
    /// Memory that is resident, in bytes.
    pub rss: u64,
}

/// The most samples that are kept.
const MOST: usize = 3600;
/// What is shorter makes no sample.
const LEAST: Duration = Duration::from_millis(500);

impl Gauge {
    /// Looks at this process, if it is there and may be looked at.
    pub fn new(pid: Pid) -> Option<Self> {
        let usage = process::usage(pid)?;
        Some(Self { pid, first: usage, last: usage, max_rss: usage.rss, samples: Vec::new(), watched: Duration::ZERO })
    }

    /// Looks: `at` seconds from the start, and `since` the last look.
    pub fn look(&mut self, at: Duration, since: Duration) {
        let Some(usage) = process::usage(self.pid) else { return };
        self.watched += since;
        let cpu = usage.cpu.saturating_sub(self.last.cpu).as_secs_f64();
        let cores = cpu / since.as_secs_f64().max(f64::MIN_POSITIVE);
        // Processor time comes in hundredths of a second: over a short time they say little.
        if self.samples.len() < MOST && since >= LEAST {
            self.samples.push(Sample { t_s: at.as_secs_f64(), cores, rss: usage.rss });
        }
        self.last = usage;
        self.max_rss = self.max_rss.max(usage.rss);
    }

    /// Which process.
    pub const fn pid(&self) -> Pid {
        self.pid
    }

    /// What it used from the first look to the last.
    pub const fn cpu(&self) -> Duration {
        self.last.cpu.saturating_sub(self.first.cpu)
    }

    /// How much memory was resident at the first look, in bytes.
    pub const fn first_rss(&self) -> u64 {
        self.first.rss
    }

    /// The most memory that was seen resident, in bytes.
    pub const fn max_rss(&self) -> u64 {
        self.max_rss
    }

    /// How much memory was resident at the last look, in bytes.
    pub const fn last_rss(&self) -> u64 {
        self.last.rss
    }

    /// From the first look to the last.
    pub const fn watched(&self) -> Duration {
        self.watched
    }

    /// Every look, but those that came too soon after another.
    pub fn samples(&self) -> &[Sample] {
        &self.samples
    }

    /// The processor time since the sample before, as a share of one core, at the last look.
    pub fn cores_now(&self) -> Option<f64> {
        self.samples.last().map(|sample| sample.cores)
    }
}
