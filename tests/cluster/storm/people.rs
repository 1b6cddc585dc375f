//! People who open sessions, beat for them, fall silent, renew, buy and leave, each at any node; and somebody who asks every
//! node about every token and every status list.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::Read,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use flate2::read::ZlibDecoder;
use futures_util::future::join_all;
use gastank::wire::{EndReason, HeartbeatKind, WireVerdict};
use reqwest::Method;
use serde_json::Value;
use tokio::{net::UdpSocket, task::JoinHandle, time::sleep};

use crate::{
    client::{Api, EdgeSecret, Owner, Session, text},
    dice::Dice,
    nodes::{claims, until},
};

use super::{
    World,
    books::{Beat, Kind, Life, Sighting, Token},
};

/// What the rich have, and the poor: these run dry.
const CREDIT_S: [u64; 4] = [100_000, 100_000, 100_000, 40];

/// Somebody.
pub(super) struct Person {
    number: usize,
    owner: Owner,
    sockets: Vec<UdpSocket>,
    dice: Dice,
    /// What was bought, by its key, and whether that was acknowledged.
    bought: BTreeMap<String, bool>,
    /// Activations of which nobody knows what became.
    unanswered: usize,
    /// The session, and its place in the books.
    open: Option<(Session, usize)>,
    silent_until: u64,
    next_beat: u64,
}

/// Lets people come. They go when it is over for them: [`go`].
pub(super) async fn come(world: &Arc<World>, people: u64, dice: &mut Dice) -> (EdgeSecret, Vec<JoinHandle<Person>>) {
    let apis = [&world.places[0].api, &world.places[1].api];
    let edge = apis[0].edge().await;
    until("the edge is known", async || apis[1].introspect(&edge, "no token").await.unwrap().status == 200).await;
    let mut come = Vec::new();
    for number in 0..usize::try_from(people).unwrap() {
        let owner = apis[0].owner(CREDIT_S[number % CREDIT_S.len()]).await;
        let person = Person {
            number,
            owner,
            sockets: join_all(apis.map(Api::socket)).await,
            dice: dice.fork(),
            bought: BTreeMap::new(),
            unanswered: 0,
            open: None,
            silent_until: 0,
            next_beat: 0,
        };
        come.push(tokio::spawn(person.behave(Arc::clone(world))));
    }
    (edge, come)
}

/// Waits until all have gone.
pub(super) async fn go(world: &World, people: Vec<JoinHandle<Person>>) -> Vec<Person> {
    world.books.close();
    join_all(people).await.into_iter().map(|person| person.expect("nobody panics")).collect()
}

impl Person {
    async fn behave(mut self, world: Arc<World>) -> Self {
        while !world.books.is_closing() {
            sleep(Duration::from_millis(200 + self.dice.below(600))).await;
            let node = usize::try_from(self.dice.below(2)).unwrap();
            if self.open.is_none() {
                self.activate(&world, node).await;
                continue;
            }
            match self.dice.below(100) {
                0..=1 => self.silent_until = world.at() + 3_000 + self.dice.below(25_000),
                2..=3 => self.activate(&world, node).await,
                4..=7 => self.renew(&world, node).await,
                8 => self.stop(&world, node).await,
                9..=11 => self.buy(&world, node).await,
                _ if world.at() >= self.next_beat && world.at() >= self.silent_until => self.beat(&world, node).await,
                _ => {}
            }
        }
        self
    }

    async fn activate(&mut self, world: &World, node: usize) {
        let asked = world.at();
        if let Some((_, life)) = &self.open {
            world.books.may_die(*life, asked);
        }
        let answer = world.places[node].api.activate(&self.owner).await;
        let answer = match answer {
            Ok(answer) if answer.status == 200 => answer.json(),
            // It may have been written all the same.
            Ok(answer) if answer.status == 503 => {
                self.unanswered += 1;
                return world.count("activations put off");
            }
            Err(_) => {
                self.unanswered += 1;
                return world.count("activations unanswered");
            }
            // The tank is empty.
            Ok(answer) if answer.status < 500 => return world.count("activations refused"),
            Ok(answer) => return world.books.is_wrong(format!("{}: an activation is answered {answer:?}", world.at())),
        };
        world.count("activations");
        if let Some((_, life)) = self.open.take() {
            world.books.has_died(life, world.at());
        }
        let session = Session::of(&answer);
        let life = world.books.opened(Life::new(
            self.number,
            &session.id_text,
            session.started,
            asked,
            listed(&session.token, world.at()),
            expires(&answer, session.started),
        ));
        (self.next_beat, self.silent_until) = (world.at() + 500, 0);
        self.open = Some((session, life));
    }

