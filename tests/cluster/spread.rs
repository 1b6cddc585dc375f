//! How soon an end that one node decides is known to another, at a thousand acts a minute.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use tokio::{task::JoinSet, time::MissedTickBehavior};

use crate::{
    HANGS,
    client::{Api, EdgeSecret},
    nodes::{another, until, verdict},
    settings, store,
    support::{Home, Service},
};

/// Acts, and how long apart they are: a thousand in a minute.
const ACTS: usize = 1000;
const APART: Duration = Duration::from_millis(60);
/// People whose sessions end and begin.
const PEOPLE: usize = 50;
/// How often the other node is asked.
const ASK: Duration = Duration::from_millis(5);

/// Asks until the token is not good any more; how long that took.
async fn known_after(api: &Api, edge: &EdgeSecret, token: &str) -> Duration {
    let began = Instant::now();
    while verdict(api, edge, token).await != Some(false) {
        assert!(began.elapsed() < Duration::from_secs(30), "it is never known");
        tokio::time::sleep(ASK).await;
    }
    began.elapsed()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement of a minute: cargo test --test cluster spread -- --ignored --nocapture"]
async fn ends_spread_to_another_node() {
    let _calm = HANGS.read().await;
    let (home, store) = (Home::new(), store("spread").await);
    let first = Service::start_with(&home, &settings(&store));
    let other = another(&home);
    let second = Service::start_with(&other, &settings(&store));
    let (a, b) = (Api::new(&first, &home), Api::new(&second, &other));
    let edge = a.edge().await;
    until("the edge is known", async || b.introspect(&edge, "no token").await.unwrap().status == 200).await;
    let mut people = Vec::new();
    for _ in 0..PEOPLE {
        let owner = a.owner(10_000).await;
        let session = a.open(&owner).await;
        assert!(b.is_active(&edge, &session.token).await);
        people.push(Arc::new((owner, tokio::sync::Mutex::new(Some(session)))));
    }

    let took = Arc::new(Mutex::new(Vec::new()));
    let mut ticks = tokio::time::interval(APART);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let (began, mut acts) = (Instant::now(), JoinSet::new());
    for n in 0..ACTS {
        ticks.tick().await;
        let (a, b, edge, took) = (a.clone(), b.clone(), edge.clone(), Arc::clone(&took));
        let person = Arc::clone(&people[n % PEOPLE]);
        acts.spawn(async move {
            let (owner, session) = &*person;
            let mut session = session.lock().await;
            // One person's sessions are revoked and begun again, the next one's supersede each other.
            let ended = match session.take() {
                Some(old) if n % 2 == 0 => {
                    a.revoke(&old.id_text).await.unwrap().must_be(200);
                    Some(old)
                }
                old => {
                    *session = Some(a.open(owner).await);
                    old
                }
            };
            if let Some(ended) = ended {
                let known = known_after(&b, &edge, &ended.token).await;
                took.lock().push(known);
            }
        });
    }
    while let Some(act) = acts.join_next().await {
        act.unwrap();
    }
    let minutes = began.elapsed().as_secs_f64() / 60.0;
    let mut took = std::mem::take(&mut *took.lock());
    took.sort_unstable();
    let at = |part: usize| took[(took.len() * part / 1000).min(took.len() - 1)];
    println!(
        "{:.0} acts a minute; {} ends were known to the other node after {:?} (median), {:?} (p90), {:?} (p99), {:?} (latest)",
        ACTS as f64 / minutes,
        took.len(),
        at(500),
        at(900),
        at(990),
        at(1000)
    );
    assert!(first.stop().success());
    assert!(second.stop().success());
}
