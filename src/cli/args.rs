//! What may be typed, as clap reads it.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::PathBuf,
};

use clap::{Args, Subcommand};
use reqwest::Url;

use super::{
    CliError,
    api::{Api, Auth, read_token},
    span::{NotASpan, Seconds},
};
use crate::config::{Config, ConfigArgs, ScyllaUrl, StoreUrl};

/// The file in the data directory that holds the admin token.
const TOKEN_FILE: &str = "admin.token";

/// Where the running service is, and how to speak to it.
#[derive(Clone, Debug, Args)]
pub struct Reach {
    /// The service's admin listener [default: http://127.0.0.1:7090, or as GASTANK_ADMIN_ADDR says]
    #[arg(long, global = true, value_name = "URL", value_parser = http_url)]
    pub admin_url: Option<Url>,
    /// File with the admin token [default: admin.token in the data directory]
    #[arg(long, global = true, value_name = "FILE")]
    pub token_file: Option<PathBuf>,
    /// The service's data directory, for its admin token [default: as of `gastank serve`]
    #[arg(long, global = true, value_name = "DIR")]
    pub data_dir: Option<String>,
}

/// [`Reach`], and how to answer.
#[derive(Clone, Debug, Args)]
pub struct Remote {
    #[command(flatten)]
    pub(super) reach: Reach,
    /// Answer with JSON, as the service gave it
    #[arg(long, global = true)]
    pub json: bool,
}

/// The commands that talk to a running service.
#[derive(Clone, Debug, Subcommand)]
pub enum ClientCommand {
    /// Take the newcomer's tour: watch a tank drain
    ///
    /// Makes an account at a running service, buys a minute, opens a session, sends heartbeats, asks for the verdict as
    /// an edge would, closes the session, and shows the ledger. What it made it removes in the end.
    #[command(
        name = "try",
        after_help = "\
Examples:
  gastank try                        start `gastank` in another terminal first
  gastank try --seconds 30 --keep    drain for half a minute; keep the account and the edge
  gastank try --transport http       heartbeats over HTTP where UDP does not get through
  gastank try | cat                  plain lines, one fact each"
    )]
    Try(TryArgs),
    /// Make, list, show, fill and delete accounts
    #[command(after_help = "\
Examples:
  gastank account create --credit 2h --key
  gastank account list
  gastank account credit ACCOUNT 15m --reason \"thank you\"
  gastank account key add ACCOUNT
  gastank account delete ACCOUNT --yes")]
    Account {
        /// Where the service is
        #[command(flatten)]
        remote: Remote,
        /// What to do
        #[command(subcommand)]
        command: AccountCommand,
    },
    /// Register, list and remove edges: those who enforce tokens and ask for verdicts
    #[command(after_help = "\
Examples:
  gastank edge add cloudflare --audience edge
  gastank edge list
  gastank edge remove CLIENT_ID")]
    Edge {
        /// Where the service is
        #[command(flatten)]
        remote: Remote,
        /// What to do
        #[command(subcommand)]
        command: EdgeCommand,
    },
    /// Revoke a session, or show when it was heard of
    #[command(after_help = "\
Examples:
  gastank session revoke SESSION
  gastank session history SESSION
  gastank session history SESSION --since 30d --json")]
    Session {
        /// Where the service is
        #[command(flatten)]
        remote: Remote,
        /// What to do
        #[command(subcommand)]
        command: SessionCommand,
    },
    /// Rotate and list the keys that sign tokens
    #[command(after_help = "\
Examples:
  gastank keys list
  gastank keys rotate
  gastank keys rotate-secret")]
    Keys {
        /// Where the service is
        #[command(flatten)]
        remote: Remote,
        /// What to do
        #[command(subcommand)]
        command: KeysCommand,
    },
    /// Show who did what, on which account, and when
    #[command(after_help = "\
Examples:
  gastank audit
  gastank audit --account ACCOUNT --since 30d
  gastank audit --act credit_entered --json
  gastank audit --follow")]
    Audit {
        /// Where the service is
        #[command(flatten)]
        remote: Remote,
        /// What is asked for
        #[command(flatten)]
        args: AuditArgs,
    },
    /// Show how the service is
    #[command(after_help = "\
Examples:
  gastank status
  gastank status --json
  gastank status --admin-url http://10.0.0.5:7090 --token-file ./admin.token")]
    Status {
        /// Where the service is
        #[command(flatten)]
        remote: Remote,
    },
}

