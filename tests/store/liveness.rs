//! Checkpoints, the clock, and what a start finds.

use gastank::{
    engine::Act,
    time::{ClockFact, MeterTime, UnixMs},
    wire::EndReason,
};

use super::*;

pub(crate) async fn a_checkpoint_is_a_maximum(store: Subject) {
    let id = session_id(1, 3);
    let account = made(&store, 1).await;
    let account = done(&store, &account, &opening(&account, session(id, 1_000))).await;
    assert_eq!(recovered(&store).await, [(account.clone(), 1_000)], "the start stands in for a checkpoint");
    let steps: [(&[u64], u64); 6] = [
        (&[500], 1_000),
        (&[2_000], 2_000),
        (&[2_000], 2_000),
        (&[1_500], 2_000),
        (&[3_000, 2_500, 2_999], 3_000),
        (&[], 3_000),
    ];
    for (times, expected) in steps {
        let rows: Vec<_> = times.iter().map(|&at| row(id, at)).collect();
        store.checkpoint(3, &rows).await.expect("works");
        assert_eq!(recovered(&store).await, [(account.clone(), expected)], "after {times:?}");
    }
    assert_eq!(now(&store, &account.id).await, account, "a checkpoint is no act");
}

pub(crate) async fn a_checkpoint_for_a_session_that_is_over_or_unknown_changes_nothing(store: Subject) {
    let (over, open) = (session_id(1, 3), session_id(2, 3));
    let account = made(&store, 1).await;
    let account = done(&store, &account, &opening(&account, session(over, 1_000))).await;
    let account = done(&store, &account, &closing(&account, EndReason::TimedOut, 2_000)).await;
    let other = made(&store, 2).await;
    let other = done(&store, &other, &opening(&other, session(open, 1_500))).await;

    let rows = [row(over, 9_000), row(open, 4_000), row(session_id(9, 3), 8_000)];
    store.checkpoint(3, &rows).await.expect("works");
    assert_eq!(recovered(&store).await, [(other, 4_000)]);
    assert_eq!(now(&store, &account.id).await, account);
    assert_eq!(
        store.session(&over).await.expect("works").expect("remembered").end,
        Some(end(EndReason::TimedOut, 2_000))
    );
    assert_eq!(store.session(&session_id(9, 3)).await.expect("works"), None);
    assert_eq!(alive(&store).await, Some(4_000), "what changed nothing does not move the clock either");
}

pub(crate) async fn a_new_session_does_not_inherit_the_old_ones_checkpoint(store: Subject) {
    let account = made(&store, 1).await;
    let account = done(&store, &account, &opening(&account, session(session_id(1, 3), 1_000))).await;
    store.checkpoint(3, &[row(session_id(1, 3), 5_000)]).await.expect("works");
    let act = Act { opens: Some(session(session_id(2, 3), 2_000)), ..closing(&account, EndReason::Superseded, 2_000) };
    let account = done(&store, &account, &act).await;
    assert_eq!(recovered(&store).await, [(account, 2_000)]);
}

pub(crate) async fn recovery_finds_exactly_the_open_sessions(store: Subject) {
    let mut open = Vec::new();
    for n in 0..60 {
        let account = made(&store, n).await;
        let id = session_id(n, n % 4 * 85);
        let account = done(&store, &account, &opening(&account, session(id, u64::from(n)))).await;
        match n % 3 {
            0 => {
                done(&store, &account, &closing(&account, EndReason::Revoked, 100)).await;
            }
            1 => {
                store.checkpoint(n % 4 * 85, &[row(id, 1_000 + u64::from(n))]).await.expect("works");
                open.push((account, 1_000 + u64::from(n)));
            }
            _ => open.push((account, u64::from(n))),
        }
    }
    assert_eq!(recovered(&store).await, open);
}

pub(crate) async fn the_clock_keeps_its_maximum(store: Subject) {
    assert_eq!(store.clock().await.expect("works"), None);
    let fact = |last_alive, at| ClockFact { last_alive: MeterTime::from_ms(last_alive), wall: UnixMs::from_ms(at) };
    for (kept, expected) in [
        (fact(1_000, 50), fact(1_000, 50)),
        (fact(1_000, 50), fact(1_000, 50)),
        (fact(999, 60), fact(1_000, 50)),
        // The wall clock may step back; the meter goes on.
        (fact(2_000, 40), fact(2_000, 40)),
        (fact(0, 99), fact(2_000, 40)),
    ] {
        store.keep_clock(kept).await.expect("works");
        assert_eq!(store.clock().await.expect("works"), Some(expected));
    }
}

pub(crate) async fn the_clock_is_no_earlier_than_any_act_or_checkpoint(store: Subject) {
    let id = session_id(1, 3);
    let account = made(&store, 1).await;
    let account = done(&store, &account, &opening(&account, session(id, 1_000))).await;
    assert!(alive(&store).await >= Some(1_000));
    store.checkpoint(3, &[row(id, 7_000), row(id, 6_000)]).await.expect("works");
    assert!(alive(&store).await >= Some(7_000));
    let account = done(&store, &account, &closing(&account, EndReason::Deactivated, 8_000)).await;
    assert!(alive(&store).await >= Some(8_000));
    let late = alive(&store).await;
    done(&store, &account, &opening(&account, session(session_id(2, 3), 500))).await;
    assert_eq!(alive(&store).await, late, "never backwards");
    let earlier = ClockFact { last_alive: MeterTime::from_ms(7_999), wall: wall(7_999) };
    store.keep_clock(earlier).await.expect("works");
    assert_eq!(alive(&store).await, late, "never backwards");
}
