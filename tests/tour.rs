//! `gastank try`, through the built program, against a running service; and `gastank demo`.

mod support;

use std::{
    fs,
    io::{BufRead, BufReader},
    process::{Command, Stdio},
};

use support::{Home, Service, gastank, stdout_of};

/// The facts of the tour: each line is `name: fact`.
fn facts<'a>(text: &'a str, name: &str) -> Vec<&'a str> {
    text.lines().filter_map(|line| line.split_once(": ")).filter(|(of, _)| *of == name).map(|(_, fact)| fact).collect()
}

fn tour(arguments: &[&str]) -> String {
    let home = Home::new();
    let service = Service::start(&home);
    let output = service.run(&[&["try", "--seconds", "2", "--interval-ms", "200"], arguments].concat());
    let text = stdout_of(&output);
    assert!(!text.contains('\x1b'), "escape codes in a pipe: {text:?}");
    assert!(text.lines().all(|line| line.contains(": ")), "one fact a line: {text}");

    let number = |fact: &str| -> u64 { fact.split(' ').next().and_then(|word| word.parse().ok()).expect("seconds") };
    let left: Vec<u64> = facts(&text, "draining").iter().map(|fact| number(fact)).collect();
    assert!(left.windows(2).all(|pair| pair[0] > pair[1]) && left.len() >= 3, "the tank drains: {left:?}");
    let drained = facts(&text, "drained").concat();
    assert!((2..=5).contains(&number(&drained)) && drained.contains(", 0 lost, every ack verified"), "{drained}");
    let verdicts = facts(&text, "verdict");
    assert_eq!(
        verdicts,
        ["active", "active", "inactive", "inactive for the laptop", "active for the phone"],
        "it flips"
    );
    let acks = facts(&text, "ack");
    assert_eq!(acks, ["the next heartbeat's ack says: deactivated", "the next heartbeat's ack says: superseded"]);

    let ledger = facts(&text, "ledger");
    let (sum, rows) = ledger.split_last().expect("a ledger");
    let milliseconds = |text: &str| -> i64 {
        let digits: String = text.chars().filter(|c| c.is_ascii_digit() || *c == '-').collect();
        digits.parse().expect("an amount")
    };
    let amounts: Vec<i64> =
        rows.iter().map(|row| milliseconds(row.split_whitespace().nth(1).expect("an amount"))).collect();
    assert_eq!(amounts.len(), 4, "a purchase and three sessions: {ledger:?}");
    assert_eq!(amounts[0], 60_000);
    let sum_told = sum.strip_prefix("adds up to ").and_then(|rest| rest.split(' ').next()).expect("a sum");
    assert_eq!(amounts.iter().sum::<i64>(), milliseconds(sum_told));
    assert!((2_000..6_000).contains(&-amounts[1]), "two seconds and a little were charged: {ledger:?}");

    let accounts = stdout_of(&service.run(&["account", "list", "--json"]));
    let edges = stdout_of(&service.run(&["edge", "list", "--json"]));
    let count = |json: &str, name: &str| {
        let answer: serde_json::Value = serde_json::from_str(json).expect("JSON");
        answer[name].as_array().map(Vec::len).expect("a list")
    };
    let kept = if arguments.contains(&"--keep") { 1 } else { 0 };
    assert_eq!((count(&accounts, "accounts"), count(&edges, "edges")), (kept, kept), "what the tour made");
    text
}

#[test]
fn the_tour_over_udp_shows_the_whole_way_and_leaves_nothing() {
    let text = tour(&[]);
    assert_eq!(facts(&text, "removed"), ["the tour's edge and account"]);
}

#[test]
fn the_tour_over_http_keeps_what_it_made_when_asked() {
    let text = tour(&["--transport", "http", "--keep"]);
    assert_eq!(facts(&text, "kept").len(), 2);
}

#[test]
fn the_tour_goes_over_every_transport() {
    for transport in ["quic", "http2", "http3"] {
        let text = tour(&["--transport", transport]);
        assert_eq!(facts(&text, "removed"), ["the tour's edge and account"], "{transport}");
    }
}

#[test]
fn the_tour_without_a_service_says_what_to_do() {
    let home = Home::new();
    let service = Service::start(&home);
    let (admin, data_dir) = (service.admin(), home.data_dir());
    assert!(service.stop().success());
    let output =
        gastank().args(["try", "--admin-url", &admin, "--data-dir"]).arg(data_dir).output().expect("it can be run");
    let error = String::from_utf8(output.stderr).expect("it is UTF-8");
    assert_eq!(output.status.code(), Some(1), "{error}");
    assert!(error.lines().count() == 1 && error.contains("Is the service running? Start it with `gastank`"), "{error}");
}

#[test]
fn a_beat_interval_that_the_service_would_not_wait_for_is_wrong_usage() {
    let home = Home::new();
    let service = Service::start(&home);
    let output = service.run(&["try", "--interval-ms", "3000"]);
    let error = String::from_utf8(output.stderr).expect("it is UTF-8");
    assert_eq!(output.status.code(), Some(2), "{error}");
    assert!(error.contains("3000 ms"), "{error}");
}

#[test]
fn the_demo_shows_a_tank_that_drains_and_leaves_nothing_behind() {
    let scratch = tempfile::tempdir().expect("a directory");
    let mut command = gastank();
    command.args(["demo", "--no-open"]).env("TMPDIR", scratch.path()).stdin(Stdio::null()).stdout(Stdio::piped());
    let mut child = command.stderr(Stdio::null()).spawn().expect("the built program can be started");
    let mut lines = BufReader::new(child.stdout.take().expect("it is piped")).lines().map_while(Result::ok);
    let open = lines.find(|line| line.contains("/sign-in")).expect("it says where its pages are");
    let begun = lines.find(|line| line.contains("has activated"));
    let left = fs::read_dir(scratch.path()).expect("a directory").count();
    let told = Command::new("kill").args(["-INT", &child.id().to_string()]).status().expect("kill can be run");
    let over = lines.find(|line| line.contains("over"));
    let status = child.wait().expect("it is our child");
    assert!(open.contains("http://127.0.0.1:") && open.ends_with("?login_hint=ada"), "{open}");
    assert!(
        begun.is_some() && left == 1 && told.success() && over.is_some() && status.success(),
        "{begun:?} {over:?} {status}"
    );
    assert_eq!(fs::read_dir(scratch.path()).expect("a directory").count(), 0, "nothing is left");
}
