//! The embedded store when the disk, the file or another program does not play along.

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::Arc,
    time::Duration,
};

use gastank::{
    deadline::{Late, carry, within},
    engine::{Act, ActivationNames, Credit, Source},
    store::{Commit, Profile, Replaced, SqliteOptions, SqliteStore, StoreError},
    wire::EndReason,
};
use rusqlite::Connection;

use crate::store::{
    self, Subject, account_id, closing, done, granting, identity, made, now, opening, recovered, row, session,
    session_id, wall,
};

struct Place {
    dir: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().expect("a temporary directory") }
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("gastank.db")
    }

    fn open(&self) -> Subject {
        self.open_with(&SqliteOptions::default())
    }

    fn open_with(&self, options: &SqliteOptions) -> Subject {
        Arc::new(SqliteStore::open(&self.path(), options).expect("opens"))
    }

    fn refuses(&self) -> StoreError {
        SqliteStore::open(&self.path(), &SqliteOptions::default()).err().expect("is refused")
    }
}

#[tokio::test]
async fn the_file_is_the_owners_alone() {
    use std::os::unix::fs::PermissionsExt;
    let place = Place::new();
    let store = place.open();
    made(&store, 1).await;
    for suffix in ["", "-wal", "-shm", ".lock"] {
        let mut name = place.path().into_os_string();
        name.push(suffix);
        let mode = fs::metadata(PathBuf::from(name)).expect("is there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "of the file{suffix}");
    }
}

#[tokio::test]
async fn a_second_opener_is_refused_until_the_first_lets_go() {
    let place = Place::new();
    let store = place.open();
    let error = place.refuses();
    assert!(matches!(error, StoreError::Refused(_)));
    let text = error.to_string();
    assert!(text.starts_with("another gastank is using ") && text.ends_with("choose another --data-dir"), "{text}");
    store.close().await.expect("closes");
    let second = place.open();
    drop(second);
    place.open();
}

#[tokio::test]
async fn dropping_without_closing_loses_nothing() {
    let place = Place::new();
    let store = place.open();
    let account = made(&store, 1).await;
    let account = done(&store, &account, &opening(&account, session(session_id(1, 1), 5))).await;
    store.checkpoint(1, &[row(session_id(1, 1), 77)]).await.expect("works");
    drop(store);
    assert_eq!(recovered(&place.open()).await, [(account, 77)]);
}

#[tokio::test]
async fn closing_leaves_one_whole_file() {
    let place = Place::new();
    let store = place.open();
    made(&store, 1).await;
    store.close().await.expect("closes");
    let copy = Place::new();
    fs::copy(place.path(), copy.path()).expect("copies");
    now(&copy.open(), &account_id(1)).await;
}

#[tokio::test]
async fn of_who_is_deleted_no_profile_is_left_in_the_file() {
    let place = Place::new();
    let store = place.open();
    let profiles = || {
        let conn = Connection::open(place.path()).expect("opens");
        let like = "SELECT count(*) FROM hub_people WHERE profile LIKE '%Ada%'";
        conn.query_row(like, [], |row| row.get::<_, i64>(0)).expect("works")
    };
    let account = made(&store, 1).await;
    let profile = Profile { name: Some("Ada".to_owned()), ..Profile::default() };
    assert_eq!(store.put_profile(&account.id, 0, &profile).await.expect("works"), Replaced::Done);
    assert_eq!(profiles(), 1);
    done(&store, &account, &Act { deletes: true, ..account.nothing() }).await;
    assert_eq!(profiles(), 0);
}

#[test]
fn a_file_that_is_none_of_ours_is_refused_and_left_alone() {
    let foreign_database = |path: &Path| {
        let conn = Connection::open(path).expect("opens");
        conn.execute_batch("CREATE TABLE recipes (name TEXT)").expect("works");
    };
    let makers: [&dyn Fn(&Path); 4] = [
        &|path| fs::write(path, b"# just notes\n").expect("writes"),
        &|path| fs::write(path, vec![0; 8192]).expect("writes"),
        &|path| fs::write(path, [b"SQLite format 3\0".as_slice(), &[0xee; 8000]].concat()).expect("writes"),
        &foreign_database,
    ];
    for make in makers {
        let place = Place::new();
        make(&place.path());
        let before = fs::read(place.path()).expect("reads");
        let error = place.refuses();
        assert!(matches!(error, StoreError::Refused(_)), "{error}");
        assert!(error.to_string().contains("is not a gastank data file; restore a backup"), "{error}");
        assert_eq!(fs::read(place.path()).expect("reads"), before);
    }
}

#[tokio::test]
async fn a_damaged_file_is_told_from_a_foreign_one() {
    let place = Place::new();
    let store = place.open();
    for n in 0..200 {
        let account = made(&store, n).await;
        done(&store, &account, &granting(&account, 5, &"name".repeat(100))).await;
    }
    store.close().await.expect("closes");
    drop(store);
    let whole = fs::read(place.path()).expect("reads");

    let mut holed = whole.clone();
    let middle = holed.len() / 2 / 4096 * 4096;
    holed[middle..middle + 4096].fill(0xee);
    let mut without_schema = whole.clone();
    without_schema[100..4096].fill(0xee);
    for damaged in [whole[..whole.len() / 2].to_vec(), holed, without_schema] {
        fs::write(place.path(), damaged).expect("writes");
        let options = SqliteOptions { verify: true, ..SqliteOptions::default() };
        let error = SqliteStore::open(&place.path(), &options).err().expect("is refused");
        assert!(matches!(error, StoreError::Damaged(_)), "{error}");
        assert!(error.to_string().contains("restore a backup"), "{error}");
    }
    fs::write(place.path(), whole).expect("writes");
    now(&place.open(), &account_id(199)).await;
}

#[tokio::test]
async fn a_file_of_the_first_format_is_brought_up_to_date_with_all_that_is_in_it() {
    let place = Place::new();
    let conn = Connection::open(place.path()).expect("makes it");
    conn.execute_batch(include_str!("../../src/store/sqlite/schema.sql")).expect("works");
    conn.pragma_update(None, "application_id", 0x6774_6e6b).expect("works");
    conn.pragma_update(None, "user_version", 1).expect("works");
    conn.execute(
        "INSERT INTO accounts (id, version, balance, entries, created_at, deleted) VALUES (?1, 0, 0, 0, 5, 0)",
        [account_id(1).as_bytes()],
    )
    .expect("works");
    // A session is open.
    conn.execute(
        "UPDATE accounts SET balance = 9000, session = x'00112233445566778899aabbccddeeff', started = 3, started_at = 4, \
         audience = 'edge', token = x'00112233445566778899aabbccddeeff', token_expires_at = 5000, \
         status_list = x'0011223344556677', status_idx = 8 WHERE id = ?1",
        [account_id(1).as_bytes()],
    )
    .expect("works");
    drop(conn);
    let store = place.open();
    let account = now(&store, &account_id(1)).await;
    let session = account.open().expect("it goes on");
    assert_eq!((session.tokens.expires, session.tokens.renewed), (None, None));
    assert_eq!(session.names, ActivationNames::default());
    done(&store, &account, &granting(&account, 5, "a")).await;
    assert_eq!(store.facts(&identity(1)).await.expect("works").revision, 0);
    assert_eq!(store.audit_of_account(&account.id, None, 10).await.expect("works"), []);
    store.close().await.expect("closes");
    let version: i64 = Connection::open(place.path())
        .and_then(|conn| conn.pragma_query_value(None, "user_version", |row| row.get(0)))
        .expect("works");
    assert_eq!(version, 9);
}

#[tokio::test]
async fn a_file_of_a_newer_format_is_refused() {
    let place = Place::new();
    let store = place.open();
    store.close().await.expect("closes");
    let conn = Connection::open(place.path()).expect("opens");
    conn.pragma_update(None, "user_version", 99).expect("works");
    drop(conn);
    let error = place.refuses();
    assert!(matches!(error, StoreError::Refused(_)), "{error}");
    assert!(error.to_string().contains("has data format 99"), "{error}");
}

#[test]
fn a_directory_that_is_not_there_is_refused() {
    let place = Place::new();
    let path = place.path().join("deeper").join("gastank.db");
    let error = SqliteStore::open(&path, &SqliteOptions::default()).err().expect("is refused");
    assert!(matches!(error, StoreError::Refused(_)), "{error}");
    assert!(error.to_string().contains("the directory must exist"), "{error}");
}

/// Fills the store until it refuses, and answers what it has acknowledged.
async fn fill_up(store: &Subject) -> u64 {
    let mut account = made(store, 1).await;
    loop {
        let entries = (1..=20)
            .map(|n| store::grant(account.entries + n, 1, &format!("{}{}", account.entries + n, "x".repeat(400))))
            .collect();
        match store.commit(&Act { entries, ..account.nothing() }, None).await {
            Ok(Commit::Done(after)) => account = after,
            Ok(other) => panic!("{other:?}"),
            Err(StoreError::Unavailable(text)) => {
                assert!(text.contains("full"), "{text}");
                return account.entries;
            }
            Err(other) => panic!("{other:?}"),
        }
        assert!(account.entries < 100_000, "it never fills up");
    }
}

async fn holds_exactly(store: &Subject, entries: u64) {
    let account = now(store, &account_id(1)).await;
    let found = store.entries(&account.id, 0, usize::MAX).await.expect("reading goes on");
    assert_eq!((account.entries, found.len() as u64), (entries, entries));
    assert_eq!(account.balance, Credit::from_ms(i64::try_from(entries).expect("few")));
}

#[tokio::test]
async fn a_full_file_is_unavailable_keeps_what_it_has_and_goes_on_when_there_is_room() {
    let place = Place::new();
    let limited = SqliteOptions { max_pages: Some(100), ..SqliteOptions::default() };
    let store = place.open_with(&limited);
    let entries = fill_up(&store).await;
    assert!(entries > 0);
    holds_exactly(&store, entries).await;
    // What frees space still works, and then so does everything.
    let account = now(&store, &account_id(1)).await;
    done(&store, &account, &Act { deletes: true, ..account.nothing() }).await;
    let other = made(&store, 2).await;
    done(&store, &other, &granting(&other, 5, &"x".repeat(4000))).await;
}

#[tokio::test]
async fn one_act_too_big_for_the_disk_does_not_fail_the_next() {
    let place = Place::new();
    let limited = SqliteOptions { max_pages: Some(100), ..SqliteOptions::default() };
    let store = place.open_with(&limited);
    let account = made(&store, 1).await;
    let big = granting(&account, 5, &"x".repeat(2_000_000));
    assert!(matches!(store.commit(&big, None).await, Err(StoreError::Unavailable(_))));
    done(&store, &account, &granting(&account, 5, "small")).await;
}

/// A disk of a megabyte, where this may be made.
struct SmallDisk {
    dir: tempfile::TempDir,
}

impl SmallDisk {
    fn mount() -> Option<Self> {
        let dir = tempfile::tempdir().ok()?;
        let status = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=1m", "tmpfs"])
            .arg(dir.path())
            .stderr(Stdio::null())
            .status();
        status.ok()?.success().then_some(Self { dir })
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.dir.path()).status();
    }
}

