//! The commands of operators, through the built program, against a running service.

mod support;

use serde_json::Value;
use support::{Home, Service, gastank, stdout_of};

fn json(service: &Service, arguments: &[&str]) -> Value {
    let text = stdout_of(&service.run(&[arguments, &["--json"]].concat()));
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{arguments:?}: {error}\n{text}"))
}

/// Standard error of a command that must fail with this exit code.
fn failure(service: &Service, arguments: &[&str], code: i32) -> String {
    let output = service.run(arguments);
    let error = String::from_utf8(output.stderr).expect("it is UTF-8");
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {error}");
    error
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("{value} is no text"))
}

#[test]
fn accounts_are_made_filled_shown_and_deleted() {
    let home = Home::new();
    let service = Service::start(&home);
    let made = json(&service, &["account", "create", "--credit", "2h", "--key", "--subject", "ada"]);
    let id = text(&made["account"]);
    assert!(text(&made["key"]).starts_with("gtk_"));
    let again = json(&service, &["account", "create", "--subject", "ada"]);
    assert_eq!(text(&again["account"]), id, "the same person has the same account");

    let credited = json(&service, &["account", "credit", id, "15m", "--reason", "thanks", "--idempotency-key", "k1"]);
    assert_eq!((&credited["remaining_s"], text(&credited["idempotency_key"])), (&Value::from(8_100), "k1"));
    let repeated = json(&service, &["account", "credit", id, "15m", "--idempotency-key", "k1"]);
    assert_eq!(repeated["remaining_s"], 8_100, "the same key fills once");
    let taken = json(&service, &["account", "credit", id, "-100"]);
    assert_eq!(taken["remaining_s"], 8_000);
    assert!(text(&taken["idempotency_key"]).len() >= 16, "a random key was made: {taken}");

    let emptied = service.run(&["account", "credit", text(&again["account"]), "-3h"]);
    let said = String::from_utf8(emptied.stderr.clone()).expect("it is UTF-8");
    assert!(emptied.status.success() && said.contains("46 min 40 s of what was asked could not be taken"), "{said}");
    json(&service, &["account", "credit", id, "8000"]);

    let shown = json(&service, &["account", "show", id]);
    assert_eq!((&shown["remaining_s"], text(&shown["subject"])), (&Value::from(8_000), "ada"));
    let people = stdout_of(&service.run(&["account", "show", id]));
    assert!(people.contains("tank:") && people.contains("2 h 13 min"), "{people}");
    let listed = json(&service, &["account", "list"]);
    assert_eq!(text(&listed["accounts"][0]["account"]), id);
    let table = stdout_of(&service.run(&["account", "list"]));
    assert!(table.starts_with("ACCOUNT") && table.contains(id) && table.contains("2 h 13 min"), "{table}");

    let refused = failure(&service, &["account", "delete", id], 2);
    assert!(refused.contains("--yes"), "{refused}");
    assert_eq!(text(&json(&service, &["account", "delete", id, "--yes"])["deleted"]), id);
    let gone = failure(&service, &["account", "show", id], 1);
    assert!(gone.contains("not_found") && gone.lines().count() == 1, "{gone}");
}

