//! What the handlers work with.

use std::sync::Arc;

use crate::rewards::Rewards;

/// What the handlers work with.
#[derive(Clone)]
pub struct RewardsSurface {
    /// Pays rewards.
    pub rewards: Arc<Rewards>,
}
