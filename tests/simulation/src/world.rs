//! A run: nodes that fail, people who come and go, edges that ask, and somebody who watches all of it.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use gastank::{
    cluster::ClusterSettings,
    control::{
        keyring::{KeyPolicy, Keyring},
        keys::Algorithm,
        tokens::Issuer,
    },
    engine::Policy,
    telemetry::{Health, Telemetry},
    time::{Millis, UnixMs},
};
use parking_lot::Mutex;
use tokio::time::sleep;

use crate::{
    audit::Watch,
    chance::Chance,
    faults,
    link::{Link, LinkedStore, Server},
    node::{Common, Machine, Running, secrets},
    people,
    trace::Trace,
};

/// How long everything goes wrong.
pub(crate) const STORM: Duration = Duration::from_secs(50);
/// How long people go on after that, with everything in order.
pub(crate) const CALM: Duration = Duration::from_secs(12);
/// How long nobody does anything in the end: all that is open times out and is settled.
pub(crate) const QUIET: Duration = Duration::from_secs(35);
/// How long it takes, after a node's trouble has ended, until it is as good as any.
pub(crate) const HEAL: u64 = 5_000;

/// A place for a node: its machine, its way to the store, and the process, while there is one.
pub(crate) struct Slot {
    /// Its number.
    pub(crate) number: usize,
    /// The machine.
    pub(crate) machine: Arc<Machine>,
    /// The way to the store of the process that runs.
    pub(crate) link: Mutex<Arc<Link>>,
    /// The process, once it is ready.
    pub(crate) running: Mutex<Option<Arc<Running>>>,
    /// Whether a fault is going on here already.
    pub(crate) busy: AtomicBool,
    troubles: AtomicU64,
    trouble_ended: AtomicU64,
}

impl Slot {
    /// The node here, if it answers.
    pub(crate) fn answers(&self) -> Option<Arc<Running>> {
        let stopped = self.link.lock().stopped.load(Ordering::SeqCst);
        self.running.lock().clone().filter(|node| !stopped && !node.draining.load(Ordering::SeqCst))
    }
}

/// A run.
pub(crate) struct World {
    /// What all nodes have in common.
    pub(crate) common: Common,
    /// The places for nodes.
    pub(crate) slots: Vec<Slot>,
    /// What is left to chance.
    pub(crate) chance: Arc<Chance>,
    /// What happened.
    pub(crate) trace: Trace,
    /// Who watches.
    pub(crate) watch: Watch,
    /// Set when nothing goes wrong any more.
    pub(crate) calm: AtomicBool,
    /// Set when nobody does anything any more.
    pub(crate) quiet: AtomicBool,
}

/// How a run went.
#[derive(Clone, Debug)]
pub struct Report {
    /// What it came from.
    pub seed: u64,
    /// What all that happened comes to.
    pub digest: String,
    /// What should not have happened.
    pub violations: Vec<String>,
    /// How often what happened.
    pub counts: BTreeMap<&'static str, u64>,
    /// How long after a token's death a node in good order vouched for it, in ms, for each death that was noticed late.
    pub late: Vec<u64>,
}

impl World {
    /// Virtual time, in ms.
    pub(crate) fn at(&self) -> u64 {
        self.common.server.elapsed()
    }

    /// Takes note of something.
    pub(crate) fn note(&self, what: &str) {
        self.trace.note(self.at(), what);
    }

    /// A node is in trouble from now on.
    pub(crate) fn trouble_begins(&self, slot: usize) {
        self.slots[slot].troubles.fetch_add(1, Ordering::SeqCst);
    }

    /// One of a node's troubles is over.
    pub(crate) fn trouble_ends(&self, slot: usize) {
        self.slots[slot].troubles.fetch_sub(1, Ordering::SeqCst);
        self.slots[slot].trouble_ended.store(self.at(), Ordering::SeqCst);
    }

    /// Until when a node has been in trouble, or has had to recover from it: now, while it is.
    pub(crate) fn troubled_until(&self, slot: usize) -> u64 {
        let slot = &self.slots[slot];
        if slot.troubles.load(Ordering::SeqCst) > 0 {
            return u64::MAX;
        }
        match slot.trouble_ended.load(Ordering::SeqCst) {
            0 => 0,
            ended => ended + HEAL,
        }
    }

    /// Starts the process of a slot, again and again until it is ready.
    pub(crate) async fn start(self: &Arc<Self>, slot: usize) {
        let place = &self.slots[slot];
        loop {
            let link = Link::new(Arc::clone(&self.common.server));
            {
                let mut current = place.link.lock();
                *link.weather.lock() = *current.weather.lock();
                *current = Arc::clone(&link);
            }
            let process = self.chance.branch();
            let chance = Arc::new(Chance::new(process));
            let machine = Arc::clone(&place.machine);
            match Running::start(&self.common, format!("node {slot}"), machine, link, chance, process).await {
                Ok(running) => {
                    self.note(&format!("node {slot} is ready, meter {}", running.now()));
                    *place.running.lock() = Some(Arc::new(running));
                    return;
                }
                Err(error) => {
                    self.note(&format!("node {slot} cannot start: {error}"));
                    sleep(Duration::from_millis(200)).await;
                }
            }
        }
    }

