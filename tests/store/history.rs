//! The heartbeat history.

use gastank::{
    engine::Act,
    store::{Heard, HeardKey, HeardRow},
    time::{Millis, UnixMs},
    wire::{EndReason, StateBits},
};

use super::*;

const A_DAY: u64 = 86_400_000;

/// Session number `n` of account number `n` was heard of `ms` after it all began.
fn heard(n: u8, ms: u64, state: u16) -> HeardRow {
    let key = HeardKey { at: wall(ms), last_seen: MeterTime::from_ms(ms) };
    HeardRow { account: account_id(n), session: session_id(n, 3), heard: Heard { key, state: StateBits(state) } }
}

/// Account number `n` with its session open.
async fn open(store: &Subject, n: u8) -> Account {
    let account = made(store, n).await;
    let account = done(store, &account, &granting(&account, 1_000_000_000, "fuel")).await;
    done(store, &account, &opening(&account, session(session_id(n, 3), 0))).await
}

async fn between(store: &Subject, n: u8, from: UnixMs, until: UnixMs, limit: usize) -> Vec<Heard> {
    store.history(&session_id(n, 3), HeardKey::before(from), until, limit).await.expect("works")
}

async fn all(store: &Subject, n: u8) -> Vec<Heard> {
    between(store, n, wall(0), wall(10 * A_DAY), 1000).await
}

fn told(rows: &[HeardRow]) -> Vec<Heard> {
    rows.iter().map(|row| row.heard).collect()
}

pub(crate) async fn what_was_heard_is_written_once(store: Subject) {
    open(&store, 1).await;
    open(&store, 2).await;
    store.append_history(&[]).await.expect("works");
    assert_eq!(all(&store, 1).await, []);
    let rows = [heard(1, 30_000, 0), heard(1, 60_000, u16::MAX), heard(1, 60_001, 4)];
    let of_another = heard(2, 60_000, 1);
    store.append_history(&[rows[1], of_another, rows[0]]).await.expect("works");
    store.append_history(&rows).await.expect("works");
    store.append_history(&[rows[2], rows[0]]).await.expect("works");
    assert_eq!(all(&store, 1).await, told(&rows), "in order, and each of them once");
    assert_eq!(all(&store, 2).await, [of_another.heard]);
    assert_eq!(all(&store, 9).await, [], "nobody knows this session");
}

pub(crate) async fn the_history_is_read_from_any_time_to_any_other_in_pages(store: Subject) {
    open(&store, 1).await;
    // Some on each of four days, and two of the same instant, as a clock that was set back makes them.
    let times = [1_000, 2_000, A_DAY, A_DAY + 1, 2 * A_DAY + 5, 3 * A_DAY];
    let mut rows: Vec<_> = times.iter().map(|ms| heard(1, *ms, 4)).collect();
    let mut later = rows[3];
    later.heard.key.last_seen = MeterTime::from_ms(A_DAY + 2);
    rows.insert(4, later);
    store.append_history(&rows).await.expect("works");
    let rows = told(&rows);
    assert_eq!(all(&store, 1).await, rows);
    for (n, row) in rows.iter().enumerate() {
        let session = session_id(1, 3);
        let rest = store.history(&session, row.key, wall(10 * A_DAY), 1000).await.expect("works");
        assert_eq!(rest, rows[n + 1..], "from after a row on");
        assert_eq!(between(&store, 1, wall(0), wall(10 * A_DAY), n).await, rows[..n], "so many");
        let since: Vec<_> = rows.iter().copied().filter(|other| other.key.at >= row.key.at).collect();
        assert_eq!(between(&store, 1, row.key.at, wall(10 * A_DAY), 1000).await, since);
        let earlier: Vec<_> = rows.iter().copied().filter(|other| other.key.at < row.key.at).collect();
        assert_eq!(between(&store, 1, wall(0), row.key.at, 1000).await, earlier);
    }
}

pub(crate) async fn old_days_of_the_history_are_dropped_in_pieces(store: Subject) {
    open(&store, 1).await;
    let rows: Vec<_> = (0..5).map(|n| heard(1, u64::from(n) * A_DAY, n)).collect();
    store.append_history(&rows).await.expect("works");
    // A store whose rows go by themselves drops none, and says so.
    let (mut dropped, third) = (0, rows[3].heard.key.at);
    for _ in 0..3 {
        let now = store.prune_history(third.plus(Millis::new(1)), 2).await.expect("works");
        assert!(now <= 2);
        dropped += now;
    }
    assert!(dropped == 3 || dropped == 0, "the day that goes on stays: {dropped}");
    assert_eq!(all(&store, 1).await, told(&rows[dropped..]));
}

pub(crate) async fn deletion_erases_what_was_heard(store: Subject) {
    let (ada, _) = (open(&store, 1).await, open(&store, 2).await);
    let row = |ms| heard(1, ms, 4);
    store.append_history(&[row(1_000), row(A_DAY), row(2 * A_DAY), heard(2, 1_000, 0)]).await.expect("works");
    let second = session_id(7, 200);
    let next = Act { opens: Some(session(second, 2 * A_DAY)), ..closing(&ada, EndReason::Superseded, 2 * A_DAY) };
    let ada = done(&store, &ada, &next).await;
    let of_second = HeardRow { session: second, ..row(3 * A_DAY) };
    store.append_history(&[of_second]).await.expect("works");
    let delete = Act { deletes: true, ..closing(&ada, EndReason::AccountDeleted, 3 * A_DAY + 5) };
    done(&store, &ada, &delete).await;
    // Some may have waited to be written.
    store.append_history(&[of_second, row(A_DAY), row(1_000)]).await.expect("works");
    assert_eq!(all(&store, 1).await, []);
    let left = store.history(&second, HeardKey::before(wall(0)), wall(10 * A_DAY), 10).await.expect("works");
    assert_eq!(left, []);
    assert_eq!(all(&store, 2).await.len(), 1, "who is left is left alone");
}
