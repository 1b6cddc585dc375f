//! Peers that share no line with us.

use std::{path::Path, process::Command};

use serde_json::Value;

use crate::{
    client::Api,
    support::{Home, Service},
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn aioquic_beats_in_datagrams_and_streams_by_http_3_and_in_two_webtransport_sessions() {
    let home = Home::new();
    let service = Service::start_with(&home, &[("GASTANK_HEARTBEAT_TIMEOUT_MS", "60000")]);
    let api = Api::new(&service, &home);
    let (ada, bob) = (api.owner(100).await, api.owner(100).await);
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut python = Command::new(root.join("target/tools/venv/bin/python"));
    python.arg(root.join("tests/clients/python/quic.py")).args(["--http", &api.public, "--key", &ada.key, &bob.key]);
    python.arg("--ca").arg(home.data_dir().join("development.pem"));
    let output = tokio::task::spawn_blocking(move || python.output()).await.unwrap();
    let output = output.expect("the Python clients are missing: run tests/setup.sh");
    let said = String::from_utf8_lossy(&output.stderr);
    let told: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("the client said: {said}"));
    assert_eq!(told["ok"], true, "{told} {said}");
    for part in ["gastank/1", "h3", "webtransport"] {
        assert_eq!(told[part], true, "{told}");
    }
    assert_eq!(api.metric("gastank_webtransport_sessions_open", "").await, 0.0);
    assert_eq!(api.metric("gastank_webtransport_sessions_total", "opened").await, 2.0);
    assert!(api.metric("gastank_heartbeats_total", "transport=\"quic_stream\"").await >= 4.0);
    assert_eq!(api.metric("gastank_quic_datagrams_dropped_total", "malformed").await, 2.0);
    assert_eq!(api.metric("gastank_quic_datagrams_dropped_total", "unread").await, 0.0);
    assert!(service.stop().success());
}
