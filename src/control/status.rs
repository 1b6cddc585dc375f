//! Indices for tokens: status lists are leased from the store, filled, closed, and let go.
//!
//! A list is leased as a whole, and what of it may be handed out is made durable in blocks before it is: no crash makes
//! an index come back. A block is fetched before the last one has run out, so that acts do not wait for it.
//!
//! The life of a list: it is *current* while tokens are given indices in it; then *closed*, for as long as one of its
//! tokens may not have expired; then forgotten. Its id is random and never comes back.

mod sharing;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, OnceLock, atomic::AtomicU64},
};

use parking_lot::Mutex;
use tokio::sync::{Mutex as Gate, Notify};

use crate::{
    control::peers::Membership,
    engine::{Engine, ListId, ListSeed, ListSize, StatusIndex, StatusList},
    entropy::{Entropy, draw},
    store::{Begun, ClusterStore, Granted, Leased, NodeId, Removed, Retired, StatusLease, StoreError, roles::*},
    time::{Clock, Millis, UnixMs},
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
    /// Whether other nodes share the store. Each then owns the lists that it has leased, or has taken over.
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
    /// Set once this node has joined others.
    sharing: OnceLock<Sharing>,
    /// There is another list that this node owns.
    leased: Notify,
}

/// What a node needs to own lists among others.
struct Sharing {
    me: NodeId,
    store: Arc<dyn ClusterStore>,
    membership: Arc<dyn Membership>,
    /// The stint of the membership in which this node last made sure of its lists.
    looked_in: AtomicU64,
    /// One at a time makes sure of the lists, or lets go of some.
    looking: Gate<()>,
}

