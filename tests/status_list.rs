//! Token status lists of the running program: read by an edge in Python that knows the standards and the public keys, and
//! held against introspection over a random life of many accounts.

#![expect(
    clippy::disallowed_methods,
    reason = "the program under test runs by the real clock, and so does who measures it"
)]
#![expect(clippy::unwrap_used, reason = "what cannot be done here fails the test")]

#[path = "status_list/agreement.rs"]
mod agreement;
#[path = "support/client.rs"]
mod client;
#[path = "support/dice.rs"]
mod dice;
#[path = "status_list/people.rs"]
mod people;
mod support;
#[path = "status_list/watcher.rs"]
mod watcher;

use std::{
    io::Write,
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use gastank::wire::HeartbeatKind;
use serde_json::Value;

use client::{Api, EdgeSecret, Owner};
use support::{Home, Service};

/// Nobody beats here, and nobody is to time out.
const SETTINGS: [(&str, &str); 3] = [
    ("GASTANK_STATUS_LIST_TTL_S", "1"),
    ("GASTANK_STATUS_LIST_ENTRIES", "1024"),
    ("GASTANK_HEARTBEAT_TIMEOUT_MS", "60000"),
];
/// On an address of its own, so that while it is down nobody's outgoing connection takes its port.
const ADDRESS: &str = "127.0.0.3:0";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_edge_in_python_that_asks_nobody_is_of_the_same_mind_as_one_that_asks() {
    let home = Home::new();
    let mut service = Service::start_at(&home, &[ADDRESS; 3].map(str::to_owned), &SETTINGS);
    let addresses = service.addresses();
    let api = Api::new(&service, &home);
    let edge = api.edge().await;
    let mut owners = Vec::new();
    for _ in 0..5 {
        owners.push(api.owner(10_000).await);
    }
    let mut tokens = Vec::new();
    live(&api, &owners, &mut tokens).await;
    agree(&api, &edge, &tokens).await;

    // Killed, it must not give a place away twice, nor forget what was over.
    for _ in 0..2 {
        service.kill();
        service = Service::start_at(&home, &addresses, &SETTINGS);
        live(&api, &owners, &mut tokens).await;
        agree(&api, &edge, &tokens).await;
    }
}

/// Somebody stays, somebody is superseded, somebody renews, somebody is revoked, somebody leaves.
async fn live(api: &Api, owners: &[Owner], tokens: &mut Vec<String>) {
    let mut sessions = Vec::new();
    for owner in owners {
        sessions.push(api.open(owner).await);
    }
    sessions.push(api.open(&owners[1]).await);
    let frame = sessions[2].frame(HeartbeatKind::Renew);
    let renewed = api.renew(&sessions[2], frame).await.unwrap().must_be(200).json();
    tokens.push(client::text(&renewed["token"]));
    api.revoke(&sessions[3].id_text).await.unwrap().must_be(200);
    let stop = sessions[4].frame(HeartbeatKind::Stop);
    api.post_frame(&stop).await.unwrap().must_be(200);
    tokens.extend(sessions.into_iter().map(|session| session.token));
}

/// After a `ttl`, the lists say of every token what introspection says.
async fn agree(api: &Api, edge: &EdgeSecret, tokens: &[String]) {
    tokio::time::sleep(Duration::from_secs(1)).await;
    let mut told = Vec::new();
    for token in tokens {
        told.push(Value::from(u8::from(!api.is_active(edge, token).await)));
    }
    let found = python(api, tokens);
    assert_eq!(found["statuses"], Value::from(told), "{found}");
    assert_eq!(found["statuses"].as_array().unwrap().iter().filter(|status| **status == 0).count(), 3, "{found}");
}

fn python(api: &Api, tokens: &[String]) -> Value {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients/python/status_list.py");
    let mut child = Command::new("python3")
        .arg(script)
        .args(["--http", &api.public])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("python3 is missing: run tests/setup.sh");
    child.stdin.take().unwrap().write_all(tokens.join("\n").as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("the edge said: {said}"))
}
