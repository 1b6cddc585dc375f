//! Landing pages as the service sees them: they earn once in a cooldown, within all limits, by tokens that can do nothing else.

use std::fs;

use futures_util::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};
use tempfile::NamedTempFile;

use crate::{
    client::{Answer, Api, Owner, text},
    support::{Home, Service, stdout_of},
};

const CONFIG: &str = r#"
[rewards]
origins = "https://widget.example"
account_daily_s = 1000

[[reward]]
class = "click-through"
distinguisher = "news.example"
reward_s = 600
cooldown_s = 3600

[[reward]]
class = "page-view"
distinguisher = "news.example/article"
reward_s = 500

[[reward]]
class = "page-view"
distinguisher = "small.example"
reward_s = 60
budget_s = 119

[[reward]]
class = "page-view"
distinguisher = "members.example"
reward_s = 60
session_s = 600
"#;

pub(crate) fn start(home: &Home, config: &str, more: &[(&str, &str)]) -> (Service, NamedTempFile) {
    let file = NamedTempFile::new().unwrap();
    fs::write(file.path(), config).unwrap();
    let settings = [&[("GASTANK_CONFIG", file.path().to_str().unwrap())], more].concat();
    (Service::start_with(home, &settings), file)
}

/// An earner token of somebody: its id, and itself.
pub(crate) async fn earner(api: &Api, owner: &Owner) -> (String, String) {
    let made = api.public(Method::POST, "/v1/account/earners", &owner.key, &Value::Null).await.unwrap();
    let made = made.must_be(201).json();
    (text(&made["earner_id"]), text(&made["token"]))
}

async fn earn(api: &Api, tokens: &str, class: &str, distinguisher: &str) -> Answer {
    let url = format!("{}/v1/transaction?class={class}&distinguisher={distinguisher}", api.public);
    let metadata = r#"{"v":1,"attempt":1,"referrer":"https://news.example/article"}"#;
    let headers = [("x-psicash-auth", tokens), ("x-psicash-metadata", metadata), ("x-requested-with", "widget")];
    api.send(Method::POST, url, &headers, Vec::new()).await.unwrap()
}

