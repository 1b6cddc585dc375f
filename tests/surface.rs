//! The program as others see it: curl, promtool, a client in Python, and whoever reads the log.

#![expect(clippy::unwrap_used, reason = "what cannot be done here fails the test")]

#[path = "surface/backup.rs"]
mod backup;
#[path = "surface/bodies.rs"]
mod bodies;
#[path = "support/client.rs"]
mod client;
#[path = "surface/curl.rs"]
mod curl;
#[path = "surface/logs.rs"]
mod logs;
#[path = "surface/platform.rs"]
mod platform;
#[path = "surface/rewards.rs"]
mod rewards;
#[path = "surface/shop.rs"]
mod shop;
mod support;

use std::{
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use serde_json::Value;

use client::{Api, Owner};
use support::{Home, Service};

#[tokio::test]
async fn promtool_finds_nothing_to_say_about_the_figures() {
    let home = Home::new();
    let service = Service::start(&home);
    let api = Api::new(&service, &home);
    let mut session = api.open(&api.owner(100).await).await;
    session.posted(&api, gastank::wire::HeartbeatKind::Stop).await.unwrap();
    let url = format!("{}/metrics", api.admin);
    let page = api.send(reqwest::Method::GET, url, &[], Vec::new()).await.unwrap().must_be(200).body;
    let mut promtool = Command::new(promtool())
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    promtool.stdin.take().unwrap().write_all(&page).unwrap();
    let output = promtool.wait_with_output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    assert!(output.status.success() && said.is_empty(), "{}", String::from_utf8_lossy(&said));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_in_python_that_knows_only_the_protocol_works_over_every_transport() {
    let home = Home::new();
    let service = Service::start(&home);
    let api = Api::new(&service, &home);
    let clients = ["udp", "http", "json"].map(|transport| (transport, python(&api, &[transport, "deactivated", "2"])));
    for (transport, client) in clients {
        let (owner, child) = client(api.owner(100).await);
        let told = outcome(child);
        assert_eq!((&told["ok"], &told["end_reason"]), (&true.into(), &"deactivated".into()), "{transport}: {told}");
        assert!(told["acks"].as_u64().unwrap() >= 4 && told["renewals"] == 1, "{transport}: {told}");
        let usage = api.ledger(&owner.account).await.pop().unwrap();
        let burned = -usage["amount_ms"].as_i64().unwrap();
        assert!((1900..8000).contains(&burned), "{transport}: two seconds cost {burned} ms");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_in_python_is_told_why_its_session_ended() {
    let home = Home::new();
    let service = Service::start(&home);
    let api = Api::new(&service, &home);
    for (reason, credit_s) in [("superseded", 100), ("revoked", 100), ("exhausted", 2)] {
        let (owner, child) = python(&api, &["udp", reason, "10"])(api.owner(credit_s).await);
        let mut session = Value::Null;
        for _ in 0..100 {
            session = api.account(&owner.account).await["session"].clone();
            if !session.is_null() {
                break;
            }
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
        tokio::time::sleep(std::time::Duration::from_millis(500)).await;
        match reason {
            "superseded" => drop(api.open(&owner).await),
            "revoked" => drop(api.revoke(session["session_id"].as_str().unwrap()).await.unwrap().must_be(200)),
            _ => {}
        }
        let told = outcome(child);
        assert_eq!((&told["ok"], &told["end_reason"]), (&true.into(), &reason.into()), "{told}");
    }
}

/// Starts the client for an account: transport, the end it should expect, seconds.
fn python(api: &Api, options: &[&str; 3]) -> impl FnOnce(Owner) -> (Owner, std::process::Child) + use<> {
    let client = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients/python/client.py");
    let mut command = Command::new("python3");
    command.arg(client).args(["--http", &api.public, "--renew", "--transport", options[0]]);
    command.args(["--expect", options[1], "--seconds", options[2]]);
    move |owner| {
        command.args(["--key", &owner.key]).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        (owner, command.spawn().expect("python3 is missing: run tests/setup.sh"))
    }
}

/// The line of JSON that it ends with.
fn outcome(client: std::process::Child) -> Value {
    let output = client.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("the client said: {said}"))
}

fn promtool() -> PathBuf {
    let ours = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/tools/bin");
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::iter::once(ours)
        .chain(std::env::split_paths(&path))
        .map(|dir| dir.join("promtool"))
        .find(|tool| tool.exists())
        .expect("promtool is missing: run tests/setup.sh, or `make setup`")
}
