use super::*;

fn renewal(activation: &Got, token: &str, clock: MeterTime) -> Ask {
    let frame = frame(activation, HeartbeatKind::Renew, clock);
    ask("POST", "/v1/renew").bearer(token).header("content-type", "application/octet-stream").body(frame)
}

#[tokio::test]
async fn an_activation_tells_all_that_a_client_needs() {
    let rig = Rig::new().await;
    let (_, key) = rig.account(600).await;
    let got = rig.activate(&key).await.ok();
    assert_eq!(got.header("cache-control"), Some("no-store"));
    let json = got.json();
    assert_eq!(json["token_type"], "Bearer");
    assert_eq!(json["remaining_s"], 600);
    assert_eq!(json["meter_ms"], 5_000);
    assert_eq!(json["superseded"], false);
    assert_eq!(json["heartbeat"]["interval_ms"], 30_000);
    assert_eq!(json["heartbeat"]["timeout_ms"], 90_000);
    assert_eq!(json["heartbeat"]["http"], "https://tank.test/v1/heartbeat");
    assert_eq!(json["heartbeat"]["udp"], "tank.test:7080");
    assert_eq!(decode(json["session_id"].as_str().unwrap()).len(), 16);
    assert_eq!(decode(json["heartbeat_key"].as_str().unwrap()).len(), 32);
    assert!(json["expires_in_s"].as_u64().unwrap() <= 600);

    let again = rig.activate(&key).await.ok();
    assert_eq!(again.json()["superseded"], true);
    assert_eq!(*rig.stub.activated.lock(), [Activated::Opened, Activated::Superseding]);
}

#[tokio::test]
async fn an_empty_tank_opens_nothing() {
    let rig = Rig::new().await;
    let (_, key) = rig.account(0).await;
    rig.activate(&key).await.is(ErrorCode::TankEmpty);
}

#[tokio::test]
async fn an_audience_is_one_that_somebody_knows() {
    let rig = Rig::new().await;
    let (_, key) = rig.account(600).await;
    let with = |audience: &str| ask("POST", "/v1/activate").bearer(&key).json(&json!({"audience": audience, "x": [1]}));
    rig.public(with("nobody")).await.is(ErrorCode::UnknownAudience);
    rig.public(with("edge")).await.ok();
    let (client_id, _) = rig.edge("other").await;
    rig.public(with("other")).await.ok();
    rig.admin(ask("DELETE", &format!("/admin/edges/{client_id}"))).await.ok();
    rig.public(with("other")).await.is(ErrorCode::UnknownAudience);
}

#[tokio::test]
async fn whoever_has_no_key_is_told_nothing() {
    let rig = Rig::new().await;
    let (_, key) = rig.account(600).await;
    let calls =
        [("POST", "/v1/activate"), ("POST", "/v1/deactivate"), ("GET", "/v1/account"), ("GET", "/v1/account/entries")];
    let wrong = ["Bearer", "Bearer ", "Basic Zm9vOmJhcg==", "Bearer gtk_", "Bearer nothing", "Digest x", "x"];
    for (method, path) in calls {
        let got = rig.public(ask(method, path)).await;
        got.is(ErrorCode::BadCredentials);
        assert_eq!(got.header("www-authenticate"), Some("Bearer"));
        for value in wrong {
            rig.public(ask(method, path).header("authorization", value)).await.is(ErrorCode::BadCredentials);
        }
        rig.public(ask(method, path).bearer(&format!("{key}x"))).await.is(ErrorCode::BadCredentials);
        rig.public(ask(method, path).bearer(&key).bearer(&key)).await.is(ErrorCode::BadRequest);
        rig.public(ask(method, path).header("authorization", &format!("bEARER {key}"))).await.ok();
    }
}

