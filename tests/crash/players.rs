//! Who keeps the service busy while it is killed, what they were told, and when.

use std::{
    sync::Arc,
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use gastank::wire::{Ack, EndReason, HeartbeatKind, WireVerdict};
use reqwest::Method;
use serde_json::Value;
use tokio::net::UdpSocket;

use crate::{
    client::{Answer, Api, EdgeSecret, Owner, Session, text},
    dice::Dice,
    ledger::Books,
};

/// How long anything may stay unacknowledged.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a player does with their tank.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Player {
    /// Opens one session and keeps it.
    Steady,
    /// Opens, supersedes, stops, deactivates, has revoked.
    Fickle,
    /// As the fickle one, with a tank that often runs dry.
    Poor,
}

/// From the start of a process to its end.
#[derive(Clone, Copy)]
pub(crate) struct Life {
    pub(crate) spawned: Instant,
    pub(crate) ready: Option<Instant>,
    /// When the signal was sent, and when the process was gone.
    pub(crate) killed: Option<(Instant, Instant)>,
}

/// What has been acknowledged.
#[derive(Clone, Default)]
pub(crate) struct Acked {
    /// Account, key, milliseconds.
    pub(crate) credits: Vec<(String, String, i64)>,
    /// Session, and the reason for its end if that was told.
    pub(crate) sessions: Vec<(String, Option<&'static str>)>,
}

/// One session, as its player saw it.
struct Seen {
    id: String,
    /// When it was first asked for, and when it was there.
    opened: (Instant, Instant),
    /// When its end was first asked for, when it was acknowledged, and the reason that was told.
    ended: Option<(Instant, Instant, &'static str)>,
}

/// What all players share.
pub(crate) struct World {
    pub(crate) api: Api,
    edge: EdgeSecret,
    over: AtomicBool,
    lives: Mutex<Vec<Life>>,
    life: AtomicU64,
    floor: AtomicU64,
    greatest: AtomicU64,
    credits: Mutex<Vec<(String, String, i64)>>,
    sessions: Mutex<Vec<Seen>>,
    dead_tokens: Mutex<Vec<String>>,
}

impl World {
    pub(crate) fn new(api: Api, edge: EdgeSecret) -> Self {
        Self {
            api,
            edge,
            over: AtomicBool::new(false),
            lives: Mutex::default(),
            life: AtomicU64::new(0),
            floor: AtomicU64::new(0),
            greatest: AtomicU64::new(0),
            credits: Mutex::default(),
            sessions: Mutex::default(),
            dead_tokens: Mutex::default(),
        }
    }

    pub(crate) fn begin(&self, life: Life) {
        self.lives.lock().unwrap().push(life);
    }

    pub(crate) fn end_life(&self, signalled: Instant) {
        self.life.fetch_add(1, Ordering::SeqCst);
        self.lives.lock().unwrap().last_mut().unwrap().killed = Some((signalled, Instant::now()));
    }

    /// The meter must never again be behind this.
    pub(crate) fn floor(&self, meter: u64) {
        self.floor.fetch_max(meter, Ordering::SeqCst);
        self.greatest.store(meter, Ordering::SeqCst);
    }

    /// The greatest meter time anybody was told in this life.
    pub(crate) fn greatest_meter(&self) -> u64 {
        self.greatest.load(Ordering::SeqCst)
    }

    pub(crate) fn finish(&self) {
        self.over.store(true, Ordering::SeqCst);
    }

    fn is_over(&self) -> bool {
        self.over.load(Ordering::SeqCst)
    }

    pub(crate) fn acked(&self) -> Acked {
        let sessions = self.sessions.lock().unwrap();
        Acked {
            credits: self.credits.lock().unwrap().clone(),
            sessions: sessions.iter().map(|seen| (seen.id.clone(), seen.ended.map(|(.., reason)| reason))).collect(),
        }
    }

    /// The edge must not let any of the tokens pass that were dead before the crash.
    pub(crate) async fn see_that_ended_tokens_are_dead(&self) {
        let tokens: Vec<_> = self.dead_tokens.lock().unwrap().iter().rev().take(10).cloned().collect();
        for token in tokens {
            assert!(!self.api.is_active(&self.edge, &token).await, "an ended session's token is good after a crash");
        }
    }

