//! Whole runs against the built program.

#![expect(clippy::unwrap_used, reason = "these are tests")]

use std::{
    env,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use clap::Parser;
use loadtest::{
    cli::Args,
    record::Kind,
    report::Report,
    run::{Failure, run},
};

/// A running gastank with a data directory of its own.
struct Gastank {
    child: Child,
    dir: tempfile::TempDir,
    http: String,
    admin: String,
}

impl Gastank {
    fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut child = Command::new(program())
            .args(["serve", "--http", "127.0.0.1:0", "--udp", "127.0.0.1:0", "--quic", "127.0.0.1:0"])
            .args(["--admin", "127.0.0.1:0", "--data-dir"])
            .arg(dir.path())
            .env("GASTANK_LIMITS_ACTS_PER_ADDRESS_PER_S", "0")
            .env("GASTANK_LIMITS_ACTS_PER_ACCOUNT_PER_S", "0")
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let address = |name: &str| {
            let field = line.split_ascii_whitespace().find_map(|field| field.strip_prefix(name));
            format!("http://{}", field.unwrap_or_else(|| panic!("no {name} in {line:?}")))
        };
        Self { http: address("http="), admin: address("admin="), child, dir }
    }

    fn load(&self, command: &str) -> Result<Report, Failure> {
        let token = self.dir.path().join("admin.token");
        let whom = ["--http", &self.http, "--admin-url", &self.admin, "--admin-token-file", token.to_str().unwrap()];
        let line = ["loadtest"].into_iter().chain(command.split_ascii_whitespace()).chain(whom);
        run(&Args::parse_from(line)).map(Option::unwrap)
    }
}

impl Drop for Gastank {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The program beside which this test was built; built now, if it was not.
fn program() -> PathBuf {
    let built = env::current_exe().unwrap().parent().and_then(Path::parent).unwrap().join("gastank");
    if !built.exists() {
        let cargo = Command::new(env!("CARGO")).args(["build", "--locked", "--package", "gastank"]).status();
        assert!(cargo.unwrap().success());
    }
    built
}

#[test]
fn everything_that_a_client_and_an_edge_may_ask_is_answered_well() {
    let service = Gastank::start();
    let report = service.load("run smoke").unwrap();
    assert!(report.passed, "{report}");
    for kind in [Kind::Beats, Kind::Replayed, Kind::Verdicts, Kind::Renewals, Kind::Activations, Kind::StatusLists] {
        let operation = report.operation(kind).unwrap_or_else(|| panic!("{kind:?}: {report}"));
        assert!(operation.sent > 0 && operation.on_time + operation.late == operation.sent, "{kind:?}: {report}");
    }
    assert!(report.operation(Kind::Forged).is_some_and(|forged| forged.sent > 10 && forged.bad == 0), "{report}");
    assert_eq!(report.server.unwrap().pid, service.child.id());
}

#[test]
fn beats_arrive_over_every_transport() {
    let service = Gastank::start();
    for transport in ["udp", "quic", "webtransport", "http1", "http2", "http3"] {
        let plan = "--sessions 40 --connections 4 --rate 200 --duration 1s --timeout 10s --replayed-percent 5";
        let report = service
            .load(&format!("--transport {transport} {plan}"))
            .unwrap_or_else(|failure| panic!("{transport}: {failure:?}"));
        assert!(report.passed, "{transport}: {report}");
        assert_eq!(report.operation(Kind::Beats).unwrap().on_time, 200, "{transport}: {report}");
    }
}

#[test]
fn a_page_is_written_that_has_the_figures_in_it() {
    let service = Gastank::start();
    let (page, json) = (service.dir.path().join("report.html"), service.dir.path().join("report.json"));
    let plan = format!("--sessions 10 --rate 100 --duration 500ms --html {} --json {}", page.display(), json.display());
    let report = service.load(&plan).unwrap();
    let page = std::fs::read_to_string(page).unwrap();
    assert!(page.contains("<svg") || page.contains("createElementNS"));
    assert!(page.contains("\"p99_us\"") && !page.contains("\"REPORT\""));
    let json: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(json).unwrap()).unwrap();
    assert_eq!((json["format"].as_u64(), json["operations"][0]["sent"].as_u64()), (Some(2), Some(50)));
    assert!(report.passed, "{report}");
}

#[test]
fn what_is_too_fast_or_too_long_is_refused_before_anything_is_opened() {
    let service = Gastank::start();
    for (plan, why) in [
        ("run smoke --set fleet.beats.rate=900000", "--max-rate"),
        ("run smoke --max-rate 100", "--max-rate"),
        ("run smoke --set phase.steady.for=2h", "--max-time"),
        ("run no-such-scenario", "neither a file nor a scenario"),
        ("run smoke --set fleet.nobody.rate=1", "--set"),
        ("run smoke --set fleet.verdicts.sessions=5000", "beat"),
    ] {
        let failure = service.load(plan).unwrap_err();
        assert!(matches!(&failure, Failure::Usage(text) if text.contains(why)), "{plan}: {failure:?}");
    }
}
