//! One case for every sentence of the text of a store that many nodes share. Each gets a store of its own, empty.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use gastank::{
    cluster::{ClusterSettings, Member},
    engine::{Checkpoint, ListId},
    entropy::OsEntropy,
    store::{Begun, Change, ClusterStore, Era, ListCopy, ListOwner, NodeId, NodeLease, Removed, change_slot},
    time::{Clock, ClockFact, MeterClock, MeterTime, UnixMs},
    wire::{EndReason, SessionId},
};

use crate::store::*;

/// A store under test that nodes share.
pub(crate) type Shared = Arc<dyn ClusterStore>;

/// Calls the macro `$run` with the names of all cases. A case that is not named here does not compile: it is dead code.
macro_rules! node_cases {
    ($run:ident) => {
        $run! {
            leases_come_are_renewed_and_go,
            an_era_follows_the_one_before,
            of_fifty_nodes_one_begins_an_era,
            who_joins_one_that_was_suspended_goes_on_from_what_the_others_had_reached,
            changes_are_read_by_slot_and_instant,
            a_change_told_twice_is_one,
            changes_of_many_nodes_at_once_are_all_there,
            what_was_heard_is_the_checkpoints_of_open_sessions,
            what_a_node_of_an_era_before_has_written_is_not_the_last_word,
            a_checkpoint_beyond_what_any_node_has_shown_does_not_move_the_clock,
            a_status_list_has_one_owner_after_the_other,
            of_fifty_nodes_one_owns_a_status_list,
            what_is_said_of_a_list_is_what_its_latest_owner_said_last,
            a_closed_store_has_no_nodes,
        }
    };
}

const fn at(ms: u64) -> MeterTime {
    MeterTime::from_ms(ms)
}

fn node(n: u8) -> NodeId {
    NodeId::from_bytes([n; 16])
}

fn lease(n: u8, renewals: u64) -> NodeLease {
    let (meter, told_until) = (at(1_000 * renewals), at(900 * renewals));
    let (name, is_behind, wall) = (format!("node {n}"), renewals.is_multiple_of(2), wall(renewals));
    NodeLease { node: node(n), name, era: 1, renewals, meter, told_until, is_behind, wall }
}

fn change(ms: u64, n: u8, version: u64) -> Change {
    let open = (version > 1).then(|| session_id(n, 7));
    Change { at: at(ms), account: account_id(n), version, node: node(n), open }
}

async fn nodes(store: &Shared) -> Vec<NodeLease> {
    let mut nodes = store.nodes().await.expect("works");
    nodes.sort_by_key(|lease| lease.node);
    nodes
}

async fn changes(store: &Shared, slot: u64, from: u64) -> Vec<Change> {
    let mut changes = store.changes(slot, at(from)).await.expect("works");
    changes.sort();
    changes
}

pub(crate) async fn leases_come_are_renewed_and_go(store: Shared) {
    assert_eq!(nodes(&store).await, []);
    for lease in [lease(1, 1), lease(2, 1), lease(1, 2), lease(1, 2)] {
        store.put_node(&lease).await.expect("works");
    }
    assert_eq!(nodes(&store).await, [lease(1, 2), lease(2, 1)]);
    // The wall clock has stepped back, and that changes nothing.
    let stepped = NodeLease { wall: UnixMs::from_ms(3), ..lease(1, 3) };
    store.put_node(&stepped).await.expect("works");
    assert_eq!(nodes(&store).await, [stepped.clone(), lease(2, 1)]);
    assert_eq!(store.remove_node(&node(2)).await.expect("works"), Removed::Done);
    assert_eq!(store.remove_node(&node(2)).await.expect("works"), Removed::NotThere);
    assert_eq!(nodes(&store).await, [stepped]);
}

pub(crate) async fn an_era_follows_the_one_before(store: Shared) {
    let era = |number, n| Era { number, began: at(number * 5_000), by: node(n) };
    assert_eq!(store.era().await.expect("works"), None);
    assert_eq!(store.begin_era(&era(2, 1)).await.expect("works"), Begun::NotNext, "the first is number 1");
    assert_eq!(store.era().await.expect("works"), None);
    assert_eq!(store.begin_era(&era(1, 1)).await.expect("works"), Begun::Ours);
    assert_eq!(store.begin_era(&era(1, 1)).await.expect("works"), Begun::Ours, "asked again");
    assert_eq!(store.begin_era(&era(1, 2)).await.expect("works"), Begun::NotNext, "somebody else was faster");
    assert_eq!(store.begin_era(&era(3, 2)).await.expect("works"), Begun::NotNext, "one is missing");
    assert_eq!(store.era().await.expect("works"), Some(era(1, 1)));
    assert_eq!(store.begin_era(&era(2, 2)).await.expect("works"), Begun::Ours);
    assert_eq!(store.begin_era(&era(1, 1)).await.expect("works"), Begun::NotNext, "it is over");
    assert_eq!(store.era().await.expect("works"), Some(era(2, 2)));
}

