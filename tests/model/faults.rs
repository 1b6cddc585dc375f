//! A store that fails, before or after it has written: acts answer errors, beats and verdicts go on, and all heals.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use gastank::{
    control::{
        acts::{ACT_TIMEOUT, ActError},
        hooks::{
            deposits::{Deposit, Payee},
            events::Events,
        },
    },
    engine::{AccountId, ActivationName, Credit, EntryKind, NewEntry, Policy, SLICES, Source},
    entropy::SeededEntropy,
    identity::{Event, EventKind, ProviderEvents, SignedIn},
    store::{Actor, Created, Identity, StoreError, roles::*},
    time::Millis,
    wire::{EndReason, HeartbeatKind, WireVerdict},
};
use proptest::{prelude::*, sample::Index, test_runner::FileFailurePersistence};

use crate::{
    flaky::{DOWN, Flaky, Meanwhile, NONE, Trouble, Write},
    rig::{Client, Rig, WALL, grant},
};

const CREDIT: i64 = 3_600_000;

async fn rig() -> (Rig, Arc<Flaky>) {
    let store = Arc::new(Flaky::default());
    let entropy = Arc::new(SeededEntropy::new(3));
    (Rig::start(Arc::clone(&store) as Arc<dyn Store>, entropy, Policy::default(), WALL).await, store)
}

fn is_unavailable<T>(result: &Result<T, ActError>) -> bool {
    matches!(result, Err(ActError::Store(StoreError::Unavailable(_)) | ActError::Unknown(_)))
}

/// Waits, in virtual time, until the background has cleared up.
async fn heal(store: &Flaky) {
    store.set(NONE);
    tokio::time::sleep(Duration::from_secs(30)).await;
}

#[tokio::test(start_paused = true)]
async fn while_the_store_is_down_acts_fail_and_beats_and_verdicts_go_on() {
    let (rig, store) = rig().await;
    let account = rig.account(CREDIT).await;
    let client = rig.activate(&account).await.unwrap();
    store.set(DOWN);
    for _ in 0..10 {
        rig.advance(60_000);
        assert_eq!(rig.beat(&client).await.verdict, WireVerdict::Valid);
        assert!(rig.is_valid(&client.token));
        assert!(is_unavailable(&rig.activate(&account).await));
        assert!(is_unavailable(&rig.credit(&account, 1, "x").await));
        assert!(is_unavailable(&rig.renew(&client).await));
        assert!(is_unavailable(&rig.acts.end(&account, EndReason::Revoked).await));
        assert!(is_unavailable(&rig.acts.view(&account).await));
    }
    heal(&store).await;
    assert!(rig.is_valid(&client.token));
    assert_eq!(rig.acts.end(&account, EndReason::Revoked).await.unwrap(), Millis::new(3_000_000));
    assert_eq!(rig.ledger(&account).await, [CREDIT, -600_000]);
}

#[tokio::test(start_paused = true)]
async fn whatever_is_told_while_an_account_is_made_what_was_bought_for_it_is_kept() {
    let (rig, store) = rig().await;
    let ada = Identity { issuer: "https://id.test".into(), subject: "ada".into() };
    let somebody = |issued_before| SignedIn {
        identity: ada.clone(),
        starting_credit: Credit::ZERO,
        issued_before,
        generation: None,
        gives: Arc::default(),
    };
    let bought = || NewEntry { kind: EntryKind::Purchase, source: Source::Webhook, ..grant(CREDIT, "order 7") };
    let (old, new) = (somebody(Some(WALL)), somebody(Some(WALL.plus(Millis::from_secs(60)))));
    let payee = Payee::Identity(ada.clone());
    assert_eq!(rig.acts.deposit(&payee, bought()).await.unwrap(), Deposit::Held);

    *store.meanwhile.lock() = Some(Meanwhile::Down);
    assert!(is_unavailable(&rig.acts.first_sight(&old).await));
    heal(&store).await;
    *store.meanwhile.lock() = Some(Meanwhile::PasswordChanged(WALL.plus(Millis::from_secs(10))));
    let account = store.inner.account_of(&ada).await.unwrap().expect("it stays");
    rig.acts.delete(&account).await.unwrap();
    assert_eq!(rig.acts.deposit(&payee, bought()).await.unwrap(), Deposit::Held);
    assert!(matches!(rig.acts.first_sight(&old).await, Err(ActError::BadCredentials)));
    let account = store.inner.account_of(&ada).await.unwrap().expect("it stays");
    assert!(matches!(rig.acts.first_sight(&old).await, Err(ActError::BadCredentials)), "the token is outdated still");
    assert_eq!(rig.acts.first_sight(&new).await.unwrap(), account);
    assert_eq!(rig.ledger(&account).await, [CREDIT]);
}

