//! Moving from a data file into a keyspace: whole, in pieces, and not where it may not be.

#![expect(clippy::unwrap_used, reason = "what cannot be done here fails the test")]

use std::{
    collections::BTreeSet,
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use async_trait::async_trait;
use gastank::{
    store::{
        Created, ScyllaTarget, SqliteOptions, SqliteStore, StoreError,
        moving::{Copied, Mark, MoveError, Moving, Row, Step, Table, Target, Watch, copy},
        roles::*,
    },
    time::UnixMs,
};
use tempfile::TempDir;

use super::{
    store::{granting, identity, made},
    *,
};
use crate::crowd::Crowd;

const NOW: UnixMs = UnixMs::from_ms(1_800_000_000_000);
const NAME: &str = "sqlite:/somewhere/gastank.db";

/// A data file with a crowd in it.
struct House {
    _dir: TempDir,
    store: SqliteStore,
    crowd: Crowd,
}

impl House {
    async fn of(accounts: u64) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = SqliteStore::open(&dir.path().join("gastank.db"), &SqliteOptions::default()).unwrap();
        let crowd = Crowd::make(&store, accounts, accounts).await;
        Self { _dir: dir, store, crowd }
    }
}

async fn target(keyspace: &Lent) -> ScyllaTarget {
    ScyllaTarget::open(&keyspace.options(), Arc::new(OsEntropy), NOW).await.unwrap()
}

async fn refused(keyspace: &Lent) -> String {
    match ScyllaStore::open(&keyspace.options(), Arc::new(OsEntropy)).await.err() {
        Some(StoreError::Refused(why)) => why,
        other => panic!("{other:?}"),
    }
}

async fn moved(house: &House, target: &dyn Target) -> Result<Copied, MoveError> {
    copy(&house.store, target, NAME, &|| NOW, &Told::default()).await
}

/// Sees to it that progress is told in order.
#[derive(Default)]
struct Told(Mutex<Vec<(Step, u64)>>);

impl Watch for Told {
    fn at(&self, step: Step, done: u64, of: Option<u64>) {
        assert!(of.is_none_or(|of| done <= of || step == Step::Comparing));
        let mut told = self.0.lock().unwrap();
        match told.last_mut() {
            Some((last, before)) if *last == step => {
                assert!(*before <= done);
                *before = done;
            }
            _ => {
                assert!(told.iter().all(|(before, _)| *before != step));
                told.push((step, done));
            }
        }
    }
}

/// A target that dies in the middle of a page: of its rows, only some are written.
struct Dying<'a> {
    target: &'a ScyllaTarget,
    pages: AtomicU64,
    share: usize,
    /// It only seems to die: so often it says that it will do better.
    hiccups: AtomicU64,
}

impl<'a> Dying<'a> {
    /// Dies at this page, and writes one row in `share` of it.
    fn at(page: u64, target: &'a ScyllaTarget, share: usize) -> Self {
        Self { target, pages: AtomicU64::new(page), share, hiccups: AtomicU64::new(0) }
    }
}

