//! What a node knows of the others: their leases, as it has seen them change.
//!
//! No clock in a lease decides anything. A lease says that its node lives by changing, and is looked at by the reader's own monotonic
//! clock, in *ticks*.

use std::collections::BTreeMap;

use crate::{
    store::{NodeId, NodeLease},
    time::{MeterTime, Millis, UnixMs},
};

/// How many renewals that turn up after this node woke cannot all have been written before.
const CERTAINLY: u64 = 3;

/// A node has found out that it was frozen or suspended.
#[derive(Debug)]
pub(super) struct Woke {
    /// The others that had not left, and how often they had renewed their leases. Who is taken for dead may be cut off.
    pub(super) there: BTreeMap<NodeId, u64>,
    /// What a meter that has not stood still showed then, at the least, as far as this node knows.
    pub(super) meter: MeterTime,
}

impl Woke {
    /// Whether a lease that had been renewed `was` times then was renewed later. What has just turned up may have been written
    /// before all the same, and have reached too few servers to be seen at once: it shows a meter of that time.
    const fn is_after(&self, lease: &NodeLease, was: u64) -> bool {
        let shows_now = lease.is_behind || lease.meter.as_ms() >= self.meter.as_ms();
        lease.renewals > was && (shows_now || lease.renewals - was >= CERTAINLY)
    }
}

/// What is known of the meters of the others since this node was frozen.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Shown {
    /// One that lives has not shown its meter yet.
    Waits,
    /// All have, and none can be ahead that has not.
    All,
    /// One has not, and is taken for dead; all that have were frozen as well. It may be cut off from the store, and further.
    NotByTheDead,
}

/// The other nodes' leases.
#[derive(Default)]
pub(super) struct Others {
    seen: BTreeMap<NodeId, Seen>,
    /// When they were last read, in ticks.
    read: Millis,
}

struct Seen {
    lease: NodeLease,
    /// When it was last seen to change, or first seen, in ticks.
    since: Millis,
    /// How often it was seen to change.
    changes: u64,
}

impl Others {
    /// Takes note of what the store has. Where nothing was read for longer than `blind`, nobody's silence says anything:
    /// they may have had no store to write to either, and go on to hear heartbeats.
    pub(super) fn see(&mut self, leases: Vec<NodeLease>, me: NodeId, ticks: Millis, blind: Millis) {
        let was_blind = ticks.minus(self.read) > blind;
        let mut seen = BTreeMap::new();
        for lease in leases.into_iter().filter(|lease| lease.node != me) {
            let now_seen = match self.seen.remove(&lease.node) {
                // A renewal that too few servers have is seen by some readings and not by others.
                Some(known) if lease.renewals <= known.lease.renewals => {
                    Seen { since: if was_blind { ticks } else { known.since }, ..known }
                }
                Some(known) => Seen { lease, since: ticks, changes: known.changes + 1 },
                None => Seen { lease, since: ticks, changes: 0 },
            };
            seen.insert(now_seen.lease.node, now_seen);
        }
        (self.seen, self.read) = (seen, ticks);
    }

    /// How many leases there are.
    pub(super) fn len(&self) -> usize {
        self.seen.len()
    }

    /// How far the wall clock of a node that shows `meter` and `wall` is ahead of those of the others of its era that
    /// live, in milliseconds: of half of them at the least. Meters agree, so they tell what was written when.
    pub(super) fn skew(&self, era: u64, meter: MeterTime, wall: UnixMs, ticks: Millis, dead_after: Millis) -> i64 {
        let ahead = |wall: UnixMs, meter: MeterTime| wall.as_ms().cast_signed() - meter.as_ms().cast_signed();
        let mine = ahead(wall, meter);
        let others = self.living(era, ticks, dead_after).map(|lease| mine - ahead(lease.wall, lease.meter));
        let mut others: Vec<i64> = others.collect();
        others.sort_unstable();
        let middle = [others.len().saturating_sub(1) / 2, others.len() / 2];
        let middle = middle.into_iter().filter_map(|at| others.get(at).copied());
        middle.min_by_key(|skew| skew.abs()).unwrap_or(0)
    }

