//! Clients are told that hub sessions have ended, whenever the service is killed.

use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use reqwest::Url;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::{
    browser::Browser,
    client,
    dying::Dying,
    got,
    handmade::{Handmade, Reply},
    support::{Home, Service},
};

/// Where the client is told.
const OUT: &str = "/out";
const REDIRECT: &str = "http://127.0.0.1:1/callback";
const VERIFIER: &str = "a verifier of the tests, which is long enough";
/// Durable steps of a sign-out and its delivery: the end, its audit row, that it is tried, and that it is delivered. The service is
/// killed after each of them.
const STEPS: u32 = 5;

/// A hub with the development provider, and a client that is told.
struct Scene {
    home: Home,
    service: Service,
    addresses: [String; 3],
    receiver: Handmade,
    client_id: String,
    browser: Browser,
}

impl Scene {
    async fn new(dying: &Dying) -> Self {
        let (home, receiver) = (Home::new(), Handmade::start(&[]).await);
        receiver.set(OUT, Reply::Json(204, String::new()));
        let addresses = ["127.0.0.1:0"; 3].map(str::to_owned);
        let service = start(&home, &addresses, dying);
        let addresses = service.addresses();
        let asked = json!({
            "name": "app", "redirect_uris": [REDIRECT], "public": true, "backchannel_logout_uri": receiver.at(OUT),
        });
        let request = client().post(format!("{}/admin/clients", service.admin())).bearer_auth(home.admin_token());
        let made = got(request.json(&asked).send().await.expect("an answer")).await;
        assert_eq!(made.status, 201, "{made:?}");
        let client_id = made.json["client_id"].as_str().expect("an id").to_owned();
        Self { home, service, addresses, receiver, client_id, browser: Browser::new() }
    }

    /// Signs in at the hub and at the client; answers the handle.
    async fn sign_in(&mut self, name: &str) -> String {
        let here = self.service.http();
        self.browser = Browser::new();
        self.browser.sign_in(&here, "", name).await;
        let challenge = URL_SAFE_NO_PAD.encode(Sha256::digest(verifier()));
        let mut url = Url::parse(&format!("{here}/oauth/authorize")).expect("a URL");
        url.query_pairs_mut().extend_pairs([
            ("response_type", "code"),
            ("client_id", &self.client_id),
            ("redirect_uri", REDIRECT),
            ("scope", "openid"),
            ("code_challenge_method", "S256"),
            ("code_challenge", &challenge),
        ]);
        let back = Url::parse(&self.browser.get(url.as_str()).await.to).expect("a URL");
        let code = back.query_pairs().find(|(name, _)| name == "code").expect("a code").1.into_owned();
        let form = [
            ("grant_type", "authorization_code"),
            ("code", &code),
            ("redirect_uri", REDIRECT),
            ("client_id", &self.client_id),
            ("code_verifier", &verifier()),
        ];
        let answer = self.browser.post(&format!("{here}/oauth/token"), &form).await;
        let answer: Value = serde_json::from_str(&answer.page).expect("JSON");
        answer["access_token"].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned()
    }

    /// Whether a handle is good.
    async fn is_live(&self, handle: &str) -> bool {
        let request = client().get(format!("{}/oauth/userinfo", self.service.http())).bearer_auth(handle);
        match got(request.send().await.expect("an answer")).await.status {
            200 => true,
            401 => false,
            other => panic!("{other}"),
        }
    }

    /// Waits until the client has been told more often than that.
    async fn told(&self, before: usize, why: &str) {
        for _ in 0..1200 {
            if self.receiver.asked(OUT) > before {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("{why}: nobody told it: {}", self.home.said());
    }
}

fn verifier() -> String {
    VERIFIER.replace([' ', ','], "-")
}

fn start(home: &Home, addresses: &[String; 3], dying: &Dying) -> Service {
    let variables = [&[("GASTANK_HUB_DEVELOPMENT_PROVIDER", "true")][..], &dying.variables()].concat();
    tokio::task::block_in_place(|| Service::start_at(home, addresses, &variables))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_after_any_durable_step_of_a_sign_out_the_client_is_told() {
    let dying = Dying::new();
    let mut scene = Scene::new(&dying).await;
    let mut deaths = 0;
    for step in 1..=STEPS {
        let handle = scene.sign_in(&format!("ada-{step}")).await;
        let csrf = scene.browser.csrf(&scene.service.http()).await;
        let before = scene.receiver.asked(OUT);
        dying.after(step);
        let request = client()
            .post(format!("{}/account/sign-out", scene.service.http()))
            .header("sec-fetch-site", "same-origin")
            .header("cookie", format!("__Host-gastank={}", scene.browser.cookies["__Host-gastank"]))
            .header("content-type", "application/x-www-form-urlencoded")
            .body(format!("csrf={csrf}"));
        let answered = request.send().await.is_ok_and(|answer| answer.status() == 200);
        for _ in 0..40 {
            if scene.service.has_ended() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        dying.not();
        if scene.service.has_ended() {
            deaths += 1;
            scene.service = start(&scene.home, &scene.addresses, &dying);
        }
        if scene.is_live(&handle).await {
            assert!(!answered, "the sign-out was answered, and is undone");
            continue;
        }
        scene.told(before, &format!("killed after step {step}")).await;
    }
    assert!(deaths >= 2, "{deaths} deaths");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_was_down_is_told_after_a_restart_also_of_a_deleted_account() {
    let dying = Dying::new();
    let mut scene = Scene::new(&dying).await;
    let handle = scene.sign_in("ada").await;
    scene.receiver.set(OUT, Reply::Json(503, String::new()));
    let admin = scene.service.admin();
    let token = scene.home.admin_token();
    let accounts = client().get(format!("{admin}/admin/accounts")).bearer_auth(&token).send().await.expect("an answer");
    let accounts = got(accounts).await.ok();
    let account = accounts["accounts"][0]["account"].as_str().expect("an account").to_owned();
    let deleted = client().delete(format!("{admin}/admin/accounts/{account}")).bearer_auth(&token).send().await;
    assert!(deleted.expect("an answer").status().is_success());
    assert!(!scene.is_live(&handle).await);
    scene.told(0, "deleted").await;
    scene.service.end();
    scene.receiver.set(OUT, Reply::Json(200, String::new()));
    let before = scene.receiver.asked(OUT);
    scene.service = start(&scene.home, &scene.addresses, &dying);
    scene.told(before + 1, "once for the session, and once for all of them").await;
}
