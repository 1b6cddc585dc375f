//! Acts of two processes, each on a bad way to the server ([`proxy`](super::proxy)): statements are lost, done without an
//! answer, done late, and connections break between the statements of an act. Nothing that was acknowledged is lost, nothing
//! is done twice, what was refused leaves nothing, the sums are right, and an erased person is gone.

use std::{
    collections::{HashMap, HashSet},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use futures_util::future::join_all;
use gastank::{
    engine::{Account, AccountId, Act, Entry, bucket},
    store::{AccountKey, Added, Commit, KeyScope, ScyllaStore, StoreError, roles::*},
    wire::{EndReason, SessionId},
};

use super::{
    crashes::count,
    keyspaces::Lent,
    lanes::{LATE, on_a_bad_way},
    leftovers::{HOUR, clear, personal},
    proxy::Fate,
    store::*,
};
use crate::dice::Dice;

const SEED: u64 = 1;
/// People; the first two are deleted now and then. Workers of each process, and what each of them does.
const PEOPLE: u8 = 5;
const WORKERS: usize = 4;
const STEPS: usize = 24;

/// What became of acts, as those know who asked.
#[derive(Default)]
struct Outcomes {
    acked: Vec<Act>,
    refused: Vec<Act>,
    unknown: Vec<Act>,
}

/// Asks until it is answered.
async fn answered<T>(mut ask: impl AsyncFnMut() -> Result<T, StoreError>) -> T {
    for _ in 0..100 {
        match ask().await {
            Ok(answer) => return answer,
            Err(StoreError::Unavailable(_)) => tokio::time::sleep(Duration::from_millis(20)).await,
            Err(error) => panic!("{error}"),
        }
    }
    panic!("it is never answered");
}

/// An account, asked for until it is answered.
async fn read(store: &ScyllaStore, id: &AccountId) -> Account {
    loop {
        match store.account(id).await {
            Ok(owned) => return owned.expect("it was made").account,
            Err(StoreError::Unavailable(_)) => tokio::time::sleep(Duration::from_millis(20)).await,
            Err(error) => panic!("{error}"),
        }
    }
}

/// Does what comes to mind, to anybody.
async fn work(
    store: Arc<ScyllaStore>,
    people: Vec<AccountId>,
    number: usize,
    mut dice: Dice,
    clock: Arc<AtomicU64>,
) -> Outcomes {
    let mut outcomes = Outcomes::default();
    for step in 0..STEPS {
        let person = usize::try_from(dice.below(u64::from(PEOPLE))).expect("few");
        let account = read(&store, &people[person]).await;
        if account.deleted {
            continue;
        }
        let at = clock.fetch_add(3, Ordering::SeqCst);
        let act = match dice.below(20) {
            0..=7 => granting(&account, 60_000, &format!("{number}-{step}")),
            8..=9 => granting(&account, 7_000, &format!("same-{}", dice.below(4))),
            10..=14 => {
                let mut act = match account.open() {
                    Some(open) => closing(&account, EndReason::Superseded, at.max(open.started.as_ms())),
                    None => account.nothing(),
                };
                act.opens = Some(session(SessionId::from_bytes(wide(&mut dice)), at));
                act
            }
            15..=17 => match account.open() {
                Some(open) => closing(&account, EndReason::Deactivated, at.max(open.started.as_ms())),
                None => continue,
            },
            18 if person < 2 => {
                let act = match account.open() {
                    Some(open) => closing(&account, EndReason::AccountDeleted, at.max(open.started.as_ms())),
                    None => account.nothing(),
                };
                Act { deletes: true, ..act }
            }
            _ => {
                if let Some(open) = account.open() {
                    let row = row(open.id, at.max(open.started.as_ms()));
                    drop(store.checkpoint(bucket(&open.id), &[row]).await);
                }
                continue;
            }
        };
        match store.commit(&act, None).await {
            Ok(Commit::Done(after)) => {
                assert_eq!(after, account.after(&act));
                outcomes.acked.push(act);
            }
            Ok(Commit::Conflict | Commit::Repeated(_)) => outcomes.refused.push(act),
            Err(StoreError::Unavailable(_)) => outcomes.unknown.push(act),
            Err(error) => panic!("{error}"),
        }
    }
    outcomes
}

fn wide(dice: &mut Dice) -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&dice.below(u64::MAX).to_le_bytes());
    bytes[8..].copy_from_slice(&dice.below(u64::MAX).to_le_bytes());
    bytes
}

