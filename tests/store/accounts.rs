//! Accounts, their acts and their ledgers.

use std::{collections::BTreeSet, sync::Arc};

use gastank::{
    engine::{Act, Credit, Entry, EntryKind, Source},
    store::{Commit, Created, Identity, SessionRecord},
    wire::EndReason,
};

use super::*;

pub(crate) async fn an_account_is_made_once_for_an_identity(store: Subject) {
    let (first, new) = store.create_account(account_id(1), &identity(1), wall(5)).await.expect("works");
    assert_eq!(new, Created::New);
    assert_eq!(first.account, Account::new(account_id(1)));
    assert_eq!(first.identity, Some(identity(1)));
    assert_eq!(first.created_at, wall(5));

    let (again, new) = store.create_account(account_id(2), &identity(1), wall(9)).await.expect("works");
    assert_eq!(new, Created::AlreadyThere);
    assert_eq!(again, first);
    let (same, new) = store.create_account(account_id(1), &identity(1), wall(9)).await.expect("works");
    assert_eq!(new, Created::AlreadyThere);
    assert_eq!(same, first);

    assert_eq!(store.account(&account_id(1)).await.expect("works"), Some(first));
    assert_eq!(store.account(&account_id(2)).await.expect("works"), None);
    assert_eq!(store.account_of(&identity(1)).await.expect("works"), Some(account_id(1)));
    assert_eq!(store.account_of(&identity(2)).await.expect("works"), None);
}

pub(crate) async fn fifty_racing_creations_make_one_account(store: Subject) {
    let racers: Vec<_> = (0..50)
        .map(|n| {
            let store = Arc::clone(&store);
            tokio::spawn(async move { store.create_account(account_id(n), &identity(1), wall(0)).await })
        })
        .collect();
    let mut answers = Vec::new();
    for racer in racers {
        answers.push(racer.await.expect("no panic").expect("works"));
    }
    assert_eq!(answers.iter().filter(|(_, new)| *new == Created::New).count(), 1);
    let ids: BTreeSet<_> = answers.iter().map(|(owned, _)| owned.account.id).collect();
    assert_eq!(ids.len(), 1);
    assert_eq!(store.accounts(None, 100).await.expect("works").len(), 1);
}

pub(crate) async fn identities_are_compared_as_pairs(store: Subject) {
    let pair = |issuer: &str, subject: &str| Identity { issuer: issuer.to_owned(), subject: subject.to_owned() };
    let pairs = [pair("ab", "c"), pair("a", "bc"), pair("c", "ab"), pair("AB", "c"), pair("ab", "c "), pair("", "abc")];
    for (n, pair) in (0..).zip(&pairs) {
        let (_, new) = store.create_account(account_id(n), pair, wall(0)).await.expect("works");
        assert_eq!(new, Created::New, "{pair:?}");
    }
    for (n, pair) in (0..).zip(&pairs) {
        assert_eq!(store.account_of(pair).await.expect("works"), Some(account_id(n)), "{pair:?}");
    }
}

pub(crate) async fn accounts_are_listed_in_order_in_pages_without_the_deleted(store: Subject) {
    for n in [9, 3, 200, 77, 0, 255, 128] {
        made(&store, n).await;
    }
    let gone = now(&store, &account_id(77)).await;
    done(&store, &gone, &Act { deletes: true, ..gone.nothing() }).await;

    let mut seen = Vec::new();
    let mut after = None;
    loop {
        let page = store.accounts(after, 2).await.expect("works");
        assert!(page.len() <= 2);
        let Some(last) = page.last() else { break };
        after = Some(last.account.id);
        seen.extend(page.into_iter().map(|owned| owned.account.id));
    }
    assert_eq!(seen, [0, 3, 9, 128, 200, 255].map(account_id));
    assert_eq!(store.accounts(None, 0).await.expect("works"), []);
    assert_eq!(store.accounts(None, usize::MAX).await.expect("works").len(), 6);
    let after_nobody = store.accounts(Some(account_id(10)), 1).await.expect("works");
    assert_eq!(after_nobody[0].account.id, account_id(128));
    assert_eq!(after_nobody[0].identity, Some(identity(128)));
}

