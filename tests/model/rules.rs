//! Rules that have a name, each shown on the figures that users get: beats every 30 s, time-out after 90 s.

use std::{sync::Arc, time::Duration};

use gastank::{
    control::{acts::ActError, tokens::claims_of},
    engine::{ActivationName, Refusal, SLICES, Verdict},
    service::{supervisor::Supervisor, upkeep},
    telemetry::{Health, Telemetry},
    time::{Clock, MeterTime, Millis, UnixMs},
    wire::{AckFlags, EndReason, HeartbeatKind, WireVerdict},
};

use tokio_util::sync::CancellationToken;

use crate::rig::{Client, Rig, WALL};

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
async fn a_late_or_repeated_renewal_leaves_the_token_in_use_alone() {
    let rig = Rig::new().await;
    let account = rig.account(HOUR_OF_CREDIT).await;
    let client = rig.activate(&account).await.unwrap();
    rig.advance(10_000);
    let [late, first] = [8_000, 10_000].map(|clock| client.frame(HeartbeatKind::Renew, MeterTime::from_ms(clock)));
    let given = rig.acts.renew(&client.token, &first).await.unwrap().token.text;
    rig.advance(5_000);
    for frame in [first, late] {
        // Its token is the one before, which is good for asking again.
        let refused = rig.acts.renew(&client.token, &frame).await.err().unwrap();
        let stale = Refusal::StaleRenewal { now: MeterTime::from_ms(15_000) };
        assert!(matches!(refused, ActError::Refused(why) if why == stale), "{refused:?}");
        assert!(rig.is_valid(&given));
    }
    // A clock that is ahead counts as the meter does: the next one is later all the same.
    let ahead = client.frame(HeartbeatKind::Renew, MeterTime::from_ms(u64::MAX));
    let given = rig.acts.renew(&given, &ahead).await.unwrap().token.text;
    rig.advance(1);
    let next = client.frame(HeartbeatKind::Renew, rig.now());
    assert!(rig.is_valid(&rig.acts.renew(&given, &next).await.unwrap().token.text));
}

#[tokio::test]
async fn a_repeated_activation_opens_nothing_and_asks_for_a_renewal() {
    let mut rig = Rig::new().await;
    let account = rig.account(HOUR_OF_CREDIT).await;
    let name = |key: &str| Some(ActivationName::of(key));
    let before = rig.activate(&account).await.unwrap();
    let first = rig.acts.activate_named(&account, "edge", name("a")).await.unwrap();
    rig.advance(1_000);
    // Durable: its answer was lost in a crash.
    rig.restart(Millis::from_secs(60)).await;
    let again = rig.acts.activate_named(&account, "edge", name("a")).await.unwrap();
    assert!(first.superseded && again.superseded, "as the first time");
    assert_eq!((again.session, rig.ledger(&account).await), (first.session, vec![3_600_000, 0]));
    assert!(rig.is_valid(&again.token.text) && !rig.is_valid(&first.token.text));
    let other = rig.acts.activate_named(&account, "other", name("a")).await;
    assert!(matches!(other, Err(ActError::Refused(Refusal::NameReused))));

    // Whichever answer the client has got, its next ack asks it to renew, and it may.
    let client = Client { token: first.token.text, ..Client::from(again) };
    assert!(rig.beat(&client).await.flags.has(AckFlags::RENEW));
    let given = rig.renew(&client).await.unwrap();
    assert!(rig.is_valid(&given) && !rig.beat(&client).await.flags.has(AckFlags::RENEW));
    // Now its answer has arrived: one that is repeated is late.
    let late = rig.acts.activate_named(&account, "edge", name("a")).await;
    assert!(matches!(late, Err(ActError::Refused(Refusal::StaleRenewal { .. }))) && rig.is_valid(&given));

    // A late one of an earlier session does not take the activation back.
    let second = rig.acts.activate_named(&account, "edge", name("b")).await.unwrap();
    let late = rig.acts.activate_named(&account, "edge", name("a")).await;
    assert!(matches!(late, Err(ActError::Refused(Refusal::StaleActivation))) && rig.is_valid(&second.token.text));
    rig.acts.end(&account, EndReason::Deactivated).await.unwrap();
    let over = rig.acts.activate_named(&account, "edge", name("b")).await;
    assert_eq!(ended(over), Some(EndReason::Deactivated));
    assert_eq!(rig.end_of(&before).await, Some(EndReason::Superseded));
}

