//! People with their clients, and operators and shops who change what they have.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use gastank::{
    control::acts::{ActError, Activation},
    engine::{AccountId, Credit, EntryKind, NewEntry, Source, TokenHash},
    entropy::draw,
    ingest::Reply,
    store::{Created, Identity, roles::*},
    telemetry::Transport,
    time::MeterTime,
    wire::{Ack, BodyMac, EndReason, FRAME_LEN, Heartbeat, HeartbeatKind, SessionId, StateBits},
};
use tokio::time::{sleep, timeout};

use crate::{node::Running, world::World};

/// How long a caller waits.
const PATIENCE: Duration = Duration::from_secs(6);
/// What everybody begins with: some will run dry.
const CREDIT: [i64; 4] = [25_000, 60_000, 3_600_000, 3_600_000];

/// A client with an open session, as far as it knows.
#[derive(Clone)]
struct Client {
    session: SessionId,
    token: String,
    mac: BodyMac,
    /// What the meter showed, and when that was.
    meter: (MeterTime, u64),
    home: usize,
    next_beat: u64,
}

/// Lets people come.
pub(crate) async fn come(world: &Arc<World>) {
    let people = 2 + world.chance.place(5);
    for number in 0..people {
        let id = AccountId::from_bytes(draw(&*world.chance));
        let identity = Identity { issuer: "local".to_owned(), subject: number.to_string() };
        let serial = &world.common.server.tables.serial;
        let made =
            serial.create_account(id, &identity, gastank::time::UnixMs::from_ms(0)).await.expect("it is a table");
        assert_eq!(made.1, Created::New);
        world.watch.account(id);
        let world = Arc::clone(world);
        tokio::spawn(async move {
            let credit = CREDIT[world.chance.place(CREDIT.len())];
            while !deposit(&world, id, credit, EntryKind::Grant).await {
                sleep(Duration::from_millis(300)).await;
            }
            behave(&world, id, number).await;
        });
    }
}

async fn behave(world: &Arc<World>, account: AccountId, number: usize) {
    let mut client: Option<Client> = None;
    let mut silent_until = 0;
    let restless = 1 + world.chance.within(0, 6);
    while !world.quiet.load(Ordering::SeqCst) {
        sleep(Duration::from_millis(world.chance.within(200, 900))).await;
        let now = world.at();
        let whim = world.chance.within(0, 1_000);
        if world.quiet.load(Ordering::SeqCst) {
            break;
        }
        let Some(known) = &mut client else {
            if whim < 500 {
                client = activate(world, account, number).await;
            }
            continue;
        };
        if now >= known.next_beat && now >= silent_until {
            known.next_beat = now + world.chance.within(2_500, 4_000);
            if world.chance.percent(25) {
                known.home = world.chance.place(world.slots.len());
            }
            beat(world, account, known, HeartbeatKind::Beat);
        }
        match whim / restless {
            0..=3 => silent_until = now + world.chance.within(3_000, 26_000),
            4..=6 => {
                if let Some(new) = activate(world, account, number).await {
                    client = Some(new);
                }
            }
            7..=12 => renew(world, known, number).await,
            13..=14 => beat(world, account, known, HeartbeatKind::Stop),
            15..=16 => end(world, account, known.session, EndReason::Revoked).await,
            17..=22 => {
                let amount = i64::try_from(world.chance.within(1_000, 20_000)).expect("it is small");
                deposit(world, account, amount, EntryKind::Purchase).await;
            }
            23..=26 => {
                let amount = -i64::try_from(world.chance.within(1_000, 30_000)).expect("it is small");
                deposit(world, account, amount, EntryKind::Refund).await;
            }
            27 => {
                end(world, account, known.session, EndReason::LoggedOut).await;
                client = None;
            }
            _ => {}
        }
    }
}

/// A node that is there to be asked.
async fn any_node(world: &World) -> Option<(usize, Arc<Running>)> {
    let slot = world.chance.place(world.slots.len());
    sleep(Duration::from_millis(world.chance.within(1, 40))).await;
    Some((slot, world.slots[slot].answers()?))
}

async fn activate(world: &Arc<World>, account: AccountId, number: usize) -> Option<Client> {
    let (slot, node) = any_node(world).await?;
    let asked = timeout(PATIENCE, node.acts.activate(&account, "edge")).await;
    let outcome = match &asked {
        Ok(Ok(_)) => "done".to_owned(),
        Ok(Err(error)) => told(error),
        Err(_) => "no answer".to_owned(),
    };
    let Ok(Ok(activation)) = asked else {
        world.note(&format!("person {number} activates at node {slot}: {outcome}"));
        return None;
    };
    world.watch.activated(world, &account, &activation);
    let shown = world.watch.number(&activation.session);
    world.note(&format!("person {number} activates at node {slot}: session {shown} at {}", activation.now));
    if world.chance.percent(5) {
        world.note("the answer is lost");
        return None;
    }
    Some(Client::new(world, activation, slot))
}

impl Client {
    fn new(world: &World, activation: Activation, home: usize) -> Self {
        Self {
            session: activation.session,
            token: activation.token.text,
            mac: activation.key.body_mac(),
            meter: (activation.now, world.at()),
            home,
            next_beat: world.at() + world.chance.within(500, 4_000),
        }
    }

