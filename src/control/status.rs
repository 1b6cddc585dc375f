//! Indices for tokens: status lists are leased from the store, filled, closed, and let go.
//!
//! A list is leased as a whole, and what of it may be handed out is made durable in blocks before it is: no crash makes
//! an index come back. A block is fetched before the last one has run out, so that acts do not wait for it.
//!
//! The life of a list: it is *current* while tokens are given indices in it; then *closed*, for as long as one of its
//! tokens may not have expired; then forgotten. Its id is random and never comes back.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use parking_lot::Mutex;
use tokio::sync::Mutex as Gate;

use crate::{
    clock::Clock,
    engine::{Engine, ListId, ListSeed, ListSize, StatusIndex, StatusList, UnixMs},
    entropy::{Entropy, draw},
    store::{StatusLease, Store, StoreError},
    wire::Millis,
};

/// A token may be issued this long after its list was closed: the act was under way.
const SLACK: Millis = Millis::from_secs(10 * 60);
/// How often an id that is taken is drawn anew. Once is very unlikely.
const DRAWS: usize = 4;
/// How often a caller looks for an index again when others have taken what it had granted.
const ROUNDS: usize = 64;

/// How status lists are filled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StatusPolicy {
    /// How many entries a new list has.
    pub size: ListSize,
    /// How many indices are granted at a time: how many a crash may waste.
    pub block: u32,
    /// The longest a token lives.
    pub max_ttl: Millis,
    /// Whether other nodes fill lists too. Each then fills those that it has leased itself, and closes no other.
    pub shared: bool,
}

impl StatusPolicy {
    /// Lists of the usual size, for tokens that live at most `max_ttl`.
    pub const fn new(max_ttl: Millis) -> Self {
        Self { size: ListSize::DEFAULT, block: 1024, max_ttl, shared: false }
    }
}

/// Hands out indices.
pub struct StatusKeeper {
    engine: Arc<Engine>,
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    policy: StatusPolicy,
    roles: Mutex<Roles>,
    /// One at a time changes what is granted.
    gate: Gate<()>,
}

/// The role of each list on this node. A list enters the engine and gets its role under the same lock, so nobody sees
/// the one without the other.
struct Roles {
    /// Tokens get their indices from this list.
    current: Arc<StatusList>,
    /// The lists that this node has filled.
    leased: BTreeSet<ListId>,
    /// Of closed lists, when they are forgotten.
    retiring: BTreeMap<ListId, UnixMs>,
}

/// An index for a token that is about to be issued. Goes back if it is dropped before it was used.
#[derive(Debug)]
pub struct Ticket {
    list: Arc<StatusList>,
    index: StatusIndex,
    used: bool,
}

impl Ticket {
    /// The index, for good. Asked again, the same: for a token in place of one that nobody was given.
    pub const fn redeem(&mut self) -> StatusIndex {
        self.used = true;
        self.index
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if !self.used {
            self.list.give_back(self.index);
        }
    }
}

