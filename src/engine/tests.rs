//! What the rules promise for every input.

mod others;

use std::sync::atomic::{AtomicUsize, Ordering};

use proptest::prelude::*;

use super::{account::lapse, *};
use crate::wire::{ClusterSecret, FRAME_LEN, SessionKey, StateBits};

const POLICY: Policy = Policy {
    interval: Millis::from_secs(30),
    longest_interval: Millis::from_secs(30),
    timeout: Millis::from_secs(90),
    max_ttl: Millis::from_secs(86_400),
    renew_before: Millis::from_secs(900),
    low_credit: Millis::from_secs(300),
};
const ID: SessionId = SessionId::from_bytes([1; 16]);

const fn at(ms: u64) -> MeterTime {
    MeterTime::from_ms(ms)
}

fn session(id: SessionId, started: MeterTime) -> Session {
    let tokens = Tokens {
        current: TokenHash::of(id.as_bytes()),
        previous: None,
        expires_at: UnixMs::from_ms(u64::MAX),
        expires: None,
        uncharged: Millis::ZERO,
        renewed: None,
        status: StatusIndex { list: ListId::from_bytes([0; 8]), idx: 0 },
    };
    Session {
        id,
        started,
        started_at: UnixMs::from_ms(0),
        audience: "edge".to_owned(),
        tokens,
        names: ActivationNames::default(),
        end: None,
    }
}

fn moment(now: MeterTime, sighting: Option<Sighting>) -> Moment {
    Moment { now, wall: UnixMs::from_ms(now.as_ms()), sighting }
}

fn engine() -> Engine {
    Engine::new(POLICY, SecretRing::new(SecretId::default(), ClusterSecret::from_bytes([9; 32])), 100)
}

fn credited(account: Account, amount: i64, name: &str) -> Account {
    let new = NewEntry {
        kind: EntryKind::Grant,
        amount: Credit::from_ms(amount),
        source: Source::Admin,
        external_id: name.to_owned(),
        reason: None,
    };
    let act = account.credit(&moment(at(0), None), &POLICY, new).unwrap();
    account.after(&act)
}

#[derive(Clone, Debug)]
enum Do {
    Credit(i64),
    Refund(i64),
    Activate,
    End,
    Settle,
    Heard,
    Wait(u64),
}

fn any_do() -> impl Strategy<Value = Do> {
    prop_oneof![
        prop_oneof![-200_000i64..200_000, any::<i64>()].prop_map(Do::Credit),
        (1..300_000i64).prop_map(Do::Refund),
        Just(Do::Activate),
        Just(Do::End),
        Just(Do::Settle),
        Just(Do::Heard),
        (0..100_000u64).prop_map(Do::Wait),
    ]
}

