//! What acts leave that are refused, cut off, or race each other: it goes while the service runs, and no start waits for it.
//!
//! The server of these tests gives a read up that has to pass more than a thousand deleted rows.

use std::sync::Arc;

use futures_util::{StreamExt, stream};
use gastank::{
    engine::{Account, AccountId, Act, bucket},
    entropy::OsEntropy,
    store::{
        AccountKey, Actor, ActorKind, Added, AuditAct, AuditKey, AuditRecord, ClusterStore, Commit, Held, KeyScope,
        LEFTOVER_PARTS, ScyllaStore, Surface, roles::*,
    },
    time::{MeterTime, MonotonicTicks, Ticks},
    wire::{EndReason, SessionId},
};
use scylla::client::session::Session as Cql;

use super::{
    crashes::{count, cql},
    keyspaces::Lent,
    store::*,
};

/// More than a read may pass.
const MANY: u32 = 1_100;
pub(crate) const HOUR: u64 = 3_600_000;

/// Two processes on a keyspace, and a session to look and change what no store would.
async fn two(keyspace: &Lent) -> ([Subject; 2], Cql) {
    ([Arc::new(keyspace.open().await), Arc::new(keyspace.open().await)], keyspace.session().await)
}

pub(crate) async fn clear(store: &Subject, now: u64) {
    store.clear_leftovers(MeterTime::from_ms(now), 0..LEFTOVER_PARTS).await.expect("works");
}

fn deleting(account: &Account) -> Act {
    Act { deletes: true, ..account.nothing() }
}

/// Rows of an account that are of a person: entries, their names, keys.
pub(crate) async fn personal(session: &Cql, account: &AccountId) -> usize {
    let mut rows = 0;
    for kind in [1_i8, 2, 4] {
        let some = "SELECT kind FROM accounts WHERE id = ? AND kind = ? LIMIT 1000";
        let some = session.query_unpaged(some, (account.as_bytes().to_vec(), kind)).await.expect("works");
        rows += some.into_rows_result().expect("rows").rows_num();
    }
    rows
}

