//! The other nodes, for what is put together before this node has joined them.

use std::sync::{Arc, OnceLock};

use async_trait::async_trait;

use crate::{
    control::peers::{MayWrite, Membership, Others, Peers},
    engine::Account,
    store::{NodeId, StoreError},
    time::MeterTime,
    wire::SessionId,
};

use super::{ClusterError, Feed, Hearing};

/// Answers for the others once this node has joined; until then nothing can be asked of them, and no act is committed.
#[derive(Default)]
pub struct Joining(OnceLock<(Arc<Hearing>, Arc<Feed>)>);

impl Joining {
    /// This node has joined. Once.
    pub fn joined(&self, hearing: Arc<Hearing>, feed: Arc<Feed>) {
        self.0.get_or_init(|| (hearing, feed));
    }

    fn hearing(&self) -> Result<&Hearing, StoreError> {
        self.0.get().map(|(hearing, _)| &**hearing).ok_or_else(not_yet)
    }
}

fn not_now(error: ClusterError) -> StoreError {
    match error {
        ClusterError::Store(error) => error,
        // The service is about to stop for it.
        why => StoreError::Unavailable(why.to_string()),
    }
}

fn not_yet() -> StoreError {
    StoreError::Unavailable("this node has not joined the others yet".to_owned())
}

#[async_trait]
impl Membership for Joining {
    fn may_write(&self) -> Result<MayWrite, StoreError> {
        self.hearing()?.member().may_write()
    }

    fn stint(&self) -> u64 {
        self.hearing().map_or(0, |hearing| hearing.member().stint())
    }

    async fn confirm(&self) -> Result<MayWrite, StoreError> {
        self.hearing()?.member().confirm().await
    }
}

#[async_trait]
impl Others for Joining {
    async fn catch_up(&self) -> Result<(), StoreError> {
        let (_, feed) = self.0.get().ok_or_else(not_yet)?;
        feed.catch_up().await.map_err(not_now)
    }

    async fn is_over(&self, node: &NodeId) -> Result<bool, StoreError> {
        let (hearing, feed) = self.0.get().ok_or_else(not_yet)?;
        if hearing.member().lives(node).await? {
            return Ok(false);
        }
        // Who has left may have told of its last act as late as anybody tells.
        feed.catch_up_with_late_ones().await.map_err(not_now)?;
        Ok(!feed.waits_for(node))
    }
}

#[async_trait]
impl Peers for Joining {
    async fn announce(&self, account: &Account) -> Result<(), StoreError> {
        self.hearing()?.announce(account).await
    }

    async fn last_seen(&self, session: &SessionId) -> Result<Option<MeterTime>, StoreError> {
        self.hearing()?.last_seen(session).await
    }

    async fn hear(&self, account: &Account) -> Result<Option<MeterTime>, StoreError> {
        self.hearing()?.hear(account).await
    }
}
