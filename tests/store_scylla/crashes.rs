//! What a crash between two partitions leaves, and what several processes do to each other.

use std::sync::Arc;

use gastank::{
    engine::{Act, EntryKind},
    entropy::OsEntropy,
    store::{Commit, Consistency, Created, Identity, ScyllaOptions, ScyllaStore, StoreError, roles::*},
    wire::EndReason,
};
use scylla::client::session::Session;

use super::{
    keyspaces::{self, Lent},
    store::*,
};

pub(crate) async fn cql(session: &Session, text: &str, values: impl scylla::serialize::row::SerializeRow) {
    session.query_unpaged(text, values).await.expect("the statement is right");
}

pub(crate) async fn count(session: &Session, table: &str) -> usize {
    let rows = session.query_unpaged(format!("SELECT * FROM {table}"), ()).await.expect("works");
    rows.into_rows_result().expect("rows").rows_num()
}

#[tokio::test]
async fn an_act_is_one_conditional_round_trip() {
    let keyspace = Lent::empty().await;
    let store = Arc::new(keyspace.open().await);
    let subject: Subject = Arc::<ScyllaStore>::clone(&store);
    let account = made(&subject, 1).await;
    let before = store.decisions();
    let account = done(&subject, &account, &granting(&account, 60_000, "bought")).await;
    assert_eq!(store.decisions() - before, 1, "credit");
    let account = done(&subject, &account, &opening(&account, session(session_id(1, 0), 5))).await;
    assert_eq!(store.decisions() - before, 2, "an activation");
    let mut superseding = closing(&account, EndReason::Superseded, 9);
    superseding.opens = opening(&account, session(session_id(2, 0), 9)).opens;
    done(&subject, &account, &superseding).await;
    assert_eq!(store.decisions() - before, 3, "an activation in place of another");
}

#[tokio::test]
async fn an_identity_that_points_to_nothing_is_nobodys_until_its_account_is_made() {
    let keyspace = Lent::empty().await;
    let (store, session) = (keyspace.open().await, keyspace.session().await);
    let Identity { issuer, subject } = identity(1);
    let row = (identity(1).digest().to_vec(), issuer, subject, account_id(7).as_bytes().to_vec(), 5_i64);
    cql(&session, "INSERT INTO identities (name, issuer, subject, account, created_at) VALUES (?, ?, ?, ?, ?)", row)
        .await;

    assert_eq!(store.account_of(&identity(1)).await.expect("works"), None);
    let (owned, new) = store.create_account(account_id(1), &identity(1), wall(9)).await.expect("works");
    assert_eq!(new, Created::New, "whoever finishes it has made it");
    assert_eq!(owned.account.id, account_id(7));
    assert_eq!(store.account_of(&identity(1)).await.expect("works"), Some(account_id(7)));
    assert_eq!(store.accounts(None, 10).await.expect("works").len(), 1);
    let (_, new) = store.create_account(account_id(1), &identity(1), wall(9)).await.expect("works");
    assert_eq!(new, Created::AlreadyThere);
}

#[tokio::test]
async fn an_identity_of_a_deleted_account_is_free_before_it_is_erased() {
    let keyspace = Lent::empty().await;
    let session = keyspace.session().await;
    let store: Subject = Arc::new(keyspace.open().await);
    let account = made(&store, 1).await;
    done(&store, &account, &Act { deletes: true, ..account.nothing() }).await;
    // As if the process had died before.
    let Identity { issuer, subject } = identity(1);
    let row = (identity(1).digest().to_vec(), issuer, subject, account.id.as_bytes().to_vec(), 5_i64);
    cql(&session, "INSERT INTO identities (name, issuer, subject, account, created_at) VALUES (?, ?, ?, ?, ?)", row)
        .await;

    assert_eq!(store.account_of(&identity(1)).await.expect("works"), None);
    let (fresh, new) = store.create_account(account_id(2), &identity(1), wall(0)).await.expect("works");
    assert_eq!(new, Created::New);
    assert_eq!(fresh.account.id, account_id(2));
    assert_eq!(store.account_of(&identity(1)).await.expect("works"), Some(account_id(2)));
}

#[tokio::test]
async fn recovery_clears_away_what_closed_sessions_left() {
    let keyspace = Lent::empty().await;
    let session = keyspace.session().await;
    let store: Subject = Arc::new(keyspace.open().await);
    let account = made(&store, 1).await;
    let account = done(&store, &account, &opening(&account, super::store::session(session_id(1, 3), 1_000))).await;
    let account = done(&store, &account, &closing(&account, EndReason::Deactivated, 2_000)).await;
    assert_eq!(count(&session, "checkpoints").await, 0);
    // A process that died before it could delete one row, and one that died before it could open another session.
    for n in [1, 2] {
        let row = (session_id(n, 3).as_bytes().to_vec(), account.id.as_bytes().to_vec());
        cql(
            &session,
            "INSERT INTO checkpoints (shard, bucket, session, account, last_seen) VALUES (0, 3, ?, ?, 1000) \
             USING TIMESTAMP 1000",
            row,
        )
        .await;
    }
    assert_eq!(recovered(&store).await, []);
    assert_eq!(count(&session, "checkpoints").await, 1, "a session that nobody knows may be about to open");
}

