use super::*;

/// What the log has under a query: of each row who did what, and what came of it.
async fn log(rig: &Rig, query: &str) -> Vec<String> {
    let page = rig.admin(ask("GET", &format!("/admin/audit?limit=1000{query}"))).await.ok().json();
    assert!(page["next"].is_null(), "{page}");
    page["rows"].as_array().unwrap().iter().map(line).collect()
}

fn line(row: &Value) -> String {
    let text = |field: &str| row[field].as_str().unwrap_or("-");
    format!("{} {} {} {}", text("actor"), text("surface"), text("act"), text("detail"))
}

#[tokio::test]
async fn every_act_is_in_the_log_with_who_did_it_and_where() {
    let rig = Rig::new().await;
    let (account, key) = rig.account(600).await;
    let edge = rig.edge("edge").await;
    let opened = rig.activate(&key).await.ok();
    let renewal = frame(&opened, HeartbeatKind::Renew, rig.clock.now());
    let renewed = rig
        .public(
            ask("POST", "/v1/renew")
                .bearer(&opened.text("token"))
                .header("content-type", "application/octet-stream")
                .body(renewal),
        )
        .await
        .ok();
    rig.activate(&key).await.ok();
    rig.public(ask("POST", "/v1/deactivate").bearer(&key)).await.ok();
    let token = rig.activate(&key).await.ok().text("token");
    let form = format!("token={token}");
    rig.public(
        ask("POST", "/oauth/revoke")
            .header("authorization", &basic(&edge.0, &edge.1))
            .header("content-type", "application/x-www-form-urlencoded")
            .body(form),
    )
    .await
    .ok();
    rig.activate(&key).await.ok();
    rig.clock.advance(Millis::from_secs(100));
    rig.public(ask("GET", "/v1/account").bearer(&key)).await.ok();
    let credit = ask("POST", &format!("/admin/accounts/{account}/credit")).header("idempotency-key", "k");
    rig.admin(credit.json(&json!({"seconds": -5, "reason": "a secret of theirs"}))).await.ok();
    rig.admin(ask("DELETE", &format!("/admin/accounts/{account}"))).await.ok();

    let of_account = log(&rig, &format!("&account={account}")).await;
    assert_eq!(
        of_account,
        [
            "operator admin account_created -",
            "operator admin credit_entered grant 600 s",
            "operator admin account_key_added -",
            "account_key http session_opened -",
            "session http session_renewed -",
            "account_key http session_opened after superseded",
            "account_key http session_ended deactivated",
            "account_key http session_opened -",
            "edge http session_ended revoked",
            "account_key http session_opened -",
            "system service session_ended timed_out",
            "operator admin credit_entered refund -5 s",
            "operator admin account_deleted -",
        ]
    );
    let all = log(&rig, "").await;
    assert_eq!(all.len(), of_account.len() + 1);
    assert!(all.contains(&"operator admin edge_added -".to_owned()));

    // Neither secrets, nor tokens, nor what people wrote.
    let page = rig.admin(ask("GET", "/admin/audit?limit=1000")).await.ok();
    let text = String::from_utf8_lossy(&page.body).into_owned();
    for secret in [&key, &edge.1, &token, &renewed.text("token"), "a secret of theirs", ADMIN] {
        assert!(!text.contains(secret), "{secret}");
    }
    // But which key and which edge it was.
    let rows = page.json();
    let names: Vec<_> = rows["rows"].as_array().unwrap().iter().filter_map(|row| row["actor_name"].as_str()).collect();
    assert!(names.contains(&edge.0.as_str()) && names.iter().any(|name| name.len() == 16 && *name != edge.0));
}

#[tokio::test]
async fn what_changes_nothing_is_not_in_the_log() {
    let rig = Rig::new().await;
    let (account, key) = rig.account(0).await;
    let before = log(&rig, "").await;
    rig.activate(&key).await.is(ErrorCode::TankEmpty);
    rig.activate("gtk_wrong").await.is(ErrorCode::BadCredentials);
    rig.public(ask("POST", "/v1/deactivate").bearer(&key)).await.ok();
    rig.public(ask("GET", "/v1/account").bearer(&key)).await.ok();
    rig.admin(ask("GET", &format!("/admin/accounts/{account}"))).await.ok();
    rig.admin(ask("DELETE", "/admin/edges/none")).await.is(ErrorCode::NotFound);
    rig.stranger(ask("POST", "/admin/edges").json(&json!({"name": "x", "audience": "x"})))
        .await
        .is(ErrorCode::BadCredentials);
    assert_eq!(log(&rig, "").await, before);
}

#[tokio::test]
async fn the_log_is_read_in_pages_from_any_time_on() {
    let rig = Rig::new().await;
    for _ in 0..5 {
        rig.account(1).await;
        rig.clock.advance(Millis::from_secs(20 * 3600));
    }
    assert_eq!(log(&rig, "").await.len(), 15);
    assert_eq!(log(&rig, "&act=credit_entered").await, ["operator admin credit_entered grant 1 s"; 5]);
    assert_eq!(log(&rig, &format!("&since_s={}", 25 * 3600)).await.len(), 3);
    assert_eq!(log(&rig, "&since_s=1").await.len(), 0);
    let (mut paged, mut after) = (Vec::new(), String::new());
    loop {
        let page = rig.admin(ask("GET", &format!("/admin/audit?limit=4{after}"))).await.ok().json();
        paged.extend(page["rows"].as_array().unwrap().iter().map(line));
        let Some(next) = page["next"].as_str() else { break };
        after = format!("&after={next}");
    }
    assert_eq!(paged, log(&rig, "").await);
    for bad in ["account=x", "after=x", "act=x", "since_s=-1", "since_s=x", "limit=0", "limit=1001"] {
        rig.admin(ask("GET", &format!("/admin/audit?{bad}"))).await.is(ErrorCode::BadRequest);
    }
    rig.stranger(ask("GET", "/admin/audit")).await.is(ErrorCode::BadCredentials);
}

#[tokio::test]
async fn what_is_older_than_the_retention_is_not_shown() {
    let rig = Rig::new().await;
    rig.account(1).await;
    rig.clock.advance(Millis::from_secs(91 * 86_400));
    rig.account(1).await;
    assert_eq!(log(&rig, "").await.len(), 3);
    let dropped = rig.store.prune_audit(rig.clock.wall().minus(Millis::from_secs(90 * 86_400)), 100).await.unwrap();
    assert_eq!(dropped, 3);
    assert_eq!(log(&rig, "").await.len(), 3);
}
