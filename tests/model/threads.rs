//! The same rules under real threads.

use std::{
    sync::{
        Arc, Barrier, OnceLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
};

use gastank::{
    engine::{Beat, Life, SLICES},
    time::{MeterTime, Millis},
    wire::{EndReason, HeartbeatKind, WireVerdict},
};

use crate::rig::{Client, Rig};

const HOUR_OF_CREDIT: i64 = 3_600_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_fifty_activations_at_once_exactly_one_leaves_a_valid_token() {
    let rig = Arc::new(Rig::new().await);
    let account = rig.account(HOUR_OF_CREDIT).await;
    let all: Vec<_> = (0..50)
        .map(|_| {
            let rig = Arc::clone(&rig);
            tokio::spawn(async move { rig.activate(&account).await.unwrap() })
        })
        .collect();
    let mut clients = Vec::new();
    for one in all {
        clients.push(one.await.unwrap());
    }
    assert_eq!(clients.iter().filter(|client| rig.is_valid(&client.token)).count(), 1);
    let mut open = 0;
    for client in &clients {
        open += usize::from(rig.end_of(client).await.is_none());
    }
    assert_eq!((open, rig.engine.live()), (1, 1));
    assert_eq!(rig.ledger(&account).await.len(), 50, "one credit and 49 usages");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn in_a_war_of_threads_only_activations_move_the_activation() {
    let rig = Arc::new(Rig::new().await);
    let account = rig.account(HOUR_OF_CREDIT).await;
    let loser = rig.activate(&account).await.unwrap();
    let winner = rig.activate(&account).await.unwrap();
    let fight = |mut client: Client, rig: Arc<Rig>| async move {
        let mut renewed = 0;
        for _ in 0..100 {
            if let Ok(token) = rig.renew(&client).await {
                client.token = token;
                renewed += 1;
            }
            rig.beat(&client).await;
            tokio::task::yield_now().await;
        }
        (client, renewed)
    };
    let fights = [fight(loser.clone(), Arc::clone(&rig)), fight(loser, Arc::clone(&rig))].map(tokio::spawn);
    let (winner, renewed) = tokio::spawn(fight(winner, Arc::clone(&rig))).await.unwrap();
    assert_eq!(renewed, 100);
    assert!(rig.is_valid(&winner.token));
    for fight in fights {
        let (loser, renewed) = fight.await.unwrap();
        assert_eq!(renewed, 0);
        assert!(!rig.is_valid(&loser.token));
    }
}

/// An act's moment is taken before it is committed, so the same race is run many times: whichever side wins, the ledger,
/// the verdict and the store must agree.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn credit_that_races_with_exhaustion_is_never_lost_and_never_revives() {
    let rig = Arc::new(Rig::new().await);
    for round in 0..50u64 {
        let account = rig.account(10_000).await;
        let client = rig.activate(&account).await.unwrap();
        rig.advance(9_999);
        let credit = tokio::spawn({
            let rig = Arc::clone(&rig);
            async move { rig.credit(&account, 5_000, "race").await.unwrap() }
        });
        let asked = tokio::task::spawn_blocking({
            let (rig, client) = (Arc::clone(&rig), client.clone());
            move || {
                rig.advance(1 + round % 2);
                rig.advance(1);
                rig.is_valid(&client.token)
            }
        });
        let (_, was_valid) = (credit.await.unwrap(), asked.await.unwrap());
        assert!(was_valid || !rig.is_valid(&client.token), "what was called dead stays dead");
        let alive = rig.is_valid(&client.token);
        rig.sweep(0..SLICES).await;
        assert_eq!(rig.end_of(&client).await.is_none(), alive);
        let left = rig.acts.end(&account, EndReason::Deactivated).await.unwrap();
        let burned = if alive { 10_001 + round % 2 } else { 10_000 };
        assert_eq!(left, Millis::new(15_000 - burned));
    }
}

/// What a session is found to be, by anybody, in an order that all can agree on.
struct Witnesses {
    end: OnceLock<(MeterTime, EndReason)>,
}

impl Witnesses {
    /// `dead_before`: an end had been seen by someone before this was asked.
    fn saw(&self, dead_before: bool, life: Life) {
        match life {
            Life::Ended { at, reason } => assert_eq!(*self.end.get_or_init(|| (at, reason)), (at, reason)),
            Life::Open { .. } => assert!(!dead_before, "it came back to life"),
        }
    }

    fn is_dead(&self) -> bool {
        self.end.get().is_some()
    }
}

#[test]
fn once_anybody_has_seen_the_end_everybody_sees_the_same_end() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let rig = Arc::new(runtime.block_on(Rig::new()));
    for round in 0..300 {
        let account = runtime.block_on(rig.account(HOUR_OF_CREDIT));
        let client = Arc::new(runtime.block_on(rig.activate(&account)).unwrap());
        race(&rig, &client, round);
        runtime.block_on(rig.acts.settle(&account)).unwrap();
    }
}

/// Threads beat, look, sweep and stop around the instant of a session's time-out, each with a time of its own.
fn race(rig: &Arc<Rig>, client: &Arc<Client>, round: u64) {
    const THREADS: u64 = 4;
    let witnesses = Arc::new(Witnesses { end: OnceLock::new() });
    let edge = Arc::new(AtomicU64::new(rig.now().as_ms() + 90_000 - 50));
    let (start, stopped) = (Arc::new(Barrier::new(4)), Arc::new(AtomicBool::new(false)));
    let threads: Vec<_> = (0..THREADS)
        .map(|n| {
            let (rig, client, witnesses) = (Arc::clone(rig), Arc::clone(client), Arc::clone(&witnesses));
            let (edge, start, stopped) = (Arc::clone(&edge), Arc::clone(&start), Arc::clone(&stopped));
            thread::spawn(move || {
                start.wait();
                for i in 0..150u64 {
                    // Clocks that are read a little before they are used are skewed against each other.
                    let now = MeterTime::from_ms(edge.fetch_add(1, Ordering::SeqCst) - (n * 3 + i) % 7);
                    let dead_before = witnesses.is_dead();
                    match (n + i) % 4 {
                        0 if i % 8 == n => {
                            // A beat that says nothing new, or one that extends the session.
                            let clock = if round.is_multiple_of(2) { MeterTime::ZERO } else { now };
                            let frame = client.frame(HeartbeatKind::Beat, clock);
                            check_ack(rig.engine.beat(&frame, now), dead_before);
                        }
                        1 if round.is_multiple_of(3) && i == 100 && !stopped.swap(true, Ordering::SeqCst) => {
                            let frame = client.frame(HeartbeatKind::Stop, now);
                            check_ack(rig.engine.beat(&frame, now), true);
                        }
                        2 => drop(rig.engine.sweep(usize::try_from(i).unwrap() % SLICES, now, true)),
                        _ => {}
                    }
                    witnesses.saw(dead_before, rig.engine.sighting(&client.session, now).unwrap().life);
                }
            })
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
    rig.advance(200_000);
    let life = rig.engine.sighting(&client.session, rig.now()).unwrap().life;
    witnesses.saw(witnesses.is_dead(), life);
    assert!(witnesses.is_dead());
}

fn check_ack(beat: Beat, dead: bool) {
    let Beat::Answer { verdict, .. } = beat else { panic!("a good frame is answered") };
    assert!(!dead || matches!(verdict, WireVerdict::Invalid(_)), "{verdict:?}");
}