#[test]
fn who_did_what_is_shown_and_followed() {
    let home = Home::new();
    let service = Service::start(&home);
    let id = text(&json(&service, &["account", "create", "--credit", "2h"])["account"]).to_owned();
    let other = text(&json(&service, &["account", "create"])["account"]).to_owned();
    let edge = text(&json(&service, &["edge", "add", "cloudflare"])["client_id"]).to_owned();
    let log = json(&service, &["audit"]);
    let acts: Vec<_> = log["rows"].as_array().expect("rows").iter().map(|row| text(&row["act"])).collect();
    assert_eq!(acts, ["edge_added", "account_created", "credit_entered", "account_created"], "the newest first");
    let two = json(&service, &["audit", "--limit", "2"]);
    assert_eq!((two["rows"].as_array().map(Vec::len), &two["more"]), (Some(2), &Value::Bool(true)));
    assert_eq!(two["rows"][0], log["rows"][0]);
    let of_one = json(&service, &["audit", "--account", &id, "--act", "credit_entered", "--since", "5m"]);
    assert_eq!(of_one["rows"].as_array().map(Vec::len), Some(1));
    assert_eq!((text(&of_one["rows"][0]["detail"]), text(&of_one["rows"][0]["actor"])), ("grant 7200 s", "operator"));
    let table = stdout_of(&service.run(&["audit", "--limit", "3"]));
    assert!(table.starts_with("AT") && table.contains(&other) && table.contains(&edge), "{table}");
    assert!(failure(&service, &["audit", "--act", "nonsense"], 1).contains("bad_request"));

    let mut follower = gastank()
        .args(["audit", "--follow", "--json", "--admin-url", &service.admin(), "--data-dir"])
        .arg(service.data_dir())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .expect("the built program can be run");
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(follower.stdout.take().expect("it is piped")));
    let mut next = || -> Value { serde_json::from_str(&lines.next().expect("a line").expect("text")).expect("JSON") };
    for act in acts.iter().rev() {
        assert_eq!(next()["act"], **act, "what is followed goes on from the oldest to the newest");
    }
    json(&service, &["account", "delete", &other, "--yes"]);
    let row = next();
    assert_eq!((text(&row["act"]), text(&row["account"])), ("account_deleted", other.as_str()));
    follower.kill().expect("it is our child");
    follower.wait().expect("it ends");
}

#[test]
fn support_finds_a_person_and_reads_the_ledger() {
    let home = Home::new();
    let service = Service::start(&home);
    let made = ["account", "create", "--issuer", "https://accounts.example.org", "--subject", "8f3c", "--credit", "2h"];
    let id = text(&json(&service, &made)["account"]).to_owned();
    let find = ["account", "find", "https://accounts.example.org"];
    assert_eq!(json(&service, &[&find[..], &["8f3c"]].concat())["account"], *id);
    let nobody = failure(&service, &[&find[..], &["8f3d"]].concat(), 1);
    assert!(nobody.contains("no account") && nobody.contains("8f3d"), "{nobody}");
    assert_eq!(json(&service, &["account", "list"])["accounts"].as_array().map(Vec::len), Some(1), "none was made");
    let shown = stdout_of(&service.run(&["account", "show", &id]));
    assert!(shown.contains("debt:") && shown.contains("created:"), "{shown}");

    let credit = ["account", "credit", &id, "-15m", "--reason", "a mistake", "--idempotency-key", "k1"];
    assert!(stdout_of(&service.run(&credit)).starts_with("entered:"));
    assert!(stdout_of(&service.run(&credit)).starts_with("entered before:"));
    let ledger = json(&service, &["account", "ledger", &id]);
    let amounts: Vec<_> = ledger["entries"].as_array().expect("entries").iter().map(|e| &e["amount_ms"]).collect();
    assert_eq!(amounts, [-900_000, 7_200_000], "the newest first");
    let table = stdout_of(&service.run(&["account", "ledger", &id, "--limit", "1"]));
    let line = table.lines().nth(1).expect("an entry");
    assert!(table.lines().count() == 2 && line.contains("-900.000 s") && line.contains("1 h 45 min"), "{table}");
    assert!(line.contains("a mistake") && line.contains("k1"), "{table}");
}

