//! Two edges watch a random life of many accounts: each keeps what it fetches for exactly as long as it may, and asks
//! about every token besides. What they read and what they are told may differ for a `ttl` after a change, and no longer.
//!
//! `SEED=... cargo test --test status_list` repeats the choices of another run, `SECONDS=300` makes it a longer one.

use std::{sync::Arc, time::Duration};

use tokio::{task::JoinSet, time::sleep};

use crate::{
    client::Api,
    dice::Dice,
    people::{self, World},
    support::{Home, Service},
    watcher::{Tally, Watcher},
};

/// How long a list may be kept.
pub(crate) const TTL: Duration = Duration::from_secs(2);
const SETTINGS: [(&str, &str); 8] = [
    ("GASTANK_STATUS_LIST_TTL_S", "2"),
    // So few that lists fill up, unless the machine is busy with other things.
    ("GASTANK_STATUS_LIST_ENTRIES", "1024"),
    ("GASTANK_TOKEN_KEYS_MAX_AGE_S", "2"),
    ("GASTANK_HEARTBEAT_INTERVAL_MS", "1000"),
    ("GASTANK_HEARTBEAT_TIMEOUT_MS", "6000"),
    ("GASTANK_CHECKPOINT_INTERVAL_MS", "500"),
    ("GASTANK_LIMITS_ACTS_PER_ACCOUNT_PER_S", "0"),
    ("GASTANK_LIMITS_ACTS_PER_ADDRESS_PER_S", "0"),
];
const PEOPLE: usize = 40;
const POOR: usize = 8;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn introspection_and_the_lists_agree_within_a_ttl_whatever_happens() {
    let seed = variable("SEED").unwrap_or_else(|| u64::from(std::process::id()));
    let seconds = variable("SECONDS").unwrap_or(16);
    println!("SEED={seed} SECONDS={seconds}");
    let mut dice = Dice::new(seed);
    let home = Home::new();
    let service = Service::start_with(&home, &SETTINGS);
    let world = Arc::new(World::of(Api::new(&service, &home)).await);

    let mut crowd = JoinSet::new();
    for number in 0..PEOPLE {
        let owner = world.api.owner(if number < POOR { 2 } else { 100_000 }).await;
        crowd.spawn(people::live(Arc::clone(&world), owner, number < POOR, dice.fork()));
    }
    let rotations = tokio::spawn(people::rotate(Arc::clone(&world), dice.fork()));
    let mut edges = JoinSet::new();
    for number in 0..2 {
        edges.spawn(Watcher::new(Arc::clone(&world), number, dice.fork()).watch());
    }

    sleep(Duration::from_secs(seconds)).await;
    world.rest();
    let rotated = rotations.await.expect("keys rotate");
    // Nothing is done any more: after a `ttl` there is nothing left to differ about but those who run dry.
    sleep(TTL + TTL / 2).await;
    world.close();
    let mut tally = Tally::default();
    for seen in edges.join_all().await {
        tally.add(&seen);
    }
    world.end();
    let done = crowd.join_all().await.into_iter().fold(people::Deeds::default(), people::Deeds::and);
    println!("{done:?}\n{rotated:?}\n{tally:?}");

    // That nothing differed for too long means something only if enough happened.
    assert!(done.all_happened(), "{done:?}");
    assert!(rotated.keys >= 2 && rotated.secrets >= 2, "{rotated:?}");
    assert!(tally.kids.len() >= 3, "{tally:?}");
    assert!(tally.good_at_last >= PEOPLE / 4 && tally.over_at_last > PEOPLE, "{tally:?}");
    assert!(tally.differed_in_time > 0, "nobody ever kept a list: {tally:?}");
}

fn variable(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name} is not a number: {text}")))
}
