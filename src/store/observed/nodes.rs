//! The same for what many nodes ask of the store that they share.

use std::time::Duration;

use async_trait::async_trait;

use crate::{
    engine::{Checkpoint, ListId},
    store::{Begun, Change, ClusterStore, Era, ListCopy, ListOwner, NodeId, NodeLease, Removed, Result},
    time::MeterTime,
    wire::SessionId,
};

use super::{Observed, Operation, StoreObserver};

#[async_trait]
impl<S: ClusterStore, O: StoreObserver> ClusterStore for Observed<S, O> {
    fn enter(&self, era: u64) {
        self.store.enter(era);
    }

    async fn put_node(&self, lease: &NodeLease) -> Result<()> {
        self.timed(Operation::PutNode, self.store.put_node(lease)).await
    }

    async fn nodes(&self) -> Result<Vec<NodeLease>> {
        self.timed(Operation::Nodes, self.store.nodes()).await
    }

    async fn remove_node(&self, node: &NodeId) -> Result<Removed> {
        self.timed(Operation::RemoveNode, self.store.remove_node(node)).await
    }

    async fn era(&self) -> Result<Option<Era>> {
        self.timed(Operation::Era, self.store.era()).await
    }

    async fn begin_era(&self, era: &Era) -> Result<Begun> {
        self.timed(Operation::BeginEra, self.store.begin_era(era)).await
    }

    async fn announce(&self, change: &Change) -> Result<()> {
        self.timed(Operation::Announce, self.store.announce(change)).await
    }

    async fn changes(&self, slot: u64, from: MeterTime) -> Result<Vec<Change>> {
        self.timed(Operation::Changes, self.store.changes(slot, from)).await
    }

    async fn heard(&self, bucket: u8, sessions: &[SessionId]) -> Result<Vec<Checkpoint>> {
        self.timed(Operation::Heard, self.store.heard(bucket, sessions)).await
    }

    async fn list_owners(&self) -> Result<Vec<ListOwner>> {
        self.timed(Operation::ListOwners, self.store.list_owners()).await
    }

    async fn own_list(&self, owner: &ListOwner) -> Result<Begun> {
        self.timed(Operation::OwnList, self.store.own_list(owner)).await
    }

    async fn disown_list(&self, list: &ListId) -> Result<()> {
        self.timed(Operation::DisownList, self.store.disown_list(list)).await
    }

    async fn put_list_copy(&self, copy: &ListCopy, keep: Duration) -> Result<()> {
        self.timed(Operation::PutListCopy, self.store.put_list_copy(copy, keep)).await
    }

    async fn list_copy(&self, list: &ListId) -> Result<Option<ListCopy>> {
        self.timed(Operation::ListCopy, self.store.list_copy(list)).await
    }
}