#[test]
fn rows_of_the_audit_log_are_dropped_when_their_time_is_over() {
    let home = Home::new();
    let a_day = [("GASTANK_AUDIT_RETENTION_DAYS", "1")];
    let service = Service::start_with(&home, &a_day);
    for _ in 0..3 {
        json(&service, &["account", "create"]);
    }
    assert!(service.stop().success());
    // Time passes: two of them are older than a day, the third is not quite.
    let rows = "SELECT at, id FROM audit ORDER BY at, id LIMIT 2";
    let file = || rusqlite::Connection::open(home.data_dir().join("gastank.db")).expect("the data file");
    let passed = format!("UPDATE audit SET at = at - CASE WHEN (at, id) IN ({rows}) THEN 86400001 ELSE 86000000 END");
    assert_eq!(file().execute(&passed, []).expect("it can be written"), 3);

    let service = Service::start_with(&home, &a_day);
    let log = json(&service, &["audit", "--since", "30d"]);
    assert_eq!(log["rows"].as_array().map(Vec::len), Some(1), "{log}");
    assert!(service.stop().success());
    let left: i64 = file().query_row("SELECT count(*) FROM audit", [], |row| row.get(0)).expect("a number");
    assert_eq!(left, 1, "they are gone from the file too");
}

#[test]
fn lists_of_accounts_are_read_page_by_page() {
    let home = Home::new();
    let service = Service::start(&home);
    for _ in 0..3 {
        json(&service, &["account", "create"]);
    }
    let count =
        |limit: &str| json(&service, &["account", "list", "--limit", limit])["accounts"].as_array().map(Vec::len);
    assert_eq!((count("2"), count("3"), count("500")), (Some(2), Some(3), Some(3)));
}

#[test]
fn account_keys_come_and_go() {
    let home = Home::new();
    let service = Service::start(&home);
    let made = json(&service, &["account", "create"]);
    let id = text(&made["account"]);
    let key = json(&service, &["account", "key", "add", id]);
    assert!(text(&key["key"]).starts_with("gtk_"));
    let listed = json(&service, &["account", "key", "list", id]);
    assert_eq!(listed["keys"][0]["key_id"], key["key_id"]);
    assert!(!listed.to_string().contains(text(&key["key"])), "keys are shown once");
    json(&service, &["account", "key", "remove", id, text(&key["key_id"])]);
    assert_eq!(json(&service, &["account", "key", "list", id])["keys"].as_array().map(Vec::len), Some(0));
    failure(&service, &["account", "key", "remove", id, text(&key["key_id"])], 1);
}

#[test]
fn edges_are_registered_listed_and_removed() {
    let home = Home::new();
    let service = Service::start(&home);
    let edge = json(&service, &["edge", "add", "cloudflare", "--audience", "gateway"]);
    let id = text(&edge["client_id"]);
    assert!(!text(&edge["client_secret"]).is_empty());
    let listed = json(&service, &["edge", "list"]);
    let first = &listed["edges"][0];
    assert_eq!(
        (text(&first["client_id"]), text(&first["name"]), text(&first["audience"])),
        (id, "cloudflare", "gateway")
    );
    json(&service, &["edge", "remove", id]);
    assert_eq!(json(&service, &["edge", "list"])["edges"].as_array().map(Vec::len), Some(0));
}

#[test]
fn an_edge_has_two_secrets_while_it_is_switched_over() {
    let home = Home::new();
    let service = Service::start(&home);
    let edge = json(&service, &["edge", "add", "cloudflare"]);
    let id = text(&edge["client_id"]);
    let added = json(&service, &["edge", "secret", "add", id]);
    assert!(text(&added["client_secret"]).starts_with("gts_"));
    let listed = json(&service, &["edge", "secret", "list", id]);
    let ids: Vec<&str> =
        listed["secrets"].as_array().expect("a list").iter().map(|one| text(&one["secret_id"])).collect();
    assert_eq!((ids.len(), ids[1]), (2, text(&added["secret_id"])));
    assert!(failure(&service, &["edge", "secret", "add", id], 1).contains("limit_reached"));
    json(&service, &["edge", "secret", "remove", id, ids[0]]);
    assert!(failure(&service, &["edge", "secret", "remove", id, ids[0]], 1).contains("not_found"));
    assert!(failure(&service, &["edge", "secret", "remove", id, ids[1]], 1).contains("limit_reached"));
}

