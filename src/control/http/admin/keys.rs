//! Account keys and signing keys.

use axum::{
    Json as Answer,
    extract::{Path, State},
    response::IntoResponse,
};
use hyper::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    control::{audit::Deed, keyring::KeyStatus, secrets::SecretStatus},
    engine::AccountId,
    store::{AccountKey, AuditAct},
};

use super::{
    Shared, SharedState,
    auth::{new_account_key, new_short_id},
    extract::AccountPath,
    openapi::{AdminBodyErrors, AdminErrors, RotateErrors},
    problem::{ErrorCode, Problem},
    shapes::time,
};

/// Keys that one account may have.
const MAX_KEYS: usize = 64;

/// An account key, as it is shown once.
#[derive(Serialize, ToSchema)]
pub(in crate::control::http) struct NewAccountKey {
    /// Names the key.
    key_id: String,
    /// The key. Shown this once.
    pub(super) key: String,
}

/// The keys of an account.
#[derive(Serialize, ToSchema)]
pub(super) struct AccountKeys {
    /// The keys.
    keys: Vec<AccountKeyShape>,
}

/// An account key, as it is listed.
#[derive(Serialize, ToSchema)]
#[schema(as = AccountKey)]
pub(super) struct AccountKeyShape {
    /// Names the key.
    key_id: String,
    /// When it was made.
    #[schema(format = DateTime)]
    created_at: String,
}

/// The signing keys.
#[derive(Serialize, ToSchema)]
pub(super) struct SigningKeys {
    /// The keys, published ones all.
    keys: Vec<KeyStatus>,
    /// The cluster secrets that are live, the current one last. Never the secrets themselves.
    cluster_secrets: Vec<SecretStatus>,
}

/// Makes an account key.
#[utoipa::path(
    post, path = "/admin/accounts/{id}/keys", tag = "admin", security(("admin_token" = [])),
    params(("id" = String, Path, description = "The account's id.")),
    responses((status = 201, description = "The key was made.", body = NewAccountKey), AdminBodyErrors),
)]
pub(super) async fn add_account_key(
    State(shared): SharedState,
    AccountPath(account): AccountPath,
) -> Result<impl IntoResponse, Problem> {
    shared.existing(&account).await?;
    Ok((StatusCode::CREATED, Answer(shared.add_account_key(account).await?)))
}

/// The keys of an account.
#[utoipa::path(
    get, path = "/admin/accounts/{id}/keys", tag = "admin", security(("admin_token" = [])),
    params(("id" = String, Path, description = "The account's id.")),
    responses((status = 200, description = "The keys.", body = AccountKeys), AdminErrors),
)]
pub(super) async fn list_account_keys(
    State(shared): SharedState,
    AccountPath(account): AccountPath,
) -> Result<Answer<AccountKeys>, Problem> {
    shared.existing(&account).await?;
    let keys = shared.store.account_keys(&account).await?;
    let shape = |key: AccountKey| AccountKeyShape { key_id: key.key_id, created_at: time(key.created_at) };
    Ok(Answer(AccountKeys { keys: keys.into_iter().map(shape).collect() }))
}

/// Removes an account key. Sessions that were opened with it go on.
#[utoipa::path(
    delete, path = "/admin/accounts/{id}/keys/{key_id}", tag = "admin", security(("admin_token" = [])),
    params(
        ("id" = String, Path, description = "The account's id."),
        ("key_id" = String, Path, description = "The key's id."),
    ),
    responses((status = 204, description = "The key is gone."), AdminErrors),
)]
pub(super) async fn remove_account_key(
    State(shared): SharedState,
    AccountPath(account): AccountPath,
    Path(KeyPath { key_id }): Path<KeyPath>,
) -> Result<StatusCode, Problem> {
    if !shared.store.remove_account_key(&account, &key_id).await? {
        return Err(Problem::not_found("key"));
    }
    shared.for_operator().write_down(Deed::to(AuditAct::AccountKeyRemoved, key_id).on(account)).await?;
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Deserialize)]
pub(super) struct KeyPath {
    key_id: String,
}

/// Makes and publishes a signing key, which signs once every cached key set has run out.
#[utoipa::path(
    post, path = "/admin/keys/rotate", tag = "admin", security(("admin_token" = [])),
    responses((status = 200, description = "The keys after it.", body = SigningKeys), RotateErrors),
)]
pub(super) async fn rotate(State(shared): SharedState) -> Result<Answer<SigningKeys>, Problem> {
    let now = shared.clock.wall();
    shared.issuer.keyring().rotate(&*shared.store, &shared.engine.secrets(), now).await?;
    shared.for_operator().write_down(Deed::new(AuditAct::SigningKeyRotated)).await?;
    Ok(Answer(SigningKeys::of(&shared)))
}

/// Makes a cluster secret, which new sessions use at once. The old one goes with the last session that uses it.
#[utoipa::path(
    post, path = "/admin/keys/rotate-secret", tag = "admin", security(("admin_token" = [])),
    responses((status = 200, description = "The keys and secrets after it.", body = SigningKeys), RotateErrors),
)]
pub(super) async fn rotate_secret(State(shared): SharedState) -> Result<Answer<SigningKeys>, Problem> {
    shared.secrets.rotate().await?;
    shared.for_operator().write_down(Deed::new(AuditAct::ClusterSecretRotated)).await?;
    Ok(Answer(SigningKeys::of(&shared)))
}

/// The signing keys and what they do.
#[utoipa::path(
    get, path = "/admin/keys", tag = "admin", security(("admin_token" = [])),
    responses((status = 200, description = "The keys.", body = SigningKeys), AdminErrors),
)]
pub(super) async fn signing_keys(State(shared): SharedState) -> Answer<SigningKeys> {
    Answer(SigningKeys::of(&shared))
}

impl SigningKeys {
    fn of(shared: &Shared) -> Self {
        let keys = shared.issuer.keyring().status(shared.clock.wall());
        Self { keys, cluster_secrets: shared.secrets.status() }
    }
}

impl Shared {
    /// Makes a key for an account that exists.
    pub(in crate::control::http) async fn add_account_key(&self, account: AccountId) -> Result<NewAccountKey, Problem> {
        if self.store.account_keys(&account).await?.len() >= MAX_KEYS {
            return Err(Problem::because(ErrorCode::LimitReached, format!("an account has {MAX_KEYS} keys at most")));
        }
        let (key, hash) = new_account_key(&*self.entropy);
        let key_id = new_short_id(&*self.entropy);
        let record =
            AccountKey { key_id: key_id.clone(), account, hash: *hash.as_bytes(), created_at: self.clock.wall() };
        // It may have been deleted since it was looked at.
        if !self.store.add_account_key(&record).await? {
            return Err(Problem::not_found("account"));
        }
        self.for_operator().write_down(Deed::to(AuditAct::AccountKeyAdded, &key_id).on(account)).await?;
        Ok(NewAccountKey { key_id, key })
    }
}
