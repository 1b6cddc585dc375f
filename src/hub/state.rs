//! What the pages of the hub work with, and who is signed in.

use std::sync::Arc;

use axum::extract::FromRef;
use hyper::HeaderMap;

use crate::{
    control::{account_keys::AccountKeys, acts::Acts},
    engine::Engine,
    entropy::Entropy,
    identity::Providers,
    store::Store,
    time::Clock,
};

use super::{
    limits::AddressLimits,
    pages::{
        failure::Failure,
        frame::{Frame, Here},
        text::Text,
    },
    secret::SessionSecret,
    sessions::{HubSession, HubSessions},
    sign_in::{cookies::Cookies, flows::Flows},
};

/// The cookie with the secret of a hub session.
pub(super) const SESSION_COOKIE: &str = "__Host-gastank";
/// What the pages are made of.
pub struct Parts {
    /// Does acts.
    pub acts: Arc<Acts>,
    /// Knows what the tanks do.
    pub engine: Arc<Engine>,
    /// Holds truth.
    pub store: Arc<dyn Store>,
    /// Tells the time.
    pub clock: Arc<dyn Clock>,
    /// Draws secrets.
    pub entropy: Arc<dyn Entropy>,
    /// Where people sign in.
    pub providers: Arc<Providers>,
    /// Who is signed in.
    pub sessions: HubSessions,
    /// What one address may ask.
    pub limits: Arc<AddressLimits>,
    /// Whether anybody may sign in as anybody: the development provider is on.
    pub is_development: bool,
    /// Where browsers reach this service, without a slash at the end.
    pub public_url: String,
    /// Pages elsewhere.
    pub links: Links,
    /// Whether every session of a tank is known.
    pub is_warm: Box<dyn Fn() -> bool + Send + Sync>,
}

/// Pages elsewhere.
#[derive(Clone, Debug, Default)]
pub struct Links {
    /// Where time can be bought.
    pub shop: Option<String>,
    /// Where time can be earned.
    pub earn: Option<String>,
}

/// What every page works with.
pub(super) struct Hub {
    pub(super) parts: Parts,
    pub(super) flows: Flows,
    pub(super) keys: AccountKeys,
}

/// The same, shared by all requests.
#[derive(Clone)]
pub(super) struct HubState(pub(super) Arc<Hub>);

impl FromRef<HubState> for Arc<Hub> {
    fn from_ref(state: &HubState) -> Self {
        Self::clone(&state.0)
    }
}

/// Somebody who is signed in.
pub(super) struct Visitor {
    pub(super) session: HubSession,
    pub(super) secret: SessionSecret,
    /// Does acts for them.
    pub(super) acts: Acts,
}

impl Hub {
    /// What is behind these parts.
    pub(super) fn new(parts: Parts) -> Self {
        let keys = AccountKeys::new(
            Arc::clone(&parts.store),
            Arc::clone(&parts.clock),
            Arc::clone(&parts.entropy),
            Arc::clone(parts.acts.audit()),
        );
        Self { flows: Flows(Arc::clone(&parts.engine)), keys, parts }
    }

    /// What is around a page for anybody.
    pub(super) fn frame(&self, text: &'static Text) -> Frame {
        Frame::anonymous(text, self.parts.is_development)
    }

    /// What is around a page for somebody who is signed in, whose forms have the token `csrf`.
    pub(super) fn frame_of(&self, visitor: &Visitor, csrf: String, text: &'static Text, here: Here) -> Frame {
        self.frame(text).signed_in(visitor.session.shown_name().to_owned(), csrf, here)
    }

    /// Who asks, if they are signed in.
    ///
    /// # Errors
    ///
    /// [`Failure::Unavailable`]: nobody can tell now.
    pub(super) async fn visitor(&self, headers: &HeaderMap) -> Result<Option<Visitor>, Failure> {
        if !(self.parts.is_warm)() {
            return Err(Failure::Unavailable);
        }
        let secret = Cookies::of(headers).value(SESSION_COOKIE).and_then(SessionSecret::parse);
        let Some(secret) = secret else { return Ok(None) };
        let session = self.parts.acts.in_time(self.parts.sessions.find(&secret)).await?;
        Ok(session.map(|session| Visitor { acts: self.parts.acts.by(session.actor()), session, secret }))
    }

    /// What a provider is called, by its issuer.
    pub(super) fn name_of(&self, issuer: &str) -> String {
        let known = self.parts.providers.sign_in_options().find(|option| option.issuer == issuer);
        known.map_or_else(|| issuer.to_owned(), |option| option.name.to_owned())
    }
}