    fn frame(&self, world: &World, kind: HeartbeatKind) -> ([u8; FRAME_LEN], MeterTime) {
        let (shown, then) = self.meter;
        let clock = MeterTime::from_ms(shown.as_ms() + (world.at() - then));
        let heartbeat = Heartbeat { kind, state: StateBits::default(), seq: 1, session: self.session, clock };
        (heartbeat.sign(&self.mac), clock)
    }
}

/// Sends a frame. The network may lose it, hold it back, or deliver it twice.
fn beat(world: &Arc<World>, account: AccountId, client: &Client, kind: HeartbeatKind) {
    let (frame, clock) = client.frame(world, kind);
    let copies = if world.chance.percent(6) { 0 } else { 1 + usize::from(world.chance.percent(6)) };
    for copy in 0..copies {
        let (world, client) = (Arc::clone(world), client.clone());
        let delay = if copy > 0 || world.chance.percent(4) {
            world.chance.within(500, 20_000)
        } else {
            world.chance.within(1, 60)
        };
        tokio::spawn(async move {
            sleep(Duration::from_millis(delay)).await;
            deliver(&world, account, &client, kind, &frame, clock).await;
        });
    }
}

async fn deliver(
    world: &Arc<World>,
    account: AccountId,
    client: &Client,
    kind: HeartbeatKind,
    frame: &[u8],
    clock: MeterTime,
) {
    let slot = client.home;
    let Some(node) = world.slots[slot].answers() else { return };
    if kind == HeartbeatKind::Stop {
        world.watch.stop_sent(slot, &client.session);
    }
    world.watch.touched(world, &client.session);
    let meter = node.now();
    let (ack, settled) = match node.handler.beat(Transport::Udp, frame) {
        Reply::Silence(error) => {
            world.watch.violation(world, format!("a good frame is met with silence: {error}"));
            return;
        }
        Reply::Now(ack) => (ack, false),
        Reply::Settled(ack, of) => {
            let asked = timeout(PATIENCE, node.handler.settle(of)).await;
            if asked != Ok(true) {
                return;
            }
            (ack, true)
        }
    };
    let Ok(ack) = Ack::verify(ack.as_bytes(), &client.mac) else {
        world.watch.violation(world, "an ack has a wrong tag".to_owned());
        return;
    };
    world.watch.count("acks");
    world.watch.acked(world, slot, &client.session, ack.verdict, clock.min(meter), meter);
    if settled {
        world.watch.promised_end(world, account, &client.session);
    }
    let shown = world.watch.number(&client.session);
    world.note(&format!("session {shown}, {kind:?} of {clock} at node {slot}: {:?} at {meter}", ack.verdict));
}

async fn renew(world: &Arc<World>, client: &mut Client, number: usize) {
    let Some((slot, node)) = any_node(world).await else { return };
    let (frame, _) = client.frame(world, HeartbeatKind::Renew);
    world.watch.touched(world, &client.session);
    let asked = timeout(PATIENCE, node.acts.renew(&client.token, &frame)).await;
    let outcome = match asked {
        Ok(Ok(renewal)) => {
            world.watch.renewed(&client.session, &renewal.token.text);
            if !world.chance.percent(5) {
                client.token = renewal.token.text;
            }
            "done".to_owned()
        }
        Ok(Err(error)) => {
            if matches!(error, ActError::BadCredentials | ActError::BadFrame(_)) {
                world.watch.refused_renewal(world, &client.session, TokenHash::of(client.token.as_bytes()));
            }
            told(&error)
        }
        Err(_) => "no answer".to_owned(),
    };
    world.note(&format!("person {number} renews at node {slot}: {outcome}"));
}

async fn end(world: &Arc<World>, account: AccountId, session: SessionId, reason: EndReason) {
    let Some((slot, node)) = any_node(world).await else { return };
    let asked = timeout(PATIENCE, node.acts.end(&account, reason)).await;
    if matches!(asked, Ok(Ok(_))) {
        world.watch.promised_end(world, account, &session);
    }
    let shown = world.watch.number(&session);
    world.note(&format!("session {shown} is to end, {reason:?}, at node {slot}: {:?}", asked.map(|a| a.is_ok()).ok()));
}

/// Enters credit, or takes it back. Whether that was answered.
async fn deposit(world: &Arc<World>, account: AccountId, amount: i64, kind: EntryKind) -> bool {
    let Some((slot, node)) = any_node(world).await else { return false };
    let name = format!("{kind:?}-{}", world.chance.within(0, u64::MAX));
    let new = NewEntry {
        kind,
        amount: Credit::from_ms(amount),
        source: Source::Admin,
        external_id: name.clone(),
        reason: None,
    };
    let asked = match kind {
        EntryKind::Refund => timeout(PATIENCE, node.acts.refund(&account, new)).await,
        _ => timeout(PATIENCE, node.acts.credit(&account, new)).await,
    };
    world.note(&format!("{amount} {kind:?} at node {slot}: {:?}", asked.as_ref().map(|a| a.is_ok()).ok()));
    match asked {
        Ok(Ok(credited)) => {
            world.watch.promised_credit(account, name, credited.entry.amount.as_ms());
            true
        }
        Ok(Err(_)) | Err(_) => false,
    }
}

fn told(error: &ActError) -> String {
    match error {
        ActError::Store(_) | ActError::Unknown(_) => "the store failed".to_owned(),
        other => other.to_string(),
    }
}
