//! The command line.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use clap::{Parser, ValueEnum};
use reqwest::Url;

use crate::{schedule::Rate, session::MAX_SESSIONS, window::MAX_WINDOW};

/// Opens sessions on a running gastank, beats at a set rate, verifies every ack and says how it went.
///
/// The loop is open: beats are sent when they are due, whatever the answers do, and latency counts from that time.
#[derive(Clone, Debug, Parser)]
#[command(version, after_help = EXAMPLES)]
pub struct Args {
    /// Address of the service's public listener.
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:7080", value_parser = base_url)]
    pub http: Url,

    /// Address of the service's admin listener.
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:7090", value_parser = base_url)]
    pub admin_url: Url,

    /// File that holds the admin token (`admin.token` in the service's data directory).
    #[arg(long, value_name = "FILE")]
    pub admin_token_file: PathBuf,

    /// How many sessions to open.
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=i64::from(MAX_SESSIONS)))]
    pub sessions: u32,

    /// How beats travel.
    #[arg(long, value_enum, default_value_t = TransportKind::Udp)]
    pub transport: TransportKind,

    /// Beats a second, over all sessions: 0.001 to 2000000.
    #[arg(long, value_name = "R", default_value = "100", value_parser = rate)]
    pub rate: Rate,

    /// How long to beat: a number and ms, s, m or h; 100ms to 168h.
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = run_time)]
    pub duration: Duration,

    /// After how long an ack counts as late: 1ms to 60s. A beat whose ack has not come after twice this is lost.
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = ack_timeout)]
    pub timeout: Duration,

    /// Where to send datagrams; by default where the activation's answer says.
    #[arg(long, value_name = "ADDR")]
    pub udp: Option<SocketAddr>,

    /// How many UDP sockets or HTTP connections to use.
    #[arg(long, value_name = "C", default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub connections: u16,

    /// How many threads share the work. Each keeps its sessions and connections to itself.
    #[arg(long, value_name = "T", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=64))]
    pub threads: u16,

    /// What the order of sessions and the forgeries are drawn from.
    #[arg(long, value_name = "S", default_value_t = 1)]
    pub seed: u64,

    /// How many forged frames to send beside every hundred beats. Nobody may answer them with an ack.
    #[arg(long, value_name = "P", default_value_t = 0, value_parser = clap::value_parser!(u8).range(0..=100))]
    pub forged_percent: u8,

    /// The share of beats that may be lost, 0 to 1.
    #[arg(long, value_name = "SHARE", default_value = "0.0", value_parser = share)]
    pub accept_loss: f64,

    /// Do not take it amiss when a tank grows: someone else grants credit meanwhile.
    #[arg(long)]
    pub credit_may_arrive: bool,

    /// Credit of each account that is made, in seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 7 * 24 * 3600, value_parser = clap::value_parser!(u32).range(1..))]
    pub credit_s: u32,

    /// How many calls to open or clear away sessions are under way at a time.
    #[arg(long, value_name = "N", default_value_t = 32, value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub setup_concurrency: u16,

    /// Takes sessions from this file, opens what is missing, and writes with --keep all of them back (mode 0600).
    #[arg(long, value_name = "FILE")]
    pub sessions_file: Option<PathBuf>,

    /// Leaves accounts and sessions as they are when the run is over; otherwise they are deleted.
    #[arg(long)]
    pub keep: bool,

    /// The service's process, to measure what it uses; by default it is looked for on this machine.
    #[arg(long)]
    pub pid: Option<u32>,

    /// Writes the report as JSON to this file (`-`: to standard output, in place of the table).
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
}

const EXAMPLES: &str = "\
Examples:
  A thousand sessions, 5000 beats a second over UDP for half a minute:
    loadtest --admin-token-file data/admin.token --sessions 1000 --rate 5000 --duration 30s

  Over HTTP, with a report for a program to read:
    loadtest --admin-token-file data/admin.token --transport http --connections 16 --rate 2000 --json -

  Open 100000 sessions once, use them twice, then clear them away:
    loadtest --admin-token-file data/admin.token --sessions 100000 --rate 5000 --sessions-file s.jsonl --keep
    loadtest --admin-token-file data/admin.token --sessions 100000 --rate 9000 --sessions-file s.jsonl

  Ten forged frames beside every hundred beats, and one beat in a thousand may get lost:
    loadtest --admin-token-file data/admin.token --forged-percent 10 --accept-loss 0.001

Exit codes: 0 all criteria are met, 1 one is not or the run failed, 2 usage.";

/// How beats travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum TransportKind {
    /// Datagrams.
    Udp,
    /// `POST /v1/heartbeat` over HTTP/1.1.
    Http,
}

