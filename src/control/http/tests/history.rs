use crate::store::{Heard, HeardKey, HeardRow};

use super::*;

/// An account's open session.
async fn opened(rig: &Rig) -> (AccountText, Got) {
    let (account, key) = rig.account(6000).await;
    (account, rig.activate(&key).await.ok())
}

type AccountText = String;

/// Writes down that a session was heard of now.
async fn heard(rig: &Rig, session: &str, state: u16) {
    let session = crate::engine::parse_session(session).unwrap();
    let report = rig.engine.report(&session).unwrap();
    let key = HeardKey { at: rig.clock.wall(), last_seen: rig.clock.now() };
    let row = HeardRow { account: report.account, session, heard: Heard { key, state: StateBits(state) } };
    rig.store.append_history(&[row]).await.unwrap();
}

fn path(session: &str, query: &str) -> String {
    format!("/admin/sessions/{session}/history?limit=1000{query}")
}

#[tokio::test]
async fn what_was_heard_of_a_session_is_told_in_order_with_what_its_client_said() {
    let rig = Rig::new().await;
    let (account, opening) = opened(&rig).await;
    let session = opening.text("session_id");
    let empty = rig.admin(ask("GET", &path(&session, ""))).await.ok().json();
    assert_eq!((&empty["rows"], &empty["account"]), (&json!([]), &json!(account)));
    for state in [StateBits::PROXY_ON, StateBits::IDLE | 0x3200] {
        rig.clock.advance(Millis::from_secs(30));
        heard(&rig, &session, state).await;
    }
    let told = rig.admin(ask("GET", &path(&session, ""))).await.ok().json();
    let rows = told["rows"].as_array().unwrap();
    assert_eq!(rows[0]["at"], "2023-11-14T22:13:50.042Z");
    assert_eq!((&rows[0]["meter_ms"], &rows[0]["says"]), (&json!(35_000), &json!(["proxy_on"])));
    assert_eq!((&rows[1]["says"], &rows[1]["platform"]), (&json!(["user_idle", "proxy_error_429"]), &json!(3)));
    assert!(told["end_reason"].is_null() && told["last_seen_at"] == "2023-11-14T22:13:20.042Z", "{told}");

    rig.admin(ask("POST", &format!("/admin/sessions/{session}/revoke"))).await.ok();
    let told = rig.admin(ask("GET", &path(&session, ""))).await.ok().json();
    assert_eq!((&told["end_reason"], &told["ended_at"]), (&json!("revoked"), &json!("2023-11-14T22:14:20.042Z")));
    assert_eq!(told["rows"].as_array().map(Vec::len), Some(2));
}

#[tokio::test]
async fn the_history_is_read_in_pages_and_no_further_back_than_it_is_kept() {
    let rig = Rig::with(|settings| settings.history_keep = Some(Millis::from_secs(86_400))).await;
    let (_, opening) = opened(&rig).await;
    let session = opening.text("session_id");
    for n in 0..5 {
        heard(&rig, &session, n).await;
        rig.clock.advance(Millis::from_secs(10));
    }
    let states = |page: &Value| -> Vec<u64> {
        page["rows"].as_array().unwrap().iter().map(|row| row["state"].as_u64().unwrap()).collect()
    };
    let (mut paged, mut after) = (Vec::new(), String::new());
    loop {
        let asked = format!("/admin/sessions/{session}/history?limit=2{after}");
        let page = rig.admin(ask("GET", &asked)).await.ok().json();
        paged.extend(states(&page));
        let Some(next) = page["next"].as_str() else { break };
        after = format!("&after={next}");
    }
    assert_eq!(paged, [0, 1, 2, 3, 4]);
    assert_eq!(states(&rig.admin(ask("GET", &path(&session, "&since_s=30"))).await.ok().json()), [2, 3, 4]);
    for bad in ["after=x", "since_s=-1", "since_s=x", "limit=0", "limit=1001"] {
        rig.admin(ask("GET", &format!("/admin/sessions/{session}/history?{bad}"))).await.is(ErrorCode::BadRequest);
    }
    rig.stranger(ask("GET", &path(&session, ""))).await.is(ErrorCode::BadCredentials);
    rig.clock.advance(Millis::from_secs(86_400 - 25));
    assert_eq!(states(&rig.admin(ask("GET", &path(&session, "&since_s=9999999"))).await.ok().json()), [3, 4]);
}

#[tokio::test]
async fn of_a_session_that_never_was_nothing_is_told_and_of_a_deleted_person_s_only_its_end() {
    let rig = Rig::new().await;
    rig.admin(ask("GET", &path("AAAAAAAAAAAAAAAAAAAAAA", ""))).await.is(ErrorCode::NotFound);
    rig.admin(ask("GET", &path("no-session", ""))).await.is(ErrorCode::NotFound);
    let (account, opening) = opened(&rig).await;
    let session = opening.text("session_id");
    heard(&rig, &session, 1).await;
    rig.admin(ask("DELETE", &format!("/admin/accounts/{account}"))).await.ok();
    let told = rig.admin(ask("GET", &path(&session, ""))).await.ok().json();
    assert_eq!((&told["rows"], &told["end_reason"]), (&json!([]), &json!("account_deleted")));
}

#[tokio::test]
async fn a_history_that_is_off_says_how_to_turn_it_on() {
    let rig = Rig::with(|settings| settings.history_keep = None).await;
    let (_, opening) = opened(&rig).await;
    let refused = rig.admin(ask("GET", &path(&opening.text("session_id"), ""))).await.is(ErrorCode::HistoryOff);
    assert!(refused["detail"].as_str().unwrap().contains("history.keep_days"), "{refused}");
}
