//! What becomes of each line of an order.

use std::{collections::HashMap, mem, sync::Arc};

use serde::{Deserialize, Serialize};

use crate::{
    control::{
        acts::{ActError, Acts},
        audit::Deed,
    },
    engine::{AccountId, Credit, EntryKind, NewEntry, Refusal, Source},
    rewards::{
        Package,
        earners::{Earners, Shown},
    },
    store::{AuditAct, Removed, Replaced, RewardKey, RewardRecord, Store, StoreError},
    time::{Clock, Millis, UnixMs},
};

use super::{PaidLine, RefundedLine};

/// How often a record is written anew because others were faster.
const ATTEMPTS: usize = 16;
/// Refunds of one line that are remembered. Further ones are refused.
const MOST_REFUNDS: usize = 256;
/// The part of the store with the lines that are kept for a refund.
const KEPT: &str = "kept";

/// Sells time.
pub struct Shop {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    products: HashMap<String, Millis>,
}

/// What became of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LineOutcome {
    /// It is in the ledger.
    Credited,
    /// Its refund is in the ledger, or waits for the order.
    Refunded,
    /// It had come before.
    Repeated,
    /// It cannot be credited, and is kept for a refund.
    Kept,
    /// It is no time.
    Ignored,
}

/// A line that was paid and cannot be credited, as operators see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptLine {
    /// The shop's domain.
    pub shop: String,
    /// The order's id.
    pub order: u64,
    /// The line's id.
    pub line: u64,
    /// What was bought.
    pub sku: String,
    /// How many of it have been paid and not refunded.
    pub units: u64,
    /// Why it cannot be credited.
    pub why: Why,
    /// When it came, in milliseconds since 1970.
    pub at_ms: u64,
}

/// Why a line cannot be credited.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Why {
    /// It has no package, or one without tokens.
    NoToken,
    /// No token is valid, or they are of several people.
    BadToken,
    /// It is no product that is configured.
    UnknownProduct,
    /// The account has been deleted.
    AccountDeleted,
}

impl Why {
    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::NoToken => "no_token",
            Self::BadToken => "bad_token",
            Self::UnknownProduct => "unknown_product",
            Self::AccountDeleted => "account_deleted",
        }
    }
}

/// What stands in the record of a line.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct State {
    #[serde(skip_serializing_if = "Option::is_none")]
    paid: Option<PaidState>,
    /// The refunds of it, in the order in which they came.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    refunds: Vec<RefundState>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct PaidState {
    order: u64,
    sku: String,
    units: u64,
    /// What one unit is worth.
    unit_ms: u64,
    /// The account's id, if it is credited.
    account: Option<String>,
    /// Why it is not.
    why: Option<Why>,
    at_ms: u64,
    /// An operator has seen to it: it is not kept any more.
    #[serde(default)]
    seen_to: bool,
    /// The ledger has it: it is not kept for a refund, though its account is deleted later.
    #[serde(default)]
    credited: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct RefundState {
    id: u64,
    units: u64,
}

impl State {
    /// Each refund with the units that it takes back: together no more than were paid.
    fn taken_back(&self) -> Vec<RefundState> {
        let mut left = self.paid.as_ref().map_or(0, |paid| paid.units);
        let take = |refund: &RefundState| {
            let units = refund.units.min(left);
            left -= units;
            RefundState { units, ..*refund }
        };
        self.refunds.iter().map(take).filter(|refund| refund.units > 0).collect()
    }
}

impl Shop {
    /// Sells these products, by their SKUs: so much time for a unit.
    pub fn new(store: Arc<dyn Store>, clock: Arc<dyn Clock>, products: HashMap<String, Millis>) -> Self {
        Self { store, clock, products }
    }

    /// Whether it sells anything.
    pub fn is_open(&self) -> bool {
        !self.products.is_empty()
    }

