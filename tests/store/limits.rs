//! The ends of what a store takes, and its own end.

use futures_util::TryStreamExt;
use gastank::{
    engine::{Act, Credit, Entry, Source},
    store::{AccountKey, Added, Created, Edge, Identity, KeyScope, StoreError},
    time::{MeterTime, UnixMs},
    wire::EndReason,
};

use super::*;

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
        assert_eq!(new, Created::New);
        assert_eq!(store.account_of(&who).await.expect("works"), Some(owned.account.id));
        assert_eq!(store.account(&owned.account.id).await.expect("works").and_then(|o| o.identity), Some(who));
        let entry = Entry { reason: Some(text.clone()), ..grant(1, 5, text) };
        let account =
            done(&store, &owned.account, &Act { entries: vec![entry.clone()], ..owned.account.nothing() }).await;
        assert_eq!(store.entry(&account.id, Source::Admin, text).await.expect("works"), Some(entry));
        let named = Session { audience: text.clone(), ..session(session_id(n, n), 5) };
        let account = done(&store, &account, &opening(&account, named)).await;
        let key = AccountKey {
            key_id: text.clone(),
            account: account.id,
            hash: [n; 32],
            created_at: wall(0),
            scope: KeyScope::Account,
        };
        assert_eq!(store.add_account_key(&key).await.expect("works"), Added::Done);
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
        account = done(&store, &account, &Act { entries: vec![entry.clone()], ..account.nothing() }).await;
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
        assert_eq!(recovered(&store).await, [(account.clone(), started + 1)]);
        let over = End {
            reason: EndReason::TimedOut,
            at: MeterTime::from_ms(started + 2),
            at_wall: latest,
            last_seen: MeterTime::from_ms(started + 1),
        };
        let act = Act { closes: Some((id, over)), ..account.nothing() };
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
    unavailable(store.recover().try_concat().await.err());
}