#[tokio::test]
async fn a_late_deactivation_of_a_session_leaves_the_next_one_alone() {
    let rig = Rig::new().await;
    let account = rig.account(HOUR_OF_CREDIT).await;
    let (first, second) = (rig.activate(&account).await.unwrap(), rig.activate(&account).await.unwrap());
    rig.acts.end_only(&account, EndReason::Deactivated, Some(first.session)).await.unwrap();
    assert!(rig.is_valid(&second.token));
    rig.acts.end_only(&account, EndReason::Deactivated, Some(second.session)).await.unwrap();
    assert_eq!(rig.verdict(&second.token), dead(EndReason::Deactivated));
}

/// What introspection says of a token: the verdict, and not beyond its `exp`.
fn is_active(rig: &Rig, token: &str) -> bool {
    rig.is_valid(token) && claims_of(token).unwrap().exp > rig.clock.wall().as_secs()
}

#[tokio::test]
async fn a_client_that_does_as_acks_say_is_vouched_for_in_every_moment_that_it_pays_for() {
    const ROUND_TRIP: u64 = 100;
    const STEP: u64 = 10;
    for (credit, bought_at, bought) in (0..60)
        .map(|n: u64| (1_000 + 97 * (n % 31), 60 + 151 * n, [700, 6_000, 1_001][usize::try_from(n % 3).unwrap()]))
    {
        let rig = Rig::new().await;
        // Somewhere within a second of the wall clock.
        rig.advance(credit * 7 % 1_000);
        let account = rig.account(i64::try_from(credit).unwrap()).await;
        let mut client = rig.activate(&account).await.unwrap();
        let (started, bought_at) = (rig.now().as_ms(), bought_at % credit);
        let (mut beat_at, mut renew_at, mut has_bought) = (started, None, false);
        let mut active_ms = 0;
        loop {
            let passed = rig.now().as_ms() - started;
            if passed >= bought_at && !has_bought {
                rig.credit(&account, bought, "top-up").await.unwrap();
                has_bought = true;
            }
            if renew_at.is_some_and(|at| at <= rig.now().as_ms()) {
                client.token = rig.renew(&client).await.unwrap();
                renew_at = None;
            }
            if beat_at <= rig.now().as_ms() {
                let ack = rig.beat(&client).await;
                if ack.verdict != WireVerdict::Valid {
                    break;
                }
                // What is left is seen half a round trip later, and answered another half later.
                beat_at = rig.now().as_ms() + u64::from(ack.next_beat_100ms) * 100 + ROUND_TRIP;
                renew_at = ack.flags.has(AckFlags::RENEW).then(|| rig.now().as_ms() + ROUND_TRIP).or(renew_at);
            }
            if rig.is_valid(&client.token) {
                assert!(
                    is_active(&rig, &client.token),
                    "of {credit} ms and {bought} after {bought_at}: not at {passed}"
                );
                active_ms += STEP;
            }
            rig.advance(STEP);
        }
        rig.acts.settle(&account).await.unwrap();
        let charged = rig.ledger(&account).await.last().unwrap().unsigned_abs();
        assert!(charged > credit && charged <= active_ms, "{active_ms} of {charged} ms were vouched for");
    }
}

#[tokio::test]
async fn nobody_is_charged_beyond_the_token_that_was_never_renewed() {
    let rig = Rig::new().await;
    let account = rig.account(2_000).await;
    let client = rig.activate(&account).await.unwrap();
    let expires = claims_of(&client.token).unwrap().exp * 1_000 - rig.clock.wall().as_ms();
    rig.advance(1_900);
    rig.credit(&account, 600_000, "top-up").await.unwrap();
    // The client is gone. Its session would have gone on until its time-out.
    rig.advance(TIMEOUT);
    rig.sweep(0..SLICES).await;
    assert_eq!(rig.end_of(&client).await, Some(EndReason::TimedOut));
    assert_eq!(rig.ledger(&account).await.last(), Some(&-i64::try_from(expires).unwrap()));
    assert_eq!(rig.remaining(&account).await, Millis::new(602_000 - expires));
}

