//! The edge's side, used by foreign clients against the built program: Authlib and requests, the Cloudflare Worker example
//! under Node, schemathesis; and rotations that are killed.

mod support;

use std::{
    fs,
    io::Write,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
    process::{Command, Output},
    time::Duration,
};

use serde_json::{Value, json};

use support::{Home, Service, stdout_of};

const OPENAPI_SECONDS: &str = "12";
const WEBHOOK_SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

#[test]
fn authlib_verifies_introspects_and_revokes_tokens_of_every_algorithm() {
    for algorithm in ["ES256", "RS256", "EdDSA"] {
        let home = Home::new();
        let service = Service::start_with(&home, &[("GASTANK_TOKEN_ALGORITHM", algorithm), NO_HURRY]);
        let edge = Edge::of(&service);
        let token = edge.token(&service);
        let output = python(&["edge.py", "--issuer", &service.http(), "--audience", "edge"])
            .args(["--client-id", &edge.client_id, "--client-secret", &edge.client_secret, "--algorithm", algorithm])
            .arg(&token)
            .output()
            .expect("python can be run");
        let told: Value = serde_json::from_str(stdout_of(&output).trim()).expect("it prints JSON");
        assert_eq!(told["revoked"], true, "{algorithm}");
    }
}

#[test]
fn the_worker_runs_under_node_with_nothing_but_webcrypto_and_fetch() {
    for algorithm in ["ES256", "RS256", "EdDSA"] {
        let home = Home::new();
        let service = Service::start_with(
            &home,
            &[("GASTANK_TOKEN_ALGORITHM", algorithm), NO_HURRY, ("GASTANK_STATUS_LIST_TTL_S", "1")],
        );
        let edge = Edge::of(&service);
        let asked = json!({
            "issuer": service.http(),
            "audience": "edge",
            "client_id": edge.client_id,
            "client_secret": edge.client_secret,
            "token": edge.token(&service),
        });
        let script = repository().join("tests/clients/node/edge.mjs");
        let output =
            Command::new("node").arg(script).arg(asked.to_string()).output().expect("node is there: tests/setup.sh");
        assert!(stdout_of(&output).contains(r#"{"ok":true}"#), "{algorithm}");
    }
}

#[test]
fn schemathesis_finds_nothing_between_the_description_and_the_service() {
    let home = Home::new();
    // What is tested is the interface, not how it slows down a caller that asks thousands of times.
    let settings = [
        ("GASTANK_LIMITS_ACTS_PER_ACCOUNT_PER_S", "0"),
        ("GASTANK_LIMITS_ACTS_PER_ADDRESS_PER_S", "0"),
        // A provider that nobody asks anything: what is generated is no token at all, or names no key.
        ("GASTANK_IDENTITY_ISSUER", "http://127.0.0.1:9"),
        ("GASTANK_IDENTITY_EVENT_CLIENT_ID", "gastank"),
        ("GASTANK_HISTORY_KEEP_DAYS", "30"),
        NO_HURRY,
    ];
    write_webhook_secret(&home);
    let service = Service::start_with(&home, &settings);
    let edge = Edge::of(&service);
    let operator = format!("Authorization: Bearer {}", home.admin_token());
    let client = format!("Authorization: Bearer {}", edge.key);
    let credentials = format!("{}:{}", edge.client_id, edge.client_secret);
    // The operators come last, since they remove edges and accounts.
    for (tag, base, who) in [
        ("edge", service.http(), ["--auth", &credentials]),
        ("clients", service.http(), ["--header", &client]),
        ("rewards", service.http(), ["--header", &client]),
        ("hooks", service.http(), ["--header", "X-Nobody: signs in here"]),
        ("admin", service.admin(), ["--header", &operator]),
    ] {
        let output = tool("schemathesis")
            .arg("--config-file")
            .arg(repository().join("tests/clients/python/schemathesis.toml"))
            .args(["run", &format!("{}/openapi.json", service.http()), "--url", &base, "--include-tag", tag])
            .args(who)
            .args(["--max-examples", "20", "--seed", "1", "--max-time", OPENAPI_SECONDS])
            .args(["--warnings", "off", "--no-color"])
            .env("SCHEMATHESIS_HOOKS", repository().join("tests/clients/python/signing.py"))
            .env("WEBHOOK_SECRET", WEBHOOK_SECRET)
            .current_dir(home.data_dir())
            .output()
            .expect("schemathesis can be run");
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{tag}: {said}");
        println!("{tag}: {said}");
    }
    // A message that nobody signed well is never held for anybody.
    let figures = text_of(http().get(format!("{}/metrics", service.admin())));
    let held = figures.lines().find_map(|line| line.strip_prefix("gastank_webhooks_total{outcome=\"held\"} "));
    println!("{held:?} generated messages were held");
    assert!(held.is_some_and(|held| held.parse::<f64>().expect("a number") > 0.0));
}

#[test]
fn rotations_that_are_killed_leave_sessions_that_go_on_and_keys_that_fit() {
    let home = Home::new();
    let mut service = Service::start_with(&home, &[NO_HURRY]);
    let edge = Edge::of(&service);
    let token = edge.token(&service);
    for round in 0_u64..8 {
        let rotation = if round % 2 == 0 { "rotate-secret" } else { "rotate" };
        let (admin, token_file) = (service.admin(), home.data_dir().join("admin.token"));
        let asked = std::thread::spawn(move || {
            // It may be answered or cut off.
            let mut command = support::gastank();
            command.args(["keys", rotation, "--json", "--admin-url", &admin, "--token-file"]).arg(token_file);
            command.output().expect("the built program can be run")
        });
        pause(Duration::from_millis(2 + round * 3));
        service.kill();
        drop(asked.join());
        service = Service::start_with(&home, &[NO_HURRY]);
        assert_eq!(edge.introspect(&service, &token)["active"], true, "round {round}");
        let keys = json_of(&service.run(&["keys", "list", "--json"]));
        let states: Vec<_> = keys["keys"].as_array().expect("a list").iter().map(|key| key["state"].clone()).collect();
        assert_eq!(states.iter().filter(|state| *state == "signing").count(), 1, "{keys}");
    }
    // Whatever the kills left, an orderly rotation of both still works, and the session outlives it.
    json_of(&service.run(&["keys", "rotate", "--json"]));
    let after = json_of(&service.run(&["keys", "rotate-secret", "--json"]));
    assert!(after["cluster_secrets"].as_array().expect("a list").len() >= 2);
    assert_eq!(edge.introspect(&service, &token)["active"], true);
    assert_ne!(edge.token(&service), token);
    assert_eq!(edge.introspect(&service, &token)["active"], false, "superseded");
}

/// Writes the file of webhook secrets, for its owner alone.
fn write_webhook_secret(home: &Home) {
    fs::DirBuilder::new().mode(0o700).create(home.data_dir()).expect("the directory can be made");
    let mut options = fs::OpenOptions::new();
    let file = options.write(true).create_new(true).mode(0o600).open(home.data_dir().join("hooks.secrets"));
    file.and_then(|mut file| file.write_all(WEBHOOK_SECRET.as_bytes())).expect("it can be written");
}

/// Sessions that live through restarts and slow tests without a beat.
const NO_HURRY: (&str, &str) = ("GASTANK_HEARTBEAT_TIMEOUT_MS", "600000");

/// A registered edge, and an account to get tokens for it.
struct Edge {
    client_id: String,
    client_secret: String,
    key: String,
}

impl Edge {
    fn of(service: &Service) -> Self {
        let edge = json_of(&service.run(&["edge", "add", "an edge", "--json"]));
        let account = json_of(&service.run(&["account", "create", "--credit", "1d", "--key", "--json"]));
        let text = |value: &Value| value.as_str().expect("it is a text").to_owned();
        Self {
            client_id: text(&edge["client_id"]),
            client_secret: text(&edge["client_secret"]),
            key: text(&account["key"]),
        }
    }

    fn token(&self, service: &Service) -> String {
        let request = http().post(format!("{}/v1/activate", service.http())).bearer_auth(&self.key);
        ask(request)["token"].as_str().expect("a token").to_owned()
    }

    fn introspect(&self, service: &Service, token: &str) -> Value {
        let request = http()
            .post(format!("{}/oauth/introspect", service.http()))
            .basic_auth(&self.client_id, Some(&self.client_secret))
            .header("content-type", "application/x-www-form-urlencoded")
            .body(format!("token={token}"));
        ask(request)
    }
}

fn http() -> reqwest::Client {
    reqwest::Client::builder().no_proxy().tls_certs_only([]).build().expect("a client")
}

fn ask(request: reqwest::RequestBuilder) -> Value {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let mut response = request.send().await.expect("an answer");
        assert!(response.status().is_success(), "{}", response.status());
        let body = response.chunk().await.expect("a body").expect("it is not empty");
        serde_json::from_slice(&body).expect("it is JSON")
    })
}

fn text_of(request: reqwest::RequestBuilder) -> String {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let mut response = request.send().await.expect("an answer");
        let mut text = Vec::new();
        while let Some(chunk) = response.chunk().await.expect("a body") {
            text.extend_from_slice(&chunk);
        }
        String::from_utf8(text).expect("it is UTF-8")
    })
}

fn json_of(output: &Output) -> Value {
    serde_json::from_str(stdout_of(output).trim()).expect("it prints JSON")
}

fn pause(span: Duration) {
    std::thread::sleep(span);
}

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A script of `tests/clients/python`, run with the packages it needs.
fn python(arguments: &[&str]) -> Command {
    let mut command = tool("python3");
    command.arg(repository().join("tests/clients/python").join(arguments[0])).args(&arguments[1..]);
    command
}

/// A program that `tests/setup.sh` has installed.
fn tool(name: &str) -> Command {
    let path: PathBuf = repository().join("target/tools/venv/bin").join(name);
    assert!(path.exists(), "{} is missing: run tests/setup.sh", path.display());
    Command::new(path)
}
