//! How much one distinguisher pays on a day, to all accounts together and on all nodes.
//!
//! What is given out of a budget stands in a record of the store. A node takes a part of it ahead, by a condition, and pays
//! rewards out of that from memory: one decision for many rewards. So a budget is never exceeded. A node takes one part at a time,
//! and only when the one before is used up: what is lost for that day when it stops is at most a sixteenth of the budget, or one
//! reward.

use std::{collections::HashMap, sync::Arc};

use parking_lot::Mutex;
use tokio::sync::{Mutex as Turn, oneshot};

use crate::{
    deadline,
    engine::{OfferId, day_of, next_day},
    store::{Replaced, RewardKey, RewardRecord, Store, StoreError},
    time::{Millis, UnixMs},
};

use super::Reward;

/// Into how many parts a budget is given out, if its rewards divide it: fewer than twice as many where they do not.
const PARTS: u64 = 16;
/// How often a part is asked for because another node was faster. Each time there is a part less: nobody asks so often in vain.
const ATTEMPTS: usize = 34;
/// Records of earlier days that are removed at a time.
const OLD: usize = 16;

/// The budgets of a node.
pub(super) struct Budgets {
    store: Arc<dyn Store>,
    shares: Mutex<HashMap<OfferId, Arc<Share>>>,
}

/// A node's share of a budget.
#[derive(Default)]
struct Share {
    taken: Mutex<Taken>,
    /// Of whoever takes another part.
    turn: Turn<()>,
}

/// What a node has taken of a budget and not paid.
#[derive(Clone, Copy, Default)]
struct Taken {
    day: u32,
    left: Millis,
    /// Nothing more can be taken today.
    empty: bool,
}

/// What is set aside for a reward that is about to be paid.
pub(super) struct Reserved {
    id: OfferId,
    day: u32,
    amount: Millis,
}

/// Why nothing is set aside.
#[derive(Debug, thiserror::Error)]
pub(super) enum BudgetError {
    /// It is used up until this instant.
    #[error("the budget is used up")]
    Empty(UnixMs),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What stands in a record.
#[derive(Default, serde::Serialize, serde::Deserialize)]
struct Given {
    given_ms: u64,
}

impl Budgets {
    pub(super) fn new(store: Arc<dyn Store>) -> Self {
        Self { store, shares: Mutex::default() }
    }

    /// Sets a reward aside; nothing where there is no budget.
    pub(super) async fn reserve(&self, reward: &Reward, wall: UnixMs) -> Result<Option<Reserved>, BudgetError> {
        let Some(budget) = reward.budget else { return Ok(None) };
        let share = Arc::clone(self.shares.lock().entry(reward.offer.id).or_default());
        let ask = Ask { key: key(reward, day_of(wall)), budget, amount: reward.offer.reward.fuel(), wall };
        let reserved = match share.set_aside(&ask) {
            Some(known) => known,
            None => {
                // What has been taken is not lost when whoever asked for it goes away.
                let (tell, told) = oneshot::channel();
                let store = Arc::clone(&self.store);
                tokio::spawn(deadline::carry(async move {
                    let taken = share.take(&*store, &ask).await;
                    if let Err(Ok(Ok(day))) = tell.send(taken) {
                        share.give_back(day, ask.amount);
                    }
                }));
                told.await.map_err(|_| StoreError::Unavailable("taking from the budget was cut off".to_owned()))??
            }
        };
        let day = reserved.map_err(BudgetError::Empty)?;
        Ok(Some(Reserved { id: reward.offer.id, day, amount: reward.offer.reward.fuel() }))
    }

    /// It was not paid after all.
    pub(super) fn give_back(&self, reserved: Option<Reserved>) {
        let Some(Reserved { id, day, amount }) = reserved else { return };
        if let Some(share) = self.shares.lock().get(&id) {
            share.give_back(day, amount);
        }
    }