pub(crate) async fn an_act_on_another_version_changes_nothing(store: Subject) {
    let account = made(&store, 1).await;
    let account = done(&store, &account, &granting(&account, 1000, "one")).await;
    for expects in [0, 2, 3, 1 << 40] {
        let stale = Act { expects, opens: Some(session(session_id(1, 1), 50)), ..granting(&account, 7, "two") };
        assert_eq!(store.commit(&stale, None).await.expect("works"), Commit::Conflict);
    }
    assert_eq!(now(&store, &account.id).await, account);
    assert_eq!(store.entries(&account.id, 0, 10).await.expect("works").len(), 1);
    assert_eq!(store.session(&session_id(1, 1)).await.expect("works"), None);
    assert_eq!(recovered(&store).await, []);
    assert_eq!(alive(&store).await, None);
}

pub(crate) async fn an_act_on_an_unknown_account_conflicts(store: Subject) {
    let nobody = Account::new(account_id(1));
    assert_eq!(store.commit(&granting(&nobody, 1, "x"), None).await.expect("works"), Commit::Conflict);
    assert_eq!(store.account(&nobody.id).await.expect("works"), None);
    assert_eq!(store.entries(&nobody.id, 0, 10).await.expect("works"), []);
    assert_eq!(store.entry(&nobody.id, Source::Admin, "x").await.expect("works"), None);
    assert_eq!(store.account_keys(&nobody.id).await.expect("works"), []);
}

pub(crate) async fn an_act_committed_again_conflicts_and_changes_nothing(store: Subject) {
    let account = made(&store, 1).await;
    let account = done(&store, &account, &granting(&account, 90_000, "fuel")).await;
    let open = opening(&account, session(session_id(1, 1), 100));
    let opened = done(&store, &account, &open).await;
    let close = closing(&opened, EndReason::Deactivated, 600);
    let closed = done(&store, &opened, &close).await;
    for act in [&open, &close] {
        assert_eq!(store.commit(act, None).await.expect("works"), Commit::Conflict);
    }
    assert_eq!(now(&store, &account.id).await, closed);
    assert_eq!(closed.balance, Credit::from_ms(89_500));
    assert_eq!(store.entries(&account.id, 0, 10).await.expect("works").len(), 2);
}

pub(crate) async fn a_repeated_entry_changes_nothing(store: Subject) {
    let account = made(&store, 1).await;
    let first = granting(&account, 1000, "order-1");
    let account = done(&store, &account, &first).await;
    let known = first.entries[0].clone();

    // The name decides, whatever else the entry says, and wherever in the act it stands.
    let mut again = Act { opens: Some(session(session_id(1, 1), 50)), ..granting(&account, 5, "order-2") };
    again.entries.push(grant(3, 77, "order-1"));
    assert_eq!(store.commit(&again, None).await.expect("works"), Commit::Repeated(known.clone()));
    assert_eq!(store.commit(&again, None).await.expect("works"), Commit::Repeated(known.clone()));

    assert_eq!(now(&store, &account.id).await, account);
    assert_eq!(store.entry(&account.id, Source::Admin, "order-1").await.expect("works"), Some(known));
    assert_eq!(store.entry(&account.id, Source::Admin, "order-2").await.expect("works"), None);
    assert_eq!(store.session(&session_id(1, 1)).await.expect("works"), None);
    assert_eq!(recovered(&store).await, []);
    assert_eq!(alive(&store).await, None);
}

pub(crate) async fn entries_are_unique_by_source_and_account(store: Subject) {
    let mut account = made(&store, 1).await;
    for source in Source::ALL {
        let entry = Entry { source, ..grant(account.entries + 1, 10, "same") };
        let act = Act { entries: vec![entry], ..account.nothing() };
        account = done(&store, &account, &act).await;
    }
    let all = i64::try_from(Source::ALL.len()).expect("a few");
    assert_eq!(account.balance, Credit::from_ms(10 * all));
    let other = made(&store, 2).await;
    done(&store, &other, &granting(&other, 10, "same")).await;
    // Names are told apart by every byte.
    let mut account = now(&store, &account.id).await;
    for name in ["Same", "same ", "sa\u{300}me"] {
        account = done(&store, &account, &granting(&account, 10, name)).await;
    }
}

