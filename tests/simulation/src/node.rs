//! A node: the real engine, acts, upkeep and membership, on a simulated machine.

use std::{
    io,
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use gastank::{
    cluster::{ClusterError, ClusterSettings, Feed, Hearing, Joining, Member, Node},
    control::{
        acts::{Acts, Witness},
        keyring::Keyring,
        secrets::{SecretFile, Secrets},
        status::{StatusKeeper, StatusPolicy},
        status_token::StatusTokens,
        tokens::Issuer,
    },
    engine::{Act, Engine, ListSize, Policy, SecretRing},
    hub::{HubSessions, Lifetimes, Unheard},
    ingest::Handler,
    service::{
        supervisor::Supervisor,
        upkeep::{self, Upkeep},
        warm,
    },
    store::{ClusterStore, roles::*},
    telemetry::Telemetry,
    time::{Clock, MeterClock, MeterTime, Millis, Ticks, UnixMs},
    wire::{ClusterSecret, SecretId},
};
use parking_lot::Mutex;
use tokio::time::Instant;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    chance::Chance,
    link::{Link, LinkedStore, Server},
};

/// For how long edges keep a status list.
pub(crate) const LIST_TTL: Millis = Millis::from_secs(8);
/// How long hub sessions live.
const HUB_SESSIONS: Lifetimes = Lifetimes { absolute: Millis::from_secs(3600), idle: Millis::from_secs(600) };
/// Nodes forget nobody within a run.
const GRAVES: usize = 10_000;

/// The clocks of a simulated machine.
pub(crate) struct Machine {
    began: Instant,
    /// How fast its monotonic clock runs, in millionths.
    rate: u64,
    /// By how much its wall clock is off.
    wall_off: i64,
    /// For how long it has been suspended.
    lost: AtomicU64,
    suspended_since: Mutex<Option<Instant>>,
}

impl Machine {
    /// A machine whose clock runs at `rate` millionths, and is `wall_off` ms off.
    pub(crate) fn new(rate: u64, wall_off: i64) -> Self {
        Self { began: Instant::now(), rate, wall_off, lost: AtomicU64::new(0), suspended_since: Mutex::new(None) }
    }

    /// Suspends the machine: even its monotonic clock stands still.
    pub(crate) fn suspend(&self) {
        *self.suspended_since.lock() = Some(Instant::now());
    }

    /// Goes on.
    pub(crate) fn resume(&self) {
        if let Some(since) = self.suspended_since.lock().take() {
            self.lost.fetch_add(ms(since.elapsed()), Ordering::SeqCst);
        }
    }
}

impl Ticks for Machine {
    fn elapsed(&self) -> Millis {
        let upto = self.suspended_since.lock().unwrap_or_else(Instant::now);
        let awake = ms(upto - self.began).saturating_sub(self.lost.load(Ordering::SeqCst));
        Millis::new(awake * self.rate / 1_000_000)
    }

    fn wall(&self) -> UnixMs {
        UnixMs::from_ms((1_800_000_000_000 + ms(self.began.elapsed())).saturating_add_signed(self.wall_off))
    }
}

fn ms(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).expect("runs are short")
}

/// What every node of a run has in common.
#[derive(Clone)]
pub(crate) struct Common {
    /// The store.
    pub(crate) server: Arc<Server>,
    /// The figures of the rules.
    pub(crate) policy: Policy,
    /// How often sessions are checkpointed.
    pub(crate) checkpoint: Millis,
    /// How nodes deal with each other.
    pub(crate) settings: ClusterSettings,
    /// Signs tokens.
    pub(crate) issuer: Arc<Issuer>,
    /// The keys it signs with.
    pub(crate) keyring: Arc<Keyring>,
    /// Counts, for nobody.
    pub(crate) telemetry: Telemetry,
}

