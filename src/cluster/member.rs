//! Membership: a lease in the store, renewed about once a second, and the era that it is of.
//!
//! A lease is read by its changing. Whoever sees no change of it for a while, by a monotonic clock that started when it
//! began to look, takes its node for dead. A node that has not renewed its lease for a while stops acting well before that.
//!
//! The era is the one conditional fact. The first node that comes up after all were down begins a new one, where the meter
//! was last seen; of two that start at once, one wins and the other joins it. A node that was cut off from the store for so
//! long that another has begun an era without it is *fenced*: its meter and what it heard are of another time, and it has to
//! start again.

use std::{collections::BTreeMap, sync::Arc};

use async_trait::async_trait;
use parking_lot::Mutex;

use crate::{
    control::peers::{MayWrite, Membership},
    entropy::{Entropy, draw},
    store::{Begun, ClusterStore, Era, METERS_DIFFER, NodeId, NodeLease, Removed, StoreError},
    time::{Clock, MeterClock, MeterTime, Millis, UnixMs},
};

use super::{ClusterError, ClusterSettings};

/// How far behind the others a meter may be, beyond what it knows to have left out. More than that, and it has stood still
/// without knowing for how long.
const MAX_BEHIND: Millis = METERS_DIFFER;
/// A beat that is under way when telling begins is let in within this time.
const UNDER_WAY: Millis = Millis::new(50);

/// How many renewals that turn up after this node woke cannot all have been written before.
const CERTAINLY: u64 = 3;

/// Who joins reads leases all the time, or fails: what stands still has not been written.
const NEVER: Millis = Millis::new(u64::MAX);

/// This node among the others.
pub struct Member {
    id: NodeId,
    name: String,
    era: Era,
    warmed_at: MeterTime,
    store: Arc<dyn ClusterStore>,
    meter: Arc<MeterClock>,
    settings: ClusterSettings,
    state: Mutex<State>,
}

struct State {
    renewals: u64,
    /// When the last renewal that succeeded began, in ticks and on the wall clock.
    renewed: Millis,
    renewed_at: UnixMs,
    told_until: MeterTime,
    /// What the meter had left out in all when it was last known to be where those of the others are.
    left_out: Millis,
    /// And when the last renewal that succeeded began.
    looked: Millis,
    /// That this node was frozen or suspended, until its meter is known to be where those of the others are.
    woke: Option<Woke>,
    /// How often it has been away for longer than its lease.
    stints: u64,
    /// It has taken its lease away, or is about to.
    has_left: bool,
    others: Others,
}

impl State {
    /// For how long this node was frozen or suspended since its last renewal that succeeded, as far as its clocks tell: a
    /// machine that was suspended knows it by the wall clock only.
    fn away(&self, ticks: Millis, wall: UnixMs, left_out: Millis) -> Millis {
        let suspended = wall.since(self.renewed_at).minus(ticks.minus(self.renewed));
        left_out.minus(self.looked).max(suspended)
    }
}