pub(crate) async fn of_fifty_nodes_one_begins_an_era(store: Shared) {
    let racers: Vec<_> = (0..50)
        .map(|n| {
            let store = Arc::clone(&store);
            let era = Era { number: 1, began: at(0), by: node(n) };
            tokio::spawn(async move { (store.begin_era(&era).await.expect("works") == Begun::Ours).then_some(era) })
        })
        .collect();
    let mut won = Vec::new();
    for racer in racers {
        won.extend(racer.await.expect("no panic"));
    }
    assert_eq!(won.len(), 1);
    assert_eq!(store.era().await.expect("works"), Some(won[0]));
}

pub(crate) async fn who_joins_one_that_was_suspended_goes_on_from_what_the_others_had_reached(store: Shared) {
    let era = Era { number: 1, began: at(0), by: node(1) };
    assert_eq!(store.begin_era(&era).await.expect("works"), Begun::Ours);
    // Node 1 was killed, node 2 comes back on its meter of old. The others went on without node 4 and its hour.
    store.put_node(&lease(1, 20)).await.expect("works");
    store.put_node(&NodeLease { era: 0, ..lease(4, 3_600) }).await.expect("works");
    let comes_back = async {
        for renewals in 7.. {
            store.put_node(&NodeLease { meter: at(7_000), ..lease(2, renewals) }).await.expect("works");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let meter = Arc::new(MeterClock::resume(None));
    let shown = Arc::clone(&meter);
    let settings = ClusterSettings::default();
    let joining = Member::join("node 3".to_owned(), Arc::clone(&store), meter, &OsEntropy, settings, async { Ok(()) });
    let joined = tokio::select! {
        () = comes_back => unreachable!("it does so for ever"),
        joined = joining => joined.expect("a node lives"),
    };
    assert_eq!(joined.era(), era.number);
    assert!((at(20_000)..at(1_000_000)).contains(&shown.now()), "{}", shown.now());
}

pub(crate) async fn changes_are_read_by_slot_and_instant(store: Shared) {
    let told = [change(0, 1, 1), change(9_999, 2, 2), change(10_000, 1, 2), change(10_500, 3, 9), change(25_000, 1, 3)];
    for change in &told {
        store.announce(change).await.expect("works");
    }
    assert_eq!(told.map(|change| change.slot()), [0, 0, 1, 1, 2]);
    assert_eq!(changes(&store, 0, 0).await, told[..2]);
    assert_eq!(changes(&store, 0, 1).await, told[1..2]);
    assert_eq!(changes(&store, 1, 0).await, told[2..4]);
    assert_eq!(changes(&store, 1, 10_000).await, told[2..4]);
    assert_eq!(changes(&store, 1, 10_001).await, told[3..4]);
    assert_eq!(changes(&store, 1, 99_000).await, []);
    assert_eq!(changes(&store, 3, 0).await, []);
}

pub(crate) async fn a_change_told_twice_is_one(store: Shared) {
    let one = change(5, 1, 2);
    let others = [Change { node: node(9), ..one }, Change { version: 3, ..one }, Change { at: at(6), ..one }];
    for change in [one, one].iter().chain(&others) {
        store.announce(change).await.expect("works");
    }
    let mut expected = vec![one];
    expected.extend(others);
    expected.sort();
    assert_eq!(changes(&store, change_slot(one.at), 0).await, expected);
}

pub(crate) async fn changes_of_many_nodes_at_once_are_all_there(store: Shared) {
    let tellers: Vec<_> = (0..50)
        .map(|n| {
            let store = Arc::clone(&store);
            tokio::spawn(async move { store.announce(&change(77, n, 1)).await.expect("works") })
        })
        .collect();
    for teller in tellers {
        teller.await.expect("no panic");
    }
    assert_eq!(changes(&store, 0, 77).await.len(), 50);
}

pub(crate) async fn what_was_heard_is_the_checkpoints_of_open_sessions(store: Shared) {
    let subject: Subject = Arc::<dyn ClusterStore>::clone(&store);
    let heard = async |sessions: &[SessionId]| -> Vec<(SessionId, u64)> {
        let found = store.heard(5, sessions).await.expect("works");
        let found: BTreeSet<Checkpoint> = found.into_iter().collect();
        found.into_iter().map(|row| (row.session, row.last_seen.as_ms())).collect()
    };
    let [one, two, three, nobody] = [1, 2, 3, 4].map(|n| session_id(n, 5));
    assert_eq!(heard(&[one, two]).await, []);
    let mut accounts = Vec::new();
    for (n, id) in [(1, one), (2, two), (3, three)] {
        let account = made(&subject, n).await;
        accounts.push(done(&subject, &account, &opening(&account, session(id, 100))).await);
    }
    assert_eq!(heard(&[one, two, three, nobody]).await, [(one, 100), (two, 100), (three, 100)]);
    store.checkpoint(5, &[row(one, 700), row(three, 300)]).await.expect("works");
    assert_eq!(heard(&[one, two]).await, [(one, 700), (two, 100)]);
    done(&subject, &accounts[0], &closing(&accounts[0], EndReason::Deactivated, 800)).await;
    assert_eq!(heard(&[one, two, three]).await, [(two, 100), (three, 300)]);
    store.checkpoint(5, &[row(one, 900)]).await.expect("works");
    assert_eq!(heard(&[one]).await, [], "a late checkpoint brings nothing back");
    assert_eq!(heard(&[]).await, []);
}

pub(crate) async fn what_a_node_of_an_era_before_has_written_is_not_the_last_word(store: Shared) {
    let subject: Subject = Arc::<dyn ClusterStore>::clone(&store);
    let id = session_id(1, 5);
    let heard = async || store.heard(5, &[id]).await.expect("works").first().map(|row| row.last_seen.as_ms());
    let keep = async |ms| {
        let fact = ClockFact { last_alive: at(ms), wall: wall(ms) };
        store.keep_clock(fact).await.expect("works");
    };
    store.enter(1);
    let account = made(&subject, 1).await;
    let account = done(&subject, &account, &opening(&account, session(id, 1_000))).await;
    // It was suspended, and its clock was not: its meter is a minute ahead of that of the nodes which went on.
    store.checkpoint(5, &[row(id, 61_000)]).await.expect("works");
    keep(61_000).await;
    assert_eq!((heard().await, alive(&subject).await), (Some(61_000), Some(61_000)));
    store.enter(2);
    store.checkpoint(5, &[row(id, 2_000)]).await.expect("works");
    keep(2_500).await;
    assert_eq!((heard().await, alive(&subject).await), (Some(2_000), Some(2_500)));
    store.checkpoint(5, &[row(id, 3_000), row(id, 2_900)]).await.expect("works");
    keep(2_400).await;
    assert_eq!((heard().await, alive(&subject).await), (Some(3_000), Some(3_000)), "of one era, the greatest stays");
    done(&subject, &account, &closing(&account, EndReason::Deactivated, 3_500)).await;
    assert_eq!(heard().await, None, "its end is an end in every era");
}

pub(crate) async fn a_checkpoint_beyond_what_any_node_has_shown_does_not_move_the_clock(store: Shared) {
    let subject: Subject = Arc::<dyn ClusterStore>::clone(&store);
    let era = Era { number: 1, began: at(0), by: node(1) };
    assert_eq!(store.begin_era(&era).await.expect("works"), Begun::Ours);
    let account = made(&subject, 1).await;
    let account = done(&subject, &account, &opening(&account, session(session_id(1, 5), 1_000))).await;
    store.put_node(&lease(1, 9)).await.expect("works");
    store.put_node(&NodeLease { era: 0, ..lease(2, 90) }).await.expect("works");
    store.checkpoint(5, &[row(session_id(1, 5), 11_000)]).await.expect("works");
    assert_eq!(alive(&subject).await, Some(11_000), "meters differ by so much");
    let other = made(&subject, 2).await;
    done(&subject, &other, &opening(&other, session(session_id(2, 5), 1_500))).await;
    store.checkpoint(5, &[row(session_id(2, 5), 80_000)]).await.expect("works");
    assert_eq!(alive(&subject).await, Some(11_000));
    // Nor when its session ends.
    done(&subject, &account, &closing(&account, EndReason::Deactivated, 11_500)).await;
    let other = now(&subject, &other.id).await;
    done(&subject, &other, &closing(&other, EndReason::Deactivated, 12_000)).await;
    assert_eq!(alive(&subject).await, Some(12_000));
}

pub(crate) async fn a_status_list_has_one_owner_after_the_other(store: Shared) {
    let [one, other] = [1, 2].map(|n| ListId::from_bytes([n; 8]));
    let owner = |list, term, n| ListOwner { list, term, node: node(n) };
    let owners = async || {
        let mut owners = store.list_owners().await.expect("works");
        owners.sort_by_key(|owner| owner.list);
        owners
    };
    assert_eq!(owners().await, []);
    assert_eq!(store.own_list(&owner(one, 2, 1)).await.expect("works"), Begun::NotNext, "the first term is number 1");
    assert_eq!(store.own_list(&owner(one, 1, 1)).await.expect("works"), Begun::Ours);
    assert_eq!(store.own_list(&owner(one, 1, 1)).await.expect("works"), Begun::Ours, "asked again");
    assert_eq!(store.own_list(&owner(one, 1, 2)).await.expect("works"), Begun::NotNext, "somebody else was faster");
    assert_eq!(store.own_list(&owner(one, 3, 2)).await.expect("works"), Begun::NotNext, "one is missing");
    assert_eq!(store.own_list(&owner(other, 1, 2)).await.expect("works"), Begun::Ours);
    assert_eq!(owners().await, [owner(one, 1, 1), owner(other, 1, 2)]);
    assert_eq!(store.own_list(&owner(one, 2, 2)).await.expect("works"), Begun::Ours);
    assert_eq!(store.own_list(&owner(one, 1, 1)).await.expect("works"), Begun::NotNext, "its term is over");
    assert_eq!(owners().await, [owner(one, 2, 2), owner(other, 1, 2)]);
    store.disown_list(&one).await.expect("works");
    store.disown_list(&one).await.expect("works");
    assert_eq!(owners().await, [owner(other, 1, 2)]);
}

pub(crate) async fn of_fifty_nodes_one_owns_a_status_list(store: Shared) {
    let list = ListId::from_bytes([7; 8]);
    let racers: Vec<_> = (0..50)
        .map(|n| {
            let store = Arc::clone(&store);
            let owner = ListOwner { list, term: 1, node: node(n) };
            tokio::spawn(async move { (store.own_list(&owner).await.expect("works") == Begun::Ours).then_some(owner) })
        })
        .collect();
    let mut won = Vec::new();
    for racer in racers {
        won.extend(racer.await.expect("no panic"));
    }
    assert_eq!(won.len(), 1);
    assert_eq!(store.list_owners().await.expect("works"), won);
}

pub(crate) async fn what_is_said_of_a_list_is_what_its_latest_owner_said_last(store: Shared) {
    let list = ListId::from_bytes([1; 8]);
    // As many bytes as a list of usual size takes when half of its tokens have ended.
    let copy = |term, ms, byte| ListCopy { list, term, as_of: at(ms), bits: vec![byte; 1 << 17].into() };
    let put = async |copy: &ListCopy| store.put_list_copy(copy, Duration::from_secs(60)).await.expect("works");
    let said = async || store.list_copy(&list).await.expect("works");
    assert_eq!(said().await, None);
    for (told, expected) in [
        (copy(1, 5_000, 1), copy(1, 5_000, 1)),
        (copy(1, 5_000, 1), copy(1, 5_000, 1)),
        (copy(1, 6_000, 2), copy(1, 6_000, 2)),
        (copy(1, 5_500, 3), copy(1, 6_000, 2)),
        // The meter of the next owner may be a little behind.
        (copy(2, 5_900, 4), copy(2, 5_900, 4)),
        // Who was suspended comes back, and does not know yet.
        (copy(1, 90_000, 5), copy(2, 5_900, 4)),
    ] {
        put(&told).await;
        assert_eq!(said().await, Some(expected));
    }
    assert_eq!(store.list_copy(&ListId::from_bytes([2; 8])).await.expect("works"), None);
}

pub(crate) async fn a_closed_store_has_no_nodes(store: Shared) {
    store.close().await.expect("works");
    assert!(store.nodes().await.is_err());
    assert!(store.put_node(&lease(1, 1)).await.is_err());
    assert!(store.announce(&change(1, 1, 1)).await.is_err());
    assert!(store.heard(1, &[session_id(1, 1)]).await.is_err());
}