/// Makes people in both processes at the same time: each is one, whoever made them.
async fn people(stores: &[Arc<ScyllaStore>; 2]) -> Vec<AccountId> {
    let mut people = Vec::new();
    for n in 0..PEOPLE {
        let make = async |by: u8| {
            let id = account_id(n + 100 * by);
            answered(async || stores[usize::from(by)].create_account(id, &identity(n), wall(0)).await)
                .await
                .0
                .account
                .id
        };
        let (one, other) = tokio::join!(make(0), make(1));
        assert_eq!(one, other, "person {n} has one account");
        let key = AccountKey {
            key_id: format!("k{n}"),
            account: one,
            hash: [n; 32],
            created_at: wall(0),
            scope: KeyScope::Account,
        };
        assert_eq!(answered(async || stores[0].add_account_key(&key).await).await, Added::Done);
        people.push(one);
    }
    people
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_becomes_of_statements_what_was_acknowledged_is_there_once_and_adds_up() {
    let seed = std::env::var("UNKIND_SEED").map_or(SEED, |seed| seed.parse().expect("a number"));
    let keyspace = Lent::empty().await;
    let ((one, first), (other, second)) =
        tokio::join!(on_a_bad_way(&keyspace, seed), on_a_bad_way(&keyspace, seed + 1_000));
    let (proxies, stores) = ([one, other], [first, second]);
    proxies.iter().for_each(|proxy| proxy.treats_badly(4));
    let people = people(&stores).await;
    let (clock, mut dice) = (Arc::new(AtomicU64::new(1_000)), Dice::new(seed));
    let workers = (0..2 * WORKERS)
        .map(|n| tokio::spawn(work(Arc::clone(&stores[n % 2]), people.clone(), n, dice.fork(), Arc::clone(&clock))));
    let mut outcomes = Outcomes::default();
    for worker in join_all(workers.collect::<Vec<_>>()).await {
        let of_one = worker.expect("no panic");
        outcomes.acked.extend(of_one.acked);
        outcomes.refused.extend(of_one.refused);
        outcomes.unknown.extend(of_one.unknown);
    }
    proxies.iter().for_each(|proxy| proxy.treats_badly(0));
    // What is late comes now.
    tokio::time::sleep(LATE * 2).await;
    for fate in [Fate::LostThere, Fate::LostBack, Fate::Late, Fate::BreaksBefore, Fate::BreaksAfter] {
        println!("{fate:?}: {}", proxies.iter().map(|proxy| proxy.count(fate)).sum::<usize>());
    }
    let Outcomes { acked, refused, unknown } = &outcomes;
    println!("seed {seed}: {} acked, {} refused, {} unknown", acked.len(), refused.len(), unknown.len());
    assert!(acked.len() > STEPS && !unknown.is_empty(), "some are, and some are not");
    drop(stores);

    let store: Subject = Arc::new(keyspace.open().await);
    let cql = keyspace.session().await;
    let mut open = Vec::new();
    for id in &people {
        let account = now(&store, id).await;
        if account.deleted {
            continue;
        }
        is_right(&store, &account, &outcomes).await;
        open.extend(account.open().is_some().then_some(account));
    }
    open.sort_by_key(|account| account.id);
    let found: Vec<Account> = recovered(&store).await.into_iter().map(|(account, _)| account).collect();
    assert_eq!(found, open, "a start finds every session that is open, and no other");
    for act in acked.iter().filter(|act| act.deletes) {
        assert!(now(&store, &act.account).await.deleted, "a deletion that was acknowledged is lost");
    }

    // Attempts that may still be under way are left alone at first.
    let late = clock.load(Ordering::SeqCst) + 3 * HOUR;
    clear(&store, late).await;
    clear(&store, late).await;
    let mut gone = 0;
    for (n, id) in (0..).zip(&people) {
        if now(&store, id).await.deleted {
            gone += 1;
            assert_eq!(personal(&cql, id).await, 0, "{id:?} is not erased");
            assert_eq!(store.account_of(&identity(n)).await.expect("works"), None);
            assert_eq!(store.account_by_key(&[n; 32]).await.expect("works"), None);
        }
    }
    println!("{gone} of {PEOPLE} were deleted, {} have a session", open.len());
    let left = usize::from(PEOPLE) - gone;
    assert_eq!((count(&cql, "identities").await, count(&cql, "directory").await), (left, left));
    assert_eq!((count(&cql, "deletions").await, count(&cql, "account_keys").await), (0, left));
    assert_eq!(count(&cql, "checkpoints").await, open.len(), "nothing points to a session that is over");
    for account in &open {
        assert_eq!(now(&store, &account.id).await, *account, "clearing away changes nobody");
    }
}

/// The ledger of an account is what became of the acts.
async fn is_right(store: &Subject, account: &Account, outcomes: &Outcomes) {
    let mine = |acts: &[Act]| acts.iter().filter(|act| act.account == account.id).cloned().collect::<Vec<_>>();
    let (acked, refused, unknown) = (mine(&outcomes.acked), mine(&outcomes.refused), mine(&outcomes.unknown));
    let ledger = store.entries(&account.id, 0, 10_000).await.expect("works");
    let numbers: Vec<u64> = ledger.iter().map(|entry| entry.number).collect();
    assert_eq!(numbers, (1..=account.entries).collect::<Vec<_>>());
    assert_eq!(ledger.iter().map(|entry| entry.amount.as_ms()).sum::<i64>(), account.balance.as_ms());
    let mut by_name: HashMap<&str, &Entry> = HashMap::new();
    for entry in &ledger {
        assert!(by_name.insert(&entry.external_id, entry).is_none(), "{} was entered twice", entry.external_id);
    }
    let mut decided_on = HashSet::new();
    let mut known: Vec<&Entry> = Vec::new();
    for act in &acked {
        assert!(decided_on.insert(act.expects), "two acts were done on version {}", act.expects);
        for entry in &act.entries {
            assert_eq!(by_name.get(&*entry.external_id), Some(&entry), "an entry that was acknowledged is lost");
        }
        known.extend(&act.entries);
        for (id, is_over) in
            act.opens.iter().map(|session| (session.id, false)).chain(act.closes.map(|(id, _)| (id, true)))
        {
            let record = store.session(&id).await.expect("works").expect("a session that was acknowledged is lost");
            assert!(!is_over || record.end.is_some(), "an end that was acknowledged is lost");
        }
    }
    known.extend(unknown.iter().flat_map(|act| &act.entries));
    for entry in &ledger {
        assert!(known.contains(&entry), "nobody asked for {entry:?}, or was told that it was refused");
    }
    for session in refused.iter().filter_map(|act| act.opens.as_ref()) {
        assert_eq!(store.session(&session.id).await.expect("works"), None, "a session that was refused was opened");
    }
    if let Some(open) = account.open() {
        let record = store.session(&open.id).await.expect("works").expect("an open session is found by its id");
        assert_eq!((record.account, record.end), (account.id, None));
    }
}