#[tokio::test]
async fn a_renewal_needs_the_token_and_the_key_and_kills_the_token() {
    let rig = Rig::new().await;
    let (_, key) = rig.account(600).await;
    let opened = rig.activate(&key).await.ok();
    rig.clock.advance(Millis::from_secs(10));
    let now = rig.surface.state.clock.now();
    let renewed = rig.public(renewal(&opened, &opened.text("token"), now)).await.ok();
    assert_eq!(renewed.json()["remaining_s"], 590);
    assert_ne!(renewed.text("token"), opened.text("token"));
    // Replies get lost: the token before is good for asking again, with another frame.
    rig.clock.advance(Millis::new(1));
    let now = rig.surface.state.clock.now();
    rig.public(renewal(&opened, &opened.text("token"), now)).await.ok();
    rig.public(renewal(&opened, &key, now)).await.is(ErrorCode::BadCredentials);
    rig.public(renewal(&opened, "a.b.c", now)).await.is(ErrorCode::BadCredentials);
}

#[tokio::test]
async fn a_renewal_with_an_altered_token_does_not_reach_the_store() {
    let rig = Rig::new().await;
    let (_, key) = rig.account(600).await;
    let opened = rig.activate(&key).await.ok();
    let (now, token) = (rig.surface.state.clock.now(), opened.text("token"));
    rig.store.close().await.unwrap();
    rig.public(renewal(&opened, &altered(&token), now)).await.is(ErrorCode::BadCredentials);
    rig.public(renewal(&opened, &token, now)).await.is(ErrorCode::StoreUnavailable);
}

#[tokio::test]
async fn a_renewal_that_is_repeated_is_refused_with_the_meter() {
    let rig = Rig::new().await;
    let (_, key) = rig.account(600).await;
    let opened = rig.activate(&key).await.ok();
    let now = rig.surface.state.clock.now();
    rig.public(renewal(&opened, &opened.text("token"), now)).await.ok();
    rig.clock.advance(Millis::from_secs(3));
    let refused = rig.public(renewal(&opened, &opened.text("token"), now)).await.is(ErrorCode::StaleRenewal);
    assert_eq!(refused["meter_ms"], 8_000);
    rig.public(renewal(&opened, &opened.text("token"), MeterTime::from_ms(8_000))).await.ok();
}

#[tokio::test]
async fn an_activation_that_is_repeated_under_its_name_is_answered_as_the_first_time() {
    let rig = Rig::new().await;
    let (_, key) = rig.account(600).await;
    let named = |name: &str| ask("POST", "/v1/activate").bearer(&key).header("idempotency-key", name);
    let first = rig.public(named("a")).await.ok();
    rig.clock.advance(Millis::from_secs(2));
    let again = rig.public(named("a")).await.ok();
    for field in ["session_id", "heartbeat_key", "superseded"] {
        assert_eq!(again.json()[field], first.json()[field]);
    }
    assert_ne!(again.text("token"), first.text("token"));
    assert_eq!((&again.json()["meter_ms"], &again.json()["remaining_s"]), (&json!(7_000), &json!(598)));
    rig.edge("other").await;
    rig.public(named("a").json(&json!({"audience": "other"}))).await.is(ErrorCode::IdReused);
    assert_eq!(rig.public(named("b")).await.ok().json()["superseded"], true);
    let refused = rig.public(named("a")).await.is(ErrorCode::SessionEnded);
    assert_eq!(refused.get("reason"), None);
    let over_long = "x".repeat(129);
    for illegal in [&*over_long, "a b", "é"] {
        rig.public(named(illegal)).await.is(ErrorCode::BadRequest);
    }
    rig.public(named("c").header("idempotency-key", "d")).await.is(ErrorCode::BadRequest);
}

