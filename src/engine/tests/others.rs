//! What an engine promises as one of many.

use super::*;

#[test]
fn among_others_a_session_that_has_lapsed_is_in_doubt_until_it_is_heard_of_or_its_end_is_committed() {
    let engine = engine().among_others();
    let account = credited(Account::new(AccountId::from_bytes([2; 16])), 1_000_000, "c");
    let opening = account.activate(&moment(at(0), None), &POLICY, session(ID, at(0)));
    let account = account.after(&opening);
    engine.apply(&account, &opening, &moment(at(0), None));
    let (token, timeout) = (TokenHash::of(ID.as_bytes()), POLICY.timeout.get());
    assert!(matches!(engine.verdict(&ID, &token, at(timeout)), Verdict::Valid { .. }));

    let late = at(timeout + 1);
    assert_eq!(engine.verdict(&ID, &token, late), Verdict::Unknown);
    assert!(engine.doubts(&ID, late) && engine.is_unsure(&ID));
    let key = engine.secrets().session_key(&ID).unwrap().body_mac();
    let beat = Heartbeat { kind: HeartbeatKind::Beat, state: Default::default(), seq: 1, session: ID, clock: late };
    let Beat::Answer { verdict, then, .. } = engine.beat(&beat.sign(&key), late) else { panic!("a good frame") };
    assert_eq!((verdict, then), (WireVerdict::Unknown, Then::LookUp(ID)));
    assert!(engine.doubts(&ID, late), "a beat that comes too late decides nothing");

    engine.hear(&[Checkpoint { session: ID, last_seen: at(30_000) }], late, Millis::ZERO);
    assert!(matches!(engine.verdict(&ID, &token, late), Verdict::Valid { .. }));
    let over = at(30_000 + timeout + 1);
    let sighting = engine.sighting(&ID, over);
    let settle = account.settle(&moment(over, sighting), &POLICY).unwrap();
    assert_eq!(engine.verdict(&ID, &token, over), Verdict::Unknown, "it is not said before it is committed");
    engine.apply(&account.after(&settle), &settle, &moment(over, sighting));
    assert_eq!(engine.verdict(&ID, &token, over), Verdict::Invalid { reason: EndReason::TimedOut });
    assert_eq!((engine.live(), engine.held_of(&AccountId::from_bytes([2; 16]))), (0, None));
}

#[test]
fn among_others_a_stop_is_not_told_before_it_is_committed() {
    let engine = engine().among_others();
    let account = credited(Account::new(AccountId::from_bytes([2; 16])), 1_000_000, "c");
    let opening = account.activate(&moment(at(0), None), &POLICY, session(ID, at(0)));
    let account = account.after(&opening);
    engine.apply(&account, &opening, &moment(at(0), None));
    let (token, now) = (TokenHash::of(ID.as_bytes()), at(1_000));
    let key = engine.secrets().session_key(&ID).unwrap().body_mac();
    let told = |kind| {
        let frame = Heartbeat { kind, state: Default::default(), seq: 1, session: ID, clock: now };
        let Beat::Answer { verdict, then, .. } = engine.beat(&frame.sign(&key), now) else { panic!("a good frame") };
        (verdict, then)
    };
    // Its ack is sent once the store has the end.
    let stopped = (WireVerdict::Invalid(EndReason::Deactivated), Then::Settle(AccountId::from_bytes([2; 16])));
    assert_eq!(told(HeartbeatKind::Stop), stopped);
    // The store does not answer. Should this node die now, the session goes on at the others.
    assert_eq!(told(HeartbeatKind::Beat), (WireVerdict::Unknown, Then::LookUp(ID)));
    assert_eq!(engine.verdict(&ID, &token, now), Verdict::Unknown);
    assert!(engine.doubts(&ID, now));
    assert_eq!(told(HeartbeatKind::Stop), stopped, "asked again, it is tried again");

    let sighting = engine.sighting(&ID, now);
    let settle = account.settle(&moment(now, sighting), &POLICY).unwrap();
    engine.apply(&account.after(&settle), &settle, &moment(now, sighting));
    assert_eq!(told(HeartbeatKind::Beat), (WireVerdict::Invalid(EndReason::Deactivated), Then::Done));
    assert_eq!(engine.verdict(&ID, &token, now), Verdict::Invalid { reason: EndReason::Deactivated });
}

#[test]
fn a_node_that_ends_a_session_before_it_hears_of_a_refund_elsewhere_overdraws_no_tank() {
    let engine = engine().among_others();
    let account = credited(Account::new(AccountId::from_bytes([2; 16])), 10_000, "c");
    let opening = account.activate(&moment(at(0), None), &POLICY, session(ID, at(0)));
    let account = account.after(&opening);
    engine.apply(&account, &opening, &moment(at(0), None));
    // Another node takes all that is left at 4 s. This one has not heard of it when the client stops at 7 s.
    let refund = NewEntry {
        kind: EntryKind::Refund,
        amount: Credit::from_ms(-9_000),
        source: Source::Admin,
        external_id: "refund".to_owned(),
        reason: None,
    };
    let elsewhere = account.refund(&moment(at(4_000), None), &POLICY, refund).unwrap();
    let account = account.after(&elsewhere);
    assert_eq!((account.balance, account.open().is_some()), (Credit::from_ms(4_000), true));
    let key = engine.secrets().session_key(&ID).unwrap().body_mac();
    let now = at(7_000);
    let frame = Heartbeat { kind: HeartbeatKind::Stop, state: Default::default(), seq: 1, session: ID, clock: now };
    engine.beat(&frame.sign(&key), now);

    let settle = account.settle(&moment(now, engine.sighting(&ID, now)), &POLICY).unwrap();
    let end = settle.closes.unwrap().1;
    assert_eq!((end.at, end.reason), (at(4_000), EndReason::Deactivated));
    assert_eq!(account.after(&settle).balance, Credit::ZERO);
}

