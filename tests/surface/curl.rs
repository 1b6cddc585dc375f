//! curl against every endpoint that the service says it has.

use std::{collections::BTreeSet, fs, process::Command};

use gastank::wire::HeartbeatKind;
use serde_json::Value;

use crate::{
    client::{Api, Session, text},
    support::{Home, Service},
};

/// Calls endpoints, and remembers which.
struct Curl {
    public: String,
    admin: String,
    admin_token: String,
    called: BTreeSet<(String, String)>,
}

impl Curl {
    /// Calls `method` on `path`, which stands for `template`; must be answered with `status`.
    fn call(&mut self, template: &str, path: &str, method: &str, options: &[&str], status: &str) -> Vec<u8> {
        let operators = ["/admin", "/metrics", "/health"].iter().any(|prefix| path.starts_with(prefix));
        let base = if operators { &self.admin } else { &self.public };
        let mut command = Command::new("curl");
        command.args(["-sS", "--noproxy", "*", "--max-time", "10", "-X", method, "-w", "%{stderr}%{response_code}"]);
        if path.starts_with("/admin") {
            command.args(["-H", &format!("authorization: Bearer {}", self.admin_token)]);
        }
        let output = command.args(options).arg(format!("{base}{path}")).output();
        let output = output.expect("curl is missing: run tests/setup.sh");
        let told = String::from_utf8_lossy(&output.stderr);
        assert_eq!(told, status, "{method} {path}: {}", String::from_utf8_lossy(&output.stdout));
        self.called.insert((method.to_lowercase(), template.to_owned()));
        output.stdout
    }