#[tokio::test(start_paused = true)]
async fn what_comes_by_hooks_waits_no_longer_than_an_act_whatever_the_store_does() {
    let (rig, store) = rig().await;
    let account = rig.account(20_000).await;
    *store.facts_hang.lock() = true;
    let ada = Identity { issuer: "https://id.test".into(), subject: "ada".into() };
    let bought = || NewEntry { kind: EntryKind::Purchase, source: Source::Webhook, ..grant(CREDIT, "order 7") };
    for payee in [Payee::Identity(ada.clone()), Payee::Account(account)] {
        let deposit = tokio::time::timeout(ACT_TIMEOUT * 2, rig.acts.deposit(&payee, bought())).await;
        assert!(is_unavailable(&deposit.expect("it has a deadline")), "it may have been done, for all that is known");
    }
    let debit = NewEntry { amount: Credit::from_ms(-1_000), ..grant(CREDIT, "debit 7") };
    let debit = tokio::time::timeout(ACT_TIMEOUT * 2, rig.acts.credit(&account, debit)).await;
    assert!(matches!(debit.expect("it has a deadline"), Err(ActError::Late(_))));
    let told = ProviderEvents {
        identity: ada,
        events: vec![Event { digest: [1; 16], kind: EventKind::PasswordChanged { at: WALL } }],
        gives: Arc::default(),
    };
    let events = Events::new(Arc::new(rig.acts.by(Actor::system())), None);
    let heard = tokio::time::timeout(ACT_TIMEOUT * 2, events.hear(&told)).await;
    assert!(is_unavailable(&heard.expect("it has a deadline")));
}

#[tokio::test(start_paused = true)]
async fn of_who_is_gone_no_account_stays_whenever_it_was_made() {
    let (rig, store) = rig().await;
    let ada = Identity { issuer: "https://id.test".into(), subject: "ada".into() };
    let somebody = SignedIn {
        identity: ada.clone(),
        starting_credit: Credit::ZERO,
        issued_before: None,
        generation: None,
        gives: Arc::default(),
    };
    *store.meanwhile.lock() = Some(Meanwhile::Gone);
    assert!(matches!(rig.acts.first_sight(&somebody).await, Err(ActError::BadCredentials)));
    assert_eq!(store.inner.account_of(&ada).await.unwrap(), None);
    // As a crash leaves it between making the account and looking again.
    let id = AccountId::from_bytes([9; 16]);
    assert_eq!(store.inner.create_account(id, &ada, WALL).await.unwrap().1, Created::New);
    assert!(matches!(rig.acts.first_sight(&somebody).await, Err(ActError::BadCredentials)));
    assert_eq!(store.inner.account_of(&ada).await.unwrap(), None);
    let bought = NewEntry { kind: EntryKind::Purchase, source: Source::Webhook, ..grant(CREDIT, "order 7") };
    let deposit = rig.acts.deposit(&Payee::Identity(ada), bought).await;
    assert_eq!(deposit.unwrap(), Deposit::Undeliverable);
}