pub(crate) async fn an_activation_settles_the_old_session_and_opens_the_new(store: Subject) {
    let (old, new) = (session_id(1, 7), session_id(2, 9));
    let account = made(&store, 1).await;
    let account = done(&store, &account, &granting(&account, 100_000, "fuel")).await;
    let account = done(&store, &account, &opening(&account, session(old, 1_000))).await;
    assert_eq!(store.session(&old).await.expect("works"), Some(SessionRecord { account: account.id, end: None }));
    store.checkpoint(7, &[row(old, 4_000)]).await.expect("works");

    let supersede = Act { opens: Some(session(new, 5_000)), ..closing(&account, EndReason::Superseded, 5_000) };
    let account = done(&store, &account, &supersede).await;
    assert_eq!(account.balance, Credit::from_ms(96_000));
    assert_eq!(account.open().map(|open| open.id), Some(new));
    assert_eq!(
        store.session(&old).await.expect("works"),
        Some(SessionRecord { account: account.id, end: Some(end(EndReason::Superseded, 5_000)) })
    );
    assert_eq!(store.session(&new).await.expect("works"), Some(SessionRecord { account: account.id, end: None }));
    assert_eq!(recovered(&store).await, [(account, 5_000)]);
}

pub(crate) async fn a_session_that_was_superseded_cannot_be_half_superseded(store: Subject) {
    let (old, new) = (session_id(1, 7), session_id(2, 9));
    let account = made(&store, 1).await;
    let account = done(&store, &account, &granting(&account, 100_000, "fuel")).await;
    let account = done(&store, &account, &opening(&account, session(old, 1_000))).await;
    let mut supersede = Act { opens: Some(session(new, 5_000)), ..closing(&account, EndReason::Superseded, 5_000) };
    supersede.entries.push(grant(3, 5, "fuel"));
    assert!(matches!(store.commit(&supersede, None).await.expect("works"), Commit::Repeated(_)));
    assert_eq!(now(&store, &account.id).await, account);
    assert_eq!(store.session(&old).await.expect("works"), Some(SessionRecord { account: account.id, end: None }));
    assert_eq!(store.session(&new).await.expect("works"), None);
    assert_eq!(recovered(&store).await, [(account, 1_000)]);
}

pub(crate) async fn a_renewal_changes_the_tokens_and_nothing_else(store: Subject) {
    let account = made(&store, 1).await;
    let account = done(&store, &account, &opening(&account, session(session_id(1, 1), 10))).await;
    for n in [20, 30] {
        let before = now(&store, &account.id).await;
        let after = done(&store, &before, &Act { renews: Some(tokens(n, true)), ..before.nothing() }).await;
        let (mut was, is) = (before.session.expect("open"), after.session.expect("open"));
        was.tokens = tokens(n, true);
        assert_eq!(is, was);
    }
    assert_eq!(store.entries(&account.id, 0, 10).await.expect("works"), []);
    assert_eq!(recovered(&store).await.len(), 1);
}

pub(crate) async fn of_fifty_racing_acts_one_wins_each_version(store: Subject) {
    let account = made(&store, 1).await;
    let racers: Vec<_> = (0..50)
        .map(|n| {
            let (store, id) = (Arc::clone(&store), account.id);
            tokio::spawn(async move {
                let mut conflicts = 0;
                loop {
                    let seen = now(&store, &id).await;
                    match store.commit(&granting(&seen, 1, &format!("racer-{n}")), None).await.expect("works") {
                        Commit::Done(after) => break (after.version, conflicts),
                        Commit::Conflict => conflicts += 1,
                        Commit::Repeated(entry) => panic!("{entry:?} was written by a lost race"),
                    }
                }
            })
        })
        .collect();
    let mut versions = BTreeSet::new();
    for racer in racers {
        let (version, _) = racer.await.expect("no panic");
        assert!(versions.insert(version), "two acts made version {version}");
    }
    let after = now(&store, &account.id).await;
    assert_eq!((after.version, after.entries, after.balance), (50, 50, Credit::from_ms(50)));
    let numbers: Vec<_> =
        store.entries(&account.id, 0, 100).await.expect("works").iter().map(|entry| entry.number).collect();
    assert_eq!(numbers, (1..=50).collect::<Vec<_>>());

    // All on one version, at once.
    let racers: Vec<_> = (0..50)
        .map(|n| {
            let (store, act) = (Arc::clone(&store), granting(&after, 1, &format!("late-{n}")));
            tokio::spawn(async move { store.commit(&act, None).await.expect("works") })
        })
        .collect();
    let mut winners = 0;
    for racer in racers {
        match racer.await.expect("no panic") {
            Commit::Done(_) => winners += 1,
            Commit::Conflict => {}
            Commit::Repeated(entry) => panic!("{entry:?} was written by a lost race"),
        }
    }
    assert_eq!(winners, 1);
    assert_eq!(now(&store, &account.id).await.entries, 51);
}

