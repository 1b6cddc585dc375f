//! A real OpenID provider: `oidc-provider` from npm, on the loopback interface.

use std::{
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, ChildStdout, Command, Stdio},
};

use reqwest::Method;
use serde_json::{Value, json};

use super::{
    accounts, ask, body, client, figure,
    handmade::now_s,
    see, start,
    support::{Home, Service},
};

/// The provider's process. It ends when its standard input does.
pub(super) struct Real {
    child: Child,
    issuer: String,
    /// Not to be closed: what it says later would kill it.
    _stdout: BufReader<ChildStdout>,
}

pub(super) fn node(script: &str) -> Command {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/identity");
    assert!(dir.join("node_modules/oidc-provider").exists(), "run tests/setup.sh: it installs the Node modules");
    let mut command = Command::new("node");
    command.current_dir(dir).arg(script).env("NODE_NO_WARNINGS", "1");
    command
}

impl Real {
    fn start() -> Self {
        Self::start_for(&[])
    }

    /// With the redirect URI of a service's pages.
    pub(super) fn start_for(redirect_uri: &[&str]) -> Self {
        let mut command = node("provider.mjs");
        command.args(redirect_uri);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().expect("node can be started");
        let mut stdout = BufReader::new(child.stdout.take().expect("it is piped"));
        let mut line = String::new();
        stdout.read_line(&mut line).expect("a line");
        let said: Value = serde_json::from_str(&line).expect("it says where it listens");
        Self { issuer: said["issuer"].as_str().expect("an issuer").to_owned(), child, _stdout: stdout }
    }

    /// Its name.
    pub(super) fn issuer(&self) -> &str {
        &self.issuer
    }

    /// The token of a client of its own, signed with this algorithm.
    async fn machine(&self, algorithm: &str, scope: &str) -> String {
        let form = format!("grant_type=client_credentials&resource=urn:gastank&scope={scope}");
        let request = client()
            .post(format!("{}/token", self.issuer))
            .basic_auth(format!("machine-{algorithm}"), Some("a+secret+of+the+tests"))
            .header("content-type", "application/x-www-form-urlencoded")
            .body(form);
        let answer: Value = serde_json::from_str(&body(request.send().await.expect("an answer")).await).expect("JSON");
        answer["access_token"].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned()
    }

    /// Has an event about somebody signed by the provider's own key and sent to a service; answers what it was answered.
    async fn tells(&self, service: &Service, form: &str, alg: &str, claims: &Value) -> (u64, Value) {
        let to = format!("{}/hooks/account-events", service.http());
        let told = json!({"alg": alg, "form": form, "to": to, "claims": claims}).to_string();
        let request = client().post(format!("{}/tell", self.issuer)).body(told);
        let answer: Value = serde_json::from_str(&body(request.send().await.expect("an answer")).await).expect("JSON");
        let said = answer["body"].as_str().expect("a text");
        (answer["status"].as_u64().expect("a status"), serde_json::from_str(said).unwrap_or_default())
    }

    /// Signs a person in, as their browser would.
    fn person(&self, name: &str) -> String {
        let output = node("sign-in.mjs").args([&self.issuer, name]).output().expect("node can be run");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("it is UTF-8")
    }

