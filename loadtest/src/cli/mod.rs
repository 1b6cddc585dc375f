//! The command line.

mod values;

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use clap::{Args as ClapArgs, Parser, Subcommand};
use url::Url;

use crate::{
    criteria::Criteria,
    fleet::FleetPlan,
    lane::Blend,
    profile::{Phase, Rate},
    record::Kind,
    scenario::{Bounds, Scenario},
    session::MAX_SESSIONS,
    transport::TransportKind,
};

pub(crate) use values::duration;
use values::{base_url, rate, run_time, share, timeout};

/// Opens sessions on a running gastank, beats at a set rate, verifies every ack and prints a report.
///
/// The load is open-loop: operations are sent when they are due, even if responses are late, and latency counts from that time.
#[derive(Clone, Debug, Parser)]
#[command(version, after_help = EXAMPLES, args_conflicts_with_subcommands = true)]
pub struct Args {
    /// Another command than a single fleet of beats.
    #[command(subcommand)]
    pub command: Option<Command>,

    /// One fleet of beats.
    #[command(flatten)]
    pub plain: PlainArgs,
}

/// The subcommands.
#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// Runs a scenario: a built-in one, or a TOML file.
    Run(Box<RunArgs>),
    /// Lists the built-in scenarios.
    List,
    /// Beats at a bare server without sessions, to measure the lower bound that the service is compared with.
    ///
    /// Sends well-formed frames of sessions numbered from 0 (the id is the number, little-endian), signed with the key of
    /// 32 bytes 0x07. Any answer of 48 bytes with the frame's `seq` in bytes 4 to 8 is good; over HTTP, any 200.
    Floor(FloorArgs),
}

/// One fleet of beats.
#[derive(Clone, Debug, ClapArgs)]
pub struct PlainArgs {
    /// The service.
    #[command(flatten)]
    pub target: TargetArgs,

    /// Number of sessions to open.
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=i64::from(MAX_SESSIONS)))]
    pub sessions: u32,

    /// The load.
    #[command(flatten)]
    pub load: LoadArgs,

    /// Accept that tanks grow, since another program adds credit meanwhile.
    #[arg(long)]
    pub credit_may_arrive: bool,

    /// Setup of the sessions.
    #[command(flatten)]
    pub session_args: SessionArgs,

    /// Output of the results.
    #[command(flatten)]
    pub output: OutputArgs,
}

/// The service and its addresses.
#[derive(Clone, Debug, ClapArgs)]
pub struct TargetArgs {
    /// Address of the service's public listener.
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:7080", value_parser = base_url)]
    pub http: Url,

    /// Address of the service's admin listener.
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:7090", value_parser = base_url)]
    pub admin_url: Url,

    /// File that holds the admin token (`admin.token` in the service's data directory). It must be given.
    #[arg(long, value_name = "FILE", env = "GASTANK_ADMIN_TOKEN_FILE")]
    pub admin_token_file: Option<PathBuf>,

    /// Address for UDP datagrams [default: taken from the activation].
    #[arg(long, value_name = "ADDR")]
    pub udp: Option<SocketAddr>,

    /// Address of the TLS listener, for attacks on its handshakes.
    #[arg(long, value_name = "ADDR")]
    pub https: Option<SocketAddr>,

    /// Address for QUIC connections (QUIC datagrams, WebTransport, HTTP/3) [default: taken from the activation].
    #[arg(long, value_name = "ADDR")]
    pub quic: Option<SocketAddr>,

    /// File with the certificate authorities to trust, instead of the machine's and the activation's.
    #[arg(long, value_name = "FILE", conflicts_with = "insecure")]
    pub ca: Option<PathBuf>,

    /// Disables certificate checks. An attacker in the network can then read account keys.
    #[arg(long)]
    pub insecure: bool,

    /// Maximum rate of a run, in operations per second, as a guard against typing errors [default: 500000 on this machine,
    /// 1000 elsewhere].
    #[arg(long, value_name = "R", value_parser = rate)]
    pub max_rate: Option<Rate>,

