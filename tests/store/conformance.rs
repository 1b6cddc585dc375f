//! One case for every sentence of the trait's text. Each gets a store of its own, empty, and closes over nothing else.

use std::{collections::BTreeSet, sync::Arc};

use gastank::{
    engine::{Act, Credit, Entry, EntryKind, ListSeed, ListSize, Source, UnixMs},
    store::{AccountKey, ClockFact, Commit, Edge, Held, Identity, SealedKey, SessionRecord, StatusLease, StoreError},
    wire::{EndReason, MeterTime},
};

pub(crate) use super::records::{
    a_row_of_the_audit_log_is_written_once, an_act_is_logged_when_it_is_done_and_only_then,
    deletion_forgets_what_was_told_unless_the_person_is_gone, every_name_of_the_audit_log_reads_back,
    of_fifty_racing_tellers_each_is_heard_once, old_rows_of_the_audit_log_are_dropped_in_pieces,
    the_audit_log_is_read_by_day_and_by_account_in_pages, what_was_told_is_replaced_by_who_has_read_it,
};
use super::*;

/// Calls the macro `$run` with the names of all cases. A case that is not named here does not compile: it is dead code.
macro_rules! conformance_cases {
    ($run:ident) => {
        $run! {
            an_account_is_made_once_for_an_identity,
            fifty_racing_creations_make_one_account,
            identities_are_compared_as_pairs,
            accounts_are_listed_in_order_in_pages_without_the_deleted,
            an_act_on_another_version_changes_nothing,
            an_act_on_an_unknown_account_conflicts,
            an_act_committed_again_conflicts_and_changes_nothing,
            a_repeated_entry_changes_nothing,
            entries_are_unique_by_source_and_account,
            an_activation_settles_the_old_session_and_opens_the_new,
            a_session_that_was_superseded_cannot_be_half_superseded,
            a_renewal_changes_the_tokens_and_nothing_else,
            of_fifty_racing_acts_one_wins_each_version,
            acts_on_many_accounts_do_not_disturb_each_other,
            the_ledger_is_read_in_pages,
            every_kind_and_source_of_entry_reads_back,
            every_end_reason_reads_back,
            a_checkpoint_is_a_maximum,
            a_checkpoint_for_a_session_that_is_over_or_unknown_changes_nothing,
            a_new_session_does_not_inherit_the_old_ones_checkpoint,
            recovery_finds_exactly_the_open_sessions,
            the_clock_keeps_its_maximum,
            the_clock_is_no_earlier_than_any_act_or_checkpoint,
            deletion_erases_the_person_and_keeps_the_ends,
            an_identity_is_free_again_after_deletion,
            account_keys_come_and_go,
            edges_come_and_go,
            signing_keys_come_and_go,
            debt_is_what_the_entries_owe,
            credit_is_held_once_and_let_go_of_once,
            credit_is_held_up_to_a_limit,
            deletion_lets_go_of_what_is_held,
            what_was_told_is_replaced_by_who_has_read_it,
            of_fifty_racing_tellers_each_is_heard_once,
            deletion_forgets_what_was_told_unless_the_person_is_gone,
            an_act_is_logged_when_it_is_done_and_only_then,
            a_row_of_the_audit_log_is_written_once,
            every_name_of_the_audit_log_reads_back,
            the_audit_log_is_read_by_day_and_by_account_in_pages,
            old_rows_of_the_audit_log_are_dropped_in_pieces,
            status_lists_come_and_go,
            of_fifty_racing_grants_one_wins,
            text_reads_back_as_it_was_written,
            integers_read_back_up_to_their_limits,
            a_closed_store_is_unavailable,
        }
    };
}

