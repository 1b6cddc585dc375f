//! How a line of the log looks, and which lines there are.

use std::io;

use serde::{Deserialize, Serialize};
use tracing::{Metadata, Subscriber, level_filters::LevelFilter};
use tracing_subscriber::{
    EnvFilter, Layer,
    filter::{FilterExt, filter_fn},
    fmt::MakeWriter,
    layer::SubscriberExt,
};

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
    /// The system makes no thread for it.
    #[error("the log cannot be started: {0}")]
    Thread(#[from] io::Error),
    /// The process logs already.
    #[error("logging was set up before: {0}")]
    Twice(#[from] tracing_subscriber::util::TryInitError),
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
