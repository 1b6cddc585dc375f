//! What the endpoints of the provider work with.

use std::{num::NonZeroU32, sync::Arc};

use hyper::HeaderMap;

use crate::{
    control::{hub_clients::ClientRegistry, tokens::Issuer},
    engine::Engine,
    hub::{
        Handle, HubSession, HubSessions, LiveHandle, SessionSecret, sign_in::cookies::Cookies, state::SESSION_COOKIE,
    },
    store::{SecretDigest, StoreError},
    time::Clock,
    web::{
        limits::{Keyed, Rate},
        peer::{Network, Peer},
    },
};

use super::refusal::Refusal;

pub(super) const AUTHORIZE: &str = "/oauth/authorize";
pub(super) const TOKEN: &str = "/oauth/token";
pub(super) const USERINFO: &str = "/oauth/userinfo";

/// What handles may be good for.
pub(super) const SCOPES: [&str; 4] = ["openid", "profile", "email", "tank"];
/// Wrong client secrets from one address.
const WRONG_SECRETS: Rate =
    Rate { per_s: NonZeroU32::new(1).expect("it is not zero"), burst: NonZeroU32::new(20).expect("it is not zero") };

/// The OpenID provider.
pub struct OpenIdProvider {
    pub(super) clients: Arc<ClientRegistry>,
    pub(super) sessions: HubSessions,
    pub(super) issuer: Arc<Issuer>,
    pub(super) engine: Arc<Engine>,
    pub(super) clock: Arc<dyn Clock>,
    /// Where browsers and clients reach this service, without a slash at the end.
    pub(super) public_url: String,
    wrong_secrets: Keyed<Network>,
}

impl OpenIdProvider {
    /// A provider of these clients, for who is signed in.
    pub fn new(
        clients: Arc<ClientRegistry>,
        sessions: HubSessions,
        issuer: Arc<Issuer>,
        engine: Arc<Engine>,
        clock: Arc<dyn Clock>,
        public_url: String,
    ) -> Self {
        let wrong_secrets = Keyed::new(WRONG_SECRETS);
        Self { clients, sessions, issuer, engine, clock, public_url, wrong_secrets }
    }

    /// Who is signed in in this browser, and what their session is known by.
    pub(super) async fn current(&self, headers: &HeaderMap) -> Result<Option<(HubSession, SecretDigest)>, StoreError> {
        let secret = Cookies::of(headers).value(SESSION_COOKIE).and_then(SessionSecret::parse);
        let Some(secret) = secret else { return Ok(None) };
        let session = self.sessions.find(&secret).await?;
        Ok(session.map(|session| (session, secret.digest())))
    }

    /// What a handle is good for, unless it is over or its client is gone.
    pub(super) async fn live(&self, handle: &Handle) -> Result<Option<LiveHandle>, StoreError> {
        let live = self.sessions.find_handle(handle).await?;
        Ok(live.filter(|live| self.clients.find(&live.client_id).is_some()))
    }

    /// Counts a wrong client secret.
    pub(super) fn wrong_client(&self, peer: Option<&Peer>) -> Refusal {
        match peer.map_or(0, |peer| self.wrong_secrets.wait_s(&peer.network())) {
            0 => Refusal::client(),
            _ => Refusal::too_often(),
        }
    }
}
