//! Rules that have a name, each shown on the figures that users get: beats every 30 s, time-out after 90 s.

use gastank::{
    clock::Clock,
    control::acts::ActError,
    engine::{Refusal, SLICES, UnixMs, Verdict},
    wire::{EndReason, HeartbeatKind, MeterTime, Millis, WireVerdict},
};

use crate::rig::{Client, Rig};

const SECOND: u64 = 1_000;
const MINUTE: u64 = 60 * SECOND;
const HOUR: u64 = 60 * MINUTE;
const TIMEOUT: u64 = 90 * SECOND;
const HOUR_OF_CREDIT: i64 = 3_600_000;

fn dead(reason: EndReason) -> Verdict {
    Verdict::Invalid { reason }
}

fn valid(ms: u64) -> Verdict {
    Verdict::Valid { remaining: Millis::new(ms) }
}

fn ended<T>(result: Result<T, ActError>) -> Option<EndReason> {
    match result {
        Err(ActError::Refused(Refusal::SessionEnded(reason))) => Some(reason),
        _ => None,
    }
}

#[tokio::test]
async fn a_tank_that_runs_dry_between_two_beats_kills_the_token_on_the_dot() {
    let rig = Rig::new().await;
    let account = rig.account(45_000).await;
    let client = rig.activate(&account).await.unwrap();
    rig.advance(30_000);
    assert_eq!(rig.beat(&client).await.verdict, WireVerdict::Valid);
    rig.advance(15_000);
    assert_eq!(rig.verdict(&client.token), valid(0));
    rig.advance(1);
    assert_eq!(rig.verdict(&client.token), dead(EndReason::Exhausted));
    rig.advance(15_000);
    assert_eq!(rig.beat(&client).await.verdict, WireVerdict::Invalid(EndReason::Exhausted));
    rig.sweep(0..SLICES).await;
    assert_eq!(rig.ledger(&account).await, [45_000, -45_000]);
    assert!(matches!(rig.activate(&account).await, Err(ActError::Refused(Refusal::TankEmpty))));
}

#[tokio::test]
async fn silence_kills_the_token_on_the_dot_and_is_charged_until_then() {
    let rig = Rig::new().await;
    let account = rig.account(HOUR_OF_CREDIT).await;
    let client = rig.activate(&account).await.unwrap();
    rig.advance(10_000);
    rig.beat(&client).await;
    rig.advance(TIMEOUT);
    assert!(rig.is_valid(&client.token));
    rig.advance(1);
    assert_eq!(rig.verdict(&client.token), dead(EndReason::TimedOut));
    rig.advance(HOUR);
    rig.sweep(0..SLICES).await;
    assert_eq!(rig.ledger(&account).await, [HOUR_OF_CREDIT, -100_000]);
}

#[tokio::test]
async fn a_late_beat_never_brings_a_session_back_even_if_nobody_looked_meanwhile() {
    let rig = Rig::new().await;
    let account = rig.account(HOUR_OF_CREDIT).await;
    let client = rig.activate(&account).await.unwrap();
    rig.advance(TIMEOUT + 1);
    for clock in [0, TIMEOUT, TIMEOUT + 1, u64::MAX] {
        let frame = client.frame(HeartbeatKind::Beat, MeterTime::from_ms(clock));
        assert_eq!(rig.deliver(&client, &frame).await.verdict, WireVerdict::Invalid(EndReason::TimedOut));
    }
    assert_eq!(ended(rig.renew(&client).await), Some(EndReason::TimedOut));
    rig.sweep(0..SLICES).await;
    assert_eq!(rig.ledger(&account).await, [HOUR_OF_CREDIT, -90_000]);
}

#[tokio::test]
async fn late_credit_never_brings_a_session_back_even_if_nobody_looked_meanwhile() {
    let rig = Rig::new().await;
    let account = rig.account(10_000).await;
    let client = rig.activate(&account).await.unwrap();
    rig.advance(10_001);
    let credited = rig.credit(&account, HOUR_OF_CREDIT, "late").await.unwrap();
    assert_eq!(credited.remaining, Millis::new(3_600_000));
    assert_eq!(rig.verdict(&client.token), dead(EndReason::Exhausted));
    assert_eq!(rig.beat(&client).await.verdict, WireVerdict::Invalid(EndReason::Exhausted));
    assert_eq!(rig.ledger(&account).await, [10_000, -10_000, HOUR_OF_CREDIT]);
}

