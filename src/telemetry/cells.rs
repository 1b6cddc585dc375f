//! Cells that are counted in: every thread has its own, and who wants to know sums them up.
//!
//! A counter that all threads add to is one cache line that goes back and forth between all processors, and that costs more
//! than everything else a heartbeat does. Here a thread adds to lines that no other thread touches. A scrape, which is
//! rare, reads the lines of all.

use std::{
    cell::Cell,
    sync::{
        OnceLock,
        atomic::{AtomicU64, Ordering},
    },
};

use parking_lot::Mutex;

/// Threads that have cells of their own; any beyond that share. The first shard is nobody's: it holds what is told rather
/// than counted.
const SHARDS: usize = 512;
const TOLD: usize = 0;

/// Two cache lines: processors fetch them in pairs.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Line([AtomicU64; LINE]);

const LINE: usize = 16;

/// As many counters as are asked for, each with a cell for every thread that counts.
#[derive(Debug)]
pub(super) struct Cells {
    shards: Box<[OnceLock<Box<[Line]>>]>,
    lines: usize,
}

impl Cells {
    /// Cells for `count` counters, all at zero.
    pub(super) fn new(count: usize) -> Self {
        Self { shards: (0..SHARDS).map(|_| OnceLock::new()).collect(), lines: count.div_ceil(LINE) }
    }

    /// Adds to a counter, in this thread's cell.
    pub(super) fn add(&self, counter: usize, by: u64) {
        self.cell(shard(), counter).fetch_add(by, Ordering::Relaxed);
    }

    /// Raises what was told of a counter. That adds to what was counted.
    pub(super) fn raise(&self, counter: usize, to: u64) {
        self.cell(TOLD, counter).fetch_max(to, Ordering::Relaxed);
    }

    /// What all threads have counted together, of every counter.
    pub(super) fn sums(&self) -> Vec<u64> {
        let mut sums = vec![0_u64; self.lines * LINE];
        for shard in self.shards.iter().filter_map(OnceLock::get) {
            for (sum, cell) in sums.iter_mut().zip(shard.iter().flat_map(|line| &line.0)) {
                *sum = sum.wrapping_add(cell.load(Ordering::Relaxed));
            }
        }
        sums
    }

    fn cell(&self, shard: usize, counter: usize) -> &AtomicU64 {
        let lines = self.shards[shard].get_or_init(|| (0..self.lines).map(|_| Line::default()).collect());
        &lines[counter / LINE].0[counter % LINE]
    }
}

/// Which shards no thread has. Those that threads gave back are used again first.
static FREE: Mutex<Free> = Mutex::new(Free { next: TOLD + 1, returned: Vec::new() });

struct Free {
    next: usize,
    returned: Vec<usize>,
}

/// A thread's shard, given back when the thread ends.
struct Lease(Cell<usize>);

impl Lease {
    fn take() -> usize {
        let mut free = FREE.lock();
        free.returned.pop().unwrap_or_else(|| {
            let shard = free.next;
            free.next += 1;
            shard
        })
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        FREE.lock().returned.push(self.0.get());
    }
}

thread_local! {
    static LEASE: Lease = Lease(Cell::new(Lease::take()));
}

/// This thread's shard. Past the last one threads share, which costs time and loses nothing.
fn shard() -> usize {
    // A thread that is ending has given its shard back.
    let lease = LEASE.try_with(|lease| lease.0.get()).unwrap_or(TOLD + 1);
    TOLD + 1 + (lease - TOLD - 1) % (SHARDS - 1)
}

#[cfg(test)]
mod tests {
    use std::{collections::HashSet, sync::Barrier, thread};

    use super::*;

    #[test]
    fn what_threads_count_adds_up_also_when_there_are_more_than_shards() {
        let cells = Cells::new(40);
        let all = Barrier::new(SHARDS + 10);
        thread::scope(|scope| {
            for _ in 0..SHARDS + 10 {
                scope.spawn(|| {
                    all.wait();
                    cells.add(0, 1);
                    cells.add(39, 3);
                    all.wait();
                });
            }
        });
        let threads = u64::try_from(SHARDS + 10).unwrap();
        let sums = cells.sums();
        assert_eq!((sums[0], sums[1], sums[39]), (threads, 0, 3 * threads));
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
                    let line = std::ptr::from_ref(cells.cell(shard(), 0)).addr() / 128;
                    all.wait();
                    line
                })
            });
            threads.map(|thread| thread.join().unwrap()).into()
        });
        assert_eq!(lines.len(), 8);
    }

    #[test]
    fn what_is_told_is_the_greatest_that_was_told() {
        let cells = Cells::new(1);
        for told in [5, 9, 7] {
            cells.raise(0, told);
        }
        assert_eq!(cells.sums()[0], 9);
    }
}