proptest! {
    #[test]
    fn a_session_is_over_from_the_first_instant_past_its_earliest_bound_and_stays_so(
        last_seen: u32, timeout: u32, runs_dry: u32, now: u64, later: u32,
    ) {
        let (last_seen, dry, timeout) = (at(last_seen.into()), at(runs_dry.into()), Millis::new(timeout.into()));
        let valid_until = dry.min(last_seen.plus(timeout));
        let end = lapse(last_seen, timeout, dry, at(now));
        prop_assert_eq!(end.is_some(), at(now) > valid_until);
        prop_assert!(lapse(last_seen, timeout, dry, valid_until).is_none());
        if let Some((ended, _)) = end {
            prop_assert_eq!(ended, valid_until);
            prop_assert_eq!(lapse(last_seen, timeout, dry, at(now).plus(Millis::new(later.into()))), end);
        }
    }

    #[test]
    fn whatever_is_done_to_an_account_its_ledger_adds_up_and_its_tank_is_never_overdrawn(
        history in prop::collection::vec(any_do(), 1..40),
    ) {
        let mut account = Account::new(AccountId::from_bytes([2; 16]));
        let (mut now, mut heard, mut sum, mut rows, mut sessions) = (at(0), at(0), 0i128, 0u64, 0u8);
        let mut owed = 0i128;
        for act in history {
            let moment = moment(now, account.open().map(|_| Sighting::open(heard)));
            let before = account.remaining(&moment, POLICY.timeout);
            let act = match act {
                Do::Wait(ms) => { now = now.plus(Millis::new(ms)); None }
                Do::Heard => {
                    if matches!(account.standing(&moment, POLICY.timeout), Standing::Running { .. }) { heard = now; }
                    None
                }
                Do::Credit(ms) => {
                    let new = NewEntry {
                        kind: EntryKind::Grant, amount: Credit::from_ms(ms), source: Source::Admin,
                        external_id: rows.to_string(), reason: None,
                    };
                    Some(account.credit(&moment, &POLICY, new).unwrap())
                }
                Do::Refund(ms) => {
                    let new = NewEntry {
                        kind: EntryKind::Refund, amount: Credit::from_ms(ms).negated(), source: Source::Webhook,
                        external_id: rows.to_string(), reason: None,
                    };
                    let act = account.refund(&moment, &POLICY, new).unwrap();
                    let entry = act.entries.last().unwrap();
                    prop_assert_eq!(entry.amount.plus(entry.owed.negated()), Credit::from_ms(ms).negated());
                    prop_assert!(entry.amount <= Credit::ZERO && entry.owed >= Credit::ZERO);
                    prop_assert!(entry.owed == Credit::ZERO || before == entry.amount.negated().fuel(), "all of the tank");
                    Some(act)
                }
                Do::Activate => account.may_activate(&moment, &POLICY).ok().map(|_| {
                    sessions += 1;
                    account.activate(&moment, &POLICY, session(SessionId::from_bytes([sessions; 16]), now))
                }),
                Do::End => account.end(&moment, &POLICY, EndReason::Revoked),
                Do::Settle => account.settle(&moment, &POLICY),
            };
            let Some(act) = act else { continue };
            for entry in &act.entries {
                rows += 1;
                prop_assert_eq!(entry.number, rows);
                prop_assert!(entry.kind != EntryKind::Usage || entry.amount <= Credit::ZERO);
                sum += i128::from(entry.amount.as_ms());
                owed += i128::from(entry.owed.as_ms());
            }
            let version = account.version;
            account = account.after(&act);
            prop_assert_eq!((account.version, account.entries), (version + 1, rows));
            prop_assert_eq!(i128::from(account.balance.as_ms()), sum);
            prop_assert_eq!(i128::from(account.debt.as_ms()), owed);
            prop_assert!(account.debt >= Credit::ZERO && account.debt <= Credit::MAX);
            prop_assert!(account.balance >= Credit::ZERO && account.balance <= Credit::MAX);
            if act.opens.is_some() { heard = now; }
            if act.entries.iter().all(|entry| entry.kind == EntryKind::Usage) {
                // Writing down what was burned changes nothing of what is left.
                let moment = Moment { sighting: account.open().map(|_| Sighting::open(heard)), ..moment };
                prop_assert_eq!(account.remaining(&moment, POLICY.timeout), before);
            }
        }
    }

    #[test]
    fn the_account_and_the_hot_session_agree_on_what_is_left_at_every_instant(
        credit in 1_000i64..500_000, beats in prop::collection::vec((0..100_000u64, any::<u64>()), 0..8), look: u16,
    ) {
        let engine = engine();
        let account = credited(Account::new(AccountId::from_bytes([2; 16])), credit, "c");
        let act = account.activate(&moment(at(5), None), &POLICY, session(ID, at(5)));
        let account = account.after(&act);
        engine.apply(&account, &act, &moment(at(5), None));
        let mac = engine.secrets().session_key(&ID).unwrap().body_mac();
        let mut now = at(5);
        for (wait, clock) in beats {
            now = now.plus(Millis::new(wait));
            let state = StateBits::default();
            let kind = HeartbeatKind::Beat;
            engine.beat(&Heartbeat { kind, state, seq: 0, session: ID, clock: at(clock) }.sign(&mac), now);
        }
        now = now.plus(Millis::new(look.into()));
        let moment = moment(now, engine.sighting(&ID, now));
        let left = account.remaining(&moment, POLICY.timeout);
        match engine.verdict(&ID, &TokenHash::of(ID.as_bytes()), now) {
            Verdict::Valid { remaining } => prop_assert_eq!(remaining, left),
            Verdict::Invalid { reason } => {
                let Standing::Over(end) = account.standing(&moment, POLICY.timeout) else { panic!("it is over") };
                prop_assert_eq!(end.reason, reason);
            }
            Verdict::Unknown => panic!("it is known"),
        }
    }

    #[test]
    fn bytes_that_are_no_frame_of_ours_are_met_with_silence_and_change_nothing(
        bytes in prop::collection::vec(any::<u8>(), 0..100), flip in 0..FRAME_LEN * 8,
    ) {
        let engine = engine();
        let account = credited(Account::new(AccountId::from_bytes([2; 16])), 1_000_000, "c");
        let act = account.activate(&moment(at(0), None), &POLICY, session(ID, at(0)));
        engine.apply(&account.clone().after(&act), &act, &moment(at(0), None));
        let mac = engine.secrets().session_key(&ID).unwrap().body_mac();
        let state = StateBits::default();
        let stop = Heartbeat { kind: HeartbeatKind::Stop, state, seq: 0, session: ID, clock: at(50) };
        let mut flipped = stop.sign(&mac);
        flipped[flip / 8] ^= 1 << (flip % 8);
        let renew = Heartbeat { kind: HeartbeatKind::Renew, ..stop }.sign(&mac);
        let before = engine.sighting(&ID, at(60));
        for frame in [&bytes[..], &flipped, &renew] {
            prop_assert!(matches!(engine.beat(frame, at(60)), Beat::Silence(_)));
        }
        prop_assert_eq!(engine.sighting(&ID, at(60)), before);
    }

    #[test]
    fn frames_that_come_together_are_answered_as_if_they_had_come_one_by_one(
        picks in prop::collection::vec((0..40u8, 0..6u8, any::<u32>()), 0..150), wait in 0..200_000u64,
    ) {
        let (together, one_by_one) = (engine(), engine());
        for engine in [&together, &one_by_one] {
            // Every other session is there.
            for n in (0..40).step_by(2) {
                let account = credited(Account::new(AccountId::from_bytes([n; 16])), 100_000, "c");
                let act = account.activate(&moment(at(0), None), &POLICY, session(SessionId::from_bytes([n; 16]), at(0)));
                engine.apply(&account.after(&act), &act, &moment(at(0), None));
            }
        }
        let frames: Vec<Vec<u8>> = picks.into_iter().map(|(n, what, seq)| {
            let session = SessionId::from_bytes([n; 16]);
            let kind = if what == 0 { HeartbeatKind::Stop } else { HeartbeatKind::Beat };
            let state = StateBits::default();
            let mac = together.secrets().session_key(&session).map(|key| key.body_mac());
            let mac = mac.unwrap_or_else(|| SessionKey::from_bytes([1; 32]).body_mac());
            let mut frame = Heartbeat { kind, state, seq, session, clock: at(seq.into()) }.sign(&mac).to_vec();
            match what {
                1 => frame[47] ^= 1,
                2 => frame.truncate(seq as usize % 60),
                _ => {}
            }
            frame
        }).collect();
        let slices: Vec<&[u8]> = frames.iter().map(Vec::as_slice).collect();
        let mut told = Vec::new();
        together.beats(&slices, at(wait), |n, beat| told.push((n, format!("{beat:?}"))));
        let expected: Vec<_> =
            slices.iter().map(|frame| format!("{:?}", one_by_one.beat(frame, at(wait)))).enumerate().collect();
        prop_assert_eq!(told, expected);
    }

    #[test]
    fn an_engine_that_missed_an_act_and_is_told_the_outcome_says_the_same_as_one_that_saw_it(
        activates: bool, ends: bool, amount in -5_000i64..5_000, wait in 0..10_000u64, later in 0..200_000u64,
    ) {
        const SECOND: SessionId = SessionId::from_bytes([2; 16]);
        let (saw, missed) = (engine(), engine());
        let account = credited(Account::new(AccountId::from_bytes([2; 16])), 60_000, "c");
        let act = account.activate(&moment(at(0), None), &POLICY, session(ID, at(0)));
        let mut account = account.after(&act);
        for engine in [&saw, &missed] {
            engine.apply(&account, &act, &moment(at(0), None));
        }
        let then = moment(at(wait), Some(Sighting::open(at(0))));
        let act = match (activates, ends) {
            (true, _) => account.activate(&then, &POLICY, session(SECOND, at(wait))),
            (false, true) => account.end(&then, &POLICY, EndReason::Revoked).unwrap(),
            (false, false) => {
                let new = NewEntry {
                    kind: EntryKind::Grant, amount: Credit::from_ms(amount), source: Source::Admin,
                    external_id: "x".to_owned(), reason: None,
                };
                account.credit(&then, &POLICY, new).unwrap()
            }
        };
        account = account.after(&act);
        saw.apply(&account, &act, &then);
        missed.reconcile(&account, Some(ID), &then);
        missed.reconcile(&account, Some(ID), &then);
        for id in [ID, SECOND] {
            for now in [wait, wait + later] {
                let token = TokenHash::of(id.as_bytes());
                prop_assert_eq!(saw.verdict(&id, &token, at(now)), missed.verdict(&id, &token, at(now)));
            }
        }
        prop_assert_eq!(saw.live(), missed.live());
    }
}

