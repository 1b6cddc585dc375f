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

use parking_lot::Mutex;

use crate::{
    clock::Clock,
    entropy::{Entropy, draw},
    store::{ClusterStore, Era, NodeId, NodeLease, StoreError},
    wire::{MeterTime, Millis},
};

use super::{ClusterError, ClusterMeter, ClusterSettings};

/// How far behind the others a meter may be. More than that, and it has stood still.
const MAX_BEHIND: Millis = Millis::from_secs(3);
/// A beat that is under way when telling begins is let in within this time.
const UNDER_WAY: Millis = Millis::new(50);

/// This node among the others.
pub struct Member {
    id: NodeId,
    name: String,
    era: Era,
    warmed_at: MeterTime,
    store: Arc<dyn ClusterStore>,
    meter: Arc<ClusterMeter>,
    settings: ClusterSettings,
    state: Mutex<State>,
}

struct State {
    renewals: u64,
    /// When the last renewal that succeeded began, in ticks.
    renewed: Millis,
    told_until: MeterTime,
    others: Others,
}

/// The other nodes' leases.
#[derive(Default)]
struct Others(BTreeMap<NodeId, Seen>);

struct Seen {
    lease: NodeLease,
    /// When it was last seen to change, or first seen, in ticks.
    since: Millis,
    /// Whether it has been seen to change.
    changes: bool,
}

impl Others {
    fn see(&mut self, leases: Vec<NodeLease>, me: NodeId, ticks: Millis) {
        let mut seen = BTreeMap::new();
        for lease in leases.into_iter().filter(|lease| lease.node != me) {
            let (since, changes) = match self.0.get(&lease.node) {
                Some(known) if known.lease.renewals == lease.renewals => (known.since, known.changes),
                Some(_) => (ticks, true),
                None => (ticks, false),
            };
            seen.insert(lease.node, Seen { lease, since, changes });
        }
        self.0 = seen;
    }

    /// The leases of an era whose nodes are not taken for dead.
    fn living(&self, era: u64, ticks: Millis, dead_after: Millis) -> impl Iterator<Item = &NodeLease> {
        let lives = move |seen: &&Seen| seen.lease.era == era && ticks.minus(seen.since) < dead_after;
        self.0.values().filter(lives).map(|seen| &seen.lease)
    }

    /// The furthest meter of an era, of the nodes that were seen to live.
    fn furthest_living(&self, era: u64) -> Option<MeterTime> {
        let lives = |seen: &&Seen| seen.lease.era == era && seen.changes;
        self.0.values().filter(lives).map(|seen| seen.lease.meter).max()
    }

    /// The furthest meter of any.
    fn furthest(&self) -> MeterTime {
        self.0.values().map(|seen| seen.lease.meter).max().unwrap_or(MeterTime::ZERO)
    }

    /// Whether no node may live, as far as this one can tell, where `era` is the latest. Who began it had waited until all
    /// of those before were dead.
    fn are_all_dead(&self, era: u64, ticks: Millis, dead_after: Millis) -> bool {
        let mut doubtful = self.0.values().filter(|seen| seen.lease.era >= era);
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
        meter: Arc<ClusterMeter>,
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
            wall: meter.wall(),
        };
        let mut others = Others::default();
        let (mut warm, mut warmed_at, mut waits) = (Some(warm), None, false);
        let era = loop {
            let latest = store.era().await?;
            let number = latest.map_or(0, |era| era.number);
            others.see(store.nodes().await?, id, meter.ticks().elapsed());
            if let (Some(latest), Some(shown)) = (latest, others.furthest_living(number)) {
                meter.reach(shown);
                meter.start();
                break latest;
            }
            if others.are_all_dead(number, meter.ticks().elapsed(), settings.dead_after) {
                let kept = store.clock().await?.map_or(MeterTime::ZERO, |fact| fact.last_alive);
                meter.reach(others.furthest().max(kept));
                if let Some(warm) = warm.take() {
                    warmed_at = Some(meter.now());
                    warm.await?;
                }
                let era = Era { number: number + 1, began: meter.now(), by: id };
                // The lease comes first: whoever sees the era sees the node that lives in it.
                lease.renewals += 1;
                (lease.era, lease.meter) = (era.number, era.began);
                store.put_node(&lease).await?;
                if store.begin_era(&era).await? {
                    meter.start();
                    tracing::info!(era = era.number, meter = %era.began, "no node lives; this one begins an era");
                    break era;
                }
            }
            if !std::mem::replace(&mut waits, true) {
                tracing::info!(
                    leases = others.0.len(),
                    "waiting for the leases of other nodes to change or to run out"
                );
            }
            tokio::time::sleep(settings.tail_every / 4).await;
        };
        let warmed_at = warmed_at.unwrap_or_else(|| meter.now());
        if let Some(warm) = warm {
            warm.await?;
        }
        let state = State { renewals: lease.renewals, renewed: Millis::ZERO, told_until: meter.now(), others };
        let member = Self { id, name: lease.name, era, warmed_at, store, meter, settings, state: Mutex::new(state) };
        member.renew().await?;
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
        let began = self.meter.ticks().elapsed();
        let lease = {
            let mut state = self.state.lock();
            state.renewals += 1;
            NodeLease {
                node: self.id,
                name: self.name.clone(),
                era: self.era.number,
                renewals: state.renewals,
                meter: self.meter.now(),
                told_until: state.told_until,
                wall: self.meter.wall(),
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
        let shown = {
            let mut state = self.state.lock();
            state.others.see(leases, self.id, ticks);
            state.renewed = state.renewed.max(began);
            state.others.furthest_living(era)
        };
        shown.map_or(Ok(()), |shown| self.follow(shown))
    }

    /// Leaves: nobody waits for this node from now on. All that it has heard must be in the store.
    ///
    /// # Errors
    ///
    /// [`StoreError`]; the others will find out by themselves.
    pub async fn leave(&self) -> Result<(), StoreError> {
        self.store.remove_node(&self.id).await.map(drop)
    }

    /// How many other nodes live, as far as this one knows.
    pub fn others(&self) -> usize {
        let ticks = self.meter.ticks().elapsed();
        self.state.lock().others.living(self.era.number, ticks, self.settings.dead_after).count()
    }

    /// Whether this node may act: its lease is fresh.
    pub fn may_act(&self) -> bool {
        self.meter.ticks().elapsed().minus(self.state.lock().renewed) < self.settings.lease
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
        state.others.see(leases, self.id, ticks);
        let mut living = state.others.living(self.era.number, ticks, self.settings.dead_after);
        Ok(living.all(|lease| lease.told_until >= at))
    }

    /// Follows a meter that is ahead. What this one leaves out, the other has lived.
    fn follow(&self, shown: MeterTime) -> Result<(), ClusterError> {
        let behind = shown.since(self.meter.now());
        if behind > MAX_BEHIND {
            return Err(ClusterError::Behind(behind));
        }
        self.meter.reach(shown);
        Ok(())
    }
}
