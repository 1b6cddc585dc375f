use super::*;

#[tokio::test]
async fn only_operators_are_let_in_and_figures_and_health_are_open() {
    let rig = Rig::new().await;
    for path in ["/admin/accounts", "/admin/status", "/admin/keys", "/admin/edges", "/admin/nothing", "/nothing"] {
        rig.stranger(ask("GET", path)).await.is(ErrorCode::BadCredentials);
        rig.stranger(ask("GET", path).bearer("wrong")).await.is(ErrorCode::BadCredentials);
        rig.stranger(ask("GET", path).bearer(ADMIN).bearer(ADMIN)).await.is(ErrorCode::BadRequest);
    }
    rig.admin(ask("GET", "/admin/nothing")).await.is(ErrorCode::NotFound);
    let metrics = rig.stranger(ask("GET", "/metrics")).await.ok();
    assert_eq!(&metrics.body[..], b"gastank_up 1\n");
    assert_eq!(metrics.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    rig.stranger(ask("GET", "/health/live")).await.ok();
    rig.stranger(ask("GET", "/health/ready")).await.ok();
    rig.stub.cold.store(true, Ordering::Relaxed);
    rig.stranger(ask("GET", "/health/live")).await.ok();
    rig.stranger(ask("GET", "/health/ready")).await.is(ErrorCode::WarmingUp);
    rig.public(ask("GET", "/admin/status").bearer(ADMIN)).await.is(ErrorCode::NotFound);
}

#[tokio::test]
async fn the_same_owner_twice_is_the_same_account_and_is_given_credit_once() {
    let rig = Rig::new().await;
    let create = |body: Value| ask("POST", "/admin/accounts").json(&body);
    let body = json!({"issuer": "https://id.test", "subject": "ann", "credit_s": 60});
    let first = rig.admin(create(body.clone())).await;
    let second = rig.admin(create(body.clone())).await;
    assert_eq!((first.status, second.status), (StatusCode::CREATED, StatusCode::OK));
    assert_eq!(first.json(), second.json());
    assert!(first.json().get("key").is_none());
    let shown = rig.admin(ask("GET", &format!("/admin/accounts/{}", first.text("account")))).await.ok().json();
    assert_eq!(shown["issuer"], "https://id.test");
    assert_eq!(shown["subject"], "ann");
    assert_eq!(shown["remaining_s"], 60);
    assert_eq!(shown["created_at"], "2023-11-14T22:13:20.042Z");
    let more = json!({"issuer": "https://id.test", "subject": "ann", "credit_s": 61});
    rig.admin(create(more)).await.is(ErrorCode::IdReused);

    let bare = rig.admin(ask("POST", "/admin/accounts")).await;
    assert_eq!(bare.status, StatusCode::CREATED);
    let shown = rig.admin(ask("GET", &format!("/admin/accounts/{}", bare.text("account")))).await.ok().json();
    assert_eq!(shown["issuer"], "local");
    assert_eq!(shown["subject"], bare.text("account"));
    for wrong in [json!({"issuer": ""}), json!({"subject": "a\nb"}), json!({"credit_s": -1}), json!({"credit_s": 1e12})]
    {
        rig.admin(create(wrong)).await.is(ErrorCode::BadRequest);
    }
}

#[tokio::test]
async fn accounts_are_listed_in_pages() {
    let rig = Rig::new().await;
    let mut made = Vec::new();
    for _ in 0..5 {
        made.push(rig.account(10).await.0);
    }
    let mut listed = Vec::new();
    let mut query = "?limit=2".to_owned();
    loop {
        let page = rig.admin(ask("GET", &format!("/admin/accounts{query}"))).await.ok().json();
        let ids = page["accounts"].as_array().unwrap().iter().map(|a| a["account"].as_str().unwrap().to_owned());
        listed.extend(ids);
        let Some(next) = page["next"].as_str() else { break };
        query = format!("?limit=2&after={next}");
    }
    made.sort_by_key(|id| decode(id));
    assert_eq!(listed, made);
    rig.admin(ask("GET", "/admin/accounts?after=x")).await.is(ErrorCode::BadRequest);
}

#[tokio::test]
async fn credit_is_entered_once_under_its_name() {
    let rig = Rig::new().await;
    let (id, _) = rig.account(100).await;
    let path = format!("/admin/accounts/{id}/credit");
    let credit = |name: &str, body: Value| ask("POST", &path).header("idempotency-key", name).json(&body);
    let first = rig.admin(credit("order-1", json!({"seconds": 50, "reason": "a gift"}))).await.ok().json();
    assert_eq!(first["remaining_s"], 150);
    assert_eq!(first["repeated"], false);
    assert_eq!(first["entry"]["kind"], "grant");
    assert_eq!(first["entry"]["external_id"], "order-1");
    assert_eq!(first["entry"]["reason"], "a gift");
    let again = rig.admin(credit("order-1", json!({"seconds": 50}))).await.ok().json();
    assert_eq!(again["repeated"], true);
    assert_eq!(again["remaining_s"], 150);
    assert_eq!(again["entry"], first["entry"]);
    rig.admin(credit("order-1", json!({"seconds": 51}))).await.is(ErrorCode::IdReused);
    let taken = rig.admin(credit("back-1", json!({"seconds": -500}))).await.ok().json();
    assert_eq!(taken["remaining_s"], 0);
    assert_eq!(taken["entry"]["amount_ms"], -150_000);

    rig.admin(ask("POST", &path).json(&json!({"seconds": 1}))).await.is(ErrorCode::IdempotencyKeyRequired);
    rig.admin(credit("", json!({"seconds": 1}))).await.is(ErrorCode::IdempotencyKeyRequired);
    rig.admin(credit("a", json!({"seconds": 1})).header("idempotency-key", "b")).await.is(ErrorCode::BadRequest);
    for name in ["with space", "gastank:creation", &"x".repeat(129)] {
        rig.admin(credit(name, json!({"seconds": 1}))).await.is(ErrorCode::BadRequest);
    }
    for seconds in
        [json!(0), json!(400_000_000), json!(-400_000_000), json!(i64::MIN), json!(1.5), json!("1"), json!(null)]
    {
        rig.admin(credit("x", json!({"seconds": seconds}))).await.is(ErrorCode::BadRequest);
    }
    let entries = rig.admin(ask("GET", &format!("/admin/accounts/{id}/entries"))).await.ok().json();
    assert_eq!(entries["entries"].as_array().unwrap().len(), 3);
}

#[tokio::test]
async fn what_is_not_there_is_not_found() {
    let rig = Rig::new().await;
    let nobody = "AAAAAAAAAAAAAAAAAAAAAA";
    for id in [nobody, "short", "%FF"] {
        for (method, rest) in [("GET", ""), ("DELETE", ""), ("GET", "/entries"), ("GET", "/keys"), ("POST", "/keys")] {
            rig.admin(ask(method, &format!("/admin/accounts/{id}{rest}"))).await.is(ErrorCode::NotFound);
        }
        let credit = ask("POST", &format!("/admin/accounts/{id}/credit")).header("idempotency-key", "a");
        rig.admin(credit.json(&json!({"seconds": 1}))).await.is(ErrorCode::NotFound);
        rig.admin(ask("POST", &format!("/admin/sessions/{id}/revoke"))).await.is(ErrorCode::NotFound);
        rig.admin(ask("DELETE", &format!("/admin/accounts/{id}/keys/x"))).await.is(ErrorCode::NotFound);
    }
    rig.admin(ask("DELETE", "/admin/edges/nobody")).await.is(ErrorCode::NotFound);
}

#[tokio::test]
async fn a_deleted_account_is_gone_for_its_owner_too() {
    let rig = Rig::new().await;
    let (id, key) = rig.account(100).await;
    rig.activate(&key).await.ok();
    let path = format!("/admin/accounts/{id}");
    assert_eq!(rig.admin(ask("DELETE", &path)).await.status, StatusCode::NO_CONTENT);
    rig.admin(ask("GET", &path)).await.is(ErrorCode::NotFound);
    rig.activate(&key).await.is(ErrorCode::BadCredentials);
    assert_eq!(rig.engine.live(), 0);
}

#[tokio::test]
async fn keys_open_an_account_until_they_are_removed() {
    let rig = Rig::new().await;
    let (id, first) = rig.account(100).await;
    let path = format!("/admin/accounts/{id}/keys");
    let made = rig.admin(ask("POST", &path)).await;
    assert_eq!(made.status, StatusCode::CREATED);
    let (key_id, key) = (made.text("key_id"), made.text("key"));
    assert!(key.starts_with("gtk_") && key.len() == 47);
    assert!(rig.store.account_keys(&AccountId::parse(&id).unwrap()).await.unwrap().len() == 2);
    let listed = rig.admin(ask("GET", &path)).await.ok().json();
    assert_eq!(listed["keys"].as_array().unwrap().len(), 2);
    assert!(!listed.to_string().contains("gtk_"), "keys are shown once");
    rig.activate(&key).await.ok();
    let one = format!("{path}/{key_id}");
    assert_eq!(rig.admin(ask("DELETE", &one)).await.status, StatusCode::NO_CONTENT);
    rig.admin(ask("DELETE", &one)).await.is(ErrorCode::NotFound);
    rig.activate(&key).await.is(ErrorCode::BadCredentials);
    rig.activate(&first).await.ok();
}

#[tokio::test]
async fn an_account_has_so_many_keys_and_no_more() {
    let rig = Rig::new().await;
    let (id, _) = rig.account(0).await;
    let path = format!("/admin/accounts/{id}/keys");
    for _ in 1..64 {
        rig.admin(ask("POST", &path)).await.ok();
    }
    rig.admin(ask("POST", &path)).await.is(ErrorCode::LimitReached);
}

#[tokio::test]
async fn a_revoked_session_is_over_at_once() {
    let rig = Rig::new().await;
    let (_, key) = rig.account(100).await;
    let opened = rig.activate(&key).await.ok();
    rig.clock.advance(Millis::from_secs(10));
    let path = format!("/admin/sessions/{}/revoke", opened.text("session_id"));
    assert_eq!(rig.admin(ask("POST", &path)).await.ok().json(), json!({"remaining_s": 90}));
    let account = rig.public(ask("GET", "/v1/account").bearer(&key)).await.ok().json();
    assert_eq!(account["session"]["end_reason"], "revoked");
    rig.admin(ask("POST", &path)).await.ok();
}

#[tokio::test]
async fn edges_are_listed_without_their_secrets() {
    let rig = Rig::new().await;
    let (client_id, secret) = rig.edge("edge").await;
    let listed = rig.admin(ask("GET", "/admin/edges")).await.ok().json();
    assert_eq!(listed["edges"][0]["client_id"], client_id);
    assert_eq!(listed["edges"][0]["audience"], "edge");
    assert!(!listed.to_string().contains(&secret));
    let register = |body: Value| ask("POST", "/admin/edges").json(&body);
    for wrong in
        [json!({}), json!({"name": "a"}), json!({"name": "a", "audience": "a b"}), json!({"name": "", "audience": "a"})]
    {
        rig.admin(register(wrong)).await.is(ErrorCode::BadRequest);
    }
}

#[tokio::test]
async fn keys_rotate_by_being_published_first() {
    let rig = Rig::new().await;
    let after = rig.admin(ask("POST", "/admin/keys/rotate")).await.ok().json();
    let states: Vec<_> = after["keys"].as_array().unwrap().iter().map(|key| key["state"].clone()).collect();
    assert_eq!(states, ["signing", "next"]);
    assert_eq!(rig.admin(ask("GET", "/admin/keys")).await.ok().json(), after);
    let published = rig.public(ask("GET", "/.well-known/jwks.json")).await.ok().json();
    assert_eq!(published["keys"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn the_status_tells_how_the_service_does() {
    let rig = Rig::new().await;
    let (_, key) = rig.account(100).await;
    rig.activate(&key).await.ok();
    rig.clock.advance(Millis::from_secs(3));
    let status = rig.admin(ask("GET", "/admin/status")).await.ok().json();
    assert_eq!(status["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(status["uptime_ms"], 3_000);
    assert_eq!(status["meter_ms"], 8_000);
    assert_eq!(status["live_sessions"], 1);
    assert_eq!(status["store"]["reachable"], true);
    assert_eq!(status["listeners"]["http"], "127.0.0.1:7080");
}

#[tokio::test]
async fn no_key_is_given_for_an_account_that_is_deleted_while_it_is_made() {
    let rig = Rig::new().await;
    let (account, _) = rig.account(1).await;
    rig.admin(ask("DELETE", &format!("/admin/accounts/{account}"))).await.ok();
    // As after it was found to be there.
    let account = AccountId::parse(&account).unwrap();
    let given = rig.surface.state.account_keys.add(account, &crate::store::Actor::operator()).await;
    assert_eq!(crate::web::problem::Problem::from(given.unwrap_err()).code(), ErrorCode::NotFound);
}
