//! Lines go from who logs to a thread that writes them, through a queue with a bound.
//!
//! A pipe whose reader has stalled blocks whoever writes to it: a container runtime, a pager, a terminal that was stopped.
//! So only the thread `log` ever writes. A line that finds the queue full is dropped and counted, and the log says how many
//! were when its reader is back. (`tracing-appender` does the same, but prints to standard output, and so blocks, when it
//! ends while its queue is full.)

#![expect(clippy::disallowed_methods, reason = "how long the reader is waited for follows the system's clock")]

use std::{
    io::{self, Write},
    panic::{self, AssertUnwindSafe},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc::{self, Receiver, SyncSender, TrySendError},
    },
    thread,
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use tracing_subscriber::fmt::MakeWriter;

use super::format::{LogFormat, subscriber};

/// Lines that may wait for the reader: a few megabytes.
const WAITING: usize = 16_384;
/// How often drops are told at most, where the reader is there but too slow.
const TELL: Duration = Duration::from_secs(10);
/// How long the end of the program waits for the reader.
const ENDING: Duration = Duration::from_secs(1);
/// How often a full queue is tried again at the end.
const TRY_AGAIN: Duration = Duration::from_millis(10);
/// How long the thread rests after a panic.
const REST: Duration = Duration::from_millis(100);

enum Message {
    Line(Vec<u8>),
    /// All lines of before are written.
    End(SyncSender<()>),
}

/// The log is written until this is dropped. What waits then is written, if the reader takes it within a second.
#[derive(Debug)]
pub struct LogGuard(SyncSender<Message>);

impl Drop for LogGuard {
    fn drop(&mut self) {
        let (deadline, (ended, end)) = (Instant::now() + ENDING, mpsc::sync_channel(1));
        let mut message = Message::End(ended);
        while let Err(TrySendError::Full(again)) = self.0.try_send(message) {
            if Instant::now() >= deadline {
                return;
            }
            message = again;
            thread::sleep(TRY_AGAIN);
        }
        // The reader took it in time, or it did not.
        let _ = end.recv_timeout(deadline.saturating_duration_since(Instant::now()));
    }
}

/// How many lines nobody will read. Clones are the same count.
#[derive(Clone, Default)]
pub(super) struct Dropped(Arc<AtomicU64>);