#[test]
fn under_pressure_acks_ask_for_later_beats_and_never_later_than_a_third_of_the_time_out() {
    let policy = Policy { interval: Millis::from_secs(10), longest_interval: Millis::from_secs(30), ..POLICY };
    let secret = ClusterSecret::from_bytes([9; 32]);
    let mac = secret.session_key(&ID).body_mac();
    let engine = Engine::new(policy, SecretRing::new(SecretId::default(), secret), 100);
    let account = credited(Account::new(AccountId::from_bytes([2; 16])), 1_000_000_000, "c");
    let act = account.activate(&moment(at(0), None), &policy, session(ID, at(0)));
    engine.apply(&account.after(&act), &act, &moment(at(0), None));
    let next_beat_ms = || {
        let (kind, state) = (HeartbeatKind::Beat, StateBits::default());
        let frame = Heartbeat { kind, state, seq: 1, session: ID, clock: at(5) }.sign(&mac);
        let Beat::Answer { ack, .. } = engine.beat(&frame, at(5)) else { panic!("a good frame is answered") };
        u64::from(Ack::verify(ack.as_bytes(), &mac).unwrap().next_beat_100ms) * 100
    };
    let (calm, third) = (next_beat_ms(), policy.timeout.get() / 3);
    assert!(calm <= 10_000, "{calm}");
    for by in [PressedBy::Udp, PressedBy::Http] {
        engine.set_pressure(by, Pressure::FULL);
        let pressed = next_beat_ms();
        assert!(pressed > 10_000 && pressed <= third, "{by:?}: {pressed}");
        engine.set_pressure(by, Pressure::NONE);
        assert_eq!(next_beat_ms(), calm);
    }
}