impl TransportKind {
    /// The name that the report uses.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Udp => "udp",
            Self::Http => "http",
        }
    }
}

/// Why arguments that are fine one by one are not fine together.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ArgsError {
    /// There are more threads than connections to share.
    #[error("--threads must not be more than --connections: each thread needs one")]
    Threads,
    /// Too many beats would wait for their acks at a time.
    #[error(
        "--rate times --timeout is too much to remember: at most {MAX_WINDOW} frames may wait for acks in a thread"
    )]
    Window,
    /// A file to keep what is not kept makes no sense, nor does the other way around.
    #[error("--keep needs --sessions-file: without it nobody could use or clear away what is kept")]
    Keep,
}

impl Args {
    /// How many frames a thread must remember at a time.
    ///
    /// # Errors
    ///
    /// Any [`ArgsError`].
    pub fn check(&self) -> Result<usize, ArgsError> {
        if self.threads > self.connections {
            return Err(ArgsError::Threads);
        }
        if self.keep && self.sessions_file.is_none() {
            return Err(ArgsError::Keep);
        }
        let share = self.rate.per_second() / f64::from(self.threads) * (1.0 + f64::from(self.forged_percent) / 100.0);
        // An ack may come until it has been late for as long as it had to be on time; then there is some slack.
        let frames = share * self.timeout.as_secs_f64() * 2.0 + 1024.0;
        if frames > MAX_WINDOW as f64 {
            return Err(ArgsError::Window);
        }
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is positive and bounded above")]
        Ok(frames as usize)
    }
}

fn base_url(text: &str) -> Result<Url, String> {
    let url: Url = text.parse().map_err(|error| format!("{error}"))?;
    match (url.scheme(), url.host_str(), url.path()) {
        ("http" | "https", Some(_), "/") => Ok(url),
        _ => Err("must look like http://host:port".to_owned()),
    }
}

fn rate(text: &str) -> Result<Rate, String> {
    let number = text.parse().map_err(|_| "not a number".to_owned())?;
    Rate::new(number)
        .ok_or_else(|| format!("must be from {} to {} beats a second", Rate::MIN.per_second(), Rate::MAX.per_second()))
}

fn share(text: &str) -> Result<f64, String> {
    text.parse().ok().filter(|share| (0.0..=1.0).contains(share)).ok_or_else(|| "must be from 0 to 1".to_owned())
}

fn run_time(text: &str) -> Result<Duration, String> {
    within(text, Duration::from_millis(100), Duration::from_hours(168), "100ms to 168h")
}

fn ack_timeout(text: &str) -> Result<Duration, String> {
    within(text, Duration::from_millis(1), Duration::from_secs(60), "1ms to 60s")
}

fn within(text: &str, least: Duration, most: Duration, bounds: &str) -> Result<Duration, String> {
    let time = duration(text).ok_or_else(|| "must be a whole number and ms, s, m or h, like 30s".to_owned())?;
    if (least..=most).contains(&time) { Ok(time) } else { Err(format!("must be from {bounds}")) }
}

fn duration(text: &str) -> Option<Duration> {
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let number: u64 = text[..digits].parse().ok()?;
    let unit_ms = match &text[digits..] {
        "ms" => 1,
        "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return None,
    };
    Some(Duration::from_millis(number.checked_mul(unit_ms)?))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn parse(line: &str) -> Result<Args, clap::Error> {
        Args::try_parse_from(["loadtest", "--admin-token-file", "t"].into_iter().chain(line.split_ascii_whitespace()))
    }

    #[test]
    fn the_command_line_is_well_formed() {
        Args::command().debug_assert();
        assert_eq!(parse("").unwrap().check(), Ok(1224));
    }

    #[test]
    fn times_are_a_number_and_a_unit() {
        for (text, ms) in [("100ms", 100), ("30s", 30_000), ("5m", 300_000), ("2h", 7_200_000)] {
            assert_eq!(duration(text), Some(Duration::from_millis(ms)));
        }
        for text in ["", "s", "5", "5d", "-5s", "1.5s", "99999999999999999999s", "18446744073709551615h"] {
            assert_eq!(duration(text), None, "{text}");
        }
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
            assert_eq!(parse(line).expect_err(line).exit_code(), 2, "{line}");
        }
    }

    #[test]
    fn arguments_that_do_not_go_together_are_refused() {
        for (line, error) in [
            ("--threads 5 --connections 4", ArgsError::Threads),
            ("--rate 1000000 --timeout 2s", ArgsError::Window),
            ("--keep", ArgsError::Keep),
        ] {
            assert_eq!(parse(line).unwrap().check(), Err(error), "{line}");
        }
    }
}
