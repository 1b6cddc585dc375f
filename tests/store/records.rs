//! What providers tell of people, and the audit log.

use std::{collections::BTreeMap, sync::Arc};

use gastank::{
    engine::Act,
    store::{
        Actor, ActorKind, AuditAct, AuditDay, AuditKey, AuditRecord, Capability, Commit, ProviderFacts, Replaced,
        SeenEvent, Surface,
    },
    time::UnixMs,
};

use super::*;

fn told(name: &str, active: bool, at: u64) -> ProviderFacts {
    let first_active_at = active.then(|| wall(at));
    let capability = Capability { active, changed_at: wall(at), first_active_at };
    ProviderFacts { capabilities: BTreeMap::from([(name.to_owned(), capability)]), ..ProviderFacts::default() }
}

async fn facts(store: &Subject, n: u8) -> ProviderFacts {
    store.facts(&identity(n)).await.expect("works")
}

pub(crate) async fn what_was_told_is_replaced_by_who_has_read_it(store: Subject) {
    assert_eq!(facts(&store, 1).await, ProviderFacts::default());
    let first = told("Ünïcödé \" ' 漢字", true, 5);
    assert_eq!(store.put_facts(&identity(1), &first).await.expect("works"), Replaced::Done);
    assert_eq!(facts(&store, 1).await, ProviderFacts { revision: 1, ..first.clone() });
    // Somebody who has not read it changes nothing, also with the same.
    assert_eq!(store.put_facts(&identity(1), &first).await.expect("works"), Replaced::Outdated);
    assert_eq!(store.put_facts(&identity(1), &told("x", false, 9)).await.expect("works"), Replaced::Outdated);
    assert_eq!(
        store.put_facts(&identity(2), &ProviderFacts { revision: 1, ..first.clone() }).await.expect("works"),
        Replaced::Outdated
    );
    assert_eq!(facts(&store, 2).await, ProviderFacts::default());

    let events = (0..64).map(|n| SeenEvent { digest: [n; 16], at: wall(n.into()) }).collect();
    let second = ProviderFacts {
        revision: 1,
        gone_at: Some(wall(3)),
        password_changed_at: Some(UnixMs::from_ms(i64::MAX.cast_unsigned())),
        events,
        ..told("x", false, 0)
    };
    assert_eq!(store.put_facts(&identity(1), &second).await.expect("works"), Replaced::Done);
    assert_eq!(facts(&store, 1).await, ProviderFacts { revision: 2, ..second });
    let nothing = ProviderFacts { revision: 2, ..ProviderFacts::default() };
    assert_eq!(store.put_facts(&identity(1), &nothing).await.expect("works"), Replaced::Done);
    assert_eq!(facts(&store, 1).await, ProviderFacts { revision: 3, ..nothing });
    assert_eq!(store.account_of(&identity(1)).await.expect("works"), None, "what is told makes no account");
}

pub(crate) async fn of_fifty_racing_tellers_each_is_heard_once(store: Subject) {
    let tellers: Vec<_> = (0..50)
        .map(|n| {
            let store = Arc::clone(&store);
            tokio::spawn(async move {
                loop {
                    let mut facts = facts(&store, 1).await;
                    facts.events.push(SeenEvent { digest: [n; 16], at: wall(1) });
                    if store.put_facts(&identity(1), &facts).await.expect("works") == Replaced::Done {
                        return;
                    }
                }
            })
        })
        .collect();
    for teller in tellers {
        teller.await.expect("no panic");
    }
    let mut facts = facts(&store, 1).await;
    facts.events.sort_by_key(|event| event.digest);
    assert_eq!(facts.revision, 50);
    assert_eq!(facts.events.iter().map(|event| event.digest[0]).collect::<Vec<_>>(), (0..50).collect::<Vec<_>>());
}

pub(crate) async fn deletion_forgets_what_was_told_unless_the_person_is_gone(store: Subject) {
    for n in [1, 2, 3] {
        let gone_at = (n == 2).then(|| wall(7));
        assert_eq!(
            store.put_facts(&identity(n), &ProviderFacts { gone_at, ..told("x", true, 5) }).await.expect("works"),
            Replaced::Done
        );
    }
    for n in [1, 2] {
        let account = made(&store, n).await;
        done(&store, &account, &Act { deletes: true, ..account.nothing() }).await;
    }
    assert_eq!(facts(&store, 1).await, ProviderFacts::default());
    assert_eq!(facts(&store, 2).await.gone_at, Some(wall(7)));
    assert_eq!(facts(&store, 3).await.revision, 1);
}

fn logged(at: UnixMs, n: u8, account: Option<u8>) -> AuditRecord {
    AuditRecord {
        key: AuditKey { at, id: [n; 8] },
        actor: Actor { kind: ActorKind::Operator, name: None, surface: Surface::Admin },
        act: AuditAct::CreditEntered,
        account: account.map(account_id),
        target: Some(n.to_string()),
        detail: None,
    }
}

async fn of_day(store: &Subject, day: AuditDay) -> Vec<AuditRecord> {
    store.audit_of_day(day, None, 1000).await.expect("works")
}

