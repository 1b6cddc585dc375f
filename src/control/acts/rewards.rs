//! Rewards: credit that is entered only with its cooldown, in one act.

use crate::{
    engine::{AccountId, EntryKind, NewEntry, Offer, Source, Unearned},
    time::{Millis, UnixMs},
};

use super::{ActError, Acts, Decision};

/// What came of asking for a reward.
#[derive(Clone, Copy, Debug)]
pub struct Rewarded {
    /// Nothing where it is in the ledger; else why nothing was paid.
    pub unpaid: Option<Unearned>,
    /// When it was decided, on the wall clock.
    pub at: UnixMs,
    /// What is left to burn.
    pub remaining: Millis,
}

impl Acts {
    /// Pays a reward, unless its cooldown runs. `name` says in the ledger what for; with the instant it is the entry's name.
    ///
    /// # Errors
    ///
    /// [`ActError::Refused`], [`ActError::NotFound`], [`ActError::Store`].
    pub async fn reward(&self, account: &AccountId, offer: &Offer, name: &str) -> Result<Rewarded, ActError> {
        let policy = *self.engine.policy();
        let outcome = self
            .act(account, |account, moment| {
                let new = NewEntry {
                    kind: EntryKind::Reward,
                    amount: offer.reward,
                    source: Source::Reward,
                    external_id: format!("{name}/{}", moment.wall.as_ms()),
                    reason: None,
                };
                Ok(match account.earn(moment, &policy, offer, new)? {
                    Ok(act) => Decision::Write(act, None),
                    Err(unearned) => Decision::Nothing(Some(unearned)),
                })
            })
            .await?;
        let remaining = outcome.account.remaining(&outcome.moment, policy.timeout);
        let at = outcome.moment.wall;
        // An entry of this name and instant without its cooldown: the ledger has it, so it is not paid again.
        let repeated = outcome.repeated.map(|entry| Unearned::Cooldown(entry.at.plus(offer.cooldown)));
        Ok(Rewarded { unpaid: outcome.answer.or(repeated), at, remaining })
    }
}
