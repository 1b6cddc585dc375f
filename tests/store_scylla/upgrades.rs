//! Keyspaces that an earlier version wrote.

use std::sync::Arc;

use gastank::{entropy::OsEntropy, store::ScyllaStore};

use super::{keyspaces::Lent, store};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_keyspace_of_the_first_version_is_brought_up_to_date_by_many_at_once() {
    let keyspace = Lent::empty().await;
    let earlier = keyspace.open().await;
    let account = store::made(&(Arc::new(earlier) as store::Subject), 1).await;
    let session = keyspace.session().await;
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
    let version = session.query_unpaged("SELECT version FROM schema_version WHERE one = 1", ()).await.expect("works");
    let version = version.into_rows_result().expect("rows").first_row::<(i32,)>().expect("a row");
    assert_eq!(version, (6,));
}
