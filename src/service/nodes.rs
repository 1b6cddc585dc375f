//! The service among others that share its store: it joins them, follows what they change, and leaves them.

use std::{
    sync::{Arc, OnceLock, atomic::Ordering},
    time::Duration,
};

use tokio::time::{MissedTickBehavior, interval};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    cluster::{ClusterError, ClusterSettings, Feed, Hearing, Joining, Member, Node},
    control::{http::Surface, status_token::StatusTokens},
    entropy::Entropy,
    store::{ClusterStore, StoreError},
    time::MeterClock,
};

use super::{supervisor::Supervisor, upkeep::Upkeep};

/// How often keys, edges and status lists of others are looked for.
const LEARN_EVERY: Duration = Duration::from_secs(2);

/// How far the wall clock may be from those of other nodes, in milliseconds. Their meters, by which it is told, may differ
/// by less than half of it.
const MAX_SKEW: u64 = 5_000;

/// What a service that shares its store has besides, before it has joined.
#[derive(Clone)]
pub(super) struct Shared {
    /// The store.
    pub(super) store: Arc<dyn ClusterStore>,
    meter: Arc<MeterClock>,
    settings: ClusterSettings,
    /// What acts and status lists ask of the others.
    pub(super) joining: Arc<Joining>,
}

impl Shared {
    pub(super) fn new(store: Arc<dyn ClusterStore>) -> Self {
        let meter = Arc::new(MeterClock::resume(None));
        Self { store, meter, settings: ClusterSettings::default(), joining: Arc::default() }
    }

    /// The meter. It runs once this node has joined the others.
    pub(super) fn meter(&self) -> Arc<MeterClock> {
        Arc::clone(&self.meter)
    }

    /// Joins the others; `warm` reads what the store holds.
    ///
    /// # Errors
    ///
    /// [`ClusterError`].
    pub(super) async fn join(
        &self,
        name: String,
        upkeep: &Upkeep,
        entropy: &dyn Entropy,
        warm: impl Future<Output = Result<(), StoreError>>,
    ) -> Result<Joined, ClusterError> {
        let Self { store, meter, settings, joining } = self.clone();
        // The lists must be here before the sessions whose tokens are in them.
        let warm = async {
            upkeep.keeper.learn().await?;
            warm.await
        };
        let joined = Member::join(name, Arc::clone(&store), Arc::clone(&meter), entropy, settings, warm).await?;
        let member = Arc::new(joined);
        let hearing = Arc::new(Hearing::new(
            Arc::clone(&member),
            Arc::clone(&upkeep.engine),
            Arc::clone(&store),
            Arc::clone(&meter),
            settings,
        ));
        let feed = Arc::new(Feed::new(
            member.id(),
            Arc::clone(&upkeep.acts),
            Arc::clone(&store),
            meter,
            settings,
            member.warmed_at(),
        ));
        joining.joined(Arc::clone(&hearing), Arc::clone(&feed));
        // What others have done while this node read what the store held, before anybody is answered.
        feed.catch_up().await?;
        upkeep.keeper.join(member.id(), store, Arc::<Joining>::clone(&joining)).await?;
        let node = Node { member, feed, hearing, settings };
        let joined = Joined { node, upkeep: upkeep.clone(), lost: CancellationToken::new(), why: Arc::default() };
        if joined.node.member.has_begun_its_era() {
            upkeep.engine.doubt_checkpoints();
            upkeep.keeper.take_over(&*joining, true).await?;
        }
        joined.tell().await;
        Ok(joined)
    }
}

/// A node among the others.
#[derive(Clone)]
pub(super) struct Joined {
    node: Node,
    upkeep: Upkeep,
    lost: CancellationToken,
    why: Arc<OnceLock<ClusterError>>,
}

impl Joined {
    /// Does its part until `stop`.
    pub(super) fn start(
        &self,
        surface: Arc<Surface>,
        statuses: Arc<StatusTokens>,
        tasks: &TaskTracker,
        supervisor: &Supervisor,
        stop: &CancellationToken,
    ) {
        let (this, stopped) = (self.clone(), stop.clone());
        let taking_part = async move {
            tokio::select! {
                biased;
                () = stopped.cancelled() => {}
                why = this.node.run() => {
                    tracing::error!(error = %why, "this node cannot go on");
                    this.why.get_or_init(|| why);
                    this.lost.cancel();
                    // What ends the service is that it is lost.
                    stopped.cancelled().await;
                }
            }
        };
        tasks.spawn(supervisor.clone().once("node", stop.clone(), taking_part));
        let this = self.clone();
        let learn = move || {
            let (this, surface) = (this.clone(), Arc::clone(&surface));
            async move { this.learn_for_ever(&surface).await }
        };
        tasks.spawn(supervisor.clone().again("learning", stop.clone(), learn));
        let this = self.clone();
        let figures = move || {
            let this = this.clone();
            async move { this.tell_for_ever().await }
        };
        tasks.spawn(supervisor.clone().again("figures of this node", stop.clone(), figures));
        let tell = move || {
            let statuses = Arc::clone(&statuses);
            async move { statuses.tell_for_ever().await }
        };
        tasks.spawn(supervisor.clone().again("status lists", stop.clone(), tell));
    }

    /// Waits until this node cannot go on; answers why.
    pub(super) async fn lost(&self) -> ClusterError {
        self.lost.cancelled().await;
        self.why.get().expect("it is set before").clone()
    }

    /// Leaves the others, who need not wait for this node then. All that it has heard must be in the store.
    ///
    /// # Errors
    ///
    /// [`StoreError`]; they find out by themselves.
    pub(super) async fn leave(&self) -> Result<(), StoreError> {
        self.upkeep.keeper.retire_own().await?;
        self.node.member.leave().await
    }

    /// Takes over what others have made of keys, edges and status lists.
    async fn learn_for_ever(&self, surface: &Surface) {
        let mut ticks = interval(LEARN_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut failing = false;
        loop {
            ticks.tick().await;
            match self.learn(surface).await {
                Ok(()) => failing = false,
                Err(error) => {
                    if !std::mem::replace(&mut failing, true) {
                        tracing::warn!(
                            error,
                            "what other nodes have changed of keys and edges cannot be read; trying again"
                        );
                    }
                }
            }
        }
    }

    /// Tells telemetry how this node does among the others; also while the store does not answer, which is when it matters.
    async fn tell_for_ever(&self) {
        let mut ticks = interval(LEARN_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            self.tell().await;
        }
    }

    async fn learn(&self, surface: &Surface) -> Result<(), String> {
        let Upkeep { engine, store, keyring, keeper, secrets, clock, .. } = &self.upkeep;
        secrets.learn().await.map_err(|error| error.to_string())?;
        let now = clock.now();
        keyring.learn(&**store, &engine.secrets(), now).await.map_err(|error| error.to_string())?;
        surface.learn().await.map_err(|error| error.to_string())?;
        keeper.learn().await.map_err(|error| error.to_string())
    }

    async fn tell(&self) {
        let lag = self.node.feed.lag().await;
        self.upkeep.telemetry.node(self.node.member.era(), self.node.member.others(), lag);
        let ahead_ms = self.node.member.skew();
        self.upkeep.telemetry.clock_skew(ahead_ms);
        let skewed = ahead_ms.unsigned_abs() > MAX_SKEW;
        if self.upkeep.skewed.swap(skewed, Ordering::Relaxed) != skewed {
            if skewed {
                tracing::warn!(ahead_s = ahead_ms / 1000, "this node's wall clock is not that of the other nodes");
            } else {
                tracing::info!("this node's wall clock is that of the other nodes again");
            }
        }
    }
}