/// A node that takes part.
pub(crate) struct Running {
    /// What tells this process from those before and after it.
    pub(crate) process: u64,
    /// Its engine.
    pub(crate) engine: Arc<Engine>,
    /// Its acts.
    pub(crate) acts: Arc<Acts>,
    /// Its status lists.
    pub(crate) statuses: Arc<StatusTokens>,
    /// Its meter.
    pub(crate) meter: Arc<MeterClock>,
    /// Answers its heartbeats.
    pub(crate) handler: Handler,
    /// Its part in the cluster.
    pub(crate) node: Node,
    upkeep: Upkeep,
    tasks: TaskTracker,
    stop: CancellationToken,
    /// Set when it cannot go on as a member.
    pub(crate) fenced: Arc<Mutex<Option<ClusterError>>>,
    /// Whether it takes no more requests.
    pub(crate) draining: AtomicBool,
}

/// How long a stop waits for each piece of what it writes.
const FLUSH: Duration = Duration::from_secs(30);

struct Nobody;

impl Witness for Nobody {
    fn committed(&self, _: &Act) {}
}

struct NoFile;

impl SecretFile for NoFile {
    fn keep(&self, _: &SecretRing) -> io::Result<()> {
        Ok(())
    }
}

/// The cluster secrets of every run.
pub(crate) fn secrets() -> SecretRing {
    SecretRing::new(SecretId::default(), ClusterSecret::from_bytes([7; 32]))
}