/// The role of each list on this node. A list enters the engine and gets its role under the same lock, so nobody sees
/// the one without the other.
struct Roles {
    /// Tokens get their indices from this list.
    current: Arc<StatusList>,
    /// The lists that this node alone says the bits of, by the term in which it owns them among others.
    owned: BTreeMap<ListId, u64>,
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
    /// Reads the lists from the store into the engine. To be done before the engine is told of sessions.
    ///
    /// Where the store is this node's alone, every index that may have been handed out is INVALID there, and a list is
    /// leased if none has room. Where others share it, lists are theirs, and no token gets an index before this node has
    /// [joined](Self::join) them.
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
        let leases = store.status_lists().await?;
        let keeper = |roles| {
            let (roles, engine, store) = (Mutex::new(roles), Arc::clone(&engine), Arc::clone(&store));
            let (gate, sharing, leased) = Default::default();
            Self {
                engine,
                store,
                clock: Arc::clone(&clock),
                entropy: Arc::clone(&entropy),
                policy,
                roles,
                gate,
                sharing,
                leased,
            }
        };
        if policy.shared {
            // It is closed, and in nobody's way: the first index is of a list that is leased then.
            let none = StatusList::of_another(ListId::from_bytes(draw(&*entropy)), policy.size, &seed(&*entropy));
            let (owned, retiring) = Default::default();
            let keeper = keeper(Roles { current: Arc::new(none), owned, retiring });
            for lease in &leases {
                keeper.admit(lease);
            }
            return Ok(keeper);
        }
        let (mut owned, mut retiring) = (BTreeMap::new(), BTreeMap::new());
        let mut current: Option<Arc<StatusList>> = None;
        for lease in leases {
            let list = Arc::new(StatusList::new(lease.id, lease.size, &lease.seed, lease.granted));
            engine.lists().insert(Arc::clone(&list));
            if let Some(at) = lease.retires_at {
                list.close();
                retiring.insert(lease.id, at);
            } else if current.as_ref().is_none_or(|best| room(best) < room(&list)) {
                current = Some(list);
            }
        }
        let current = match current {
            Some(list) if room(&list) > 0 => {
                let (granted, _) = list.granted();
                let to = granted + room(&list).min(policy.block.max(1));
                match store.grant_status(&list.id(), granted, to).await? {
                    Granted::Done => list.grant(to),
                    // Then the first token that needs an index fetches some.
                    Granted::Refused => {}
                }
                list
            }
            _ => {
                let list = lease(&*store, &*entropy, &policy, clock.wall()).await?;
                engine.lists().insert(Arc::clone(&list));
                list
            }
        };
        owned.insert(current.id(), 1);
        Ok(keeper(Roles { current, owned, retiring }))
    }

    /// Lets in the lists that other nodes have leased since, and lets go of those that they have forgotten.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub async fn learn(&self) -> Result<(), StoreError> {
        let before: BTreeSet<ListId> = self.engine.lists().all().iter().map(|list| list.id()).collect();
        let leases = self.store.status_lists().await?;
        for lease in &leases {
            self.admit(lease);
        }
        let there: BTreeSet<ListId> = leases.iter().map(|lease| lease.id).collect();
        for gone in before.difference(&there).filter(|gone| !self.owns(gone)) {
            self.engine.lists().remove(gone);
            self.roles.lock().retiring.remove(gone);
        }
        Ok(())
    }

    /// Waits until there is another list that this node owns.
    pub async fn leased(&self) {
        self.leased.notified().await;
    }

    /// Closes the list that this node fills: nobody will when it is gone. To be called when no token is issued any more.
    ///
    /// # Errors
    ///
    /// [`StoreError`]; whoever takes it over closes it.
    pub async fn retire_own(&self) -> Result<(), StoreError> {
        self.retire(&self.current()).await
    }

    async fn retire(&self, list: &StatusList) -> Result<(), StoreError> {
        list.close();
        // Tokens may have been issued when they were configured to live longer.
        let ttl = self.policy.max_ttl.max(self.engine.longest_token(self.clock.wall()));
        let at = self.clock.wall().plus(ttl).plus(SLACK);
        match self.store.retire_status_list(&list.id(), at).await? {
            Retired::Done => {}
            // Its tokens are served from here until they have died; a node that starts later does not know of it.
            Retired::NotThere => {
                tracing::warn!(list = %list.id(), "the store does not have a status list that was in use")
            }
        }
        self.roles.lock().retiring.insert(list.id(), at);
        Ok(())
    }

    /// An index that no token has had, in an order that nobody can foresee.
    ///
    /// # Errors
    ///
    /// [`StoreError`] when more have to be granted and cannot be, or others took every index that was.
    pub async fn draw(self: &Arc<Self>) -> Result<Ticket, StoreError> {
        self.look().await?;
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
                let (current, owned) = (roles.current.id(), roles.owned.contains_key(&list.id()));
                (roles.retiring.get(&list.id()).copied(), list.id() == current, owned || !self.policy.shared)
            };
            match retires_at {
                Some(at) if at <= now => {
                    match self.store.remove_status_list(&list.id()).await? {
                        // Another node may have been faster.
                        Removed::Done | Removed::NotThere => {}
                    }
                    if let Some(sharing) = self.sharing.get() {
                        sharing.store.disown_list(&list.id()).await?;
                    }
                    let mut roles = self.roles.lock();
                    self.engine.lists().remove(&list.id());
                    roles.retiring.remove(&list.id());
                    roles.owned.remove(&list.id());
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
        if more > 0 && self.store.grant_status(&list.id(), granted, granted + more).await? == Granted::Done {
            list.grant(granted + more);
            return Ok(());
        }
        // It is full, or somebody else had it: whose the next numbers are is not worth finding out.
        let new = lease(&*self.store, &*self.entropy, &self.policy, self.clock.wall()).await?;
        if self.own(&new.id()).await? == Begun::NotNext {
            return Err(StoreError::Unavailable("another node has taken over the status list just leased".to_owned()));
        }
        tracing::info!(list = %new.id(), "a new status list is filled");
        let mut roles = self.roles.lock();
        self.engine.lists().insert(Arc::clone(&new));
        roles.owned.insert(new.id(), 1);
        roles.current = new;
        self.leased.notify_one();
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

fn seed(entropy: &dyn Entropy) -> ListSeed {
    ListSeed::from_bytes(draw(entropy))
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
            seed: seed(entropy),
            granted: policy.block.clamp(1, policy.size.tokens()),
            leased_at: now,
            retires_at: None,
        };
        if store.lease_status_list(&lease).await? == Leased::Done {
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
        engine::{Account, AccountId, ActivationNames, Credit, Moment, Policy, SecretRing, Session, TokenHash, Tokens},
        entropy::SeededEntropy,
        store::SqliteStore,
        time::{FakeClock, MeterTime},
        wire::{ClusterSecret, SecretId, SessionId},
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
    async fn a_list_is_kept_for_tokens_from_when_they_lived_longer() {
        let node = Node::new().await;
        let status = node.keeper.draw().await.unwrap().redeem();
        let (now, wall) = (node.clock.now(), node.clock.wall());
        let tokens = Tokens {
            current: TokenHash::of(b"token"),
            previous: None,
            expires_at: wall.plus(DAY),
            expires: None,
            uncharged: Millis::ZERO,
            renewed: None,
            status,
        };
        let session = Session {
            id: SessionId::new(SecretId::default(), [1; 16]),
            started: now,
            started_at: wall,
            audience: "edge".to_owned(),
            tokens,
            names: ActivationNames::default(),
            end: None,
        };
        let account = Account::new(AccountId::from_bytes([2; 16]));
        let account = Account { balance: Credit::from_secs(100_000), session: Some(session), ..account };
        node.engine.restore(&account, now, &Moment { now, wall, sighting: None });
        // Now tokens live for a minute.
        let policy = StatusPolicy { max_ttl: Millis::from_secs(60), ..node.keeper.policy };
        let Node { engine, store, clock, entropy, .. } = node;
        let keeper = StatusKeeper::open(engine, store.clone(), clock, entropy, policy).await.unwrap();
        keeper.retire_own().await.unwrap();
        let retires_at = store.status_lists().await.unwrap()[0].retires_at;
        assert_eq!(retires_at, Some(wall.plus(DAY).plus(SLACK)));
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
        assert_eq!(node.store.retire_status_list(&first, at).await.unwrap(), Retired::Done);
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
