//! `POST /hooks/backchannel-logout`: an identity provider tells that somebody has signed out there (OpenID Connect Back-Channel
//! Logout 1.0).
//!
//! What has ended there is remembered for as long as a sign-in may be under way: one that began from that session of the provider
//! before it ended does not complete afterwards. Either it adds its hub session first, and then that is found and ended; or it
//! looks afterwards whether the provider's session has ended, and ends what it has made.

use std::sync::Arc;

use axum::{
    extract::{Request, State},
    http::{HeaderValue, StatusCode},
    response::{IntoResponse, Response},
};
use hyper::header::CACHE_CONTROL;

use crate::{
    control::{acts::ACT_TIMEOUT, http::ExpectedBody},
    deadline::{Late, within},
    engine::AccountId,
    identity::{EventError, LoggedOut, ProviderLogout},
    store::{Identity, Redeemed, SecretDigest, StoreError},
    time::Millis,
    web::{
        body::{FORM, read_body, require_type},
        params::Params,
        problem::{Code, Problem},
    },
};

use super::{
    limits::TooOften,
    sessions::{HubError, HubSessions, Shared, provider},
    sign_in::flows,
    state::Hub,
};

/// Where it is told.
pub(super) const PATH: &str = "/hooks/backchannel-logout";
/// For how long sign-ins from a provider's session that has ended do not complete: for longer than one may be under way.
const SIGN_INS_END: Millis = flows::MAX_AGE.plus(Millis::from_secs(60));

/// Its bodies are forms.
pub(super) fn body() -> ExpectedBody {
    ExpectedBody { path: PATH, check: Arc::new(|headers| require_type(headers, FORM)) }
}

/// Takes a logout token. Telling it again changes nothing.
pub(super) async fn logged_out(State(hub): State<Arc<Hub>>, request: Request) -> Response {
    let heard = within(ACT_TIMEOUT, hear(&hub, request)).await;
    let late =
        |Late| Err(Problem::because(Code::StoreUnavailable, "it could not be dealt with in time: tell it again"));
    match heard.unwrap_or_else(late) {
        Ok(()) => (StatusCode::OK, [(CACHE_CONTROL, HeaderValue::from_static("no-store"))]).into_response(),
        Err(problem) => problem.for_oauth().into_response(),
    }
}

async fn hear(hub: &Hub, request: Request) -> Result<(), Problem> {
    let providers = &hub.parts.providers;
    if providers.sign_in_options().next().is_none() {
        return Err(Problem::because(Code::NotFound, "nobody signs in here with an identity provider"));
    }
    let (parts, body) = request.into_parts();
    let too_often = |TooOften| Problem::because(Code::RateLimited, "this is told too often");
    hub.parts.limits.request(parts.extensions.get()).map_err(too_often)?;
    require_type(&parts.headers, FORM)?;
    let body = read_body(body).await?;
    let params = Params::parse(&body).map_err(|error| Problem::bad_request(error.to_string()))?;
    let token = params.find("logout_token").ok_or_else(|| Problem::bad_request("`logout_token` is missing"))?;
    let told = providers.read_logout(token, hub.parts.clock.wall()).await.map_err(|error| match error {
        EventError::Refused(fault) => Problem::bad_request(format!("the logout token is not taken: {fault}")),
        EventError::Unavailable => {
            let detail = "nobody can tell now whether the logout token is the provider's; it is to be told again";
            Problem::because(Code::ProviderUnavailable, detail)
        }
    })?;
    hub.parts.sessions.end_by_provider(&told).await.map_err(|error| {
        tracing::warn!(%error, issuer = told.issuer, "a sign-out at the identity provider could not be dealt with");
        Problem::because(Code::StoreUnavailable, "it is to be told again")
    })
}

impl HubSessions {
    /// Ends what somebody has who has signed out at their provider, also what is being made. What was told before changes nothing.
    ///
    /// # Errors
    ///
    /// [`HubError::Store`]: some may have ended, and it is to be told again.
    pub async fn end_by_provider(&self, told: &ProviderLogout) -> Result<(), HubError> {
        let shared = self.shared();
        let message = name("logout", &told.issuer, &told.jti);
        if shared.store.is_redeemed(&message).await? {
            return Ok(());
        }
        match &told.of {
            LoggedOut::Session { sid, subject } => {
                shared.remember(&name("ended", &told.issuer, sid), SIGN_INS_END).await?;
                let ended = self.end_of_provider(&told.issuer, sid, subject.as_deref()).await?;
                tracing::info!(issuer = told.issuer, ended, "a session of the identity provider has ended");
            }
            LoggedOut::Person(subject) => {
                let identity = Identity { issuer: told.issuer.clone(), subject: subject.clone() };
                if let Some(account) = shared.store.account_of(&identity).await? {
                    match self.end_everywhere_by(&account, provider(&told.issuer)).await {
                        Ok(()) | Err(HubError::NoSuchAccount) => {}
                        Err(error) => return Err(error),
                    }
                }
                tracing::info!(issuer = told.issuer, "a person has signed out at the identity provider");
            }
        }
        // Only now: what could not be dealt with is told again under the same name.
        Ok(shared.remember(&message, told.counts_for).await?)
    }
}

impl Shared {
    /// Whether a session of a provider has lately ended there.
    pub(super) async fn has_ended(&self, issuer: &str, sid: &str) -> Result<bool, StoreError> {
        self.store.is_redeemed(&name("ended", issuer, sid)).await
    }

    /// Remembers a name at all nodes, beside the codes that were redeemed.
    async fn remember(&self, name: &SecretDigest, keep: Millis) -> Result<(), StoreError> {
        let (nobody, now) = (AccountId::from_bytes([0; 16]), self.clock.wall());
        match self.store.redeem_code(name, &nobody, name, now, now.plus(keep)).await? {
            Redeemed::Now | Redeemed::Before(..) => Ok(()),
        }
    }
}

/// What something of a provider goes by among the names that are remembered.
fn name(kind: &str, issuer: &str, what: &str) -> SecretDigest {
    SecretDigest::of(&format!("gastank/{kind}/v1\n{issuer}\n{what}"))
}