    async fn beat(&mut self, world: &World, node: usize) {
        let Some((session, life)) = &mut self.open else { return };
        let (at, clock) = (world.at(), session.estimate());
        let ack = if self.dice.below(3) == 0 {
            session.posted(&world.places[node].api, HeartbeatKind::Beat).await
        } else {
            session.datagram(&self.sockets[node], HeartbeatKind::Beat).await
        };
        let acked = ack.map(|ack| (ack.verdict, ack.now.as_ms()));
        world.books.beat(*life, Beat { at, node, clock, acked, answered: world.at() });
        self.next_beat = world.at() + 500 + self.dice.below(700);
        match acked.map(|(verdict, _)| verdict) {
            Some(WireVerdict::Valid) => world.count("beats"),
            Some(WireVerdict::Unknown) => world.count("beats of unknown"),
            None => world.count("beats unanswered"),
            Some(WireVerdict::Invalid(_)) => {
                world.books.has_died(*life, world.at());
                self.open = None;
            }
        }
    }

    async fn renew(&mut self, world: &World, node: usize) {
        let Some((session, life)) = &mut self.open else { return };
        let (at, clock) = (world.at(), session.estimate());
        world.books.may_die(*life, at);
        let frame = session.frame(HeartbeatKind::Renew);
        let answer = world.places[node].api.renew(session, frame).await;
        world.books.beat(*life, Beat { at, node, clock, acked: None, answered: world.at() });
        match answer {
            Ok(answer) if answer.status == 200 => {
                world.count("renewals");
                let answer = answer.json();
                session.token = text(&answer["token"]);
                let token = listed(&session.token, world.at());
                // It was issued after it was asked for, and this may be long ago.
                let expires = expires(&answer, clock);
                world.books.renewed(*life, token, session.estimate(), expires, world.at());
            }
            Ok(answer) if answer.status == 503 => world.count("renewals put off"),
            // It has ended: a beat will tell why. Or a renewal that was not answered was done after all.
            Ok(_) | Err(_) => world.count("renewals refused or unanswered"),
        }
    }

    async fn stop(&mut self, world: &World, node: usize) {
        let Some((session, life)) = &mut self.open else { return };
        let (at, clock) = (world.at(), session.estimate());
        world.books.may_die(*life, at);
        let ack = session.posted(&world.places[node].api, HeartbeatKind::Stop).await;
        world.books.beat(*life, Beat { at, node, clock, acked: None, answered: world.at() });
        if let Some(WireVerdict::Invalid(why)) = ack.map(|ack| ack.verdict) {
            world.count(if why == EndReason::Deactivated { "stops" } else { "stops of what was over" });
            world.books.has_died(*life, world.at());
            self.open = None;
        }
    }

    async fn buy(&mut self, world: &World, node: usize) {
        let key = format!("bought-{}", self.bought.len());
        let answer = world.places[node].api.credit(&self.owner.account, &key, 15).await;
        let acknowledged = answer.is_ok_and(|answer| answer.status == 200);
        world.count(if acknowledged { "purchases" } else { "purchases put off" });
        self.bought.insert(key, acknowledged);
    }

    /// Puts what the ledger says into the books. All that was acknowledged is there once, and it adds up.
    pub(super) async fn settles_accounts(&self, world: &World) {
        let (books, number) = (&world.books, self.number);
        let ledgers = [
            world.places[0].api.ledger(&self.owner.account).await,
            world.places[1].api.ledger(&self.owner.account).await,
        ];
        if ledgers[0] != ledgers[1] {
            books.is_wrong(format!("the ledger of person {number} is not the same at both nodes"));
        }
        let ledger = &ledgers[0];
        for (key, acknowledged) in &self.bought {
            let times = ledger.iter().filter(|entry| entry["external_id"] == **key).count();
            if times != 1 && (times > 1 || *acknowledged) {
                books.is_wrong(format!("{key} of person {number} was entered {times} times"));
            }
        }
        let mut sum = 0;
        for (n, entry) in ledger.iter().enumerate() {
            if entry["number"] != n + 1 {
                books.is_wrong(format!("an entry of person {number} is missing before {entry}"));
            }
            sum += entry["amount_ms"].as_i64().unwrap();
        }
        let account = world.places[0].api.account(&self.owner.account).await;
        if sum < 0 || account["remaining_s"] != sum / 1000 {
            books.is_wrong(format!("the ledger of person {number} comes to {sum}: {account}"));
        }
        // The last one is shown with its end.
        if !account["session"].is_null() && account["session"]["end_reason"].is_null() {
            books.is_wrong(format!("a session of person {number} was never settled: {account}"));
        }
        let usages: Vec<&Value> = ledger.iter().filter(|entry| entry["kind"] == "usage").collect();
        let usages = usages.into_iter().map(|entry| {
            let charged = entry["amount_ms"].as_i64().unwrap().unsigned_abs();
            (text(&entry["external_id"]), (charged, text(&entry["reason"])))
        });
        books.charged(number, usages.collect(), self.unanswered);
    }
}