pub(crate) async fn an_account_is_made_once_for_an_identity(store: Subject) {
    let (first, new) = store.create_account(account_id(1), &identity(1), wall(5)).await.expect("works");
    assert!(new);
    assert_eq!(first.account, Account::new(account_id(1)));
    assert_eq!(first.identity, Some(identity(1)));
    assert_eq!(first.created_at, wall(5));

    let (again, new) = store.create_account(account_id(2), &identity(1), wall(9)).await.expect("works");
    assert!(!new);
    assert_eq!(again, first);
    let (same, new) = store.create_account(account_id(1), &identity(1), wall(9)).await.expect("works");
    assert!(!new);
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
    assert_eq!(answers.iter().filter(|(_, new)| *new).count(), 1);
    let ids: BTreeSet<_> = answers.iter().map(|(owned, _)| owned.account.id).collect();
    assert_eq!(ids.len(), 1);
    assert_eq!(store.accounts(None, 100).await.expect("works").len(), 1);
}

pub(crate) async fn identities_are_compared_as_pairs(store: Subject) {
    let pair = |issuer: &str, subject: &str| Identity { issuer: issuer.to_owned(), subject: subject.to_owned() };
    let pairs = [pair("ab", "c"), pair("a", "bc"), pair("c", "ab"), pair("AB", "c"), pair("ab", "c "), pair("", "abc")];
    for (n, pair) in (0..).zip(&pairs) {
        let (_, new) = store.create_account(account_id(n), pair, wall(0)).await.expect("works");
        assert!(new, "{pair:?}");
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
    done(&store, &gone, &Act { deletes: true, ..act(&gone) }).await;

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
    assert_eq!(recovered(&store, 1).await, []);
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
    assert_eq!(recovered(&store, 1).await, []);
    assert_eq!(alive(&store).await, None);
}

pub(crate) async fn entries_are_unique_by_source_and_account(store: Subject) {
    let mut account = made(&store, 1).await;
    for source in Source::ALL {
        let entry = Entry { source, ..grant(account.entries + 1, 10, "same") };
        let act = Act { entries: vec![entry], ..act(&account) };
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
    assert_eq!(recovered(&store, 7).await, []);
    assert_eq!(recovered(&store, 9).await, [(account, 5_000)]);
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
    assert_eq!(recovered(&store, 7).await, [(account, 1_000)]);
    assert_eq!(recovered(&store, 9).await, []);
}

pub(crate) async fn a_renewal_changes_the_tokens_and_nothing_else(store: Subject) {
    let account = made(&store, 1).await;
    let account = done(&store, &account, &opening(&account, session(session_id(1, 1), 10))).await;
    for n in [20, 30] {
        let before = now(&store, &account.id).await;
        let after = done(&store, &before, &Act { renews: Some(tokens(n, true)), ..act(&before) }).await;
        let (mut was, is) = (before.session.expect("open"), after.session.expect("open"));
        was.tokens = tokens(n, true);
        assert_eq!(is, was);
    }
    assert_eq!(store.entries(&account.id, 0, 10).await.expect("works"), []);
    assert_eq!(recovered(&store, 1).await.len(), 1);
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
            account = done(&store, &account, &Act { entries: vec![entry.clone()], ..act(&account) }).await;
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

pub(crate) async fn a_checkpoint_is_a_maximum(store: Subject) {
    let id = session_id(1, 3);
    let account = made(&store, 1).await;
    let account = done(&store, &account, &opening(&account, session(id, 1_000))).await;
    assert_eq!(recovered(&store, 3).await, [(account.clone(), 1_000)], "the start stands in for a checkpoint");
    let steps: [(&[u64], u64); 6] = [
        (&[500], 1_000),
        (&[2_000], 2_000),
        (&[2_000], 2_000),
        (&[1_500], 2_000),
        (&[3_000, 2_500, 2_999], 3_000),
        (&[], 3_000),
    ];
    for (times, expected) in steps {
        let rows: Vec<_> = times.iter().map(|&at| row(id, at)).collect();
        store.checkpoint(3, &rows).await.expect("works");
        assert_eq!(recovered(&store, 3).await, [(account.clone(), expected)], "after {times:?}");
    }
    assert_eq!(now(&store, &account.id).await, account, "a checkpoint is no act");
}

pub(crate) async fn a_checkpoint_for_a_session_that_is_over_or_unknown_changes_nothing(store: Subject) {
    let (over, open) = (session_id(1, 3), session_id(2, 3));
    let account = made(&store, 1).await;
    let account = done(&store, &account, &opening(&account, session(over, 1_000))).await;
    let account = done(&store, &account, &closing(&account, EndReason::TimedOut, 2_000)).await;
    let other = made(&store, 2).await;
    let other = done(&store, &other, &opening(&other, session(open, 1_500))).await;

    let rows = [row(over, 9_000), row(open, 4_000), row(session_id(9, 3), 8_000)];
    store.checkpoint(3, &rows).await.expect("works");
    assert_eq!(recovered(&store, 3).await, [(other, 4_000)]);
    assert_eq!(now(&store, &account.id).await, account);
    assert_eq!(
        store.session(&over).await.expect("works").expect("remembered").end,
        Some(end(EndReason::TimedOut, 2_000))
    );
    assert_eq!(store.session(&session_id(9, 3)).await.expect("works"), None);
    assert_eq!(alive(&store).await, Some(4_000), "what changed nothing does not move the clock either");
}

pub(crate) async fn a_new_session_does_not_inherit_the_old_ones_checkpoint(store: Subject) {
    let account = made(&store, 1).await;
    let account = done(&store, &account, &opening(&account, session(session_id(1, 3), 1_000))).await;
    store.checkpoint(3, &[row(session_id(1, 3), 5_000)]).await.expect("works");
    let act = Act { opens: Some(session(session_id(2, 3), 2_000)), ..closing(&account, EndReason::Superseded, 2_000) };
    let account = done(&store, &account, &act).await;
    assert_eq!(recovered(&store, 3).await, [(account, 2_000)]);
}

pub(crate) async fn recovery_finds_exactly_the_open_sessions(store: Subject) {
    let mut open = Vec::new();
    for n in 0..60 {
        let account = made(&store, n).await;
        let id = session_id(n, n % 4 * 85);
        let account = done(&store, &account, &opening(&account, session(id, u64::from(n)))).await;
        match n % 3 {
            0 => {
                done(&store, &account, &closing(&account, EndReason::Revoked, 100)).await;
            }
            1 => {
                store.checkpoint(n % 4 * 85, &[row(id, 1_000 + u64::from(n))]).await.expect("works");
                open.push((n % 4 * 85, account, 1_000 + u64::from(n)));
            }
            _ => open.push((n % 4 * 85, account, u64::from(n))),
        }
    }
    for bucket in 0..=u8::MAX {
        let expected: Vec<_> =
            open.iter().filter(|(of, ..)| *of == bucket).map(|(_, account, seen)| (account.clone(), *seen)).collect();
        assert_eq!(recovered(&store, bucket).await, expected, "bucket {bucket}");
    }
}

pub(crate) async fn the_clock_keeps_its_maximum(store: Subject) {
    assert_eq!(store.clock().await.expect("works"), None);
    let fact = |last_alive, at| ClockFact { last_alive: MeterTime::from_ms(last_alive), wall: UnixMs::from_ms(at) };
    for (kept, expected) in [
        (fact(1_000, 50), fact(1_000, 50)),
        (fact(1_000, 50), fact(1_000, 50)),
        (fact(999, 60), fact(1_000, 50)),
        // The wall clock may step back; the meter goes on.
        (fact(2_000, 40), fact(2_000, 40)),
        (fact(0, 99), fact(2_000, 40)),
    ] {
        store.keep_clock(kept).await.expect("works");
        assert_eq!(store.clock().await.expect("works"), Some(expected));
    }
}

pub(crate) async fn the_clock_is_no_earlier_than_any_act_or_checkpoint(store: Subject) {
    let id = session_id(1, 3);
    let account = made(&store, 1).await;
    let account = done(&store, &account, &opening(&account, session(id, 1_000))).await;
    assert!(alive(&store).await >= Some(1_000));
    store.checkpoint(3, &[row(id, 7_000), row(id, 6_000)]).await.expect("works");
    assert!(alive(&store).await >= Some(7_000));
    let account = done(&store, &account, &closing(&account, EndReason::Deactivated, 8_000)).await;
    assert!(alive(&store).await >= Some(8_000));
    let late = alive(&store).await;
    done(&store, &account, &opening(&account, session(session_id(2, 3), 500))).await;
    assert_eq!(alive(&store).await, late, "never backwards");
    let earlier = ClockFact { last_alive: MeterTime::from_ms(7_999), wall: wall(7_999) };
    store.keep_clock(earlier).await.expect("works");
    assert_eq!(alive(&store).await, late, "never backwards");
}

pub(crate) async fn deletion_erases_the_person_and_keeps_the_ends(store: Subject) {
    let ids = [session_id(1, 3), session_id(2, 3)];
    let account = made(&store, 1).await;
    let bystander = made(&store, 2).await;
    let bystander = done(&store, &bystander, &granting(&bystander, 5, "fuel")).await;
    let account = done(&store, &account, &granting(&account, 100_000, "fuel")).await;
    let account = done(&store, &account, &opening(&account, session(ids[0], 1_000))).await;
    let act = Act { opens: Some(session(ids[1], 2_000)), ..closing(&account, EndReason::Superseded, 2_000) };
    let account = done(&store, &account, &act).await;
    let key = AccountKey { key_id: "k".to_owned(), account: account.id, hash: [7; 32], created_at: wall(0) };
    assert!(store.add_account_key(&key).await.expect("works"));

    let delete = Act { deletes: true, ..closing(&account, EndReason::AccountDeleted, 3_000) };
    let gone = done(&store, &account, &delete).await;
    assert!(gone.deleted && gone.session.is_none());

    let owned = store.account(&account.id).await.expect("works").expect("the id stays");
    assert_eq!((owned.account.clone(), owned.identity), (gone.clone(), None));
    assert_eq!(store.account_of(&identity(1)).await.expect("works"), None);
    assert_eq!(store.entries(&account.id, 0, 10).await.expect("works"), []);
    assert_eq!(store.entry(&account.id, Source::Admin, "fuel").await.expect("works"), None);
    assert_eq!(store.account_keys(&account.id).await.expect("works"), []);
    assert_eq!(owner(&store, &key.hash).await, None);
    assert_eq!(recovered(&store, 3).await, []);
    let ends = [end(EndReason::Superseded, 2_000), end(EndReason::AccountDeleted, 3_000)];
    for (id, end) in ids.iter().zip(ends) {
        let record = store.session(id).await.expect("works");
        assert_eq!(record, Some(SessionRecord { account: account.id, end: Some(end) }));
    }

    // It takes no more acts and no keys, and who is left is left alone.
    assert_eq!(store.commit(&delete, None).await.expect("works"), Commit::Conflict);
    assert_eq!(store.commit(&granting(&gone, 5, "more"), None).await.expect("works"), Commit::Conflict);
    assert!(!store.add_account_key(&key).await.expect("works"));
    assert_eq!(owner(&store, &key.hash).await, None);
    assert_eq!(now(&store, &bystander.id).await, bystander);
    assert_eq!(store.entries(&bystander.id, 0, 10).await.expect("works").len(), 1);
}

pub(crate) async fn an_identity_is_free_again_after_deletion(store: Subject) {
    let account = made(&store, 1).await;
    let account = done(&store, &account, &granting(&account, 5, "fuel")).await;
    done(&store, &account, &Act { deletes: true, ..act(&account) }).await;
    let (fresh, new) = store.create_account(account_id(2), &identity(1), wall(0)).await.expect("works");
    assert!(new);
    assert_eq!(fresh.account, Account::new(account_id(2)));
    assert_eq!(store.account_of(&identity(1)).await.expect("works"), Some(account_id(2)));
    done(&store, &fresh.account, &granting(&fresh.account, 5, "fuel")).await;
}

/// Whose key has this hash.
async fn owner(store: &Subject, hash: &[u8; 32]) -> Option<AccountId> {
    let key = store.account_by_key(hash).await.expect("works")?;
    assert_eq!(key.hash, *hash);
    Some(key.account)
}

pub(crate) async fn account_keys_come_and_go(store: Subject) {
    let account = made(&store, 1).await;
    let other = made(&store, 2).await;
    let key = |of: &Account, name: &str, byte: u8| AccountKey {
        key_id: name.to_owned(),
        account: of.id,
        hash: [byte; 32],
        created_at: wall(u64::from(byte)),
    };
    let keys = [key(&account, "a", 1), key(&account, "b", 2), key(&other, "a", 3)];
    for key in keys.iter().chain(&keys) {
        assert!(store.add_account_key(key).await.expect("works"));
    }
    assert!(!store.add_account_key(&key(&Account::new(account_id(9)), "a", 9)).await.expect("works"));
    for key in &keys {
        assert_eq!(store.account_by_key(&key.hash).await.expect("works"), Some(key.clone()));
    }
    assert_eq!(owner(&store, &[9; 32]).await, None);
    let mut found = store.account_keys(&account.id).await.expect("works");
    found.sort_by(|a, b| a.key_id.cmp(&b.key_id));
    assert_eq!(found, keys[..2]);

    // Another key of the same name replaces it.
    assert!(store.add_account_key(&key(&account, "b", 4)).await.expect("works"));
    assert_eq!(owner(&store, &[2; 32]).await, None);
    assert_eq!(owner(&store, &[4; 32]).await, Some(account.id));

    assert!(store.remove_account_key(&account.id, "a").await.expect("works"));
    assert!(!store.remove_account_key(&account.id, "a").await.expect("works"));
    assert!(!store.remove_account_key(&account.id, "c").await.expect("works"));
    assert_eq!(owner(&store, &[1; 32]).await, None);
    assert_eq!(owner(&store, &[3; 32]).await, Some(other.id));
    assert_eq!(now(&store, &account.id).await, account, "a key is no act");
}

pub(crate) async fn edges_come_and_go(store: Subject) {
    let edge = |client_id: &str, hashes: &[u8]| Edge {
        client_id: client_id.to_owned(),
        name: format!("the edge {client_id}"),
        audience: "https://edge.example".to_owned(),
        secret_hashes: hashes.iter().map(|byte| [*byte; 32]).collect(),
        created_at: wall(1),
    };
    assert_eq!(store.edges().await.expect("works"), []);
    for edge in [edge("b", &[1]), edge("a", &[2, 3]), edge("b", &[1]), edge("c", &[])] {
        store.put_edge(&edge).await.expect("works");
    }
    let changed = Edge { name: "another".to_owned(), ..edge("b", &[1, 4, 5]) };
    store.put_edge(&changed).await.expect("works");
    let mut found = store.edges().await.expect("works");
    found.sort_by(|a, b| a.client_id.cmp(&b.client_id));
    assert_eq!(found, [edge("a", &[2, 3]), changed, edge("c", &[])]);
    assert!(store.remove_edge("b").await.expect("works"));
    assert!(!store.remove_edge("b").await.expect("works"));
    assert_eq!(store.edges().await.expect("works").len(), 2);
}

pub(crate) async fn signing_keys_come_and_go(store: Subject) {
    let key = |kid: &str, signs_from: u64, retires_at: Option<u64>| SealedKey {
        kid: kid.to_owned(),
        algorithm: "ES256".to_owned(),
        sealed: (0..=255).collect(),
        created_at: wall(1),
        signs_from: wall(signs_from),
        retires_at: retires_at.map(wall),
    };
    assert_eq!(store.signing_keys().await.expect("works"), []);
    for key in [key("b", 1, None), key("a", 2, Some(9)), key("b", 1, None)] {
        store.put_signing_key(&key).await.expect("works");
    }
    // What a key is does not change; how it is sealed and when it signs and retires does.
    let sealed_anew = SealedKey { sealed: vec![0], ..key("b", 5, Some(7)) };
    let other = SealedKey { algorithm: "none".to_owned(), ..sealed_anew.clone() };
    store.put_signing_key(&other).await.expect("works");
    let mut found = store.signing_keys().await.expect("works");
    found.sort_by(|a, b| a.kid.cmp(&b.kid));
    assert_eq!(found, [key("a", 2, Some(9)), sealed_anew]);
    store.put_signing_key(&key("b", 5, None)).await.expect("works");
    assert!(store.remove_signing_key("a").await.expect("works"));
    assert!(!store.remove_signing_key("a").await.expect("works"));
    assert_eq!(store.signing_keys().await.expect("works"), [key("b", 5, None)]);
}

pub(crate) async fn debt_is_what_the_entries_owe(store: Subject) {
    let owing = |number, ms, owed, name| Entry { owed: Credit::from_ms(owed), ..grant(number, ms, name) };
    let mut account = made(&store, 1).await;
    for (ms, owed, name, debt) in [(0, 700, "a", 700), (5, 0, "b", 700), (-5, -5, "c", 695), (0, -695, "d", 0)] {
        let entry = owing(account.entries + 1, ms, owed, name);
        account = done(&store, &account, &Act { entries: vec![entry.clone()], ..act(&account) }).await;
        assert_eq!(account.debt, Credit::from_ms(debt));
        assert_eq!(store.entry(&account.id, Source::Admin, name).await.expect("works"), Some(entry));
    }
}

pub(crate) async fn credit_is_held_once_and_let_go_of_once(store: Subject) {
    let (ada, bob) = (identity(1), identity(2));
    let most = 10;
    assert_eq!(store.hold_credit(&ada, &held(5, "msg", 7), most).await.expect("works"), Held::Kept);
    let again = store.hold_credit(&ada, &held(6, "msg", 9), most).await.expect("works");
    assert_eq!(again, Held::Repeated(held(5, "msg", 7)));
    assert_eq!(store.hold_credit(&ada, &held(-4, "Msg", 3), most).await.expect("works"), Held::Kept);
    assert_eq!(store.hold_credit(&bob, &held(1, "msg", 1), most).await.expect("works"), Held::Kept);
    let oldest_first = vec![held(-4, "Msg", 3), held(5, "msg", 7)];
    assert_eq!(store.held_credit(&ada, most).await.expect("works"), oldest_first);
    assert_eq!(store.held_credit(&ada, 1).await.expect("works"), oldest_first[..1]);
    assert_eq!(store.held_credit(&identity(3), most).await.expect("works"), []);

    assert!(!store.release_credit(&ada, Source::Admin, "msg").await.expect("works"));
    assert!(store.release_credit(&ada, Source::Webhook, "msg").await.expect("works"));
    assert!(!store.release_credit(&ada, Source::Webhook, "msg").await.expect("works"));
    assert_eq!(store.held_credit(&ada, most).await.expect("works"), oldest_first[..1]);
    assert_eq!(store.held_credit(&bob, most).await.expect("works"), [held(1, "msg", 1)]);
    assert_eq!(store.account_of(&ada).await.expect("works"), None, "held credit makes no account");
}

pub(crate) async fn credit_is_held_up_to_a_limit(store: Subject) {
    for (name, kept) in [("a", Held::Kept), ("b", Held::Kept), ("c", Held::Full), ("c", Held::Full)] {
        assert_eq!(store.hold_credit(&identity(1), &held(5, name, 7), 2).await.expect("works"), kept);
    }
    let known = store.hold_credit(&identity(1), &held(5, "b", 8), 2).await.expect("works");
    assert_eq!(known, Held::Repeated(held(5, "b", 7)), "what is held is known even when there is no room");
    assert_eq!(store.hold_credit(&identity(2), &held(5, "c", 7), 2).await.expect("works"), Held::Kept);
}

pub(crate) async fn deletion_lets_go_of_what_is_held(store: Subject) {
    for n in [1, 2] {
        store.hold_credit(&identity(n), &held(5, "msg", 7), 10).await.expect("works");
    }
    let account = made(&store, 1).await;
    assert_eq!(
        store.held_credit(&identity(1), 10).await.expect("works").len(),
        1,
        "an account by itself changes nothing"
    );
    done(&store, &account, &Act { deletes: true, ..act(&account) }).await;
    assert_eq!(store.held_credit(&identity(1), 10).await.expect("works"), []);
    assert_eq!(store.held_credit(&identity(2), 10).await.expect("works").len(), 1);
}

fn lease(n: u8, granted: u32) -> StatusLease {
    StatusLease {
        id: ListId::from_bytes([n; 8]),
        size: ListSize::new(1 << (6 + n)).expect("a power of two"),
        seed: ListSeed::from_bytes([n; 32]),
        granted,
        leased_at: wall(n.into()),
        retires_at: None,
    }
}

async fn status_lists(store: &Subject) -> Vec<StatusLease> {
    let mut lists = store.status_lists().await.expect("works");
    lists.sort_by_key(|list| list.id);
    lists
}

pub(crate) async fn status_lists_come_and_go(store: Subject) {
    let (one, two) = (lease(1, 8), lease(2, 0));
    assert_eq!(status_lists(&store).await, []);
    assert!(store.lease_status_list(&one).await.expect("works"));
    assert!(store.lease_status_list(&two).await.expect("works"));
    // A list that is there is not leased again, whoever asks.
    let again = StatusLease { seed: ListSeed::from_bytes([9; 32]), granted: 0, ..one.clone() };
    assert!(!store.lease_status_list(&again).await.expect("works"));
    assert_eq!(status_lists(&store).await, [one.clone(), two.clone()]);

    assert!(store.grant_status(&one.id, 8, 16).await.expect("works"));
    assert!(!store.grant_status(&one.id, 8, 16).await.expect("works"), "somebody had them");
    assert!(!store.grant_status(&lease(3, 0).id, 0, 8).await.expect("works"), "there is no such list");
    assert!(store.retire_status_list(&one.id, wall(77)).await.expect("works"));
    assert!(!store.grant_status(&one.id, 16, 24).await.expect("works"), "it takes no more tokens");
    assert!(!store.retire_status_list(&lease(3, 0).id, wall(77)).await.expect("works"));
    let retired = StatusLease { granted: 16, retires_at: Some(wall(77)), ..one.clone() };
    assert_eq!(status_lists(&store).await, [retired, two.clone()]);

    assert!(store.remove_status_list(&one.id).await.expect("works"));
    assert!(!store.remove_status_list(&one.id).await.expect("works"));
    assert_eq!(status_lists(&store).await, [two]);
}

pub(crate) async fn of_fifty_racing_grants_one_wins(store: Subject) {
    let list = lease(1, 0);
    store.lease_status_list(&list).await.expect("works");
    let racers: Vec<_> = (0..50)
        .map(|_| {
            let store = Arc::clone(&store);
            tokio::spawn(async move { store.grant_status(&list.id, 0, 8).await.expect("works") })
        })
        .collect();
    let mut won = 0;
    for racer in racers {
        won += u32::from(racer.await.expect("no panic"));
    }
    assert_eq!(won, 1);
}

pub(crate) async fn text_reads_back_as_it_was_written(store: Subject) {
    let texts = [
        String::new(),
        " ".to_owned(),
        "Ünïcödé 漢字 🛢️ e\u{301} \u{202e}x".to_owned(),
        "'; DROP TABLE accounts; -- \" ` %_\\".to_owned(),
        "line\nbreak\ttab\u{1}".to_owned(),
        "a\0b".to_owned(),
        "x".repeat(100_000),
    ];
    for (n, text) in (0..).zip(&texts) {
        let who = Identity { issuer: text.clone(), subject: text.clone() };
        let (owned, new) = store.create_account(account_id(n), &who, wall(0)).await.expect("works");
        assert!(new);
        assert_eq!(store.account_of(&who).await.expect("works"), Some(owned.account.id));
        assert_eq!(store.account(&owned.account.id).await.expect("works").and_then(|o| o.identity), Some(who));
        let entry = Entry { reason: Some(text.clone()), ..grant(1, 5, text) };
        let account = done(&store, &owned.account, &Act { entries: vec![entry.clone()], ..act(&owned.account) }).await;
        assert_eq!(store.entry(&account.id, Source::Admin, text).await.expect("works"), Some(entry));
        let named = Session { audience: text.clone(), ..session(session_id(n, n), 5) };
        let account = done(&store, &account, &opening(&account, named)).await;
        let key = AccountKey { key_id: text.clone(), account: account.id, hash: [n; 32], created_at: wall(0) };
        store.add_account_key(&key).await.expect("works");
        assert_eq!(store.account_keys(&account.id).await.expect("works"), [key]);
        let edge = Edge {
            client_id: text.clone(),
            name: text.clone(),
            audience: text.clone(),
            secret_hashes: vec![[n; 32]],
            created_at: wall(0),
        };
        store.put_edge(&edge).await.expect("works");
        assert!(store.edges().await.expect("works").contains(&edge));
    }
}

pub(crate) async fn integers_read_back_up_to_their_limits(store: Subject) {
    const LAST: u64 = 1 << 59;
    let latest = UnixMs::from_ms(i64::MAX.cast_unsigned());
    let (owned, _) = store.create_account(account_id(1), &identity(1), latest).await.expect("works");
    assert_eq!(store.account(&account_id(1)).await.expect("works").map(|owned| owned.created_at), Some(latest));
    let mut account = owned.account;
    for (amount, name) in [(Credit::MAX, "most"), (Credit::MAX, "more"), (Credit::from_ms(i64::MIN), "least")] {
        let entry = Entry { amount, at: latest, ..grant(account.entries + 1, 0, name) };
        account = done(&store, &account, &Act { entries: vec![entry.clone()], ..act(&account) }).await;
        assert_eq!(store.entry(&account.id, Source::Admin, name).await.expect("works"), Some(entry));
    }
    assert_eq!(account.balance, Credit::ZERO);

    for started in [0, LAST - 2] {
        let mut late = session(session_id(1, 255), 0);
        late.id = session_id(u8::from(started > 0), 255);
        late.started = MeterTime::from_ms(started);
        late.started_at = latest;
        late.tokens.expires_at = latest;
        let id = late.id;
        account = done(&store, &account, &opening(&account, late)).await;
        store.checkpoint(255, &[row(id, started + 1)]).await.expect("works");
        assert_eq!(recovered(&store, 255).await, [(account.clone(), started + 1)]);
        let over = End {
            reason: EndReason::TimedOut,
            at: MeterTime::from_ms(started + 2),
            at_wall: latest,
            last_seen: MeterTime::from_ms(started + 1),
        };
        let act = Act { closes: Some((id, over)), ..act(&account) };
        account = done(&store, &account, &act).await;
        assert_eq!(store.session(&id).await.expect("works").and_then(|record| record.end), Some(over));
    }
    assert_eq!(alive(&store).await, Some(LAST));
}

pub(crate) async fn a_closed_store_is_unavailable(store: Subject) {
    let account = made(&store, 1).await;
    store.close().await.expect("works");
    store.close().await.expect("closing again is no error");
    let unavailable = |answer: Option<StoreError>| assert!(matches!(answer, Some(StoreError::Unavailable(_))));
    unavailable(store.account(&account.id).await.err());
    unavailable(store.commit(&granting(&account, 1, "x"), None).await.err());
    unavailable(store.checkpoint(1, &[row(session_id(1, 1), 1)]).await.err());
    unavailable(store.clock().await.err());
    unavailable(store.recover(1).await.err());
}
