//! Opaque tokens, in the way of Firefox Accounts.

use serde_json::{Value, json};

use super::{
    Got, Stage,
    handmade::{Handmade, Reply, VERIFY},
};

const TOKEN: &str = "0f1e2d3c4b5a69788796a5b4c3d2e1f00f1e2d3c4b5a69788796a5b4c3d2e1f0";

async fn stage(change: impl FnOnce(&Handmade)) -> Stage {
    let mut url = String::new();
    // The provider's port is known once it runs: the service is started with a path that it is told to answer at.
    let provider = Handmade::start(&[]).await;
    change(&provider);
    url.push_str(&provider.at(VERIFY));
    let mut stage = Stage::with(&[("GASTANK_IDENTITY_VERIFY_URL", &url)], |_| {}).await;
    stage.provider = provider;
    stage
}

fn person(user: &str, scope: &[&str]) -> Value {
    json!({"user": user, "client_id": "a client", "scope": scope, "generation": 1})
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_provider_is_asked_once_and_its_answer_kept_for_a_while() {
    let stage = stage(|provider| {
        provider.about(TOKEN, 200, &person("ada", &["profile", "tank"]));
        provider.about(&TOKEN.replace('0', "1"), 400, &json!({"code": 400, "errno": 108}));
        provider.about(&TOKEN.replace('0', "2"), 400, &json!({"code": 400, "errno": 115}));
        provider.about(&TOKEN.replace('0', "3"), 200, &person("eve", &["profile"]));
    })
    .await;
    let account = stage.see(TOKEN).await.ok()["account"].clone();
    assert_eq!(stage.see(TOKEN).await.ok()["account"], account);
    assert_eq!(stage.provider.asked(VERIFY), 1);
    for (digit, why) in [("1", "not known"), ("2", "expired"), ("3", "no scope")] {
        let before = stage.provider.asked(VERIFY);
        for _ in 0..3 {
            stage.see(&TOKEN.replace('0', digit)).await.refused(why);
        }
        assert_eq!(stage.provider.asked(VERIFY), before + 1, "{why}");
    }
    let before = stage.provider.asked(VERIFY);
    for (token, why) in [("short".to_owned(), "short"), ("a".repeat(1025), "long"), (format!("{TOKEN}!"), "strange")] {
        stage.see(&token).await.refused(why);
    }
    assert_eq!(stage.provider.asked(VERIFY), before, "what cannot be a token is not asked about");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_provider_that_cannot_say_is_unavailable() {
    let stage = stage(|provider| provider.about(TOKEN, 200, &person("ada", &["tank"]))).await;
    stage.see(TOKEN).await.ok();
    let ask = async |digit: &str| -> Got { stage.see(&TOKEN.replace('0', digit)).await };
    for (at, (status, body)) in [
        (500, String::new()),
        (429, json!({"errno": 114}).to_string()),
        (400, json!({"errno": 109}).to_string()),
        (400, String::new()),
        (404, json!({"errno": 108}).to_string()),
        (200, String::new()),
        (200, person("", &["tank"]).to_string()),
    ]
    .into_iter()
    .enumerate()
    {
        stage.provider.set(VERIFY, Reply::Json(status, body.clone()));
        ask(&at.to_string().repeat(2)).await.unavailable(&format!("{status} {body}"));
    }
    stage.provider.set(VERIFY, Reply::Huge);
    ask("7").await.unavailable("megabytes");
    stage.see(TOKEN).await.ok();
}