    fn end(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Real {
    fn drop(&mut self) {
        self.end();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn people_sign_in_with_a_real_provider_and_open_the_tap() {
    let mut real = Real::start();
    let home = Home::new();
    let service = start(
        &home,
        &[
            ("GASTANK_IDENTITY_ISSUER", &real.issuer),
            ("GASTANK_IDENTITY_SCOPE", "tank"),
            ("GASTANK_IDENTITY_STARTING_CREDIT_S", "600"),
        ],
    );
    let ada = real.person("ada");
    let account = see(&service, &ada).await.ok();
    assert_eq!(account["remaining_s"], 600);
    assert_eq!(see(&service, &real.person("ada")).await.ok()["account"], account["account"], "the same person");
    assert_ne!(see(&service, &real.person("eve")).await.ok()["account"], account["account"]);
    assert_eq!(ask(&service, Method::POST, "/v1/activate", &ada).await.ok()["token_type"], "Bearer");
    assert_eq!(ask(&service, Method::POST, "/v1/activate", &ada).await.ok()["superseded"], true);

    for algorithm in ["RS256", "PS256", "ES256", "EdDSA"] {
        see(&service, &real.machine(algorithm, "tank").await).await.ok();
        see(&service, &real.machine(algorithm, "other").await).await.refused("another scope");
    }
    let late = real.machine("ES256", "tank").await;
    real.end();
    assert_eq!(see(&service, &late).await.ok()["remaining_s"], json!(600), "its keys are known while it is down");
    assert_eq!(ask(&service, Method::POST, "/v1/deactivate", &ada).await.status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_real_providers_tokens_for_others_are_refused() {
    let real = Real::start();
    let home = Home::new();
    let service =
        start(&home, &[("GASTANK_IDENTITY_ISSUER", &real.issuer), ("GASTANK_IDENTITY_AUDIENCE", "somebody-else")]);
    see(&service, &real.machine("RS256", "tank").await).await.refused("another audience");
    let home = Home::new();
    let only = [("GASTANK_IDENTITY_ISSUER", real.issuer.as_str()), ("GASTANK_IDENTITY_ALGORITHMS", "ES256")];
    let service = start(&home, &only);
    see(&service, &real.machine("RS256", "tank").await).await.refused("an algorithm that is not allowed");
    see(&service, &real.machine("ES256", "tank").await).await.ok();
}

/// What is real here: the provider, its keys, where they are found, and the person's sign-in. `oidc-provider` does not send
/// events like these, so they are made beside it.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn events_signed_by_a_real_providers_keys_count_in_both_forms() {
    let real = Real::start();
    let home = Home::new();
    let service = start(
        &home,
        &[
            ("GASTANK_IDENTITY_ISSUER", real.issuer.as_str()),
            ("GASTANK_IDENTITY_SCOPE", "tank"),
            ("GASTANK_IDENTITY_EVENT_CLIENT_ID", "browser"),
            ("GASTANK_IDENTITY_CAPABILITY_CREDIT", "pro=3600/30"),
            // Nobody beats here.
            ("GASTANK_HEARTBEAT_TIMEOUT_MS", "600000"),
        ],
    );
    let ada = real.person("ada");
    assert_eq!(see(&service, &ada).await.ok()["remaining_s"], 0);
    let event = |name: &str, said: Value| {
        json!({
            "iss": real.issuer, "sub": "ada", "aud": "browser", "iat": now_s(), "jti": format!("{}", now_s()),
            "events": {format!("https://schemas.accounts.firefox.com/event/{name}"): said},
        })
    };
    let subscribed = json!({"capabilities": ["pro"], "isActive": true, "changeTime": 1_565_721_242_227_u64});
    for algorithm in ["RS256", "PS256", "ES256", "EdDSA"] {
        let claims = event("subscription-state-change", subscribed.clone());
        assert_eq!(real.tells(&service, "bearer", algorithm, &claims).await, (200, Value::Null), "{algorithm}");
        assert_eq!(real.tells(&service, "push", algorithm, &claims).await, (202, Value::Null), "{algorithm}");
        assert_eq!(see(&service, &ada).await.ok()["remaining_s"], 3600, "once, whoever signed it: {algorithm}");
    }
    assert_eq!(figure(&service, "gastank_account_events_total{outcome=\"repeated\"}").await, 7.0);

    let mut for_others = event("delete-user", json!({}));
    for_others["aud"] = json!("machine-RS256");
    let (status, said) = real.tells(&service, "push", "RS256", &for_others).await;
    assert_eq!((status, &said["err"]), (400, &json!("invalid_audience")));
    assert_eq!(real.tells(&service, "bearer", "RS256", &for_others).await.0, 401);

    ask(&service, Method::POST, "/v1/activate", &ada).await.ok();
    assert_eq!(real.tells(&service, "push", "RS256", &event("delete-user", json!({}))).await.0, 202);
    see(&service, &ada).await.refused("she is gone");
    see(&service, &real.person("ada")).await.refused("and does not come back by signing in again");
    assert_eq!(accounts(&home, &service).await, 0);
}