#[test]
fn the_cluster_secret_rotates_and_the_old_one_stays_as_long_as_it_is_needed() {
    let home = Home::new();
    let service = Service::start(&home);
    let table = stdout_of(&service.run(&["keys", "rotate-secret"]));
    assert!(table.contains("current") && table.contains("retiring"), "{table}");
    let lines = std::fs::read_to_string(home.data_dir().join("cluster.secret")).expect("it is there");
    assert_eq!(lines.lines().count(), 2);
    assert_eq!(json(&service, &["keys", "list"])["cluster_secrets"].as_array().map(Vec::len), Some(2));
}

#[test]
fn a_session_is_revoked_once_its_id_is_known() {
    let home = Home::new();
    let service = Service::start(&home);
    let made = json(&service, &["account", "create", "--credit", "60", "--key"]);
    let activated = activate(&service, text(&made["key"]));
    let revoked = json(&service, &["session", "revoke", text(&activated["session_id"])]);
    assert!(revoked["remaining_s"].as_i64().is_some_and(|left| (55..=60).contains(&left)), "{revoked}");
    let shown = json(&service, &["account", "show", text(&made["account"])]);
    assert_eq!(shown["session"]["end_reason"], "revoked");
    let unknown = failure(&service, &["session", "revoke", "AAAAAAAAAAAAAAAAAAAAAA"], 1);
    assert!(unknown.contains("not_found"), "{unknown}");
}

#[test]
fn signing_keys_rotate() {
    let home = Home::new();
    let service = Service::start(&home);
    let before = json(&service, &["keys", "list"])["keys"].as_array().map(Vec::len);
    json(&service, &["keys", "rotate"]);
    let after = json(&service, &["keys", "list"])["keys"].as_array().map(Vec::len);
    assert_eq!((before, after), (Some(1), Some(2)));
    let table = stdout_of(&service.run(&["keys", "list"]));
    assert!(table.starts_with("KID") && table.contains("ES256"), "{table}");
}

#[test]
fn the_status_is_told_to_people_and_machines() {
    let home = Home::new();
    let service = Service::start(&home);
    assert!(json(&service, &["status"]).is_object());
    let people = stdout_of(&service.run(&["status"]));
    assert!(people.lines().count() >= 3 && people.lines().all(|line| line.contains(':')), "{people}");
}

#[test]
fn without_the_token_of_the_service_nothing_is_answered() {
    let home = Home::new();
    let service = Service::start(&home);
    let token = home.data_dir().join("other.token");
    std::fs::write(&token, "not-the-token\n").expect("it can be written");
    let output = gastank()
        .args(["account", "list", "--admin-url", &service.admin(), "--token-file"])
        .arg(&token)
        .output()
        .expect("it can be run");
    let error = String::from_utf8(output.stderr).expect("it is UTF-8");
    assert_eq!(output.status.code(), Some(1), "{error}");
    assert!(error.contains("bad_credentials") && error.contains("--token-file"), "{error}");
    assert!(!error.contains("not-the-token"), "{error}");
}

#[test]
fn a_configuration_that_cannot_work_exits_with_2_and_one_that_can_with_0() {
    let check = |timeout: &str| {
        let output = gastank()
            .args(["serve", "--check", "--data-dir", "unused"])
            .env("GASTANK_HEARTBEAT_TIMEOUT_MS", timeout)
            .output()
            .expect("it can be run");
        (output.status.code(), String::from_utf8(output.stderr).expect("it is UTF-8"))
    };
    assert_eq!(check("90000").0, Some(0));
    let (code, error) = check("1000");
    assert_eq!(code, Some(2));
    assert!(error.contains("timeout_ms"), "{error}");
    assert_eq!(check("soon").0, Some(2));
}