impl StatusKeeper {
    /// Reads the lists from the store into the engine, where every index that may have been handed out is INVALID, and
    /// leases one if none has room. To be done before the engine is told of sessions.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub async fn open(
        engine: Arc<Engine>,
        store: Arc<dyn Store>,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
        policy: StatusPolicy,
    ) -> Result<Self, StoreError> {
        let mut retiring = BTreeMap::new();
        let mut current: Option<Arc<StatusList>> = None;
        for lease in store.status_lists().await? {
            let list = Arc::new(StatusList::new(lease.id, lease.size, &lease.seed, lease.granted));
            engine.lists().insert(Arc::clone(&list));
            if let Some(at) = lease.retires_at {
                list.close();
                retiring.insert(lease.id, at);
            } else if !policy.shared && current.as_ref().is_none_or(|best| room(best) < room(&list)) {
                current = Some(list);
            }
        }
        let current = match current {
            Some(list) if room(&list) > 0 => {
                let (granted, _) = list.granted();
                let to = granted + room(&list).min(policy.block.max(1));
                // Of two nodes that fall out over a list, one goes without until it needs an index.
                if store.grant_status(&list.id(), granted, to).await? {
                    list.grant(to);
                }
                list
            }
            _ => {
                let list = lease(&*store, &*entropy, &policy, clock.wall()).await?;
                engine.lists().insert(Arc::clone(&list));
                list
            }
        };
        let leased = BTreeSet::from([current.id()]);
        let roles = Mutex::new(Roles { current, leased, retiring });
        Ok(Self { engine, store, clock, entropy, policy, roles, gate: Gate::default() })
    }

    /// Lets in the lists that other nodes have leased since, and lets go of those that they have forgotten. All that is
    /// not known of them is INVALID.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub async fn learn(&self) -> Result<(), StoreError> {
        let before: BTreeSet<ListId> = self.engine.lists().all().iter().map(|list| list.id()).collect();
        let leases = self.store.status_lists().await?;
        for lease in &leases {
            let mut roles = self.roles.lock();
            let known = self.engine.lists().find(&lease.id);
            let list = known.unwrap_or_else(|| {
                let list = Arc::new(StatusList::new(lease.id, lease.size, &lease.seed, lease.granted));
                self.engine.lists().insert(Arc::clone(&list));
                list
            });
            if let Some(at) = lease.retires_at {
                list.close();
                roles.retiring.insert(lease.id, at);
            }
        }
        let there: BTreeSet<ListId> = leases.iter().map(|lease| lease.id).collect();
        for gone in before.difference(&there).filter(|gone| !self.fills(gone)) {
            self.engine.lists().remove(gone);
            self.roles.lock().retiring.remove(gone);
        }
        Ok(())
    }

    /// Whether this node alone gives out the indices of a list.
    pub fn fills(&self, list: &ListId) -> bool {
        !self.policy.shared || self.roles.lock().leased.contains(list)
    }

    /// Closes the list that this node fills: nobody will when it is gone. To be called when no token is issued any more.
    ///
    /// # Errors
    ///
    /// [`StoreError`]; it is closed when all nodes have been down.
    pub async fn retire_own(&self) -> Result<(), StoreError> {
        self.retire(&self.current()).await
    }

    /// Closes the lists that nobody fills any more: all but this node's, when no other lives.
    ///
    /// # Errors
    ///
    /// [`StoreError`]; what is left to do is done the next time.
    pub async fn retire_abandoned(&self) -> Result<(), StoreError> {
        for list in self.engine.lists().all() {
            let is_abandoned = {
                let roles = self.roles.lock();
                !roles.leased.contains(&list.id()) && !roles.retiring.contains_key(&list.id())
            };
            if is_abandoned {
                self.retire(&list).await?;
            }
        }
        Ok(())
    }

    async fn retire(&self, list: &StatusList) -> Result<(), StoreError> {
        list.close();
        let at = self.clock.wall().plus(self.policy.max_ttl).plus(SLACK);
        self.store.retire_status_list(&list.id(), at).await?;
        self.roles.lock().retiring.insert(list.id(), at);
        Ok(())
    }

    /// An index that no token has had, in an order that nobody can foresee.
    ///
    /// # Errors
    ///
    /// [`StoreError`] when more have to be granted and cannot be, or others took every index that was.
    pub async fn draw(self: &Arc<Self>) -> Result<Ticket, StoreError> {
        for _ in 0..ROUNDS {
            let list = self.current();
            if let Some(index) = list.take() {
                self.fetch_early(&list);
                return Ok(Ticket { list, index, used: false });
            }
            let _gate = self.gate.lock().await;
            let list = self.current();
            if left(&list) == 0 {
                self.fetch(&list).await?;
            }
        }
        Err(StoreError::Unavailable("no index of a status list was left for this token".to_owned()))
    }

    /// The list that tokens get their indices from.
    fn current(&self) -> Arc<StatusList> {
        Arc::clone(&self.roles.lock().current)
    }

    /// The ids of the lists that have tokens which may be good.
    pub fn listed(&self) -> Vec<ListId> {
        let lists = self.engine.lists().all();
        lists.iter().filter(|list| !list.is_closed() || list.live() > 0).map(|list| list.id()).collect()
    }

    /// Closes lists that have no room, and forgets those whose tokens have all expired. To be called now and then.
    ///
    /// # Errors
    ///
    /// [`StoreError`]; what is left to do is done the next time.
    pub async fn tidy(&self) -> Result<(), StoreError> {
        let now = self.clock.wall();
        for list in self.engine.lists().all() {
            let (retires_at, is_current, is_ours) = {
                let roles = self.roles.lock();
                let (current, leased) = (roles.current.id(), roles.leased.contains(&list.id()));
                (roles.retiring.get(&list.id()).copied(), list.id() == current, leased || !self.policy.shared)
            };
            match retires_at {
                Some(at) if at <= now => {
                    self.store.remove_status_list(&list.id()).await?;
                    let mut roles = self.roles.lock();
                    self.engine.lists().remove(&list.id());
                    roles.retiring.remove(&list.id());
                    roles.leased.remove(&list.id());
                }
                Some(_) => {}
                None if is_current || !is_ours => {}
                // A list that is not current will not become so: only new ones do.
                None => self.retire(&list).await?,
            }
        }
        Ok(())
    }

    /// Fetches the next block in the background when half of this one is gone.
    fn fetch_early(self: &Arc<Self>, list: &Arc<StatusList>) {
        let half = self.policy.block / 2;
        if left(list) > half || list.granted().0 == list.size().tokens() || self.gate.try_lock().is_err() {
            return;
        }
        let (this, list) = (Arc::clone(self), Arc::clone(list));
        tokio::spawn(async move {
            let _gate = this.gate.lock().await;
            if Arc::ptr_eq(&this.current(), &list)
                && left(&list) <= half
                && let Err(error) = this.fetch(&list).await
            {
                tracing::warn!(%error, "no more indices of the status list can be had yet");
            }
        });
    }

    /// Has more indices granted, in a new list if this one is full. To be called behind the gate.
    async fn fetch(&self, list: &Arc<StatusList>) -> Result<(), StoreError> {
        let (granted, _) = list.granted();
        let more = room(list).min(self.policy.block.max(1));
        if more > 0 && self.store.grant_status(&list.id(), granted, granted + more).await? {
            list.grant(granted + more);
            return Ok(());
        }
        // It is full, or somebody else had it: whose the next numbers are is not worth finding out.
        let new = lease(&*self.store, &*self.entropy, &self.policy, self.clock.wall()).await?;
        tracing::info!(list = %new.id(), "a new status list is filled");
        let mut roles = self.roles.lock();
        self.engine.lists().insert(Arc::clone(&new));
        roles.leased.insert(new.id());
        roles.current = new;
        Ok(())
    }
}

