//! Tells clients that hub sessions have ended (OpenID Connect Back-Channel Logout 1.0, 2.5).
//!
//! What is to be told is in the store's outbox from the end of the session on, and stays there until the client has answered with
//! 2xx, or has been tried for long enough. A node that is about to tell it first moves on when it is due: no other node tells it
//! meanwhile, and if this one dies, the next try comes by itself. Each try has a token of its own, which is good for two minutes.
//!
//! Clients do not wait for each other. Of one that does not answer, one entry is tried at a time. One that answers, and does not take
//! what one person's sessions came to, is told of the others' all the same.

#[cfg(test)]
mod tests;

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use futures_util::{StreamExt, stream};
use parking_lot::Mutex;
use reqwest::Url;
use serde::Serialize;
use tokio::{
    task::JoinSet,
    time::{MissedTickBehavior, interval},
};

use crate::{
    control::{hub_clients::ClientRegistry, tokens::Issuer},
    entropy::draw,
    identity::{Fetcher, is_safe},
    store::{HubClient, LogoutRecord, Removed, Replaced, StoreError},
    time::{Millis, UnixMs},
};

use super::sessions::HubSessions;

/// How often the store is asked what is due: how late a node learns of what others have left.
const ROUND: Duration = Duration::from_secs(5);
/// How long a logout token is good.
const TOKEN_LIFE: Millis = Millis::from_secs(120);
/// From the first try to the second, at the least: longer than a try takes.
const FIRST_PAUSE: Millis = Millis::from_secs(10);
/// Between tries, at the most, and half as much again.
const LONGEST_PAUSE: Millis = Millis::from_secs(3_600);
/// Entries of a client that are read at once.
const BATCH: usize = 64;
/// Requests to a client that are under way at a time.
const AT_ONCE: usize = 8;

/// How a try went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// The client has answered with 2xx.
    Delivered,
    /// It has not; it is tried again.
    Failed,
    /// It has been tried for long enough.
    GivenUp,
}

/// What a client said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    Taken,
    /// It lives, and this is not what it wanted.
    Refused,
    None,
}

/// Who counts tries.
pub trait DeliveryObserver: Send + Sync + 'static {
    /// A try is over.
    fn tried(&self, delivery: Delivery);
}

/// Delivers the outbox.
pub struct Outbox {
    sessions: HubSessions,
    clients: Arc<ClientRegistry>,
    issuer: Arc<Issuer>,
    observer: Arc<dyn DeliveryObserver>,
    /// How long an entry is tried.
    keep_trying: Millis,
    /// Clients that are being told.
    busy: Mutex<HashSet<String>>,
    /// By origin: making one may read the system's certificates.
    fetchers: Mutex<HashMap<String, Fetcher>>,
}

/// The claims of a logout token (2.4): `sid` for one session, `sub` for all of a person.
#[derive(Serialize)]
struct LogoutToken<'a> {
    iss: &'a str,
    aud: &'a str,
    iat: u64,
    exp: u64,
    jti: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    sub: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sid: Option<String>,
    events: Events,
}

#[derive(Serialize)]
struct Events {
    #[serde(rename = "http://schemas.openid.net/event/backchannel-logout")]
    logout: Empty,
}

#[derive(Serialize)]
struct Empty {}

/// A client that is being told, until this is dropped.
struct Turn<'a>(&'a Outbox, String);

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.busy.lock().remove(&self.1);
    }
}

impl Outbox {
    /// The outbox of these sessions.
    pub fn new(
        sessions: HubSessions,
        clients: Arc<ClientRegistry>,
        issuer: Arc<Issuer>,
        observer: Arc<dyn DeliveryObserver>,
        keep_trying: Millis,
    ) -> Self {
        let (busy, fetchers) = (Mutex::default(), Mutex::default());
        Self { sessions, clients, issuer, observer, keep_trying, busy, fetchers }
    }

    /// Delivers what is due, when a session has ended here and every few seconds.
    pub async fn deliver_for_ever(self: Arc<Self>) {
        let mut rounds = interval(ROUND);
        rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut passes = JoinSet::new();
        loop {
            tokio::select! {
                _ = rounds.tick() => {}
                () = self.sessions.shared().ended.notified() => {}
            }
            while let Some(pass) = passes.try_join_next() {
                pass.expect("a pass does not panic, and nobody cancels one");
            }
            for client in self.clients.all() {
                if client.backchannel_logout_uri.is_some() && !self.busy.lock().contains(&client.client_id) {
                    let outbox = Arc::clone(&self);
                    passes.spawn(async move { outbox.tell_all(&client).await });
                }
            }
        }
    }