#[tokio::test]
async fn a_deactivation_may_name_its_session() {
    let rig = Rig::new().await;
    let (_, key) = rig.account(600).await;
    let (first, second) = (rig.activate(&key).await.ok(), rig.activate(&key).await.ok());
    let deactivate = |session: &str| ask("POST", "/v1/deactivate").bearer(&key).json(&json!({"session_id": session}));
    let shown = || async { rig.public(ask("GET", "/v1/account").bearer(&key)).await.ok().json()["session"].clone() };
    assert_eq!(rig.public(deactivate(&first.text("session_id"))).await.ok().json(), json!({"remaining_s": 600}));
    assert_eq!(shown().await.get("end_reason"), None);
    rig.public(deactivate("nonsense")).await.is(ErrorCode::BadRequest);
    rig.public(deactivate(&second.text("session_id"))).await.ok();
    assert_eq!(shown().await["end_reason"], "deactivated");
}

#[tokio::test]
async fn a_superseded_client_is_told_why_and_takes_nothing_back() {
    let rig = Rig::new().await;
    let (_, key) = rig.account(600).await;
    let first = rig.activate(&key).await.ok();
    let second = rig.activate(&key).await.ok();
    let now = rig.surface.state.clock.now();
    let refused = rig.public(renewal(&first, &first.text("token"), now)).await.is(ErrorCode::SessionEnded);
    assert_eq!(refused["reason"], "superseded");
    rig.public(renewal(&second, &second.text("token"), now)).await.ok();
}

#[tokio::test]
async fn frames_that_are_none_are_refused() {
    let rig = Rig::new().await;
    let (_, key) = rig.account(600).await;
    let opened = rig.activate(&key).await.ok();
    let token = opened.text("token");
    let now = rig.surface.state.clock.now();
    let with = |body: Vec<u8>| {
        ask("POST", "/v1/renew").bearer(&token).header("content-type", "application/octet-stream").body(body)
    };
    for length in 0..=100 {
        rig.public(with(vec![1; length])).await.is(ErrorCode::BadFrame);
    }
    rig.public(with(frame(&opened, HeartbeatKind::Beat, now))).await.is(ErrorCode::BadFrame);
    let mut forged = frame(&opened, HeartbeatKind::Renew, now);
    forged[47] ^= 1;
    rig.public(with(forged)).await.is(ErrorCode::BadFrame);
    rig.public(ask("POST", "/v1/renew").bearer(&token).json(&json!({}))).await.is(ErrorCode::UnsupportedMediaType);
}

#[tokio::test]
async fn the_account_shows_the_session_and_the_ledger_what_it_cost() {
    let rig = Rig::new().await;
    let (id, key) = rig.account(600).await;
    let account = || ask("GET", "/v1/account").bearer(&key);
    let before = rig.public(account()).await.ok().json();
    assert_eq!(before, json!({"account": id, "remaining_s": 600, "session": null}));

    let opened = rig.activate(&key).await.ok();
    rig.clock.advance(Millis::from_secs(20));
    let during = rig.public(account()).await.ok().json();
    assert_eq!(during["remaining_s"], 580);
    assert_eq!(during["session"]["session_id"], opened.text("session_id"));
    assert_eq!(during["session"]["started_at"], "2023-11-14T22:13:20.042Z");
    assert!(during["session"].get("end_reason").is_none());

    let ended = rig.public(ask("POST", "/v1/deactivate").bearer(&key)).await.ok().json();
    assert_eq!(ended, json!({"remaining_s": 580}));
    let again = rig.public(ask("POST", "/v1/deactivate").bearer(&key)).await.ok().json();
    assert_eq!(again, ended, "nothing open: the same");
    let after = rig.public(account()).await.ok().json();
    assert_eq!(after["session"]["end_reason"], "deactivated");

    let page = |query: &str| ask("GET", &format!("/v1/account/entries{query}")).bearer(&key);
    let all = rig.public(page("")).await.ok().json();
    assert_eq!(all["entries"].as_array().unwrap().len(), 2);
    assert!(all.get("next").is_none());
    let first = rig.public(page("?limit=1")).await.ok().json();
    assert_eq!(first["entries"][0]["kind"], "grant");
    assert_eq!(first["entries"][0]["amount_ms"], 600_000);
    assert_eq!(first["next"], 1);
    let second = rig.public(page("?after=1&limit=1")).await.ok().json();
    assert_eq!(second["entries"][0]["kind"], "usage");
    assert_eq!(second["entries"][0]["amount_ms"], -20_000);
    assert_eq!(second["entries"][0]["source"], "session");
    assert_eq!(second["entries"][0]["external_id"], opened.text("session_id"));
    assert_eq!(second["entries"][0]["at"], "2023-11-14T22:13:40.042Z");
    assert!(second.get("next").is_none());
    for wrong in ["?limit=0", "?limit=1001", "?limit=x", "?after=-1", "?limit=1&limit=2"] {
        rig.public(page(wrong)).await.is(ErrorCode::BadRequest);
    }
}

