//! Whole runs against the built program.

#![expect(clippy::unwrap_used, reason = "these are tests")]

use std::{
    env,
    io::{BufRead, BufReader},
    iter,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use clap::Parser;
use loadtest::{
    cli::Args,
    profile::PhaseKind,
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
        let line = iter::once("loadtest".to_owned()).chain(self.arguments(command));
        run(&Args::parse_from(line)).map(Option::unwrap)
    }

    /// A command against this service.
    fn arguments(&self, command: &str) -> Vec<String> {
        let token = self.dir.path().join("admin.token");
        let whom = ["--http", &self.http, "--admin-url", &self.admin, "--admin-token-file", token.to_str().unwrap()];
        command.split_ascii_whitespace().chain(whom).map(str::to_owned).collect()
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
    let server = report.server.unwrap();
    assert_eq!(server.pid, service.child.id());
    assert!(server.cpu_s > 0.0 && server.cores > 0.0 && server.max_rss > 0, "{server:?}");
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

#[test]
fn the_exit_code_says_whether_the_criteria_held() {
    let service = Gastank::start();
    let plan = "run smoke --set phase.ramp.for=100ms --set phase.steady.for=400ms";
    for (command, code) in [
        (vec!["list".to_owned()], 0),
        (service.arguments(plan), 0),
        (service.arguments(&format!("{plan} --set accept.p99_ms=0")), 1),
        (service.arguments("run no-such-scenario"), 2),
        (service.arguments("--no-such-flag"), 2),
        // Nobody is there.
        (["--http", "http://127.0.0.1:1", "--admin-token-file", "/nowhere"].map(str::to_owned).into(), 1),
    ] {
        let mut program = Command::new(env!("CARGO_BIN_EXE_loadtest"));
        let output = program.args(&command).stdin(Stdio::null()).output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert_eq!(output.status.code(), Some(code), "{command:?}: {said} {}", String::from_utf8_lossy(&output.stderr));
    }
}

#[test]
fn a_spike_a_storm_and_a_burst_are_gone_through_without_loss() {
    let service = Gastank::start();
    let scenario = service.dir.path().join("weather.toml");
    std::fs::write(&scenario, WEATHER).unwrap();
    let report = service.load(&format!("run {}", scenario.display())).unwrap();
    assert!(report.passed, "{report}");
    let kinds: Vec<_> = report.phases.iter().map(|phase| phase.kind).collect();
    assert_eq!(kinds, [PhaseKind::Steady, PhaseKind::Spike, PhaseKind::Storm, PhaseKind::Burst]);
    for fleet in ["udp", "quic"] {
        let beats = report.operations.iter().find(|operation| operation.fleet == fleet).unwrap();
        let (sessions, rate) = (u64::from(beats.sessions), 20);
        // Steady and storm at the rate, the spike at ten times that, and in the burst each once.
        assert_eq!(beats.sent, rate + 10 * rate + rate + sessions, "{fleet}: {report}");
        assert_eq!((beats.lost, beats.bad, beats.unsent), (0, 0, 0), "{fleet}: {report}");
    }
    let links = &report.links["quic"];
    assert_eq!((links.connects, links.broken), (40, 0), "in the storm every connection is opened again");
}

const WEATHER: &str = r#"
about = "What comes over a service in bad weather."
[[phase]]
kind = "steady"
for = "1s"
[[phase]]
kind = "spike"
for = "1s"
from = 10.0
[[phase]]
kind = "storm"
for = "1s"
[[phase]]
kind = "burst"
for = "1s"
[[fleet]]
name = "udp"
kind = "beats"
transport = "udp"
sessions = 100
rate = 20
connections = 4
timeout = "10s"
[[fleet]]
name = "quic"
kind = "beats"
transport = "quic"
sessions = 20
rate = 20
connections = 20
timeout = "10s"
[accept]
loss = 0.0
"#;
