//! Status lists where many nodes share the store: each list has one owner.
//!
//! Only the owner of a list knows which of its tokens have ended: what the store holds of an account names the current token
//! and no other. So the owner alone gives out indices of the list and says what its bits are; it tells the others
//! through the store ([`ListCopy`]). Who owns which list is decided by conditions, term after term ([`ListOwner`]).
//!
//! When an owner is dead, whoever notices first takes its lists over. A list that was taken over takes no more tokens: all
//! numbers that were granted are INVALID then, but for the current tokens of open sessions. For that to be right, no act of
//! the dead node may still be under way.
//!
//! A node that could not renew its lease for a while may have lost its lists without knowing, or be about to: somebody who
//! found it dead a moment ago takes them over a moment later. To look whose they are would not tell. It issues no token,
//! and signs no list, before it has begun another term of each of them ([`Membership::stint`]): of the two terms that are to
//! follow the last, the store lets one begin.
//!
//! [`ListCopy`]: crate::store::ListCopy

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use futures_util::{StreamExt, stream};
use tokio::sync::Mutex as Gate;

use crate::{
    control::peers::{Membership, Others},
    engine::{ListId, StatusList},
    store::{Begun, ClusterStore, ListOwner, NodeId, StatusLease, StoreError},
};

use super::{Sharing, StatusKeeper};

/// Terms that are begun at a time.
const AT_ONCE: usize = 16;

impl StatusKeeper {
    /// This node has joined others: it owns a list of its own from now on, and can take over those of the dead. Once.
    ///
    /// # Errors
    ///
    /// [`StoreError`]: no list could be leased.
    pub async fn join(
        &self,
        me: NodeId,
        store: Arc<dyn ClusterStore>,
        membership: Arc<dyn Membership>,
    ) -> Result<(), StoreError> {
        let looked_in = AtomicU64::new(membership.stint());
        let looking = Gate::default();
        self.sharing.get_or_init(|| Sharing { me, store, membership, looked_in, looking });
        let _gate = self.gate.lock().await;
        self.fetch(&self.current()).await
    }

    /// Whether this node owns a list, as far as it knows.
    pub fn owns(&self, list: &ListId) -> bool {
        !self.policy.shared || self.roles.lock().owned.contains_key(list)
    }

    /// The lists that this node owns, and in which term.
    pub fn owned(&self) -> Vec<(ListId, u64)> {
        self.roles.lock().owned.iter().map(|(list, term)| (*list, *term)).collect()
    }

    /// Whether a token with an index of this list may be issued now, or the list be signed: this node owns it, and has
    /// made sure of that since it was last away.
    pub fn is_in_hand(&self, list: &ListId) -> bool {
        let Some(sharing) = self.sharing.get() else { return !self.policy.shared };
        let looked = sharing.looked_in.load(Ordering::Acquire) == sharing.membership.stint();
        looked && sharing.membership.may_write().is_ok() && self.owns(list)
    }

    /// Makes sure that this node owns its lists, if it has been away since it last did.
    ///
    /// # Errors
    ///
    /// [`StoreError`], also when it may not write.
    pub async fn look(&self) -> Result<(), StoreError> {
        let Some(sharing) = self.sharing.get() else { return Ok(()) };
        let _may = sharing.membership.may_write()?;
        if sharing.looked_in.load(Ordering::Acquire) == sharing.membership.stint() {
            return Ok(());
        }
        let _turn = sharing.looking.lock().await;
        self.make_sure(sharing).await
    }

    /// Takes over the lists of nodes that are dead; where `all` other nodes are, those that nobody owns too. Those that this
    /// node was taken from it lets go.
    ///
    /// # Errors
    ///
    /// [`StoreError`]; what is left to do is done the next time.
    pub async fn take_over(&self, others: &dyn Others, all: bool) -> Result<(), StoreError> {
        let Some(sharing) = self.sharing.get() else { return Ok(()) };
        // Whose they are is read before it is asked whether those nodes are dead: one that is back by then has begun another term.
        let owners = self.owners(sharing).await?;
        let mut over: BTreeMap<NodeId, bool> = BTreeMap::new();
        for lease in sharing.store.status_lists().await? {
            let owner = owners.get(&lease.id);
            let is_free = match owner {
                // It was decided, but the answer was lost.
                Some(owner) if owner.node == sharing.me => !self.owns(&lease.id),
                Some(ListOwner { node, .. }) => match over.get(node) {
                    Some(over) => *over,
                    None => *over.entry(*node).or_insert(others.is_over(node).await?),
                },
                // One that takes tokens may be about to be owned.
                None => all || lease.retires_at.is_some(),
            };
            if is_free {
                self.claim(sharing, &lease, owner).await?;
            }
        }
        Ok(())
    }