#[test]
fn a_check_reads_the_certificate_and_tries_the_addresses_and_tells_what_clients_are_not_told() {
    for (variable, value, code, told) in [
        ("GASTANK_TLS_CERT_FILE", "/nowhere/chain.pem", 2, "/nowhere/chain.pem"),
        // An address for documentation, which no machine has.
        ("GASTANK_HTTP_ADDR", "203.0.113.1:7080", 2, "cannot listen on http 203.0.113.1:7080"),
        ("GASTANK_LOG_FILTER", "inf", 2, "is not a level"),
        ("GASTANK_HTTP_PUBLIC_URL", "https://tank.example.org", 0, "activations do not offer UDP"),
        ("GASTANK_HTTP_PUBLIC_URL", "tank.example.org", 2, "`tank.example.org` is no public URL"),
        ("GASTANK_HTTP_PUBLIC_URL", "https://me:secret@tank.example.org", 2, "this is no public URL"),
        ("GASTANK_STORE", "/data/x.db", 2, "did you mean `sqlite:/data/x.db`?"),
        ("GASTANK_HTTPS_ADDR", "0.0.0.0:0", 0, "https.addr is open to clients"),
        ("GASTANK_HOOKS_SECRETS_FILE", "/nowhere/secrets", 0, "hooks.secrets_file /nowhere/secrets is not there"),
        ("GASTANK_REWARDS_SHOPS_FILE", "/nowhere/shops", 0, "rewards.shops_file /nowhere/shops is not there"),
        ("GASTANK_DATA_DIR", "/proc/gastank", 2, "data_dir /proc/gastank cannot be used"),
        ("GASTANK_DATA_DIR", "/dev/null", 2, "data_dir /dev/null cannot be used"),
    ] {
        let data_dir: &[&str] = if variable == "GASTANK_DATA_DIR" { &[] } else { &["--data-dir", "unused"] };
        let output = gastank().args(["serve", "--check"]).args(data_dir).env(variable, value).output();
        let output = output.expect("it can be run");
        let said = String::from_utf8(output.stderr).expect("it is UTF-8");
        assert_eq!(output.status.code(), Some(code), "{variable}={value}: {said}");
        assert!(said.contains(told), "{variable}={value}: {said}");
    }
    let provider = [
        ("GASTANK_IDENTITY_ISSUER", "https://id.example"),
        ("GASTANK_IDENTITY_HUB_CLIENT_ID", "tank"),
        ("GASTANK_IDENTITY_HUB_CLIENT_SECRET_FILE", "/nowhere/client"),
    ];
    let output = gastank().args(["serve", "--check", "--data-dir", "unused"]).envs(provider).output();
    let output = output.expect("it can be run");
    let said = String::from_utf8(output.stderr).expect("it is UTF-8");
    assert!(output.status.code() == Some(2) && said.contains("/nowhere/client"), "{said}");
    assert!(!std::path::Path::new("unused").exists(), "a check leaves nothing behind");
    let held = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let taken = held.local_addr().expect("it is bound").to_string();
    let output = gastank().args(["serve", "--check", "--data-dir", "unused", "--http", &taken]).output();
    drop(held);
    let output = output.expect("it can be run");
    let said = String::from_utf8(output.stderr).expect("it is UTF-8");
    assert!(output.status.success() && said.contains("is in use"), "{said}");
}

/// Opens a session with an account key.
fn activate(service: &Service, key: &str) -> Value {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let client = reqwest::Client::builder().no_proxy().tls_certs_only([]).build().expect("a client");
        let request = client.post(format!("{}/v1/activate", service.http())).bearer_auth(key).body("{}");
        let mut response = request.header("content-type", "application/json").send().await.expect("an answer");
        assert!(response.status().is_success(), "{}", response.status());
        let body = response.chunk().await.expect("a body").expect("it is not empty");
        serde_json::from_slice(&body).expect("it is JSON")
    })
}
