//! Logs: one line an event, text for people or JSON for machines.
//!
//! No line ever holds a token, a key, an address or a subject. Our own events name none of them; libraries, which know
//! no such rule and print headers when they debug, are held to `info` whatever the filter says.

mod format;
mod writer;

use std::fmt;
use std::io::{self, IsTerminal};
use std::panic::{self, PanicHookInfo};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use tracing_subscriber::util::SubscriberInitExt;

pub use self::format::{LogError, LogFormat, check_filter, subscriber};
pub use self::writer::LogGuard;
use self::writer::{Dropped, LogWriter};

/// Lines of this process's log that nobody will read.
static DROPPED: OnceLock<Dropped> = OnceLock::new();
/// Panics of this process.
static PANICS: AtomicU64 = AtomicU64::new(0);

/// Stands where a secret would in what is logged or shown: its `Debug` tells that there is one, and no more.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Redacted;

impl fmt::Debug for Redacted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

/// Logs to standard error, for the whole process, and panics too. No line waits for its reader: see [`writer`]. The log is
/// written until the guard is dropped.
///
/// `filter` is a level, or levels by module as in `info,gastank::store=debug`.
///
/// # Errors
///
/// [`LogError::Filter`] for a filter that cannot be read, [`LogError::Twice`] at the second call.
pub fn init(format: LogFormat, filter: &str) -> Result<LogGuard, LogError> {
    let colours = io::stderr().is_terminal();
    // Before a thread is made for it: a filter that cannot be read changes nothing.
    check_filter(filter)?;
    let (writer, guard, dropped) = LogWriter::start(io::stderr(), format, colours)?;
    subscriber(format, filter, colours, writer)?.try_init()?;
    DROPPED.get_or_init(|| dropped);
    panic::set_hook(Box::new(note_panic));
    Ok(guard)
}

/// Lines of this process's log that were dropped because their reader was too slow or gone.
pub(super) fn dropped_lines() -> u64 {
    DROPPED.get().map_or(0, Dropped::count)
}

/// Panics of this process since [`init`].
pub(super) fn panics() -> u64 {
    PANICS.load(Ordering::Relaxed)
}

/// A panic is an event like any other. It goes where the log goes, and does not wait for its reader either.
fn note_panic(panic: &PanicHookInfo<'_>) {
    PANICS.fetch_add(1, Ordering::Relaxed);
    let thread = thread::current();
    let thread = thread.name().unwrap_or("unnamed");
    let location = panic.location().map(ToString::to_string).unwrap_or_default();
    let message = panic.payload_as_str().unwrap_or("no message");
    tracing::error!(thread, location, panic = message, "a part of the program panicked");
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use parking_lot::Mutex;

    use super::*;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn logged(format: LogFormat, filter: &str, events: impl FnOnce()) -> String {
        let lines = Lines::default();
        let writer = lines.clone();
        let subscriber = subscriber(format, filter, false, move || writer.clone()).expect("the filter is good");
        tracing::subscriber::with_default(subscriber, events);
        let bytes = lines.0.lock().clone();
        String::from_utf8(bytes).expect("logs are text")
    }

    #[test]
    fn text_lines_have_the_level_and_the_fields() {
        let text = logged(LogFormat::Text, "info", || tracing::info!(sessions = 3, "warmed up"));
        assert!(text.contains("INFO") && text.contains("warmed up sessions=3"), "{text}");
        assert_eq!(text.lines().count(), 1);
    }

    #[test]
    fn json_lines_are_one_object_each() {
        let text = logged(LogFormat::Json, "info", || {
            tracing::info!(sessions = 3, "warmed up");
            tracing::warn!("again");
        });
        let lines: Vec<serde_json::Value> =
            text.lines().map(|line| serde_json::from_str(line).expect("is JSON")).collect();
        assert_eq!(lines.len(), 2);
        assert_eq!(lines[0]["message"], "warmed up");
        assert_eq!(lines[0]["sessions"], 3);
        assert_eq!(lines[1]["level"], "WARN");
    }

    #[test]
    fn the_filter_decides_what_is_logged() {
        let events = || {
            tracing::debug!("fine");
            tracing::error!("coarse");
        };
        assert!(!logged(LogFormat::Text, "info", events).contains("fine"));
        assert!(logged(LogFormat::Text, "gastank=debug", events).contains("fine"));
        assert!(!logged(LogFormat::Text, "off", events).contains("coarse"));
        assert!(logged(LogFormat::Text, "", events).contains("coarse"));
    }

    #[test]
    fn libraries_never_debug_into_our_log() {
        let text = logged(LogFormat::Text, "trace", || {
            tracing::debug!(target: "h2::proto", "authorization: Bearer abc");
            tracing::debug!(target: "gastankish", "authorization: Bearer abc");
            tracing::info!(target: "h2::proto", "library news");
            tracing::trace!(target: "gastank::engine", "our detail");
        });
        assert!(!text.contains("Bearer"), "{text}");
        assert!(text.contains("library news") && text.contains("our detail"), "{text}");
    }

    #[test]
    fn a_filter_that_cannot_be_read_is_refused() {
        assert!(matches!(check_filter("gastank=loud"), Err(LogError::Filter(_))));
        assert!(check_filter("warn,gastank::store=debug").is_ok());
    }

    #[test]
    fn a_redacted_value_tells_nothing() {
        assert_eq!(format!("{:?}", Some(Redacted)), "Some([redacted])");
    }
}