    fn json(&mut self, template: &str, path: &str, method: &str, options: &[&str], status: &str) -> Value {
        let body = self.call(template, path, method, options, status);
        serde_json::from_slice(&body).unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&body)))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn curl_gets_an_answer_from_every_endpoint_in_the_description() {
    let home = Home::new();
    let config = tempfile::NamedTempFile::new().unwrap();
    let reward = "[[reward]]\nclass = \"click\"\ndistinguisher = \"news.example\"\nreward_s = 60\n";
    fs::write(config.path(), reward).unwrap();
    let settings = [
        ("GASTANK_CONFIG", config.path().to_str().unwrap()),
        ("GASTANK_HEARTBEAT_TIMEOUT_MS", "60000"),
        ("GASTANK_HISTORY_KEEP_DAYS", "30"),
    ];
    let service = Service::start_with(&home, &settings);
    let (public, admin, admin_token) = (service.http(), service.admin(), home.admin_token());
    let mut curl = Curl { public, admin, admin_token, called: BTreeSet::new() };
    let js = ["-H", "content-type: application/json", "--data"];
    let with = |body: &'static str| [js[0], js[1], js[2], body];

    let accounts = "/admin/accounts";
    let made = curl.json(accounts, accounts, "POST", &with(r#"{"credit_s":60,"key":true}"#), "201");
    let (account, key) = (text(&made["account"]), text(&made["key"]));
    assert_eq!(curl.json(accounts, accounts, "GET", &[], "200")["accounts"].as_array().unwrap().len(), 1);
    let log = curl.json("/admin/audit", &format!("/admin/audit?account={account}"), "GET", &[], "200");
    assert_eq!((&log["rows"][0]["act"], &log["rows"][0]["actor"]), (&"account_created".into(), &"operator".into()));
    let (one, path) = ("/admin/accounts/{id}", format!("/admin/accounts/{account}"));
    assert_eq!(curl.json(one, &path, "GET", &[], "200")["remaining_s"], 60);
    let credit = [&["-H", "idempotency-key: k"][..], &with(r#"{"seconds":40}"#)].concat();
    let credited = curl.json("/admin/accounts/{id}/credit", &format!("{path}/credit"), "POST", &credit, "200");
    assert_eq!(credited["remaining_s"], 100);
    let ledger = curl.json("/admin/accounts/{id}/entries", &format!("{path}/entries"), "GET", &[], "200");
    assert_eq!(ledger["entries"].as_array().unwrap().len(), 2);
    let (keys, keys_path) = ("/admin/accounts/{id}/keys", format!("{path}/keys"));
    let second = text(&curl.json(keys, &keys_path, "POST", &[], "201")["key_id"]);
    assert_eq!(curl.json(keys, &keys_path, "GET", &[], "200")["keys"].as_array().unwrap().len(), 2);
    curl.call("/admin/accounts/{id}/keys/{key_id}", &format!("{keys_path}/{second}"), "DELETE", &[], "204");

    let edges = "/admin/edges";
    let edge = curl.json(edges, edges, "POST", &with(r#"{"name":"e","audience":"edge"}"#), "201");
    let edge = (text(&edge["client_id"]), text(&edge["client_secret"]));
    assert_eq!(curl.json(edges, edges, "GET", &[], "200")["edges"].as_array().unwrap().len(), 1);

    let (secrets, at) = ("/admin/edges/{client_id}/secrets", format!("/admin/edges/{}/secrets", edge.0));
    let second = text(&curl.json(secrets, &at, "POST", &[], "201")["secret_id"]);
    assert_eq!(curl.json(secrets, &at, "GET", &[], "200")["secrets"].as_array().unwrap().len(), 2);
    curl.call("/admin/edges/{client_id}/secrets/{secret_id}", &format!("{at}/{second}"), "DELETE", &[], "204");

    let clients = "/admin/clients";
    let new = with(r#"{"name":"c","redirect_uris":["https://app.example/cb"]}"#);
    let client = text(&curl.json(clients, clients, "POST", &new, "201")["client_id"]);
    assert_eq!(curl.json(clients, clients, "GET", &[], "200")["clients"].as_array().unwrap().len(), 1);
    let (secrets, at) = ("/admin/clients/{client_id}/secrets", format!("/admin/clients/{client}/secrets"));
    let second = text(&curl.json(secrets, &at, "POST", &[], "201")["secret_id"]);
    assert_eq!(curl.json(secrets, &at, "GET", &[], "200")["secrets"].as_array().unwrap().len(), 2);
    curl.call("/admin/clients/{client_id}/secrets/{secret_id}", &format!("{at}/{second}"), "DELETE", &[], "204");
    curl.call("/admin/clients/{client_id}", &format!("/admin/clients/{client}"), "DELETE", &[], "204");

    let bearer = format!("authorization: Bearer {key}");
    let owner = ["-H", &*bearer];
    let activate = [&owner[..], &with("{}")].concat();
    let mut session = Session::of(&curl.json("/v1/activate", "/v1/activate", "POST", &activate, "200"));
    let frame = tempfile::NamedTempFile::new().unwrap();
    let data = format!("@{}", frame.path().display());
    let octets = ["-H", "content-type: application/octet-stream", "--data-binary", &*data];
    fs::write(frame.path(), session.frame(HeartbeatKind::Beat)).unwrap();
    let ack = curl.call("/v1/heartbeat", "/v1/heartbeat", "POST", &octets, "200");
    session.ack(&ack);
    fs::write(frame.path(), session.frame(HeartbeatKind::Renew)).unwrap();
    let bearer = format!("authorization: Bearer {}", session.token);
    let renew = [&["-H", &*bearer][..], &octets].concat();
    session.token = text(&curl.json("/v1/renew", "/v1/renew", "POST", &renew, "200")["token"]);
    let shown = curl.json("/v1/account", "/v1/account", "GET", &owner, "200");
    assert_eq!(shown["session"]["session_id"], *session.id_text);
    let entries = "/v1/account/entries";
    assert_eq!(curl.json(entries, entries, "GET", &owner, "200")["entries"].as_array().unwrap().len(), 2);
    let client = format!("{}:{}", edge.0, edge.1);
    let token = format!("token={}", session.token);
    let ask = ["-u", &*client, "--data", &*token];
    assert_eq!(curl.json("/oauth/introspect", "/oauth/introspect", "POST", &ask, "200")["active"], true);
    let revoke = format!("/admin/sessions/{}/revoke", session.id_text);
    curl.json("/admin/sessions/{id}/revoke", &revoke, "POST", &[], "200");
    let known = format!("/admin/sessions/{}", session.id_text);
    let known = curl.json("/admin/sessions/{id}", &known, "GET", &[], "200");
    assert_eq!((&known["account"], &known["end_reason"]), (&account.clone().into(), &"revoked".into()));
    let history = format!("/admin/sessions/{}/history", session.id_text);
    let told = curl.json("/admin/sessions/{id}/history", &history, "GET", &[], "200");
    assert_eq!((&told["account"], &told["end_reason"]), (&account.into(), &"revoked".into()));
    let inactive = curl.call("/oauth/introspect", "/oauth/introspect", "POST", &ask, "200");
    assert_eq!(inactive, br#"{"active":false}"#);
    curl.call("/oauth/revoke", "/oauth/revoke", "POST", &ask, "200");
    curl.json("/v1/deactivate", "/v1/deactivate", "POST", &owner, "200");

    let (earners, admins) = ("/v1/account/earners", "/admin/accounts/{id}/earners");
    let made = curl.json(earners, earners, "POST", &owner, "201");
    let shown = format!("x-psicash-auth: {}", text(&made["token"]));
    assert_eq!(curl.json(earners, earners, "GET", &owner, "200")["earners"].as_array().unwrap().len(), 1);
    assert_eq!(curl.json("/admin/rewards", "/admin/rewards", "GET", &[], "200")["rewards"][0]["reward_s"], 60);
    let earn = "/v1/transaction?class=click&distinguisher=news.example";
    let paid = curl.json("/v1/transaction", earn, "POST", &["-H", &shown], "200");
    assert_eq!(paid["TransactionAmount"], 60);
    let validated = curl.json("/v1/validate-tokens", "/v1/validate-tokens", "GET", &["-H", &shown], "200");
    assert_eq!(validated["TokensValid"][&text(&made["token"])], true);
    let gone = format!("{earners}/{}", text(&made["earner_id"]));
    curl.call("/v1/account/earners/{earner_id}", &gone, "DELETE", &owner, "204");
    curl.json("/admin/rewards/kept", "/admin/rewards/kept", "GET", &[], "200");
    curl.json("/admin/rewards/kept/{shop}/{line}", "/admin/rewards/kept/time.example/1", "DELETE", &[], "404");
    curl.json("/hooks/shopify", "/hooks/shopify", "POST", &with("{}"), "401");
    curl.call("/v2/{file}", "/v2/psicash.js", "GET", &["--compressed"], "200");
    curl.call("/shopify-psicash.js", "/shopify-psicash.js", "GET", &[], "200");
    let second = text(&curl.json(earners, earners, "POST", &owner, "201")["earner_id"]);
    curl.json(admins, &format!("{path}/earners"), "GET", &[], "200");
    let gone = format!("{path}/earners/{second}");
    curl.call("/admin/accounts/{id}/earners/{earner_id}", &gone, "DELETE", &[], "204");

    // There are no secrets of senders here; signed messages have tests of their own.
    curl.json("/hooks/credit", "/hooks/credit", "POST", &with("{}"), "404");
    curl.json("/hooks/account-events", "/hooks/account-events", "POST", &[], "404");
    for path in ["/v1/client", "/.well-known/jwks.json", "/.well-known/oauth-authorization-server", "/openapi.json"] {
        curl.json(path, path, "GET", &[], "200");
    }
    let lists = curl.json("/oauth/status", "/oauth/status", "GET", &[], "200");
    let list = text(&lists["status_lists"][0]);
    let list = list.strip_prefix(&service.http()).expect("the list is at this service").to_owned();
    let list = curl.call("/oauth/status/{list}", &list, "GET", &["--compressed"], "200");
    assert!(list.starts_with(b"eyJ"), "{}", String::from_utf8_lossy(&list));
    for path in ["/health/live", "/health/ready", "/admin/status", "/admin/keys"] {
        curl.json(path, path, "GET", &[], "200");
    }
    curl.call("/metrics", "/metrics", "GET", &[], "200");
    curl.call("/errors/{code}", "/errors/tank_empty", "GET", &[], "200");
    curl.json("/admin/keys/rotate", "/admin/keys/rotate", "POST", &[], "200");
    curl.json("/admin/keys/rotate-secret", "/admin/keys/rotate-secret", "POST", &[], "200");
    curl.call("/admin/edges/{client_id}", &format!("/admin/edges/{}", edge.0), "DELETE", &[], "204");
    curl.call(one, &path, "DELETE", &[], "204");
    curl.call(one, &path, "GET", &[], "404");

    let described = curl.json("/openapi.json", "/openapi.json", "GET", &[], "200");
    let mut missing = Vec::new();
    for (path, operations) in described["paths"].as_object().expect("there are paths") {
        for method in operations.as_object().unwrap().keys().filter(|key| *key != "parameters") {
            if !curl.called.remove(&(method.clone(), path.clone())) {
                missing.push(format!("{method} {path}"));
            }
        }
    }
    assert!(missing.is_empty(), "no call above for: {missing:?}");
    assert!(curl.called.is_empty(), "not in the description: {:?}", curl.called);
    // And the service says of itself what it says of others.
    let api = Api::new(&service, &home);
    assert!(api.metric("gastank_http_requests_total", "class=\"2xx\"").await > 20.0);
    assert_eq!(api.metric("gastank_http_requests_total", "class=\"5xx\"").await, 0.0);
}
