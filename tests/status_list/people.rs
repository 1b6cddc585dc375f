//! Who keeps the service busy: people that open, renew, supersede, stop, fall silent, and operators that rotate.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicU8, Ordering},
    },
    time::{Duration, Instant},
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use gastank::wire::{HeartbeatKind, WireVerdict};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::{
    client::{Api, EdgeSecret, Owner, Session, text},
    dice::Dice,
};

const AUDIENCES: [&str; 2] = ["edge", "other"];
const FORM: &str = "application/x-www-form-urlencoded";

const BUSY: u8 = 0;
const RESTING: u8 = 1;
const CLOSING: u8 = 2;
const OVER: u8 = 3;

/// What everybody shares.
pub(crate) struct World {
    pub(crate) api: Api,
    pub(crate) edges: [EdgeSecret; 2],
    phase: AtomicU8,
    /// Every token that was ever issued, by the edge it is for.
    issued: [Mutex<Vec<Arc<Issued>>>; 2],
}

/// A token, and what is certain about its life.
pub(crate) struct Issued {
    pub(crate) text: String,
    pub(crate) uri: String,
    pub(crate) idx: usize,
    pub(crate) exp: u64,
    /// It was good by then.
    pub(crate) born: Instant,
    /// It was over by then.
    over: Mutex<Option<Instant>>,
}

/// What was done, and how often.
#[derive(Debug, Default)]
pub(crate) struct Deeds {
    activated: usize,
    superseded: usize,
    renewed: usize,
    stopped: usize,
    deactivated: usize,
    revoked_by_operators: usize,
    revoked_by_edges: usize,
    fell_silent: usize,
    found_empty: usize,
}

/// How often was rotated.
#[derive(Debug, Default)]
pub(crate) struct Rotated {
    pub(crate) keys: usize,
    pub(crate) secrets: usize,
}

impl World {
    pub(crate) async fn of(api: Api) -> Self {
        let mut edges = Vec::new();
        for audience in AUDIENCES {
            let body = json!({"name": audience, "audience": audience});
            let made = api.admin(Method::POST, "/admin/edges", &[], &body).await.unwrap().must_be(201).json();
            edges.push(EdgeSecret { client_id: text(&made["client_id"]), secret: text(&made["client_secret"]) });
        }
        let edges = edges.try_into().expect("there are two");
        Self { api, edges, phase: AtomicU8::new(BUSY), issued: Default::default() }
    }

    /// From now on nobody does anything but beat.
    pub(crate) fn rest(&self) {
        self.phase.store(RESTING, Ordering::Relaxed);
    }

    /// From now on edges look at all tokens a last time.
    pub(crate) fn close(&self) {
        self.phase.store(CLOSING, Ordering::Relaxed);
    }

    /// From now on nobody does anything.
    pub(crate) fn end(&self) {
        self.phase.store(OVER, Ordering::Relaxed);
    }

    fn is_busy(&self) -> bool {
        self.phase.load(Ordering::Relaxed) == BUSY
    }

    pub(crate) fn is_closing(&self) -> bool {
        self.phase.load(Ordering::Relaxed) >= CLOSING
    }

    fn is_over(&self) -> bool {
        self.phase.load(Ordering::Relaxed) == OVER
    }

    pub(crate) fn tokens_of(&self, edge: usize) -> Vec<Arc<Issued>> {
        self.issued[edge].lock().expect("no panic under it").clone()
    }

    fn issue(&self, edge: usize, token: &str) -> Arc<Issued> {
        let issued = Arc::new(Issued::read(token, AUDIENCES[edge]));
        self.issued[edge].lock().expect("no panic under it").push(Arc::clone(&issued));
        issued
    }
}

impl Issued {
    fn read(token: &str, audience: &str) -> Self {
        let payload = token.split('.').nth(1).expect("a JWT has three parts");
        let claims: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).expect("base64url")).unwrap();
        assert_eq!(claims["aud"], audience);
        let place = &claims["status"]["status_list"];
        Self {
            text: token.to_owned(),
            uri: text(&place["uri"]),
            idx: usize::try_from(place["idx"].as_u64().expect("an index")).unwrap(),
            exp: claims["exp"].as_u64().expect("whole seconds"),
            born: Instant::now(),
            over: Mutex::default(),
        }
    }

    /// Somebody was told by now that it is over.
    pub(crate) fn is_over(&self) {
        let now = Instant::now();
        self.over.lock().expect("no panic under it").get_or_insert(now);
    }

    /// Since when it has been over at the latest.
    pub(crate) fn over_since(&self) -> Option<Instant> {
        *self.over.lock().expect("no panic under it")
    }
}

impl Deeds {
    pub(crate) const fn and(self, other: Self) -> Self {
        Self {
            activated: self.activated + other.activated,
            superseded: self.superseded + other.superseded,
            renewed: self.renewed + other.renewed,
            stopped: self.stopped + other.stopped,
            deactivated: self.deactivated + other.deactivated,
            revoked_by_operators: self.revoked_by_operators + other.revoked_by_operators,
            revoked_by_edges: self.revoked_by_edges + other.revoked_by_edges,
            fell_silent: self.fell_silent + other.fell_silent,
            found_empty: self.found_empty + other.found_empty,
        }
    }