#[tokio::test]
async fn nobody_is_charged_between_a_token_that_has_expired_and_the_renewal_that_comes_late() {
    const STEP: u64 = 10;
    let rig = Rig::new().await;
    let account = rig.account(2_000).await;
    let mut client = rig.activate(&account).await.unwrap();
    let (mut bought_ms, mut active_ms) = (2_000, 0);
    for name in ["first top-up", "second top-up"] {
        while rig.remaining(&account).await > Millis::new(100) {
            active_ms += if is_active(&rig, &client.token) { STEP } else { 0 };
            rig.advance(STEP);
        }
        rig.credit(&account, 20_000, name).await.unwrap();
        bought_ms += 20_000;
        // It beats on for a while, and takes no notice of the flag.
        for _ in 0..5_000 / STEP {
            active_ms += if is_active(&rig, &client.token) { STEP } else { 0 };
            rig.advance(STEP);
            rig.beat(&client).await;
        }
        assert!(!is_active(&rig, &client.token));
        client.token = rig.renew(&client).await.unwrap();
        assert!(is_active(&rig, &client.token));
        let left_s = u64::from(rig.beat(&client).await.remaining_s);
        assert!(left_s.abs_diff((bought_ms - active_ms) / 1_000) <= 1, "{left_s} s after {active_ms} ms");
    }
    rig.acts.end(&account, EndReason::Deactivated).await.unwrap();
    let charged = rig.ledger(&account).await.last().unwrap().unsigned_abs();
    assert!(charged.abs_diff(active_ms) <= 4 * STEP, "{active_ms} ms were vouched for, {charged} charged");
}

#[tokio::test]
async fn a_renewal_is_asked_for_by_the_clock_that_verdicts_go_by() {
    let rig = Rig::new().await;
    let account = rig.account(10 * 24 * HOUR_OF_CREDIT).await;
    let mut client = rig.activate(&account).await.unwrap();
    let (wall, day) = (rig.clock.wall().as_ms(), 24 * HOUR);
    for (step, renews) in
        [(wall, false), (wall + 2 * day, true), (wall, false), (wall - 2 * day, false), (wall + 5 * day, true)]
    {
        rig.clock.step_wall(UnixMs::from_ms(step));
        rig.engine.set_wall(rig.now(), rig.clock.wall());
        assert_eq!(is_active(&rig, &client.token), !renews, "at {step}");
        assert_eq!(rig.beat(&client).await.flags.has(AckFlags::RENEW), renews, "at {step}");
        if renews {
            client.token = rig.renew(&client).await.unwrap();
            assert!(is_active(&rig, &client.token) && !rig.beat(&client).await.flags.has(AckFlags::RENEW));
        }
        // The meter may go on by itself, too: then the token ages by it.
        rig.advance(30_000);
        assert!(rig.is_valid(&client.token));
    }
}

#[tokio::test(start_paused = true)]
async fn a_date_that_has_jumped_drops_nothing_until_it_has_lasted() {
    let rig = Rig::new().await;
    let account = rig.account(HOUR_OF_CREDIT).await;
    rig.activate(&account).await.unwrap();
    let written = async || {
        let rows = rig.store.audit_of_account(&account, None, 10).await.unwrap();
        rows.iter().filter(|row| row.key.at < WALL.plus(Millis::new(24 * HOUR))).count()
    };
    let (all, lists) = (written().await, rig.store.status_lists().await.unwrap());
    assert!(all > 0);
    let telemetry = Telemetry::new(Health::new());
    let upkeep = rig.upkeep(None, &telemetry).await;
    let (chores, queue) = upkeep::chores(Arc::clone(&rig.acts));
    let stop = CancellationToken::new();
    let tasks = upkeep.start(chores, queue, &Supervisor::new(telemetry), &stop);
    let some_rounds = || tokio::time::sleep(Duration::from_secs(150));
    some_rounds().await;
    rig.clock.step_wall(WALL.plus(Millis::new(30 * 24 * HOUR)));
    some_rounds().await;
    assert_eq!((written().await, rig.store.status_lists().await.unwrap()), (all, lists));
    rig.advance(HOUR);
    some_rounds().await;
    assert_eq!(written().await, 0, "its rows are kept for a day");
    stop.cancel();
    tasks.wait().await;
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
