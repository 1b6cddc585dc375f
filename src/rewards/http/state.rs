//! What the handlers work with.

use std::sync::Arc;

use crate::rewards::{Rewards, ShopSecrets};

use super::files::Assets;

/// What the handlers work with.
#[derive(Clone)]
pub struct RewardsSurface {
    /// Pays rewards.
    pub rewards: Arc<Rewards>,
    /// The secrets of shops.
    pub secrets: Arc<ShopSecrets>,
    /// The scripts of pages and shops.
    pub assets: Arc<Assets>,
}
