//! What operators see of rewards, and the earner tokens that they revoke.

use axum::{Extension, Json as Answer, extract::Path};
use hyper::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    control::{
        acts::ActError,
        http::{AccountPath, Operator},
    },
    store::StoreError,
    time::Millis,
    web::problem::Problem,
};

use super::{
    super::Reward,
    owners::{EarnerList, EarnerPath},
    refusals::AdminErrors,
    state::RewardsSurface,
};

/// What is paid for.
#[derive(Serialize, ToSchema)]
pub(super) struct RewardList {
    /// Each class and distinguisher.
    rewards: Vec<RewardShape>,
}

/// Something that is paid for.
#[derive(Serialize, ToSchema)]
#[schema(as = Reward)]
pub(super) struct RewardShape {
    /// What people do.
    class: String,
    /// Where.
    distinguisher: String,
    /// What is paid, in seconds.
    reward_s: u64,
    /// How long after a reward there is no other, in seconds.
    cooldown_s: u64,
    /// How long a session must have run lately, in seconds; 0 where none is needed.
    session_s: u64,
    /// What is paid on a day (UTC) to all accounts together, in seconds, if that is limited.
    budget_s: Option<u64>,
    /// How much of the budget nodes have taken today, in seconds. They may not have paid all of it.
    given_s: Option<u64>,
}

/// What is paid for, with how much of its budget has been given out today.
#[utoipa::path(
    operation_id = "list_rewards",
    get, path = "/admin/rewards", tag = "admin", security(("admin_token" = [])),
    responses((status = 200, description = "Each class and distinguisher.", body = RewardList), AdminErrors),
)]
pub(super) async fn list(
    Operator { acts, .. }: Operator,
    Extension(RewardsSurface { rewards, .. }): Extension<RewardsSurface>,
) -> Result<Answer<RewardList>, Problem> {
    // One deadline for all of them.
    let list = acts
        .in_time(async {
            let mut list = Vec::new();
            for reward in rewards.catalogue.all() {
                let given = match reward.budget {
                    Some(_) => Some(rewards.given(reward).await?),
                    None => None,
                };
                list.push(RewardShape::of(reward, given));
            }
            Ok::<_, StoreError>(list)
        })
        .await?;
    Ok(Answer(RewardList { rewards: list }))
}

/// The earner tokens of an account.
#[utoipa::path(
    operation_id = "list_earners_of_account",
    get, path = "/admin/accounts/{id}/earners", tag = "admin", security(("admin_token" = [])),
    params(("id" = String, Path, description = "The account's id.")),
    responses((status = 200, description = "The tokens.", body = EarnerList), AdminErrors),
)]
pub(super) async fn earners(
    Operator { acts, .. }: Operator,
    Extension(RewardsSurface { rewards, .. }): Extension<RewardsSurface>,
    AccountPath(account): AccountPath,
) -> Result<Answer<EarnerList>, Problem> {
    let tokens = acts.in_time(async { Ok::<_, ActError>(rewards.tokens.of(&account).await) }).await??;
    Ok(Answer(EarnerList::of(tokens)))
}

/// Revokes an earner token.
#[utoipa::path(
    operation_id = "remove_earner_of_account",
    delete, path = "/admin/accounts/{id}/earners/{earner_id}", tag = "admin", security(("admin_token" = [])),
    params(
        ("id" = String, Path, description = "The account's id."),
        ("earner_id" = String, Path, description = "The token's id."),
    ),
    responses((status = 204, description = "The token is gone."), AdminErrors),
)]
pub(super) async fn remove_earner(
    operator: Operator,
    Extension(RewardsSurface { rewards, .. }): Extension<RewardsSurface>,
    AccountPath(account): AccountPath,
    Path(EarnerPath { earner_id }): Path<EarnerPath>,
) -> Result<StatusCode, Problem> {
    let Operator { acts, actor } = operator;
    acts.in_time(async { Ok::<_, ActError>(rewards.revoke(account, earner_id, &actor).await) }).await??;
    Ok(StatusCode::NO_CONTENT)
}

impl RewardShape {
    fn of(reward: &Reward, given: Option<Millis>) -> Self {
        Self {
            class: reward.class.clone(),
            distinguisher: reward.distinguisher.clone(),
            reward_s: reward.offer.reward.fuel().as_secs(),
            cooldown_s: reward.offer.cooldown.as_secs(),
            session_s: reward.offer.session.as_secs(),
            budget_s: reward.budget.map(Millis::as_secs),
            given_s: given.map(Millis::as_secs),
        }
    }
}