    /// Maximum duration of a run [default: 1h on this machine, 10m elsewhere].
    #[arg(long, value_name = "TIME", value_parser = run_time)]
    pub max_time: Option<Duration>,
}

/// How sessions are opened, and what becomes of them.
#[derive(Clone, Debug, ClapArgs)]
pub struct SessionArgs {
    /// Credit of each new account, in seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 7 * 24 * 3600, value_parser = clap::value_parser!(u32).range(1..))]
    pub credit_s: u32,

    /// Number of concurrent calls that open or delete sessions.
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub setup_concurrency: u16,

    /// Takes sessions from this file and opens missing ones; with --keep, writes all of them back (mode 0600).
    #[arg(long, value_name = "FILE")]
    pub sessions_file: Option<PathBuf>,

    /// Keeps the accounts and sessions after the run; without it they are deleted.
    #[arg(long)]
    pub keep: bool,

    /// Abandons the accounts and sessions, for a service that is discarded after the run.
    #[arg(long, conflicts_with_all = ["keep", "sessions_file"])]
    pub abandon: bool,

    /// Assumes that the sessions of the file are open, without a check. They and the file are not changed.
    #[arg(long, requires = "sessions_file", conflicts_with = "keep")]
    pub believe: bool,
}

/// A scenario to be run.
#[derive(Clone, Debug, ClapArgs)]
pub struct RunArgs {
    /// Its name (`loadtest list`), or a file.
    #[arg(value_name = "NAME|FILE")]
    pub scenario: String,

    /// Changes a value of it: fleet.NAME.rate=100, phase.NAME.for=30s, accept.p99_ms=5. A part is selected by its name, its
    /// kind or its number from 0.
    #[arg(long, value_name = "PATH=VALUE")]
    pub set: Vec<String>,

    /// Seed of all random choices, instead of the scenario's.
    #[arg(long, value_name = "S")]
    pub seed: Option<u64>,

    /// The service.
    #[command(flatten)]
    pub target: TargetArgs,

    /// Setup of the sessions.
    #[command(flatten)]
    pub session_args: SessionArgs,

    /// Output of the results.
    #[command(flatten)]
    pub output: OutputArgs,
}

/// The load.
#[derive(Clone, Debug, ClapArgs)]
pub struct LoadArgs {
    /// Transport of the beats.
    #[arg(long, value_enum, default_value_t = TransportKind::Udp)]
    pub transport: TransportKind,

    /// Beats a second, over all sessions: 0.001 to 2000000.
    #[arg(long, value_name = "R", default_value = "100", value_parser = rate)]
    pub rate: Rate,

    /// Duration: a number and ms, s, m or h; 100ms to 168h.
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = run_time)]
    pub duration: Duration,

    /// Time after which an ack counts as late: 1ms to 60s. After twice this time the beat counts as lost.
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = timeout)]
    pub timeout: Duration,

    /// Number of sockets or connections.
    #[arg(long, value_name = "C", default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=16384))]
    pub connections: u16,

    /// Number of threads. Each has its own sessions and connections.
    #[arg(long, value_name = "T", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=64))]
    pub threads: u16,

    /// Seed of the order of sessions and of the forgeries.
    #[arg(long, value_name = "S", default_value_t = 1)]
    pub seed: u64,

    /// Forged frames per hundred beats. They must not be answered by an ack.
    #[arg(long, value_name = "P", default_value_t = 0, value_parser = clap::value_parser!(u8).range(0..=100))]
    pub forged_percent: u8,

    /// Replayed frames, which were answered before, per hundred beats.
    #[arg(long, value_name = "P", default_value_t = 0, value_parser = clap::value_parser!(u8).range(0..=100))]
    pub replayed_percent: u8,

    /// The share of beats that may be lost, 0 to 1.
    #[arg(long, value_name = "SHARE", default_value = "0.0", value_parser = share)]
    pub accept_loss: f64,
}