/// Two threads do something to the same session at the same instant, for many sessions; answers what each was told.
fn race<A: Send, B: Send>(
    one: impl Fn(&HotSession) -> A + Sync,
    other: impl Fn(&HotSession) -> B + Sync,
) -> Vec<(A, B, State)> {
    const ROUNDS: usize = 20_000;
    let mac = ClusterSecret::from_bytes([9; 32]).session_key(&ID).body_mac();
    let start = || HotStart {
        account: AccountId::from_bytes([2; 16]),
        mac: mac.clone(),
        last_seen: at(10),
        runs_dry: at(1_000_000),
        tokens: (TokenHash::of(b"token"), None),
        token_expires: UnixMs::from_ms(1_000_000),
        status: None,
    };
    let sessions: Vec<HotSession> = (0..ROUNDS).map(|_| HotSession::new(start())).collect();
    let arrived = [AtomicUsize::new(0), AtomicUsize::new(0)];
    let meet = |me: usize, round: usize| {
        arrived[me].store(round + 1, Ordering::SeqCst);
        let mut spins = 0;
        while arrived[1 - me].load(Ordering::SeqCst) <= round {
            spins += 1;
            if spins < 10_000 { std::hint::spin_loop() } else { std::thread::yield_now() }
        }
    };
    let walk = |me: usize, visit: &mut dyn FnMut(&HotSession)| {
        for (round, session) in sessions.iter().enumerate() {
            meet(me, round);
            visit(session);
        }
    };
    let (mut first, mut second) = (Vec::new(), Vec::new());
    std::thread::scope(|scope| {
        scope.spawn(|| walk(0, &mut |session| first.push(one(session))));
        scope.spawn(|| walk(1, &mut |session| second.push(other(session))));
    });
    let lives = sessions.iter().map(|session| session.settle(at(91), RACE));
    first.into_iter().zip(second).zip(lives).map(|((a, b), life)| (a, b, life)).collect()
}