#[tokio::test]
async fn a_session_that_timed_out_is_shown_as_over() {
    let rig = Rig::new().await;
    let (_, key) = rig.account(600).await;
    rig.activate(&key).await.ok();
    rig.clock.advance(Millis::from_secs(200));
    let account = rig.public(ask("GET", "/v1/account").bearer(&key)).await.ok().json();
    assert_eq!(account["session"]["end_reason"], "timed_out");
    assert_eq!(account["session"]["last_seen_at"], "2023-11-14T22:13:20.042Z");
    assert_eq!(account["remaining_s"], 510);
}

#[tokio::test]
async fn an_account_that_asks_too_often_is_told_when_to_come_back() {
    let rig = Rig::with(|settings| settings.per_account = Rate::new(1, 2)).await;
    let (_, key) = rig.account(600).await;
    let (_, other) = rig.account(600).await;
    rig.activate(&key).await.ok();
    rig.activate(&key).await.ok();
    rig.activate(&key).await.is(ErrorCode::RateLimited);
    rig.activate(&other).await.ok();
    assert_eq!(*rig.stub.limited.lock(), [LimitedBy::Account]);
}

#[tokio::test]
async fn an_address_that_guesses_keys_is_slowed_down() {
    let rig = Rig::with(|settings| settings.per_address = Rate::new(1, 2)).await;
    let guess = |address: &str| ask("GET", "/v1/account").bearer("gtk_guess").from(address);
    rig.public(guess("192.0.2.1:1")).await.is(ErrorCode::BadCredentials);
    rig.public(guess("192.0.2.1:2")).await.is(ErrorCode::BadCredentials);
    rig.public(guess("192.0.2.1:3")).await.is(ErrorCode::RateLimited);
    rig.public(guess("192.0.2.2:1")).await.is(ErrorCode::BadCredentials);
}

#[tokio::test]
async fn nothing_is_decided_before_the_sessions_are_known() {
    let rig = Rig::new().await;
    let (_, key) = rig.account(600).await;
    rig.stub.cold.store(true, Ordering::Relaxed);
    rig.activate(&key).await.is(ErrorCode::WarmingUp);
    rig.public(ask("POST", "/v1/renew").bearer("x")).await.is(ErrorCode::WarmingUp);
    rig.public(ask("GET", "/v1/account").bearer(&key)).await.is(ErrorCode::WarmingUp);
    rig.admin(ask("GET", "/admin/accounts")).await.is(ErrorCode::WarmingUp);
    rig.admin(ask("GET", "/admin/status")).await.ok();
    rig.public(ask("GET", "/.well-known/jwks.json")).await.ok();
}

#[tokio::test]
async fn a_store_that_is_gone_is_an_outage_and_never_a_refusal() {
    let rig = Rig::new().await;
    let (id, key) = rig.account(600).await;
    rig.store.close().await.unwrap();
    rig.activate(&key).await.is(ErrorCode::StoreUnavailable);
    rig.public(ask("POST", "/v1/deactivate").bearer(&key)).await.is(ErrorCode::StoreUnavailable);
    let credit = ask("POST", &format!("/admin/accounts/{id}/credit")).header("idempotency-key", "a");
    rig.admin(credit.json(&json!({"seconds": 1}))).await.is(ErrorCode::StoreUnavailable);
}
