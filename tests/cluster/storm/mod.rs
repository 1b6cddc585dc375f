//! Two nodes on a real server, of which everything fails at random: they are suspended, cut off, killed, told to stop, their
//! wall clocks step, and the server hangs. Meanwhile people come and go. What everybody was charged is worked out again from
//! the acks that they got, by somebody who knows nothing of eras, leases and what nodes decided.
//!
//! Two minutes, unless `STORM_SECONDS` says for how many seconds: `STORM_SECONDS=3600 cargo test --test cluster
//! storm -- --nocapture`. `STORM_SEED` repeats what was thrown, though not what came of it.

#![expect(clippy::print_stdout, reason = "what happened is told with the test")]

mod books;
mod people;

use std::{
    collections::BTreeMap,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use tokio::time::sleep;

use crate::{
    cassandra::Server,
    client::Api,
    dice::Dice,
    nodes::another,
    preload::{Wall, detour},
    support::{self, Home, Service, stdout_of},
    wire::Wire,
};

use books::Books;

/// How long a session may go unheard, and how long an edge may keep a status list, in ms.
const TIMEOUT: u64 = 15_000;
const LIST_TTL: u64 = 4_000;
/// A round: everything fails, and then nothing does.
const STORM: Duration = Duration::from_secs(75);
const CALM: Duration = Duration::from_secs(45);
/// How long it takes until two nodes whose trouble is over are in order: one that was cut off is taken for dead and comes
/// back, lists are taken over.
const ORDER: u64 = 30_000;
const PEOPLE: u64 = 10;

/// A place for a node.
struct Place {
    number: usize,
    home: Home,
    addresses: [String; 3],
    variables: Vec<(String, String)>,
    api: Api,
    wire: Wire,
    wall: Wall,
    service: Mutex<Option<Service>>,
}

/// All of it.
struct World {
    began: Instant,
    places: Vec<Place>,
    server: Server,
    books: Books,
    /// Things fail.
    is_stormy: AtomicBool,
    /// Nobody does anything any more.
    is_over: AtomicBool,
    counts: Mutex<BTreeMap<&'static str, u64>>,
}

impl World {
    fn at(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap()
    }

    fn count(&self, what: &'static str) {
        *self.counts.lock().entry(what).or_default() += 1;
    }

    fn note(&self, what: &str) {
        println!("{:>8} {what}", self.at());
    }
}

impl Place {
    /// A place whose node reaches the server by a wire and goes by a wall clock of its own. The node is started.
    async fn make(number: usize, home: Home, server: &Server, settings: &[(&str, &str)]) -> Self {
        let (wire, wall) = (Wire::to(server.addr()).await, Wall::new());
        let detour = detour(server.addr().port(), wire.port());
        let mut variables: Vec<(String, String)> =
            settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        variables.extend(detour.into_iter().chain(wall.variables()).map(|(name, value)| (name.to_owned(), value)));
        let anywhere = ["127.0.0.1:0"; 3].map(str::to_owned);
        let service = tokio::task::block_in_place(|| Service::try_start_at(&home, &anywhere, &borrowed(&variables)));
        let service = service.unwrap();
        let (addresses, api) = (service.addresses(), Api::new(&service, &home));
        Self { number, home, addresses, variables, api, wire, wall, service: Mutex::new(Some(service)) }
    }

    /// Starts the node, again and again until it is ready.
    async fn start(&self, world: &World) {
        for attempt in 0.. {
            let began = Instant::now();
            let started = tokio::task::block_in_place(|| {
                Service::try_start_at(&self.home, &self.addresses, &borrowed(&self.variables))
            });
            match started {
                Ok(service) => {
                    *self.service.lock() = Some(service);
                    world.note(&format!("node {} is ready after {:?}", self.number, began.elapsed()));
                    return;
                }
                Err(why) => {
                    world.note(&format!("node {} does not start: {}", self.number, last_line(&why)));
                    assert!(attempt < 20 || world.is_stormy.load(Ordering::SeqCst), "it never starts: {why}");
                    world.count("starts that failed");
                    sleep(Duration::from_millis(500)).await;
                }
            }
        }
    }

    fn signal(&self, signal: &str) {
        let id = self.service.lock().as_ref().map(Service::id);
        let sent = id.map(|id| Command::new("kill").args([signal, &id.to_string()]).status().unwrap());
        assert!(sent.is_none_or(|sent| sent.success()), "a child that was not waited for has its id");
    }

    /// Whether the node has ended by itself.
    fn has_ended(&self) -> bool {
        self.service.lock().as_mut().is_none_or(Service::has_ended)
    }

    /// Lets things go wrong here, and starts the node again whenever it has ended.
    async fn rage(&self, world: &World, mut dice: Dice) {
        while !world.is_over.load(Ordering::SeqCst) {
            let stormy = world.is_stormy.load(Ordering::SeqCst);
            if stormy && dice.below(10) == 0 {
                let troubles = if dice.below(12) == 0 { vec![0, 1] } else { vec![self.number] };
                troubles.iter().for_each(|node| world.books.trouble_begins(*node, world.at()));
                self.befall(world, &mut dice, troubles.len() > 1).await;
                self.stay_up(world).await;
                troubles.iter().for_each(|node| world.books.trouble_ends(*node, world.at()));
            }
            if self.has_ended() {
                world.books.trouble_begins(self.number, world.at());
                self.stay_up(world).await;
                world.books.trouble_ends(self.number, world.at());
            }
            sleep(Duration::from_millis(300)).await;
        }
    }

    async fn stay_up(&self, world: &World) {
        if self.has_ended() {
            let said = self.home.said();
            let why = said.lines().rev().find(|line| line.contains("this node cannot go on") || line.contains("ERROR"));
            world.note(&format!("node {} has ended: {}", self.number, why.unwrap_or("killed")));
            self.start(world).await;
        }
    }

    async fn befall(&self, world: &World, dice: &mut Dice, the_server: bool) {
        let number = self.number;
        if the_server {
            world.note("the server hangs");
            world.count("server hangs");
            world.server.pause();
            wait(world, 500, 12_000, dice).await;
            world.server.resume();
            world.note("the server goes on");
            return;
        }
        match dice.below(12) {
            0..=2 => {
                world.note(&format!("node {number} is suspended"));
                world.count("suspended");
                self.signal("-STOP");
                wait(world, 300, 30_000, dice).await;
                self.signal("-CONT");
                world.note(&format!("node {number} goes on"));
            }
            3..=5 => {
                world.note(&format!("node {number} is cut off"));
                world.count("cut off");
                self.wire.cut();
                wait(world, 300, 35_000, dice).await;
                self.wire.mend();
                world.note(&format!("node {number} reaches the store again"));
            }
            6..=8 => {
                world.note(&format!("node {number}, which owns a status list, is killed"));
                world.count("killed");
                if let Some(service) = self.service.lock().take() {
                    service.kill();
                }
                wait(world, 0, 20_000, dice).await;
            }
            9 => {
                world.note(&format!("node {number} is told to stop"));
                world.count("told to stop");
                self.signal("-TERM");
                let told = Instant::now();
                while !self.has_ended() && told.elapsed() < Duration::from_secs(60) {
                    sleep(Duration::from_millis(50)).await;
                }
                world.note(&format!("node {number} has stopped: {}, after {:?}", self.has_ended(), told.elapsed()));
                drop(self.service.lock().take());
                wait(world, 0, 5_000, dice).await;
            }
            _ => {
                let off = [3_600, -3_600, 25, -25, 7_000, 0][usize::try_from(dice.below(6)).unwrap()];
                world.note(&format!("the wall clock of node {number} is {off} s off"));
                world.count("clock set");
                self.wall.set(off);
                world.books.clock_is_set(number);
                wait(world, 1_000, 4_000, dice).await;
            }
        }
    }
}

/// Waits for a while, but not when it is calm.
async fn wait(world: &World, from: u64, to: u64, dice: &mut Dice) {
    let until = world.at() + from + dice.below(to - from);
    while world.at() < until && world.is_stormy.load(Ordering::SeqCst) {
        sleep(Duration::from_millis(100)).await;
    }
}

fn borrowed(variables: &[(String, String)]) -> Vec<(&str, &str)> {
    variables.iter().map(|(name, value)| (&**name, &**value)).collect()
}

fn last_line(text: &str) -> &str {
    text.trim_end().lines().next_back().unwrap_or_default()
}

fn variable(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |value| value.parse().expect("it is a number"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
#[ignore = "two minutes or as long as one likes, on a machine that does nothing else: make storm"]
async fn whatever_fails_everybody_is_charged_for_what_was_vouched_for() {
    let (span, seed) = (variable("STORM_SECONDS", 120), variable("STORM_SEED", 1));
    println!("{span} s, seed {seed}");
    // Its own: it hangs.
    let server = tokio::task::spawn_blocking(Server::start).await.unwrap();
    let store = format!("scylla://{}/storm", server.addr());
    let made =
        tokio::task::block_in_place(|| support::gastank().args(["store", "migrate", "--store", &store]).output());
    stdout_of(&made.unwrap());
    let settings = [
        ("GASTANK_STORE", &*store),
        ("GASTANK_HEARTBEAT_INTERVAL_MS", "1000"),
        ("GASTANK_HEARTBEAT_TIMEOUT_MS", "15000"),
        ("GASTANK_CHECKPOINT_INTERVAL_MS", "2000"),
        ("GASTANK_STATUS_LIST_TTL_S", "4"),
        ("GASTANK_SCYLLA_REQUEST_TIMEOUT_MS", "1500"),
        ("GASTANK_LIMITS_ACTS_PER_ACCOUNT_PER_S", "0"),
        ("GASTANK_LIMITS_ACTS_PER_ADDRESS_PER_S", "0"),
    ];
    let first = Place::make(0, Home::new(), &server, &settings).await;
    let other = another(&first.home);
    let second = Place::make(1, other, &server, &settings).await;
    let world = Arc::new(World {
        began: Instant::now(),
        places: vec![first, second],
        server,
        books: Books::new(2),
        is_stormy: AtomicBool::new(false),
        is_over: AtomicBool::new(false),
        counts: Mutex::default(),
    });
    let mut dice = Dice::new(seed);
    let (edge, people) = people::come(&world, PEOPLE, &mut dice).await;
    let watching = tokio::spawn(people::watch(Arc::clone(&world), edge.clone()));
    let rages: Vec<_> = (0..2)
        .map(|place| {
            let (world, dice) = (Arc::clone(&world), dice.fork());
            tokio::spawn(async move { world.places[place].rage(&world, dice).await })
        })
        .collect();
    let until = Duration::from_secs(span);
    while world.began.elapsed() + CALM < until {
        world.note("it begins to storm");
        world.is_stormy.store(true, Ordering::SeqCst);
        sleep(STORM.min(until.saturating_sub(CALM + world.began.elapsed()))).await;
        world.is_stormy.store(false, Ordering::SeqCst);
        world.places.iter().for_each(|place| place.wall.set(0));
        world.note("it is calm");
        sleep(CALM).await;
        world.books.judge().iter().for_each(|what| world.note(&format!("SO FAR: {what}")));
    }
    // Whatever is open times out.
    let people = people::go(&world, people).await;
    sleep(Duration::from_millis(TIMEOUT) + Duration::from_secs(10)).await;
    world.is_over.store(true, Ordering::SeqCst);
    watching.await.unwrap();
    for rage in rages {
        rage.await.unwrap();
    }
    for person in &people {
        person.settles_accounts(&world).await;
    }
    println!("{:?}", world.counts.lock());
    let wrong = world.books.judge();
    println!("charged beyond the time that passed: {} ms at most", world.books.longest());
    assert!(wrong.is_empty(), "seed {seed}:\n{}", wrong.join("\n"));
    let said: String = world.places.iter().map(|place| place.home.said()).collect();
    assert!(
        !world.counts.lock().contains_key("killed") || said.contains("this node has taken over a status list"),
        "the lists of whoever was killed are taken over"
    );
    for place in &world.places {
        let service = place.service.lock().take();
        assert!(tokio::task::block_in_place(|| service.unwrap().stop()).success());
    }
}