async fn validate(api: &Api, tokens: &str) -> Answer {
    let url = format!("{}/v1/validate-tokens", api.public);
    api.send(Method::GET, url, &[("x-psicash-auth", tokens)], Vec::new()).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_requests_at_once_are_paid_once_and_a_restart_changes_nothing() {
    let home = Home::new();
    let unlimited = [("GASTANK_LIMITS_ACTS_PER_ACCOUNT_PER_S", "0"), ("GASTANK_LIMITS_ACTS_PER_ADDRESS_PER_S", "0")];
    let (service, config) = start(&home, CONFIG, &unlimited);
    let api = Api::new(&service, &home);
    let owner = api.owner(100).await;
    let (_, token) = earner(&api, &owner).await;
    let mut answers = Vec::new();
    // A client of its own for each would have more connections than an account has places.
    for _ in 0..4 {
        answers.extend(join_all((0..50).map(|_| earn(&api, &token, "click-through", "news.example"))).await);
    }
    let paid: Vec<_> = answers.iter().filter(|answer| answer.status == 200).collect();
    assert_eq!(paid.len(), 1);
    let next = text(&paid[0].json()["TransactionResponse"]["Values"]["NextAllowed"]);
    assert_eq!((&paid[0].json()["TransactionAmount"], &paid[0].json()["Balance"]), (&600.into(), &700.into()));
    for refused in answers.iter().filter(|answer| answer.status != 200) {
        refused.must_be_problem(429, "reward_not_due");
        assert_eq!(refused.json()["TransactionResponse"]["Values"]["NextAllowed"], *next);
        assert_eq!((&refused.json()["Balance"], &refused.json()["reason"]), (&700.into(), &"cooldown".into()));
        assert!((3500..=3600).contains(&refused.header("retry-after").parse::<u32>().unwrap()));
    }
    let rewards: Vec<_> = api.ledger(&owner.account).await.into_iter().filter(|row| row["kind"] == "reward").collect();
    assert_eq!(rewards.len(), 1);
    assert_eq!((&rewards[0]["source"], &rewards[0]["amount_ms"]), (&"reward".into(), &600_000.into()));
    assert!(text(&rewards[0]["external_id"]).starts_with("click-through/news.example/"));

    assert!(service.stop().success());
    let variables = [("GASTANK_CONFIG", config.path().to_str().unwrap())];
    let service = Service::start_with(&home, &variables);
    let api = Api::new(&service, &home);
    let again = earn(&api, &token, "click-through", "news.example").await;
    again.must_be_problem(429, "reward_not_due");
    assert_eq!(again.json()["TransactionResponse"]["Values"]["NextAllowed"], *next);
    assert_eq!(api.metric("gastank_rewards_total", "outcome=\"cooldown\"").await, 1.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_limit_of_a_reward_is_told_apart() {
    let home = Home::new();
    let (service, _config) = start(&home, CONFIG, &[]);
    let api = Api::new(&service, &home);
    let (one, other) = (api.owner(0).await, api.owner(0).await);
    let (ones, others) = (earner(&api, &one).await.1, earner(&api, &other).await.1);
    let reason = |answer: &Answer| {
        answer.must_be_problem(429, "reward_not_due");
        text(&answer.json()["reason"])
    };
    // The tank of somebody who has nothing fills, and two of three rewards are more than one may earn on a day.
    earn(&api, &ones, "click-through", "news.example").await.must_be(200);
    let capped = earn(&api, &ones, "page-view", "news.example/article").await;
    assert_eq!((reason(&capped), &capped.json()["Balance"]), ("account_daily".to_owned(), &600.into()));
    // The budget pays once, to whoever comes first.
    earn(&api, &ones, "page-view", "small.example").await.must_be(200);
    assert_eq!(reason(&earn(&api, &others, "page-view", "small.example").await), "budget");
    let inactive = earn(&api, &others, "page-view", "members.example").await;
    inactive.must_be_problem(403, "activity_required");
    assert_eq!(inactive.json()["Balance"], 0);
    let unknown = earn(&api, &others, "page-view", "elsewhere.example").await;
    unknown.must_be_problem(404, "not_found");
    assert_eq!(unknown.json()["Balance"], 0);
    let url = format!("{}/v1/transaction?class=page-view", api.public);
    let missing = api.send(Method::POST, url, &[("x-psicash-auth", &*others)], Vec::new()).await.unwrap();
    missing.must_be_problem(400, "bad_request");
    let listed = stdout_of(&service.run(&["reward", "list", "--json"]));
    let listed: Value = serde_json::from_str(&listed).unwrap();
    let small = listed["rewards"].as_array().unwrap().iter().find(|row| row["distinguisher"] == "small.example");
    assert_eq!(small.map(|row| (&row["budget_s"], &row["given_s"])), Some((&119.into(), &60.into())));
    drop(service);

    let home = Home::new();
    let config = CONFIG.replace("account_daily_s = 1000", "address_daily = 1");
    let (service, _config) = start(&home, &config, &[]);
    let api = Api::new(&service, &home);
    let (one, other) = (api.owner(0).await, api.owner(0).await);
    let (ones, others) = (earner(&api, &one).await.1, earner(&api, &other).await.1);
    earn(&api, &ones, "click-through", "news.example").await.must_be(200);
    assert_eq!(reason(&earn(&api, &others, "click-through", "news.example").await), "address_daily");
    assert_eq!(api.account(&other.account).await["remaining_s"], 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_earner_token_earns_and_validates_until_it_is_revoked_and_does_nothing_else() {
    let home = Home::new();
    let (service, _config) = start(&home, CONFIG, &[]);
    let api = Api::new(&service, &home);
    let (owner, other) = (api.owner(0).await, api.owner(0).await);
    let (id, token) = earner(&api, &owner).await;
    let (_, second) = earner(&api, &owner).await;
    let (_, foreign) = earner(&api, &other).await;
    assert!(token.starts_with("gte_") && token.len() == 47);
    let package = api.public(Method::POST, "/v1/account/earners", &owner.key, &Value::Null).await.unwrap().json();
    let read = gastank::rewards::Package::read(&text(&package["package"])).unwrap();
    assert_eq!(read.tokens, Some(text(&package["token"])));

    // It opens nothing that an account key opens, and an account key earns nothing.
    for (method, path) in
        [(Method::GET, "/v1/account"), (Method::POST, "/v1/activate"), (Method::POST, "/v1/account/earners")]
    {
        api.public(method, path, &token, &json!({})).await.unwrap().must_be_problem(401, "bad_credentials");
    }
    earn(&api, &owner.key, "click-through", "news.example").await.must_be_problem(401, "bad_credentials");
    for tokens in ["", ",", "gte_", &token[..46], &format!("{token},{foreign}"), &[&*token; 9].join(",")] {
        earn(&api, tokens, "click-through", "news.example").await.must_be_problem(401, "bad_credentials");
    }
    for tokens in ["", &format!("{token},{foreign}")] {
        validate(&api, tokens).await.must_be_problem(401, "bad_credentials");
    }
    // Any valid one counts.
    let both = format!("gte_forged,{token} , {second}");
    for _ in 0..2 {
        let validated = validate(&api, &both).await.must_be(200).json();
        let expected = json!({"gte_forged": false, token.clone(): true, second.clone(): true});
        assert_eq!(validated["TokensValid"], expected, "from the store and from memory");
    }
    earn(&api, &both, "click-through", "news.example").await.must_be(200);

    let listed = api.public(Method::GET, "/v1/account/earners", &owner.key, &Value::Null).await.unwrap().json();
    assert_eq!(listed["earners"].as_array().unwrap().len(), 3);
    let path = format!("/v1/account/earners/{id}");
    api.public(Method::DELETE, &path, &other.key, &Value::Null).await.unwrap().must_be_problem(404, "not_found");
    api.public(Method::DELETE, &path, &owner.key, &Value::Null).await.unwrap().must_be(204);
    api.public(Method::DELETE, &path, &owner.key, &Value::Null).await.unwrap().must_be_problem(404, "not_found");
    assert_eq!(validate(&api, &token).await.must_be(200).json()["TokensValid"], json!({token.clone(): false}));
    earn(&api, &token, "page-view", "news.example/article").await.must_be_problem(401, "bad_credentials");

    // Operators see and revoke them, and never as account keys.
    let text_of = |arguments: &[&str]| stdout_of(&service.run(arguments));
    let earners: Value = serde_json::from_str(&text_of(&["reward", "earners", &owner.account, "--json"])).unwrap();
    let ids: Vec<_> = earners["earners"].as_array().unwrap().iter().map(|row| text(&row["earner_id"])).collect();
    assert_eq!(ids.len(), 2);
    let keys = api.admin(Method::GET, &format!("/admin/accounts/{}/keys", owner.account), &[], &Value::Null).await;
    assert_eq!(keys.unwrap().json()["keys"].as_array().unwrap().len(), 1);
    for id in &ids {
        let path = format!("/admin/accounts/{}/keys/{id}", owner.account);
        api.admin(Method::DELETE, &path, &[], &Value::Null).await.unwrap().must_be_problem(404, "not_found");
        text_of(&["reward", "revoke", &owner.account, id]);
    }
    earn(&api, &second, "page-view", "news.example/article").await.must_be_problem(401, "bad_credentials");
    let log: Value = serde_json::from_str(&text_of(&["audit", "--account", &owner.account, "--json"])).unwrap();
    let rows = log["rows"].as_array().unwrap();
    let of = |act: &str, actor: &str| rows.iter().filter(|row| row["act"] == act && row["actor"] == actor).count();
    assert_eq!((of("earner_token_added", "account_key"), of("earner_token_removed", "operator")), (3, 2));
    assert_eq!(of("credit_entered", "earner_token"), 1);

    // Who is deleted has no tokens.
    api.admin(Method::DELETE, &format!("/admin/accounts/{}", other.account), &[], &Value::Null)
        .await
        .unwrap()
        .must_be(204);
    earn(&api, &foreign, "click-through", "news.example").await.must_be_problem(401, "bad_credentials");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_of_configured_origins_may_earn_and_nothing_else() {
    let home = Home::new();
    let (service, _config) = start(&home, CONFIG, &[]);
    let api = Api::new(&service, &home);
    let preflight = async |path: &str, origin: &str, method: &str| {
        let headers = [("origin", origin), ("access-control-request-method", method)];
        api.send(Method::OPTIONS, format!("{}{path}", api.public), &headers, Vec::new()).await.unwrap()
    };
    for (path, method) in [("/v1/transaction", "POST"), ("/v1/validate-tokens", "GET")] {
        let allowed = preflight(path, "https://widget.example", method).await.must_be(204);
        assert_eq!(allowed.header("access-control-allow-origin"), "https://widget.example");
        let headers = allowed.header("access-control-allow-headers");
        assert_eq!(headers, "x-psicash-auth, x-psicash-metadata, x-requested-with");
        assert_eq!(allowed.header("access-control-allow-credentials"), "");
        preflight(path, "https://evil.example", method).await.must_be_problem(403, "origin_not_allowed");
    }
    let elsewhere = preflight("/v1/account", "https://widget.example", "GET").await;
    assert_eq!(elsewhere.header("access-control-allow-origin"), "");
    let url = format!("{}/v1/validate-tokens", api.public);
    let headers = [("origin", "https://widget.example"), ("x-psicash-auth", "gte_forged")];
    let answer = api.send(Method::GET, url, &headers, Vec::new()).await.unwrap().must_be(200);
    assert_eq!(answer.header("access-control-allow-origin"), "https://widget.example");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_reward_nothing_is_paid_and_nothing_is_validated() {
    let home = Home::new();
    let service = Service::start(&home);
    let api = Api::new(&service, &home);
    let owner = api.owner(0).await;
    let (_, token) = earner(&api, &owner).await;
    earn(&api, &token, "click-through", "news.example").await.must_be_problem(404, "not_found");
    validate(&api, &token).await.must_be_problem(404, "not_found");
}