/// Ticks a meter while its process runs.
async fn ticking(meter: Weak<MeterClock>, link: Arc<Link>) {
    while let Some(meter) = meter.upgrade() {
        if !link.stopped.load(Ordering::SeqCst) {
            meter.tick();
        }
        drop(meter);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

impl Running {
    /// Starts a process on a machine, as the service does. Returns once it is ready.
    ///
    /// # Errors
    ///
    /// [`ClusterError`]; it is to be started again then.
    pub(crate) async fn start(
        common: &Common,
        name: String,
        machine: Arc<Machine>,
        link: Arc<Link>,
        chance: Arc<Chance>,
        process: u64,
    ) -> Result<Self, ClusterError> {
        let store = Arc::new(LinkedStore(Arc::clone(&link)));
        let shared: Arc<dyn ClusterStore> = Arc::<LinkedStore>::clone(&store);
        let store: Arc<dyn Store> = store;
        let meter = Arc::new(MeterClock::new(machine));
        tokio::spawn(ticking(Arc::downgrade(&meter), Arc::clone(&link)));
        let clock: Arc<dyn Clock> = Arc::<MeterClock>::clone(&meter);
        let engine = Arc::new(Engine::new(common.policy, secrets(), GRAVES).among_others());
        let lists = StatusPolicy {
            size: ListSize::new(4096).expect("a power of two"),
            block: 256,
            shared: true,
            ..StatusPolicy::new(common.policy.max_ttl)
        };
        let keeper = StatusKeeper::open(
            Arc::clone(&engine),
            Arc::clone(&store),
            Arc::clone(&clock),
            Arc::<Chance>::clone(&chance),
            lists,
        );
        let keeper = Arc::new(keeper.await?);
        let settings = common.settings;
        let warm = async {
            keeper.learn().await?;
            warm::warm(&engine, &*store, &*clock, &common.telemetry).await.map(drop)
        };
        let joining = Member::join(name, Arc::clone(&shared), Arc::clone(&meter), &*chance, settings, warm);
        let member = Arc::new(joining.await?);
        let hearing = Arc::new(Hearing::new(
            Arc::clone(&member),
            Arc::clone(&engine),
            Arc::clone(&shared),
            Arc::clone(&meter),
            settings,
        ));
        let acts = Acts::new(
            Arc::clone(&engine),
            Arc::clone(&store),
            Arc::clone(&clock),
            Arc::<Chance>::clone(&chance),
            Arc::clone(&common.issuer),
            Arc::clone(&keeper),
            Arc::new(Nobody),
        );
        let acts = Arc::new(acts.among(Arc::<Hearing>::clone(&hearing)));
        let warmed_at = member.warmed_at();
        let feed =
            Feed::new(member.id(), Arc::clone(&acts), Arc::clone(&shared), Arc::clone(&meter), settings, warmed_at);
        let feed = Arc::new(feed);
        feed.catch_up().await?;
        let others = Arc::new(Joining::default());
        others.joined(Arc::clone(&hearing), Arc::clone(&feed));
        let membership = Arc::<Member>::clone(&member);
        keeper.join(member.id(), Arc::clone(&shared), membership).await?;
        if member.has_begun_its_era() {
            engine.doubt_checkpoints();
            keeper.take_over(&*others, true).await?;
        }
        let statuses = StatusTokens::new(
            Arc::clone(&engine),
            Arc::clone(&clock),
            Arc::clone(&common.issuer),
            Arc::clone(&keeper),
            LIST_TTL,
        );
        let statuses = Arc::new(statuses.among(others, shared).in_place());
        let entropy = Arc::<Chance>::clone(&chance);
        let secrets = Arc::new(Secrets::new(
            Arc::clone(&engine),
            Arc::clone(&common.keyring),
            Arc::clone(&store),
            chance,
            Arc::new(NoFile),
        ));
        let (chores, queue) = upkeep::chores(Arc::clone(&acts));
        let handler =
            Handler::new(Arc::clone(&engine), Arc::clone(&clock), Arc::new(chores.clone()), common.telemetry.clone());
        let hub_sessions =
            HubSessions::new(Arc::clone(&store), Arc::clone(&clock), entropy, Arc::new(Unheard), HUB_SESSIONS);
        let upkeep = Upkeep {
            engine: Arc::clone(&engine),
            store,
            clock,
            membership: Arc::<Member>::clone(&member),
            acts: Arc::clone(&acts),
            hub_sessions,
            keyring: Arc::clone(&common.keyring),
            keeper,
            secrets,
            audit_retention: Millis::from_secs(86_400),
            history: None,
            rotate_keys: None,
            telemetry: common.telemetry.clone(),
            checkpoint_interval: common.checkpoint,
            skewed: Arc::default(),
            rounds: Arc::default(),
            data_file: None,
            kept: None,
        };
        let stop = CancellationToken::new();
        let tasks = upkeep.start(chores, queue, &Supervisor::new(common.telemetry.clone()), &stop);
        let (telling, told) = (Arc::clone(&statuses), stop.clone());
        tasks.spawn(async move { told.run_until_cancelled(telling.tell_for_ever()).await });
        let node = Node { member, feed, hearing, settings };
        let fenced: Arc<Mutex<Option<ClusterError>>> = Arc::default();
        let (part, cancelled, why) = (node.clone(), stop.clone(), Arc::clone(&fenced));
        tasks.spawn(async move {
            tokio::select! {
                biased;
                () = cancelled.cancelled() => {}
                error = part.run() => *why.lock() = Some(error),
            }
        });
        let draining = AtomicBool::new(false);
        Ok(Self { process, engine, acts, statuses, meter, handler, node, upkeep, tasks, stop, fenced, draining })
    }

    /// The process is killed: nothing of it goes on.
    pub(crate) fn kill(&self) {
        self.stop.cancel();
    }

    /// The process is told to stop: it takes nothing new, writes what it knows, and leaves. Whether all was written.
    pub(crate) async fn leave(&self) -> bool {
        self.draining.store(true, Ordering::SeqCst);
        self.meter.stop();
        self.stop.cancel();
        self.tasks.wait().await;
        let flushed = self.upkeep.flush(FLUSH).await.is_ok();
        flushed && self.node.member.leave().await.is_ok()
    }

    /// What its meter shows.
    pub(crate) fn now(&self) -> MeterTime {
        self.meter.now()
    }
}
