//! Whose a status list is, among nodes that share a store.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use async_trait::async_trait;
use gastank::{
    control::{
        peers::{Alone, MayWrite, Membership, Others},
        status::{StatusKeeper, StatusPolicy},
    },
    engine::{Engine, ListSize, Policy, SecretRing},
    entropy::SeededEntropy,
    store::{ClusterStore, NodeId, Removed, StoreError, roles::*},
    time::{FakeClock, MeterTime, Millis, UnixMs},
    wire::{ClusterSecret, SecretId},
};
use parking_lot::Mutex;
use simulation::link::LinkedStore;

use super::near;

/// What a node is told of itself and of the others.
#[derive(Default)]
struct Told {
    stint: AtomicU64,
    over: Mutex<BTreeSet<NodeId>>,
    /// A node that comes back right after it was found dead.
    comes_back: Mutex<Option<Arc<StatusKeeper>>>,
}

#[async_trait]
impl Membership for Told {
    fn may_write(&self) -> Result<MayWrite, StoreError> {
        Alone.may_write()
    }

    fn stint(&self) -> u64 {
        self.stint.load(Ordering::SeqCst)
    }

    async fn confirm(&self) -> Result<MayWrite, StoreError> {
        self.may_write()
    }
}

#[async_trait]
impl Others for Told {
    async fn catch_up(&self) -> Result<(), StoreError> {
        Ok(())
    }

    async fn is_over(&self, node: &NodeId) -> Result<bool, StoreError> {
        let is_over = self.over.lock().contains(node);
        let back = self.comes_back.lock().take();
        if let Some(keeper) = back {
            keeper.look().await?;
        }
        Ok(is_over)
    }
}

struct Node {
    id: NodeId,
    engine: Arc<Engine>,
    told: Arc<Told>,
    keeper: Arc<StatusKeeper>,
}

impl Node {
    async fn start(store: &Arc<LinkedStore>, number: u8) -> Self {
        let secrets = SecretRing::new(SecretId::default(), ClusterSecret::from_bytes([9; 32]));
        let engine = Arc::new(Engine::new(Policy::default(), secrets, 16).among_others());
        let clock = Arc::new(FakeClock::new(MeterTime::ZERO, UnixMs::from_ms(1_700_000_000_000)));
        let policy = StatusPolicy {
            size: ListSize::new(64).expect("a power of two"),
            block: 8,
            shared: true,
            ..StatusPolicy::new(Millis::from_secs(86_400))
        };
        let entropy = Arc::new(SeededEntropy::new(number.into()));
        let kept: Arc<dyn Store> = Arc::<LinkedStore>::clone(store);
        let keeper = StatusKeeper::open(Arc::clone(&engine), kept, clock, entropy, policy).await.expect("works");
        let (id, told, keeper) = (NodeId::from_bytes([number; 16]), Arc::new(Told::default()), Arc::new(keeper));
        let shared: Arc<dyn ClusterStore> = Arc::<LinkedStore>::clone(store);
        keeper.join(id, shared, Arc::<Told>::clone(&told)).await.expect("works");
        Self { id, engine, told, keeper }
    }

    async fn take_over(&self, all: bool) {
        self.keeper.take_over(&*self.told, all).await.expect("works");
    }
}

#[tokio::test]
async fn a_list_of_the_dead_is_taken_over_and_who_comes_back_gives_out_no_index_of_it() {
    let store = near();
    let (a, b) = (Node::start(&store, 1).await, Node::start(&store, 2).await);
    let index = a.keeper.draw().await.expect("works").redeem();
    b.keeper.learn().await.expect("works");
    b.take_over(false).await;
    assert!(a.keeper.owns(&index.list) && !b.keeper.owns(&index.list), "its owner lives");

    b.told.over.lock().insert(a.id);
    b.take_over(false).await;
    assert!(b.keeper.owns(&index.list));
    let bit = |node: &Node, idx| node.engine.lists().find(&index.list).and_then(|list| list.is_invalid(idx));
    assert_eq!(bit(&b, index.idx), Some(true), "nobody knows of a session that has this token");
    let lease = async || {
        let leases = store.status_lists().await.expect("works");
        leases.into_iter().find(|lease| lease.id == index.list)
    };
    assert!(lease().await.is_some_and(|lease| lease.retires_at.is_some()), "it takes no more tokens");

    // It was away for so long that it may have been taken for dead.
    assert!(a.keeper.is_in_hand(&index.list), "it does not know that it was away");
    a.told.stint.fetch_add(1, Ordering::SeqCst);
    assert!(!a.keeper.is_in_hand(&index.list), "no token that is about to be issued may be of this list");
    assert_ne!(a.keeper.draw().await.expect("works").redeem().list, index.list);
    assert!(!a.keeper.owns(&index.list) && b.keeper.owns(&index.list));

    // What others forget is let go of.
    assert_eq!(store.remove_status_list(&index.list).await.expect("works"), Removed::Done);
    a.keeper.learn().await.expect("works");
    assert!(a.engine.lists().find(&index.list).is_none());
}

#[tokio::test]
async fn a_list_has_one_owner_though_that_one_is_back_between_being_found_dead_and_losing_it() {
    let store = near();
    let (a, b) = (Node::start(&store, 1).await, Node::start(&store, 2).await);
    let index = a.keeper.draw().await.expect("works").redeem();
    b.keeper.learn().await.expect("works");
    b.told.over.lock().insert(a.id);
    a.told.stint.fetch_add(1, Ordering::SeqCst);
    *b.told.comes_back.lock() = Some(Arc::clone(&a.keeper));
    b.take_over(false).await;
    assert!(a.keeper.is_in_hand(&index.list) && !b.keeper.owns(&index.list), "it was back first");
    assert_eq!(a.keeper.draw().await.expect("works").redeem().list, index.list, "and goes on to fill its list");

    b.take_over(false).await;
    assert!(b.keeper.owns(&index.list), "now it was not");
    a.told.stint.fetch_add(1, Ordering::SeqCst);
    assert_ne!(a.keeper.draw().await.expect("works").redeem().list, index.list);
    assert!(!a.keeper.owns(&index.list));
}

#[tokio::test]
async fn a_list_that_nobody_owns_is_taken_over_when_no_other_lives_or_it_takes_no_more_tokens() {
    let store = near();
    let a = Node::start(&store, 1).await;
    let left = a.keeper.draw().await.expect("works").redeem().list;
    store.disown_list(&left).await.expect("works");
    let b = Node::start(&store, 2).await;
    b.take_over(false).await;
    assert!(!b.keeper.owns(&left), "somebody may be about to own it");
    b.take_over(true).await;
    assert!(b.keeper.owns(&left));

    let c = Node::start(&store, 3).await;
    store.disown_list(&left).await.expect("works");
    c.take_over(false).await;
    assert!(c.keeper.owns(&left), "it is closed");
    b.take_over(false).await;
    assert!(!b.keeper.owns(&left) && c.keeper.owns(&left), "of two one is left");
}