#[tokio::test]
async fn credit_in_the_last_millisecond_goes_on_without_another_activation() {
    let rig = Rig::new().await;
    let account = rig.account(10_000).await;
    let client = rig.activate(&account).await.unwrap();
    rig.advance(10_000);
    rig.credit(&account, 5_000, "just in time").await.unwrap();
    rig.advance(1);
    assert_eq!(rig.verdict(&client.token), valid(4_999));
    assert_eq!(rig.beat(&client).await.remaining_s, 4);
}

#[tokio::test]
async fn who_never_beats_and_activates_just_before_the_time_out_pays_for_every_millisecond() {
    let rig = Rig::new().await;
    let credit = 24 * HOUR_OF_CREDIT;
    let account = rig.account(credit).await;
    let start = rig.now();
    while rig.now().since(start) < Millis::new(6 * HOUR) {
        let client = rig.activate(&account).await.unwrap();
        rig.advance(TIMEOUT);
        assert!(rig.is_valid(&client.token));
    }
    rig.acts.end(&account, EndReason::Deactivated).await.unwrap();
    let vouched = i64::try_from(rig.now().since(start).get()).unwrap();
    assert_eq!(rig.ledger(&account).await.iter().sum::<i64>(), credit - vouched);
}

#[tokio::test]
async fn who_lets_each_session_time_out_pays_for_what_was_vouched_for_and_not_for_the_gaps() {
    let rig = Rig::new().await;
    let account = rig.account(HOUR_OF_CREDIT).await;
    for _ in 0..10 {
        rig.activate(&account).await.unwrap();
        rig.advance(TIMEOUT + 7_000);
    }
    rig.sweep(0..SLICES).await;
    assert_eq!(rig.ledger(&account).await.iter().sum::<i64>(), HOUR_OF_CREDIT - 10 * 90_000);
}

#[tokio::test]
async fn in_a_war_of_renewals_and_beats_the_activation_stays_where_a_person_put_it() {
    let rig = Rig::new().await;
    let account = rig.account(HOUR_OF_CREDIT).await;
    let mut loser = rig.activate(&account).await.unwrap();
    let mut winner = rig.activate(&account).await.unwrap();
    for round in 0..200 {
        rig.advance(100);
        assert_eq!(ended(rig.renew(&loser).await), Some(EndReason::Superseded));
        assert_eq!(rig.beat(&loser).await.verdict, WireVerdict::Invalid(EndReason::Superseded));
        let token = rig.renew(&winner).await.unwrap();
        assert!(!rig.is_valid(&winner.token) && rig.is_valid(&token));
        winner.token = token;
        assert_eq!(rig.beat(&winner).await.verdict, WireVerdict::Valid);
        assert!(!rig.is_valid(&loser.token));
        if round % 50 == 49 {
            // Only a person's act moves it.
            loser = rig.activate(&account).await.unwrap();
            std::mem::swap(&mut loser, &mut winner);
        }
    }
}

#[tokio::test]
async fn a_stop_of_the_superseded_client_does_not_end_the_session_that_took_over() {
    let rig = Rig::new().await;
    let account = rig.account(HOUR_OF_CREDIT).await;
    let loser = rig.activate(&account).await.unwrap();
    let winner = rig.activate(&account).await.unwrap();
    let stop = loser.frame(HeartbeatKind::Stop, rig.now());
    assert_eq!(rig.deliver(&loser, &stop).await.verdict, WireVerdict::Invalid(EndReason::Superseded));
    rig.acts.revoke(&loser.session).await.unwrap();
    assert!(rig.is_valid(&winner.token));
}

#[tokio::test]
async fn of_a_hundred_activations_each_ends_the_one_before_and_the_last_is_good() {
    let rig = Rig::new().await;
    let account = rig.account(HOUR_OF_CREDIT).await;
    let mut chain: Vec<Client> = Vec::new();
    for _ in 0..100 {
        rig.advance(SECOND);
        chain.push(rig.activate(&account).await.unwrap());
        assert_eq!(chain.iter().filter(|client| rig.is_valid(&client.token)).count(), 1);
    }
    let last = chain.pop().unwrap();
    assert!(rig.is_valid(&last.token));
    for client in &chain {
        assert_eq!(rig.verdict(&client.token), dead(EndReason::Superseded));
        assert_eq!(rig.end_of(client).await, Some(EndReason::Superseded));
    }
    assert_eq!(rig.ledger(&account).await.iter().sum::<i64>(), HOUR_OF_CREDIT - 99_000);
}

