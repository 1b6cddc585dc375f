//! kill -9 of the running program under load, at random points, and what must have survived.
//!
//! `KILLS=300 cargo test --test crash` makes it a longer run, `SEED=...` repeats the choices of another.

#![expect(
    clippy::disallowed_methods,
    reason = "the program under test runs by the real clock, and so does who measures it"
)]
#![expect(clippy::unwrap_used, reason = "what cannot be done here fails the test")]

#[path = "support/client.rs"]
mod client;
#[path = "support/dice.rs"]
mod dice;
#[path = "support/dying.rs"]
mod dying;
#[path = "crash/ledger.rs"]
mod ledger;
#[path = "crash/players.rs"]
mod players;
mod support;

use std::{
    process::Command,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use gastank::wire::{EndReason, HeartbeatKind, WireVerdict};
use reqwest::Method;
use serde_json::Value;

use client::Api;
use ledger::Books;
use players::{Life, Player, World};
use support::{Home, Service};

const TIMEOUT_MS: u64 = 4000;
const SETTINGS: [(&str, &str); 5] = [
    ("GASTANK_HEARTBEAT_INTERVAL_MS", "500"),
    ("GASTANK_HEARTBEAT_TIMEOUT_MS", "4000"),
    ("GASTANK_CHECKPOINT_INTERVAL_MS", "500"),
    ("GASTANK_LIMITS_ACTS_PER_ACCOUNT_PER_S", "0"),
    ("GASTANK_LIMITS_ACTS_PER_ADDRESS_PER_S", "0"),
];
/// On an address of its own, so that while it is down nobody's outgoing connection takes its ports.
const ADDRESS: &str = "127.0.0.2:0";
/// The most that one crash may set the meter back: the refresh is every 250 ms, and this machine may be busy.
const REPEATED_MS: u64 = 1000;

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn killed_at_random_points_it_keeps_what_it_acknowledged_and_charges_what_it_vouched_for() {
    let kills = variable("KILLS").unwrap_or(30);
    let seed = variable("SEED").unwrap_or_else(|| u64::from(std::process::id()));
    println!("SEED={seed} KILLS={kills}");
    let mut dice = dice::Dice::new(seed);

    let home = Home::new();
    let spawned = Instant::now();
    let mut service = Service::start_at(&home, &[ADDRESS; 3].map(str::to_owned), &SETTINGS);
    let addresses = service.addresses();
    let api = Api::new(&service, &home);
    let world = Arc::new(World::new(Api::new(&service, &home), api.edge().await));
    world.begin(Life { spawned, ready: Some(Instant::now()), killed: None });

    let mut silent = api.open(&api.owner(1000).await).await;
    let mut crowd = Vec::new();
    for number in 0..11 {
        let (player, credit_s) = match number {
            0..4 => (Player::Steady, 100_000),
            4..10 => (Player::Fickle, 100_000),
            _ => (Player::Poor, 1),
        };
        crowd.push((api.owner(credit_s).await, player, dice.fork(), dice.fork()));
    }
    let crowd = {
        let world = Arc::clone(&world);
        thread::spawn(move || players::all(&world, crowd))
    };

    let mut worst = 0;
    for kill in 0..kills {
        tokio::time::sleep(Duration::from_millis(100 + dice.below(800))).await;
        let acked = world.acked();
        let signalled = Instant::now();
        service.kill();
        world.end_life(signalled);
        let books = Books::of_the_dead(&home);
        books.balance();
        books.contain(&acked);
        let lost = world.greatest_meter().saturating_sub(books.durable_until);
        worst = worst.max(lost);
        assert!(lost <= REPEATED_MS, "kill {kill}: the meter was set back by {lost} ms");
        world.floor(books.durable_until);

        if kill == kills / 2 {
            // An outage longer than the timeout: nobody may be timed out by it.
            tokio::time::sleep(Duration::from_millis(TIMEOUT_MS + 1000)).await;
        }
        if dice.below(4) == 0 {
            // A crash while it starts.
            let spawned = Instant::now();
            let mut child = Service::command(&home, &addresses, &SETTINGS).spawn().unwrap();
            tokio::time::sleep(Duration::from_millis(dice.below(300))).await;
            child.kill().unwrap();
            child.wait().unwrap();
            world.begin(Life { spawned, ready: None, killed: Some((spawned, Instant::now())) });
            let books = Books::of_the_dead(&home);
            books.balance();
            books.contain(&acked);
            world.floor(books.durable_until);
        }
        let spawned = Instant::now();
        service = Service::start_at(&home, &addresses, &SETTINGS);
        world.begin(Life { spawned, ready: Some(Instant::now()), killed: None });
        world.see_that_ended_tokens_are_dead().await;
    }
    println!("the meter was set back by {worst} ms at most");

    world.finish();
    crowd.join().expect("no player found anything wrong");
    // The sessions of the players have just been stopped, and their stops acknowledged.
    let acked = world.acked();
    let signalled = Instant::now();
    service.kill();
    world.end_life(signalled);
    let books = Books::of_the_dead(&home);
    books.balance();
    books.contain(&acked);
    books.have_exactly_these_credits(&acked);
    world.see_that_charges_match(&books, REPEATED_MS);

    let service = Service::start_at(&home, &addresses, &SETTINGS);
    if kills >= 10 {
        // It lived for far longer than the timeout, and paid for exactly that.
        assert_eq!(books.charge_of(&silent.id_text), Some(("timed_out".to_owned(), TIMEOUT_MS)));
        let socket = api.socket().await;
        let mut verdict = silent.datagram(&socket, HeartbeatKind::Beat).await.map(|ack| ack.verdict);
        for _ in 0..20 {
            if verdict == Some(WireVerdict::Invalid(EndReason::TimedOut)) {
                break;
            }
            // Unknown at first, until it has been looked up.
            tokio::time::sleep(Duration::from_millis(100)).await;
            verdict = silent.datagram(&socket, HeartbeatKind::Beat).await.map(|ack| ack.verdict);
        }
        assert_eq!(verdict, Some(WireVerdict::Invalid(EndReason::TimedOut)));
    }
    for account in books.accounts() {
        let sum: i64 = api.ledger(&account).await.iter().map(|entry| entry["amount_ms"].as_i64().unwrap()).sum();
        assert_eq!(sum, books.balance_of(&account), "the ledger over HTTP is that of the file");
    }
    assert!(service.stop().success());
    integrity_check(&home);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_acknowledged_act_survives_a_kill_that_follows_at_once() {
    let home = Home::new();
    let mut service = Service::start_at(&home, &[ADDRESS; 3].map(str::to_owned), &SETTINGS);
    let addresses = service.addresses();
    let api = Api::new(&service, &home);
    let (edge, owner) = (api.edge().await, api.owner(1000).await);
    for act in ["stop", "stop over UDP", "revoke", "deactivate", "activate", "renew", "credit"] {
        let mut session = api.open(&owner).await;
        let mut active = None;
        match act {
            "stop" => {
                let ack = session.posted(&api, HeartbeatKind::Stop).await.unwrap();
                assert_eq!(ack.verdict, WireVerdict::Invalid(EndReason::Deactivated));
            }
            "stop over UDP" => {
                let socket = api.socket().await;
                let ack = session.datagram(&socket, HeartbeatKind::Stop).await.unwrap();
                assert_eq!(ack.verdict, WireVerdict::Invalid(EndReason::Deactivated));
            }
            "revoke" => drop(api.revoke(&session.id_text).await.unwrap().must_be(200)),
            "deactivate" => {
                drop(api.public(Method::POST, "/v1/deactivate", &owner.key, &Value::Null).await.unwrap().must_be(200));
            }
            "activate" => active = Some(api.open(&owner).await.token),
            "renew" => {
                let frame = session.frame(HeartbeatKind::Renew);
                let answer = api.renew(&session, frame).await.unwrap().must_be(200).json();
                active = Some(client::text(&answer["token"]));
            }
            _ => {
                drop(api.credit(&owner.account, "bought", 77).await.unwrap().must_be(200));
                active = Some(session.token.clone());
            }
        }
        service.kill();
        service = Service::start_at(&home, &addresses, &SETTINGS);
        assert_eq!(api.is_active(&edge, &session.token).await, active.as_ref() == Some(&session.token), "{act}");
        if let Some(token) = active {
            assert!(api.is_active(&edge, &token).await, "{act}");
        }
    }
    let bought = |entry: &&Value| entry["external_id"] == "bought" && entry["amount_ms"] == 77_000;
    assert_eq!(api.ledger(&owner.account).await.iter().filter(bought).count(), 1);
}

/// SQLite's own opinion of the data file.
fn integrity_check(home: &Home) {
    let checked = Command::new("sqlite3")
        .arg(home.data_dir().join("gastank.db"))
        .arg("PRAGMA integrity_check")
        .output()
        .expect("sqlite3 is missing: run tests/setup.sh");
    assert_eq!(String::from_utf8_lossy(&checked.stdout).trim(), "ok");
}

fn variable(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name} is not a number: {text}")))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_added_to_a_log_whose_sync_failed() {
    let (home, dying) = (Home::new(), dying::Dying::new());
    let service = Service::start_with(&home, &dying.variables());
    let api = Api::new(&service, &home);
    let owner = api.owner(0).await.account;
    let log = || std::fs::metadata(home.data_dir().join("gastank.db-wal")).unwrap().len();
    let credit = async |name: &str| api.credit(&owner, name, 10).await.unwrap().status;
    for n in 0..50 {
        assert_eq!(credit(&format!("before-{n}")).await, 200);
    }
    let long = log();
    dying.after(-1);
    assert_eq!(credit("not-synced").await, 503);
    dying.not();
    // What the system shows of the log may not be on the disk: it is begun anew before anybody is told yes.
    assert_eq!(credit("after").await, 200);
    assert!(log() < long / 2, "{} of {long} bytes", log());
    assert_eq!(credit("not-synced").await, 200);
    assert_eq!(api.account(&owner).await["remaining_s"], 520);
    assert!(service.stop().success());
}