/// A node has found out that it was frozen or suspended.
#[derive(Debug)]
struct Woke {
    /// The others that had not left, and how often they had renewed their leases. Who is taken for dead may be cut off.
    there: BTreeMap<NodeId, u64>,
    /// What a meter that has not stood still showed then, at the least, as far as this node knows.
    meter: MeterTime,
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
enum Shown {
    /// One that lives has not shown its meter yet.
    Waits,
    /// All have, and none can be ahead that has not.
    All,
    /// One has not, and is taken for dead; all that have were frozen as well. It may be cut off from the store, and further.
    NotByTheDead,
}

/// The other nodes' leases.
#[derive(Default)]
struct Others {
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
    fn see(&mut self, leases: Vec<NodeLease>, me: NodeId, ticks: Millis, blind: Millis) {
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

    /// How far the wall clock of a node that shows `meter` and `wall` is ahead of those of the others of its era that
    /// live, in milliseconds: of half of them at the least. Meters agree, so they tell what was written when.
    fn skew(&self, era: u64, meter: MeterTime, wall: UnixMs, ticks: Millis, dead_after: Millis) -> i64 {
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
    fn living(&self, era: u64, ticks: Millis, dead_after: Millis) -> impl Iterator<Item = &NodeLease> {
        let lives = move |seen: &&Seen| seen.lease.era == era && ticks.minus(seen.since) < dead_after;
        self.seen.values().filter(lives).map(|seen| &seen.lease)
    }

    /// Whether a node lives in this era, or in one that is about to begin.
    fn lives(&self, node: &NodeId, era: u64, ticks: Millis, dead_after: Millis) -> bool {
        let seen = self.seen.get(node).filter(|seen| seen.lease.era >= era);
        seen.is_some_and(|seen| ticks.minus(seen.since) < dead_after)
    }

    /// How often the nodes of an era have renewed their leases, living or not.
    fn renewals(&self, era: u64) -> BTreeMap<NodeId, u64> {
        let of_it = self.seen.values().filter(|seen| seen.lease.era == era);
        of_it.map(|seen| (seen.lease.node, seen.lease.renewals)).collect()
    }

    /// What the nodes of an era have shown of their meters since this one woke.
    fn shown_since(&self, woke: &Woke, era: u64, ticks: Millis, dead_after: Millis) -> Shown {
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
    fn is_an_era_at_hand(&self, era: u64, ticks: Millis, dead_after: Millis) -> bool {
        let mut living = self.seen.values().filter(|seen| ticks.minus(seen.since) < dead_after);
        living.any(|seen| seen.lease.era > era)
    }

    /// The furthest meter of an era, of the nodes that were seen to live.
    fn furthest_living(&self, era: u64) -> Option<MeterTime> {
        let lives = |seen: &&Seen| seen.lease.era == era && seen.changes > 0;
        self.seen.values().filter(lives).map(|seen| seen.lease.meter).max()
    }

    /// The furthest meter of an era in which a node was seen to live that knows where the meter is. Those of other eras are void.
    /// The first change may be a renewal that was begun before its node stood still, and sent after that; the second says so.
    fn furthest_of(&self, era: u64) -> Option<MeterTime> {
        let knows = |seen: &Seen| seen.lease.era == era && seen.changes > 1 && !seen.lease.is_behind;
        self.seen.values().any(knows).then_some(())?;
        self.seen.values().filter(|seen| seen.lease.era == era).map(|seen| seen.lease.meter).max()
    }

    /// The furthest meter that any node of an era has shown, living or not. Those of other eras are void: their nodes may
    /// have been left behind, and have run on by themselves.
    fn furthest_shown_in(&self, era: u64) -> MeterTime {
        let of_it = self.seen.values().filter(|seen| seen.lease.era == era);
        of_it.map(|seen| seen.lease.meter).max().unwrap_or(MeterTime::ZERO)
    }

    /// Whether no node may live, as far as this one can tell, where `era` is the latest. Who began it had waited until all
    /// of those before were dead.
    fn are_all_dead(&self, era: u64, ticks: Millis, dead_after: Millis) -> bool {
        let mut doubtful = self.seen.values().filter(|seen| seen.lease.era >= era);
        doubtful.all(|seen| ticks.minus(seen.since) >= dead_after)
    }
}

impl Member {
    /// Joins the nodes that live, or begins an era when none does. Between having found out and being seen, `warm` reads
    /// what the store holds. The meter runs from then on.
    ///
    /// It takes as long as it takes to see another node's lease change; where there are leases and none changes, until they
    /// are taken for dead.
    ///
    /// # Errors
    ///
    /// [`ClusterError`].
    pub async fn join(
        name: String,
        store: Arc<dyn ClusterStore>,
        meter: Arc<MeterClock>,
        entropy: &dyn Entropy,
        settings: ClusterSettings,
        warm: impl Future<Output = Result<(), StoreError>>,
    ) -> Result<Self, ClusterError> {
        let id = NodeId::from_bytes(draw(entropy));
        let mut lease = NodeLease {
            node: id,
            name,
            era: 0,
            renewals: 0,
            meter: MeterTime::ZERO,
            told_until: MeterTime::ZERO,
            is_behind: false,
            wall: meter.wall(),
        };
        let mut others = Others::default();
        let (mut warm, mut warmed_at, mut waits) = (Some(warm), None, false);
        let era = loop {
            let latest = store.era().await?;
            let number = latest.map_or(0, |era| era.number);
            others.see(store.nodes().await?, id, meter.ticks().elapsed(), NEVER);
            if let (Some(latest), Some(shown)) = (latest, others.furthest_of(number)) {
                // Whoever has shown more may have left, and a node that was frozen does not know how far the meter went.
                let kept = store.clock().await?.map_or(MeterTime::ZERO, |fact| fact.last_alive);
                meter.reach(shown.max(kept));
                store.enter(latest.number);
                meter.start();
                break latest;
            }
            if others.are_all_dead(number, meter.ticks().elapsed(), settings.dead_after) {
                let kept = store.clock().await?.map_or(MeterTime::ZERO, |fact| fact.last_alive);
                meter.reach(others.furthest_shown_in(number).max(kept));
                if let Some(warm) = warm.take() {
                    warmed_at = Some(meter.now());
                    warm.await?;
                    // That took a while: somebody may be back.
                    continue;
                }
                let era = Era { number: number + 1, began: meter.now(), by: id };
                // The lease comes first: whoever sees the era sees the node that lives in it.
                lease.renewals += 1;
                (lease.era, lease.meter) = (era.number, era.began);
                store.put_node(&lease).await?;
                // Who is back renews its lease before it looks at ours, and does not act when it sees it. So one of the
                // two sees the other.
                others.see(store.nodes().await?, id, meter.ticks().elapsed(), NEVER);
                let is_back = others.living(number, meter.ticks().elapsed(), settings.dead_after).next().is_some();
                if !is_back && store.begin_era(&era).await? == Begun::Ours {
                    store.enter(era.number);
                    meter.start();
                    tracing::info!(era = era.number, meter = %era.began, "no other node is alive; this node begins a new era");
                    break era;
                }
            }
            if !std::mem::replace(&mut waits, true) {
                tracing::info!(
                    leases = others.seen.len(),
                    "waiting for the leases of other nodes to be renewed or to expire"
                );
            }
            tokio::time::sleep(settings.tail_every / 4).await;
        };
        let warmed_at = warmed_at.unwrap_or_else(|| meter.now());
        if let Some(warm) = warm {
            warm.await?;
        }
        let state = State {
            renewals: lease.renewals,
            renewed: Millis::ZERO,
            renewed_at: lease.wall,
            told_until: meter.now(),
            left_out: meter.left_out(),
            looked: meter.left_out(),
            woke: None,
            stints: 0,
            has_left: false,
            others,
        };
        let member = Self { id, name: lease.name, era, warmed_at, store, meter, settings, state: Mutex::new(state) };
        member.renew().await?;
        // A lease of somebody who died while about to begin an era looks like one of the living until it has stood still for
        // long enough. Whoever really begins one makes a renewal fail.
        while !member.may_act() {
            tokio::time::sleep(settings.renew_every).await;
            member.renew().await?;
        }
        tracing::info!(node = %member.id, era = member.era.number, meter = %member.meter.now(), "joined");
        Ok(member)
    }

    /// This node's id.
    pub const fn id(&self) -> NodeId {
        self.id
    }

    /// The era it lives in.
    pub const fn era(&self) -> u64 {
        self.era.number
    }

    /// Whether this node began the era it lives in: all that other nodes had going is over.
    pub fn has_begun_its_era(&self) -> bool {
        self.era.by == self.id
    }

    /// What its meter showed before it began to read what the store holds: from then on it is to follow the changes.
    pub const fn warmed_at(&self) -> MeterTime {
        self.warmed_at
    }

    /// Renews the lease, and looks at those of the others. To be called once every [`ClusterSettings::renew_every`].
    ///
    /// # Errors
    ///
    /// [`ClusterError`]; all but [`ClusterError::Store`] mean that this node has to start again.
    pub async fn renew(&self) -> Result<(), ClusterError> {
        let (began, left_out) = (self.meter.ticks().elapsed(), self.meter.left_out());
        let wall = self.meter.wall();
        let lease = {
            let mut state = self.state.lock();
            state.renewals += 1;
            let was_away = state.away(began, wall, left_out) >= self.settings.glance;
            NodeLease {
                node: self.id,
                name: self.name.clone(),
                era: self.era.number,
                renewals: state.renewals,
                meter: self.meter.now(),
                told_until: state.told_until,
                is_behind: was_away || state.woke.is_some(),
                wall,
            }
        };
        self.store.put_node(&lease).await?;
        // After the lease: whoever has begun an era before it could be seen is seen here.
        let era = self.store.era().await?.map_or(0, |era| era.number);
        if era != self.era.number {
            return Err(ClusterError::Fenced { era });
        }
        let leases = self.store.nodes().await?;
        let ticks = self.meter.ticks().elapsed();
        let (shown, explained, was_away) = {
            let mut state = self.state.lock();
            state.others.see(leases, self.id, ticks, self.settings.lease);
            let away = state.away(began, wall, left_out);
            // Somebody may be about to begin an era without this node, which is to find out before it acts.
            if !state.others.is_an_era_at_hand(era, ticks, self.settings.dead_after) {
                // A machine that was suspended knows it by the wall clock only.
                let unrenewed = began.minus(state.renewed).max(wall.since(state.renewed_at));
                if unrenewed >= self.settings.lease {
                    state.stints += 1;
                }
                (state.renewed, state.renewed_at) = (state.renewed.max(began), wall);
            }
            state.looked = state.looked.max(left_out);
            // It may have stood still again while it waited: what was shown in between is long past.
            if away >= self.settings.glance {
                let there = state.others.renewals(era);
                let meter = lease.meter.plus(left_out.minus(state.left_out)).as_ms();
                let meter = MeterTime::from_ms(meter.saturating_sub(self.settings.glance.get()));
                state.woke = Some(Woke { there, meter });
            }
            // It may have been frozen since this renewal began, too.
            let explained = self.meter.left_out().minus(state.left_out);
            (state.others.furthest_living(era), explained, state.woke.is_some())
        };
        // Whoever has lived on meanwhile may have left: what is kept of the meter stays.
        let kept = if was_away { self.store.clock().await?.map(|fact| fact.last_alive) } else { None };
        if let Some(shown) = shown.max(kept) {
            self.follow(shown, explained)?;
        }
        let state = &mut *self.state.lock();
        // Each of the others that lives has to have shown its meter since this node is back. Some may not reach the store: what
        // they have shown is long past, and a session that is opened now would be charged for what the meter makes up later.
        let dead_after = self.settings.dead_after;
        let shown = state.woke.as_ref().map(|woke| state.others.shown_since(woke, era, ticks, dead_after));
        match shown {
            Some(Shown::Waits) => {}
            Some(Shown::NotByTheDead) => return Err(ClusterError::Alone),
            Some(Shown::All) | None => (state.left_out, state.woke) = (left_out, None),
        }
        Ok(())
    }

    /// Leaves: nobody waits for this node from now on. All that it has heard must be in the store. An act that is under way
    /// and has not been told of is not committed any more: others take over its status lists, and what they know of it is
    /// what it has told.
    ///
    /// # Errors
    ///
    /// [`StoreError`]; the others will find out by themselves.
    pub async fn leave(&self) -> Result<(), StoreError> {
        self.state.lock().has_left = true;
        match self.store.remove_node(&self.id).await? {
            Removed::Done | Removed::NotThere => Ok(()),
        }
    }

    /// How many other nodes live, as far as this one knows.
    pub fn others(&self) -> usize {
        let ticks = self.meter.ticks().elapsed();
        self.state.lock().others.living(self.era.number, ticks, self.settings.dead_after).count()
    }

    /// How far this node's wall clock is ahead of those of the others, in milliseconds; negative where it is behind, and
    /// 0 while there are none. With two nodes nobody can say whose is wrong; with more, most are right.
    pub fn skew(&self) -> i64 {
        let (ticks, meter, wall) = (self.meter.ticks().elapsed(), self.meter.now(), self.meter.wall());
        self.state.lock().others.skew(self.era.number, meter, wall, ticks, self.settings.dead_after)
    }

    /// Whether this node may act: it has not left, its lease is fresh, and neither the process was frozen nor the machine
    /// suspended since each of the others that lives has shown its meter. Otherwise its meter is behind, and others would
    /// look for what it tells where they have looked already. A wall clock that has been set looks the same, until the next
    /// renewal.
    pub fn may_act(&self) -> bool {
        let (ticks, wall, left_out) = (self.meter.ticks().elapsed(), self.meter.wall(), self.meter.left_out());
        let state = self.state.lock();
        let is_here = state.away(ticks, wall, left_out) < self.settings.glance && state.woke.is_none();
        ticks.minus(state.renewed) < self.settings.lease && is_here && !state.has_left
    }

    /// Whether a node lives, as its lease in the store says now.
    pub(super) async fn lives(&self, node: &NodeId) -> Result<bool, StoreError> {
        if *node == self.id {
            return Ok(true);
        }
        let leases = self.store.nodes().await?;
        let ticks = self.meter.ticks().elapsed();
        let mut state = self.state.lock();
        state.others.see(leases, self.id, ticks, self.settings.lease);
        Ok(state.others.lives(node, self.era.number, ticks, self.settings.dead_after))
    }

    /// For how long no renewal has succeeded.
    fn unrenewed_for(&self) -> Millis {
        let ticks = self.meter.ticks().elapsed();
        ticks.minus(self.state.lock().renewed)
    }

    /// Takes note that the store knows all that this node had heard by `told_until` of sessions that had lapsed by then.
    pub(super) fn told(&self, told_until: MeterTime) {
        let mut state = self.state.lock();
        let told_until = MeterTime::from_ms(told_until.as_ms().saturating_sub(UNDER_WAY.get()));
        state.told_until = state.told_until.max(told_until);
    }

    /// Whether all nodes that live have told all that they had heard by `at`. What the store is asked afterwards is then
    /// all there is.
    pub(super) async fn have_all_told(&self, at: MeterTime) -> Result<bool, StoreError> {
        let leases = self.store.nodes().await?;
        let ticks = self.meter.ticks().elapsed();
        let mut state = self.state.lock();
        state.others.see(leases, self.id, ticks, self.settings.lease);
        let mut living = state.others.living(self.era.number, ticks, self.settings.dead_after);
        Ok(living.all(|lease| lease.told_until >= at))
    }

    /// Follows a meter that is ahead. What this one leaves out, the other has lived.
    fn follow(&self, shown: MeterTime, explained: Millis) -> Result<(), ClusterError> {
        let behind = shown.since(self.meter.now());
        if behind.minus(explained) > MAX_BEHIND {
            return Err(ClusterError::Behind(behind));
        }
        self.meter.reach(shown);
        Ok(())
    }
}

#[async_trait]
impl Membership for Member {
    fn may_write(&self) -> Result<MayWrite, StoreError> {
        let expired = || StoreError::Unavailable("this node's lease has run out".to_owned());
        self.may_act().then(MayWrite::granted).ok_or_else(expired)
    }

    fn stint(&self) -> u64 {
        self.state.lock().stints
    }

    async fn confirm(&self) -> Result<MayWrite, StoreError> {
        let has_left = self.state.lock().has_left;
        if !has_left && self.unrenewed_for().get() * 2 >= self.settings.lease.get() {
            self.renew().await.map_err(|error| match error {
                ClusterError::Store(error) => error,
                why => StoreError::Unavailable(why.to_string()),
            })?;
        }
        self.may_write()
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