#[tokio::test]
async fn a_renewal_whose_reply_was_lost_is_asked_again_with_the_token_that_is_left() {
    let rig = Rig::new().await;
    let account = rig.account(HOUR_OF_CREDIT).await;
    let mut client = rig.activate(&account).await.unwrap();
    let lost = rig.renew(&client).await.unwrap();
    assert_eq!(rig.verdict(&client.token), dead(EndReason::Superseded));
    let got = rig.renew(&client).await.unwrap();
    assert!(rig.is_valid(&got) && !rig.is_valid(&lost));
    // Once the new token has been used, the one before it has served.
    let first = std::mem::replace(&mut client.token, got);
    client.token = rig.renew(&client).await.unwrap();
    let stale = Client { token: first, ..client.clone() };
    assert!(matches!(rig.renew(&stale).await, Err(ActError::BadCredentials)));
    let never = Client { token: lost, ..client.clone() };
    assert!(matches!(rig.renew(&never).await, Err(ActError::BadCredentials)));
    assert!(rig.is_valid(&client.token));
}

#[tokio::test]
async fn a_renewal_needs_the_token_and_the_key_of_the_same_session() {
    let rig = Rig::new().await;
    let (mine, theirs) = (rig.account(HOUR_OF_CREDIT).await, rig.account(HOUR_OF_CREDIT).await);
    let (mine, theirs) = (rig.activate(&mine).await.unwrap(), rig.activate(&theirs).await.unwrap());
    let stolen = Client { token: theirs.token.clone(), ..mine.clone() };
    assert!(matches!(rig.renew(&stolen).await, Err(ActError::BadCredentials)));
    let beat = mine.frame(HeartbeatKind::Beat, rig.now());
    assert!(matches!(rig.acts.renew(&mine.token, &beat).await, Err(ActError::BadFrame(_))));
    assert!(rig.is_valid(&mine.token) && rig.is_valid(&theirs.token));
}

#[tokio::test]
async fn steps_of_the_wall_clock_charge_nobody_and_time_nobody_out() {
    let rig = Rig::new().await;
    let account = rig.account(HOUR_OF_CREDIT).await;
    let client = rig.activate(&account).await.unwrap();
    let wall = rig.clock.wall().as_ms();
    for step in [wall + HOUR, wall - HOUR, 0, wall] {
        rig.clock.step_wall(UnixMs::from_ms(step));
        assert_eq!(rig.beat(&client).await.verdict, WireVerdict::Valid);
        rig.sweep(0..SLICES).await;
        assert_eq!(rig.verdict(&client.token), valid(3_600_000));
    }
    rig.advance(SECOND);
    assert_eq!(rig.acts.end(&account, EndReason::Deactivated).await.unwrap(), Millis::new(3_599_000));
}

#[tokio::test]
async fn an_outage_of_a_week_charges_nobody_and_times_nobody_out() {
    let mut rig = Rig::new().await;
    let account = rig.account(HOUR_OF_CREDIT).await;
    let mut client = rig.activate(&account).await.unwrap();
    rig.advance(30_000);
    rig.beat(&client).await;
    rig.restart(Millis::from_secs(7 * 24 * 3600)).await;
    assert_eq!(rig.verdict(&client.token), valid(3_570_000));
    assert_eq!(rig.beat(&client).await.verdict, WireVerdict::Valid);
    // Its token has expired meanwhile; it is asked to renew, and may.
    client.token = rig.renew(&client).await.unwrap();
    rig.advance(TIMEOUT);
    assert!(rig.is_valid(&client.token));
    rig.advance(1);
    assert_eq!(rig.verdict(&client.token), dead(EndReason::TimedOut));
}