    /// The leases of an era whose nodes are not taken for dead.
    pub(super) fn living(&self, era: u64, ticks: Millis, dead_after: Millis) -> impl Iterator<Item = &NodeLease> {
        let lives = move |seen: &&Seen| seen.lease.era == era && ticks.minus(seen.since) < dead_after;
        self.seen.values().filter(lives).map(|seen| &seen.lease)
    }

    /// Whether a node lives in this era, or in one that is about to begin.
    pub(super) fn lives(&self, node: &NodeId, era: u64, ticks: Millis, dead_after: Millis) -> bool {
        let seen = self.seen.get(node).filter(|seen| seen.lease.era >= era);
        seen.is_some_and(|seen| ticks.minus(seen.since) < dead_after)
    }

    /// How often the nodes of an era have renewed their leases, living or not.
    pub(super) fn renewals(&self, era: u64) -> BTreeMap<NodeId, u64> {
        let of_it = self.seen.values().filter(|seen| seen.lease.era == era);
        of_it.map(|seen| (seen.lease.node, seen.lease.renewals)).collect()
    }

    /// What the nodes of an era have shown of their meters since this one woke.
    pub(super) fn shown_since(&self, woke: &Woke, era: u64, ticks: Millis, dead_after: Millis) -> Shown {
        // One that was not there has joined since.
        let has_shown =
            |seen: &Seen| woke.there.get(&seen.lease.node).is_none_or(|was| woke.is_after(&seen.lease, *was));
        let living = || self.seen.values().filter(|seen| seen.lease.era == era && ticks.minus(seen.since) < dead_after);
        // One that was never seen to change has joined since, or has died before.
        if living().any(|seen| seen.changes > 0 && !has_shown(seen)) {
            return Shown::Waits;
        }
        // Whoever is gone has left, and with it what it knew of the meter.
        let is_lost = |node| self.seen.get(node).is_some_and(|seen| seen.lease.era == era && !has_shown(seen));
        let knows = |seen: &Seen| seen.changes > 0 && has_shown(seen) && !seen.lease.is_behind;
        if woke.there.keys().any(is_lost) && !living().any(knows) { Shown::NotByTheDead } else { Shown::All }
    }

    /// Whether a node that lives is about to begin an era after this one, or has.
    pub(super) fn is_an_era_at_hand(&self, era: u64, ticks: Millis, dead_after: Millis) -> bool {
        let mut living = self.seen.values().filter(|seen| ticks.minus(seen.since) < dead_after);
        living.any(|seen| seen.lease.era > era)
    }

    /// The furthest meter of an era, of the nodes that were seen to live.
    pub(super) fn furthest_living(&self, era: u64) -> Option<MeterTime> {
        let lives = |seen: &&Seen| seen.lease.era == era && seen.changes > 0;
        self.seen.values().filter(lives).map(|seen| seen.lease.meter).max()
    }

    /// The furthest meter of an era in which a node was seen to live that knows where the meter is. Those of other eras are void.
    /// The first change may be a renewal that was begun before its node stood still, and sent after that; the second says so.
    pub(super) fn furthest_of(&self, era: u64) -> Option<MeterTime> {
        let knows = |seen: &Seen| seen.lease.era == era && seen.changes > 1 && !seen.lease.is_behind;
        self.seen.values().any(knows).then_some(())?;
        self.seen.values().filter(|seen| seen.lease.era == era).map(|seen| seen.lease.meter).max()
    }

    /// The furthest meter that any node of an era has shown, living or not. Those of other eras are void: their nodes may
    /// have been left behind, and have run on by themselves.
    pub(super) fn furthest_shown_in(&self, era: u64) -> MeterTime {
        let of_it = self.seen.values().filter(|seen| seen.lease.era == era);
        of_it.map(|seen| seen.lease.meter).max().unwrap_or(MeterTime::ZERO)
    }

