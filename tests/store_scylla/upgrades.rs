//! Keyspaces that an earlier version wrote.

use std::{sync::Arc, time::Duration};

use gastank::{entropy::OsEntropy, store::ScyllaStore};
use scylla::client::session::Session as Cql;

use super::{
    crashes::cql,
    keyspaces::{self, Lent},
    proxy::Proxy,
    store,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_keyspace_of_the_first_version_is_brought_up_to_date_by_many_at_once() {
    let keyspace = Lent::empty().await;
    let earlier = keyspace.open().await;
    let account = store::made(&(Arc::new(earlier) as store::Subject), 1).await;
    let session = keyspace.session().await;
    let newest = version(&session).await;
    for table in ["history", "deletions", "deciding"] {
        session.query_unpaged(format!("DROP TABLE {table}"), ()).await.expect("works");
    }
    // Whoever brought it up to date before died half way.
    for column in ["renewed_clock", "activations"] {
        session.query_unpaged(format!("ALTER TABLE accounts DROP {column}"), ()).await.expect("works");
    }
    session.query_unpaged("UPDATE schema_version SET version = 1 WHERE one = 1 IF EXISTS", ()).await.expect("works");

    let options = keyspace.options();
    let open = || ScyllaStore::open(&options, Arc::new(OsEntropy));
    let (one, two, three) = tokio::join!(Box::pin(open()), Box::pin(open()), Box::pin(open()));
    for opened in [one, two, three] {
        let opened: store::Subject = Arc::new(opened.expect("opens"));
        assert_eq!(store::now(&opened, &account.id).await, account);
    }
    assert_eq!(version(&session).await, newest);
}

/// The version that the keyspace has.
async fn version(session: &Cql) -> i32 {
    let read = session.query_unpaged("SELECT version FROM schema_version WHERE one = 1", ()).await.expect("works");
    read.into_rows_result().expect("rows").first_row::<(i32,)>().expect("a row").0
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_loses_the_right_to_migrate_writes_no_version() {
    let keyspace = Lent::empty().await;
    drop(keyspace.open().await);
    let session = keyspace.session().await;
    let newest = version(&session).await;
    cql(&session, "DROP TABLE deletions", ()).await;
    cql(&session, "UPDATE schema_version SET version = 5 WHERE one = 1 IF EXISTS", ()).await;
    let proxy = Proxy::to(keyspaces::server().addr(), 1, Duration::ZERO).await;
    let mut options = keyspace.options();
    options.nodes = vec![proxy.addr().to_string()];
    proxy.holds(b"IF NOT EXISTS deletions");
    let opening =
        tokio::spawn(async move { Box::pin(ScyllaStore::open(&options, Arc::new(OsEntropy))).await.map(drop) });
    proxy.has_one().await;
    // Its lease has run out, and another has it.
    cql(&session, "UPDATE schema_version SET holder = 0x09 WHERE one = 1 IF holder != null", ()).await;
    proxy.lets_go();
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    assert!(!opening.is_finished());
    assert_eq!(version(&session).await, 5, "it is for the other to say");
    // The other died.
    cql(&session, "UPDATE schema_version SET holder = null WHERE one = 1 IF holder = 0x09", ()).await;
    opening.await.expect("no panic").expect("it goes on where the other did not");
    assert_eq!(version(&session).await, newest);
}
