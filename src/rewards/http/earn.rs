//! What a widget on a landing page asks: to be paid, and whether its tokens are valid. A shop asks the second.

use std::{collections::BTreeMap, sync::Arc};

use axum::{
    Extension, Json as Answer,
    extract::{Query, State, rejection::QueryRejection},
    http::request::Parts as RequestParts,
};
use hyper::HeaderMap;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;

use crate::{
    control::{
        acts::Acts,
        http::{Checks, for_owner, rfc3339},
    },
    store::{Actor, ActorKind, Surface},
    telemetry::{RewardOutcome, ValidationOutcome},
    time::{Millis, UnixMs},
    web::{
        admission::Trust,
        peer::Peer,
        problem::{Code as ErrorCode, Problem},
    },
};

use super::{
    super::{Payment, Reward, Rewards, Unpaid, earners::Shown},
    refusals::{TransactionErrors, ValidateErrors},
    state::RewardsSurface,
};

/// The header with the tokens, separated by commas.
const AUTH: &str = "x-psicash-auth";
/// Characters of a class or a distinguisher.
const MAX_NAME: usize = 255;

/// What is to be paid for.
#[derive(Deserialize)]
pub(super) struct RewardQuery {
    class: String,
    distinguisher: String,
}

/// A reward that has been paid.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Transaction {
    /// What was paid, in seconds.
    transaction_amount: u64,
    /// What is left in the tank, in seconds.
    balance: u64,
    /// When it was paid.
    #[schema(format = DateTime)]
    created_at: String,
    /// What comes next.
    transaction_response: TransactionResponse,
}

/// What comes after a reward.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "PascalCase")]
pub(super) struct TransactionResponse {
    /// The figures.
    values: NextReward,
}

/// When the same is paid again.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "PascalCase")]
pub(super) struct NextReward {
    /// Not before this instant.
    #[schema(format = DateTime)]
    next_allowed: String,
}

/// Which tokens are valid.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Validated {
    /// Each token that was shown, and whether it is.
    tokens_valid: BTreeMap<String, bool>,
}

/// Pays the reward of a class and a distinguisher, unless it was paid not long ago. Of requests at the same time one is paid.
///
/// `TransactionAmount` and `Balance` are in seconds. A refusal after the tokens were found to be valid has `Balance`, and one that
/// time alone mends has `TransactionResponse` as a success has it. The headers `X-PsiCash-Metadata` and `X-Requested-With` are
/// accepted, and not read.
#[utoipa::path(
    post, path = "/v1/transaction", tag = "rewards",
    params(
        ("X-PsiCash-Auth" = String, Header, description = "One to eight earner tokens of one account, separated by commas."),
        ("class" = String, Query, min_length = 1, max_length = 255, description = "What was done, such as `page-view`."),
        ("distinguisher" = String, Query, min_length = 1, max_length = 255, description = "Where, such as `news.example.org`."),
    ),
    responses((status = 200, description = "It is in the ledger.", body = Transaction), TransactionErrors),
)]
pub(super) async fn transaction(
    State(checks): State<Arc<Checks>>,
    State(acts): State<Arc<Acts>>,
    Extension(RewardsSurface { rewards, .. }): Extension<RewardsSurface>,
    asked: Result<Query<RewardQuery>, QueryRejection>,
    request: RequestParts,
) -> Result<Answer<Transaction>, Problem> {
    let done = transact(&checks, &acts, &rewards, asked, &request).await;
    let outcome = match &done {
        Ok(_) => RewardOutcome::Paid,
        Err((_, Some(unpaid))) => unpaid.outcome(),
        Err((problem, None)) => match problem.code() {
            ErrorCode::BadCredentials => RewardOutcome::BadToken,
            code if code.status().is_server_error() => RewardOutcome::Unavailable,
            _ => RewardOutcome::Refused,
        },
    };
    rewards.telemetry.rewards(outcome).increment(1);
    done.map(Answer).map_err(|(problem, _)| problem)
}

async fn transact(
    checks: &Checks,
    acts: &Acts,
    rewards: &Rewards,
    asked: Result<Query<RewardQuery>, QueryRejection>,
    request: &RequestParts,
) -> Result<Transaction, (Problem, Option<Unpaid>)> {
    let plain = |problem: Problem| (problem, None);
    let shown = shown(&request.headers).ok_or_else(|| plain(Problem::bad_credentials()))?;
    begin(checks, rewards, request).map_err(plain)?;
    let acts = acts.by(Actor::system());
    let earner = acts.in_time(rewards.earners.owner(&shown)).await.map_err(|error| plain(error.into()))?;
    let earner = earner.ok_or_else(|| plain(Problem::bad_credentials()))?;
    checks.prove(request, Trust::Client);
    checks.limit_account(earner.account.as_bytes()).map_err(plain)?;
    let acts = acts.by(Actor::named(ActorKind::EarnerToken, earner.id, Surface::Http));
    let named = |name: &String| (1..=MAX_NAME).contains(&name.len());
    let asked = asked.ok().map(|Query(asked)| asked).filter(|asked| named(&asked.class) && named(&asked.distinguisher));
    let Some(RewardQuery { class, distinguisher }) = asked else {
        let detail = "`class` and `distinguisher` are in the query, 1 to 255 characters each";
        return Err(plain(Problem::bad_request(detail)));
    };
    let account = earner.account;
    let Some(reward) = rewards.catalogue.find(&class, &distinguisher) else {
        let remaining = acts.view(&account).await.map_err(|error| plain(for_owner(error)))?.remaining;
        let detail = "nothing is paid for this class and distinguisher";
        return Err(plain(balanced(Problem::because(ErrorCode::NotFound, detail), remaining)));
    };
    let from = request.extensions.get::<Peer>().map(|peer| peer.network());
    let payment = rewards.pay(&acts, &account, reward, from).await.map_err(|error| plain(for_owner(error)))?;
    match payment.unpaid {
        None => Ok(Transaction::of(reward, &payment)),
        Some(unpaid) => Err((refusal(unpaid, &payment), Some(unpaid))),
    }
}

