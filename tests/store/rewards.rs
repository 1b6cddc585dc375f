//! What accounts have earned, and what rewards and shops keep beside them.

use std::sync::Arc;

use futures_util::future::join_all;
use gastank::{
    engine::{Act, Credit, Earnings, Offer, OfferId},
    store::{Commit, Removed, Replaced, RewardKey, RewardRecord},
    time::Millis,
};

use super::*;

fn offer(distinguisher: &str) -> Offer {
    Offer {
        id: OfferId::of("click", distinguisher),
        reward: Credit::from_secs(60),
        cooldown: Millis::from_secs(3600),
        daily: None,
        session: Millis::ZERO,
    }
}

fn earning(account: &Account, distinguisher: &str, at: u64) -> Act {
    let earns = account.earnings.pay(&offer(distinguisher), wall(at)).expect("nothing was paid for it");
    Act { earns: Some(earns), ..granting(account, 60_000, &format!("{distinguisher}/{at}")) }
}

pub(crate) async fn what_was_earned_is_kept_with_the_account(store: Subject) {
    let account = made(&store, 1).await;
    assert_eq!(account.earnings, Earnings::NONE);
    let mut after = account;
    for n in 0..100 {
        after = done(&store, &after, &earning(&after, &n.to_string(), n)).await;
    }
    assert!(
        after.earnings.pay(&offer("7"), wall(3_600_006)).is_err()
            && after.earnings.pay(&offer("7"), wall(3_600_007)).is_ok()
    );
    let other = done(&store, &after, &granting(&after, 5, "fuel")).await;
    assert_eq!(other.earnings, after.earnings, "other acts leave it as it is");
    let gone = done(&store, &other, &Act { deletes: true, ..other.nothing() }).await;
    assert_eq!(gone.earnings, Earnings::NONE);
}

pub(crate) async fn of_fifty_racing_rewards_each_is_paid_once(store: Subject) {
    let account = made(&store, 1).await;
    let act = |n: u64| earning(&account, "same", n);
    let acts: Vec<_> = (0..50).map(act).collect();
    let answers = join_all(acts.iter().map(|act| store.commit(act, None))).await;
    let won = answers.iter().filter(|answer| matches!(answer, Ok(Commit::Done(_)))).count();
    assert_eq!(won, 1);
    let after = now(&store, &account.id).await;
    assert!(after.earnings.pay(&offer("same"), wall(60)).is_err());
    assert_eq!(after.balance, Credit::from_secs(60));
}

pub(crate) async fn records_of_rewards_are_replaced_by_who_has_read_them(store: Subject) {
    let key = |name: &str| RewardKey::new("budget/click", name);
    let record = |revision: u64, content: &str| RewardRecord { revision, content: content.to_owned() };
    assert_eq!(store.reward_record(&key("a")).await.expect("works"), RewardRecord::default());
    assert_eq!(store.put_reward_record(&key("a"), &record(1, "x")).await.expect("works"), Replaced::Outdated);
    for (name, content) in [("b", "{}"), ("a", r#"{"a":"\u00fc"}"#), ("", "\u{fc}")] {
        assert_eq!(store.put_reward_record(&key(name), &record(0, content)).await.expect("works"), Replaced::Done);
        assert_eq!(store.reward_record(&key(name)).await.expect("works"), record(1, content));
        assert_eq!(store.put_reward_record(&key(name), &record(0, "other")).await.expect("works"), Replaced::Outdated);
    }
    let elsewhere = RewardKey::new("budget", "click");
    assert_eq!(store.put_reward_record(&elsewhere, &record(0, "[]")).await.expect("works"), Replaced::Done);

    let found = store.reward_records("budget/click", None, 10).await.expect("works");
    assert_eq!(found.iter().map(|(key, _)| key.name.as_str()).collect::<Vec<_>>(), ["", "a", "b"]);
    let found = store.reward_records("budget/click", Some(""), 1).await.expect("works");
    assert_eq!(found.iter().map(|(key, _)| key.clone()).collect::<Vec<_>>(), [key("a")]);
    assert_eq!(store.reward_records("nothing", None, 10).await.expect("works"), []);

    let (store, key) = (Arc::clone(&store), key("a"));
    let next = record(1, "next");
    let racing = join_all((0..50).map(|_| store.put_reward_record(&key, &next))).await;
    assert_eq!(racing.iter().filter(|answer| matches!(answer, Ok(Replaced::Done))).count(), 1);
    assert_eq!(store.reward_record(&key).await.expect("works"), record(2, "next"));
    assert_eq!(store.remove_reward_record(&key).await.expect("works"), Removed::Done);
    assert_eq!(store.remove_reward_record(&key).await.expect("works"), Removed::NotThere);
    assert_eq!(store.reward_record(&key).await.expect("works"), RewardRecord::default());
}
