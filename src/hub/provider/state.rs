//! What the endpoints of the provider work with.

use std::sync::Arc;

use axum::http::request::Parts as RequestParts;

use crate::{
    control::{acts::ACT_TIMEOUT, hub_clients::ClientRegistry, tokens::Issuer},
    deadline::{Late, within},
    engine::Engine,
    hub::{
        Handle, HubSession, HubSessions, LiveHandle, SessionSecret, limits::AddressLimits, sign_in::cookies::Cookies,
        state::SESSION_COOKIE,
    },
    store::StoreError,
    time::Clock,
    web::peer::Peer,
};

use super::refusal::Refusal;

/// What handles may be good for.
pub(super) const SCOPES: [&str; 4] = ["openid", "profile", "email", "tank"];

/// What a provider is made of.
pub struct ProviderParts {
    /// The clients that people sign in to.
    pub clients: Arc<ClientRegistry>,
    /// Who is signed in.
    pub sessions: HubSessions,
    /// Signs ID tokens.
    pub issuer: Arc<Issuer>,
    /// Has the cluster secrets that codes are sealed with.
    pub engine: Arc<Engine>,
    /// Tells the time.
    pub clock: Arc<dyn Clock>,
    /// What one address may ask.
    pub limits: Arc<AddressLimits>,
    /// Where browsers and clients reach this service, without a slash at the end.
    pub public_url: String,
    /// Whether anybody may sign in as anybody: the development provider is on.
    pub is_development: bool,
}

/// The OpenID provider.
pub struct OpenIdProvider {
    pub(super) clients: Arc<ClientRegistry>,
    pub(super) sessions: HubSessions,
    pub(super) issuer: Arc<Issuer>,
    pub(super) engine: Arc<Engine>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) limits: Arc<AddressLimits>,
    pub(super) public_url: String,
    pub(super) is_development: bool,
}

impl OpenIdProvider {
    /// A provider of these clients, for who is signed in.
    pub fn new(parts: ProviderParts) -> Self {
        let ProviderParts { clients, sessions, issuer, engine, clock, limits, public_url, is_development } = parts;
        Self { clients, sessions, issuer, engine, clock, limits, public_url, is_development }
    }

    /// Who is signed in in this browser, with the secret of their session.
    pub(super) async fn signed_in(
        &self,
        request: &RequestParts,
    ) -> Result<Option<(HubSession, SessionSecret)>, Refusal> {
        let secret = Cookies::of(&request.headers).value(SESSION_COOKIE).and_then(SessionSecret::parse);
        let Some(secret) = secret else { return Ok(None) };
        self.limits.request(request.extensions.get())?;
        let session = self.sessions.find(&secret).await?;
        Ok(session.map(|session| (session, secret)))
    }

    /// What a handle is good for, unless it is over or its client is gone.
    pub(super) async fn live(&self, handle: &Handle) -> Result<Option<LiveHandle>, StoreError> {
        let live = self.sessions.find_handle(handle).await?;
        Ok(live.filter(|live| self.clients.find(&live.client_id).is_some()))
    }

    /// Counts a wrong client secret.
    pub(super) fn wrong_client(&self, peer: Option<&Peer>) -> Refusal {
        self.limits.wrong_secret(peer).map_or_else(Refusal::from, |()| Refusal::client())
    }
}

/// Does what is asked in the time that a request has.
pub(super) async fn in_time<T>(work: impl Future<Output = Result<T, Refusal>>) -> Result<T, Refusal> {
    within(ACT_TIMEOUT, work).await.unwrap_or_else(|Late| Err(Refusal::unavailable()))
}