/// What becomes of the figures.
#[derive(Clone, Debug, ClapArgs)]
pub struct OutputArgs {
    /// Process id of the service, to measure its resource use [default: detected on this machine].
    #[arg(long)]
    pub pid: Option<u32>,

    /// Process id of a second process to measure.
    #[arg(long, value_name = "PID")]
    pub compare_pid: Option<u32>,

    /// Writes the report as JSON to this file (`-`: to standard output, in place of the table).
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,

    /// Writes the report as a page with plots to this file.
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,
}

/// A bare server.
#[derive(Clone, Debug, ClapArgs)]
pub struct FloorArgs {
    /// The server.
    #[arg(long, value_name = "ADDR")]
    pub addr: SocketAddr,

    /// Number of sessions in the frames.
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=i64::from(MAX_SESSIONS)))]
    pub sessions: u32,

    /// The load.
    #[command(flatten)]
    pub load: LoadArgs,

    /// Sends only forged frames, and expects no answer.
    #[arg(long)]
    pub only_forged: bool,

    /// Uses TLS for HTTP; QUIC always has it. Certificates are not checked.
    #[arg(long)]
    pub tls: bool,

    /// Output of the results.
    #[command(flatten)]
    pub output: OutputArgs,
}

const EXAMPLES: &str = "\
Examples:
  A thousand sessions, 5000 beats a second over UDP for half a minute:
    loadtest --admin-token-file data/admin.token --sessions 1000 --rate 5000 --duration 30s

  Over HTTP, with a report for a program to read:
    loadtest --admin-token-file data/admin.token --transport http1 --connections 16 --rate 2000 --json -

  Open 100000 sessions once, use them twice, then clear them away:
    loadtest --admin-token-file data/admin.token --sessions 100000 --rate 5000 --sessions-file s.jsonl --keep
    loadtest --admin-token-file data/admin.token --sessions 100000 --rate 9000 --sessions-file s.jsonl

  Ten forged frames beside every hundred beats, and one beat in a thousand may get lost:
    loadtest --admin-token-file data/admin.token --forged-percent 10 --accept-loss 0.001

  A scenario, for longer than it says, with a page of plots:
    loadtest list
    loadtest run soak --admin-token-file data/admin.token --set phase.soak.for=30m --html soak.html

  What a bare echo server takes for the same frames:
    loadtest floor --transport udp --addr 127.0.0.1:9000 --sessions 100000 --rate 50000 --duration 10s --json -

Exit codes: 0 all criteria are met, 1 one is not or the run failed, 2 usage.";

/// Why arguments that are fine one by one are not fine together.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ArgsError {
    /// Without the admin token there are no accounts.
    #[error("--admin-token-file must be given: `admin.token` in the service's data directory")]
    Token,
    /// A file to keep what is not kept makes no sense, nor does the other way around.
    #[error("--keep needs --sessions-file: without it nobody could use or clear away what is kept")]
    Keep,
}

impl PlainArgs {
    /// The scenario that these arguments make.
    pub fn scenario(&self) -> Scenario {
        let load = &self.load;
        let fleet = FleetPlan {
            name: "beats".to_owned(),
            kind: Kind::Beats,
            transport: load.transport,
            sessions: self.sessions,
            rate: load.rate,
            connections: load.connections,
            threads: load.threads,
            timeout: load.timeout,
            blend: Blend {
                forged_percent: load.forged_percent,
                replayed_percent: load.replayed_percent,
                only_forged: false,
            },
            during: Vec::new(),
        };
        Scenario {
            name: "beats".to_owned(),
            about: "What the command line asked for.".to_owned(),
            phases: vec![Phase::steady(load.duration)],
            fleets: vec![fleet],
            attacks: Vec::new(),
            accept: Criteria { loss: Some(load.accept_loss), ..Criteria::default() },
            seed: load.seed,
        }
    }
}

