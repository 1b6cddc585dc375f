//! What two nodes heard of a session, in the tables that they share.

use std::time::{Duration, Instant};

use gastank::wire::HeartbeatKind;
use serde_json::Value;

use crate::{
    HANGS,
    client::{Api, text},
    nodes::another,
    settings, store,
    support::{Home, Service, stdout_of},
};

/// How long it may take on a machine that has much else to do.
const SOON: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_any_node_heard_of_a_session_every_node_tells_in_order() {
    let _calm = HANGS.read().await;
    let (home, store) = (Home::new(), store("history").await);
    let mut settings = settings(&store).to_vec();
    settings.push(("GASTANK_HISTORY_KEEP_DAYS", "30"));
    let first = Service::start_with(&home, &settings);
    let other = another(&home);
    let second = Service::start_with(&other, &settings);
    let (a, b) = (Api::new(&first, &home), Api::new(&second, &other));
    let owner = a.owner(1000).await;
    let mut session = a.open(&owner).await;
    let shown = |service: &Service, session: &str| -> Value {
        let shown = stdout_of(&service.run(&["session", "history", session, "--json"]));
        serde_json::from_str(&shown).unwrap()
    };
    let deadline = Instant::now() + SOON;
    loop {
        for api in [&a, &b] {
            session.posted(api, HeartbeatKind::Beat).await;
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        let kept = [&a, &b].map(async |api| api.metric("gastank_history_rows_total", "kept").await >= 2.0);
        let [of_a, of_b] = kept;
        if of_a.await && of_b.await {
            break;
        }
        assert!(Instant::now() < deadline, "{}", shown(&first, &session.id_text));
    }
    a.revoke(&session.id_text).await.unwrap().must_be(200);
    let told = shown(&second, &session.id_text);
    let rows = told["rows"].as_array().unwrap();
    assert!(rows.len() >= 3, "{told}");
    assert!(rows.is_sorted_by_key(|row| text(&row["at"])), "{told}");
    assert_eq!((&told["end_reason"], &told["account"]), (&"revoked".into(), &owner.account.clone().into()));

    stdout_of(&second.run(&["account", "delete", &owner.account, "--yes"]));
    let told = shown(&first, &session.id_text);
    assert_eq!(told["rows"].as_array().map(Vec::len), Some(0), "{told}");
    assert!(first.stop().success() && second.stop().success());
}
