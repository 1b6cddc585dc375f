//! Who asks. Each kind of caller is a type that only their proof makes, and a handler that needs one takes it as a parameter:
//! it cannot read a body before it knows who sent it.
//!
//! Account keys are looked up by their hash: what the time of a lookup tells is about a hash that nobody can aim at.

use std::sync::Arc;

use axum::{
    extract::{FromRequest, FromRequestParts, Request},
    http::request::Parts as RequestParts,
};
use hyper::HeaderMap;
use serde::de::DeserializeOwned;
use zeroize::Zeroizing;

use crate::{
    control::{
        acts::Acts,
        credentials::{ACCOUNT_KEY_PREFIX, SecretHash},
        hooks::events::Admission,
    },
    engine::AccountId,
    identity::{AuthError, SignedIn},
    store::{Actor, ActorKind, KeyScope, Store, Surface},
    web::{
        admission::Trust,
        authorization::Authorization,
        extract::Json,
        peer::Peer,
        problem::{Code, Problem},
    },
    wire::SessionId,
};

use super::{
    edge_request::{EdgeRequest, Registries},
    handles::{self, HandleOutcome, Handles},
    problem::for_owner,
    state::ApiState,
};

/// How the owner of an account proves who they are.
enum Credential<'a> {
    /// An account key.
    AccountKey(&'a str),
    /// A token of an identity provider.
    IdentityToken(&'a str),
    /// A handle of a client of the hub.
    Handle(&'a str),
}

impl<'a> Credential<'a> {
    fn of(bearer: &'a str) -> Self {
        match bearer {
            key if key.starts_with(ACCOUNT_KEY_PREFIX) => Self::AccountKey(key),
            handle if handle.starts_with(handles::PREFIX) => Self::Handle(handle),
            token => Self::IdentityToken(token),
        }
    }
}

/// What somebody has proved to be the owner of an account by.
enum Proof {
    /// An account key, by its hash.
    Key(SecretHash),
    /// A token of an identity provider.
    Token(Box<SignedIn>),
    /// A handle of a client of the hub.
    Handle(Zeroizing<String>, Arc<dyn Handles>),
}

/// Why a handle that is good opens no tank.
const NO_TANK: &str = "the handle has not the scope `tank`: the client asks for it when people sign in, and is registered for it with \
                       `gastank client add --tank`";

/// Why a handle, good or not, is refused by what is for owners alone.
const OWNERS_ALONE: &str =
    "a handle opens the tank and nothing else: show an account key or a token of the identity provider";

/// The owner of an account, by a credential of their own: an account key or a token of their identity provider. Whatever changes
/// what an account has takes this; no handle becomes one, so that nothing that a client of the hub does outlives its handle.
/// Asking counts against the limits.
pub struct Owner {
    /// The account.
    pub account: AccountId,
    /// Does acts for them.
    pub acts: Acts,
}

/// Who may use the tank of an account and read about it: its owner, or a client of the hub with a handle of the scope `tank`.
/// Asking counts against the limits.
pub(super) struct TankUser {
    /// The account.
    pub(super) account: AccountId,
    /// Does acts for them.
    pub(super) acts: Acts,
    /// What they have shown.
    proof: Proof,
}

impl FromRequestParts<ApiState> for Owner {
    type Rejection = Problem;

    async fn from_request_parts(request: &mut RequestParts, state: &ApiState) -> Result<Self, Problem> {
        if matches!(Authorization::bearer(&request.headers).map(Credential::of), Ok(Credential::Handle(_))) {
            state.checks.limit_address(request)?;
            return Err(Problem::because(Code::BadCredentials, OWNERS_ALONE));
        }
        let TankUser { account, acts, proof: _ } = TankUser::from_request_parts(request, state).await?;
        Ok(Self { account, acts })
    }
}

impl FromRequestParts<ApiState> for TankUser {
    type Rejection = Problem;

    async fn from_request_parts(request: &mut RequestParts, state: &ApiState) -> Result<Self, Problem> {
        state.checks.warm()?;
        state.checks.limit_address(request)?;
        let bearer = Authorization::bearer(&request.headers)?;
        let owner = match Credential::of(bearer) {
            Credential::AccountKey(key) => {
                let hash = SecretHash::of(key.as_bytes());
                // What is waited for here is a part of what their acts may take.
                let acts = state.acts.by(Actor::system());
                let key = acts.in_time(state.store.account_by_key(hash.as_bytes())).await?;
                let key = key.filter(|key| key.scope == KeyScope::Account).ok_or_else(Problem::bad_credentials)?;
                let actor = Actor::named(ActorKind::AccountKey, key.key_id, Surface::Http);
                Self { account: key.account, acts: acts.by(actor), proof: Proof::Key(hash) }
            }
            Credential::IdentityToken(token) => Self::signed_in(token, state).await?,
            Credential::Handle(handle) => {
                let handles = state.handles.as_ref().ok_or_else(Problem::bad_credentials)?;
                let acts = state.acts.by(Actor::system());
                let owner = match acts.in_time(handles.owner(handle)).await? {
                    HandleOutcome::Opens(owner) => owner,
                    HandleOutcome::OutOfScope => return Err(Problem::because(Code::BadCredentials, NO_TANK)),
                    HandleOutcome::NotGood => return Err(Problem::bad_credentials()),
                };
                let actor = Actor::named(ActorKind::HubClient, owner.client_id, Surface::Http);
                let proof = Proof::Handle(handle.to_owned().into(), Arc::clone(handles));
                Self { account: owner.account, acts: acts.by(actor), proof }
            }
        };
        state.checks.prove(request, Trust::Client);
        state.checks.limit_account(owner.account.as_bytes())?;
        Ok(owner)
    }
}

impl TankUser {
    /// Whose account an identity token opens. At first sight there is none, and one is made.
    async fn signed_in(token: &str, state: &ApiState) -> Result<Self, Problem> {
        let somebody = state.identity.authenticate(token, state.clock.wall()).await.map_err(|error| match error {
            AuthError::Rejected => Problem::bad_credentials(),
            AuthError::Unavailable | AuthError::Misconfigured => {
                Problem::because(Code::ProviderUnavailable, "nobody can tell now whether the token is good")
            }
        })?;
        let issuer = somebody.identity.issuer.clone();
        let acts = state.acts.by(Actor::named(ActorKind::IdentityToken, issuer, Surface::Http));
        let account = acts.in_time(acts.first_sight(&somebody)).await.map_err(for_owner)?;
        Ok(Self { account, acts, proof: Proof::Token(Box::new(somebody)) })
    }

    /// Looks again at what the owner has shown, once a session has been opened by it: a key may have been removed meanwhile,
    /// or a provider may have told of something that outdates a token. Whoever acknowledged that has told everybody that no
    /// session is opened by it any more. So this one is taken back, before anybody was given its token.
    pub(super) async fn confirm(&self, store: &dyn Store, session: &SessionId) -> Result<(), Problem> {
        let looked = match &self.proof {
            Proof::Key(hash) => {
                let key = self.acts.in_time(store.account_by_key(hash.as_bytes())).await;
                key.map(|key| key.is_some_and(|key| key.account == self.account))
            }
            Proof::Token(somebody) => {
                let admission = self.acts.in_time(self.acts.admit(somebody)).await;
                admission.map(|admission| matches!(admission, Admission::Admitted(_)))
            }
            Proof::Handle(handle, handles) => {
                let owner = self.acts.in_time(handles.owner(handle)).await;
                owner.map(|owner| matches!(owner, HandleOutcome::Opens(owner) if owner.account == self.account))
            }
        };
        let refused = match looked {
            Ok(true) => return Ok(()),
            Ok(false) => Problem::bad_credentials(),
            // Nobody can tell, so nobody is given the token.
            Err(error) => for_owner(error),
        };
        self.acts.take_back(&self.account, session).await;
        Err(refused)
    }
}

/// A request of somebody who may use a tank. Its body is read after they have proved who they are.
pub(super) struct TankRequest {
    /// Who asks.
    pub(super) user: TankUser,
    request: Request,
}

impl FromRequest<ApiState> for TankRequest {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &ApiState) -> Result<Self, Problem> {
        let (mut parts, body) = request.into_parts();
        let user = TankUser::from_request_parts(&mut parts, state).await?;
        Ok(Self { user, request: Request::from_parts(parts, body) })
    }
}

impl TankRequest {
    pub(super) fn headers(&self) -> &HeaderMap {
        self.request.headers()
    }

    /// Who asks, and the JSON of the body.
    pub(super) async fn json<T: DeserializeOwned>(self) -> Result<(TankUser, T), Problem> {
        let Json(asked) = Json::from_request(self.request, &()).await?;
        Ok((self.user, asked))
    }
}

/// An operator: whoever has shown the administration's token.
pub struct Operator {
    /// Who they are in the audit log.
    pub actor: Actor,
    /// Does acts for them.
    pub acts: Acts,
}

/// In the extensions of a request: it had the administration's token.
#[derive(Clone, Copy)]
struct ShownAdminToken;

/// Whether these headers have the administration's token. Nothing is counted.
pub(super) fn is_operator(headers: &HeaderMap, state: &ApiState) -> bool {
    Authorization::bearer(headers).is_ok_and(|token| state.settings.admin_token.is(token))
}

/// Remembers with a request that it had the administration's token.
///
/// # Errors
///
/// 401 if it had none or a wrong one, which is counted; 429 if there were too many.
pub(super) fn admit_operator(request: &mut Request, state: &ApiState) -> Result<(), Problem> {
    Authorization::bearer(request.headers())?;
    if !is_operator(request.headers(), state) {
        return Err(state.checks.wrong_secret(request.extensions().get::<Peer>().copied()));
    }
    request.extensions_mut().insert(ShownAdminToken);
    Ok(())
}

impl FromRequestParts<ApiState> for Operator {
    type Rejection = Problem;

    async fn from_request_parts(request: &mut RequestParts, state: &ApiState) -> Result<Self, Problem> {
        request.extensions.get::<ShownAdminToken>().ok_or_else(Problem::bad_credentials)?;
        let actor = Actor::operator();
        Ok(Self { acts: state.acts.by(actor.clone()), actor })
    }
}

impl FromRequest<ApiState> for EdgeRequest {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &ApiState) -> Result<Self, Problem> {
        let registries = Registries { edges: &state.edges, clients: &state.clients };
        Self::read(request, registries, &state.checks).await.map_err(Problem::for_oauth)
    }
}
