//! Membership: a lease in the store, renewed about once a second, and the era that it is of.
//!
//! A lease is read by its changing. Whoever sees no change of it for a while, by a monotonic clock that started when it
//! began to look, takes its node for dead. A node that has not renewed its lease for a while stops acting well before that.
//!
//! The era is the one conditional fact. The first node that comes up after all were down begins a new one, where the meter
//! was last seen; of two that start at once, one wins and the other joins it. A node that was cut off from the store for so
//! long that another has begun an era without it is *fenced*: its meter and what it heard are of another time, and it has to
//! start again.

use std::sync::Arc;

use async_trait::async_trait;
use parking_lot::Mutex;

use crate::{
    control::peers::{MayWrite, Membership},
    entropy::{Entropy, draw},
    store::{Begun, ClusterStore, Era, METERS_DIFFER, NodeId, NodeLease, Removed, StoreError},
    time::{Clock, MeterClock, MeterTime, Millis, UnixMs},
};

use super::{
    ClusterError, ClusterSettings,
    leases::{Others, Shown, Woke},
};

/// How far behind the others a meter may be, beyond what it knows to have left out. More than that, and it has stood still
/// without knowing for how long.
const MAX_BEHIND: Millis = METERS_DIFFER;
/// A beat that is under way when telling begins is let in within this time.
const UNDER_WAY: Millis = Millis::new(50);

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
                    leases = others.len(),
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
