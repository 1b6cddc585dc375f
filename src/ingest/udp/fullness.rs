//! How pressed the threads are: whether their batches are full, so that more datagrams are waiting behind them.
//!
//! Datagrams are lost only once a socket's buffer is full, and every batch is full long before that.

use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};

use crate::engine::{PressedBy, Pressure};

use super::super::Handler;

/// How many batches the level looks back on, about.
const MEMORY: u32 = 16;
/// A level is told of in this many steps: it changes with every batch, and what reads it is shared by all threads.
const STEPS: u32 = 8;
const FULL: u32 = 1 << 16;

/// The levels of all threads of a listener.
#[derive(Clone)]
pub(super) struct Levels {
    handler: Arc<Handler>,
    told: Arc<[AtomicU32]>,
}

impl Levels {
    pub(super) fn new(handler: Arc<Handler>, threads: usize) -> Self {
        Self { handler, told: (0..threads).map(|_| AtomicU32::new(0)).collect() }
    }

    /// The level of one thread.
    pub(super) fn of(&self, thread: usize) -> Level {
        Level { levels: self.clone(), thread, level: 0, step: 0 }
    }

    fn tell(&self, thread: usize, step: u32) {
        self.told[thread].store(step, Ordering::Relaxed);
        let greatest = self.told.iter().map(|step| step.load(Ordering::Relaxed)).max().unwrap_or(0);
        self.handler.pressed(PressedBy::Udp, Pressure::of(greatest, STEPS));
    }
}

/// How full a thread's batches have been lately.
pub(super) struct Level {
    levels: Levels,
    thread: usize,
    level: u32,
    step: u32,
}

impl Level {
    /// A batch was answered.
    pub(super) fn batch(&mut self, full: bool) {
        self.level = next(self.level, full);
        self.tell();
    }

    /// Nothing came for long.
    pub(super) fn idle(&mut self) {
        self.level = 0;
        self.tell();
    }

    fn tell(&mut self) {
        let step = self.level * STEPS / FULL;
        if step != self.step {
            self.step = step;
            self.levels.tell(self.thread, step);
        }
    }
}

const fn next(level: u32, full: bool) -> u32 {
    let target = if full { FULL } else { 0 };
    // Rounded so that both ends are reached.
    if target > level { level + (target - level).div_ceil(MEMORY) } else { level - (level - target).div_ceil(MEMORY) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn full_batches_raise_the_level_to_the_top_and_others_bring_it_back_to_nothing() {
        let mut level = 0;
        for _ in 0..20 * MEMORY {
            level = next(level, true);
        }
        assert_eq!(level, FULL);
        for _ in 0..20 * MEMORY {
            level = next(level, false);
        }
        assert_eq!(level, 0);
    }

    #[test]
    fn one_full_batch_among_many_is_no_pressure() {
        let mut level = 0;
        for n in 0..1000 {
            level = next(level, n % 32 == 0);
            assert_eq!(level * STEPS / FULL, 0, "{n}");
        }
    }
}