    /// Kills the process of a slot.
    pub(crate) fn kill(&self, slot: usize) {
        let place = &self.slots[slot];
        let link = place.link.lock().clone();
        link.dead.store(true, Ordering::SeqCst);
        if let Some(running) = place.running.lock().take() {
            running.kill();
        }
    }

    /// Starts nodes again that cannot go on as members.
    async fn supervise(self: Arc<Self>) {
        loop {
            sleep(Duration::from_millis(100)).await;
            for slot in 0..self.slots.len() {
                let running = self.slots[slot].running.lock().clone();
                let why = running.and_then(|running| running.fenced.lock().clone());
                if let Some(why) = why {
                    self.note(&format!("node {slot} is out: {why}"));
                    self.watch.count("fenced");
                    self.trouble_begins(slot);
                    self.kill(slot);
                    let world = Arc::clone(&self);
                    tokio::spawn(async move {
                        world.start(slot).await;
                        world.trouble_ends(slot);
                    });
                }
            }
        }
    }
}

/// The issuer of a run. Of its own: runs that share anything disturb each other.
async fn issuer() -> (Arc<Issuer>, Arc<Keyring>) {
    let policy = KeyPolicy::new(Algorithm::ES256, Policy::default().max_ttl);
    let store = LinkedStore(Link::new(Server::near(Chance::new(0))));
    let ring = secrets();
    let opening = Keyring::open(&store, &ring, policy, UnixMs::from_ms(1_700_000_000_000));
    let keyring = Arc::new(opening.await.expect("keys can be made"));
    let url = "https://gastank.test";
    (Arc::new(Issuer::new(url.into(), "client".into(), url, Arc::clone(&keyring))), keyring)
}

/// Lives through what a seed stands for. `prints` tells it line by line.
pub fn run(seed: u64, prints: bool) -> Report {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().expect("a runtime");
    runtime.block_on(async {
        let (issuer, keyring) = issuer().await;
        let world = make(seed, prints, issuer, keyring);
        live(&world).await;
        Report {
            seed,
            digest: world.trace.digest(),
            violations: world.watch.violations(),
            counts: world.watch.counts(),
            late: world.watch.late(),
        }
    })
}

fn make(seed: u64, prints: bool, issuer: Arc<Issuer>, keyring: Arc<Keyring>) -> Arc<World> {
    let chance = Arc::new(Chance::new(seed));
    let server = Server::new(Chance::new(chance.branch()));
    let policy = Policy { interval: Millis::from_secs(4), timeout: Millis::from_secs(13), ..Policy::default() };
    let settings = ClusterSettings {
        renew_every: Duration::from_millis(500),
        lease: Millis::new(2_000),
        dead_after: Millis::new(6_000),
        tail_every: Duration::from_millis(200),
        glance: Millis::new(1_500),
        look_back: Millis::new(8_000),
        hear_every: Duration::from_millis(600),
        hear_ahead: Millis::new(2_000),
    };
    let telemetry = Telemetry::new(Health::new());
    let checkpoint = Millis::from_secs(5);
    let common = Common { server: Arc::clone(&server), policy, checkpoint, settings, issuer, keyring, telemetry };
    let nodes = 2 + chance.place(3);
    let slots = (0..nodes)
        .map(|number| {
            let rate = 1_000_000 + chance.within(0, 400) - 200;
            let wall_off = [0, 0, 40, -90, 3_600_000, -3_600_000][chance.place(6)];
            Slot {
                number,
                machine: Arc::new(Machine::new(rate, wall_off)),
                link: Mutex::new(Link::new(Arc::clone(&server))),
                running: Mutex::new(None),
                busy: AtomicBool::new(false),
                troubles: AtomicU64::new(0),
                trouble_ended: AtomicU64::new(0),
            }
        })
        .collect();
    Arc::new(World {
        common,
        slots,
        chance,
        trace: Trace::new(prints),
        watch: Watch::default(),
        calm: AtomicBool::new(false),
        quiet: AtomicBool::new(false),
    })
}

async fn live(world: &Arc<World>) {
    for slot in 0..world.slots.len() {
        let world = Arc::clone(world);
        tokio::spawn(async move {
            sleep(Duration::from_millis(world.chance.within(0, 60))).await;
            world.start(slot).await;
        });
    }
    tokio::spawn(Arc::clone(world).supervise());
    tokio::spawn(Arc::clone(world).watch_over());
    tokio::spawn(Arc::clone(world).watch_lists());
    people::come(world).await;
    tokio::spawn(faults::rage(Arc::clone(world)));
    sleep(STORM).await;
    world.calm.store(true, Ordering::SeqCst);
    world.note("calm");
    sleep(CALM).await;
    // Whoever starts again because of the storm may take a while.
    world.quiet.store(true, Ordering::SeqCst);
    world.note("quiet");
    sleep(QUIET).await;
    world.audit().await;
}
