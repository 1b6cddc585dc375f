//! The heartbeat history, through the built program: beats over HTTP, and `gastank session history`.

#![expect(clippy::unwrap_used, reason = "what cannot be done here fails the test")]
#![expect(clippy::disallowed_methods, reason = "the program under test runs by the real clock")]

#[path = "support/client.rs"]
mod client;
mod support;

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use gastank::{
    time::MeterTime,
    wire::{Heartbeat, HeartbeatKind, StateBits},
};
use jiff::Timestamp;
use serde_json::Value;

use client::{Api, Session};
use support::{Home, Service, stdout_of};

const ON: (&str, &str) = ("GASTANK_HISTORY_KEEP_DAYS", "30");
/// How long things may take on a machine that has much else to do.
const SOON: Duration = Duration::from_secs(30);

/// A heartbeat with this state, heard of as late as can be.
async fn beat(api: &Api, session: &Session, kind: HeartbeatKind, state: u16) {
    let (id, clock) = (session.id, MeterTime::from_ms(u64::MAX));
    let frame = Heartbeat { kind, state: StateBits(state), seq: 1, session: id, clock }.sign(&session.mac);
    api.post_frame(&frame).await.unwrap().must_be(200);
}

fn history(service: &Service, session: &Session, more: &[&str]) -> Value {
    let shown = stdout_of(&service.run(&[&["session", "history", &session.id_text, "--json"], more].concat()));
    serde_json::from_str(&shown).unwrap_or_else(|_| panic!("no JSON: {shown}"))
}

fn rows(told: &Value) -> Vec<Value> {
    told["rows"].as_array().unwrap_or_else(|| panic!("no rows: {told}")).clone()
}

fn unix_ms() -> i64 {
    i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_heard_of_a_session_is_shown_in_order_and_goes_with_its_owner() {
    let (home, began) = (Home::new(), unix_ms());
    let service = Service::start_with(&home, &[ON]);
    let api = Api::new(&service, &home);
    let owner = api.owner(1000).await;
    let session = api.open(&owner).await;
    let deadline = Instant::now() + SOON;
    let mut states = [StateBits::PROXY_ON, StateBits::PROXY_ON | StateBits::IDLE, 0x3402].into_iter().cycle();
    while rows(&history(&service, &session, &[])).len() < 4 {
        assert!(Instant::now() < deadline, "{}", history(&service, &session, &[]));
        beat(&api, &session, HeartbeatKind::Beat, states.next().unwrap()).await;
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
    let people = stdout_of(&service.run(&["session", "history", &session.id_text]));
    assert!(people.contains("HEARD AT") && people.contains("state:") && people.contains("open"), "{people}");
    let said = ["proxy_on", "user_idle", "user_locked proxy_error_connect platform_3"];
    assert!(said.iter().any(|words| people.contains(words)), "{people}");

    beat(&api, &session, HeartbeatKind::Stop, 0).await;
    let told = history(&service, &session, &[]);
    assert_eq!((&told["account"], &told["end_reason"]), (&owner.account.into(), &"deactivated".into()), "{told}");
    let written = rows(&told);
    let at = |row: &Value| client::text(&row["at"]).parse::<Timestamp>().unwrap().as_millisecond();
    assert!(written.iter().all(|row| (began..=unix_ms()).contains(&at(row))), "{told}");
    assert!(written.is_sorted_by(|a, b| at(a) < at(b) && a["meter_ms"].as_u64() < b["meter_ms"].as_u64()), "{told}");
    assert!(api.metric("gastank_history_rows_total", "kept").await >= 4.0);
    assert_eq!(api.metric("gastank_history_rows_total", "dropped").await, 0.0);

    let some = history(&service, &session, &["--limit", "2"]);
    assert_eq!((rows(&some), some["next"].is_string()), (written[..2].to_vec(), true));
    let people = service.run(&["session", "history", &session.id_text, "--limit", "2"]);
    assert!(String::from_utf8_lossy(&people.stderr).contains("--limit"), "there is more");
    assert!(stdout_of(&people).contains(": deactivated"));

    // It is there after a stop, and gone with the person.
    assert!(service.stop().success());
    let service = Service::start_with(&home, &[ON]);
    let kept = rows(&history(&service, &session, &[]));
    assert_eq!(kept[..written.len()], written);
    // The last one may not have been written yet when we asked.
    assert!(kept.len() <= written.len() + 1, "{kept:?}");
    stdout_of(&service.run(&["account", "delete", told["account"].as_str().unwrap(), "--yes"]));
    let told = history(&service, &session, &[]);
    assert_eq!((rows(&told), &told["end_reason"]), (Vec::new(), &"deactivated".into()), "{told}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_whose_history_is_off_writes_nothing_says_how_to_turn_it_on_and_deletes_what_there_is() {
    let home = Home::new();
    let count = || -> i64 {
        let file = rusqlite::Connection::open(home.data_dir().join("gastank.db")).unwrap();
        file.busy_timeout(SOON).unwrap();
        file.query_row("SELECT count(*) FROM history", [], |row| row.get(0)).unwrap()
    };
    let until = async |what: &str, is_so: &dyn Fn() -> bool| {
        let deadline = Instant::now() + SOON;
        while !is_so() {
            assert!(Instant::now() < deadline, "not in time: {what}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    let service = Service::start_with(&home, &[ON]);
    let api = Api::new(&service, &home);
    let session = api.open(&api.owner(1000).await).await;
    beat(&api, &session, HeartbeatKind::Beat, 0).await;
    until("a row is written", &|| count() > 0).await;
    assert!(service.stop().success());

    let service = Service::start(&home);
    let api = Api::new(&service, &home);
    let session = api.open(&api.owner(1000).await).await;
    let refused = service.run(&["session", "history", &session.id_text]);
    let error = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(1), "{error}");
    assert!(error.contains("history_off") && error.contains("GASTANK_HISTORY_KEEP_DAYS=30"), "{error}");
    until("what was there is gone", &|| count() == 0).await;
    beat(&api, &session, HeartbeatKind::Beat, 0).await;
    let written = api.metric("gastank_checkpoint_rows_total", "").await;
    let deadline = Instant::now() + SOON;
    while api.metric("gastank_checkpoint_rows_total", "").await == written {
        assert!(Instant::now() < deadline, "no checkpoint");
        beat(&api, &session, HeartbeatKind::Beat, 0).await;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(service.stop().success());
    assert_eq!(count(), 0);
}
