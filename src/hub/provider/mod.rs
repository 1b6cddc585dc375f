//! The hub as an OpenID provider: sibling services put issuer, client id and secret into the OIDC library that they have.
//!
//! Kept small: the code flow with S256 and nothing else, clients that the operator registered, no consent page, no refresh
//! tokens. The access token is a *handle*, opaque, bound to its client, as long-lived as the hub session, and over at once when
//! that is.

mod authorize;
mod code;
mod logout;
mod metadata;
mod refusal;
mod state;
#[cfg(test)]
mod tests;
mod token;
mod userinfo;

use std::sync::Arc;

use async_trait::async_trait;
use axum::{
    Router,
    routing::{get, post},
};
use serde::Serialize;

use crate::{
    control::http::{AUTHORIZE, HandleOutcome, HandleOwner, Handles, LOGOUT, Mounted, TOKEN, USERINFO},
    store::StoreError,
    time::UnixMs,
};

use super::{Handle, HubError};
pub use state::{OpenIdProvider, ProviderParts};

impl OpenIdProvider {
    /// Its routes, to be served beside those of `control`.
    pub fn mount(self: &Arc<Self>) -> Mounted {
        Mounted { public: self.router().into(), ..Mounted::default() }
    }

    fn router<S: Clone + Send + Sync + 'static>(self: &Arc<Self>) -> Router<S> {
        Router::new()
            .route("/.well-known/openid-configuration", get(metadata::metadata))
            .route(AUTHORIZE, get(authorize::authorize))
            .route(TOKEN, post(token::token))
            .route(LOGOUT, get(logout::logout).post(logout::logout))
            .route(USERINFO, get(userinfo::userinfo).post(userinfo::userinfo))
            .with_state(Arc::clone(self))
    }
}

/// What a client is told of a handle of its own (RFC 7662, 2.2).
#[derive(Serialize)]
struct Introspection<'a> {
    active: bool,
    token_type: &'static str,
    iss: &'a str,
    client_id: &'a str,
    scope: &'a str,
    iat: u64,
    exp: u64,
    sid: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    auth_time: Option<u64>,
    #[serde(flatten)]
    claims: userinfo::Claims<'a>,
}

#[async_trait]
impl Handles for OpenIdProvider {
    async fn introspect(&self, client_id: &str, token: &str) -> Result<Option<Vec<u8>>, StoreError> {
        let Some(handle) = Handle::parse(token) else { return Ok(None) };
        let live = self.live(&handle).await?.filter(|live| live.client_id == client_id);
        Ok(live.map(|live| {
            let answer = Introspection {
                active: true,
                token_type: "Bearer",
                iss: self.issuer.name(),
                client_id: &live.client_id,
                scope: &live.scope,
                iat: live.created_at.as_secs(),
                exp: live.session.absolute_end.as_secs(),
                sid: live.session.id.to_string(),
                auth_time: live.session.authentication.at().map(UnixMs::as_secs),
                claims: userinfo::Claims::of(&live),
            };
            serde_json::to_vec(&answer).expect("strings and integers are always JSON")
        }))
    }

    async fn revoke(&self, client_id: &str, token: &str) -> Result<(), StoreError> {
        let Some(handle) = Handle::parse(token) else { return Ok(()) };
        match self.sessions.end_handle(&handle, client_id).await {
            Ok(()) | Err(HubError::NoSuchAccount | HubError::EndedAtProvider) => Ok(()),
            Err(HubError::Store(error)) => Err(error),
        }
    }

    async fn owner(&self, token: &str) -> Result<HandleOutcome, StoreError> {
        let Some(handle) = Handle::parse(token) else { return Ok(HandleOutcome::NotGood) };
        Ok(match self.live(&handle).await? {
            None => HandleOutcome::NotGood,
            Some(live) if !live.has_scope("tank") => HandleOutcome::OutOfScope,
            Some(live) => {
                HandleOutcome::Opens(HandleOwner { account: live.session.account, client_id: live.client_id })
            }
        })
    }
}