/// What a run may ask for on this machine, unless it is told otherwise.
const NEAR: Bounds = Bounds { rate: 500_000.0, time: Duration::from_hours(1) };
/// What a run may ask for elsewhere, unless it is told otherwise.
const FAR: Bounds = Bounds { rate: 1000.0, time: Duration::from_mins(10) };

impl TargetArgs {
    /// What a run may ask for.
    pub fn bounds(&self, is_local: bool) -> Bounds {
        let usual = if is_local { NEAR } else { FAR };
        Bounds { rate: self.max_rate.map_or(usual.rate, Rate::per_second), time: self.max_time.unwrap_or(usual.time) }
    }

    /// The file that holds the admin token.
    ///
    /// # Errors
    ///
    /// [`ArgsError::Token`].
    pub fn token_file(&self) -> Result<&Path, ArgsError> {
        self.admin_token_file.as_deref().filter(|path| !path.as_os_str().is_empty()).ok_or(ArgsError::Token)
    }
}

impl SessionArgs {
    /// Whether they go together.
    ///
    /// # Errors
    ///
    /// Any [`ArgsError`].
    pub const fn check(&self) -> Result<(), ArgsError> {
        if self.keep && self.sessions_file.is_none() { Err(ArgsError::Keep) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn parse(line: &str) -> Result<Args, clap::Error> {
        Args::try_parse_from(["loadtest"].into_iter().chain(line.split_ascii_whitespace()))
    }

    #[test]
    fn the_command_line_is_well_formed() {
        Args::command().debug_assert();
        assert!(parse("--admin-token-file t").unwrap().plain.session_args.check().is_ok());
    }

    #[test]
    fn a_command_does_not_need_what_plain_beats_need() {
        let args = parse("floor --transport udp --addr 127.0.0.1:9 --sessions 5 --rate 10 --json -").unwrap();
        assert!(matches!(args.command, Some(Command::Floor(floor)) if floor.sessions == 5));
        assert_eq!(parse("--sessions 5").unwrap().plain.target.token_file(), Err(ArgsError::Token));
    }

    #[test]
    fn what_is_out_of_bounds_is_a_usage_error() {
        for line in [
            "--sessions 0",
            "--sessions 2000001",
            "--rate 0",
            "--rate nan",
            "--rate 1e9",
            "--duration 99ms",
            "--duration 169h",
            "--timeout 0s",
            "--connections 0",
            "--threads 65",
            "--forged-percent 101",
            "--accept-loss 1.1",
            "--accept-loss nan",
            "--http ftp://a/",
            "--http http://a/b",
            "--udp nowhere",
            "--transport pigeon",
        ] {
            let error = parse(&format!("--admin-token-file t {line}")).expect_err(line);
            assert_eq!(error.exit_code(), 2, "{line}");
        }
    }

    #[test]
    fn what_may_be_asked_of_a_service_elsewhere_is_less_unless_it_is_said() {
        let near = |line: &str| parse(line).unwrap().plain.target.bounds(true);
        let far = |line: &str| parse(line).unwrap().plain.target.bounds(false);
        let scenario = |line: &str| parse(line).unwrap().plain.scenario();
        assert!(scenario("--rate 1000").check(&far("")).is_ok());
        assert!(scenario("--rate 1001").check(&far("")).is_err(), "by mistake, a service of others would be flooded");
        assert!(scenario("--rate 1001").check(&near("")).is_ok());
        assert!(scenario("--rate 1001").check(&far("--max-rate 1001")).is_ok());
        assert!(scenario("--duration 11m").check(&far("")).is_err());
        assert!(scenario("--duration 11m").check(&near("")).is_ok());
        assert!(scenario("--duration 11m").check(&far("--max-time 11m")).is_ok());
    }

    #[test]
    fn keeping_needs_a_file_to_keep_in() {
        let args = parse("--admin-token-file t --keep").unwrap();
        assert_eq!(args.plain.session_args.check(), Err(ArgsError::Keep));
    }
}