#[tokio::test]
async fn a_full_disk_is_unavailable_keeps_what_it_has_and_goes_on_when_there_is_room() {
    // Mounting takes root. Elsewhere, the test with a limit on the file stands in for this one.
    let Some(disk) = SmallDisk::mount() else { return };
    let path = disk.dir.path().join("gastank.db");
    let ballast = disk.dir.path().join("ballast");
    fs::write(&ballast, vec![1; 300_000]).expect("writes");
    let store: Subject = Arc::new(SqliteStore::open(&path, &SqliteOptions::default()).expect("opens"));
    let entries = fill_up(&store).await;
    holds_exactly(&store, entries).await;

    fs::remove_file(&ballast).expect("removes");
    let account = now(&store, &account_id(1)).await;
    done(&store, &account, &granting(&account, 1, "there is room again")).await;
    holds_exactly(&store, entries + 1).await;
    store.close().await.expect("closes");
    drop(store);
    let store: Subject = Arc::new(SqliteStore::open(&path, &SqliteOptions::default()).expect("opens"));
    holds_exactly(&store, entries + 1).await;
}

#[tokio::test]
async fn a_file_locked_by_another_program_is_unavailable_until_it_is_let_go() {
    let place = Place::new();
    let options = SqliteOptions { busy_timeout: Duration::from_millis(100), ..SqliteOptions::default() };
    let store = place.open_with(&options);
    let account = made(&store, 1).await;
    let other = Connection::open(place.path()).expect("opens");
    other.execute_batch("BEGIN EXCLUSIVE").expect("locks");

    let act = granting(&account, 5, "fuel");
    assert!(matches!(store.commit(&act, None).await, Err(StoreError::Unavailable(_))));
    assert!(matches!(store.checkpoint(1, &[row(session_id(1, 1), 1)]).await, Err(StoreError::Unavailable(_))));
    assert_eq!(now(&store, &account.id).await, account, "reading goes on");

    other.execute_batch("ROLLBACK").expect("unlocks");
    done(&store, &account, &act).await;
}

