//! The account that a person gets when they are first seen.

use std::fs;

use gastank::control::keys::Algorithm;
use reqwest::Method;
use serde_json::json;

use super::{
    Stage, accounts, ask,
    handmade::{Handmade, key},
    see, start,
    support::Home,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_person_gets_one_account_and_one_starting_credit_however_many_ask_at_once() {
    let stage = Stage::with(&[("GASTANK_IDENTITY_STARTING_CREDIT_S", "3600")], |_| {}).await;
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..16 {
        let (url, token) = (format!("{}/v1/account", stage.service.http()), stage.token("ada"));
        tasks.spawn(async move {
            super::got(super::client().get(url).bearer_auth(token).send().await.expect("an answer")).await.ok()
        });
    }
    let seen = tasks.join_all().await;
    for account in &seen {
        assert_eq!((&account["account"], &account["remaining_s"]), (&seen[0]["account"], &json!(3600)));
    }
    assert_eq!(accounts(&stage.home, &stage.service).await, 1);

    let call = async |method, path| ask(&stage.service, method, path, &stage.token("ada")).await.ok();
    let opened = call(Method::POST, "/v1/activate").await;
    assert_eq!((&opened["remaining_s"], &opened["superseded"]), (&json!(3600), &json!(false)));
    assert!(call(Method::POST, "/v1/deactivate").await["remaining_s"].as_u64().is_some_and(|left| left >= 3590));
    let ledger = call(Method::GET, "/v1/account/entries").await;
    let kinds: Vec<_> = ledger["entries"].as_array().expect("entries").iter().map(|entry| &entry["kind"]).collect();
    assert_eq!(kinds, ["grant", "usage"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn people_of_two_providers_are_two_people_even_by_one_name() {
    let (one, other) = (key(Algorithm::ES256), key(Algorithm::RS256));
    let (first, second) = (Handmade::start(&[&one]).await, Handmade::start(&[&other]).await);
    let home = Home::new();
    let file = home.data_dir().with_extension("toml");
    let entry = |provider: &Handmade| format!("issuer = \"{}\"\naudience = \"gastank\"\n", provider.issuer());
    let text =
        format!("[identity]\n{}\n[[identity_provider]]\n{}algorithms = [\"RS256\"]\n", entry(&first), entry(&second));
    fs::write(&file, text).expect("it can be written");
    let service = start(&home, &[("GASTANK_CONFIG", file.to_str().expect("it is UTF-8"))]);
    let here = see(&service, &first.token(&one, "ada")).await.ok();
    let there = see(&service, &second.token(&other, "ada")).await.ok();
    assert_ne!(here["account"], there["account"]);
    // One provider's key does not speak for the other.
    let mut claims = second.claims("ada");
    claims["iss"] = json!(first.issuer());
    let forged = super::handmade::sign(&other, &super::handmade::header(&other), &claims);
    see(&service, &forged).await.refused("the other provider's key");
}
