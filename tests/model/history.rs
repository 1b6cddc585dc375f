//! The heartbeat history beside the checkpoints: it has what they had, and what becomes of it is nothing to them.

#![expect(clippy::disallowed_methods, reason = "how long something takes is told by the runtime's own, paused clock")]

use std::{sync::Arc, time::Duration};

use futures_util::TryStreamExt;
use gastank::{
    control::peers::Alone,
    engine::Policy,
    entropy::SeededEntropy,
    service::history::History,
    store::{Heard, HeardKey, roles::*},
    telemetry::{Health, Telemetry},
    time::{Clock, MeterTime, Millis},
    wire::{Heartbeat, HeartbeatKind, StateBits},
};
use proptest::prelude::*;

use crate::{
    flaky::{Appends, Flaky},
    rig::{Client, Rig, WALL},
};

const CREDIT: i64 = 3_600_000;
const KEEP: Millis = Millis::from_secs(30 * 86_400);
/// Rows that may wait, and a few more.
const TOO_MANY: usize = (1 << 17) + 5;

/// A service with its history on, over a store with trouble.
struct Kept {
    rig: Rig,
    store: Arc<Flaky>,
    history: Arc<History>,
    telemetry: Telemetry,
}

impl Kept {
    async fn new() -> Self {
        let store = Arc::new(Flaky::default());
        let entropy = Arc::new(SeededEntropy::new(1));
        let rig = Rig::start(Arc::<Flaky>::clone(&store), entropy, Policy::default(), WALL).await;
        let telemetry = Telemetry::new(Health::new());
        let clock = Arc::clone(&rig.clock) as Arc<dyn Clock>;
        let (engine, of) = (Arc::clone(&rig.engine), Arc::<Flaky>::clone(&store));
        let history = Arc::new(History::new(KEEP, engine, of, clock, Arc::new(Alone), telemetry.clone()));
        Self { rig, store, history, telemetry }
    }

    async fn client(&self) -> Client {
        let account = self.rig.account(CREDIT).await;
        self.rig.activate(&account).await.unwrap()
    }

    async fn beat(&self, client: &Client, state: u16) {
        let (state, clock) = (StateBits(state), self.rig.now());
        let beat = Heartbeat { kind: HeartbeatKind::Beat, state, seq: 1, session: client.session, clock };
        self.rig.deliver(client, &beat.sign(&client.mac)).await;
    }

    /// Writes what a service writes when it stops, with its checkpoints.
    async fn checkpoint(&self) {
        self.rig
            .upkeep(Some(Arc::clone(&self.history)), &self.telemetry)
            .await
            .flush(Duration::from_secs(3))
            .await
            .unwrap();
    }

    async fn heard(&self, client: &Client) -> Vec<Heard> {
        let (from, until) = (HeardKey::before(WALL), WALL.plus(KEEP));
        self.store.history(&client.session, from, until, usize::MAX).await.unwrap()
    }

    /// What the checkpoint of a client's session says.
    async fn kept(&self, client: &Client) -> MeterTime {
        let open: Vec<_> = self.store.recover().try_concat().await.unwrap();
        let is_of = |account: &gastank::engine::Account| account.open().is_some_and(|open| open.id == client.session);
        open.into_iter().find(|open| is_of(&open.account)).unwrap().last_seen
    }

    /// How many rows came to this.
    fn rows(&self, outcome: &str) -> usize {
        let page = self.telemetry.render();
        let name = format!("gastank_history_rows_total{{outcome=\"{outcome}\"}} ");
        page.lines().find_map(|line| line.strip_prefix(&*name)).unwrap().parse().unwrap()
    }
}

#[tokio::test]
async fn of_what_is_heard_between_two_checkpoints_the_latest_is_written_down() {
    let kept = Kept::new().await;
    let (client, silent) = (kept.client().await, kept.client().await);
    for (ms, state) in [(10_000, 1), (1_000, 4), (500, 2)] {
        kept.rig.advance(ms);
        kept.beat(&client, state).await;
    }
    kept.rig.advance(3_000);
    kept.checkpoint().await;
    // Nothing came in between, so that there is nothing to write down.
    kept.checkpoint().await;
    kept.rig.advance(20_000);
    kept.beat(&client, StateBits::PROXY_ON).await;
    kept.checkpoint().await;
    kept.history.finish().await;
    let row = |ms, state| {
        let key = HeardKey { at: WALL.plus(Millis::new(ms)), last_seen: MeterTime::from_ms(ms) };
        Heard { key, state: StateBits(state) }
    };
    assert_eq!(kept.heard(&client).await, [row(11_500, 2), row(34_500, StateBits::PROXY_ON)]);
    assert_eq!(kept.heard(&silent).await, []);
    assert_eq!((kept.rows("kept"), kept.rows("dropped")), (2, 0));
}