/// Last heard of at 10: vouched for until 90.
const RACE: Ending = Ending { timeout: Millis::new(80), alone: true };

#[test]
fn of_two_ends_at_the_same_instant_one_wins_and_both_are_told_which() {
    let raced = race(|session| session.end(at(80), RACE, EndReason::Revoked), |session| session.settle(at(91), RACE));
    for (ended, settled, state) in raced {
        assert!(matches!(ended, State::Ended { .. }));
        assert_eq!((settled, state), (ended, ended));
    }
}

#[test]
fn a_beat_in_the_last_instant_either_extends_the_session_for_everybody_or_for_nobody() {
    let raced = race(
        |session| session.beat(at(90), StateBits::default(), at(90), RACE),
        |session| session.settle(at(91), RACE),
    );
    for (beat, settled, life) in raced {
        assert_eq!((beat, settled), (life, life));
    }
}

#[test]
fn credit_pays_the_debt_of_a_refund_first_and_the_ledger_alone_says_so() {
    let entry = |kind, ms, name: &str| NewEntry {
        kind,
        amount: Credit::from_ms(ms),
        source: Source::Webhook,
        external_id: name.to_owned(),
        reason: None,
    };
    let idle = moment(at(0), None);
    let mut account = credited(Account::new(AccountId::from_bytes([2; 16])), 60_000, "c");
    let mut ledger = Vec::new();
    for (kind, ms, name) in [
        (EntryKind::Refund, -100_000, "refund"),
        (EntryKind::Purchase, 30_000, "p1"),
        (EntryKind::Purchase, 30_000, "p2"),
        (EntryKind::Purchase, 5_000, "p3"),
    ] {
        let new = entry(kind, ms, name);
        let act =
            if ms < 0 { account.refund(&idle, &POLICY, new) } else { account.credit(&idle, &POLICY, new) }.unwrap();
        ledger.extend(
            act.entries
                .iter()
                .map(|entry| (entry.kind, entry.amount.as_ms(), entry.owed.as_ms(), entry.external_id.clone())),
        );
        account = account.after(&act);
    }
    let row = |kind, amount, owed, name: &str| (kind, amount, owed, name.to_owned());
    assert_eq!(
        ledger,
        [
            row(EntryKind::Refund, -60_000, 40_000, "refund"),
            row(EntryKind::Purchase, 30_000, 0, "p1"),
            row(EntryKind::Repayment, -30_000, -30_000, "3"),
            row(EntryKind::Purchase, 30_000, 0, "p2"),
            row(EntryKind::Repayment, -10_000, -10_000, "5"),
            row(EntryKind::Purchase, 5_000, 0, "p3"),
        ]
    );
    assert_eq!((account.balance.as_ms(), account.debt), (25_000, Credit::ZERO));
}

#[test]
fn a_renewal_that_meets_an_end_leaves_no_token_good_in_the_list() {
    let size = ListSize::new(64).unwrap();
    let lists = StatusLists::default();
    let mac = ClusterSecret::from_bytes([9; 32]).session_key(&ID).body_mac();
    for round in 0..2_000 {
        let list = Arc::new(StatusList::new(ListId::from_bytes([1; 8]), size, &ListSeed::from_bytes([2; 32]), 0));
        lists.insert(Arc::clone(&list));
        list.grant(2);
        let (old, new) = (list.take().unwrap(), list.take().unwrap());
        let hot = HotSession::new(HotStart {
            account: AccountId::from_bytes([2; 16]),
            mac: mac.clone(),
            last_seen: at(10),
            runs_dry: at(1_000_000),
            tokens: (TokenHash::of(b"token"), None),
            token_expires: UnixMs::from_ms(1_000_000),
            status: lists.light(&old),
        });
        let tokens = Tokens { status: new, ..session(ID, at(0)).tokens };
        let barrier = std::sync::Barrier::new(2);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                barrier.wait();
                hot.retoken(
                    &tokens,
                    UnixMs::from_ms(1_000_000),
                    &lists,
                    Ending { timeout: POLICY.timeout, alone: true },
                );
            });
            barrier.wait();
            hot.end(at(20), Ending { timeout: POLICY.timeout, alone: true }, EndReason::Revoked);
        });
        assert_eq!((list.is_invalid(old.idx), list.is_invalid(new.idx)), (Some(true), Some(true)), "round {round}");
        assert_eq!(list.live(), 0);
    }
}
