//! What rewards and shops keep beside accounts: how much of a budget has been given out, and what became of each line of an
//! order. Rows that are read and replaced as a whole, by who has read them as they are.

use async_trait::async_trait;

use super::{Removed, Replaced, Result};

/// Where a [`RewardRecord`] is: records of one part are read together, in the order of their names.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RewardKey {
    /// What it is one of: 1 to 512 bytes.
    pub part: String,
    /// Which of them: up to 512 bytes.
    pub name: String,
}

/// A row of rewards or shops. JSON, so that people can read it in the store.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RewardRecord {
    /// How often it has been written; 0 of one that is not there.
    pub revision: u64,
    /// What it says; empty where it is not there.
    pub content: String,
}

impl RewardKey {
    /// The record of this name in this part.
    pub fn new(part: impl Into<String>, name: impl Into<String>) -> Self {
        Self { part: part.into(), name: name.into() }
    }
}

/// Records of rewards and shops. Cheap calls; all of them may be repeated.
#[async_trait]
pub trait RewardStore: Send + Sync + 'static {
    /// A record; the default where it is not there.
    async fn reward_record(&self, key: &RewardKey) -> Result<RewardRecord>;

    /// Replaces a record, if it is still of the revision in `record`. It is of the next one then.
    async fn put_reward_record(&self, key: &RewardKey, record: &RewardRecord) -> Result<Replaced>;

    /// The records of a part from after the name `after` on, in the order of their names.
    async fn reward_records(
        &self,
        part: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<(RewardKey, RewardRecord)>>;

    /// Removes a record.
    async fn remove_reward_record(&self, key: &RewardKey) -> Result<Removed>;
}