#[tokio::test(start_paused = true)]
async fn a_history_that_cannot_be_written_holds_up_no_checkpoint_and_no_act() {
    let kept = Kept::new().await;
    let client = kept.client().await;
    let writer = tokio::spawn({
        let history = Arc::clone(&kept.history);
        async move { history.write_for_ever().await }
    });
    for (n, appends) in [Appends::Fail, Appends::Hang, Appends::Hang].into_iter().enumerate() {
        *kept.store.appends.lock() = appends;
        kept.rig.advance(20_000);
        kept.beat(&client, 1).await;
        let began = tokio::time::Instant::now();
        kept.checkpoint().await;
        kept.rig.activate(&kept.rig.account(CREDIT).await).await.unwrap();
        assert_eq!(began.elapsed(), Duration::ZERO, "nobody waits");
        assert_eq!(kept.kept(&client).await, kept.rig.now());
        tokio::time::sleep(Duration::from_secs(10)).await;
        assert_eq!((kept.rows("kept"), kept.rows("dropped")), (0, n + 1));
    }
    *kept.store.appends.lock() = Appends::Work;
    kept.rig.advance(20_000);
    kept.beat(&client, 1).await;
    kept.checkpoint().await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!((kept.rows("kept"), kept.rows("dropped")), (1, 3));
    assert_eq!(kept.heard(&client).await.len(), 1);
    writer.abort();
}

#[tokio::test(start_paused = true)]
async fn what_waits_to_be_written_has_a_bound_and_the_end_of_the_service_does_not_wait_for_it() {
    let kept = Kept::new().await;
    let client = kept.client().await;
    kept.beat(&client, 1).await;
    *kept.store.appends.lock() = Appends::Hang;
    let checkpoint = gastank::engine::Checkpoint { session: client.session, last_seen: kept.rig.now() };
    let row = kept.history.rows_of(&[checkpoint]);
    kept.history.note(row.repeat(TOO_MANY));
    assert_eq!(kept.rows("dropped"), 5);
    let began = tokio::time::Instant::now();
    kept.history.finish().await;
    assert!(began.elapsed() <= Duration::from_secs(1));
    assert_eq!((kept.rows("kept"), kept.rows("dropped")), (0, TOO_MANY), "each of them is counted");
}

#[tokio::test]
async fn days_whose_time_is_over_go_and_the_others_stay() {
    let kept = Kept::new().await;
    let client = kept.client().await;
    let checkpoint = gastank::engine::Checkpoint { session: client.session, last_seen: kept.rig.now() };
    let day = |n: u64| Millis::from_secs(n * 86_400);
    let mut rows = kept.history.rows_of(&[checkpoint]).repeat(40);
    for (n, row) in (0..).zip(&mut rows) {
        row.heard.key.at = WALL.plus(day(n));
    }
    kept.history.note(rows.clone());
    kept.history.finish().await;
    kept.rig.advance(day(35).get());
    assert!(kept.history.prune().await.unwrap(), "nothing is left to drop");
    let (from, until) = (HeardKey::before(WALL), WALL.plus(day(100)));
    let left = kept.store.history(&client.session, from, until, usize::MAX).await.unwrap();
    assert_eq!(left, rows[5..].iter().map(|row| row.heard).collect::<Vec<_>>());
}

/// What happens: time passes, a client beats, checkpoints are written, the store takes the history or not.
#[derive(Clone, Copy, Debug)]
enum Step {
    Pass(u64),
    Beat(usize, u16),
    Checkpoint,
    Appends(Appends),
    Write,
}

fn any_step() -> impl Strategy<Value = Step> {
    let appends = prop::sample::select(&[Appends::Work, Appends::Fail, Appends::Hang]);
    prop_oneof![
        (0..20_000_u64).prop_map(Step::Pass),
        (0..3_usize, any::<u16>()).prop_map(|(client, state)| Step::Beat(client, state)),
        (0..3_usize, any::<u16>()).prop_map(|(client, state)| Step::Beat(client, state)),
        Just(Step::Checkpoint),
        appends.prop_map(Step::Appends),
        Just(Step::Write),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(64) })]

    /// Whatever becomes of the history, checkpoints are what they are without one; and what it has is true.
    #[test]
    fn checkpoints_are_the_same_with_a_history_whatever_becomes_of_it(steps in prop::collection::vec(any_step(), 1..40)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let kept = Kept::new().await;
            let clients = [kept.client().await, kept.client().await, kept.client().await];
            let mut beats: Vec<(usize, MeterTime, u16)> = Vec::new();
            for step in steps {
                match step {
                    Step::Pass(ms) => kept.rig.advance(ms),
                    Step::Beat(n, state) => {
                        kept.beat(&clients[n], state).await;
                        beats.push((n, kept.rig.now(), state));
                    }
                    Step::Checkpoint => {
                        kept.checkpoint().await;
                        for (n, client) in clients.iter().enumerate() {
                            let open = kept.rig.end_of(client).await.is_none();
                            let latest = beats.iter().rev().find(|(of, ..)| *of == n).map_or(MeterTime::ZERO, |beat| beat.1);
                            assert!(!open || kept.kept(client).await == latest);
                        }
                    }
                    Step::Appends(appends) => *kept.store.appends.lock() = appends,
                    Step::Write => kept.history.finish().await,
                }
            }
            for (n, client) in clients.iter().enumerate() {
                let heard = kept.heard(client).await;
                assert!(heard.is_sorted_by_key(|heard| heard.key));
                for heard in heard {
                    // Of two beats of one instant, which is the latest nobody can say.
                    let was = (n, heard.key.last_seen, heard.state.0);
                    assert!(beats.contains(&was), "{was:?}");
                    assert_eq!(heard.key.at, WALL.plus(heard.key.last_seen.since(MeterTime::ZERO)));
                }
            }
        });
    }
}
