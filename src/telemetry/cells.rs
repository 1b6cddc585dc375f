//! Counters that every thread counts in cells of its own, and that a scrape sums up.
//!
//! A counter that all threads add to is one cache line that moves between all processors, which costs more than
//! everything else a heartbeat does. Here a thread adds to lines that no other thread touches. [`CellCounter`] and
//! [`CellHistogram`] are what the `metrics` crate's handles count in on the hot path; every other metric counts in the
//! exporter's own storage.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use metrics::{CounterFn, HistogramFn};
use thread_local::ThreadLocal;

/// Two cache lines: processors fetch them in pairs.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Line([AtomicU64; LINE]);

const LINE: usize = 16;

/// A fixed number of cells for each thread that counts.
#[derive(Debug)]
pub(super) struct Cells {
    shards: ThreadLocal<Box<[Line]>>,
    lines: usize,
    /// What callers told of a counter that somebody else keeps. It is added to what was counted.
    told: Box<[AtomicU64]>,
}

impl Cells {
    /// `count` cells for each thread, all at zero.
    pub(super) fn new(count: usize) -> Self {
        let told = (0..count).map(|_| AtomicU64::new(0)).collect();
        Self { shards: ThreadLocal::new(), lines: count.div_ceil(LINE), told }
    }

    /// Adds to this thread's cell.
    fn add(&self, cell: usize, by: u64) {
        let shard = self.shards.get_or(|| (0..self.lines).map(|_| Line::default()).collect());
        shard[cell / LINE].0[cell % LINE].fetch_add(by, Ordering::Relaxed);
    }

    /// What all threads have counted together, cell by cell. A cell that is counted in meanwhile may be read before or
    /// after that.
    pub(super) fn sums(&self) -> Vec<u64> {
        let mut sums: Vec<u64> = self.told.iter().map(|told| told.load(Ordering::Relaxed)).collect();
        for shard in &self.shards {
            for (sum, cell) in sums.iter_mut().zip(shard.iter().flat_map(|line| &line.0)) {
                *sum = sum.wrapping_add(cell.load(Ordering::Relaxed));
            }
        }
        sums
    }
}

/// Counts in one cell.
#[derive(Debug)]
pub(super) struct CellCounter {
    pub(super) cells: Arc<Cells>,
    pub(super) cell: usize,
}

impl CounterFn for CellCounter {
    fn increment(&self, by: u64) {
        self.cells.add(self.cell, by);
    }

    fn absolute(&self, count: u64) {
        self.cells.told[self.cell].fetch_max(count, Ordering::Relaxed);
    }
}

/// A histogram of durations. Its cells: one for each bucket, one for what is above the last bound, one for the sum.
#[derive(Debug)]
pub(super) struct CellHistogram {
    pub(super) cells: Arc<Cells>,
    pub(super) first: usize,
    /// Upper bounds of the buckets, in seconds.
    pub(super) bounds: &'static [f64],
}

/// What a [`CellHistogram`] has recorded.
pub(super) struct Distribution {
    /// For each bound how many values are not above it.
    pub(super) cumulative: Vec<(f64, u64)>,
    /// How many values there are.
    pub(super) count: u64,
    /// Their sum, in seconds.
    pub(super) sum_s: f64,
}

impl CellHistogram {
    /// Cells that a histogram with so many bounds takes.
    pub(super) const fn cells(bounds: usize) -> usize {
        bounds + 2
    }

    /// What was recorded, of the sums of all cells.
    pub(super) fn read(&self, sums: &[u64]) -> Distribution {
        let cells = &sums[self.first..self.first + Self::cells(self.bounds.len())];
        let mut count = 0;
        let cumulative = self.bounds.iter().zip(cells).map(|(bound, in_bucket)| {
            count += in_bucket;
            (*bound, count)
        });
        let cumulative = cumulative.collect();
        let [above, sum_ns] = [cells[self.bounds.len()], cells[self.bounds.len() + 1]];
        Distribution { cumulative, count: count + above, sum_s: sum_ns as f64 / 1e9 }
    }
}

impl HistogramFn for CellHistogram {
    /// Records a duration in seconds, to the nanosecond.
    fn record(&self, seconds: f64) {
        let bucket = self.bounds.partition_point(|bound| *bound < seconds);
        self.cells.add(self.first + bucket, 1);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a cast from floats saturates")]
        self.cells.add(self.first + self.bounds.len() + 1, (seconds * 1e9).round() as u64);
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::HashSet, sync::Barrier, thread};

    use super::*;

    #[test]
    fn what_threads_count_adds_up_and_outlives_them() {
        let cells = Cells::new(40);
        let all = Barrier::new(100);
        thread::scope(|scope| {
            for _ in 0..100 {
                scope.spawn(|| {
                    all.wait();
                    cells.add(0, 1);
                    cells.add(39, 3);
                });
            }
        });
        let sums = cells.sums();
        assert_eq!((sums[0], sums[1], sums[39]), (100, 0, 300));
    }

    #[test]
    fn threads_that_live_at_the_same_time_share_no_line() {
        let cells = Cells::new(1);
        let all = Barrier::new(8);
        let lines: HashSet<usize> = thread::scope(|scope| {
            let threads = [(); 8].map(|()| {
                scope.spawn(|| {
                    all.wait();
                    cells.add(0, 1);
                    let line = std::ptr::from_ref(&cells.shards.get().unwrap()[0]).addr() / 128;
                    all.wait();
                    line
                })
            });
            threads.map(|thread| thread.join().unwrap()).into()
        });
        assert_eq!(lines.len(), 8);
    }

    #[test]
    fn an_absolute_count_is_the_greatest_that_was_told() {
        let cells = Arc::new(Cells::new(1));
        let counter = CellCounter { cells: Arc::clone(&cells), cell: 0 };
        for told in [5, 9, 7] {
            counter.absolute(told);
        }
        counter.increment(1);
        assert_eq!(cells.sums()[0], 10);
    }

    #[test]
    fn a_value_on_a_bound_is_in_its_bucket_and_one_above_the_last_bound_is_in_the_count_alone() {
        let cells = Arc::new(Cells::new(CellHistogram::cells(2)));
        let histogram = CellHistogram { cells: Arc::clone(&cells), first: 0, bounds: &[0.001, 0.01] };
        for seconds in [0.0005, 0.001, 0.002, 7.0] {
            histogram.record(seconds);
        }
        let Distribution { cumulative, count, sum_s } = histogram.read(&cells.sums());
        assert_eq!((cumulative, count), (vec![(0.001, 2), (0.01, 3)], 4));
        assert!((sum_s - 7.0035).abs() < 1e-9, "{sum_s}");
    }
}