/// How many numbers of a list can still be granted: none of one that is closed.
fn room(list: &StatusList) -> u32 {
    if list.is_closed() { 0 } else { list.size().tokens() - list.granted().0 }
}

/// How many indices of a list can be had without asking the store: none of one that is closed.
fn left(list: &StatusList) -> u32 {
    if list.is_closed() { 0 } else { list.granted().1 }
}

/// Leases a list with its first block granted.
async fn lease(
    store: &dyn Store,
    entropy: &dyn Entropy,
    policy: &StatusPolicy,
    now: UnixMs,
) -> Result<Arc<StatusList>, StoreError> {
    for _ in 0..DRAWS {
        let lease = StatusLease {
            id: ListId::from_bytes(draw(entropy)),
            size: policy.size,
            seed: ListSeed::from_bytes(draw(entropy)),
            granted: policy.block.clamp(1, policy.size.tokens()),
            leased_at: now,
            retires_at: None,
        };
        if store.lease_status_list(&lease).await? {
            let list = StatusList::new(lease.id, lease.size, &lease.seed, 0);
            list.grant(lease.granted);
            return Ok(Arc::new(list));
        }
    }
    Err(StoreError::Unavailable("no status list could be leased: every id that was drawn is taken".to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        clock::FakeClock,
        engine::{Policy, SecretRing},
        entropy::SeededEntropy,
        store::SqliteStore,
        wire::{ClusterSecret, MeterTime, SecretId},
    };

    const DAY: Millis = Millis::from_secs(86_400);

    struct Node {
        engine: Arc<Engine>,
        store: Arc<SqliteStore>,
        clock: Arc<FakeClock>,
        entropy: Arc<SeededEntropy>,
        keeper: Arc<StatusKeeper>,
    }

    impl Node {
        async fn new() -> Self {
            let store = Arc::new(SqliteStore::open_in_memory().unwrap());
            let clock = Arc::new(FakeClock::new(MeterTime::ZERO, UnixMs::from_ms(1_700_000_000_000)));
            Self::start(store, clock, Arc::new(SeededEntropy::new(5))).await
        }

        async fn start(store: Arc<SqliteStore>, clock: Arc<FakeClock>, entropy: Arc<SeededEntropy>) -> Self {
            let secrets = SecretRing::new(SecretId::default(), ClusterSecret::from_bytes([9; 32]));
            let engine = Arc::new(Engine::new(Policy::default(), secrets, 16));
            let policy = StatusPolicy { size: ListSize::new(64).unwrap(), block: 8, ..StatusPolicy::new(DAY) };
            let keeper = StatusKeeper::open(engine.clone(), store.clone(), clock.clone(), entropy.clone(), policy)
                .await
                .unwrap();
            Self { engine, store, clock, entropy, keeper: Arc::new(keeper) }
        }

        async fn crash(self) -> Self {
            Self::start(self.store, self.clock, self.entropy).await
        }
    }

    #[tokio::test]
    async fn no_index_is_handed_out_twice_whatever_crashes_come_between() {
        let mut node = Node::new().await;
        let mut seen = BTreeSet::new();
        for round in 0..60 {
            for _ in 0..round % 11 {
                assert!(seen.insert(node.keeper.draw().await.unwrap().redeem()));
            }
            if round % 3 == 0 {
                node = node.crash().await;
            }
            if round % 7 == 0 {
                node.keeper.tidy().await.unwrap();
            }
        }
        assert!(seen.iter().map(|index| index.list).collect::<BTreeSet<_>>().len() > 3, "{seen:?}");
    }

    #[tokio::test]
    async fn after_a_crash_all_that_may_have_been_handed_out_is_invalid() {
        let node = Node::new().await;
        let index = node.keeper.draw().await.unwrap().redeem();
        let is_invalid = |node: &Node| node.engine.lists().find(&index.list).unwrap().is_invalid(index.idx);
        assert_eq!(is_invalid(&node), Some(false));
        let node = node.crash().await;
        assert_eq!(is_invalid(&node), Some(true));
    }

    #[tokio::test]
    async fn an_index_that_was_not_used_goes_back() {
        let node = Node::new().await;
        let index = node.keeper.draw().await.unwrap().index;
        assert_eq!(node.keeper.draw().await.unwrap().redeem(), index);
        assert_ne!(node.keeper.draw().await.unwrap().redeem(), index);
    }

    #[tokio::test]
    async fn a_list_that_is_full_is_closed_and_forgotten_when_its_last_token_has_expired() {
        let node = Node::new().await;
        let first = node.keeper.draw().await.unwrap().redeem().list;
        while node.keeper.draw().await.unwrap().redeem().list == first {}
        assert_eq!(node.keeper.listed().len(), 2);
        node.keeper.tidy().await.unwrap();
        let second = node.keeper.draw().await.unwrap().redeem().list;
        assert_eq!(node.keeper.listed(), [second]);
        assert!(node.engine.lists().find(&first).is_some(), "dead tokens that have not expired are looked up still");

        let node = node.crash().await;
        assert_eq!(node.keeper.listed(), [second]);
        node.clock.advance(DAY);
        node.keeper.tidy().await.unwrap();
        assert!(node.engine.lists().find(&first).is_some());
        node.clock.advance(SLACK);
        node.keeper.tidy().await.unwrap();
        assert!(node.engine.lists().find(&first).is_none());
        assert_eq!(node.store.status_lists().await.unwrap().len(), 1);
    }

    #[tokio::test]
    async fn a_node_lets_go_of_what_others_have_forgotten_and_closes_what_nobody_fills() {
        let store = Arc::new(SqliteStore::open_in_memory().unwrap());
        let clock = Arc::new(FakeClock::new(MeterTime::ZERO, UnixMs::from_ms(1_700_000_000_000)));
        let shared = async |seed| {
            let secrets = SecretRing::new(SecretId::default(), ClusterSecret::from_bytes([9; 32]));
            let engine = Arc::new(Engine::new(Policy::default(), secrets, 16));
            let (kept, now, entropy) = (store.clone(), clock.clone(), Arc::new(SeededEntropy::new(seed)));
            let policy = StatusPolicy { size: ListSize::new(64).unwrap(), shared: true, ..StatusPolicy::new(DAY) };
            StatusKeeper::open(engine, kept, now, entropy, policy).await.unwrap()
        };
        let (a, b) = (shared(1).await, shared(2).await);
        let [of_a, of_b] = [&a, &b].map(|keeper| keeper.current().id());
        a.learn().await.unwrap();
        assert!(a.fills(&of_a) && !a.fills(&of_b) && a.listed().contains(&of_b));
        a.tidy().await.unwrap();
        assert_eq!(store.status_lists().await.unwrap().iter().filter(|list| list.retires_at.is_some()).count(), 0);

        // One leaves and the other is killed; who comes next is alone.
        a.retire_own().await.unwrap();
        let c = shared(3).await;
        c.retire_abandoned().await.unwrap();
        let open: Vec<_> =
            store.status_lists().await.unwrap().into_iter().filter(|list| list.retires_at.is_none()).collect();
        assert_eq!(open.iter().map(|list| list.id).collect::<Vec<_>>(), [c.current().id()]);
        let d = shared(4).await;
        clock.advance(DAY.plus(SLACK));
        c.tidy().await.unwrap();
        assert!(d.engine.lists().find(&of_a).is_some());
        d.learn().await.unwrap();
        assert!(d.engine.lists().find(&of_a).is_none() && d.engine.lists().find(&of_b).is_none());
    }

    #[tokio::test]
    async fn a_list_that_is_closed_while_it_is_current_is_replaced_by_a_new_one() {
        let node = Node::new().await;
        let first = node.keeper.draw().await.unwrap().redeem().list;
        node.keeper.current().close();
        let drawn = tokio::time::timeout(std::time::Duration::from_secs(5), node.keeper.draw()).await;
        let second = drawn.expect("a draw ends").unwrap().redeem().list;
        assert_ne!(second, first);
        assert_eq!(node.keeper.current().id(), second);
    }

    #[tokio::test]
    async fn another_node_may_close_the_list_that_this_one_fills() {
        let node = Node::new().await;
        let first = node.keeper.draw().await.unwrap().redeem().list;
        let at = node.clock.wall().plus(DAY);
        node.store.retire_status_list(&first, at).await.unwrap();
        node.keeper.learn().await.unwrap();
        let drawn = tokio::time::timeout(std::time::Duration::from_secs(5), node.keeper.draw()).await;
        assert_ne!(drawn.expect("a draw ends").unwrap().redeem().list, first);
        node.clock.advance(DAY.plus(SLACK));
        node.keeper.tidy().await.unwrap();
        assert!(node.engine.lists().find(&first).is_none());
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn tidying_never_closes_a_list_that_has_just_become_current() {
        let node = Node::new().await;
        let done = Arc::new(std::sync::atomic::AtomicBool::new(false));
        let tidying = {
            let (keeper, done) = (Arc::clone(&node.keeper), Arc::clone(&done));
            tokio::spawn(async move {
                while !done.load(std::sync::atomic::Ordering::Relaxed) {
                    keeper.tidy().await.unwrap();
                }
            })
        };
        for _ in 0..3000 {
            let drawn = tokio::time::timeout(std::time::Duration::from_secs(5), node.keeper.draw()).await;
            drawn.expect("a draw ends").unwrap().redeem();
            assert!(!node.keeper.current().is_closed());
        }
        done.store(true, std::sync::atomic::Ordering::Relaxed);
        tidying.await.unwrap();
    }

    #[tokio::test]
    async fn without_a_store_indices_last_until_the_block_is_used_up() {
        let node = Node::new().await;
        node.store.close().await.unwrap();
        let mut had = 0;
        while let Ok(mut ticket) = node.keeper.draw().await {
            ticket.redeem();
            had += 1;
        }
        assert_eq!(had, 8);
    }

    #[tokio::test]
    async fn many_at_once_get_one_each() {
        let node = Node::new().await;
        let draws: Vec<_> = (0..500)
            .map(|_| {
                let keeper = Arc::clone(&node.keeper);
                tokio::spawn(async move { keeper.draw().await.unwrap().redeem() })
            })
            .collect();
        let mut seen = BTreeSet::new();
        for draw in draws {
            assert!(seen.insert(draw.await.unwrap()));
        }
    }
}
