//! Entries of the ledger: each is entered once, however often it is asked for.

use crate::{
    control::claims::{Claim, Meaning},
    engine::{Account, AccountId, Act, Credit, Entry, Moment, NewEntry, Policy, Refusal},
};

use super::{ActError, Acts, Credited, Decision};

impl Acts {
    /// Enters credit, once: the same entry again changes nothing and is answered the same.
    ///
    /// # Errors
    ///
    /// [`ActError::IdReused`], [`ActError::Refused`], [`ActError::NotFound`], [`ActError::Store`].
    pub async fn credit(&self, account: &AccountId, new: NewEntry) -> Result<Credited, ActError> {
        let asked = new.amount;
        if asked <= Credit::ZERO {
            self.in_time(self.claim_debit(account, &new)).await?;
        }
        // A debit may have taken less than asked: what was asked is in its claim, except of one from before there were claims.
        let same = |entry: &Entry| entry.amount == asked || (asked..=Credit::ZERO).contains(&entry.amount);
        self.enter(account, new, Account::credit, same).await
    }

    /// The name of a debit stands for what is asked by it, not for what the tank had of that.
    async fn claim_debit(&self, account: &AccountId, new: &NewEntry) -> Result<(), ActError> {
        let namespace = format!("debit/{account}/{}", new.source.name());
        let meaning = Meaning::of(&[new.kind.name().as_bytes(), &new.amount.as_ms().to_be_bytes()]);
        match self.claim(&namespace, &new.external_id, meaning, None).await? {
            Claim::First | Claim::Same => Ok(()),
            // Of an account that is gone, that is what there is to say.
            Claim::Other => match self.store.account(account).await? {
                None => Err(ActError::NotFound("account")),
                Some(owned) if owned.account.deleted => Err(Refusal::Deleted.into()),
                Some(_) => Err(ActError::IdReused),
            },
        }
    }

    /// Takes credit back, once; what the tank does not have becomes debt, which later credit pays first.
    ///
    /// # Errors
    ///
    /// Those of [`Self::credit`].
    pub async fn refund(&self, account: &AccountId, new: NewEntry) -> Result<Credited, ActError> {
        let asked = new.amount;
        self.enter(account, new, Account::refund, |entry| entry.amount.plus(entry.owed.negated()) == asked).await
    }

    /// Enters what `rule` makes of `new`. A repeated entry must be of the same kind, and of the `same` amount.
    async fn enter(
        &self,
        account: &AccountId,
        new: NewEntry,
        rule: impl Fn(&Account, &Moment, &Policy, NewEntry) -> Result<Act, Refusal>,
        same: impl Fn(&Entry) -> bool,
    ) -> Result<Credited, ActError> {
        let policy = *self.engine.policy();
        let named = |entry: &&Entry| (entry.source, &entry.external_id) == (new.source, &new.external_id);
        let outcome = self
            .act(account, |account, moment| {
                let act = rule(account, moment, &policy, new.clone())?;
                let entry = act.entries.iter().find(named).cloned();
                Ok(Decision::Write(act, entry))
            })
            .await?;
        let remaining = outcome.account.remaining(&outcome.moment, policy.timeout);
        if let Some(entry) = outcome.repeated {
            return if entry.kind == new.kind && same(&entry) {
                Ok(Credited { entry, remaining, repeated: true })
            } else {
                Err(ActError::IdReused)
            };
        }
        let entry = outcome.answer.expect("both rules enter what they are given");
        Ok(Credited { entry, remaining, repeated: false })
    }
}