#[tokio::test]
async fn the_clock_is_found_by_the_checkpoints_when_it_was_not_kept() {
    let keyspace = Lent::empty().await;
    let session = keyspace.session().await;
    let store: Subject = Arc::new(keyspace.open().await);
    let account = made(&store, 1).await;
    done(&store, &account, &opening(&account, super::store::session(session_id(1, 3), 1_000))).await;
    cql(&session, "TRUNCATE clock", ()).await;
    let fact = store.clock().await.expect("works").expect("a session is open");
    assert_eq!((fact.last_alive.as_ms(), fact.wall), (1_000, wall(1_000)));
    store.checkpoint(3, &[row(session_id(1, 3), 4_000)]).await.expect("works");
    let fact = store.clock().await.expect("works").expect("a session is open");
    assert_eq!((fact.last_alive.as_ms(), fact.wall), (4_000, wall(4_000)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_that_start_at_once_make_one_keyspace() {
    let options = ScyllaOptions::new(vec![keyspaces::server().addr().to_string()], "at_once".to_owned());
    let starts: Vec<_> = (0..4)
        .map(|_| {
            let options = options.clone();
            tokio::spawn(async move { ScyllaStore::open(&options, Arc::new(OsEntropy)).await })
        })
        .collect();
    let mut stores: Vec<Subject> = Vec::new();
    for start in starts {
        stores.push(Arc::new(start.await.expect("no panic").expect("the store opens")));
    }
    let account = made(&stores[0], 1).await;
    for store in &stores {
        assert_eq!(now(store, &account.id).await, account);
    }
}

#[tokio::test]
async fn a_keyspace_of_a_newer_version_is_refused() {
    let keyspace = Lent::empty().await;
    let (_, session) = (keyspace.open().await, keyspace.session().await);
    cql(&session, "UPDATE schema_version SET version = 99 WHERE one = 1 IF version > 0", ()).await;
    let refused = ScyllaStore::open(&keyspace.options(), Arc::new(OsEntropy)).await;
    cql(&session, "UPDATE schema_version SET version = 1 WHERE one = 1 IF version = 99", ()).await;
    match refused.err() {
        Some(StoreError::Refused(why)) => assert!(why.contains("99"), "{why}"),
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn racing_acts_of_two_processes_each_happen_once() {
    let keyspace = Lent::empty().await;
    let stores: [Subject; 2] = [Arc::new(keyspace.open().await), Arc::new(keyspace.open().await)];
    let account = made(&stores[0], 1).await;
    let racers: Vec<_> = (0..20)
        .map(|n| {
            let (store, id) = (Arc::clone(&stores[n % 2]), account.id);
            tokio::spawn(async move {
                loop {
                    let seen = now(&store, &id).await;
                    match store.commit(&granting(&seen, 1, &format!("racer-{n}")), None).await {
                        Ok(Commit::Done(_)) => break,
                        // Not answered in time, and then settled: asked again, it is repeated if it was written.
                        Ok(Commit::Conflict) | Err(StoreError::Unavailable(_)) => {}
                        Ok(Commit::Repeated(_)) => break,
                        Err(error) => panic!("{error}"),
                    }
                }
            })
        })
        .collect();
    for racer in racers {
        racer.await.expect("no panic");
    }
    let ledger = stores[0].entries(&account.id, 0, 100).await.expect("works");
    assert_eq!(ledger.iter().filter(|entry| entry.kind == EntryKind::Grant).count(), 20);
    assert_eq!(now(&stores[1], &account.id).await.balance.as_ms(), 20);
}

#[tokio::test]
async fn nodes_that_decide_elsewhere_are_refused() {
    let keyspace = Lent::empty().await;
    let session = keyspace.session().await;
    drop(keyspace.open().await);
    let options = |consistency, datacenter: Option<&str>| ScyllaOptions {
        consistency,
        datacenter: datacenter.map(str::to_owned),
        ..keyspace.options()
    };
    let open = async |options| ScyllaStore::open(&options, Arc::new(OsEntropy)).await.map(drop);
    let named = options(Consistency::Local, Some("datacenter1"));
    open(named).await.expect("it is the only one");
    let elsewhere = [options(Consistency::Global, None), options(Consistency::Local, Some("datacenter2"))];
    for options in elsewhere {
        let refused = open(options).await.expect_err("two nodes would find two majorities");
        assert!(matches!(refused, StoreError::Refused(_)), "{refused}");
    }
    // As an operator does who has stopped all nodes.
    cql(&session, "DELETE FROM deciding WHERE one = 1", ()).await;
    open(options(Consistency::Global, None)).await.expect("all of them are to");
    open(options(Consistency::Local, None)).await.expect_err("and not each by itself");
}