#[tokio::test]
async fn what_nobody_waits_for_any_more_is_not_written_when_a_lock_is_let_go() {
    let place = Place::new();
    let long = Duration::from_secs(60);
    let options = SqliteOptions { busy_timeout: long, queue_wait: long, ..SqliteOptions::default() };
    let store = place.open_with(&options);
    let account = made(&store, 1).await;
    let other = Connection::open(place.path()).expect("opens");
    other.execute_batch("BEGIN EXCLUSIVE").expect("locks");

    let late = granting(&account, 5, "late");
    // The store gives up at the same instant as its caller does: either may be the first to say so.
    let waited = within(Duration::from_millis(100), store.commit(&late, None)).await;
    assert!(matches!(waited, Err(Late) | Ok(Err(StoreError::Unavailable(_)))), "{waited:?}");
    // A task that goes on without its caller is told in time.
    let carried = within(Duration::from_millis(100), async {
        let (store, late) = (Arc::clone(&store), late.clone());
        Some(tokio::spawn(carry(async move { store.commit(&late, None).await })))
    });
    let carried = carried.await.expect("it is not waited for").expect("it was spawned").await.expect("no panic");
    assert!(matches!(carried, Err(StoreError::Unavailable(_))), "{carried:?}");
    other.execute_batch("ROLLBACK").expect("unlocks");
    done(&store, &account, &granting(&account, 7, "in time")).await;
    assert_eq!(store.entry(&account.id, Source::Admin, "late").await, Ok(None));
}