#[tokio::test(start_paused = true)]
async fn a_session_that_dies_while_the_store_is_down_is_settled_once_it_is_back() {
    let (rig, store) = rig().await;
    let account = rig.account(20_000).await;
    let client = rig.activate(&account).await.unwrap();
    store.set(DOWN);
    rig.advance(20_001);
    assert_eq!(rig.beat(&client).await.verdict, WireVerdict::Invalid(EndReason::Exhausted));
    rig.advance(3_600_000);
    heal(&store).await;
    rig.sweep(0..SLICES).await;
    assert_eq!(rig.ledger(&account).await, [20_000, -20_000]);
    assert_eq!(rig.engine.live(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_stop_that_cannot_be_written_holds_and_is_written_later() {
    let (rig, store) = rig().await;
    let account = rig.account(CREDIT).await;
    let client = rig.activate(&account).await.unwrap();
    rig.advance(10_000);
    store.set(Trouble { write: Write::FailsBefore, reads_fail: false });
    rig.engine.beat(&client.frame(HeartbeatKind::Stop, rig.now()), rig.now());
    assert!(is_unavailable(&rig.acts.settle(&account).await));
    rig.advance(10_000);
    assert_eq!(rig.beat(&client).await.verdict, WireVerdict::Invalid(EndReason::Deactivated));
    heal(&store).await;
    rig.sweep(0..SLICES).await;
    assert_eq!(rig.ledger(&account).await, [CREDIT, -10_000]);
}

#[tokio::test(start_paused = true)]
async fn an_act_that_was_written_though_the_store_failed_is_found_out_at_once() {
    let (rig, store) = rig().await;
    let account = rig.account(CREDIT).await;
    let first = rig.activate(&account).await.unwrap();
    store.set(Trouble { write: Write::FailsAfter, reads_fail: false });
    let second = rig.activate(&account).await.unwrap();
    assert!(!rig.is_valid(&first.token) && rig.is_valid(&second.token));
    let token = rig.renew(&second).await.unwrap();
    assert!(rig.is_valid(&token) && !rig.is_valid(&second.token));
    let credited = rig.credit(&account, 1_000, "more").await.unwrap();
    assert_eq!(credited.remaining, Millis::new(3_601_000));
    rig.acts.end(&account, EndReason::Revoked).await.unwrap();
    assert!(!rig.is_valid(&token));
    rig.acts.delete(&account).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn an_activation_of_unknown_outcome_costs_nothing_once_the_store_is_back() {
    let (rig, store) = rig().await;
    let account = rig.account(CREDIT).await;
    let first = rig.activate(&account).await.unwrap();
    rig.advance(10_000);
    store.fail_commit(Write::FailsAfter, DOWN);
    assert!(matches!(rig.activate(&account).await, Err(ActError::Unknown(_))), "it is said that nobody can tell");
    assert!(rig.is_valid(&first.token), "nobody knows better");
    rig.advance(60_000);
    heal(&store).await;
    assert!(!rig.is_valid(&first.token), "the store ended it");
    assert_eq!(rig.beat(&first).await.verdict, WireVerdict::Invalid(EndReason::Superseded));
    assert_eq!(rig.engine.live(), 0, "nobody was given the token of the second");
    rig.advance(60_000);
    assert_eq!(rig.ledger(&account).await, [CREDIT, -10_000, 0]);
    let third = rig.activate(&account).await.unwrap();
    assert!(rig.is_valid(&third.token));
    assert_eq!(rig.engine.live(), 1);

    // It has not been done, so who repeats it under its name gets a session, and the same one from then on.
    let named = |key: &str| rig.acts.activate_named(&account, "edge", Some(ActivationName::of(key)));
    store.fail_commit(Write::FailsAfter, DOWN);
    assert!(matches!(named("a").await.map(drop), Err(ActError::Unknown(_))));
    heal(&store).await;
    let (given, again) = (named("a").await.unwrap(), named("a").await.unwrap());
    assert_eq!((given.session, rig.engine.live()), (again.session, 1));

    // Also when the next act finds it, and not the background.
    store.fail_commit(Write::FailsAfter, DOWN);
    assert!(is_unavailable(&rig.activate(&account).await));
    store.set(NONE);
    rig.advance(30_000);
    assert_eq!(rig.acts.view(&account).await.unwrap().remaining, Millis::new(CREDIT.unsigned_abs() - 10_000));
    assert_eq!(rig.engine.live(), 0);
}

#[tokio::test(start_paused = true)]
async fn the_next_act_on_an_account_in_doubt_does_not_wait_for_the_background() {
    let (rig, store) = rig().await;
    let account = rig.account(60_000).await;
    let client = rig.activate(&account).await.unwrap();
    store.fail_commit(Write::FailsAfter, DOWN);
    assert!(is_unavailable(&rig.credit(&account, 5_000, "doubtful").await));
    store.set(NONE);
    assert!(rig.credit(&account, 5_000, "doubtful").await.unwrap().repeated);
    rig.advance(62_000);
    assert_eq!(rig.beat(&client).await.remaining_s, 3);
}

#[tokio::test(start_paused = true)]
async fn an_act_that_was_not_written_changes_nothing() {
    let (rig, store) = rig().await;
    let account = rig.account(CREDIT).await;
    let client = rig.activate(&account).await.unwrap();
    for then in [NONE, DOWN] {
        store.fail_commit(Write::FailsBefore, then);
        assert!(is_unavailable(&rig.activate(&account).await));
        heal(&store).await;
        assert!(rig.is_valid(&client.token));
        assert_eq!(rig.engine.live(), 1);
        assert_eq!(rig.ledger(&account).await, [CREDIT]);
    }
}

#[tokio::test(start_paused = true)]
async fn credit_under_way_when_the_tank_runs_dry_is_kept_but_does_not_revive() {
    let (rig, store) = rig().await;
    let rig = Arc::new(rig);
    let account = rig.account(10_000).await;
    let client = rig.activate(&account).await.unwrap();
    let gate = store.hold_commit();
    let credit = tokio::spawn({
        let rig = Arc::clone(&rig);
        async move { rig.credit(&account, 5_000, "slow").await }
    });
    tokio::time::sleep(Duration::from_millis(1)).await;
    rig.advance(10_001);
    assert!(!rig.is_valid(&client.token), "no has been said");
    gate.notify_one();
    credit.await.unwrap().unwrap();
    assert!(!rig.is_valid(&client.token), "and holds");
    rig.sweep(0..SLICES).await;
    assert_eq!(rig.ledger(&account).await, [10_000, 5_000, -10_000]);
    assert_eq!(rig.end_of(&client).await, Some(EndReason::Exhausted));
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_goes_away_during_a_commit_leaves_the_engine_in_line_with_the_store() {
    let (rig, store) = rig().await;
    let rig = Arc::new(rig);
    let account = rig.account(CREDIT).await;
    let first = rig.activate(&account).await.unwrap();
    let gate = store.hold_commit();
    let caller = tokio::spawn({
        let rig = Arc::clone(&rig);
        async move { rig.activate(&account).await.map(drop) }
    });
    tokio::time::sleep(Duration::from_millis(1)).await;
    caller.abort();
    assert!(caller.await.unwrap_err().is_cancelled());
    assert!(rig.is_valid(&first.token), "nothing has been committed yet");
    gate.notify_one();
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert!(!rig.is_valid(&first.token));
    assert_eq!(rig.engine.live(), 0, "nobody was given the token of the second");
    rig.advance(10_000);
    let third = rig.activate(&account).await.unwrap();
    assert!(rig.is_valid(&third.token));
    assert_eq!((rig.engine.live(), rig.ledger(&account).await), (1, vec![CREDIT, 0, 0]));
}

#[tokio::test(start_paused = true)]
#[expect(clippy::disallowed_methods, reason = "how long an answer takes, in virtual time, is what is tested")]
async fn whoever_acts_on_an_account_is_answered_in_time_however_many_wait_and_whatever_the_store_does() {
    let (rig, store) = rig().await;
    let rig = Arc::new(rig);
    let account = rig.account(CREDIT).await;
    let gate = store.hold_commit();
    let began = tokio::time::Instant::now();
    let mut acts = tokio::task::JoinSet::new();
    for _ in 0..300 {
        let rig = Arc::clone(&rig);
        acts.spawn(async move { rig.activate(&account).await.map(drop) });
    }
    let (mut unknown, mut late, mut turned_away) = (0, 0, 0);
    while let Some(act) = acts.join_next().await {
        match act.unwrap() {
            Err(ActError::Unknown(_)) => unknown += 1,
            Err(ActError::Late(_)) => late += 1,
            Err(ActError::Contended) => {
                assert_eq!(began.elapsed(), Duration::ZERO, "a full line is told of at once");
                turned_away += 1;
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(began.elapsed(), ACT_TIMEOUT, "every wait shares one deadline");
    assert_eq!((unknown, late + turned_away), (1, 299));
    assert!(turned_away > 100 && late > 100, "{turned_away} {late}");
    rig.advance(60_000);
    gate.notify_one();
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert_eq!(
        (rig.engine.live(), rig.ledger(&account).await),
        (0, vec![CREDIT, 0]),
        "what nobody waited for costs nothing"
    );
    rig.activate(&account).await.unwrap();
}

#[derive(Clone, Debug)]
enum Do {
    Trouble(Trouble),
    FailCommit(Write, Trouble),
    Activate(usize),
    Credit(usize, i64),
    Renew(Index),
    Beat(Index),
    End(usize),
    Wait(u64),
    Sweep,
    Background,
}

fn any_do() -> impl Strategy<Value = Do> {
    let tank = || 0..2usize;
    prop_oneof![
        2 => any_trouble().prop_map(Do::Trouble),
        6 => (any_write(), any_trouble()).prop_map(|(write, then)| Do::FailCommit(write, then)),
        4 => Just(Do::Trouble(NONE)),
        8 => tank().prop_map(Do::Activate),
        5 => (tank(), -50_000i64..100_000).prop_map(|(tank, ms)| Do::Credit(tank, ms)),
        4 => any::<Index>().prop_map(Do::Renew),
        4 => any::<Index>().prop_map(Do::Beat),
        3 => tank().prop_map(Do::End),
        5 => (0..100_000u64).prop_map(Do::Wait),
        2 => Just(Do::Sweep),
        2 => Just(Do::Background),
    ]
}

fn any_write() -> impl Strategy<Value = Write> {
    prop::sample::select(vec![Write::Works, Write::FailsBefore, Write::FailsAfter])
}

fn any_trouble() -> impl Strategy<Value = Trouble> {
    (any_write(), any::<bool>()).prop_map(|(write, reads_fail)| Trouble { write, reads_fail })
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: Some(Box::new(FileFailurePersistence::Direct("tests/model/regressions-faults.txt"))),
        ..ProptestConfig::default()
    })]

    #[test]
    fn whatever_the_store_does_nothing_acknowledged_is_lost_and_all_heals(
        history in prop::collection::vec(any_do(), 1..60),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(suffer(&history));
    }
}

async fn suffer(history: &[Do]) {
    let (rig, store) = rig().await;
    let accounts = [rig.account(CREDIT).await, rig.account(60_000).await];
    let mut clients: Vec<(AccountId, Client)> = Vec::new();
    let mut promised: BTreeMap<AccountId, Vec<(String, i64)>> = BTreeMap::new();
    for (number, act) in history.iter().enumerate() {
        match act {
            Do::Trouble(trouble) => store.set(*trouble),
            Do::FailCommit(write, then) => store.fail_commit(*write, *then),
            Do::Activate(tank) => {
                let account = accounts[*tank];
                if let Ok(client) = rig.activate(&account).await {
                    assert!(rig.is_valid(&client.token), "what is handed out is good");
                    clients.push((account, client));
                }
            }
            Do::Credit(tank, ms) => {
                let name = number.to_string();
                if let Ok(credited) = rig.credit(&accounts[*tank], *ms, &name).await {
                    promised.entry(accounts[*tank]).or_default().push((name, credited.entry.amount.as_ms()));
                }
            }
            Do::Renew(client) if !clients.is_empty() => {
                let (_, client) = client.get(&clients).clone();
                if let Ok(token) = rig.renew(&client).await {
                    assert!(rig.is_valid(&token) && !rig.is_valid(&client.token));
                    clients
                        .iter_mut()
                        .filter(|(_, c)| c.session == client.session)
                        .for_each(|(_, c)| c.token.clone_from(&token));
                }
            }
            Do::Beat(client) if !clients.is_empty() => {
                let (_, client) = client.get(&clients);
                rig.engine.beat(&client.frame(HeartbeatKind::Beat, rig.now()), rig.now());
            }
            Do::End(tank) => {
                if rig.acts.end(&accounts[*tank], EndReason::Revoked).await.is_ok() {
                    let of_it = clients.iter().filter(|(account, _)| *account == accounts[*tank]);
                    assert!(
                        of_it.into_iter().all(|(_, client)| !rig.is_valid(&client.token)),
                        "an end that was said holds"
                    );
                }
            }
            Do::Wait(ms) => rig.advance(*ms),
            Do::Sweep => {
                for slice in 0..SLICES {
                    for account in rig.engine.sweep(slice, rig.now(), false).over {
                        drop(rig.acts.settle(&account).await);
                    }
                }
            }
            Do::Background => tokio::time::sleep(Duration::from_secs(1)).await,
            Do::Renew(_) | Do::Beat(_) => {}
        }
        for account in &accounts {
            let valid = clients.iter().filter(|(of, client)| of == account && rig.is_valid(&client.token)).count();
            assert!(valid <= 1, "an account has at most one valid token");
        }
    }
    heal(&store).await;
    rig.sweep(0..SLICES).await;
    let mut open = 0;
    for id in &accounts {
        let account = store.inner.account(id).await.unwrap().unwrap().account;
        let ledger = store.inner.entries(id, 0, usize::MAX).await.unwrap();
        assert_eq!(ledger.iter().map(|entry| entry.amount.as_ms()).sum::<i64>(), account.balance.as_ms());
        for (name, amount) in promised.get(id).into_iter().flatten() {
            let kept = ledger.iter().filter(|entry| entry.source == Source::Admin && entry.external_id == *name);
            assert_eq!(kept.map(|entry| entry.amount.as_ms()).collect::<Vec<_>>(), [*amount]);
        }
        open += usize::from(account.open().is_some());
        for (_, client) in clients.iter().filter(|(of, _)| of == id) {
            let is_open = account.open().is_some_and(|open| open.id == client.session);
            assert!(is_open || !rig.is_valid(&client.token), "the engine is in line with the store");
        }
        if let Some(session) = account.open() {
            assert!(rig.engine.sighting(&session.id, rig.now()).is_some(), "what is open is hot");
        }
    }
    assert_eq!(rig.engine.live(), open);
}
