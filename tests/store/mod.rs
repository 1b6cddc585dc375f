//! What every store is held to. A store's own test file includes this module and runs [`conformance`] and [`model`].

pub(crate) mod accounts;
pub(crate) mod belongings;
#[macro_use]
pub(crate) mod conformance;
pub(crate) mod history;
pub(crate) mod hub;
pub(crate) mod limits;
pub(crate) mod liveness;
pub(crate) mod logouts;
pub(crate) mod model;
pub(crate) mod records;
pub(crate) mod rewards;

use std::sync::Arc;

use futures_util::TryStreamExt;
use gastank::{
    engine::{
        Account, AccountId, Act, ActivationName, ActivationNames, Checkpoint, Credit, End, Entry, EntryKind, ListId,
        NewEntry, RenewalName, Session, Source, StatusIndex, TokenHash, Tokens, session_text,
    },
    store::{Commit, Created, HeldCredit, Identity, Store},
    time::{MeterTime, Millis, UnixMs},
    wire::{EndReason, SessionId},
};

/// A store under test.
pub(crate) type Subject = Arc<dyn Store>;

/// Account number `n`; ids are in the order of their numbers.
pub(crate) fn account_id(n: u8) -> AccountId {
    let mut bytes = [0x5a; 16];
    bytes[0] = n;
    AccountId::from_bytes(bytes)
}

/// Session number `n`, with its checkpoint in bucket `bucket`.
pub(crate) fn session_id(n: u8, bucket: u8) -> SessionId {
    let mut bytes = [0xa5; 16];
    bytes[0] = n;
    bytes[15] = bucket;
    SessionId::from_bytes(bytes)
}

/// The identity of account number `n`.
pub(crate) fn identity(n: u8) -> Identity {
    Identity { issuer: "https://id.example".to_owned(), subject: format!("person-{n}") }
}

/// A wall-clock instant that goes with meter time `ms`.
pub(crate) fn wall(ms: u64) -> UnixMs {
    UnixMs::from_ms(1_700_000_000_000 + ms)
}

/// A session that opens at `started`.
pub(crate) fn session(id: SessionId, started: u64) -> Session {
    Session {
        id,
        started: MeterTime::from_ms(started),
        started_at: wall(started),
        audience: "https://edge.example".to_owned(),
        tokens: tokens(started, false),
        names: names(started),
        end: None,
    }
}

/// Names of activations that differ by `n`; none at all for some.
fn names(n: u64) -> ActivationNames {
    let own = |n: u64| (!n.is_multiple_of(5)).then(|| ActivationName::of(&n.to_string()));
    let before = ActivationNames::then(None, own(n / 7), false);
    ActivationNames::then(Some(&before), own(n), n.is_multiple_of(2))
}

/// Tokens that differ by `n`.
pub(crate) fn tokens(n: u64, previous: bool) -> Tokens {
    Tokens {
        current: TokenHash::of(&n.to_le_bytes()),
        previous: previous.then(|| TokenHash::of(&[n.to_le_bytes(), n.to_le_bytes()].concat())),
        expires_at: wall(n + 60_000),
        expires: (!n.is_multiple_of(3)).then(|| MeterTime::from_ms(n + 60_000)),
        uncharged: Millis::new(n % 7),
        renewed: previous.then(|| RenewalName { clock: MeterTime::from_ms(n), seq: u32::MAX }),
        status: StatusIndex {
            list: ListId::from_bytes(n.to_be_bytes()),
            idx: u32::try_from(n % (1 << 20)).expect("it is small"),
        },
    }
}

/// An end at `at`.
pub(crate) fn end(reason: EndReason, at: u64) -> End {
    End { reason, at: MeterTime::from_ms(at), at_wall: wall(at), last_seen: MeterTime::from_ms(at.saturating_sub(7)) }
}

/// A grant.
pub(crate) fn grant(number: u64, ms: i64, name: &str) -> Entry {
    Entry {
        number,
        kind: EntryKind::Grant,
        amount: Credit::from_ms(ms),
        owed: Credit::ZERO,
        source: Source::Admin,
        external_id: name.to_owned(),
        reason: None,
        at: wall(number),
    }
}

/// What a session burned.
pub(crate) fn usage(number: u64, ms: i64, session: &SessionId) -> Entry {
    Entry {
        number,
        kind: EntryKind::Usage,
        amount: Credit::from_ms(-ms),
        owed: Credit::ZERO,
        source: Source::Session,
        external_id: session_text(session),
        reason: Some("superseded".to_owned()),
        at: wall(number),
    }
}

/// Credit from a webhook that waits for an account.
pub(crate) fn held(ms: i64, name: &str, at: u64) -> HeldCredit {
    let entry = NewEntry {
        kind: if ms < 0 { EntryKind::Refund } else { EntryKind::Purchase },
        amount: Credit::from_ms(ms),
        source: Source::Webhook,
        external_id: name.to_owned(),
        reason: Some(format!("for {name}")),
    };
    HeldCredit { entry, at: wall(at) }
}

/// A checkpoint.
pub(crate) fn row(session: SessionId, last_seen: u64) -> Checkpoint {
    Checkpoint { session, last_seen: MeterTime::from_ms(last_seen) }
}

/// Makes account number `n`.
pub(crate) async fn made(store: &Subject, n: u8) -> Account {
    let (owned, new) = store.create_account(account_id(n), &identity(n), wall(0)).await.expect("a working store");
    assert_eq!(new, Created::New, "account {n} was there");
    owned.account
}

/// The account as the store has it.
pub(crate) async fn now(store: &Subject, id: &AccountId) -> Account {
    store.account(id).await.expect("a working store").expect("the account is there").account
}

/// Commits an act that must go through, and checks that the store then holds what the act means.
pub(crate) async fn done(store: &Subject, before: &Account, act: &Act) -> Account {
    let after = before.clone().after(act);
    assert_eq!(store.commit(act, None).await.expect("a working store"), Commit::Done(after.clone()));
    assert_eq!(now(store, &before.id).await, after, "what was committed is read back at once");
    after
}

/// An act that opens `session`.
pub(crate) fn opening(account: &Account, session: Session) -> Act {
    Act { opens: Some(session), ..account.nothing() }
}

/// An act that ends the open session at `at` and charges for it.
pub(crate) fn closing(account: &Account, reason: EndReason, at: u64) -> Act {
    let open = account.open().expect("a session is open");
    let burned = i64::try_from(at - open.started.as_ms()).expect("a short session");
    Act {
        closes: Some((open.id, end(reason, at))),
        entries: vec![usage(account.entries + 1, burned, &open.id)],
        ..account.nothing()
    }
}

/// An act that enters one grant.
pub(crate) fn granting(account: &Account, ms: i64, name: &str) -> Act {
    Act { entries: vec![grant(account.entries + 1, ms, name)], ..account.nothing() }
}

/// The accounts that recovery finds, with the checkpoints of their sessions.
pub(crate) async fn recovered(store: &Subject) -> Vec<(Account, u64)> {
    let mut found: Vec<_> = store
        .recover()
        .try_concat()
        .await
        .expect("a working store")
        .into_iter()
        .map(|open| (open.account, open.last_seen.as_ms()))
        .collect();
    found.sort_by_key(|(account, _)| account.id);
    found
}

/// Where the store's meter clock is.
pub(crate) async fn alive(store: &Subject) -> Option<u64> {
    store.clock().await.expect("a working store").map(|fact| fact.last_alive.as_ms())
}
