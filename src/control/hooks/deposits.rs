//! Credit that comes from outside: from a message to a ledger, exactly once.
//!
//! A message names its entry. The name is claimed for whose credit it is and how much, so that it counts once in all, not
//! once for each account. The ledger takes each name once, so a message that comes again, or that was entered and
//! never acknowledged, changes nothing. Credit for somebody who has no account yet is *held* under the same name, and
//! entered when they get one. It is entered first and let go of after: a crash in between enters it again, which changes
//! nothing.

use crate::{
    control::{
        acts::{ActError, Acts},
        audit::Deed,
        claims::{Claim, Meaning},
    },
    engine::{AccountId, Credit, EntryKind, NewEntry, Refusal},
    store::{Actor, ActorKind, AuditAct, Held, HeldCredit, Identity, Removed, Surface},
};

/// How many entries are held for one identity at most.
pub const MOST_HELD: usize = 256;

/// Whose tank credit is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Payee {
    /// This account's.
    Account(AccountId),
    /// This person's, whether they have an account yet or not.
    Identity(Identity),
}

/// What became of credit from outside. All of it is durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deposit {
    /// It is in the ledger.
    Entered,
    /// It was in the ledger, or held, before.
    Repeated,
    /// It is held until the person has an account.
    Held,
    /// The account has been deleted, or the person is gone, which is final: it is dropped.
    Undeliverable,
}

impl Acts {
    /// Takes credit from outside to where it belongs, once.
    ///
    /// # Errors
    ///
    /// [`ActError::NotFound`] for the id of an account that never was, [`ActError::IdReused`], [`ActError::HeldFull`],
    /// [`ActError::Store`]. Nothing has been entered then.
    pub async fn deposit(&self, payee: &Payee, new: NewEntry) -> Result<Deposit, ActError> {
        self.all_in_time(self.try_deposit(payee, new)).await
    }

    async fn try_deposit(&self, payee: &Payee, new: NewEntry) -> Result<Deposit, ActError> {
        match payee {
            Payee::Account(account) => {
                let owned = self.store.account(account).await?.ok_or(ActError::NotFound("account"))?;
                if owned.account.deleted {
                    return Ok(Deposit::Undeliverable);
                }
                self.claim_message(payee, owned.identity.map(Payee::Identity), &new).await?;
                match self.pay(account, new).await {
                    Err(ActError::Refused(Refusal::Deleted)) => Ok(Deposit::Undeliverable),
                    other => other,
                }
            }
            Payee::Identity(identity) => self.deposit_for(identity, new).await,
        }
    }

    /// The name of a message stands for its credit and for whose that is. `same` is another name of theirs.
    async fn claim_message(&self, payee: &Payee, same: Option<Payee>, new: &NewEntry) -> Result<(), ActError> {
        let (kind, amount) = (new.kind.name().as_bytes(), new.amount.as_ms().to_be_bytes());
        let meaning = |payee: &Payee| match payee {
            Payee::Account(account) => Meaning::of(&[kind, &amount, b"account", account.as_bytes()]),
            Payee::Identity(identity) => Meaning::of(&[kind, &amount, b"identity", &identity.digest()]),
        };
        let also = same.as_ref().map(meaning);
        match self.claim(new.source.name(), &new.external_id, meaning(payee), also).await? {
            Claim::First | Claim::Same => Ok(()),
            Claim::Other => Err(ActError::IdReused),
        }
    }

    /// Enters what is held for the owner of an account. To be called whenever an account is made for an identity, and
    /// whenever its owner signs in: what a crash left behind is entered then. Cheap where nothing is held: one read.
    ///
    /// # Errors
    ///
    /// [`ActError::Store`] and those of an account that is gone. What has not been entered is still held.
    pub async fn welcome(&self, account: &AccountId, identity: &Identity) -> Result<(), ActError> {
        for held in self.store.held_credit(identity, MOST_HELD).await? {
            let (source, name) = (held.entry.source, held.entry.external_id.clone());
            // Whoever signs in brings it about; it is still from who sent it.
            let sender = self.by(Actor::named(ActorKind::Webhook, name.clone(), Surface::Service));
            match sender.pay(account, held.entry).await {
                Ok(_) => {}
                // The ledger has another entry of this name. It was acknowledged too, and came first.
                Err(ActError::IdReused) => tracing::warn!(?account, "held credit is dropped: its name was used before"),
                Err(error) => return Err(error),
            }
            match self.store.release_credit(identity, source, &name).await? {
                // Another request of the same person may have entered it and let go of it.
                Removed::Done | Removed::NotThere => {}
            }
        }
        Ok(())
    }

    async fn deposit_for(&self, identity: &Identity, new: NewEntry) -> Result<Deposit, ActError> {
        if self.store.facts(identity).await?.gone_at.is_some() {
            self.delete_gone(identity).await?;
            return Ok(Deposit::Undeliverable);
        }
        let account = self.store.account_of(identity).await?;
        self.claim_message(&Payee::Identity(identity.clone()), account.map(Payee::Account), &new).await?;
        if let Some(account) = account {
            match self.pay(&account, new.clone()).await {
                // Deleted since. Whoever signs in next with this identity is somebody new.
                Err(ActError::Refused(Refusal::Deleted) | ActError::NotFound(_)) => {}
                other => return other,
            }
        }
        let at = self.clock.wall();
        let held = HeldCredit { entry: new.clone(), at };
        let deposit = match self.store.hold_credit(identity, &held, MOST_HELD).await? {
            Held::Kept => {
                self.write_down(Deed::new(AuditAct::CreditHeld)).await?;
                Deposit::Held
            }
            Held::Repeated(before) if (before.entry.kind, before.entry.amount) == (new.kind, new.amount) => {
                Deposit::Repeated
            }
            Held::Repeated(_) => return Err(ActError::IdReused),
            Held::Full => return Err(ActError::HeldFull),
        };
        // Whoever was told meanwhile that the person is gone may have let go of everything before this was held.
        if self.store.facts(identity).await?.gone_at.is_some() {
            self.let_go_of_all(identity).await?;
            return Ok(Deposit::Undeliverable);
        }
        // Whoever made an account meanwhile may have looked for held credit before this was.
        match self.store.account_of(identity).await? {
            Some(account) => {
                self.welcome(&account, identity).await?;
                Ok(if deposit == Deposit::Held { Deposit::Entered } else { deposit })
            }
            None => Ok(deposit),
        }
    }

    async fn pay(&self, account: &AccountId, new: NewEntry) -> Result<Deposit, ActError> {
        let takes_back = new.kind == EntryKind::Refund && new.amount < Credit::ZERO;
        let credited = if takes_back { self.refund(account, new).await? } else { self.credit(account, new).await? };
        Ok(if credited.repeated { Deposit::Repeated } else { Deposit::Entered })
    }
}
