//! Floors: what a transport costs before there is any gastank in it.
//!
//! Each floor is the plainest fast server of its transport. It answers heartbeats without knowing a session, under one key
//! for everybody (32 bytes of 7). What gastank takes more than that is the price of gastank. Beside them are the loads for
//! servers that speak something else than heartbeats, and a way to fill a data directory. `benches/side_by_side` runs
//! all of it; docs/performance.md says how to read what comes out.

#![forbid(unsafe_code)]

#[expect(dead_code, reason = "open servers that stay up are all it needs")]
#[path = "../../../tests/support/cassandra/mod.rs"]
mod cassandra;
mod cql;
mod exchange;
mod fill;
mod forge;
mod http;
mod quic;
mod radius;
mod ready;
mod udp;

use std::{net::SocketAddr, path::PathBuf, process::ExitCode, time::Duration};

use clap::{Parser, Subcommand};
use gastank::config::StoreUrl;

/// The servers that gastank is held against, and loads for foreign ones.
#[derive(Parser)]
#[command(version)]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Answers heartbeats by UDP: recvmmsg, an HMAC to verify, an HMAC to sign, sendmmsg.
    Udp {
        #[arg(long, default_value = "127.0.0.1:0")]
        addr: SocketAddr,
        /// Threads, each with a socket of its own on the same port; by default one for each processor.
        #[arg(long)]
        threads: Option<usize>,
        /// Verifies and answers nothing: what is sent is not signed with the key.
        #[arg(long)]
        no_send: bool,
        /// Microseconds that a thread sleeps after each batch that is not full, so that the next one is larger.
        #[arg(long, default_value_t = 0)]
        rest_us: u64,
    },
    /// Answers every POST with 48 bytes, over HTTP/1.1: hyper alone.
    Http1 {
        #[arg(long, default_value = "127.0.0.1:0")]
        addr: SocketAddr,
    },
    /// The same over HTTP/2 without TLS.
    Http2 {
        #[arg(long, default_value = "127.0.0.1:0")]
        addr: SocketAddr,
    },
    /// Sends every datagram back that comes by QUIC: quinn alone.
    Quic {
        #[arg(long, default_value = "127.0.0.1:0")]
        addr: SocketAddr,
    },
    /// Answers every POST with 48 bytes, over HTTP/3: h3 on quinn alone.
    Http3 {
        #[arg(long, default_value = "127.0.0.1:0")]
        addr: SocketAddr,
    },
    /// Runs CQL servers of its own, Apache Cassandra as the tests do, until it is told to end.
    Cql {
        /// How many, on 127.0.0.1 and the addresses after it.
        #[arg(long, default_value_t = 1)]
        servers: u8,
    },
    /// Fills the store of a service that has been started once and is not running: accounts with open sessions.
    Fill {
        #[arg(long)]
        data_dir: PathBuf,
        /// The store, as the service is told it; by default the data file in the data directory.
        #[arg(long)]
        store: Option<StoreUrl>,
        #[arg(long)]
        sessions: u32,
        /// Where to write the sessions, as loadtest reads them.
        #[arg(long)]
        sessions_file: PathBuf,
    },
    /// Asks the same over and over, on TCP connections that stay open: the next request after the answer. Prints JSON.
    Exchange {
        #[arg(long)]
        addr: SocketAddr,
        /// The request's bytes.
        #[arg(long)]
        request: PathBuf,
        /// What a good answer starts with.
        #[arg(long)]
        expect: String,
        #[arg(long, default_value_t = 16)]
        connections: usize,
        /// Seconds.
        #[arg(long, default_value_t = 3.0)]
        duration: f64,
    },
    /// Sends frames whose tags are wrong. Prints as JSON how many reached the server.
    Forge {
        #[arg(long)]
        addr: SocketAddr,
        /// Frames a second.
        #[arg(long, default_value_t = 10_000.0)]
        rate: f64,
        /// Seconds.
        #[arg(long, default_value_t = 3.0)]
        duration: f64,
        /// Of whose sessions they are, as loadtest keeps them; by default of nobody's.
        #[arg(long)]
        sessions_file: Option<PathBuf>,
    },
    /// Sends RADIUS accounting requests at a rate, and verifies every answer. Prints JSON.
    Radius {
        #[arg(long)]
        addr: SocketAddr,
        #[arg(long, default_value = "testing123")]
        secret: String,
        /// Requests a second.
        #[arg(long, default_value_t = 10_000.0)]
        rate: f64,
        /// Seconds.
        #[arg(long, default_value_t = 3.0)]
        duration: f64,
    },
}

fn main() -> ExitCode {
    match run(Args::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("floors: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Udp { addr, threads, no_send, rest_us } => {
            udp::serve(addr, threads, !no_send, Duration::from_micros(rest_us))
        }
        Command::Http1 { addr } => http::serve(addr, http::Version::Http1),
        Command::Http2 { addr } => http::serve(addr, http::Version::Http2),
        Command::Quic { addr } => quic::serve(addr, quic::Over::Datagrams),
        Command::Http3 { addr } => quic::serve(addr, quic::Over::Http3),
        Command::Cql { servers } => cql::serve(servers),
        Command::Fill { data_dir, store, sessions, sessions_file } => {
            fill::fill(&data_dir, store, sessions, &sessions_file)
        }
        Command::Exchange { addr, request, expect, connections, duration } => {
            exchange::run(addr, &request, expect.as_bytes(), connections, Duration::try_from_secs_f64(duration)?)
        }
        Command::Forge { addr, rate, duration, sessions_file } => {
            forge::run(addr, rate, Duration::try_from_secs_f64(duration)?, sessions_file.as_deref())
        }
        Command::Radius { addr, secret, rate, duration } => {
            radius::run(addr, secret.as_bytes(), rate, Duration::try_from_secs_f64(duration)?)
        }
    }
}