/// Asks every node about every token that anybody has had lately, until it is over.
pub(super) async fn watch(world: Arc<World>, edge: EdgeSecret) {
    while !world.is_over.load(Ordering::SeqCst) {
        sleep(Duration::from_millis(700)).await;
        let tokens = world.books.tokens(world.at());
        for node in 0..world.places.len() {
            look_at_lists(&world, node, &tokens).await;
            introspect(&world, node, &edge, &tokens).await;
        }
    }
}

async fn look_at_lists(world: &World, node: usize, tokens: &[Token]) {
    let api = &world.places[node].api;
    let lists: BTreeSet<String> = tokens.iter().map(|token| token.list.clone()).collect();
    let fetches = lists.into_iter().map(|list| async move {
        let asked = world.at();
        let fetched = fetch(api, &list).await;
        (list, asked, fetched)
    });
    for (list, asked, fetched) in join_all(fetches).await {
        let told = world.at();
        match fetched {
            Fetched::Bits(bits) => {
                for token in tokens.iter().filter(|token| token.list == list) {
                    let good = bits[token.idx / 8] >> (token.idx % 8) & 1 == 0;
                    world.books.sighted(token, Sighting { asked, told, node, kind: Kind::List, good });
                }
                world.count("lists");
            }
            Fetched::Later => world.count("lists put off"),
            Fetched::Missing => world.books.is_wrong(format!("{asked}: node {node} has no list {list}")),
        }
    }
}

async fn introspect(world: &World, node: usize, edge: &EdgeSecret, tokens: &[Token]) {
    let api = &world.places[node].api;
    let questions = tokens.iter().cloned().map(|token| async move {
        let asked = world.at();
        let answer = api.introspect(edge, &token.text).await;
        (token, asked, answer)
    });
    for (token, asked, answer) in join_all(questions).await {
        if let Ok(answer) = answer
            && answer.status == 200
        {
            let (told, good) = (world.at(), answer.json()["active"] == true);
            world.books.sighted(&token, Sighting { asked, told, node, kind: Kind::Verdict, good });
            world.count("verdicts");
        }
    }
}

enum Fetched {
    Bits(Vec<u8>),
    Later,
    Missing,
}

async fn fetch(api: &Api, list: &str) -> Fetched {
    let url = format!("{}/oauth/status/{list}", api.public);
    let Ok(answer) = api.send(Method::GET, url, &[], Vec::new()).await else { return Fetched::Later };
    match answer.status {
        200 => {}
        404 => return Fetched::Missing,
        _ => return Fetched::Later,
    }
    let lst = text(&claims(&answer.text())["status_list"]["lst"]);
    let mut bits = Vec::new();
    ZlibDecoder::new(&*URL_SAFE_NO_PAD.decode(lst).unwrap()).read_to_end(&mut bits).unwrap();
    Fetched::Bits(bits)
}

/// A token, and its place in a status list.
fn listed(token: &str, from: u64) -> Token {
    let place = &claims(token)["status"]["status_list"];
    let (_, list) = place["uri"].as_str().unwrap().rsplit_once('/').unwrap();
    Token::new(token, list, usize::try_from(place["idx"].as_u64().unwrap()).unwrap(), from)
}

/// Until when the token of an answer is good at least, in meter time: what it says may be two seconds more.
fn expires(answer: &Value, now: u64) -> u64 {
    now + answer["expires_in_s"].as_u64().expect("each answer with a token says when it expires").saturating_sub(2)
        * 1000
}
