//! What else is kept, how it goes with its owner, and where nodes agree on who has what.

use std::sync::Arc;

use gastank::{
    engine::{Act, Credit, Entry, ListSeed, ListSize, Source},
    store::{
        AccountKey, Added, Commit, Created, Edge, Granted, Held, KeyScope, Leased, Removed, Retired, SealedKey,
        SessionRecord, StatusLease,
    },
    wire::EndReason,
};

use super::*;

pub(crate) async fn deletion_erases_the_person_and_keeps_the_ends(store: Subject) {
    let ids = [session_id(1, 3), session_id(2, 3)];
    let account = made(&store, 1).await;
    let bystander = made(&store, 2).await;
    let bystander = done(&store, &bystander, &granting(&bystander, 5, "fuel")).await;
    let account = done(&store, &account, &granting(&account, 100_000, "fuel")).await;
    let account = done(&store, &account, &opening(&account, session(ids[0], 1_000))).await;
    let act = Act { opens: Some(session(ids[1], 2_000)), ..closing(&account, EndReason::Superseded, 2_000) };
    let account = done(&store, &account, &act).await;
    let key = AccountKey {
        key_id: "k".to_owned(),
        account: account.id,
        hash: [7; 32],
        created_at: wall(0),
        scope: KeyScope::Earning,
    };
    assert_eq!(store.add_account_key(&key).await.expect("works"), Added::Done);

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
    assert_eq!(recovered(&store).await, []);
    let ends = [end(EndReason::Superseded, 2_000), end(EndReason::AccountDeleted, 3_000)];
    for (id, end) in ids.iter().zip(ends) {
        let record = store.session(id).await.expect("works");
        assert_eq!(record, Some(SessionRecord { account: account.id, end: Some(end) }));
    }

    // It takes no more acts and no keys, and who is left is left alone.
    assert_eq!(store.commit(&delete, None).await.expect("works"), Commit::Conflict);
    assert_eq!(store.commit(&granting(&gone, 5, "more"), None).await.expect("works"), Commit::Conflict);
    assert_eq!(store.add_account_key(&key).await.expect("works"), Added::AccountGone);
    assert_eq!(owner(&store, &key.hash).await, None);
    assert_eq!(now(&store, &bystander.id).await, bystander);
    assert_eq!(store.entries(&bystander.id, 0, 10).await.expect("works").len(), 1);
}

pub(crate) async fn an_identity_is_free_again_after_deletion(store: Subject) {
    let account = made(&store, 1).await;
    let account = done(&store, &account, &granting(&account, 5, "fuel")).await;
    done(&store, &account, &Act { deletes: true, ..account.nothing() }).await;
    let (fresh, new) = store.create_account(account_id(2), &identity(1), wall(0)).await.expect("works");
    assert_eq!(new, Created::New);
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
        scope: if byte.is_multiple_of(2) { KeyScope::Earning } else { KeyScope::Account },
    };
    let keys = [key(&account, "a", 1), key(&account, "b", 2), key(&other, "a", 3)];
    for key in keys.iter().chain(&keys) {
        assert_eq!(store.add_account_key(key).await.expect("works"), Added::Done);
    }
    let nobody = Account::new(account_id(9));
    assert_eq!(store.add_account_key(&key(&nobody, "a", 9)).await.expect("works"), Added::AccountGone);
    for key in &keys {
        assert_eq!(store.account_by_key(&key.hash).await.expect("works"), Some(key.clone()));
    }
    assert_eq!(owner(&store, &[9; 32]).await, None);
    let mut found = store.account_keys(&account.id).await.expect("works");
    found.sort_by(|a, b| a.key_id.cmp(&b.key_id));
    assert_eq!(found, keys[..2]);

    // Another key of the same name replaces it.
    assert_eq!(store.add_account_key(&key(&account, "b", 4)).await.expect("works"), Added::Done);
    assert_eq!(owner(&store, &[2; 32]).await, None);
    assert_eq!(owner(&store, &[4; 32]).await, Some(account.id));

    assert_eq!(store.remove_account_key(&account.id, "a").await.expect("works"), Removed::Done);
    assert_eq!(store.remove_account_key(&account.id, "a").await.expect("works"), Removed::NotThere);
    assert_eq!(store.remove_account_key(&account.id, "c").await.expect("works"), Removed::NotThere);
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
    assert_eq!(store.remove_edge("b").await.expect("works"), Removed::Done);
    assert_eq!(store.remove_edge("b").await.expect("works"), Removed::NotThere);
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
    assert_eq!(store.remove_signing_key("a").await.expect("works"), Removed::Done);
    assert_eq!(store.remove_signing_key("a").await.expect("works"), Removed::NotThere);
    assert_eq!(store.signing_keys().await.expect("works"), [key("b", 5, None)]);
}

