//! What may be typed, as clap reads it.

mod operators;

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

pub(super) use operators::HistoryArgs;
pub use operators::{
    AccountCommand, AuditArgs, EdgeCommand, HubClientCommand, KeyCommand, KeysCommand, RewardCommand, SecretCommand,
    SessionCommand,
};

/// The file in the data directory that holds the admin token.
const TOKEN_FILE: &str = "admin.token";

/// Where the running service is, and how to speak to it.
#[derive(Clone, Debug, Args)]
pub struct Reach {
    /// URL of the service's admin listener [default: http://127.0.0.1:7090, or GASTANK_ADMIN_ADDR]
    #[arg(long, global = true, value_name = "URL", value_parser = http_url)]
    pub admin_url: Option<Url>,
    /// File with the admin token [default: admin.token in the data directory]
    #[arg(long, global = true, value_name = "FILE")]
    pub token_file: Option<PathBuf>,
    /// Data directory of the service, to read its admin token from [default: that of `gastank serve`]
    #[arg(long, global = true, value_name = "DIR")]
    pub data_dir: Option<String>,
}

/// [`Reach`], and how to answer.
#[derive(Clone, Debug, Args)]
pub struct Remote {
    #[command(flatten)]
    pub(super) reach: Reach,
    /// Print the service's JSON response
    #[arg(long, global = true)]
    pub json: bool,
}

/// The commands that talk to a running service.
#[derive(Clone, Debug, Subcommand)]
pub enum ClientCommand {
    /// Take the newcomer's tour: watch a tank drain
    ///
    /// Creates an account on a running service, adds a minute, opens a session, sends heartbeats, asks for the verdict as
    /// an edge would, closes the session, and shows the ledger. Deletes the account and the edge at the end.
    #[command(
        name = "try",
        after_help = "\
Examples:
  gastank try                        start `gastank` in another terminal first
  gastank try --seconds 30 --keep    drain for half a minute; keep the account and the edge
  gastank try --transport http       heartbeats over HTTP, if UDP is blocked
  gastank try | cat                  plain lines, one fact each"
    )]
    Try(TryArgs),
    /// Create, list, show, fill and delete accounts
    #[command(after_help = "\
Examples:
  gastank account create --credit 2h --key
  gastank account list
  gastank account find https://accounts.example.org 8f3c
  gastank account ledger ACCOUNT
  gastank account credit ACCOUNT 15m --reason \"thank you\"
  gastank account key add ACCOUNT
  gastank account delete ACCOUNT --yes")]
    Account {
        /// Address and credentials of the service
        #[command(flatten)]
        remote: Remote,
        /// The command to run
        #[command(subcommand)]
        command: AccountCommand,
    },
    /// Register, list and remove edges, the gateways that enforce tokens and ask for verdicts
    #[command(after_help = "\
Examples:
  gastank edge add cloudflare --audience edge
  gastank edge list
  gastank edge remove CLIENT_ID")]
    Edge {
        /// Address and credentials of the service
        #[command(flatten)]
        remote: Remote,
        /// The command to run
        #[command(subcommand)]
        command: EdgeCommand,
    },
    /// Register, list and remove clients of the hub, the services and apps that people sign in to
    #[command(after_help = "\
Examples:
  gastank client add mail --redirect-uri https://mail.example.org/callback
  gastank client list
  gastank client remove CLIENT_ID")]
    Client {
        /// Address and credentials of the service
        #[command(flatten)]
        remote: Remote,
        /// The command to run
        #[command(subcommand)]
        command: HubClientCommand,
    },
    /// Show a session, revoke it, or show its heartbeat history
    #[command(after_help = "\
Examples:
  gastank session show SESSION
  gastank session revoke SESSION
  gastank session history SESSION
  gastank session history SESSION --since 30d --json")]
    Session {
        /// Address and credentials of the service
        #[command(flatten)]
        remote: Remote,
        /// The command to run
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
        /// Address and credentials of the service
        #[command(flatten)]
        remote: Remote,
        /// The command to run
        #[command(subcommand)]
        command: KeysCommand,
    },
    /// Show what rewards are paid for, and list and revoke the earner tokens of an account
    #[command(after_help = "\
Examples:
  gastank reward list
  gastank reward earners ACCOUNT
  gastank reward revoke ACCOUNT EARNER
  gastank reward kept
  gastank reward done time.myshopify.com 866550311766439020")]
    Reward {
        /// Address and credentials of the service
        #[command(flatten)]
        remote: Remote,
        /// The command to run
        #[command(subcommand)]
        command: RewardCommand,
    },
    /// Show the audit log: actor, act, account and time of every change
    #[command(after_help = "\
Examples:
  gastank audit
  gastank audit --account ACCOUNT --since 30d
  gastank audit --act credit_entered --json
  gastank audit --follow")]
    Audit {
        /// Address and credentials of the service
        #[command(flatten)]
        remote: Remote,
        /// Filter of the audit rows
        #[command(flatten)]
        args: AuditArgs,
    },
    /// Show the status of the service
    #[command(after_help = "\
