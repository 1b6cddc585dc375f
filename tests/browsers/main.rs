//! Real browsers against the built program: a page in Chromium and one in Firefox beat over WebTransport.

#![expect(clippy::unwrap_used, reason = "what cannot be done here fails the test")]

#[path = "../support/client.rs"]
mod client;
mod demo;
mod driver;
mod pages;
#[path = "../support/mod.rs"]
mod support;

use serde_json::{Value, json};

use client::Api;
use driver::Browser;
use support::{Home, Service};

/// Beats of each session.
const BEATS: usize = 5;
/// Connections that are tried where there is room for [`ROOM`].
const CROWD: usize = 3;
const ROOM: usize = 2;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_in_chromium_beats_over_webtransport() {
    beats_in("chromium").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_in_firefox_beats_over_webtransport() {
    beats_in("firefox").await;
}

async fn beats_in(name: &str) {
    let mut browser = tokio::task::block_in_place(|| Browser::open(name));
    let (room, origin) = (ROOM.to_string(), browser.origin().to_owned());
    let (home, other) = (Home::new(), Home::new());
    let patient = ("GASTANK_HEARTBEAT_TIMEOUT_MS", "60000");
    let origins = ("GASTANK_WEBTRANSPORT_ORIGINS", origin.as_str());
    let (service, strict) = tokio::task::block_in_place(|| {
        let service =
            Service::start_with(&home, &[patient, origins, ("GASTANK_WEBTRANSPORT_MAX_SESSIONS", room.as_str())]);
        let strict = [patient, ("GASTANK_WEBTRANSPORT_ORIGINS", "https://elsewhere.test")];
        (service, Service::start_with(&other, &strict))
    });

    let api = Api::new(&service, &home);
    let (ada, bob) = (activated(&api).await, activated(&api).await);
    let place = json!({ "url": ada["heartbeat"]["webtransport"], "hashes": ada["heartbeat"]["cert_hashes"] });
    let told = browser.call("run", with(&place, json!({ "activations": [ada, bob], "beats": BEATS })));
    let acks = told["acks"].as_array().unwrap();
    assert_eq!(acks.len(), 2 * BEATS, "{told}");
    assert!(acks.iter().all(|ack| ack["verdict"] == "valid"), "{told}");
    assert!(acks.iter().all(|ack| (90..=100).contains(&ack["remainingS"].as_u64().unwrap())), "{told}");
    assert_eq!(told["stopped"]["verdict"], "invalid", "{told}");
    assert_eq!((&told["after"]["verdict"], &told["after"]["reason"]), (&json!("invalid"), &json!(4)), "deactivated");
    assert_eq!(told["strangers"], 0, "what is no heartbeat is met with silence");
    closed(&api).await;
    assert_eq!(api.metric("gastank_webtransport_sessions_total", "opened").await, 1.0, "all beats came by one session");

    assert_eq!(browser.call("many", with(&place, json!({ "count": CROWD }))), ROOM);
    closed(&api).await;

    let api = Api::new(&strict, &other);
    let eve = activated(&api).await;
    let place = json!({ "url": eve["heartbeat"]["webtransport"], "hashes": eve["heartbeat"]["cert_hashes"] });
    assert_eq!(browser.call("refused", place), true, "a page of another origin");
    assert_eq!(api.metric("gastank_webtransport_sessions_total", "opened").await, 0.0);
    assert!(service.stop().success());
}

async fn activated(api: &Api) -> Value {
    let owner = api.owner(100).await;
    api.activate(&owner).await.unwrap().must_be(200).json()
}

/// Both objects in one.
fn with(place: &Value, more: Value) -> Value {
    let (mut all, Value::Object(more)) = (place.clone(), more) else { panic!("two objects") };
    all.as_object_mut().unwrap().extend(more);
    all
}

/// The service takes notice that pages have closed their sessions.
async fn closed(api: &Api) {
    for _ in 0..100 {
        if api.metric("gastank_webtransport_sessions_open", "").await == 0.0 {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    panic!("sessions that were closed are still counted");
}