    /// Tells a client everything that is due, unless that is under way. The first without an answer ends it for this time.
    pub(super) async fn tell_all(&self, client: &HubClient) {
        if !self.busy.lock().insert(client.client_id.clone()) {
            return;
        }
        let turn = Turn(self, client.client_id.clone());
        loop {
            let now = self.sessions.shared().clock.wall();
            let due = match self.sessions.shared().store.due_logouts(&client.client_id, now, BATCH).await {
                Ok(due) => due,
                Err(error) => {
                    tracing::warn!(%error, "back-channel logouts wait until the store is back");
                    break;
                }
            };
            // One alone first: the others wait for whether the client answers at all.
            let Some((first, others)) = due.split_first() else { break };
            if !self.tell(client, first).await {
                break;
            }
            let tries = stream::iter(others.to_vec()).map(|logout| async move { self.tell(client, &logout).await });
            let told: Vec<_> = tries.buffer_unordered(AT_ONCE).collect().await;
            if told.contains(&false) {
                break;
            }
        }
        drop(turn);
    }

    /// Tells a client one thing. `false` when nothing answers, and it is better to wait.
    async fn tell(&self, client: &HubClient, logout: &LogoutRecord) -> bool {
        let (shared, now) = (self.sessions.shared(), self.sessions.shared().clock.wall());
        let over = logout.since.is_some_and(|since| now.since(since) >= self.keep_trying);
        let told = async {
            if over {
                let removed = shared.store.remove_logout(logout).await?;
                return Ok((removed == Removed::Done).then_some((Delivery::GivenUp, true)));
            }
            let postponed = logout.postponed(now, now.plus(self.pause(logout.tries)));
            if shared.store.postpone_logout(logout, &postponed).await? == Replaced::Outdated {
                return Ok(None);
            }
            let answer = self.deliver(client, logout, now).await;
            if answer != Answer::Taken {
                return Ok(Some((Delivery::Failed, answer == Answer::Refused)));
            }
            // Not there any more: it is to be told again, for another session has ended.
            match shared.store.remove_logout(&postponed).await? {
                Removed::Done | Removed::NotThere => Ok(Some((Delivery::Delivered, true))),
            }
        };
        let told: Result<Option<(Delivery, bool)>, StoreError> = told.await;
        match told {
            Ok(Some((delivery, answers))) => {
                self.observer.tried(delivery);
                if delivery == Delivery::GivenUp {
                    tracing::warn!(
                        client = client.client_id,
                        tries = logout.tries,
                        "a back-channel logout is given up"
                    );
                }
                answers
            }
            // Another node tells it.
            Ok(None) => false,
            Err(error) => {
                tracing::warn!(%error, "back-channel logouts wait until the store is back");
                false
            }
        }
    }

    async fn deliver(&self, client: &HubClient, logout: &LogoutRecord, now: UnixMs) -> Answer {
        let uri = client.backchannel_logout_uri.as_deref().and_then(|uri| Url::parse(uri).ok());
        let Some(uri) = uri.filter(is_safe) else {
            tracing::warn!(
                client = client.client_id,
                "its back-channel logout address cannot be used; register it again"
            );
            return Answer::None;
        };
        let token = LogoutToken {
            iss: self.issuer.name(),
            aud: &client.client_id,
            iat: now.as_secs(),
            exp: now.plus(TOKEN_LIFE).as_secs(),
            jti: URL_SAFE_NO_PAD.encode(draw::<16>(&*self.sessions.shared().entropy)),
            // Some libraries take a `sub` beside `sid` for all of the person's sessions.
            sub: logout.session.is_none().then(|| logout.account.to_string()),
            sid: logout.session.map(|session| session.to_string()),
            events: Events { logout: Empty {} },
        };
        let token = match self.issuer.sign_logout_token(&token, now) {
            Ok(token) => token,
            Err(error) => {
                tracing::error!(%error, "a logout token could not be signed");
                return Answer::None;
            }
        };
        let Some(fetcher) = self.fetcher(&uri) else { return Answer::None };
        match fetcher.submit(&uri, &[("logout_token", &token)]).await {
            Ok(status) if status.is_success() => Answer::Taken,
            Ok(status) => {
                tracing::info!(client = client.client_id, %status, "a client did not take a back-channel logout");
                Answer::Refused
            }
            Err(error) => {
                tracing::info!(client = client.client_id, %error, "a back-channel logout could not be delivered");
                Answer::None
            }
        }
    }

    fn fetcher(&self, uri: &Url) -> Option<Fetcher> {
        let origin = uri.origin().ascii_serialization();
        if let Some(known) = self.fetchers.lock().get(&origin) {
            return Some(known.clone());
        }
        let made = Fetcher::without_redirects(uri)
            .inspect_err(|error| tracing::error!(%error, "clients cannot be told of logouts"))
            .ok()?;
        self.fetchers.lock().insert(origin, made.clone());
        Some(made)
    }

    /// How long after a try the next may come: twice as long each time, and up to half as long again by chance.
    fn pause(&self, tries: u32) -> Millis {
        let pause = FIRST_PAUSE.get().saturating_mul(1 << tries.min(16)).min(LONGEST_PAUSE.get());
        let chance = u64::from(u16::from_le_bytes(draw(&*self.sessions.shared().entropy)));
        Millis::new(pause + pause / 2 * chance / u64::from(u16::MAX))
    }
}