/// Tells which of the tokens are valid. They may earn then, and shops may sell to their owner.
#[utoipa::path(
    get, path = "/v1/validate-tokens", tag = "rewards",
    params(("X-PsiCash-Auth" = String, Header, description = "One to eight earner tokens of one account, separated by commas.")),
    responses((status = 200, description = "Which of them are valid.", body = Validated), ValidateErrors),
)]
pub(super) async fn validate(
    State(checks): State<Arc<Checks>>,
    State(acts): State<Arc<Acts>>,
    Extension(RewardsSurface { rewards, .. }): Extension<RewardsSurface>,
    request: RequestParts,
) -> Result<Answer<Validated>, Problem> {
    let done = validated(&checks, &acts, &rewards, &request).await;
    let outcome = match &done {
        Ok(validated) if validated.tokens_valid.values().any(|valid| *valid) => ValidationOutcome::Valid,
        Ok(_) => ValidationOutcome::Invalid,
        Err(problem) if problem.code() == ErrorCode::BadCredentials => ValidationOutcome::Invalid,
        Err(problem) if problem.code().status().is_server_error() => ValidationOutcome::Unavailable,
        Err(_) => ValidationOutcome::Refused,
    };
    rewards.telemetry.validations(outcome).increment(1);
    done.map(Answer)
}

async fn validated(
    checks: &Checks,
    acts: &Acts,
    rewards: &Rewards,
    request: &RequestParts,
) -> Result<Validated, Problem> {
    let shown = shown(&request.headers).ok_or_else(Problem::bad_credentials)?;
    begin(checks, rewards, request)?;
    let validated = acts.in_time(rewards.earners.validate(&shown)).await?.ok_or_else(Problem::bad_credentials)?;
    if validated.iter().any(|(_, valid)| *valid) {
        checks.prove(request, Trust::Client);
    }
    Ok(Validated { tokens_valid: validated.into_iter().collect() })
}

/// The tokens in a request's headers. `None` where there are none, or what is there cannot be tokens.
fn shown(headers: &HeaderMap) -> Option<Shown> {
    let mut values = headers.get_all(AUTH).iter();
    let value = values.next().filter(|_| values.next().is_none())?;
    Shown::read(value.to_str().ok()?)
}

/// What every question of a page is held against before its tokens are looked at.
fn begin(checks: &Checks, rewards: &Rewards, request: &RequestParts) -> Result<(), Problem> {
    if !rewards.is_on() {
        return Err(Problem::because(ErrorCode::NotFound, "rewards are off"));
    }
    checks.warm()?;
    checks.limit_address(request)
}

impl Transaction {
    fn of(reward: &Reward, payment: &Payment) -> Self {
        Self {
            transaction_amount: reward.offer.reward.fuel().as_secs(),
            balance: payment.remaining.as_secs(),
            created_at: rfc3339(payment.at),
            transaction_response: TransactionResponse {
                values: NextReward { next_allowed: rfc3339(payment.at.plus(reward.offer.cooldown)) },
            },
        }
    }
}

/// Why nothing was paid, as pages are told.
fn refusal(unpaid: Unpaid, payment: &Payment) -> Problem {
    let Some(until) = unpaid.until() else {
        let detail = "this reward is for accounts that have used the service for some time lately";
        return balanced(Problem::because(ErrorCode::ActivityRequired, detail), payment.remaining);
    };
    let detail = match unpaid {
        Unpaid::Cooldown(_) => "this reward was paid not long ago",
        Unpaid::Daily(_) => "this account has earned as much as it may today",
        Unpaid::Address(_) => "this address has had as many rewards as it may today",
        Unpaid::Budget(_) | Unpaid::Inactive => "as much is paid for this as may be today",
    };
    let problem = Problem::because(ErrorCode::RewardNotDue, detail)
        .reason(unpaid.name())
        .retry_after_s(wait_s(until, payment.at));
    balanced(problem, payment.remaining)
        .member("TransactionResponse", json!({ "Values": { "NextAllowed": rfc3339(until) } }))
}

fn wait_s(until: UnixMs, now: UnixMs) -> u32 {
    u32::try_from(until.since(now).get().div_ceil(1000)).unwrap_or(u32::MAX).max(1)
}

/// A refusal with what is left in the tank.
fn balanced(problem: Problem, remaining: Millis) -> Problem {
    problem.member("Balance", Value::from(remaining.as_secs()))
}

#[cfg(test)]
mod tests {
    use hyper::header::HeaderValue;

    use super::*;

    #[test]
    fn a_header_that_comes_twice_or_is_no_text_shows_nothing() {
        let mut headers = HeaderMap::new();
        assert_eq!(shown(&headers), None);
        headers.append(AUTH, "a".parse().unwrap());
        assert!(shown(&headers).is_some());
        headers.append(AUTH, "b".parse().unwrap());
        assert_eq!(shown(&headers), None);
        headers.insert(AUTH, HeaderValue::from_bytes(b"\xff\xfe").unwrap());
        assert_eq!(shown(&headers), None);
    }
}