    /// Whether no node may live, as far as this one can tell, where `era` is the latest. Who began it had waited until all
    /// of those before were dead.
    pub(super) fn are_all_dead(&self, era: u64, ticks: Millis, dead_after: Millis) -> bool {
        let mut doubtful = self.seen.values().filter(|seen| seen.lease.era >= era);
        doubtful.all(|seen| ticks.minus(seen.since) >= dead_after)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ME: NodeId = NodeId::from_bytes([0; 16]);
    const DEAD_AFTER: Millis = Millis::from_secs(12);
    const BLIND: Millis = Millis::from_secs(5);

    fn lease(node: u8, renewals: u64, meter_ms: u64, wall_ms: u64) -> NodeLease {
        NodeLease {
            node: NodeId::from_bytes([node; 16]),
            name: String::new(),
            era: 1,
            renewals,
            meter: MeterTime::from_ms(meter_ms),
            told_until: MeterTime::ZERO,
            is_behind: false,
            wall: UnixMs::from_ms(wall_ms),
        }
    }

    fn living(others: &Others, ticks_s: u64) -> usize {
        others.living(1, Millis::from_secs(ticks_s), DEAD_AFTER).count()
    }

    #[test]
    fn a_node_is_dead_when_its_lease_stands_still_but_not_because_nobody_could_look() {
        let mut others = Others::default();
        let see = |others: &mut Others, ticks_s, renewals| {
            others.see(vec![lease(1, renewals, 0, 0)], ME, Millis::from_secs(ticks_s), BLIND);
        };
        see(&mut others, 1, 7);
        see(&mut others, 2, 8);
        // The store is away for a minute, for all of them.
        see(&mut others, 62, 8);
        assert_eq!(living(&others, 62), 1, "it had nowhere to write to");
        for ticks_s in 63..74 {
            see(&mut others, ticks_s, 8);
        }
        assert_eq!((living(&others, 73), living(&others, 74)), (1, 0));
        see(&mut others, 75, 9);
        assert_eq!(living(&others, 75), 1);
    }

    /// Two others, and what a node that woke knows of them.
    struct Two(Others, Woke);

    impl Two {
        fn new() -> Self {
            Self(Others::default(), Woke { there: BTreeMap::new(), meter: MeterTime::ZERO })
        }

        fn see(&mut self, ticks_s: u64, renewals: [u64; 2], is_behind: bool) {
            let leases = [1, 2].map(|n| NodeLease { is_behind, ..lease(n, renewals[usize::from(n) - 1], 0, 0) });
            self.0.see(leases.into(), ME, Millis::from_secs(ticks_s), BLIND);
        }

        /// It has just found out that it stood still.
        fn wake(&mut self, ticks_s: u64, renewals: [u64; 2], is_behind: bool) {
            self.see(ticks_s, renewals, is_behind);
            self.1.there = self.0.renewals(1);
        }

        fn shown(&self, ticks_s: u64) -> Shown {
            self.0.shown_since(&self.1, 1, Millis::from_secs(ticks_s), DEAD_AFTER)
        }
    }

    #[test]
    fn who_was_away_waits_until_each_that_lives_has_shown_itself_again() {
        let mut two = Two::new();
        two.see(1, [7, 7], false);
        two.see(2, [8, 8], false);
        assert_eq!(two.shown(2), Shown::All);
        // Frozen from 2 to 10. Both have written meanwhile, and nobody knows how long ago.
        two.wake(10, [15, 9], false);
        assert_eq!(two.shown(10), Shown::Waits);
        // The second has not reached the store since.
        two.see(11, [16, 9], false);
        assert_eq!(two.shown(11), Shown::Waits);
        two.see(13, [18, 10], false);
        assert_eq!(two.shown(13), Shown::All);
        // Or it is dead, and the first has gone on all the time.
        two.wake(20, [25, 10], false);
        assert_eq!(two.shown(20), Shown::Waits);
        (21..33).for_each(|ticks_s| two.see(ticks_s, [ticks_s + 5, 10], false));
        assert_eq!(two.shown(32), Shown::All);
    }

    #[test]
    fn where_all_that_are_left_stood_still_one_that_is_cut_off_may_be_further() {
        let mut two = Two::new();
        two.see(1, [7, 7], false);
        two.see(2, [8, 8], false);
        two.wake(10, [8, 8], false);
        (11..22).for_each(|ticks_s| two.see(ticks_s, [ticks_s, 8], true));
        assert_eq!(two.shown(21), Shown::Waits);
        two.see(22, [22, 8], true);
        assert_eq!(two.shown(22), Shown::NotByTheDead);
        // The first knows by now.
        two.see(23, [23, 8], false);
        assert_eq!(two.shown(23), Shown::All);
    }

    #[test]
    fn one_that_is_taken_for_dead_already_may_be_further_too() {
        let mut two = Two::new();
        (1..15).for_each(|ticks_s| two.see(ticks_s, [7, ticks_s], false));
        assert_eq!(living(&two.0, 14), 1);
        // A machine that was suspended, and whose clock stood still as well.
        two.wake(15, [7, 15], true);
        two.see(16, [7, 16], true);
        assert_eq!(two.shown(16), Shown::NotByTheDead);
        two.see(17, [7, 17], false);
        assert_eq!(two.shown(17), Shown::All);
    }

    #[test]
    fn who_has_left_has_left_what_it_knew_of_the_meter() {
        let mut two = Two::new();
        two.see(9, [1, 1], false);
        two.wake(10, [2, 1], true);
        let stayed = |renewals| vec![NodeLease { is_behind: true, ..lease(1, renewals, 0, 0) }];
        two.0.see(stayed(3), ME, Millis::from_secs(11), BLIND);
        assert_eq!(two.shown(11), Shown::All);
    }

    #[test]
    fn a_renewal_from_before_that_turns_up_late_shows_nothing() {
        let mut two = Two::new();
        two.see(1, [7, 7], false);
        two.wake(10, [8, 8], false);
        two.1.meter = MeterTime::from_ms(9_000);
        let mut see = |ticks_s, renewals, meter_ms| {
            two.0.see(vec![lease(1, renewals, meter_ms, 0)], ME, Millis::from_secs(ticks_s), BLIND);
            two.shown(ticks_s)
        };
        assert_eq!(see(11, 9, 5_000), Shown::Waits, "few servers have had it all the time");
        assert_eq!(see(12, 8, 4_000), Shown::Waits, "and others answer");
        assert_eq!(see(13, 9, 5_000), Shown::Waits);
        assert_eq!(see(14, 10, 9_500), Shown::All);
        assert_eq!(see(15, 11, 2_000), Shown::All, "or its meter really stands there");
    }

    #[test]
    fn nobody_joins_by_a_node_that_is_behind() {
        let mut two = Two::new();
        two.see(1, [7, 7], true);
        two.see(2, [8, 7], true);
        assert_eq!(two.0.furthest_of(1), None);
        assert_eq!(two.0.furthest_living(1), Some(MeterTime::ZERO));
        two.see(3, [9, 7], false);
        assert_eq!(two.0.furthest_of(1), Some(MeterTime::ZERO));
        // Begun before it stood still, sent after.
        let mut two = Two::new();
        two.see(1, [7, 7], false);
        two.see(2, [8, 7], false);
        assert_eq!(two.0.furthest_of(1), None);
        two.see(3, [9, 7], true);
        assert_eq!(two.0.furthest_of(1), None);
    }

    #[test]
    fn an_era_is_at_hand_while_whoever_means_to_begin_it_lives() {
        let mut others = Others::default();
        others.see(vec![NodeLease { era: 2, ..lease(1, 1, 0, 0) }], ME, Millis::from_secs(1), BLIND);
        let at_hand = |era, ticks_s| others.is_an_era_at_hand(era, Millis::from_secs(ticks_s), DEAD_AFTER);
        assert!(at_hand(1, 12) && !at_hand(2, 12));
        assert!(!at_hand(1, 13), "it died, and the era never began");
    }

    #[test]
    fn skew_is_how_far_a_wall_clock_is_from_that_of_most() {
        let skew = |walls_s: &[u64]| {
            let mut others = Others::default();
            let leases = walls_s.iter().zip(1..).map(|(wall_s, node)| lease(node, 1, 500, wall_s * 1000)).collect();
            others.see(leases, ME, Millis::from_secs(1), BLIND);
            // This node's meter is a second further, and so is its wall clock.
            let (meter, wall) = (MeterTime::from_ms(1500), UnixMs::from_ms(10_001_000));
            others.skew(1, meter, wall, Millis::from_secs(2), DEAD_AFTER)
        };
        assert_eq!(skew(&[]), 0);
        assert_eq!(skew(&[10_000]), 0);
        assert_eq!(skew(&[6_400]), 3_600_000);
        assert_eq!(skew(&[13_600]), -3_600_000);
        assert_eq!(skew(&[10_000, 13_600]), 0, "one of two others agrees");
        assert_eq!(skew(&[6_400, 6_410]), 3_590_000);
        assert_eq!(skew(&[6_400, 6_400, 10_000]), 3_600_000);
    }
}