/// `gastank store`
#[derive(Clone, Debug, Subcommand)]
pub enum StoreCommand {
    /// Make the store if it is missing, and bring it up to date
    ///
    /// The service does the same when it starts. Any number of these may run at once.
    Migrate(ConfigArgs),
    /// Copy everything from a data file to a keyspace of a CQL cluster, and compare both
    ///
    /// For who outgrows one machine. No gastank may run on either. The keyspace is made if it is missing, and must be empty.
    /// If the command is interrupted, the same command goes on where it was; until it has come to its end, no gastank
    /// starts on the keyspace. The data file stays as it is.
    #[command(after_help = "\
Examples:
  gastank store copy --from sqlite:./data/gastank.db --to scylla://10.0.0.1:9042,10.0.0.2:9042/gastank
  gastank store copy --config gastank.toml --from sqlite:gastank.db --to scylla://db.internal:9042/gastank

How the cluster is reached, its password and certificates among it, is as [scylla] of the configuration says.
Exit code 1 if the two are not the same in the end; what differs is named.")]
    Copy(CopyArgs),
}

/// `gastank store copy`
#[derive(Clone, Debug, Args)]
pub struct CopyArgs {
    /// Where things are: sqlite:PATH
    #[arg(long, value_name = "STORE", value_parser = moved_from)]
    pub from: PathBuf,
    /// Where they are to go: scylla://host:port,host:port/keyspace
    #[arg(long, value_name = "STORE", value_parser = moved_to)]
    pub to: ScyllaUrl,
    /// Configuration file, in TOML [default: none] [variable: GASTANK_CONFIG]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

/// `gastank try`
#[derive(Clone, Debug, Args)]
pub struct TryArgs {
    #[command(flatten)]
    pub(super) reach: Reach,
    /// The service's public listener [default: as the service itself says]
    #[arg(long, value_name = "URL", value_parser = http_url)]
    pub url: Option<Url>,
    /// How long to let the tank drain
    #[arg(long, value_name = "SPAN", default_value = "10", value_parser = tour_seconds)]
    pub seconds: Seconds,
    /// Milliseconds between two heartbeats of the tour
    #[arg(long, value_name = "MS", default_value_t = 500, value_parser = clap::value_parser!(u64).range(50..=60_000))]
    pub interval_ms: u64,
    /// How heartbeats travel
    #[arg(long, value_name = "HOW", value_enum, default_value_t = Transport::Udp)]
    pub transport: Transport,
    /// Keep the account and the edge that the tour made
    #[arg(long)]
    pub keep: bool,
}

/// How heartbeats travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Transport {
    /// UDP datagrams
    Udp,
    /// QUIC datagrams
    Quic,
    /// POST /v1/heartbeat over HTTP/1.1
    #[value(alias = "http")]
    Http1,
    /// POST /v1/heartbeat over HTTP/2
    Http2,
    /// POST /v1/heartbeat over HTTP/3
    Http3,
}