#[tokio::test]
async fn more_than_may_wait_is_unavailable() {
    let place = Place::new();
    let options = SqliteOptions {
        busy_timeout: Duration::from_secs(2),
        queue_wait: Duration::from_millis(50),
        queue: 2,
        ..SqliteOptions::default()
    };
    let store = place.open_with(&options);
    let account = made(&store, 1).await;
    let other = Connection::open(place.path()).expect("opens");
    other.execute_batch("BEGIN EXCLUSIVE").expect("locks");
    let waiting: Vec<_> = (0..6)
        .map(|n| {
            let (store, act) = (Arc::clone(&store), granting(&account, 5, &format!("n{n}")));
            tokio::spawn(async move { store.commit(&act, None).await })
        })
        .collect();
    tokio::time::sleep(Duration::from_millis(400)).await;
    other.execute_batch("ROLLBACK").expect("unlocks");
    let mut turned_away = 0;
    for answer in waiting {
        match answer.await.expect("no panic") {
            Err(StoreError::Unavailable(text)) => {
                assert!(text.contains("too much is waiting"), "{text}");
                turned_away += 1;
            }
            answer => assert!(matches!(answer, Ok(Commit::Done(_) | Commit::Conflict)), "{answer:?}"),
        }
    }
    assert_eq!(turned_away, 4);
    assert_eq!(now(&store, &account.id).await.version, 1);
}