#[async_trait]
impl Target for Dying<'_> {
    async fn moving(&self) -> gastank::store::Result<Option<Moving>> {
        self.target.moving().await
    }

    async fn begin(&self, moving: &Moving) -> gastank::store::Result<()> {
        self.target.begin(moving).await
    }

    async fn write(&self, rows: &[Row]) -> gastank::store::Result<()> {
        let some: Vec<Row> = rows.iter().step_by(self.share).cloned().collect();
        let hiccup = self.hiccups.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
        if hiccup.is_ok() {
            self.target.write(&some).await?;
            return Err(StoreError::Unavailable("it hesitates".to_owned()));
        }
        if self.pages.fetch_sub(1, Ordering::SeqCst) > 1 {
            return self.target.write(rows).await;
        }
        self.target.write(&some).await?;
        Err(StoreError::Damaged("it died".to_owned()))
    }

    async fn reach(&self, source: &[u8; 32], rows: u64) -> gastank::store::Result<()> {
        self.target.reach(source, rows).await
    }

    async fn end(&self, source: &[u8; 32], at: UnixMs) -> gastank::store::Result<()> {
        self.target.end(source, at).await
    }

    fn expect(&self, row: &Row, note: &mut (dyn FnMut(Mark) + Send)) -> gastank::store::Result<()> {
        self.target.expect(row, note)
    }

    async fn survey(&self, note: &mut (dyn FnMut(Mark) + Send)) -> gastank::store::Result<()> {
        self.target.survey(note).await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crowd_that_moves_in_pieces_is_the_same_crowd_afterwards() {
    let (house, keyspace) = (House::of(3000).await, Lent::empty().await);
    let mut resumed = BTreeSet::new();
    for share in 2..6 {
        // Each time by another process.
        let target = target(&keyspace).await;
        let dying = Dying::at(2, &target, share);
        match moved(&house, &dying).await {
            Err(MoveError::Store(StoreError::Damaged(_))) => {}
            other => panic!("{other:?}"),
        }
        assert!(resumed.insert(target.moving().await.unwrap().unwrap().rows), "it goes on where it was");
        let why = refused(&keyspace).await;
        assert!(why.contains(NAME) && why.contains("gastank store copy") && why.contains(&keyspace.name()), "{why}");
    }
    let copied = moved(&house, &target(&keyspace).await).await.unwrap();
    assert_eq!(Some(&copied.resumed_at), resumed.last());
    let rows = |table| copied.rows.iter().find(|(of, _)| *of == table).map_or(0, |(_, rows)| *rows);
    assert_eq!(usize::try_from(rows(Table::Account)).unwrap(), house.crowd.len(), "deleted ones too");
    for table in [
        Table::Entry,
        Table::Session,
        Table::Checkpoint,
        Table::AccountKey,
        Table::Audit,
        Table::Held,
        Table::Person,
        Table::HubSession,
        Table::Handle,
    ] {
        assert!(rows(table) > 300, "{table:?}: {}", rows(table));
    }
    assert!(rows(Table::HubClient) > 0 && rows(Table::Reward) > 0, "{:?}", copied.rows);

    // Asked for again, there is nothing to do.
    let again = moved(&house, &target(&keyspace).await).await.unwrap();
    assert_eq!((again.since, again.rows), (Some(NOW), copied.rows));
    let store: Subject = Arc::new(keyspace.open().await);
    house.crowd.is_the_same_in(&house.store, &*store).await;

    // Whoever has gone stays gone, and whoever comes finds a store like any other.
    let account = made(&store, 1).await;
    store::done(&store, &account, &granting(&account, 10, "first")).await;
    match moved(&house, &target(&keyspace).await).await {
        Ok(Copied { since: Some(_), .. }) => {}
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_differs_is_named_and_what_is_missing_is_written_by_the_next_run() {
    let (house, keyspace) = (House::of(40).await, Lent::empty().await);
    let (into, session) = (target(&keyspace).await, keyspace.session().await);
    // As if the last page were there already, and the copy were about to compare.
    let died = moved(&house, &Dying::at(1, &into, usize::MAX)).await;
    assert!(died.is_err());
    let Moving { source, .. } = into.moving().await.unwrap().unwrap();
    into.reach(&source, u64::MAX >> 1).await.unwrap();
    let differences = match moved(&house, &into).await {
        Err(error @ MoveError::Differs(_)) => error.to_string(),
        other => panic!("{other:?}"),
    };
    for table in ["accounts: 40 here, 0 there", "ledger entries: ", "meter clocks: 1 here, 0 there", "is missing"] {
        assert!(differences.contains(table), "{table}: {differences}");
    }
    assert!(refused(&keyspace).await.contains("gastank store copy"));

    // What should not be there, and is: nobody takes it away but who put it there.
    let stray = "INSERT INTO sessions (id, account, started) VALUES (?, ?, 7)";
    session.query_unpaged(stray, ([9_u8; 16].as_slice(), [9_u8; 16].as_slice())).await.unwrap();
    let differences = match moved(&house, &into).await {
        Err(MoveError::Differs(differences)) => differences,
        other => panic!("{other:?}"),
    };
    assert_eq!(differences.len(), 1, "{differences:?}");
    assert_eq!(differences[0].table, Table::SessionPointer);
    assert!(differences[0].to_string().contains("CQkJCQkJCQkJCQkJCQkJCQ is not in the source"), "{}", differences[0]);
    session.query_unpaged("DELETE FROM sessions WHERE id = ?", ([9_u8; 16].as_slice(),)).await.unwrap();
    let hesitates = Dying { hiccups: AtomicU64::new(2), ..Dying::at(u64::MAX, &into, 3) };
    into.reach(&source, 0).await.unwrap();
    moved(&house, &hesitates).await.unwrap();
    assert_eq!(hesitates.hiccups.into_inner(), 0);
    house.crowd.is_the_same_in(&house.store, &keyspace.open().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_moves_into_what_has_other_things_or_out_of_what_changes() {
    let (house, keyspace) = (House::of(20).await, Lent::empty().await);
    let store: Subject = Arc::new(keyspace.open().await);
    made(&store, 1).await;
    let into = target(&keyspace).await;
    match moved(&house, &into).await {
        Err(MoveError::Store(StoreError::Refused(why))) => {
            assert!(why.contains("not empty") && why.contains("accounts") && why.contains(&keyspace.name()), "{why}");
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(into.moving().await.unwrap(), None, "the service goes on");
    drop(keyspace.open().await);

    let keyspace = Lent::empty().await;
    let into = target(&keyspace).await;
    assert!(moved(&house, &Dying::at(1, &into, 2)).await.is_err());
    let (_, created) = house.store.create_account(store::account_id(1), &identity(1), store::wall(1)).await.unwrap();
    assert_eq!(created, Created::New);
    match moved(&house, &into).await {
        Err(error @ MoveError::Other { ended: false, .. }) => assert!(error.to_string().contains(NAME), "{error}"),
        other => panic!("{other:?}"),
    }
}

/// When each step began, and how many rows it was told of.
#[derive(Default)]
struct Timed(Mutex<Vec<(Step, Instant, u64)>>);

impl Watch for Timed {
    #[expect(clippy::disallowed_methods, reason = "how long it takes is what is asked")]
    fn at(&self, step: Step, done: u64, _: Option<u64>) {
        let mut steps = self.0.lock().unwrap();
        match steps.last_mut() {
            Some((last, _, rows)) if *last == step => *rows = done,
            _ => steps.push((step, Instant::now(), done)),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes minutes, and tells how fast it is: run with --ignored --nocapture"]
#[expect(clippy::disallowed_methods, reason = "how long it takes is what is asked")]
async fn a_town_moves() {
    let (house, keyspace, timed) = (House::of(20_000).await, Lent::empty().await, Timed::default());
    let copied = copy(&house.store, &target(&keyspace).await, NAME, &|| NOW, &timed).await.unwrap();
    for (table, rows) in copied.rows {
        println!("{rows:>8} {}", table.name());
    }
    let steps = timed.0.into_inner().unwrap();
    let ends = steps.iter().skip(1).map(|(_, began, _)| *began).chain([Instant::now()]);
    for ((step, began, rows), end) in steps.iter().zip(ends) {
        let took = end.duration_since(*began);
        println!("{}: {rows} rows in {took:.1?}, {:.0} a second", step.name(), *rows as f64 / took.as_secs_f64());
    }
}