    /// Credits a line of an order that was paid, once; or keeps it for a refund, if it cannot be credited.
    ///
    /// # Errors
    ///
    /// [`ActError`]: the line is to be sent again.
    pub(in crate::rewards) async fn pay(
        &self,
        acts: &Acts,
        earners: &Earners,
        (shop, order): (&str, u64),
        line: &PaidLine,
    ) -> Result<LineOutcome, ActError> {
        let unit = self.products.get(&line.sku).copied();
        if unit.is_none() && line.package.is_none() {
            return Ok(LineOutcome::Ignored);
        }
        let key = line_key(shop, line.id);
        for _ in 0..ATTEMPTS {
            let (record, mut state) = self.read(&key).await?;
            let known = state.paid.is_some();
            if !known {
                let (account, why) = match unit {
                    None => (None, Some(Why::UnknownProduct)),
                    Some(_) => match self.payee(earners, line).await? {
                        Ok(account) => (Some(account.to_string()), None),
                        Err(why) => (None, Some(why)),
                    },
                };
                state.paid = Some(PaidState {
                    order,
                    sku: line.sku.clone(),
                    units: line.units,
                    unit_ms: unit.map_or(0, Millis::get),
                    account,
                    why,
                    at_ms: self.clock.wall().as_ms(),
                    seen_to: false,
                    credited: false,
                });
                if !self.write(&key, record.revision, &state).await? {
                    continue;
                }
            }
            let settled = self.settle(acts, shop, line.id, &key).await?;
            return Ok(if known && settled == LineOutcome::Kept { LineOutcome::Repeated } else { settled });
        }
        Err(ActError::Contended)
    }

    /// Takes back what a refund of a line gives back. The order may come later.
    ///
    /// # Errors
    ///
    /// [`ActError`]: the refund is to be sent again.
    pub(in crate::rewards) async fn refund(
        &self,
        acts: &Acts,
        shop: &str,
        refund: RefundedLine,
    ) -> Result<LineOutcome, ActError> {
        let key = line_key(shop, refund.line);
        for _ in 0..ATTEMPTS {
            let (record, mut state) = self.read(&key).await?;
            let known = state.refunds.iter().any(|known| known.id == refund.id);
            if !known {
                if state.refunds.len() >= MOST_REFUNDS {
                    return Ok(LineOutcome::Ignored);
                }
                state.refunds.push(RefundState { id: refund.id, units: refund.units });
                if !self.write(&key, record.revision, &state).await? {
                    continue;
                }
            }
            if state.paid.is_some() {
                self.settle(acts, shop, refund.line, &key).await?;
            }
            return Ok(if known { LineOutcome::Repeated } else { LineOutcome::Refunded });
        }
        Err(ActError::Contended)
    }