#[tokio::test]
async fn an_act_that_does_not_fit_its_account_is_refused_alone() {
    let place = Place::new();
    let store = place.open();
    let account = made(&store, 1).await;
    let account = done(&store, &account, &opening(&account, session(session_id(1, 1), 5))).await;
    let fitting = closing(&account, EndReason::Revoked, 9);
    let misfits = [
        Act { opens: Some(session(session_id(2, 1), 6)), ..account.nothing() },
        Act { deletes: true, ..account.nothing() },
        Act { closes: fitting.closes.map(|(_, end)| (session_id(3, 1), end)), ..account.nothing() },
        Act { renews: Some(store::tokens(1, false)), ..fitting.clone() },
        Act { entries: vec![store::grant(2, 1, "gap")], ..account.nothing() },
        Act { entries: vec![store::grant(1, 1, "twice"), store::grant(2, 1, "twice")], ..account.nothing() },
        // A session id that was drawn twice.
        Act { opens: Some(session(session_id(1, 1), 9)), ..fitting.clone() },
    ];
    for misfit in &misfits {
        let answer = store.commit(misfit, None).await;
        assert!(matches!(answer, Err(StoreError::Damaged(_))), "{answer:?} to {misfit:?}");
        assert_eq!(now(&store, &account.id).await, account);
        assert_eq!(recovered(&store).await, [(account.clone(), 5)]);
    }

    // Side by side with acts that fit, in the same transactions.
    let others: Vec<_> = (10..60)
        .map(|n| {
            let (store, misfit) = (Arc::clone(&store), misfits[usize::from(n) % misfits.len()].clone());
            tokio::spawn(async move {
                let (account, bad) = tokio::join!(made(&store, n), store.commit(&misfit, None));
                assert!(matches!(bad, Err(StoreError::Damaged(_))));
                done(&store, &account, &granting(&account, 5, "fits")).await;
            })
        })
        .collect();
    for other in others {
        other.await.expect("no panic");
    }
    done(&store, &account, &fitting).await;
}

#[tokio::test]
async fn the_views_are_readable_with_any_sqlite() {
    let place = Place::new();
    let store = place.open();
    let account = made(&store, 1).await;
    let account = done(&store, &account, &granting(&account, 90_000, "fuel")).await;
    done(&store, &account, &opening(&account, session(session_id(1, 1), 1_000))).await;
    let conn = Connection::open(place.path()).expect("opens while it is in use");
    let text = |sql: &str| conn.query_row(sql, [], |row| row.get::<_, String>(0)).expect(sql);
    assert_eq!(
        text("SELECT account || ' ' || kind || ' ' || seconds FROM ledger"),
        format!("01{} grant 90.0", "5a".repeat(15))
    );
    assert_eq!(text("SELECT subject || ' ' || state FROM accounts_readable"), "person-1 running");
    assert_eq!(text("SELECT started_at FROM sessions_readable"), "2023-11-14 22:13:21");
    assert_eq!(text("SELECT audience FROM open_sessions"), "https://edge.example");
    assert_eq!(text("SELECT wall FROM clock_readable"), "2023-11-14 22:13:21");
}

/// Runs this test executable again, as a program that uses a store at `path` until it is killed or done.
fn child(test: &str, path: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("this executable"));
    command.args(["--exact", &format!("faults::{test}"), "--nocapture", "--ignored"]).env("GASTANK_TEST_STORE", path);
    command
}

/// Past the test harness, which would keep it.
fn say(line: &str) {
    writeln!(std::io::stdout(), "{line}").expect("the parent listens");
}

fn path_of_child() -> Option<PathBuf> {
    std::env::var_os("GASTANK_TEST_STORE").map(PathBuf::from)
}

#[tokio::test]
#[ignore = "run by the test that kills it"]
async fn child_that_commits_until_it_is_killed() {
    let Some(path) = path_of_child() else { return };
    let store: Subject = Arc::new(SqliteStore::open(&path, &SqliteOptions::default()).expect("opens"));
    let workers: Vec<_> = (0..8)
        .map(|n| {
            let store = Arc::clone(&store);
            tokio::spawn(async move {
                let mut account = match store.account(&account_id(n)).await.expect("works") {
                    Some(owned) => owned.account,
                    None => made(&store, n).await,
                };
                loop {
                    let name = format!("name-{}", account.entries + 1);
                    match store.commit(&granting(&account, 1, &name), None).await.expect("works") {
                        Commit::Done(after) => account = after,
                        other => panic!("{other:?}"),
                    }
                    say(&format!("acknowledged {n} {}", account.entries));
                }
            })
        })
        .collect();
    for worker in workers {
        let ended: Result<(), _> = worker.await;
        ended.expect("no panic");
    }
}

