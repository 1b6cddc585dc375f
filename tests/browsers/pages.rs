//! People on the pages of the hub, in real browsers: sign in, see the tank drain, end the session; by keyboard alone, without a
//! script, in both languages and themes.

use std::{path::Path, process::Command};

use reqwest::Method;
use serde_json::{Value, json};

use super::{
    client::Api,
    support::{Home, Service},
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_person_in_chromium_signs_in_and_sees_the_tank_drain() {
    let seen = walked("chromium").await;
    assert_eq!(seen["violations"], json!([]), "what axe-core finds");
    assert_eq!(seen["wide"], json!([]), "nothing is wider than the window");
    assert_eq!((&seen["scriptless"][1], &seen["scriptless"][2]), (&json!("Not in use"), &json!("You are signed out")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_person_in_firefox_signs_in_and_sees_the_tank_drain() {
    walked("firefox").await;
}

/// What `pages.mjs` has seen in a browser.
async fn walked(browser: &str) -> Value {
    let home = Home::new();
    let variables = [("GASTANK_HUB_DEVELOPMENT_PROVIDER", "true"), ("GASTANK_HEARTBEAT_TIMEOUT_MS", "120000")];
    let service = tokio::task::block_in_place(|| Service::start_with(&home, &variables));
    let api = Api::new(&service, &home);
    let issuer = format!("{}/development", service.http());
    let made = json!({"issuer": issuer, "subject": "ada", "credit_s": 600, "key": true});
    let made = api.admin(Method::POST, "/admin/accounts", &[], &made).await.unwrap().must_be(201).json();
    let key = made["key"].as_str().expect("a key");
    api.public(Method::POST, "/v1/activate", key, &json!({})).await.unwrap().must_be(200);
    let app = json!({"name": "app", "redirect_uris": ["http://127.0.0.1/cb"], "post_logout_redirect_uris": ["http://127.0.0.1/bye"], "public": true});
    let app = api.admin(Method::POST, "/admin/clients", &[], &app).await.unwrap().must_be(201).json();
    let client = app["client_id"].as_str().expect("an id");
    let seen = tokio::task::block_in_place(|| walk(browser, &service.http(), client));
    assert_eq!(seen["errors"], json!([]), "what the browser complains about");
    assert_eq!(seen["provider"], "/development/authorize");
    assert!(seen["banner"].as_str().is_some_and(|banner| banner.contains("anybody")), "{seen}");
    assert_eq!((&seen["next"], &seen["entries"]), (&json!("/account/ledger"), &json!(1)));
    assert_eq!((&seen["who"], &seen["draining"], &seen["moved"]), (&json!("Ada"), &json!("Draining"), &json!(true)));
    assert_eq!((&seen["resting"], &seen["this_one"]), (&json!("Not in use"), &json!("This browser")));
    let named = if browser == "firefox" { "Firefox, Linux" } else { "Chrome, Linux" };
    assert_eq!((&seen["device"], &seen["signed_out"]), (&json!(named), &json!("You are signed out")));
    assert_eq!(seen["asked_again"], "/development/authorize");
    let came = json!([true, "Sibling", true, service.http()]);
    assert_eq!(seen["sibling"], json!([came, came]), "the way to a client on another port");
    assert_eq!(
        seen["left"],
        json!([["/bye", "s"], "Sign out?", ["/bye", "t"], ["/bye", "u"]]),
        "and the ways out of it"
    );
    assert!(service.stop().success());
    seen
}

fn walk(browser: &str, service: &str, client: &str) -> Value {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/browsers");
    assert!(dir.join("node_modules/axe-core").exists(), "run tests/setup.sh: it installs the Node modules");
    let output = Command::new("node").current_dir(dir).args(["pages.mjs", browser, service, client]).output();
    let output = output.expect("node can be run");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("it prints a JSON document")
}