pub(crate) async fn acts_on_many_accounts_do_not_disturb_each_other(store: Subject) {
    let racers: Vec<_> = (0..40)
        .map(|n| {
            let store = Arc::clone(&store);
            tokio::spawn(async move {
                let mut account = made(&store, n).await;
                for step in 0..10 {
                    account = done(&store, &account, &granting(&account, i64::from(n), &format!("step-{step}"))).await;
                    let stale = Act { expects: account.version - 1, ..granting(&account, 1, "stale") };
                    assert_eq!(store.commit(&stale, None).await.expect("works"), Commit::Conflict);
                }
                account
            })
        })
        .collect();
    for (n, racer) in (0..).zip(racers) {
        let account = racer.await.expect("no panic");
        assert_eq!(account.balance, Credit::from_ms(10 * n));
    }
}

pub(crate) async fn the_ledger_is_read_in_pages(store: Subject) {
    let mut account = made(&store, 1).await;
    let other = made(&store, 2).await;
    done(&store, &other, &granting(&other, 1, "other")).await;
    let mut written = Vec::new();
    for n in 0..7 {
        // Two by two, with names that do not sort as they were written.
        let mut act = granting(&account, n, &format!("z{}", 9 - n));
        act.entries.push(Entry { reason: Some(format!("n{n}")), ..grant(account.entries + 2, -n, &format!("a{n}")) });
        written.extend(act.entries.clone());
        account = done(&store, &account, &act).await;
    }
    let mut read = Vec::new();
    while let page = store.entries(&account.id, read.len() as u64, 4).await.expect("works")
        && !page.is_empty()
    {
        assert!(page.len() <= 4);
        read.extend(page);
    }
    assert_eq!(read, written);
    assert_eq!(store.entries(&account.id, 0, 0).await.expect("works"), []);
    assert_eq!(store.entries(&account.id, 13, usize::MAX).await.expect("works"), written[13..]);
    assert_eq!(store.entries(&account.id, u64::MAX, 10).await.expect("works"), []);
}

pub(crate) async fn every_kind_and_source_of_entry_reads_back(store: Subject) {
    let mut account = made(&store, 1).await;
    for kind in EntryKind::ALL {
        for source in Source::ALL {
            let entry = Entry { kind, source, ..grant(account.entries + 1, 3, kind.name()) };
            account = done(&store, &account, &Act { entries: vec![entry.clone()], ..account.nothing() }).await;
            assert_eq!(store.entry(&account.id, source, kind.name()).await.expect("works"), Some(entry));
        }
    }
}

pub(crate) async fn every_end_reason_reads_back(store: Subject) {
    let mut account = made(&store, 1).await;
    for (n, reason) in (1..).zip(EndReason::ALL) {
        let id = session_id(n, n);
        account = done(&store, &account, &opening(&account, session(id, u64::from(n) * 100))).await;
        account = done(&store, &account, &closing(&account, reason, u64::from(n) * 100 + 50)).await;
        let record = store.session(&id).await.expect("works").expect("remembered");
        assert_eq!(record.end, account.session.as_ref().expect("the latest stays").end);
        assert_eq!(record.end.map(|end| end.reason), Some(reason));
    }
}