    /// A session is charged for no more than the program ran while it was open, and for no less than the program ran
    /// while its client knew it to be open, but for what each crash takes off the meter.
    #[expect(clippy::print_stdout, reason = "how far it was off is what one wants to know of a run")]
    pub(crate) fn see_that_charges_match(&self, books: &Books, per_crash_ms: u64) {
        let lives = self.lives.lock().unwrap();
        let (mut checked, mut most_given) = (0, 0);
        for seen in self.sessions.lock().unwrap().iter() {
            let Some((asked, acked, reason)) = seen.ended else { continue };
            let (_, charged) = books.charge_of(&seen.id).expect("an acknowledged end is in the books");
            let most: u64 =
                lives.iter().map(|life| overlap((life.spawned, life.killed.unwrap().1), (seen.opened.0, acked))).sum();
            assert!(charged <= most + 5, "{}: charged {charged} ms, and it ran for {most} ms", seen.id);
            if matches!(reason, "exhausted" | "timed_out") {
                continue;
            }
            let window = (seen.opened.1, asked);
            let least: u64 =
                lives.iter().filter_map(|life| Some(overlap((life.ready?, life.killed.unwrap().0), window))).sum();
            // One that came between a question and its answer may have set the meter back before the end that it delayed.
            let crashes =
                lives.iter().filter(|life| life.killed.is_some_and(|(from, to)| window.0 < to && from < acked));
            let crashes = u64::try_from(crashes.count()).unwrap();
            let given = least.saturating_sub(charged);
            most_given = most_given.max(given.div_ceil(crashes.max(1)));
            assert!(given <= crashes * per_crash_ms + 5, "{}: {given} ms not charged over {crashes} crashes", seen.id);
            checked += 1;
        }
        println!("{checked} sessions, each charged for what it was vouched for, less {most_given} ms a crash at most");
        assert!(checked > 5, "too few sessions to say anything");
    }