    /// The lines that are kept for a refund, from after `after` on.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub async fn kept(&self, after: Option<&str>, limit: usize) -> Result<Vec<(String, KeptLine)>, StoreError> {
        let records = self.store.reward_records(KEPT, after, limit).await?;
        let read = |(key, record): (RewardKey, RewardRecord)| {
            let line = serde_json::from_str(&record.content).map_err(|_| damaged())?;
            Ok((key.name, line))
        };
        records.into_iter().map(read).collect()
    }

    /// Forgets a line that was kept for a refund: an operator has seen to it, which is written down.
    ///
    /// # Errors
    ///
    /// [`ActError`].
    pub async fn forget_kept(&self, acts: &Acts, shop: &str, line: u64) -> Result<Removed, ActError> {
        let key = line_key(shop, line);
        for _ in 0..ATTEMPTS {
            let (record, mut state) = self.read(&key).await?;
            let Some(paid) = state.paid.as_mut().filter(|paid| paid.account.is_none()) else {
                return Ok(Removed::NotThere);
            };
            let first = !mem::replace(&mut paid.seen_to, true);
            if !first || self.write(&key, record.revision, &state).await? {
                let name = format!("{shop}/{line}");
                let removed = self.store.remove_reward_record(&RewardKey::new(KEPT, name.clone())).await?;
                if first {
                    acts.write_down(Deed::to(AuditAct::PurchaseSeenTo, name)).await?;
                }
                return Ok(if first { Removed::Done } else { removed });
            }
        }
        Err(ActError::Contended)
    }

    /// Brings the ledger, and the list of what is kept, in line with the record of a line.
    async fn settle(&self, acts: &Acts, shop: &str, line: u64, key: &RewardKey) -> Result<LineOutcome, ActError> {
        for _ in 0..ATTEMPTS {
            let (record, mut state) = self.read(key).await?;
            let Some(paid) = state.paid.clone() else { return Ok(LineOutcome::Ignored) };
            let Some(account) = paid.account.as_deref().and_then(AccountId::parse) else {
                if let Some(why) = self.keep(shop, line, key, (record, state)).await? {
                    let deed = Deed::to(AuditAct::PurchaseKept, format!("{shop}/{line}"));
                    acts.write_down(Deed { detail: Some(why.name().to_owned()), ..deed }).await?;
                }
                return Ok(LineOutcome::Kept);
            };
            let outcome = self.enter(acts, &account, &format!("{shop}/{line}"), &state).await?;
            let settled = match outcome {
                // Whoever sends the line again finds it so, or does it.
                None => PaidState { account: None, why: Some(Why::AccountDeleted), ..paid },
                Some(outcome) if paid.credited => return Ok(outcome),
                Some(_) => PaidState { credited: true, ..paid },
            };
            state.paid = Some(settled);
            if self.write(key, record.revision, &state).await?
                && let Some(outcome) = outcome
            {
                return Ok(outcome);
            }
        }
        Err(ActError::Contended)
    }

    /// Enters a line and its refunds in the ledger. `None`: the account was deleted before the line was entered.
    async fn enter(
        &self,
        acts: &Acts,
        account: &AccountId,
        name: &str,
        state: &State,
    ) -> Result<Option<LineOutcome>, ActError> {
        let Some(paid) = &state.paid else { return Ok(Some(LineOutcome::Ignored)) };
        let units = |units: u64| Credit::from_ms(i64::try_from(units.saturating_mul(paid.unit_ms)).unwrap_or(i64::MAX));
        let new =
            |kind, amount, external_id| NewEntry { kind, amount, source: Source::Shop, external_id, reason: None };
        let purchase = new(EntryKind::Purchase, units(paid.units), name.to_owned());
        let credited = match acts.credit(account, purchase).await {
            Err(ActError::Refused(Refusal::Deleted) | ActError::NotFound(_)) => {
                return Ok(paid.credited.then_some(LineOutcome::Repeated));
            }
            credited => credited?,
        };
        for refund in state.taken_back() {
            let external_id = format!("{name}/refund/{}", refund.id);
            match acts.refund(account, new(EntryKind::Refund, units(refund.units).negated(), external_id)).await {
                Ok(_) | Err(ActError::Refused(Refusal::Deleted) | ActError::NotFound(_)) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(Some(if credited.repeated { LineOutcome::Repeated } else { LineOutcome::Credited }))
    }

    /// Keeps a line for a refund, until all of its units have been refunded or an operator has seen to it, as its record says
    /// when it was read last. Answers why, if the list was changed.
    async fn keep(
        &self,
        shop: &str,
        line: u64,
        key: &RewardKey,
        mut read: (RewardRecord, State),
    ) -> Result<Option<Why>, ActError> {
        let mut changed = None;
        for _ in 0..ATTEMPTS {
            if let Some(paid) = &read.1.paid
                && self.list(shop, line, paid, &read.1.taken_back()).await?
            {
                changed = paid.why;
            }
            // Others may have written the record and the list since it was read: the list says in the end what the record does.
            let again = self.read(key).await?;
            if again.0.revision == read.0.revision {
                return Ok(changed);
            }
            read = again;
        }
        Err(ActError::Contended)
    }

    /// Puts a line on the list of what is kept, or takes it off. Answers whether it is there otherwise than before.
    async fn list(&self, shop: &str, line: u64, paid: &PaidState, refunds: &[RefundState]) -> Result<bool, ActError> {
        let key = RewardKey::new(KEPT, format!("{shop}/{line}"));
        let back: u64 = refunds.iter().map(|refund| refund.units).sum();
        let units = paid.units.saturating_sub(back);
        if units == 0 || paid.seen_to {
            let _gone_either_way = self.store.remove_reward_record(&key).await?;
            return Ok(false);
        }
        let kept = KeptLine {
            shop: shop.to_owned(),
            order: paid.order,
            line,
            sku: paid.sku.clone(),
            units,
            why: paid.why.unwrap_or(Why::BadToken),
            at_ms: paid.at_ms,
        };
        let content = serde_json::to_string(&kept).expect("texts and numbers are always JSON");
        for _ in 0..ATTEMPTS {
            let record = self.store.reward_record(&key).await?;
            if record.content == content {
                return Ok(false);
            }
            let next = RewardRecord { revision: record.revision, content: content.clone() };
            if self.store.put_reward_record(&key, &next).await? == Replaced::Done {
                return Ok(true);
            }
        }
        Err(ActError::Contended)
    }

    /// Whose tank a line is for, or why that is not known.
    async fn payee(&self, earners: &Earners, line: &PaidLine) -> Result<Result<AccountId, Why>, StoreError> {
        let tokens = line.package.as_deref().and_then(Package::read).and_then(|package| package.tokens);
        let Some(shown) = tokens.as_deref().and_then(Shown::read) else { return Ok(Err(Why::NoToken)) };
        Ok(earners.owner(&shown).await?.map(|earner| earner.account).ok_or(Why::BadToken))
    }

    async fn read(&self, key: &RewardKey) -> Result<(RewardRecord, State), StoreError> {
        let record = self.store.reward_record(key).await?;
        if record.revision == 0 {
            return Ok((record, State::default()));
        }
        let state = serde_json::from_str(&record.content).map_err(|_| damaged())?;
        Ok((record, state))
    }

    /// Whether nobody else was faster.
    async fn write(&self, key: &RewardKey, revision: u64, state: &State) -> Result<bool, StoreError> {
        let content = serde_json::to_string(state).expect("texts and numbers are always JSON");
        let record = RewardRecord { revision, content };
        Ok(self.store.put_reward_record(key, &record).await? == Replaced::Done)
    }
}

impl KeptLine {
    /// When it came, on the wall clock.
    pub const fn at(&self) -> UnixMs {
        UnixMs::from_ms(self.at_ms)
    }
}

/// Lines are spread over the store, each a part of its own.
fn line_key(shop: &str, line: u64) -> RewardKey {
    RewardKey::new(format!("line/{shop}/{line}"), "")
}

fn damaged() -> StoreError {
    StoreError::Damaged("a line of an order that cannot be read".to_owned())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use crate::{
        store::SqliteStore,
        time::{FakeClock, MeterTime},
    };

    use super::*;

    #[tokio::test]
    async fn the_list_says_what_the_record_does_though_it_was_read_before_that_changed() {
        let store: Arc<dyn Store> = Arc::new(SqliteStore::open_in_memory().unwrap());
        let clock = Arc::new(FakeClock::new(MeterTime::from_ms(0), UnixMs::from_ms(0)));
        let shop = Shop::new(store, clock, HashMap::new());
        let key = line_key("a.example", 1);
        let paid = PaidState {
            order: 1,
            sku: "T".into(),
            units: 2,
            unit_ms: 60_000,
            account: None,
            why: Some(Why::BadToken),
            at_ms: 0,
            seen_to: false,
            credited: false,
        };
        let write = async |state: State| {
            let (record, _) = shop.read(&key).await.unwrap();
            assert!(shop.write(&key, record.revision, &state).await.unwrap());
            shop.read(&key).await.unwrap()
        };
        let kept =
            async || shop.kept(None, 10).await.unwrap().into_iter().map(|(_, line)| line.units).collect::<Vec<_>>();
        let refunds = vec![RefundState { id: 1, units: 1 }];
        let first = write(State { paid: Some(paid.clone()), refunds: Vec::new() }).await;
        let refunded = write(State { paid: Some(paid.clone()), refunds: refunds.clone() }).await;
        assert_eq!(shop.keep("a.example", 1, &key, first).await.unwrap(), Some(Why::BadToken));
        assert_eq!(kept().await, [1], "the refund came between");
        write(State { paid: Some(PaidState { seen_to: true, ..paid }), refunds }).await;
        shop.keep("a.example", 1, &key, refunded).await.unwrap();
        assert!(kept().await.is_empty(), "an operator has seen to it");
    }

    proptest! {
        #[test]
        fn no_refunds_take_back_more_than_was_paid(units in 0..10_u64, refunds in prop::collection::vec(0..10_u64, 0..8)) {
            let paid = PaidState {
                order: 1, sku: "T".into(), units, unit_ms: 60_000, account: None, why: None, at_ms: 0, seen_to: false,
                credited: false,
            };
            let refunds: Vec<_> = (0..).zip(refunds).map(|(id, units)| RefundState { id, units }).collect();
            let asked: u64 = refunds.iter().map(|refund| refund.units).sum();
            let state = State { paid: Some(paid), refunds: refunds.clone() };
            let back: u64 = state.taken_back().iter().map(|refund| refund.units).sum();
            prop_assert_eq!(back, asked.min(units));
            let unpaid = State { paid: None, refunds };
            prop_assert!(unpaid.taken_back().is_empty());
            let read: State = serde_json::from_str(&serde_json::to_string(&state).unwrap()).unwrap();
            prop_assert_eq!(read, state);
        }
    }
}