    /// How much has been given out of a budget today.
    pub(super) async fn given(&self, reward: &Reward, wall: UnixMs) -> Result<Millis, StoreError> {
        let record = self.store.reward_record(&key(reward, day_of(wall))).await?;
        Ok(Millis::new(given(&record)?.given_ms))
    }
}

/// What is asked of a share.
struct Ask {
    /// The record of the day.
    key: RewardKey,
    budget: Millis,
    /// One reward.
    amount: Millis,
    wall: UnixMs,
}

impl Share {
    /// Sets a reward aside out of what has been taken, and answers of which day; or until when there is none. `None`: another part
    /// is to be taken.
    fn set_aside(&self, ask: &Ask) -> Option<Result<u32, UnixMs>> {
        let (mut known, day) = (self.taken.lock(), day_of(ask.wall));
        if day > known.day {
            *known = Taken { day, ..Taken::default() };
        }
        if known.left >= ask.amount {
            known.left = known.left.minus(ask.amount);
            return Some(Ok(known.day));
        }
        known.empty.then(|| Err(next_day(ask.wall)))
    }

    fn give_back(&self, day: u32, amount: Millis) {
        let mut known = self.taken.lock();
        if known.day == day {
            known.left = known.left.plus(amount);
        }
    }

    /// Takes a part of the budget, unless somebody has in the meantime, and sets a reward aside out of it.
    async fn take(&self, store: &dyn Store, ask: &Ask) -> Result<Result<u32, UnixMs>, StoreError> {
        let _turn = self.turn.lock().await;
        for _ in 0..ATTEMPTS {
            if let Some(known) = self.set_aside(ask) {
                return Ok(known);
            }
            self.take_part(store, ask).await?;
        }
        Err(StoreError::Unavailable("other nodes kept taking from the budget".to_owned()))
    }

    /// Takes a part of the budget, unless another node is faster. In its turn.
    async fn take_part(&self, store: &dyn Store, ask: &Ask) -> Result<(), StoreError> {
        let Ask { key, budget, amount, wall } = ask;
        let record = store.reward_record(key).await?;
        let given = given(&record)?.given_ms;
        let (rest, amount) = (budget.get().saturating_sub(given), amount.get());
        let change = |change: &dyn Fn(&mut Taken)| {
            let mut known = self.taken.lock();
            if known.day == day_of(*wall) {
                change(&mut known);
            }
        };
        if rest < amount {
            change(&|known| known.empty = true);
            return Ok(());
        }
        // Whole rewards, so that nothing is left over that no node can pay.
        let rewards = (budget.get() / PARTS / amount).max(1).min(rest / amount);
        let part = rewards * amount;
        let content = serde_json::to_string(&Given { given_ms: given + part }).expect("a number is always JSON");
        let next = RewardRecord { revision: record.revision, content };
        if store.put_reward_record(key, &next).await? == Replaced::Done {
            change(&|known| known.left = known.left.plus(Millis::new(part)));
            if record.revision == 0 {
                forget_before(store, key).await?;
            }
        }
        Ok(())
    }
}

/// Removes the records of earlier days.
async fn forget_before(store: &dyn Store, today: &RewardKey) -> Result<(), StoreError> {
    for (old, _) in store.reward_records(&today.part, None, OLD).await? {
        if old.name < today.name {
            let _gone_either_way = store.remove_reward_record(&old).await?;
        }
    }
    Ok(())
}

/// The record of a day. Days have five digits until the year 2243, so that their names are in their order.
fn key(reward: &Reward, day: u32) -> RewardKey {
    RewardKey::new(format!("budget/{}", reward.name()), day.to_string())
}

fn given(record: &RewardRecord) -> Result<Given, StoreError> {
    if record.revision == 0 {
        return Ok(Given::default());
    }
    serde_json::from_str(&record.content).map_err(|_| StoreError::Damaged("a budget's record is not one".to_owned()))
}

#[cfg(test)]
mod tests {
    use futures_util::future::{FutureExt as _, join_all};
    use proptest::prelude::*;

    use crate::{
        engine::{Credit, Offer},
        store::{SqliteStore, roles::*},
    };

    use super::*;

    fn reward(reward_s: i64, budget_s: u64) -> Reward {
        let id = OfferId::of("page-view", "news.example.org");
        let (reward, cooldown) = (Credit::from_secs(reward_s), Millis::from_secs(60));
        Reward {
            class: "page-view".into(),
            distinguisher: "news.example.org".into(),
            offer: Offer { id, reward, cooldown, daily: None, session: Millis::ZERO },
            budget: Some(Millis::from_secs(budget_s)),
        }
    }

