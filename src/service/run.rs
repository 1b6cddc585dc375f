//! The service as the program runs it: until a signal.

use std::io::{self, Write};

use tokio::signal::unix::{SignalKind, signal};

use crate::config::Config;

use super::{error::ServiceError, listening::Listening, running::Service};

/// Runs a service until it is told to stop by SIGTERM or SIGINT.
///
/// Prints the ready line on standard output. `welcome` is told where it listens, and whether this is the first start.
///
/// # Errors
///
/// [`ServiceError`].
pub async fn run(config: Config, welcome: impl FnOnce(&Listening, bool)) -> Result<(), ServiceError> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    // It makes the certificates be looked at; from now on it does not end the process, not even while that starts.
    let _hangup = signal(SignalKind::hangup())?;
    for warning in config.warnings() {
        tracing::warn!("{warning}");
    }
    let service = tokio::select! {
        started = Service::start(config) => started?,
        _ = terminate.recv() => return Ok(()),
        _ = interrupt.recv() => return Ok(()),
    };
    welcome(service.listening(), service.is_first_start());
    say_ready(service.listening());
    let told = async {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    };
    service.run_until(told).await
}

/// Prints the ready line. A reader that is gone, or does not read, is no reason not to serve.
fn say_ready(listening: &Listening) {
    let line = listening.ready_line();
    let saying = move || {
        let mut out = io::stdout().lock();
        if let Err(error) = writeln!(out, "{line}").and_then(|()| out.flush()) {
            tracing::warn!(%error, "the ready line could not be written to standard output");
        }
    };
    // Not a thread of the runtime, whose end would wait for the reader.
    if let Err(error) = std::thread::Builder::new().name("say".to_owned()).spawn(saying) {
        tracing::warn!(%error, "the ready line could not be written to standard output");
    }
}