    pub(crate) fn all_happened(&self) -> bool {
        let Self { activated, superseded, renewed, stopped, deactivated, .. } = self;
        let Self { revoked_by_operators, revoked_by_edges, fell_silent, found_empty, .. } = self;
        let ended = [stopped, deactivated, revoked_by_operators, revoked_by_edges, fell_silent, found_empty];
        [activated, superseded, renewed].into_iter().chain(ended).all(|times| *times >= 3)
    }
}

/// What somebody has open.
struct Open {
    session: Session,
    token: Arc<Issued>,
    edge: usize,
    silent: bool,
}

/// One person's life. Whoever is poor runs dry often.
pub(crate) async fn live(world: Arc<World>, owner: Owner, poor: bool, mut dice: Dice) -> Deeds {
    let mut deeds = Deeds::default();
    let mut open: Option<Open> = None;
    while !world.is_over() {
        sleep(Duration::from_millis(50 + dice.below(250))).await;
        if let Some(one) = &mut open
            && !one.silent
            && !beats(&world, one).await
        {
            open = None;
        }
        if world.is_busy() {
            open = act(&world, &owner, poor, open, &mut dice, &mut deeds).await;
        }
    }
    deeds
}

/// Beats; whether the session is still good.
async fn beats(world: &World, open: &mut Open) -> bool {
    match open.session.posted(&world.api, HeartbeatKind::Beat).await.map(|ack| ack.verdict) {
        Some(WireVerdict::Invalid(_)) => {
            open.token.is_over();
            false
        }
        _ => true,
    }
}

async fn act(
    world: &World,
    owner: &Owner,
    poor: bool,
    open: Option<Open>,
    dice: &mut Dice,
    deeds: &mut Deeds,
) -> Option<Open> {
    let Some(mut open) = open else {
        return activate(world, owner, poor, dice, deeds).await;
    };
    if open.silent && dice.below(20) > 0 {
        return Some(open);
    }
    let api = &world.api;
    match dice.below(40) {
        0..=7 => {
            let frame = open.session.frame(HeartbeatKind::Renew);
            let answer = api.renew(&open.session, frame).await.unwrap();
            open.token.is_over();
            if answer.status == 409 {
                return None;
            }
            open.session.token = text(&answer.must_be(200).json()["token"]);
            open.token = world.issue(open.edge, &open.session.token);
            deeds.renewed += 1;
            open.silent = false;
            return Some(open);
        }
        8..=12 => {
            let Some(next) = activate(world, owner, poor, dice, deeds).await else { return Some(open) };
            open.token.is_over();
            deeds.superseded += 1;
            return Some(next);
        }
        13..=14 => {
            open.session.posted(api, HeartbeatKind::Stop).await.expect("it is answered");
            deeds.stopped += 1;
        }
        15..=16 => {
            api.public(Method::POST, "/v1/deactivate", &owner.key, &Value::Null).await.unwrap().must_be(200);
            deeds.deactivated += 1;
        }
        17..=18 => {
            api.revoke(&open.session.id_text).await.unwrap().must_be(200);
            deeds.revoked_by_operators += 1;
        }
        19..=20 => {
            let EdgeSecret { client_id, secret } = &world.edges[open.edge];
            let form = format!("token={}&client_id={client_id}&client_secret={secret}", open.session.token);
            let url = format!("{}/oauth/revoke", api.public);
            api.send(Method::POST, url, &[("content-type", FORM)], form.into_bytes()).await.unwrap().must_be(200);
            deeds.revoked_by_edges += 1;
        }
        21 => {
            open.silent = true;
            deeds.fell_silent += 1;
            return Some(open);
        }
        _ => return Some(open),
    }
    open.token.is_over();
    None
}

async fn activate(world: &World, owner: &Owner, poor: bool, dice: &mut Dice, deeds: &mut Deeds) -> Option<Open> {
    let edge = usize::try_from(dice.below(2)).expect("it is small");
    let body = json!({"audience": AUDIENCES[edge]});
    let answer = world.api.public(Method::POST, "/v1/activate", &owner.key, &body).await.unwrap();
    if poor && answer.status == 402 {
        deeds.found_empty += 1;
        let name = format!("{:x}", dice.below(u64::MAX));
        world.api.credit(&owner.account, &name, 2).await.unwrap().must_be(200);
        return None;
    }
    let session = Session::of(&answer.must_be(200).json());
    let token = world.issue(edge, &session.token);
    deeds.activated += 1;
    Some(Open { session, token, edge, silent: false })
}

/// Rotates signing keys and cluster secrets, as often as there is room for.
pub(crate) async fn rotate(world: Arc<World>, mut dice: Dice) -> Rotated {
    let mut rotated = Rotated::default();
    while world.is_busy() {
        sleep(Duration::from_millis(500 + dice.below(1500))).await;
        let (path, times) = if rotated.keys <= rotated.secrets {
            ("/admin/keys/rotate", &mut rotated.keys)
        } else {
            ("/admin/keys/rotate-secret", &mut rotated.secrets)
        };
        if *times < 12 {
            world.api.admin(Method::POST, path, &[], &Value::Null).await.unwrap().must_be(200);
            *times += 1;
        }
    }
    rotated
}