    fn at(day: u64) -> UnixMs {
        UnixMs::from_ms(day * 86_400_000 + 7)
    }

    #[tokio::test]
    async fn three_nodes_together_pay_no_more_than_the_budget() {
        let store: Arc<dyn Store> = Arc::new(SqliteStore::open_in_memory().unwrap());
        let nodes: Vec<_> = (0..3).map(|_| Budgets::new(Arc::clone(&store))).collect();
        let reward = reward(60, 60 * 100 + 59);
        let asked = join_all((0..400).map(|n| nodes[n % 3].reserve(&reward, at(19_000)))).await;
        let paid = asked.iter().filter(|asked| matches!(asked, Ok(Some(_)))).count();
        assert_eq!(paid, 100, "whole rewards, and not one more");
        assert!(asked.iter().all(|asked| matches!(asked, Ok(Some(_)) | Err(BudgetError::Empty(_)))));
        assert_eq!(nodes[0].given(&reward, at(19_000)).await.unwrap(), Millis::from_secs(6_000));
    }

    #[tokio::test]
    async fn a_node_takes_a_part_only_when_it_has_paid_the_one_before() {
        let store: Arc<dyn Store> = Arc::new(SqliteStore::open_in_memory().unwrap());
        let (budgets, reward) = (Budgets::new(store), reward(60, 60 * 160));
        // Sixteen at once, of parts of ten; and as many that go away as soon as they have asked.
        let asked = join_all((0..16).map(|_| budgets.reserve(&reward, at(1)))).await;
        assert!(asked.iter().all(|asked| matches!(asked, Ok(Some(_)))));
        for _ in 0..16 {
            let _gone = budgets.reserve(&reward, at(1)).now_or_never();
        }
        let rest = join_all((0..4).map(|_| budgets.reserve(&reward, at(1)))).await;
        assert!(rest.iter().all(|asked| matches!(asked, Ok(Some(_)))));
        assert_eq!(budgets.given(&reward, at(1)).await.unwrap(), Millis::from_secs(60 * 30));
    }

    #[tokio::test]
    async fn another_day_has_another_budget_and_old_records_go() {
        let store: Arc<dyn Store> = Arc::new(SqliteStore::open_in_memory().unwrap());
        let (budgets, reward) = (Budgets::new(Arc::clone(&store)), reward(60, 60));
        for day in 19_000..19_003 {
            assert!(budgets.reserve(&reward, at(day)).await.unwrap().is_some());
            assert!(
                matches!(budgets.reserve(&reward, at(day)).await, Err(BudgetError::Empty(next)) if next == UnixMs::from_ms((day + 1) * 86_400_000))
            );
        }
        let records = store.reward_records("budget/page-view/news.example.org", None, 10).await.unwrap();
        assert_eq!(records.iter().map(|(key, _)| key.name.as_str()).collect::<Vec<_>>(), ["19002"]);
    }

    #[tokio::test]
    async fn what_was_not_paid_can_be_paid_to_another() {
        let store: Arc<dyn Store> = Arc::new(SqliteStore::open_in_memory().unwrap());
        let (budgets, reward) = (Budgets::new(store), reward(60, 60));
        let reserved = budgets.reserve(&reward, at(1)).await.unwrap();
        budgets.give_back(reserved);
        assert!(budgets.reserve(&reward, at(1)).await.unwrap().is_some());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        #[test]
        fn no_order_of_payments_exceeds_a_budget(
            reward_s in 1..100_i64,
            budget_s in 1..2_000_u64,
            steps in prop::collection::vec((0..2_usize, any::<bool>()), 1..80),
        ) {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
            runtime.block_on(async {
                let store: Arc<dyn Store> = Arc::new(SqliteStore::open_in_memory().unwrap());
                let nodes = [Budgets::new(Arc::clone(&store)), Budgets::new(store)];
                let reward = reward(reward_s, budget_s);
                let mut paid = 0;
                for (node, pays) in steps {
                    let Ok(reserved) = nodes[node].reserve(&reward, at(3)).await else { continue };
                    if pays { paid += reward_s } else { nodes[node].give_back(reserved) }
                }
                assert!(paid <= i64::try_from(budget_s).unwrap());
            });
        }
    }
}