async fn nothing_is_left(session: &Cql) {
    for table in ["account_keys", "identities", "directory", "erasures", "deletions"] {
        assert_eq!(count(session, table).await, 0, "{table}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_processes_that_delete_one_person_the_slower_does_not_lose_the_erasure() {
    let keyspace = Lent::empty().await;
    let (stores, session) = two(&keyspace).await;
    let people: Vec<Account> = stream::iter(0..60)
        .map(|n| {
            let store = &stores[0];
            async move {
                let account = made(store, n).await;
                done(store, &account, &granting(&account, 60_000, "fuel")).await
            }
        })
        .buffered(16)
        .collect()
        .await;
    let deleted = stream::iter(&people)
        .map(|account| {
            let [one, two] = &stores;
            let act = deleting(account);
            async move { tokio::join!(one.commit(&act, None), two.commit(&act, None)) }
        })
        .buffered(8)
        .collect::<Vec<_>>()
        .await;
    for (one, two) in deleted {
        let outcomes = [one.expect("works"), two.expect("works")];
        assert_eq!(outcomes.iter().filter(|outcome| matches!(outcome, Commit::Done(_))).count(), 1, "{outcomes:?}");
    }
    for account in &people {
        assert_eq!(personal(&session, &account.id).await, 0, "{:?} is not erased", account.id);
    }
    // The attempts that were refused go when nobody can be waiting for them.
    clear(&stores[0], 0).await;
    nothing_is_left(&session).await;
}

#[tokio::test]
async fn a_process_that_dies_after_a_deletion_leaves_its_erasure_to_any_other() {
    let keyspace = Lent::empty().await;
    let (stores, session) = two(&keyspace).await;
    let store = &stores[0];
    let mut account = made(store, 1).await;
    for n in 0..60 {
        account = done(store, &account, &granting(&account, 5, &format!("n{n}"))).await;
    }
    let key = AccountKey {
        key_id: "k".to_owned(),
        account: account.id,
        hash: [7; 32],
        created_at: wall(0),
        scope: KeyScope::Account,
    };
    assert_eq!(store.add_account_key(&key).await.expect("works"), Added::Done);
    assert_eq!(store.hold_credit(&identity(1), &held(5, "before", 7), 10).await.expect("works"), Held::Kept);
    // As a process does that dies after the act: what leads to the account is written before it, what is left with it.
    let (id, attempt) = (account.id.as_bytes().to_vec(), vec![9_u8; 16]);
    let pointer = (i16::from(id[0]), id.clone(), attempt);
    cql(&session, "INSERT INTO deletions (shard, account, attempt, expects) VALUES (?, ?, ?, 60)", pointer).await;
    let held_until = i64::try_from(wall(7).as_ms()).expect("small");
    let gone = "BEGIN UNLOGGED BATCH \
        UPDATE accounts SET deleted = true, issuer = null, subject = null, version = 61 WHERE id = ? IF version = 60; \
        INSERT INTO accounts (id, kind, number, name, hash, at) VALUES (?, 0, 0, 0x, ?, ?); APPLY BATCH";
    cql(&session, gone, (id.clone(), id, identity(1).digest().to_vec(), held_until)).await;
    assert_eq!(store.hold_credit(&identity(1), &held(5, "after", 8), 10).await.expect("works"), Held::Kept);
    assert_eq!(store.entries(&account.id, 0, 10).await.expect("works"), [], "it is not shown even now");
    assert_eq!(store.account_by_key(&[7; 32]).await.expect("works"), None);

    clear(&stores[1], 0).await;
    assert_eq!(personal(&session, &account.id).await, 0);
    nothing_is_left(&session).await;
    assert_eq!(store.held_credit(&identity(1), 10).await.expect("works"), [held(5, "after", 8)]);
    assert!(now(store, &account.id).await.deleted);
}

#[tokio::test]
async fn what_an_earlier_version_left_of_deleted_people_is_erased() {
    let keyspace = Lent::empty().await;
    let (stores, session) = two(&keyspace).await;
    let store = &stores[0];
    let [listed, lost, alive] = [1, 2, 3].map(|n| async move {
        let account = made(store, n).await;
        done(store, &account, &granting(&account, 5, "fuel")).await
    });
    let (listed, lost, alive) = (listed.await, lost.await, alive.await);
    for account in [&listed, &lost] {
        let gone = "UPDATE accounts SET deleted = true, issuer = null, subject = null WHERE id = ? IF version = 1";
        cql(&session, gone, (account.id.as_bytes().to_vec(),)).await;
    }
    // One is in its list. Of another it was lost, and only the identity leads there. The third was not deleted after all.
    for (account, n) in [(&listed, 1), (&alive, 3)] {
        let row = (account.id.as_bytes().to_vec(), identity(n).digest().to_vec());
        cql(&session, "INSERT INTO erasures (one, account, identity) VALUES (1, ?, ?)", row).await;
    }
    clear(store, 0).await;
    for account in [&listed, &lost] {
        assert_eq!(personal(&session, &account.id).await, 0, "{:?}", account.id);
    }
    assert_eq!(now(store, &alive.id).await, alive);
    assert_eq!(store.entries(&alive.id, 0, 10).await.expect("works").len(), 1);
    assert_eq!((count(&session, "identities").await, count(&session, "directory").await), (1, 1));
}

#[tokio::test]
async fn a_deletion_that_did_not_come_to_pass_erases_nothing_and_never_comes_to_pass() {
    let keyspace = Lent::empty().await;
    let (stores, session) = two(&keyspace).await;
    let store = &stores[0];
    let account = made(store, 1).await;
    let account = done(store, &account, &granting(&account, 5, "fuel")).await;
    let id = account.id.as_bytes().to_vec();
    let pointer = (i16::from(id[0]), id, vec![9_u8; 16]);
    cql(&session, "INSERT INTO deletions (shard, account, attempt, expects) VALUES (?, ?, ?, 1)", pointer).await;
    clear(store, 0).await;
    assert_eq!(now(store, &account.id).await, account, "it may still come to pass, and is left alone");
    assert_eq!(count(&session, "deletions").await, 1);
    clear(store, 0).await;
    let after = now(store, &account.id).await;
    assert_eq!(after, Account { version: 2, ..account }, "nothing that was decided before can be committed");
    assert_eq!(store.entries(&after.id, 0, 10).await.expect("works").len(), 1);
    assert_eq!(count(&session, "deletions").await, 0);
}

#[tokio::test]
async fn what_follows_from_an_act_does_not_wait_for_its_row_of_the_audit_log() {
    let keyspace = Lent::empty().await;
    let (stores, session) = two(&keyspace).await;
    let store = &stores[0];
    let account = made(store, 1).await;
    let account = done(store, &account, &granting(&account, 5, "fuel")).await;
    // No store can write this row.
    let key = AuditKey { at: gastank::time::UnixMs::from_ms(u64::MAX), id: [1; 8] };
    let row = audited(key);
    store.commit(&deleting(&account), Some(&row)).await.expect_err("it is not in the log");
    assert!(now(store, &account.id).await.deleted);
    assert_eq!(personal(&session, &account.id).await, 0);
    nothing_is_left(&session).await;
}

fn audited(key: AuditKey) -> AuditRecord {
    AuditRecord {
        key,
        act: AuditAct::AccountDeleted,
        actor: Actor { kind: ActorKind::Operator, name: None, surface: Surface::Admin },
        account: None,
        target: None,
        detail: None,
    }
}

#[tokio::test]
async fn a_row_of_the_audit_log_may_be_wanted_for_longer_than_a_server_can_count() {
    let keyspace = Lent::empty().await;
    let mut options = keyspace.options();
    options.audit_ttl = std::time::Duration::from_secs(20 * 365 * 86_400);
    let store = ScyllaStore::open(&options, Arc::new(OsEntropy)).await.expect("opens");
    let row = audited(AuditKey { at: MonotonicTicks::start().wall(), id: [1; 8] });
    store.append_audit(&[row]).await.expect("it is in the log");
}

#[tokio::test]
async fn a_large_account_is_erased_and_can_be_read_afterwards() {
    let keyspace = Lent::empty().await;
    let (stores, session) = two(&keyspace).await;
    let store = &stores[0];
    let mut account = made(store, 1).await;
    let opened = opening(&account, session_of(1, 5, 1_000));
    account = done(store, &account, &opened).await;
    account = done(store, &account, &closing(&account, EndReason::Deactivated, 2_000)).await;
    while account.entries < u64::from(MANY) {
        let entries = (1..=100).map(|n| grant(account.entries + n, 1, &format!("n{}", account.entries + n))).collect();
        account = done(store, &account, &Act { entries, ..account.nothing() }).await;
    }
    done(store, &account, &deleting(&account)).await;
    // More than is erased before the answer.
    assert!(personal(&session, &account.id).await > 0);
    clear(&stores[1], 0).await;
    assert!(now(store, &account.id).await.deleted);
    assert!(store.session(&session_id(1, 5)).await.expect("works").expect("it is remembered").end.is_some());
    assert_eq!(store.entries(&account.id, 0, 10).await.expect("works"), []);
    nothing_is_left(&session).await;
    // As if the process had died right before the end of it: what is gone does not stand in the way.
    let again = "UPDATE accounts SET hash = ? WHERE id = ? AND kind = 0 AND number = 0 AND name = 0x IF EXISTS";
    cql(&session, again, (identity(1).digest().to_vec(), account.id.as_bytes().to_vec())).await;
    let pointer = (i16::from(account.id.as_bytes()[0]), account.id.as_bytes().to_vec(), vec![9_u8; 16]);
    cql(&session, "INSERT INTO deletions (shard, account, attempt, expects) VALUES (?, ?, ?, 1)", pointer).await;
    clear(&stores[1], 0).await;
    nothing_is_left(&session).await;
}

fn session_of(n: u8, bucket: u8, started: u64) -> gastank::engine::Session {
    session(session_id(n, bucket), started)
}

/// Session number `n` of bucket 3; ids are drawn, so their first bytes are spread.
fn spread(n: u32) -> SessionId {
    let mut bytes = [0x77; 16];
    bytes[..4].copy_from_slice(&n.wrapping_mul(0x9e37_79b9).to_be_bytes());
    bytes[15] = 3;
    SessionId::from_bytes(bytes)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_does_not_fail_for_what_was_deleted_before() {
    let keyspace = Lent::empty().await;
    let (stores, session) = two(&keyspace).await;
    let store = &stores[0];
    let account = made(store, 1).await;
    let id = spread(MANY);
    let open = done(store, &account, &opening(&account, super::store::session(id, 1_000))).await;
    store.checkpoint(3, &[row(id, 5_000)]).await.expect("works");
    // The whole of a bucket timed out, and very many people were deleted by an earlier version.
    let drop_checkpoint =
        prepared(&session, "DELETE FROM checkpoints WHERE shard = 0 AND bucket = 3 AND session = ?").await;
    let drop_erasure = prepared(&session, "DELETE FROM erasures WHERE one = 1 AND account = ?").await;
    let drop_both = async |n: u32| {
        let id = spread(n).as_bytes().to_vec();
        session.execute_unpaged(&drop_checkpoint, (id.clone(),)).await.expect("works");
        session.execute_unpaged(&drop_erasure, (id,)).await.expect("works");
    };
    stream::iter(0..MANY).for_each_concurrent(32, drop_both).await;
    session.query_unpaged("SELECT * FROM erasures WHERE one = 1", ()).await.expect_err("the server gives it up");
    let whole = "SELECT session FROM checkpoints WHERE shard = 0 AND bucket = 3";
    session.query_unpaged(whole, ()).await.expect_err("the server gives it up");

    let again: Subject = Arc::new(keyspace.open().await);
    assert_eq!(alive(&again).await, Some(5_000));
    assert_eq!(recovered(&again).await, [(open, 5_000)]);
    clear(&again, 0).await;
}

async fn prepared(session: &Cql, text: &str) -> scylla::statement::prepared::PreparedStatement {
    session.prepare(text).await.expect("the statement is right")
}

#[tokio::test]
async fn the_end_of_a_session_is_deleted_by_the_meter_and_not_by_the_wall_clock() {
    let keyspace = Lent::empty().await;
    let (stores, session) = two(&keyspace).await;
    let store = &stores[0];
    let account = made(store, 1).await;
    let account = done(store, &account, &opening(&account, session_of(1, 3, 1_000))).await;
    done(store, &account, &closing(&account, EndReason::Deactivated, 2_000)).await;
    // Another node writes what it heard too late.
    store.checkpoint(3, &[row(session_id(1, 3), 2_000 + HOUR)]).await.expect("works");
    assert_eq!(count(&session, "checkpoints").await, 0);
    // Were the deletion of the wall clock, nothing that the meter ever shows would be beyond it, and the cluster could not
    // forget it while anything is written to the partition.
    store.checkpoint(3, &[row(session_id(1, 3), 2_001 + HOUR)]).await.expect("works");
    assert_eq!(count(&session, "checkpoints").await, 1);
    assert_eq!(recovered(store).await, [], "it is of nobody");
    clear(store, 2_000 + HOUR + HOUR).await;
    assert_eq!(count(&session, "checkpoints").await, 1, "for all that is known it is fresh");
    clear(store, 3_000 + HOUR + HOUR).await;
    assert_eq!(count(&session, "checkpoints").await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_activation_that_is_refused_leaves_nothing() {
    let keyspace = Lent::empty().await;
    let (stores, session) = two(&keyspace).await;
    let people: Vec<Account> = stream::iter(0..40).then(|n| made(&stores[0], n)).collect().await;
    let opened = stream::iter((0_u8..).zip(&people))
        .map(|(n, account)| {
            let [one, two] = &stores;
            let acts = [0, 100].map(|other| opening(account, session_of(n + other, 3, 1_000)));
            async move { tokio::join!(one.commit(&acts[0], None), two.commit(&acts[1], None)) }
        })
        .buffered(8)
        .collect::<Vec<_>>()
        .await;
    let refused = opened.iter().filter(|(one, two)| {
        let outcomes = [one, two].map(|outcome| outcome.as_ref().expect("works"));
        outcomes.iter().any(|outcome| matches!(outcome, Commit::Conflict))
    });
    assert_eq!(refused.count(), 40);
    assert_eq!(count(&session, "sessions").await, 40);
    assert_eq!(count(&session, "checkpoints").await, 40);
    assert_eq!(recovered(&stores[0]).await.len(), 40);
}

#[tokio::test]
async fn what_points_to_a_session_that_never_opened_goes_when_it_can_open_no_more() {
    let keyspace = Lent::empty().await;
    let (stores, session) = two(&keyspace).await;
    let store = &stores[0];
    let account = made(store, 1).await;
    let open = done(store, &account, &opening(&account, session_of(1, 3, 1_000))).await;
    // A process that died before it could open another one.
    let (id, account) = (session_id(2, 3).as_bytes().to_vec(), account.id.as_bytes().to_vec());
    let pointer = "INSERT INTO sessions (id, account, started) VALUES (?, ?, 1000)";
    cql(&session, pointer, (id.clone(), account.clone())).await;
    let checkpoint = "INSERT INTO checkpoints (shard, bucket, session, account, last_seen) VALUES (0, 3, ?, ?, 1000) \
        USING TIMESTAMP 1000";
    cql(&session, checkpoint, (id, account)).await;
    clear(store, 1_000 + HOUR).await;
    assert_eq!((count(&session, "sessions").await, count(&session, "checkpoints").await), (2, 2));
    clear(store, 1_001 + HOUR).await;
    assert_eq!((count(&session, "sessions").await, count(&session, "checkpoints").await), (1, 1));
    assert_eq!(recovered(store).await, [(open, 1_000)], "the one that is open is still there");
}

#[tokio::test]
async fn no_read_asks_for_more_keys_than_every_server_takes() {
    let keyspace = Lent::empty().await;
    let store = keyspace.open().await;
    let asked: Vec<SessionId> = (0..250).map(spread).collect();
    assert_eq!(bucket(&asked[0]), 3);
    assert_eq!(store.heard(3, &asked).await.expect("works"), []);
}