    /// Owns a list that was leased a moment ago, unless somebody else does.
    pub(super) async fn own(&self, list: &ListId) -> Result<Begun, StoreError> {
        let Some(sharing) = self.sharing.get() else { return Ok(Begun::when(!self.policy.shared)) };
        let _may = sharing.membership.may_write()?;
        sharing.store.own_list(&ListOwner { list: *list, term: 1, node: sharing.me }).await
    }

    /// Begins another term of each list that this node owns, if it has been away since it last did. Those of which it cannot
    /// are another's by now. To be called in turn.
    async fn make_sure(&self, sharing: &Sharing) -> Result<(), StoreError> {
        let stint = sharing.membership.stint();
        if sharing.looked_in.load(Ordering::Acquire) == stint {
            return Ok(());
        }
        let terms = self.owned().into_iter().map(|(list, term)| async move {
            let _may = sharing.membership.may_write()?;
            let next = ListOwner { list, term: term + 1, node: sharing.me };
            Ok::<_, StoreError>((next, sharing.store.own_list(&next).await?))
        });
        let mut terms = stream::iter(terms.collect::<Vec<_>>()).buffer_unordered(AT_ONCE);
        while let Some(begun) = terms.next().await {
            match begun? {
                (next, Begun::Ours) => drop(self.roles.lock().owned.insert(next.list, next.term)),
                (next, Begun::NotNext) => self.let_go(&next.list),
            }
        }
        sharing.looked_in.store(stint, Ordering::Release);
        Ok(())
    }

    /// Another node says from now on what the bits of a list are.
    fn let_go(&self, list: &ListId) {
        if self.roles.lock().owned.remove(list).is_none() {
            return;
        }
        tracing::info!(%list, "another node has taken over a status list of this one, or it is forgotten");
        if let Some(list) = self.engine.lists().find(list) {
            list.close();
        }
    }

    /// Who owns which list. What this node does not own any more it lets go.
    async fn owners(&self, sharing: &Sharing) -> Result<BTreeMap<ListId, ListOwner>, StoreError> {
        let _turn = sharing.looking.lock().await;
        self.make_sure(sharing).await?;
        let before = self.owned();
        let owners = sharing.store.list_owners().await?;
        let owners: BTreeMap<ListId, ListOwner> = owners.into_iter().map(|owner| (owner.list, owner)).collect();
        for (list, term) in before {
            let is_ours = owners.get(&list).is_some_and(|owner| (owner.node, owner.term) == (sharing.me, term));
            if !is_ours {
                self.let_go(&list);
            }
        }
        Ok(owners)
    }

    async fn claim(&self, sharing: &Sharing, lease: &StatusLease, owner: Option<&ListOwner>) -> Result<(), StoreError> {
        // A list of this node that has just been leased gets its owner behind the same gate.
        let _gate = self.gate.lock().await;
        if self.owns(&lease.id) {
            return Ok(());
        }
        let mine = owner.filter(|owner| owner.node == sharing.me);
        let term = match mine {
            Some(owner) => owner.term,
            None => owner.map_or(0, |owner| owner.term) + 1,
        };
        let _may = sharing.membership.may_write()?;
        if mine.is_none() {
            match sharing.store.own_list(&ListOwner { list: lease.id, term, node: sharing.me }).await? {
                Begun::Ours => {}
                Begun::NotNext => return Ok(()),
            }
        }
        let list = self.admit(lease);
        if lease.retires_at.is_none() {
            self.retire(&list).await?;
        }
        // Nothing can be granted any more; what was granted until then is known only now.
        let leases = sharing.store.status_lists().await?;
        let Some(lease) = leases.iter().find(|known| known.id == lease.id) else { return Ok(()) };
        list.take_over(lease.granted);
        self.roles.lock().owned.insert(lease.id, term);
        tracing::info!(list = %lease.id, term, "this node has taken over a status list");
        self.leased.notify_one();
        Ok(())
    }

    /// The list of a lease, let in if it is not here yet.
    pub(super) fn admit(&self, lease: &StatusLease) -> Arc<StatusList> {
        let mut roles = self.roles.lock();
        let list = self.engine.lists().find(&lease.id).unwrap_or_else(|| {
            let list = Arc::new(StatusList::of_another(lease.id, lease.size, &lease.seed));
            self.engine.lists().insert(Arc::clone(&list));
            list
        });
        if let Some(at) = lease.retires_at {
            list.close();
            roles.retiring.insert(lease.id, at);
        }
        list
    }
}
