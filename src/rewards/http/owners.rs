//! The earner tokens of an account, as its owner makes, sees and revokes them.

use std::sync::Arc;

use axum::{
    Extension, Json as Answer,
    extract::{Path, State},
    response::IntoResponse,
};
use hyper::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    control::{
        account_keys::AccountKeyError,
        acts::ActError,
        http::{Owner, rfc3339},
    },
    store::AccountKey,
    time::Clock,
    web::problem::Problem,
};

use super::{super::Package, refusals::EarnerErrors, state::RewardsSurface};

/// An earner token, as it is shown once.
#[derive(Serialize, ToSchema)]
pub(super) struct NewEarner {
    /// Names the token.
    earner_id: String,
    /// The token. Shown this once.
    token: String,
    /// The token in a package, as landing pages and shops take it in the parameter `psicash` of their address. They take one for a
    /// minute; make another one of the same token then.
    package: String,
}

/// The earner tokens of an account.
#[derive(Serialize, ToSchema)]
pub(super) struct EarnerList {
    /// The tokens, without their secrets.
    pub(super) earners: Vec<EarnerShape>,
}

/// An earner token, as it is listed.
#[derive(Serialize, ToSchema)]
#[schema(as = Earner)]
pub(super) struct EarnerShape {
    /// Names the token.
    earner_id: String,
    /// When it was made.
    #[schema(format = DateTime)]
    created_at: String,
}

#[derive(Deserialize)]
pub(super) struct EarnerPath {
    pub(super) earner_id: String,
}

/// Makes an earner token: it can earn rewards for the account and be validated, and nothing else.
#[utoipa::path(
    operation_id = "add_earner",
    post, path = "/v1/account/earners", tag = "rewards", security(("account_key" = []), ("identity_token" = [])),
    responses((status = 201, description = "The token was made.", body = NewEarner), EarnerErrors),
)]
pub(super) async fn add(
    owner: Owner,
    State(clock): State<Arc<dyn Clock>>,
    Extension(RewardsSurface { rewards, .. }): Extension<RewardsSurface>,
) -> Result<impl IntoResponse, Problem> {
    let adding = async { Ok::<_, ActError>(rewards.tokens.add(owner.account, owner.acts.actor()).await) };
    let made = owner.acts.in_time(adding).await?.map_err(of_owner)?;
    let package = Package { timestamp: Some(rfc3339(clock.wall())), tokens: Some(made.key.clone()) };
    let shape = NewEarner { earner_id: made.key_id, token: made.key, package: package.write() };
    Ok((StatusCode::CREATED, Answer(shape)))
}

/// The earner tokens of the account.
#[utoipa::path(
    operation_id = "list_earners",
    get, path = "/v1/account/earners", tag = "rewards", security(("account_key" = []), ("identity_token" = [])),
    responses((status = 200, description = "The tokens.", body = EarnerList), EarnerErrors),
)]
pub(super) async fn list(
    owner: Owner,
    Extension(RewardsSurface { rewards, .. }): Extension<RewardsSurface>,
) -> Result<Answer<EarnerList>, Problem> {
    let reading = async { Ok::<_, ActError>(rewards.tokens.of(&owner.account).await) };
    Ok(Answer(EarnerList::of(owner.acts.in_time(reading).await?.map_err(of_owner)?)))
}

/// Revokes an earner token. It earns nothing from now on; another node may tell a shop for a minute that it is valid.
#[utoipa::path(
    operation_id = "remove_earner",
    delete, path = "/v1/account/earners/{earner_id}", tag = "rewards",
    security(("account_key" = []), ("identity_token" = [])),
    params(("earner_id" = String, Path, description = "The token's id.")),
    responses((status = 204, description = "The token is gone."), EarnerErrors),
)]
pub(super) async fn remove(
    owner: Owner,
    Extension(RewardsSurface { rewards, .. }): Extension<RewardsSurface>,
    Path(EarnerPath { earner_id }): Path<EarnerPath>,
) -> Result<StatusCode, Problem> {
    let revoking = async { Ok::<_, ActError>(rewards.revoke(owner.account, earner_id, owner.acts.actor()).await) };
    owner.acts.in_time(revoking).await?.map_err(of_owner)?;
    Ok(StatusCode::NO_CONTENT)
}

/// As callers see it that have proved who they are by an account that is gone.
fn of_owner(error: AccountKeyError) -> Problem {
    match error {
        AccountKeyError::NoSuchAccount => Problem::bad_credentials(),
        other => other.into(),
    }
}

impl EarnerList {
    pub(super) fn of(keys: Vec<AccountKey>) -> Self {
        let shape = |key: AccountKey| EarnerShape { earner_id: key.key_id, created_at: rfc3339(key.created_at) };
        Self { earners: keys.into_iter().map(shape).collect() }
    }
}