pub(crate) async fn an_act_is_logged_when_it_is_done_and_only_then(store: Subject) {
    let account = made(&store, 1).await;
    let at = wall(0);
    let (granted, row) = (granting(&account, 5, "a"), logged(at, 1, Some(1)));
    let stale = Act { expects: 7, ..granted.clone() };
    assert_eq!(store.commit(&stale, Some(&row)).await.expect("works"), Commit::Conflict);
    assert_eq!(of_day(&store, AuditDay::of(at)).await, []);
    let Commit::Done(account) = store.commit(&granted, Some(&row)).await.expect("works") else {
        panic!("nothing is in the way")
    };
    assert_eq!(of_day(&store, AuditDay::of(at)).await, std::slice::from_ref(&row));
    let again = Act { expects: account.version, ..granting(&account, 5, "a") };
    let other = logged(at, 2, Some(1));
    assert!(matches!(store.commit(&again, Some(&other)).await.expect("works"), Commit::Repeated(_)));
    assert_eq!(of_day(&store, AuditDay::of(at)).await, std::slice::from_ref(&row));

    // What is known of the person goes; that somebody did something to an account of this id does not.
    let gone = Act { deletes: true, ..account.nothing() };
    assert!(matches!(store.commit(&gone, Some(&other)).await.expect("works"), Commit::Done(_)));
    assert_eq!(store.audit_of_account(&account.id, None, 10).await.expect("works"), [row, other]);
}

pub(crate) async fn a_row_of_the_audit_log_is_written_once(store: Subject) {
    let (one, two) = (logged(wall(5), 1, Some(1)), logged(wall(5), 2, None));
    store.append_audit(&[]).await.expect("works");
    store.append_audit(std::slice::from_ref(&one)).await.expect("works");
    let other = AuditRecord { detail: Some("another".to_owned()), ..one.clone() };
    store.append_audit(&[two.clone(), other, one.clone()]).await.expect("works");
    assert_eq!(of_day(&store, one.key.day()).await, [one.clone(), two]);
    assert_eq!(store.audit_of_account(&account_id(1), None, 10).await.expect("works"), [one]);
}

pub(crate) async fn every_name_of_the_audit_log_reads_back(store: Subject) {
    let combinations = AuditAct::ALL.iter().flat_map(|act| {
        ActorKind::ALL.iter().flat_map(move |kind| Surface::ALL.iter().map(move |surface| (*act, *kind, *surface)))
    });
    let rows: Vec<_> = (0..)
        .zip(combinations)
        .map(|(n, (act, kind, surface))| AuditRecord {
            key: AuditKey { at: wall(n), id: [255; 8] },
            actor: Actor { kind, name: (n % 2 == 0).then(|| format!("ünïcödé {n}")), surface },
            act,
            account: (n % 3 == 0).then(|| account_id(3)),
            target: (n % 5 == 0).then(|| "a target".to_owned()),
            detail: (n % 7 == 0).then(|| "a detail".to_owned()),
        })
        .collect();
    store.append_audit(&rows).await.expect("works");
    assert_eq!(of_day(&store, rows[0].key.day()).await, rows[..rows.len().min(1000)]);
}

pub(crate) async fn the_audit_log_is_read_by_day_and_by_account_in_pages(store: Subject) {
    let day = AuditDay::of(wall(0)).next();
    let last = UnixMs::from_ms(day.ends().as_ms() - 1);
    let instants = [day.begins(), day.begins(), wall(86_400_000), last, day.ends()];
    let mut rows = vec![logged(UnixMs::from_ms(day.begins().as_ms() - 1), 9, Some(1))];
    rows.extend((0..).zip(instants).map(|(n, at)| logged(at, n, Some(n % 2))));
    let backwards: Vec<_> = rows.iter().rev().cloned().collect();
    store.append_audit(&backwards).await.expect("works");

    assert_eq!(of_day(&store, day).await, rows[1..5]);
    assert_eq!(of_day(&store, day.next()).await, rows[5..]);
    assert_eq!(of_day(&store, day.next().next()).await, []);
    let mut paged = Vec::new();
    loop {
        let after = paged.last().map(|row: &AuditRecord| row.key);
        let page = store.audit_of_day(day, after, 3).await.expect("works");
        assert!(page.len() <= 3);
        if page.is_empty() {
            break;
        }
        paged.extend(page);
    }
    assert_eq!(paged, rows[1..5]);

    let of_account: Vec<_> = rows.iter().filter(|row| row.account == Some(account_id(1))).cloned().collect();
    let account = account_id(1);
    assert_eq!(store.audit_of_account(&account, None, 10).await.expect("works"), of_account);
    assert_eq!(store.audit_of_account(&account, None, 2).await.expect("works"), of_account[..2]);
    // What lies between the rows is as good a place to go on from as a row.
    for (n, row) in of_account.iter().enumerate() {
        let before = AuditKey { at: UnixMs::from_ms(row.key.at.as_ms() - 1), id: [255; 8] };
        assert_eq!(store.audit_of_account(&account, Some(before), 10).await.expect("works"), of_account[n..]);
        assert_eq!(store.audit_of_account(&account, Some(row.key), 10).await.expect("works"), of_account[n + 1..]);
    }
    assert_eq!(store.audit_of_account(&account_id(9), None, 10).await.expect("works"), []);
}

pub(crate) async fn old_rows_of_the_audit_log_are_dropped_in_pieces(store: Subject) {
    let rows: Vec<_> = (0..5).map(|n| logged(wall(u64::from(n)), n, Some(1))).collect();
    store.append_audit(&rows).await.expect("works");
    // A store whose rows go by themselves drops none, and says so.
    let mut dropped = 0;
    for _ in 0..3 {
        let now = store.prune_audit(wall(3), 2).await.expect("works");
        assert!(now <= 2);
        dropped += now;
    }
    assert!(dropped == 3 || dropped == 0, "{dropped}");
    assert_eq!(of_day(&store, rows[0].key.day()).await, rows[dropped..]);
    assert_eq!(store.audit_of_account(&account_id(1), None, 10).await.expect("works"), rows[dropped..]);
}
