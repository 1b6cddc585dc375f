//! A reward from what was asked for to the ledger.

use std::{collections::HashMap, sync::Arc};

use crate::{
    control::{
        account_keys::{AccountKeyError, AccountKeys},
        acts::{ActError, Acts},
    },
    engine::{AccountId, Unearned},
    store::{Actor, Store, StoreError},
    telemetry::{RewardOutcome, Telemetry},
    time::{Clock, Millis, UnixMs},
    web::peer::Network,
};

use super::{
    Catalogue, Reward,
    addresses::Addresses,
    budgets::{BudgetError, Budgets},
    earners::Earners,
    shop::Shop,
};

/// What rewards work with.
pub struct RewardsParts {
    /// What is paid for.
    pub catalogue: Catalogue,
    /// Rewards that one address gets on a day; 0: as many as it asks for.
    pub address_daily: u32,
    /// Holds truth.
    pub store: Arc<dyn Store>,
    /// Tells the time.
    pub clock: Arc<dyn Clock>,
    /// What a shop sells, by SKU: the time of one unit.
    pub products: HashMap<String, Millis>,
    /// Whether test orders of shops count.
    pub test_orders: bool,
    /// The earner tokens.
    pub tokens: Arc<AccountKeys>,
    /// Counts.
    pub telemetry: Telemetry,
}

/// Pays rewards.
pub struct Rewards {
    pub(super) catalogue: Catalogue,
    pub(super) tokens: Arc<AccountKeys>,
    pub(super) earners: Earners,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) telemetry: Telemetry,
    pub(super) shop: Shop,
    pub(super) test_orders: bool,
    budgets: Budgets,
    addresses: Addresses,
}

/// What came of asking for a reward.
#[derive(Clone, Copy, Debug)]
pub struct Payment {
    /// Nothing where it is in the ledger; else why nothing was paid.
    pub unpaid: Option<Unpaid>,
    /// When it was decided, on the wall clock.
    pub at: UnixMs,
    /// What is left to burn.
    pub remaining: Millis,
}

/// Why nothing is paid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unpaid {
    /// It was paid not long ago, and is again at this instant.
    Cooldown(UnixMs),
    /// The account has earned as much as it may on a day, until this instant.
    Daily(UnixMs),
    /// The address has had as many rewards as it gets on a day, until this instant.
    Address(UnixMs),
    /// The budget of the distinguisher is used up until this instant.
    Budget(UnixMs),
    /// No session of the account has run for long enough lately.
    Inactive,
}

impl Unpaid {
    /// When it may be asked for again, if time alone helps.
    pub const fn until(self) -> Option<UnixMs> {
        match self {
            Self::Cooldown(until) | Self::Daily(until) | Self::Address(until) | Self::Budget(until) => Some(until),
            Self::Inactive => None,
        }
    }

    /// Its name for programs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Cooldown(_) => "cooldown",
            Self::Daily(_) => "account_daily",
            Self::Address(_) => "address_daily",
            Self::Budget(_) => "budget",
            Self::Inactive => "inactive",
        }
    }

    pub(super) const fn outcome(self) -> RewardOutcome {
        match self {
            Self::Cooldown(_) => RewardOutcome::Cooldown,
            Self::Daily(_) => RewardOutcome::AccountDaily,
            Self::Address(_) => RewardOutcome::AddressDaily,
            Self::Budget(_) => RewardOutcome::Budget,
            Self::Inactive => RewardOutcome::Inactive,
        }
    }
}

impl From<Unearned> for Unpaid {
    fn from(unearned: Unearned) -> Self {
        match unearned {
            Unearned::Cooldown(until) => Self::Cooldown(until),
            Unearned::Daily(until) => Self::Daily(until),
            Unearned::Inactive => Self::Inactive,
        }
    }
}

impl Rewards {
    /// Pays what is in the catalogue.
    pub fn new(parts: RewardsParts) -> Self {
        let RewardsParts { catalogue, address_daily, products, test_orders, store, clock, tokens, telemetry } = parts;
        Self {
            catalogue,
            tokens,
            earners: Earners::new(Arc::clone(&store), Arc::clone(&clock)),
            shop: Shop::new(Arc::clone(&store), Arc::clone(&clock), products),
            test_orders,
            clock,
            telemetry,
            budgets: Budgets::new(store),
            addresses: Addresses::new(address_daily),
        }
    }

    /// Whether anything is paid for, or sold.
    pub fn is_on(&self) -> bool {
        !self.catalogue.is_empty() || self.shop.is_open()
    }

    /// Revokes an earner token, for `actor`.
    ///
    /// # Errors
    ///
    /// Those of [`AccountKeys::remove`].
    pub async fn revoke(&self, account: AccountId, id: String, actor: &Actor) -> Result<(), AccountKeyError> {
        let revoked = self.tokens.remove(account, id, actor).await;
        self.earners.forget(&account);
        revoked
    }

    /// Pays a reward, if all limits allow it.
    ///
    /// What is counted for it ahead stays counted unless it is certain that nothing was paid: a caller that goes away, or an
    /// outcome that is not known, never makes room for more than may be paid.
    ///
    /// # Errors
    ///
    /// [`ActError`].
    pub async fn pay(
        &self,
        acts: &Acts,
        account: &AccountId,
        reward: &Reward,
        from: Option<Network>,
    ) -> Result<Payment, ActError> {
        let wall = self.clock.wall();
        let counted = match self.addresses.count(from, wall) {
            Ok(counted) => counted,
            Err(until) => return self.unpaid(acts, account, Unpaid::Address(until)).await,
        };
        let reserving = async { Ok::<_, ActError>(self.budgets.reserve(reward, wall).await) };
        let reserved = match acts.in_time(reserving).await {
            Ok(Ok(reserved)) => reserved,
            Ok(Err(BudgetError::Empty(until))) => {
                self.addresses.give_back(counted);
                return self.unpaid(acts, account, Unpaid::Budget(until)).await;
            }
            Ok(Err(BudgetError::Store(error))) => {
                self.addresses.give_back(counted);
                return Err(error.into());
            }
            Err(late) => {
                self.addresses.give_back(counted);
                return Err(late);
            }
        };
        let rewarded = acts.reward(account, &reward.offer, &reward.name()).await;
        let nothing_paid = match &rewarded {
            Ok(rewarded) => rewarded.unpaid.is_some(),
            Err(error) => !matches!(error, ActError::Unknown(_)),
        };
        if nothing_paid {
            self.addresses.give_back(counted);
            self.budgets.give_back(reserved);
        }
        let rewarded = rewarded?;
        Ok(Payment { unpaid: rewarded.unpaid.map(Unpaid::from), at: rewarded.at, remaining: rewarded.remaining })
    }

    /// How much has been given out of a budget today.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub async fn given(&self, reward: &Reward) -> Result<Millis, StoreError> {
        self.budgets.given(reward, self.clock.wall()).await
    }

    async fn unpaid(&self, acts: &Acts, account: &AccountId, why: Unpaid) -> Result<Payment, ActError> {
        let view = acts.view(account).await?;
        Ok(Payment { unpaid: Some(why), at: view.moment.wall, remaining: view.remaining })
    }
}
