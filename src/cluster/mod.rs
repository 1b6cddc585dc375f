//! What makes many nodes interchangeable: each takes any heartbeat, any act and any question.
//!
//! Truth is in the store that they share. A node tells the others three things through it, and nothing directly:
//!
//! * that it lives, and what its meter shows ([`Member`]);
//! * that an account is about to change ([`Feed`] reads it, and reads the account again);
//! * when sessions were last heard of: their checkpoints ([`Hearing`]).
//!
//! No wall clock decides anything. Nodes follow the fastest meter among them, and take each other for dead when a lease
//! has not changed for a while, by their own monotonic clocks. See decisions 0016 and 0019.

mod feed;
mod hearing;
mod joining;
mod leases;
mod member;
mod node;

use std::time::Duration;

pub use feed::Feed;
pub use hearing::Hearing;
pub use joining::Joining;
pub use member::Member;
pub use node::Node;

use crate::{
    store::StoreError,
    time::{MeterTime, Millis},
};

/// How nodes deal with each other. The same on every node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClusterSettings {
    /// How often a lease is renewed.
    pub renew_every: Duration,
    /// How long after its last renewal a node may act. What it has sent to the store by then must have arrived, or never
    /// will, before others take the node for dead.
    pub lease: Millis,
    /// For how long a lease must not change until its node is taken for dead.
    pub dead_after: Millis,
    /// How often changes are looked for.
    pub tail_every: Duration,
    /// How far back they are looked for each time: what clocks and writes may differ by, usually.
    pub glance: Millis,
    /// How far back every so often: what they may differ by at all.
    pub look_back: Millis,
    /// How often sessions that are near their time-out are told of and asked for.
    pub hear_every: Duration,
    /// How long before their time-out that begins.
    pub hear_ahead: Millis,
}

impl Default for ClusterSettings {
    fn default() -> Self {
        Self {
            renew_every: Duration::from_secs(1),
            lease: Millis::from_secs(5),
            dead_after: Millis::from_secs(12),
            tail_every: Duration::from_millis(200),
            glance: Millis::from_secs(2),
            look_back: Millis::from_secs(20),
            hear_every: Duration::from_secs(1),
            hear_ahead: Millis::from_secs(5),
        }
    }
}

/// Why a node cannot go on as a member.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClusterError {
    /// The store failed; trying again later may help.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The others took this node for dead and went on without it. What it knows beyond the store is void: it has to start
    /// again.
    #[error("the other nodes have begun era {era} without this one; it must start again")]
    Fenced {
        /// The era that they have begun.
        era: u64,
    },
    /// This node's clock has stood still while others went on, as when a machine was suspended: it cannot tell for how long.
    #[error("this node's meter is {} ms behind the others'; it must start again", .0.get())]
    Behind(Millis),
    /// This node was frozen or suspended, and so were all others that live; one that is taken for dead may have gone on, without
    /// the store. An era that begins leaves that one behind.
    #[error(
        "this node stood still, and another one that may have gone on meanwhile has not been heard of since; it must start again"
    )]
    Alone,
    /// Changes may have been forgotten before this node has read them.
    #[error("this node has read no changes since {0}; it must start again")]
    Missed(MeterTime),
}