Examples:
  gastank status
  gastank status --json
  gastank status --admin-url http://10.0.0.5:7090 --token-file ./admin.token")]
    Status {
        /// Address and credentials of the service
        #[command(flatten)]
        remote: Remote,
    },
}

/// `gastank store`
#[derive(Clone, Debug, Subcommand)]
pub enum StoreCommand {
    /// Create the store if it is missing, and migrate it to the current schema
    ///
    /// The service does the same when it starts. The command is safe to run concurrently.
    Migrate(ConfigArgs),
    /// Copy a data file to a keyspace of a CQL cluster, and compare both
    ///
    /// For installations that outgrow one machine. Stop every gastank that uses either store first. The keyspace is created
    /// if it is missing, and must be empty. Run an interrupted command again to resume it; until the copy is complete, no
    /// gastank starts on the keyspace. The data file is not changed.
    #[command(after_help = "\
Examples:
  gastank store copy --from sqlite:./data/gastank.db --to scylla://10.0.0.1:9042,10.0.0.2:9042/gastank
  gastank store copy --config gastank.toml --from sqlite:gastank.db --to scylla://db.internal:9042/gastank

The connection to the cluster, its password and its certificates come from [scylla] in the configuration.
Exit code 1 if the copies differ; the differences are listed.")]
    Copy(CopyArgs),
}

/// `gastank store copy`
#[derive(Clone, Debug, Args)]
pub struct CopyArgs {
    /// The store to copy: sqlite:PATH
    #[arg(long, value_name = "STORE", value_parser = moved_from)]
    pub from: PathBuf,
    /// The keyspace to copy to: scylla://host:port,host:port/keyspace
    #[arg(long, value_name = "STORE", value_parser = moved_to)]
    pub to: ScyllaUrl,
    /// Configuration file, in TOML [default: none] [variable: GASTANK_CONFIG]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

/// `gastank demo`
#[derive(Clone, Debug, Args)]
pub struct DemoArgs {
    /// Loopback address and port of the pages; port 0 picks a free one
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:0")]
    pub http: SocketAddr,
    /// Do not open a browser
    #[arg(long)]
    pub no_open: bool,
}

/// `gastank try`
#[derive(Clone, Debug, Args)]
pub struct TryArgs {
    #[command(flatten)]
    pub(super) reach: Reach,
    /// URL of the service's public listener [default: taken from its status]
    #[arg(long, value_name = "URL", value_parser = http_url)]
    pub url: Option<Url>,
    /// Time for which the tank drains
    #[arg(long, value_name = "SPAN", default_value = "10", value_parser = tour_seconds)]
    pub seconds: Seconds,
    /// Milliseconds between two heartbeats of the tour
    #[arg(long, value_name = "MS", default_value_t = 500, value_parser = clap::value_parser!(u64).range(50..=60_000))]
    pub interval_ms: u64,
    /// Transport of the heartbeats
    #[arg(long, value_name = "HOW", value_enum, default_value_t = Transport::Udp)]
    pub transport: Transport,
    /// Keep the account and the edge that the tour creates
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
        Ok(StoreUrl::Scylla(_)) => Err("the source must be a data file: sqlite:PATH".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

fn moved_to(text: &str) -> Result<ScyllaUrl, String> {
    match text.parse() {
        Ok(StoreUrl::Scylla(url)) => Ok(url),
        Ok(StoreUrl::Sqlite(_)) => {
            Err("the target must be a keyspace: scylla://host:port,host:port/keyspace".to_owned())
        }
        Err(error) => Err(error.to_string()),
    }
}

fn http_url(text: &str) -> Result<Url, String> {
    let url: Url = text.parse().map_err(|_| "not a URL such as http://127.0.0.1:7090".to_owned())?;
    if !matches!(url.scheme(), "http" | "https") || url.host().is_none() {
        return Err("not a URL such as http://127.0.0.1:7090".to_owned());
    }
    Ok(url)
}

fn positive(text: &str) -> Result<Seconds, String> {
    let seconds: Seconds = text.parse().map_err(|error: NotASpan| error.to_string())?;
    if seconds.get() > 0 { Ok(seconds) } else { Err("must be greater than 0".to_owned()) }
}

fn not_zero(text: &str) -> Result<Seconds, String> {
    let seconds: Seconds = text.parse().map_err(|error: NotASpan| error.to_string())?;
    if seconds.get() == 0 { Err("must not be 0".to_owned()) } else { Ok(seconds) }
}

fn tour_seconds(text: &str) -> Result<Seconds, String> {
    let seconds = positive(text)?;
    if seconds.get() <= 3_600 { Ok(seconds) } else { Err("must be at most 1h".to_owned()) }
}