#[tokio::test]
async fn a_crash_loses_no_more_than_what_was_heard_since_the_last_checkpoint() {
    let mut rig = Rig::new().await;
    let account = rig.account(HOUR_OF_CREDIT).await;
    let client = rig.activate(&account).await.unwrap();
    rig.advance(25_000);
    rig.beat(&client).await;
    rig.sweep(0..SLICES).await;
    rig.advance(20_000);
    rig.beat(&client).await;
    rig.keep_clock().await;
    rig.crash(Millis::ZERO).await;
    assert!(rig.is_valid(&client.token));
    rig.advance(5_000);
    rig.beat(&client).await; // repairs what was lost
    rig.advance(TIMEOUT);
    assert!(rig.is_valid(&client.token));
    rig.advance(1);
    rig.sweep(0..SLICES).await;
    assert_eq!(rig.ledger(&account).await, [HOUR_OF_CREDIT, -140_000]);
}

#[tokio::test]
async fn what_is_taken_away_is_at_most_what_the_tank_has() {
    let rig = Rig::new().await;
    let account = rig.account(60_000).await;
    let client = rig.activate(&account).await.unwrap();
    rig.advance(20_000);
    let credited = rig.credit(&account, -HOUR_OF_CREDIT, "refund").await.unwrap();
    assert_eq!((credited.entry.amount.as_ms(), credited.remaining), (-40_000, Millis::ZERO));
    let again = rig.credit(&account, -HOUR_OF_CREDIT, "refund").await.unwrap();
    assert!(again.repeated && again.entry == credited.entry);
    assert_eq!(rig.verdict(&client.token), valid(0));
    rig.advance(1);
    assert_eq!(rig.verdict(&client.token), dead(EndReason::Exhausted));
    rig.sweep(0..SLICES).await;
    assert_eq!(rig.ledger(&account).await, [60_000, -40_000, -20_000]);
}

#[tokio::test]
async fn a_name_that_stands_for_one_entry_is_refused_for_another() {
    let rig = Rig::new().await;
    let account = rig.account(60_000).await;
    rig.credit(&account, 5_000, "once").await.unwrap();
    for other in [5_001, 4_999, 0, -1, -5_000] {
        assert!(matches!(rig.credit(&account, other, "once").await, Err(ActError::IdReused)), "{other}");
    }
    assert!(rig.credit(&account, 5_000, "once").await.unwrap().repeated);
    assert_eq!(rig.ledger(&account).await, [60_000, 5_000]);
}

#[tokio::test]
async fn the_name_of_a_debit_stands_for_what_was_asked_and_not_for_what_there_was() {
    let rig = Rig::new().await;
    let account = rig.account(60_000).await;
    for (name, asked, took) in [("some", -5_000, -5_000), ("all", -100_000, -55_000), ("none", -5, 0)] {
        assert_eq!(rig.credit(&account, asked, name).await.unwrap().entry.amount.as_ms(), took);
        for other in [asked - 1, asked + 1, took + 1, 0, -asked] {
            assert!(matches!(rig.credit(&account, other, name).await, Err(ActError::IdReused)), "{name} {other}");
        }
        let again = rig.credit(&account, asked, name).await.unwrap();
        assert!(again.repeated && again.entry.amount.as_ms() == took);
    }
    assert_eq!(rig.ledger(&account).await, [60_000, -5_000, -55_000, 0]);
}

#[tokio::test]
async fn the_ledger_adds_up_to_the_balance_even_where_credit_ends() {
    let rig = Rig::new().await;
    let account = rig.account(i64::MAX).await;
    rig.credit(&account, i64::MAX, "more").await.unwrap();
    rig.credit(&account, i64::MAX, "yet more").await.unwrap();
    let balance = rig.store.account(&account).await.unwrap().unwrap().account.balance.as_ms();
    assert_eq!(rig.ledger(&account).await.iter().map(|amount| i128::from(*amount)).sum::<i128>(), i128::from(balance));
}

#[tokio::test]
async fn deletion_ends_the_session_and_is_final() {
    let rig = Rig::new().await;
    let account = rig.account(HOUR_OF_CREDIT).await;
    let client = rig.activate(&account).await.unwrap();
    rig.acts.delete(&account).await.unwrap();
    assert_eq!(rig.verdict(&client.token), dead(EndReason::AccountDeleted));
    assert_eq!(ended(rig.renew(&client).await), Some(EndReason::AccountDeleted));
    assert!(matches!(rig.activate(&account).await, Err(ActError::Refused(Refusal::Deleted))));
    assert!(matches!(rig.credit(&account, 1, "late").await, Err(ActError::Refused(Refusal::Deleted))));
    assert!(matches!(rig.acts.view(&account).await, Err(ActError::NotFound(_))));
    rig.acts.delete(&account).await.unwrap();
}