#[tokio::test]
async fn what_was_acknowledged_survives_kill_9_in_the_middle_of_commits() {
    let place = Place::new();
    let mut acknowledged = [0_u64; 8];
    for round in 0..6_u64 {
        let mut child = child("child_that_commits_until_it_is_killed", &place.path())
            .stdout(Stdio::piped())
            .spawn()
            .expect("starts");
        let stdout = child.stdout.take().expect("piped");
        let reader = std::thread::spawn(move || {
            let mut seen = Vec::new();
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                let Some(rest) = line.split("acknowledged ").nth(1) else { continue };
                let mut parts = rest.split(' ').map(str::parse::<u64>);
                if let (Some(Ok(n)), Some(Ok(entries))) = (parts.next(), parts.next()) {
                    seen.push((usize::try_from(n).expect("small"), entries));
                }
            }
            seen
        });
        std::thread::sleep(Duration::from_millis(150 + 37 * round));
        child.kill().expect("is killed");
        child.wait().expect("is gone");
        for (n, entries) in reader.join().expect("no panic") {
            acknowledged[n] = acknowledged[n].max(entries);
        }

        let conn = Connection::open(place.path()).expect("opens");
        let verdict: String = conn.query_row("PRAGMA integrity_check", [], |row| row.get(0)).expect("works");
        assert_eq!(verdict, "ok");
        drop(conn);
        let store = place.open();
        for (n, entries) in (0..).zip(acknowledged) {
            let Some(owned) = store.account(&account_id(n)).await.expect("works") else {
                assert_eq!(entries, 0);
                continue;
            };
            let account = owned.account;
            let ledger = store.entries(&account.id, 0, usize::MAX).await.expect("works");
            assert!(account.entries >= entries, "account {n} lost an entry");
            assert_eq!((ledger.len() as u64, account.version), (account.entries, account.entries));
            assert_eq!(account.balance, ledger.iter().fold(Credit::ZERO, |sum, entry| sum.plus(entry.amount)));
            if entries > 0 {
                let last = store.entry(&account.id, Source::Admin, &format!("name-{entries}")).await.expect("works");
                assert_eq!(last.map(|entry| entry.number), Some(entries));
            }
        }
        store.close().await.expect("closes");
    }
    assert!(acknowledged.iter().all(|entries| *entries > 0), "nothing was going on: {acknowledged:?}");
}

#[test]
#[ignore = "run by the test that drops its rights"]
fn child_without_rights() {
    let Some(path) = path_of_child() else { return };
    match SqliteStore::open(&path, &SqliteOptions::default()) {
        Ok(_) => say("opened"),
        Err(StoreError::Refused(text)) => say(&format!("refused: {text}")),
        Err(error) => say(&format!("failed: {error}")),
    }
}

/// What a program without root's rights is told when it opens the store at `path`. `None` where that cannot be tried.
fn as_nobody(path: &Path) -> Option<String> {
    use std::os::unix::process::CommandExt;
    let output = child("child_without_rights", path).uid(65_534).gid(65_534).output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.contains("running 1 test").then_some(text)
}

#[tokio::test]
async fn a_file_or_directory_that_may_not_be_written_is_refused() {
    use std::os::unix::fs::PermissionsExt;
    let place = Place::new();
    fs::set_permissions(place.dir.path(), fs::Permissions::from_mode(0o755)).expect("works");
    let Some(text) = as_nobody(&place.path()) else { return };
    assert!(text.contains("refused: cannot write") && text.contains("belong to the user who runs gastank"), "{text}");

    let store = place.open();
    let _ = store.create_account(account_id(1), &identity(1), wall(0)).await.expect("works");
    store.close().await.expect("closes");
    fs::set_permissions(place.dir.path(), fs::Permissions::from_mode(0o777)).expect("works");
    let lock = place.path().with_extension("db.lock");
    fs::set_permissions(&lock, fs::Permissions::from_mode(0o666)).expect("works");
    let text = as_nobody(&place.path()).expect("worked before");
    assert!(text.contains("refused: cannot read"), "{text}");
    fs::set_permissions(place.path(), fs::Permissions::from_mode(0o444)).expect("works");
    let text = as_nobody(&place.path()).expect("worked before");
    assert!(text.contains("refused: ") && text.contains("is read-only"), "{text}");
}