impl Dropped {
    /// How many there are so far.
    pub(super) fn count(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    fn one(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// Takes lines without waiting for anybody.
#[derive(Clone)]
pub(super) struct Queue {
    lines: SyncSender<Message>,
    dropped: Dropped,
}

impl Write for Queue {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if self.lines.try_send(Message::Line(line.to_vec())).is_err() {
            self.dropped.one();
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Queue {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

/// Writes lines to `out` and, between them, how many were dropped.
pub(super) struct LogWriter<W> {
    out: W,
    format: LogFormat,
    colours: bool,
    dropped: Dropped,
    told: u64,
    told_at: Option<Instant>,
}

impl<W: Write + Send + 'static> LogWriter<W> {
    /// Starts the thread that writes to `out`.
    ///
    /// # Errors
    ///
    /// Those of the system, when it makes no more threads.
    pub(super) fn start(out: W, format: LogFormat, colours: bool) -> io::Result<(Queue, LogGuard, Dropped)> {
        Self::start_with(out, format, colours, WAITING)
    }

    fn start_with(out: W, format: LogFormat, colours: bool, waiting: usize) -> io::Result<(Queue, LogGuard, Dropped)> {
        let (lines, queue) = mpsc::sync_channel(waiting);
        let dropped = Dropped::default();
        let mut writer = Self { out, format, colours, dropped: dropped.clone(), told: 0, told_at: None };
        thread::Builder::new().name("log".to_owned()).spawn(move || {
            // What one line makes panic costs that line. That it did is said by the hook for panics, in another line.
            while panic::catch_unwind(AssertUnwindSafe(|| writer.run(&queue))).is_err() {
                writer.dropped.one();
                thread::sleep(REST);
            }
        })?;
        Ok((Queue { lines: lines.clone(), dropped: dropped.clone() }, LogGuard(lines), dropped))
    }
}

impl<W: Write> LogWriter<W> {
    fn run(&mut self, queue: &Receiver<Message>) {
        while let Ok(message) = queue.recv() {
            match message {
                Message::Line(line) => {
                    // There is nobody to be told but who reads the metrics.
                    if self.out.write_all(&line).is_err() {
                        self.dropped.one();
                    }
                    drop(self.tell());
                }
                Message::End(ended) => drop(ended.try_send(())),
            }
        }
    }

    /// Says how many lines were dropped since it was last said, as an event of the log.
    fn tell(&mut self) -> io::Result<()> {
        let dropped = self.dropped.count();
        if dropped == self.told || self.told_at.is_some_and(|at| at.elapsed() < TELL) {
            return Ok(());
        }
        let (line, lines) = (Arc::<Mutex<Vec<u8>>>::default(), dropped - self.told);
        let into = Arc::clone(&line);
        let said = subscriber(self.format, "warn", self.colours, move || Line(Arc::clone(&into)));
        let said = said.map_err(io::Error::other)?;
        // Of this thread alone, and not through the queue, which may be full.
        tracing::subscriber::with_default(said, || {
            tracing::warn!(lines, "log lines were dropped: the reader of standard error was too slow or gone");
        });
        let line = std::mem::take(&mut *line.lock());
        self.out.write_all(&line)?;
        (self.told, self.told_at) = (dropped, Some(Instant::now()));
        Ok(())
    }
}

struct Line(Arc<Mutex<Vec<u8>>>);

impl Write for Line {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    /// A pipe whose reader takes a line when it is told to.
    struct Pipe {
        turns: Receiver<()>,
        lines: mpsc::Sender<String>,
    }

    impl Write for Pipe {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.turns.recv().map_err(|_| io::ErrorKind::BrokenPipe)?;
            let line = String::from_utf8(bytes.to_vec()).unwrap();
            self.lines.send(line).map_err(|_| io::ErrorKind::BrokenPipe)?;
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_reader_that_stalls_costs_lines_and_nothing_else_and_is_told_how_many() {
        for format in [LogFormat::Text, LogFormat::Json] {
            let ((turn, turns), (lines, read)) = (mpsc::channel(), mpsc::channel());
            let (writer, _guard, dropped) = LogWriter::start_with(Pipe { turns, lines }, format, false, 4).unwrap();
            let log = subscriber(format, "info", false, writer).unwrap();
            // One is with the thread, or will be; four wait. All others must not wait.
            tracing::subscriber::with_default(log, || (0..100).for_each(|line| tracing::info!(line, "said")));
            let lost = dropped.count();
            assert!((95..=96).contains(&lost), "{lost}");
            (0..2).for_each(|_| turn.send(()).unwrap());
            assert!(read.recv().unwrap().contains("said"));
            let told = read.recv().unwrap();
            assert!(told.contains("log lines were dropped") && told.contains(&lost.to_string()), "{told}");
            assert_eq!(serde_json::from_str::<serde_json::Value>(&told).is_ok(), format == LogFormat::Json, "{told}");
        }
    }

    #[test]
    fn a_line_that_makes_the_writer_panic_costs_no_other_line() {
        struct Picky(mpsc::Sender<String>);
        impl Write for Picky {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                let line = String::from_utf8(bytes.to_vec()).unwrap();
                assert!(!line.starts_with("bad"), "a line panics");
                self.0.send(line).map_err(|_| io::ErrorKind::BrokenPipe)?;
                Ok(bytes.len())
            }

            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let (lines, read) = mpsc::channel();
        let (mut queue, guard, dropped) = LogWriter::start_with(Picky(lines), LogFormat::Text, false, 4).unwrap();
        queue.write_all(b"bad\n").unwrap();
        queue.write_all(b"good\n").unwrap();
        assert_eq!(read.recv().unwrap(), "good\n");
        assert_eq!(dropped.count(), 1);
        drop(guard);
    }

    #[test]
    fn lines_that_the_system_does_not_take_are_counted() {
        let ((turn, turns), (lines, _)) = (mpsc::channel(), mpsc::channel());
        drop(turn);
        let (mut queue, guard, dropped) =
            LogWriter::start_with(Pipe { turns, lines }, LogFormat::Text, false, 4).unwrap();
        queue.write_all(b"one\n").unwrap();
        drop(guard);
        assert_eq!(dropped.count(), 1);
    }

    #[test]
    fn the_end_waits_for_what_was_said_and_not_for_a_reader_that_has_stalled() {
        let ((turn, turns), (lines, read)) = (mpsc::channel(), mpsc::channel());
        let (mut queue, guard, _) = LogWriter::start_with(Pipe { turns, lines }, LogFormat::Text, false, 4).unwrap();
        (0..3).for_each(|_| queue.write_all(b"said\n").unwrap());
        (0..3).for_each(|_| turn.send(()).unwrap());
        drop(guard);
        assert_eq!(read.try_iter().count(), 3);

        let ((_turn, turns), (lines, read)) = (mpsc::channel(), mpsc::channel());
        let (mut queue, guard, _) = LogWriter::start_with(Pipe { turns, lines }, LogFormat::Text, false, 4).unwrap();
        (0..9).for_each(|_| queue.write_all(b"said\n").unwrap());
        let start = Instant::now();
        drop(guard);
        assert!(start.elapsed() >= ENDING);
        assert_eq!(read.try_iter().count(), 0);
    }
}