#[test]
fn what_the_store_does_not_know_and_what_this_node_has_not_heard_is_found_before_it_matters() {
    let engine = engine().among_others();
    let account = credited(Account::new(AccountId::from_bytes([2; 16])), 1_000_000, "c");
    let opening = account.activate(&moment(at(0), None), &POLICY, session(ID, at(0)));
    engine.apply(&account.after(&opening), &opening, &moment(at(0), None));
    let all = |found: &dyn Fn(usize) -> usize| (0..SLICES).map(found).sum::<usize>();
    let ahead = Millis::from_secs(5);
    let (early, near) = (at(POLICY.timeout.get() - 5_001), at(POLICY.timeout.get() - 5_000));
    assert_eq!(all(&|slice| engine.quiet(slice, early, ahead).len()), 0);
    assert_eq!(all(&|slice| engine.quiet(slice, near, ahead).len()), 1);
    let key = engine.secrets().session_key(&ID).unwrap().body_mac();
    let beat = Heartbeat { kind: HeartbeatKind::Beat, state: Default::default(), seq: 1, session: ID, clock: early };
    engine.beat(&beat.sign(&key), early);
    assert_eq!(all(&|slice| engine.quiet(slice, near, ahead).len()), 0);
    assert_eq!(all(&|slice| engine.pressing(slice, early, ahead).len()), 0);
    assert_eq!(all(&|slice| engine.pressing(slice, near, ahead).len()), 1);
    engine.checkpointed(&[Checkpoint { session: ID, last_seen: early }]);
    assert_eq!(all(&|slice| engine.pressing(slice, near, ahead).len()), 0);
}

#[test]
fn a_checkpoint_further_ahead_than_meters_differ_vouches_for_nobody() {
    let engine = engine().among_others();
    let account = credited(Account::new(AccountId::from_bytes([2; 16])), 1_000_000, "c");
    let opening = account.activate(&moment(at(0), None), &POLICY, session(ID, at(0)));
    engine.apply(&account.after(&opening), &opening, &moment(at(0), None));
    let (now, differ) = (at(10_000), Millis::from_secs(3));
    let seen = || engine.report(&ID).map(|report| report.last_seen);
    engine.hear(&[Checkpoint { session: ID, last_seen: at(13_001) }], now, differ);
    assert_eq!(seen(), Some(at(0)), "it is not taken for now");
    engine.hear(&[Checkpoint { session: ID, last_seen: at(13_000) }], now, differ);
    assert_eq!(seen(), Some(now));
}

#[test]
fn what_the_store_keeps_from_an_era_before_is_written_again() {
    let engine = engine().among_others();
    let account = credited(Account::new(AccountId::from_bytes([2; 16])), 1_000_000, "c");
    let opening = account.activate(&moment(at(0), None), &POLICY, session(ID, at(0)));
    engine.restore(&account.after(&opening), at(5_000), &moment(at(9_000), None));
    let dirty = || (0..SLICES).flat_map(|slice| engine.sweep(slice, at(9_000), true).dirty).collect::<Vec<_>>();
    assert_eq!(dirty(), []);
    engine.doubt_checkpoints();
    let kept = [Checkpoint { session: ID, last_seen: at(5_000) }];
    assert_eq!(dirty(), kept);
    engine.checkpointed(&kept);
    assert_eq!(dirty(), []);
}

#[test]
fn among_others_a_list_says_that_a_session_is_over_when_its_end_is_committed() {
    let engine = engine().among_others();
    let list = Arc::new(StatusList::new(
        ListId::from_bytes([1; 8]),
        ListSize::new(64).unwrap(),
        &ListSeed::from_bytes([2; 32]),
        0,
    ));
    list.grant(1);
    engine.lists().insert(Arc::clone(&list));
    let status = list.take().unwrap();
    let account = credited(Account::new(AccountId::from_bytes([2; 16])), 1_000_000, "c");
    let mut opened = session(ID, at(0));
    opened.tokens.status = status;
    let opening = account.activate(&moment(at(0), None), &POLICY, opened);
    let account = account.after(&opening);
    engine.apply(&account, &opening, &moment(at(0), None));
    let key = engine.secrets().session_key(&ID).unwrap().body_mac();
    let stop = Heartbeat { kind: HeartbeatKind::Stop, state: Default::default(), seq: 1, session: ID, clock: at(5) };
    let Beat::Answer { verdict, .. } = engine.beat(&stop.sign(&key), at(5)) else { panic!("a good frame") };
    assert_eq!(verdict, WireVerdict::Invalid(EndReason::Deactivated));
    assert_eq!(list.is_invalid(status.idx), Some(false), "the end may never be committed");

    let sighting = engine.sighting(&ID, at(5));
    let settle = account.settle(&moment(at(5), sighting), &POLICY).unwrap();
    engine.apply(&account.after(&settle), &settle, &moment(at(5), sighting));
    assert_eq!(list.is_invalid(status.idx), Some(true));
}
