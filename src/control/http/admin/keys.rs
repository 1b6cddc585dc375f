//! Account keys and signing keys.

use std::sync::Arc;

use axum::{
    Json as Answer,
    extract::{Path, State},
    response::IntoResponse,
};
use hyper::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    control::{
        account_keys::AccountKeys,
        audit::Deed,
        keyring::KeyStatus,
        secrets::{SecretStatus, Secrets},
        tokens::Issuer,
    },
    engine::Engine,
    store::{AccountKey, AuditAct, Store},
    time::{Clock, UnixMs},
    web::problem::Problem,
};

use super::super::{
    callers::Operator,
    named::AccountPath,
    refusals::{AdminBodyErrors, AdminErrors, RotateErrors},
    shapes::time,
};

/// An account key, as it is shown once.
#[derive(Serialize, ToSchema)]
#[schema(as = NewAccountKey)]
pub(super) struct NewKeyShape {
    /// Names the key.
    key_id: String,
    /// The key. Shown this once.
    key: String,
}

/// The keys of an account.
#[derive(Serialize, ToSchema)]
#[schema(as = AccountKeys)]
pub(super) struct KeysShape {
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
    responses((status = 201, description = "The key was made.", body = NewKeyShape), AdminBodyErrors),
)]
pub(super) async fn add_account_key(
    operator: Operator,
    State(keys): State<Arc<AccountKeys>>,
    AccountPath(account): AccountPath,
) -> Result<impl IntoResponse, Problem> {
    keys.existing(&account).await?;
    let made = keys.add(account, &operator.actor).await?;
    Ok((StatusCode::CREATED, Answer(NewKeyShape { key_id: made.key_id, key: made.key })))
}

/// The keys of an account.
#[utoipa::path(
    get, path = "/admin/accounts/{id}/keys", tag = "admin", security(("admin_token" = [])),
    params(("id" = String, Path, description = "The account's id.")),
    responses((status = 200, description = "The keys.", body = KeysShape), AdminErrors),
)]
pub(super) async fn list_account_keys(
    _: Operator,
    State(keys): State<Arc<AccountKeys>>,
    AccountPath(account): AccountPath,
) -> Result<Answer<KeysShape>, Problem> {
    let shape = |key: AccountKey| AccountKeyShape { key_id: key.key_id, created_at: time(key.created_at) };
    Ok(Answer(KeysShape { keys: keys.of(&account).await?.into_iter().map(shape).collect() }))
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
    operator: Operator,
    State(keys): State<Arc<AccountKeys>>,
    AccountPath(account): AccountPath,
    Path(KeyPath { key_id }): Path<KeyPath>,
) -> Result<StatusCode, Problem> {
    keys.remove(account, key_id, &operator.actor).await?;
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
pub(super) async fn rotate(
    operator: Operator,
    State(issuer): State<Arc<Issuer>>,
    State(store): State<Arc<dyn Store>>,
    State(engine): State<Arc<Engine>>,
    State(secrets): State<Arc<Secrets>>,
    State(clock): State<Arc<dyn Clock>>,
) -> Result<Answer<SigningKeys>, Problem> {
    let now = clock.wall();
    issuer.keyring().rotate(&*store, &engine.secrets(), now).await?;
    operator.acts.write_down(Deed::new(AuditAct::SigningKeyRotated)).await?;
    Ok(Answer(SigningKeys::of(&issuer, &secrets, clock.wall())))
}

/// Makes a cluster secret, which new sessions use at once. The old one goes with the last session that uses it.
#[utoipa::path(
    post, path = "/admin/keys/rotate-secret", tag = "admin", security(("admin_token" = [])),
    responses((status = 200, description = "The keys and secrets after it.", body = SigningKeys), RotateErrors),
)]
pub(super) async fn rotate_secret(
    operator: Operator,
    State(issuer): State<Arc<Issuer>>,
    State(secrets): State<Arc<Secrets>>,
    State(clock): State<Arc<dyn Clock>>,
) -> Result<Answer<SigningKeys>, Problem> {
    secrets.rotate().await?;
    operator.acts.write_down(Deed::new(AuditAct::ClusterSecretRotated)).await?;
    Ok(Answer(SigningKeys::of(&issuer, &secrets, clock.wall())))
}

/// The signing keys and what they do.
#[utoipa::path(
    get, path = "/admin/keys", tag = "admin", security(("admin_token" = [])),
    responses((status = 200, description = "The keys.", body = SigningKeys), AdminErrors),
)]
pub(super) async fn signing_keys(
    _: Operator,
    State(issuer): State<Arc<Issuer>>,
    State(secrets): State<Arc<Secrets>>,
    State(clock): State<Arc<dyn Clock>>,
) -> Answer<SigningKeys> {
    Answer(SigningKeys::of(&issuer, &secrets, clock.wall()))
}

impl SigningKeys {
    fn of(issuer: &Issuer, secrets: &Secrets, now: UnixMs) -> Self {
        Self { keys: issuer.keyring().status(now), cluster_secrets: secrets.status() }
    }
}