    /// Asks until it is known what came of it: the same again after anything but an answer.
    async fn until_answered(&self, mut ask: impl AsyncFnMut() -> reqwest::Result<Answer>) -> Answer {
        let start = Instant::now();
        loop {
            match ask().await {
                Ok(answer) if answer.status != 503 => return answer,
                Ok(_) | Err(_) => {}
            }
            assert!(start.elapsed() < PATIENCE, "nothing was acknowledged for too long");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    fn opened(&self, session: &Session, asked: Instant) {
        let opened = (asked, Instant::now());
        self.sessions.lock().unwrap().push(Seen { id: session.id_text.clone(), opened, ended: None });
    }

    fn ended(&self, session: &Session, asked: Instant, reason: &'static str) {
        let mut sessions = self.sessions.lock().unwrap();
        let seen = sessions.iter_mut().rev().find(|seen| seen.id == session.id_text).expect("it has been opened");
        seen.ended = Some((asked, Instant::now(), reason));
        self.dead_tokens.lock().unwrap().push(session.token.clone());
    }
}

/// Lets everyone play until the world is over.
pub(crate) fn all(world: &Arc<World>, crowd: Vec<(Owner, Player, Dice, Dice)>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(tokio::task::LocalSet::new().run_until(async {
        let mut tasks = tokio::task::JoinSet::new();
        for (owner, player, for_funds, for_play) in crowd {
            tasks.spawn_local(fund(Arc::clone(world), owner.clone(), for_funds));
            tasks.spawn_local(play(Arc::clone(world), owner, player, for_play));
        }
        while let Some(done) = tasks.join_next().await {
            done.expect("a player found something wrong");
        }
    }));
}

/// Buys credit, each purchase until it is acknowledged.
async fn fund(world: Arc<World>, owner: Owner, mut dice: Dice) {
    let mut number = 0;
    while !world.is_over() {
        let (key, seconds) = (format!("purchase-{number}"), 1 + i64::try_from(dice.below(2)).unwrap());
        world.until_answered(async || world.api.credit(&owner.account, &key, seconds).await).await.must_be(200);
        if dice.below(4) == 0 {
            // Once more, for nothing.
            let again = world.until_answered(async || world.api.credit(&owner.account, &key, seconds).await).await;
            assert_eq!(again.must_be(200).json()["repeated"], true);
        }
        world.credits.lock().unwrap().push((owner.account.clone(), key, seconds * 1000));
        number += 1;
        tokio::time::sleep(Duration::from_millis(50 + dice.below(300))).await;
    }
}

/// Uses the tank until the world is over, then stops.
async fn play(world: Arc<World>, owner: Owner, player: Player, mut dice: Dice) {
    let socket = world.api.socket().await;
    let mut open: Option<Session> = None;
    while !world.is_over() {
        let choice = dice.below(if player == Player::Steady { 10 } else { 40 });
        open = match open {
            None => activate(&world, &owner, None).await,
            Some(mut session) => match choice {
                0 => renew(&world, player, session).await,
                1..3 => {
                    let active = introspect(&world, &session).await;
                    assert!(active || player == Player::Poor, "the token of an open session is not good");
                    Some(session)
                }
                10 => activate(&world, &owner, Some(session)).await,
                11 => stop(&world, session, &socket, &mut dice).await,
                12 => {
                    let asked = Instant::now();
                    world.until_answered(async || world.api.revoke(&session.id_text).await).await.must_be(200);
                    end(&world, &session, asked, player, "revoked").await
                }
                13 => {
                    let asked = Instant::now();
                    let path = "/v1/deactivate";
                    let ask = async || world.api.public(Method::POST, path, &owner.key, &Value::Null).await;
                    world.until_answered(ask).await.must_be(200);
                    end(&world, &session, asked, player, "deactivated").await
                }
                _ => beat(&world, player, &mut session, &socket, &mut dice).await.then_some(session),
            },
        };
        tokio::time::sleep(Duration::from_millis(5 + dice.below(60))).await;
    }
    if let Some(session) = open {
        stop(&world, session, &socket, &mut dice).await;
    }
}

async fn activate(world: &World, owner: &Owner, before: Option<Session>) -> Option<Session> {
    let asked = Instant::now();
    let answer = world.until_answered(async || world.api.activate(owner).await).await;
    if answer.status == 402 {
        tokio::time::sleep(Duration::from_millis(200)).await;
        // Whatever was open is over by itself; how is told by nobody.
        return before;
    }
    let answer = answer.must_be(200).json();
    let session = Session::of(&answer);
    world.opened(&session, asked);
    if let Some(before) = before
        && answer["superseded"] == true
        && before.id != session.id
        && answer["remaining_s"].as_u64().unwrap() > 1000
    {
        world.ended(&before, asked, "superseded");
    }
    Some(session)
}

async fn renew(world: &World, player: Player, mut session: Session) -> Option<Session> {
    let answer = loop {
        let frame = session.frame(HeartbeatKind::Renew);
        let answer = world.until_answered(async || world.api.renew(&session, frame).await).await;
        // Sent again after a crash it may have been done already: another frame gets the token whose answer was lost.
        if answer.status != 409 || answer.json()["code"] != "stale_renewal" {
            break answer;
        }
    };
    if answer.status == 409 && player == Player::Poor {
        assert_eq!(answer.json()["reason"], "exhausted");
        return None;
    }
    session.token = text(&answer.must_be(200).json()["token"]);
    Some(session)
}

async fn introspect(world: &World, session: &Session) -> bool {
    let ask = async || world.api.introspect(&world.edge, &session.token).await;
    world.until_answered(ask).await.must_be(200).json()["active"] == true
}

/// A poor player's session may have run dry before it was ended otherwise.
async fn end(
    world: &World,
    session: &Session,
    asked: Instant,
    player: Player,
    reason: &'static str,
) -> Option<Session> {
    assert!(!introspect(world, session).await, "the token outlived its session");
    if player != Player::Poor {
        world.ended(session, asked, reason);
    }
    None
}

async fn stop(world: &World, mut session: Session, socket: &UdpSocket, dice: &mut Dice) -> Option<Session> {
    let asked = Instant::now();
    loop {
        assert!(asked.elapsed() < PATIENCE, "a stop was not acknowledged for too long");
        let ack = match dice.below(2) {
            0 => session.datagram(socket, HeartbeatKind::Stop).await,
            _ => session.posted(&world.api, HeartbeatKind::Stop).await,
        };
        match ack.map(|ack| ack.verdict) {
            Some(WireVerdict::Invalid(reason)) => {
                assert!(matches!(reason, EndReason::Deactivated | EndReason::Exhausted), "{reason:?}");
                world.ended(&session, asked, reason.name());
                return None;
            }
            // After a crash it is not known any more, until it has been looked up.
            Some(WireVerdict::Unknown) | None => tokio::time::sleep(Duration::from_millis(50)).await,
            Some(WireVerdict::Valid) => panic!("a stop was answered with `valid`"),
        }
    }
}

/// Whether the session goes on.
async fn beat(world: &World, player: Player, session: &mut Session, socket: &UdpSocket, dice: &mut Dice) -> bool {
    let life = world.life.load(Ordering::SeqCst);
    let ack = match dice.below(2) {
        0 => session.datagram(socket, HeartbeatKind::Beat).await,
        _ => session.posted(&world.api, HeartbeatKind::Beat).await,
    };
    let Some(Ack { verdict, now, .. }) = ack else { return true };
    if world.life.load(Ordering::SeqCst) == life {
        let (now, floor) = (now.as_ms(), world.floor.load(Ordering::SeqCst));
        assert!(now >= floor, "the meter says {now}, and {floor} was durable before the crash");
        world.greatest.fetch_max(now, Ordering::SeqCst);
    }
    match verdict {
        WireVerdict::Valid => true,
        WireVerdict::Invalid(EndReason::Exhausted) if player == Player::Poor => false,
        WireVerdict::Unknown if player == Player::Poor => true,
        WireVerdict::Invalid(_) | WireVerdict::Unknown => panic!("an open session was answered with {verdict:?}"),
    }
}

/// How much of two spans of time is in both, in milliseconds.
fn overlap(a: (Instant, Instant), b: (Instant, Instant)) -> u64 {
    let span = a.1.min(b.1).saturating_duration_since(a.0.max(b.0));
    u64::try_from(span.as_millis()).unwrap()
}
