//! `gastank demo`: a service of its own in a temporary directory, its pages in the browser, a client that drains a tank, and a
//! landing page and a shop where people earn and buy time for it ([`sites`](super::sites)).
//!
//! It is the real service with the development provider, on the loopback interface and on free ports. It ends with Ctrl-C, and
//! leaves nothing behind.

use std::{
    fs::OpenOptions,
    io::{self, BufRead, IsTerminal, Write as _},
    net::SocketAddr,
    os::unix::fs::OpenOptionsExt,
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use serde_json::json;
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::{mpsc, watch},
    time::sleep,
};

use super::{
    answers::{random, text},
    client::{Client, VerifiedAck},
    sites::{Addresses, Listeners, Parts, SHOP, Tank},
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
    let sites = Listeners::bind().await.map_err(wrap("no place for the landing page and the shop"))?;
    let settings = settings(args.http, sites.addresses, dir.path());
    let secret = shop_secret(dir.path()).map_err(wrap("the shop has no secret"))?;
    let config = Config::from_toml(&settings).map_err(|error| CliError::Usage(error.to_string()))?;
    let audience = config.token.audience.clone();
    let service = Box::pin(Service::start(config)).await;
    let service = service.map_err(|error| CliError::NotAsExpected(format!("the service did not start: {error}")))?;
    let token = dir.path().join("admin.token");
    let told = tokio::select! {
        told = Box::pin(show(args, service.listening(), (sites, secret), (&token, &audience), output)) => told,
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
fn settings(http: SocketAddr, Addresses { news, shop }: Addresses, dir: &Path) -> String {
    let rewards = [("page-view", 600), ("click-through", 300)].map(|(class, reward_s)| {
        format!("[[reward]]\nclass = \"{class}\"\ndistinguisher = \"{news}\"\nreward_s = {reward_s}\ncooldown_s = 60\n")
    });
    let service = format!(
        "data_dir = {:?}\n[http]\naddr = \"{http}\"\n[udp]\naddr = \"127.0.0.1:0\"\n[quic]\naddr = \"off\"\n\
         [admin]\naddr = \"127.0.0.1:0\"\n[heartbeat]\ninterval_ms = 1000\ntimeout_ms = 10000\n[checkpoint]\ninterval_ms = 2000\n\
         [hub]\ndevelopment_provider = true\n[rewards]\nlanding_pages = \"http://{news}\"\norigins = \"http://{shop}\"\n\
         products = \"time-4h=14400 time-28h=100800 time-300h=1080000\"\ntest_orders = \"credit\"\n",
        dir.display().to_string()
    );
    service + &rewards.concat()
}

/// Makes the secret that the shop signs with, where the service reads it.
fn shop_secret(dir: &Path) -> io::Result<String> {
    let secret = format!("{}{}", random(), random());
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(dir.join("shops.secrets"))?;
    writeln!(file, "{SHOP} {secret}")?;
    Ok(secret)
}

async fn show(
    args: &DemoArgs,
    listening: &Listening,
    (sites, secret): (Listeners, String),
    (token, audience): (&Path, &str),
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
    let made = client.post(&["v1", "account", "earners"], &json!({})).await?;
    let earner = text(&client, &made, "token")?;
    let pages = format!("http://{}/sign-in?login_hint={PERSON}", listening.http);
    let mut line = |name: &str, value: &str| {
        let name = output.look(Look::Bold, &format!("{name:<8}"));
        output.line(&format!("  {name} {value}"))
    };
    line("open", &pages)?;
    line("sign in", &format!("as {PERSON}: the tank of this demo is theirs. Any other name is somebody else"))?;
    line("watch", "the tank drains while the client below beats; switch it off on the page")?;
    let Addresses { news, shop } = sites.addresses;
    line("earn", &format!("http://{news}/app/open/news is a landing page that gives time to its readers"))?;
    line("buy", &format!("http://{shop}/app/open/shop is a shop that sells time, and takes it back"))?;
    line("stop", "Ctrl-C: the service ends, and its data go")?;
    if !args.no_open && io::stdout().is_terminal() {
        open(&pages);
    }
    let (activate, again) = lines();
    let (tank, watched) = watch::channel(Tank::default());
    let parts = Parts { service: listening.http, secret, earner, tank: watched, activate };
    tokio::select! {
        over = drain(&client, audience, (tank, again), output) => over,
        ended = sites.serve(parts) => {
            ended.map_err(|source| CliError::System { what: "the landing page and the shop ended", source })
        }
    }
}

/// Activates and beats until the session ends; and again, each time the person says so.
async fn drain(
    api: &Api,
    audience: &str,
    (tank, mut again): (watch::Sender<Tank>, mpsc::Receiver<()>),
    output: &mut Output,
) -> Result<(), CliError> {
    loop {
        let mut client = Client::activate(api, audience, Transport::Udp).await?;
        output.line("\n  the client has activated, and beats")?;
        let reason = loop {
            match client.beat().await? {
                Some(VerifiedAck { ack, .. }) => match ack.verdict {
                    WireVerdict::Valid => {
                        tank.send_replace(Tank { runs: true, remaining_s: ack.remaining_s.into() });
                    }
                    WireVerdict::Unknown => {}
                    WireVerdict::Invalid(reason) => break reason,
                },
                None => tracing::warn!("a heartbeat of the demo had no ack"),
            }
            sleep(INTERVAL).await;
        };
        let used = client.clock().since(client.started);
        output.line(&format!("  the session ended after {} s: {}", Millis::as_secs(used), reason.name()))?;
        output.line("  press Enter to activate again, Ctrl-C to stop")?;
        rest(api, &tank, &mut again).await?;
    }
}

/// Keeps what the pages show of a tank that does not drain, until the person activates again.
async fn rest(api: &Api, tank: &watch::Sender<Tank>, again: &mut mpsc::Receiver<()>) -> Result<(), CliError> {
    loop {
        let account = api.get(&["v1", "account"]).await?;
        tank.send_replace(Tank { runs: false, remaining_s: account["remaining_s"].as_u64().unwrap_or_default() });
        tokio::select! {
            Some(()) = again.recv() => return Ok(()),
            () = sleep(INTERVAL) => {}
        }
    }
}

/// Has the client activate again, and each time that it is to. Somebody who presses Enter does so; the thread sleeps in the kernel
/// until the program ends.
fn lines() -> (mpsc::Sender<()>, mpsc::Receiver<()>) {
    let (activate, lines) = mpsc::channel(1);
    let typed = activate.clone();
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
    (activate, lines)
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
        let sites = Addresses { news: "127.0.0.1:81".parse().unwrap(), shop: "127.0.0.1:82".parse().unwrap() };
        let here = settings("127.0.0.1:0".parse().unwrap(), sites, Path::new("/tmp/a \"b\""));
        let here = Config::from_toml(&here).expect("it is good");
        assert!(here.hub.development_provider && here.catalogue().find("page-view", "127.0.0.1:81").is_some());
        let elsewhere = settings("0.0.0.0:7080".parse().unwrap(), sites, Path::new("/tmp"));
        assert!(Config::from_toml(&elsewhere).is_err());
    }
}
