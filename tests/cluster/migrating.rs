//! Tables that are made and changed while two nodes serve.

use std::{process::Stdio, time::Duration};

use scylla::client::{session::Session, session_builder::SessionBuilder};

use crate::{
    HANGS, SERVER,
    client::Api,
    load::{At, Load},
    nodes::another,
    settings,
    support::{self, Home, Service, stdout_of},
};

const KEYSPACE: &str = "migrating";
/// The first version of the keyspace: what an old gastank left behind.
const FIRST: &str = include_str!("../../src/store/scylla/schema.cql");
/// Processes that migrate at the same time.
const AT_ONCE: usize = 4;

/// The keyspace as the first version of the program made it.
async fn an_old_keyspace() -> Session {
    let addr = tokio::task::spawn_blocking(|| SERVER.addr()).await.unwrap();
    let session = SessionBuilder::new().known_node_addr(addr).build().await.unwrap();
    let make = format!(
        "CREATE KEYSPACE {KEYSPACE} WITH replication = {{'class': 'NetworkTopologyStrategy', 'replication_factor': 1}}"
    );
    let lines: Vec<_> = FIRST.lines().filter(|line| !line.trim_start().starts_with("--")).collect();
    let tables = lines.join("\n") + "\n";
    let version = "CREATE TABLE schema_version (one tinyint PRIMARY KEY, version int, holder blob)";
    session.query_unpaged(make, ()).await.unwrap();
    session.use_keyspace(KEYSPACE, true).await.unwrap();
    for statement in std::iter::once(version).chain(tables.split(";\n")).filter(|text| !text.trim().is_empty()) {
        session.query_unpaged(statement, ()).await.unwrap();
    }
    let is_first = "INSERT INTO schema_version (one, version) VALUES (1, 1) IF NOT EXISTS";
    session.query_unpaged(is_first, ()).await.unwrap();
    session
}

async fn version(session: &Session) -> i32 {
    let rows = session.query_unpaged("SELECT version FROM schema_version WHERE one = 1", ()).await.unwrap();
    rows.into_rows_result().unwrap().single_row::<(i32,)>().unwrap().0
}

/// All at once; each must succeed.
async fn migrate(store: &str) {
    let migrating: Vec<_> = (0..AT_ONCE)
        .map(|_| {
            let mut command = support::gastank();
            command.args(["store", "migrate", "--store", store]).stdout(Stdio::piped()).stderr(Stdio::piped());
            let process = command.spawn().unwrap();
            tokio::task::spawn_blocking(move || stdout_of(&process.wait_with_output().unwrap()))
        })
        .collect();
    for process in migrating {
        process.await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tables_are_changed_by_many_at_once_while_nodes_serve() {
    let _calm = HANGS.read().await;
    let session = an_old_keyspace().await;
    let (home, store) = (Home::new(), format!("scylla://{}/{KEYSPACE}", SERVER.addr()));
    let first = Service::start_with(&home, &settings(&store));
    let other = another(&home);
    let second = Service::start_with(&other, &settings(&store));
    let apis = [Api::new(&first, &home), Api::new(&second, &other)];
    let latest = version(&session).await;
    println!("from version 1 to version {latest} by the first start");
    let load = Load::begin(&apis, &[At::Node(0), At::Node(1), At::All]).await;
    load.go_on_until("it has begun", async |so_far| so_far.acts >= 6).await;

    // Nothing to do.
    migrate(&store).await;
    for _ in 0..2 {
        // All to do again, and a table to make.
        session.query_unpaged("DROP TABLE erasures", ()).await.unwrap();
        session.query_unpaged("UPDATE schema_version SET version = 0 WHERE one = 1 IF EXISTS", ()).await.unwrap();
        migrate(&store).await;
        assert_eq!(version(&session).await, latest);
        session.query_unpaged("SELECT account FROM erasures WHERE one = 1", ()).await.expect("it is there again");
    }
    load.go_on_for(Duration::from_secs(1)).await;
    let all = load.tally();
    all.beats_went_on();
    all.nobody_was_turned_away();
    assert!(all.acts > all.put_off + all.unknown, "{all:?}");
    load.ends_well().await;
    for (home, api) in [(&home, &apis[0]), (&other, &apis[1])] {
        let said = home.said();
        assert!(!said.contains("ERROR"), "{said}");
        assert_eq!(api.metric("gastank_store_up", "").await, 1.0);
    }
    assert!(first.stop().success());
    assert!(second.stop().success());
}
