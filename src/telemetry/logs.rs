//! Logs: one line an event, text for people or JSON for machines.
//!
//! No line ever holds a token, a key, an address or a subject. Our own events name none of them; libraries, which know
//! no such rule and print headers when they debug, are held to `info` whatever the filter says.

use std::fmt;
use std::io::{self, IsTerminal};

use serde::{Deserialize, Serialize};
use tracing::level_filters::LevelFilter;
use tracing::{Metadata, Subscriber};
use tracing_subscriber::filter::{FilterExt, filter_fn};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer};

/// How a line of the log looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line, for machines.
    Json,
}

/// Why logging could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The filter cannot be read.
    #[error("the log filter cannot be read: {0}")]
    Filter(#[from] tracing_subscriber::filter::ParseError),
    /// The process logs already.
    #[error("logging was set up before: {0}")]
    Twice(#[from] tracing_subscriber::util::TryInitError),
}

/// Stands where a secret would in what is logged or shown: its `Debug` tells that there is one, and no more.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Redacted;

impl fmt::Debug for Redacted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

/// Logs to standard error, for the whole process.
///
/// `filter` is a level, or levels by module as in `info,gastank::store=debug`.
///
/// # Errors
///
/// [`LogError::Filter`] for a filter that cannot be read, [`LogError::Twice`] at the second call.
pub fn init(format: LogFormat, filter: &str) -> Result<(), LogError> {
    let colours = io::stderr().is_terminal();
    subscriber(format, filter, colours, io::stderr)?.try_init()?;
    Ok(())
}

/// Reads a filter without using it.
///
/// # Errors
///
/// [`LogError::Filter`].
pub fn check_filter(filter: &str) -> Result<(), LogError> {
    env_filter(filter).map(drop)
}

/// The subscriber that [`init`] installs, with its lines going to `writer`.
///
/// # Errors
///
/// [`LogError::Filter`].
pub fn subscriber<W>(
    format: LogFormat,
    filter: &str,
    colours: bool,
    writer: W,
) -> Result<impl Subscriber + Send + Sync + use<W>, LogError>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let filter = env_filter(filter)?.and(filter_fn(libraries_do_not_debug));
    let layer = tracing_subscriber::fmt::layer().with_writer(writer);
    let layer = match format {
        LogFormat::Text => layer.with_ansi(colours).boxed(),
        LogFormat::Json => layer.json().flatten_event(true).with_current_span(false).boxed(),
    };
    Ok(tracing_subscriber::registry().with(layer.with_filter(filter)))
}

fn env_filter(filter: &str) -> Result<EnvFilter, LogError> {
    Ok(EnvFilter::builder().with_default_directive(LevelFilter::INFO.into()).parse(filter)?)
}

fn libraries_do_not_debug(event: &Metadata<'_>) -> bool {
    let ours = event.target() == "gastank" || event.target().starts_with("gastank::");
    // The CQL driver tells of every connection.
    let most = if event.target().starts_with("scylla") { LevelFilter::WARN } else { LevelFilter::INFO };
    ours || *event.level() <= most
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
