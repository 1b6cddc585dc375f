//! `gastank demo`: a service of its own in a temporary directory, its pages in the browser, and a client that drains a tank.
//!
//! It is the real service with the development provider, on the loopback interface and on free ports. It ends with Ctrl-C, and
//! leaves nothing behind.

use std::{
    io::{self, BufRead, IsTerminal},
    net::SocketAddr,
    process::{Command, Stdio},
    time::Duration,
};

use serde_json::json;
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::mpsc,
    time::sleep,
};

use super::{
    answers::{random, text},
    client::{Client, VerifiedAck},
};
use crate::{
    cli::{
        CliError, DemoArgs, Transport,
        api::{Api, Auth, read_token},
        output::{Look, Output},
    },
    config::Config,
    service::{Listening, Service},
    time::Millis,
    wire::WireVerdict,
};

/// Whose tank it is.
const PERSON: &str = "ada";
/// What the tank is filled with, in entries of seconds.
const FILLED: [(i64, &str); 3] = [(1800, "welcome"), (900, "survey"), (900, "thank you")];
/// Between two heartbeats of the client.
const INTERVAL: Duration = Duration::from_secs(1);

/// `gastank demo`
///
/// # Errors
///
/// [`CliError`]; nothing is left running, and no data.
pub(super) async fn run(args: &DemoArgs, output: &mut Output) -> Result<(), CliError> {
    let wrap = |what| move |source| CliError::System { what, source };
    let mut terminate = signal(SignalKind::terminate()).map_err(wrap("cannot wait for signals"))?;
    let dir = tempfile::Builder::new().prefix("gastank-demo-").tempdir().map_err(wrap("no temporary directory"))?;
    let settings = settings(args.http, dir.path());
    let config = Config::from_toml(&settings).map_err(|error| CliError::Usage(error.to_string()))?;
    let audience = config.token.audience.clone();
    let service = Box::pin(Service::start(config)).await;
    let service = service.map_err(|error| CliError::NotAsExpected(format!("the service did not start: {error}")))?;
    let token = dir.path().join("admin.token");
    let told = tokio::select! {
        told = Box::pin(show(args, service.listening(), &token, &audience, output)) => told,
        _ = tokio::signal::ctrl_c() => Ok(()),
        _ = terminate.recv() => Ok(()),
    };
    let stopped = service.stop().await;
    dir.close().map_err(wrap("the temporary directory stays behind"))?;
    told?;
    stopped.map_err(|error| CliError::NotAsExpected(format!("the service did not stop in order: {error}")))?;
    output.line("\nThe demo is over. Nothing is left of it.")
}

/// The configuration of the demo's service.
fn settings(http: SocketAddr, dir: &std::path::Path) -> String {
    format!(
        "data_dir = {:?}\n[http]\naddr = \"{http}\"\n[udp]\naddr = \"127.0.0.1:0\"\n[quic]\naddr = \"off\"\n\
         [admin]\naddr = \"127.0.0.1:0\"\n[heartbeat]\ninterval_ms = 1000\ntimeout_ms = 10000\n[checkpoint]\ninterval_ms = 2000\n\
         [hub]\ndevelopment_provider = true\n",
        dir.display().to_string()
    )
}

async fn show(
    args: &DemoArgs,
    listening: &Listening,
    token: &std::path::Path,
    audience: &str,
    output: &mut Output,
) -> Result<(), CliError> {
    let base = |addr: SocketAddr| format!("http://{addr}").parse().expect("an address makes a URL");
    let admin = Api::new(base(listening.admin), Auth::Operator(read_token(token)?))?;
    let issuer = format!("http://{}/development", listening.http);
    let made = json!({"issuer": issuer, "subject": PERSON, "key": true});
    let made = admin.post(&["admin", "accounts"], &made).await?;
    let account = text(&admin, &made, "account")?;
    for (seconds, reason) in FILLED {
        let credit = json!({"seconds": seconds, "reason": reason});
        admin.post_once(&["admin", "accounts", &account, "credit"], &random(), &credit).await?;
    }
    let client = admin.other(base(listening.http), Auth::Client(text(&admin, &made, "key")?))?;
    let pages = format!("http://{}/sign-in?login_hint={PERSON}", listening.http);
    let mut line = |name: &str, value: &str| {
        let name = output.look(Look::Bold, &format!("{name:<8}"));
        output.line(&format!("  {name} {value}"))
    };
    line("open", &pages)?;
    line("sign in", &format!("as {PERSON}: the tank of this demo is theirs. Any other name is somebody else"))?;
    line("watch", "the tank drains while the client below beats; switch it off on the page")?;
    line("stop", "Ctrl-C: the service ends, and its data go")?;
    if !args.no_open && io::stdout().is_terminal() {
        open(&pages);
    }
    drain(&client, audience, output).await
}

/// Activates and beats until the session ends; and again, each time the person says so.
async fn drain(api: &Api, audience: &str, output: &mut Output) -> Result<(), CliError> {
    let mut typed = lines();
    loop {
        let mut client = Client::activate(api, audience, Transport::Udp).await?;
        output.line("\n  the client has activated, and beats")?;
        let reason = loop {
            match client.beat().await? {
                Some(VerifiedAck { ack, .. }) => match ack.verdict {
                    WireVerdict::Valid | WireVerdict::Unknown => {}
                    WireVerdict::Invalid(reason) => break reason,
                },
                None => tracing::warn!("a heartbeat of the demo had no ack"),
            }
            sleep(INTERVAL).await;
        };
        let used = client.clock().since(client.started);
        output.line(&format!("  the session ended after {} s: {}", Millis::as_secs(used), reason.name()))?;
        output.line("  press Enter to activate again, Ctrl-C to stop")?;
        if typed.recv().await.is_none() {
            // Nobody can type here: the pages stay.
            std::future::pending::<()>().await;
        }
    }
}

/// Each time that somebody presses Enter. The thread sleeps in the kernel until the program ends.
fn lines() -> mpsc::Receiver<()> {
    let (typed, lines) = mpsc::channel(1);
    let reading = move || {
        for line in io::stdin().lock().lines() {
            if line.is_err() || typed.blocking_send(()).is_err() {
                return;
            }
        }
    };
    if let Err(error) = std::thread::Builder::new().name("stdin".to_owned()).spawn(reading) {
        tracing::warn!(%error, "standard input is not read");
    }
    lines
}

/// Opens a page in the person's browser, if this system knows how.
fn open(url: &str) {
    let program = if cfg!(target_os = "macos") { "open" } else { "xdg-open" };
    let quiet = || Stdio::null();
    match Command::new(program).arg(url).stdin(quiet()).stdout(quiet()).stderr(quiet()).spawn() {
        // Its end is waited for where nothing else waits.
        Ok(mut child) => drop(std::thread::spawn(move || child.wait())),
        Err(error) => tracing::debug!(%error, "no browser was opened"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_demo_is_a_configuration_and_only_for_this_machine() {
        let here = settings("127.0.0.1:0".parse().unwrap(), std::path::Path::new("/tmp/a \"b\""));
        assert!(Config::from_toml(&here).expect("it is good").hub.development_provider);
        let elsewhere = settings("0.0.0.0:7080".parse().unwrap(), std::path::Path::new("/tmp"));
        assert!(Config::from_toml(&elsewhere).is_err());
    }
}