pub(crate) async fn debt_is_what_the_entries_owe(store: Subject) {
    let owing = |number, ms, owed, name| Entry { owed: Credit::from_ms(owed), ..grant(number, ms, name) };
    let mut account = made(&store, 1).await;
    for (ms, owed, name, debt) in [(0, 700, "a", 700), (5, 0, "b", 700), (-5, -5, "c", 695), (0, -695, "d", 0)] {
        let entry = owing(account.entries + 1, ms, owed, name);
        account = done(&store, &account, &Act { entries: vec![entry.clone()], ..account.nothing() }).await;
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

    assert_eq!(store.release_credit(&ada, Source::Admin, "msg").await.expect("works"), Removed::NotThere);
    assert_eq!(store.release_credit(&ada, Source::Webhook, "msg").await.expect("works"), Removed::Done);
    assert_eq!(store.release_credit(&ada, Source::Webhook, "msg").await.expect("works"), Removed::NotThere);
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
        assert_eq!(store.hold_credit(&identity(n), &held(5, "msg", 7), 10).await.expect("works"), Held::Kept);
    }
    let account = made(&store, 1).await;
    assert_eq!(
        store.held_credit(&identity(1), 10).await.expect("works").len(),
        1,
        "an account by itself changes nothing"
    );
    done(&store, &account, &Act { deletes: true, ..account.nothing() }).await;
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
    assert_eq!(store.lease_status_list(&one).await.expect("works"), Leased::Done);
    assert_eq!(store.lease_status_list(&two).await.expect("works"), Leased::Done);
    // A list that is there is not leased again, whoever asks.
    let again = StatusLease { seed: ListSeed::from_bytes([9; 32]), granted: 0, ..one.clone() };
    assert_eq!(store.lease_status_list(&again).await.expect("works"), Leased::IdTaken);
    assert_eq!(status_lists(&store).await, [one.clone(), two.clone()]);

    assert_eq!(store.grant_status(&one.id, 8, 16).await.expect("works"), Granted::Done);
    assert_eq!(store.grant_status(&one.id, 8, 16).await.expect("works"), Granted::Refused, "somebody had them");
    assert_eq!(
        store.grant_status(&lease(3, 0).id, 0, 8).await.expect("works"),
        Granted::Refused,
        "there is no such list"
    );
    assert_eq!(store.retire_status_list(&one.id, wall(77)).await.expect("works"), Retired::Done);
    assert_eq!(store.grant_status(&one.id, 16, 24).await.expect("works"), Granted::Refused, "it takes no more tokens");
    assert_eq!(store.retire_status_list(&lease(3, 0).id, wall(77)).await.expect("works"), Retired::NotThere);
    let retired = StatusLease { granted: 16, retires_at: Some(wall(77)), ..one.clone() };
    assert_eq!(status_lists(&store).await, [retired, two.clone()]);

    assert_eq!(store.remove_status_list(&one.id).await.expect("works"), Removed::Done);
    assert_eq!(store.remove_status_list(&one.id).await.expect("works"), Removed::NotThere);
    assert_eq!(status_lists(&store).await, [two]);
}

pub(crate) async fn of_fifty_racing_grants_one_wins(store: Subject) {
    let list = lease(1, 0);
    assert_eq!(store.lease_status_list(&list).await.expect("works"), Leased::Done);
    let racers: Vec<_> = (0..50)
        .map(|_| {
            let store = Arc::clone(&store);
            tokio::spawn(async move { store.grant_status(&list.id, 0, 8).await.expect("works") })
        })
        .collect();
    let mut won = 0;
    for racer in racers {
        won += u32::from(racer.await.expect("no panic") == Granted::Done);
    }
    assert_eq!(won, 1);
}
