//! What is paid for, as it is configured.

use std::collections::HashMap;

use crate::{
    engine::{Offer, OfferId},
    time::Millis,
};

/// Something that is paid for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reward {
    /// What people do, such as `page-view`.
    pub class: String,
    /// Where, such as `news.example.org`.
    pub distinguisher: String,
    /// What is paid, and how often.
    pub offer: Offer,
    /// How much is paid on a day (UTC) to all accounts together. `None`: as much as is asked for.
    pub budget: Option<Millis>,
}

/// All that is paid for.
#[derive(Clone, Debug, Default)]
pub struct Catalogue(HashMap<OfferId, Reward>);

impl Reward {
    /// Its name in the ledger and in budgets.
    pub fn name(&self) -> String {
        format!("{}/{}", self.class, self.distinguisher)
    }
}

impl Catalogue {
    /// Of these. Of two for the same, the later one counts.
    pub fn new(rewards: impl IntoIterator<Item = Reward>) -> Self {
        Self(rewards.into_iter().map(|reward| (reward.offer.id, reward)).collect())
    }

    /// Whether nothing is paid for.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What is paid for this, if anything is.
    pub fn find(&self, class: &str, distinguisher: &str) -> Option<&Reward> {
        let found = self.0.get(&OfferId::of(class, distinguisher))?;
        (found.class == class && found.distinguisher == distinguisher).then_some(found)
    }

    /// Everything, by class and distinguisher.
    pub fn all(&self) -> Vec<&Reward> {
        let mut all: Vec<_> = self.0.values().collect();
        all.sort_unstable_by_key(|reward| (&reward.class, &reward.distinguisher));
        all
    }
}
