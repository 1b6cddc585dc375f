//! Recovery, where the accounts of a part of the ring are many, and where many of them are wanted.

use std::sync::Arc;

use futures_util::{StreamExt, TryStreamExt, stream};
use gastank::{
    engine::{Account, AccountId, bucket},
    store::{Commit, Identity},
    wire::{EndReason, SessionId},
};
use scylla::routing::partitioner::{Murmur3Partitioner, Partitioner};

use super::{
    keyspaces::Lent,
    store::{Subject, closing, opening, recovered, row, session, wall},
};

const SEEN: u64 = 9_000;

/// This many ids of accounts in one of 256 parts of the ring, in its order.
fn on_ring(part: u8, count: usize) -> Vec<AccountId> {
    let ids = (0_u128..).map(|n| n.wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835).to_be_bytes());
    let placed = ids.map(|id| (Murmur3Partitioner.hash_one(&id).value(), id));
    let mut found: Vec<_> =
        placed.filter(|(token, _)| (token ^ i64::MIN).to_be_bytes()[0] == part).take(count).collect();
    found.sort_unstable();
    found.into_iter().map(|(_, id)| AccountId::from_bytes(id)).collect()
}

async fn made(store: &Subject, id: AccountId) -> Account {
    let identity = Identity { issuer: "https://id.example".to_owned(), subject: format!("{id:?}") };
    store.create_account(id, &identity, wall(0)).await.expect("works").0.account
}

/// Makes the account and opens a session, which is heard of.
async fn open(store: &Subject, id: AccountId) -> Account {
    let account = made(store, id).await;
    let id = SessionId::from_bytes(id.as_bytes().map(|byte| !byte));
    let act = opening(&account, session(id, 1_000));
    assert!(matches!(store.commit(&act, None).await.expect("works"), Commit::Done(_)));
    store.checkpoint(bucket(&id), &[row(id, SEEN)]).await.expect("works");
    account.after(&act)
}

/// Does this for many at a time.
async fn all<T>(ids: &[AccountId], each: impl AsyncFn(AccountId) -> T) -> Vec<T> {
    stream::iter(ids).map(|id| each(*id)).buffered(16).collect().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn open_sessions_are_found_among_few_accounts_and_among_many() {
    let keyspace = Lent::empty().await;
    let opened = Arc::new(keyspace.open().await);
    let store: Subject = Arc::clone(&opened) as Subject;
    // Here hardly anybody has a session, and there are more accounts than are looked through at a time.
    let idle = on_ring(0x80, 200);
    let few = [0, 5, 150, 199].map(|n: usize| idle[n]);
    all(&idle, async |id| {
        if !few.contains(&id) {
            drop(made(&store, id).await)
        }
    })
    .await;
    let mut expected = all(&few, async |id| open(&store, id).await).await;
    // Here everybody has one, for several pages.
    expected.extend(all(&on_ring(0xff, 200), async |id| open(&store, id).await).await);
    // One that is alone, at either end of the ring.
    expected.extend(all(&on_ring(0, 1), async |id| open(&store, id).await).await);

    // What a process that died left behind: a checkpoint of a session that is over, beside one of the next.
    let second = &expected[10];
    let (second_id, over) = (second.id, second.open().expect("it is open").id);
    let close = closing(second, EndReason::Superseded, SEEN);
    assert!(matches!(store.commit(&close, None).await.expect("works"), Commit::Done(_)));
    let account = second.clone().after(&close);
    let reopen = opening(&account, session(SessionId::from_bytes([7; 16]), SEEN));
    assert!(matches!(store.commit(&reopen, None).await.expect("works"), Commit::Done(_)));
    expected[10] = account.after(&reopen);
    let (place, owner) = (bucket(&over), second_id);
    keyspace
        .session()
        .await
        .query_unpaged(
            "INSERT INTO checkpoints (shard, bucket, session, account, last_seen) VALUES (?, ?, ?, ?, 8000) \
             USING TIMESTAMP 8000",
            (
                i8::try_from(place / 16).expect("a sixteenth"),
                i16::from(place),
                over.as_bytes().as_slice(),
                owner.as_bytes().as_slice(),
            ),
        )
        .await
        .expect("works");

    expected.sort_by_key(|account| account.id);
    let expected: Vec<_> = expected.into_iter().map(|account| (account, SEEN)).collect();
    assert_eq!(recovered(&store).await, expected);
    // Of the few, two lie beyond the page after which the rest is asked for one by one. Where everybody is wanted, nobody is.
    let before = opened.reads();
    let parts: Vec<_> = store.recover().map_ok(|part| part.len()).try_collect().await.expect("works");
    assert_eq!(parts.len(), gastank::store::RECOVERY_PARTS);
    assert_eq!(parts.iter().filter(|part| **part > 0).count(), 3);
    assert_eq!(opened.reads() - before, 2);
}