/// `gastank account`
#[derive(Clone, Debug, Subcommand)]
pub enum AccountCommand {
    /// Make an account, or show the one that this issuer and subject have
    #[command(after_help = "\
Examples:
  gastank account create --credit 2h --key
  gastank account create --issuer https://accounts.example.org --subject 8f3c")]
    Create {
        /// The identity provider that knows the person [default: local]
        #[arg(long, value_name = "NAME")]
        issuer: Option<String>,
        /// The person's name there [default: the account's id]
        #[arg(long, value_name = "NAME")]
        subject: Option<String>,
        /// Credit to begin with: 90, 15m, 2h, 1d
        #[arg(long, value_name = "SPAN", value_parser = positive)]
        credit: Option<Seconds>,
        /// Make an account key too, which activates without an identity provider
        #[arg(long)]
        key: bool,
    },
    /// List the accounts
    #[command(after_help = "\
Examples:
  gastank account list
  gastank account list --limit 1000 --json")]
    List {
        /// How many at most
        #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
        limit: u32,
    },
    /// Show an account: its tank and its latest session
    #[command(after_help = "\
Examples:
  gastank account show ACCOUNT")]
    Show {
        /// The account's id
        #[arg(value_name = "ACCOUNT", allow_hyphen_values = true)]
        id: String,
    },
    /// Fill a tank, or take away from it
    #[command(after_help = "\
Examples:
  gastank account credit ACCOUNT 90            90 seconds
  gastank account credit ACCOUNT 15m --reason \"thank you\"
  gastank account credit ACCOUNT -2h           takes away, as far as the tank has it
  gastank account credit ACCOUNT 1d --idempotency-key order-1234

The same key twice fills once. Where none is given, a random one is made and shown.")]
    Credit {
        /// The account's id
        #[arg(value_name = "ACCOUNT", allow_hyphen_values = true)]
        id: String,
        /// How much: 90, 15m, 2h, 1d; negative takes away
        #[arg(value_name = "SECONDS", allow_hyphen_values = true, value_parser = not_zero)]
        seconds: Seconds,
        /// A note for people, in the ledger
        #[arg(long, value_name = "TEXT")]
        reason: Option<String>,
        /// Unique name of this credit: repeating the command with it changes nothing [default: random]
        #[arg(long, value_name = "KEY")]
        idempotency_key: Option<String>,
    },
    /// Add, list and remove account keys, which activate without an identity provider
    #[command(after_help = "\
Examples:
  gastank account key add ACCOUNT
  gastank account key list ACCOUNT
  gastank account key remove ACCOUNT KEY_ID")]
    Key {
        /// What to do
        #[command(subcommand)]
        command: KeyCommand,
    },
    /// Delete an account for good: its session ends, its ledger and keys go
    #[command(after_help = "\
Examples:
  gastank account delete ACCOUNT
  gastank account delete ACCOUNT --yes         without asking, as in a script")]
    Delete {
        /// The account's id
        #[arg(value_name = "ACCOUNT", allow_hyphen_values = true)]
        id: String,
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
}

/// `gastank account key`
#[derive(Clone, Debug, Subcommand)]
pub enum KeyCommand {
    /// Make a key; it is shown once
    Add {
        /// The account's id
        #[arg(value_name = "ACCOUNT", allow_hyphen_values = true)]
        id: String,
    },
    /// List the keys of an account, without the keys themselves
    List {
        /// The account's id
        #[arg(value_name = "ACCOUNT", allow_hyphen_values = true)]
        id: String,
    },
    /// Remove a key: it activates no more
    Remove {
        /// The account's id
        #[arg(value_name = "ACCOUNT", allow_hyphen_values = true)]
        id: String,
        /// The key's id
        #[arg(value_name = "KEY_ID", allow_hyphen_values = true)]
        key_id: String,
    },
}

/// `gastank edge`
#[derive(Clone, Debug, Subcommand)]
pub enum EdgeCommand {
    /// Register an edge; its secret is shown once
    #[command(after_help = "\
Examples:
  gastank edge add cloudflare
  gastank edge add gateway-eu --audience gateway")]
    Add {
        /// A name for people
        #[arg(value_name = "NAME")]
        name: String,
        /// The audience whose tokens it enforces
        #[arg(long, value_name = "AUDIENCE", default_value = "edge")]
        audience: String,
    },
    /// List the edges
    List,
    /// Remove an edge: it is answered no more
    Remove {
        /// The edge's client id
        #[arg(value_name = "CLIENT_ID", allow_hyphen_values = true)]
        client_id: String,
    },
    /// Replace an edge's secret without a gap: add one, switch the edge over, remove the old one
    #[command(after_help = "\
Examples:
  gastank edge secret add CLIENT_ID
  gastank edge secret list CLIENT_ID
  gastank edge secret remove CLIENT_ID SECRET_ID")]
    Secret {
        /// What to do
        #[command(subcommand)]
        command: SecretCommand,
    },
}

/// `gastank edge secret`
#[derive(Clone, Debug, Subcommand)]
pub enum SecretCommand {
    /// Make a second secret; it is shown once
    Add {
        /// The edge's client id
        #[arg(value_name = "CLIENT_ID", allow_hyphen_values = true)]
        client_id: String,
    },
    /// List the secrets of an edge, without the secrets themselves, the oldest first
    List {
        /// The edge's client id
        #[arg(value_name = "CLIENT_ID", allow_hyphen_values = true)]
        client_id: String,
    },
    /// Remove a secret: it is good no more
    Remove {
        /// The edge's client id
        #[arg(value_name = "CLIENT_ID", allow_hyphen_values = true)]
        client_id: String,
        /// The secret's id
        #[arg(value_name = "SECRET_ID", allow_hyphen_values = true)]
        secret_id: String,
    },
}

/// `gastank session`
#[derive(Clone, Debug, Subcommand)]
pub enum SessionCommand {
    /// Revoke a session: its token dies, what it burned is charged
    Revoke {
        /// The session's id
        #[arg(value_name = "SESSION", allow_hyphen_values = true)]
        id: String,
    },
    /// Show when a session was heard of, and what its client said of itself
    ///
    /// A row for each checkpoint, not for each heartbeat: of what came in between, the latest. Nothing is written down
    /// unless the service's `history.keep_days` says for how long.
    #[command(after_help = "\
Examples:
  gastank session history SESSION
  gastank session history SESSION --since 2h
  gastank session history SESSION --since 30d --limit 100000 --json

The ids of sessions are in `gastank account show` and `gastank audit`.")]
    History(HistoryArgs),
}

/// `gastank session history`
#[derive(Clone, Debug, Args)]
pub struct HistoryArgs {
    /// The session's id
    #[arg(value_name = "SESSION", allow_hyphen_values = true)]
    pub id: String,
    /// How far back: 90, 15m, 2h, 30d
    #[arg(long, value_name = "SPAN", default_value = "1d", value_parser = positive)]
    pub since: Seconds,
    /// How many rows at most, the oldest first
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub limit: u32,
}

/// `gastank keys`
#[derive(Clone, Debug, Subcommand)]
pub enum KeysCommand {
    /// Begin with a new signing key: published at once, signing once every edge has had time to see it
    Rotate,
    /// Begin with a new cluster secret: new sessions use it at once, live ones keep the old one to their end
    RotateSecret,
    /// List the signing keys
    List,
}

/// `gastank audit`
#[derive(Clone, Debug, Args)]
pub struct AuditArgs {
    /// Only what was done on this account
    #[arg(long, value_name = "ACCOUNT", allow_hyphen_values = true)]
    pub account: Option<String>,
    /// How far back: 90, 15m, 2h, 30d
    #[arg(long, value_name = "SPAN", default_value = "1d", value_parser = positive)]
    pub since: Seconds,
    /// Only this act, such as session_opened or credit_entered
    #[arg(long, value_name = "ACT")]
    pub act: Option<String>,
    /// How many rows at most, the oldest first
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub limit: u32,
    /// Go on showing what is done until interrupted; with --json, one row a line
    #[arg(long, conflicts_with = "limit")]
    pub follow: bool,
}

impl Reach {
    /// The service over its admin listener, asked with the admin token. What is not given is as the service itself would
    /// be configured here, by the environment and the file that it names.
    pub(super) fn admin(&self) -> Result<Api, CliError> {
        let (url, token_file) = match (&self.admin_url, &self.token_file) {
            (Some(url), Some(file)) => (url.clone(), file.clone()),
            (url, file) => {
                let args = ConfigArgs { data_dir: self.data_dir.clone(), ..ConfigArgs::default() };
                let config = Config::load_here(&args).map_err(|error| CliError::Usage(error.to_string()))?;
                let url = url.clone().unwrap_or_else(|| admin_url(config.admin.addr.get()));
                (url, file.clone().unwrap_or_else(|| config.data_dir.join(TOKEN_FILE)))
            }
        };
        Api::new(url, Auth::Operator(read_token(&token_file)?))
    }
}

/// Where a listener that binds `addr` is reached from this machine.
pub(super) fn admin_url(addr: SocketAddr) -> Url {
    let ip = match addr.ip() {
        ip if !ip.is_unspecified() => ip,
        IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
    };
    Url::parse(&format!("http://{}", SocketAddr::new(ip, addr.port()))).expect("an address and a port make a URL")
}

fn moved_from(text: &str) -> Result<PathBuf, String> {
    match text.parse() {
        Ok(StoreUrl::Sqlite(path)) => Ok(path),
        Ok(StoreUrl::Scylla(_)) => Err("things can be copied from a data file only: sqlite:PATH".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

fn moved_to(text: &str) -> Result<ScyllaUrl, String> {
    match text.parse() {
        Ok(StoreUrl::Scylla(url)) => Ok(url),
        Ok(StoreUrl::Sqlite(_)) => {
            Err("things can be copied to a keyspace only: scylla://host:port,host:port/keyspace".to_owned())
        }
        Err(error) => Err(error.to_string()),
    }
}

fn http_url(text: &str) -> Result<Url, String> {
    let url: Url = text.parse().map_err(|_| "a URL is such as http://127.0.0.1:7090".to_owned())?;
    if !matches!(url.scheme(), "http" | "https") || url.host().is_none() {
        return Err("a URL is such as http://127.0.0.1:7090".to_owned());
    }
    Ok(url)
}

fn positive(text: &str) -> Result<Seconds, String> {
    let seconds: Seconds = text.parse().map_err(|error: NotASpan| error.to_string())?;
    if seconds.get() > 0 { Ok(seconds) } else { Err("it must be more than nothing".to_owned()) }
}

fn not_zero(text: &str) -> Result<Seconds, String> {
    let seconds: Seconds = text.parse().map_err(|error: NotASpan| error.to_string())?;
    if seconds.get() == 0 { Err("nothing would change".to_owned()) } else { Ok(seconds) }
}

fn tour_seconds(text: &str) -> Result<Seconds, String> {
    let seconds = positive(text)?;
    if seconds.get() <= 3_600 { Ok(seconds) } else { Err("the tour drains for an hour at most".to_owned()) }
}
