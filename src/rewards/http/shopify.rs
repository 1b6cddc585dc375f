//! Webhooks of Shopify: orders that were paid, and refunds.

use std::sync::Arc;

use axum::{
    Extension,
    extract::{Request, State},
};
use hyper::{HeaderMap, StatusCode};

use crate::{
    control::{
        acts::Acts,
        http::{BodyCheck, Checks},
    },
    rewards::{
        Delivery, LineOutcome, Rewards,
        shop::{ShopSecrets, read_signature},
    },
    store::{Actor, ActorKind, Surface},
    telemetry::ShopOutcome,
    web::{
        admission::Trust,
        body::read_body,
        problem::{Code as ErrorCode, Problem},
    },
};

use super::{refusals::ShopErrors, state::RewardsSurface};

/// Where Shopify sends its webhooks.
pub(super) const PATH: &str = "/hooks/shopify";
const SIGNATURE: &str = "x-shopify-hmac-sha256";
const DOMAIN: &str = "x-shopify-shop-domain";
const TOPIC: &str = "x-shopify-topic";

/// Takes `orders/paid` and `refunds/create`. Each line of an order is credited once, by its id; a line that cannot be credited is
/// kept for a refund. Other topics are acknowledged and ignored.
///
/// The body is the shop's JSON; what is not read of it may be anything.
#[utoipa::path(
    post, path = "/hooks/shopify", tag = "hooks",
    params(
        ("X-Shopify-Hmac-Sha256" = String, Header, description = "The HMAC-SHA256 of the body by a secret of the shop, in base64."),
        ("X-Shopify-Shop-Domain" = String, Header, description = "The shop's domain, such as `time.myshopify.com`."),
        ("X-Shopify-Topic" = String, Header, description = "What the body is about, such as `orders/paid`."),
    ),
    request_body(content = Object, description = "An order or a refund.", content_type = "application/json"),
    responses((status = 200, description = "It is durable, or of no concern here. It need not be sent again."), ShopErrors),
)]
pub(super) async fn shopify(
    State(checks): State<Arc<Checks>>,
    State(acts): State<Arc<Acts>>,
    Extension(RewardsSurface { rewards, secrets, .. }): Extension<RewardsSurface>,
    request: Request,
) -> Result<StatusCode, Problem> {
    let taken = take(&checks, &acts, &rewards, &secrets, request).await;
    if let Err(problem) = &taken {
        let outcome = match problem.code() {
            ErrorCode::BadSignature => ShopOutcome::BadSignature,
            code if code.status().is_server_error() => ShopOutcome::Unavailable,
            _ => ShopOutcome::Refused,
        };
        rewards.telemetry.shop(outcome).increment(1);
    }
    taken.map(|()| StatusCode::OK)
}

async fn take(
    checks: &Checks,
    acts: &Acts,
    rewards: &Rewards,
    secrets: &ShopSecrets,
    request: Request,
) -> Result<(), Problem> {
    let (parts, body) = request.into_parts();
    let Envelope { domain, signature, topic } = Envelope::of(&parts.headers).ok_or_else(unsigned)?;
    if secrets.is_empty() {
        return Err(Problem::because(ErrorCode::NotFound, "no shop is configured"));
    }
    checks.warm()?;
    checks.limit_hooks(&parts)?;
    let body = read_body(body).await?;
    checks.limit_forgeries(&parts)?;
    if !secrets.accepts(&domain, signature, &body) {
        return Err(unsigned());
    }
    checks.prove(&parts, Trust::Client);
    let read = match topic {
        "orders/paid" => Delivery::paid(&body),
        "refunds/create" => Delivery::refunded(&body),
        _ => {
            rewards.telemetry.shop(ShopOutcome::Ignored).increment(1);
            return Ok(());
        }
    };
    let delivery = read.map_err(|error| Problem::bad_request(error.to_string()))?;
    let acts = acts.by(Actor::named(ActorKind::Shop, domain.clone(), Surface::Hooks));
    acts.all_in_time(async {
        for outcome in rewards.deliver(&acts, &domain, &delivery).await? {
            rewards.telemetry.shop(counted(outcome)).increment(1);
        }
        Ok(())
    })
    .await?;
    Ok(())
}

/// What a webhook says beside its body.
struct Envelope<'a> {
    domain: String,
    signature: &'a str,
    topic: &'a str,
}

impl<'a> Envelope<'a> {
    fn of(headers: &'a HeaderMap) -> Option<Self> {
        let one = |name: &str| {
            let mut values = headers.get_all(name).iter();
            let value = values.next()?.to_str().ok()?;
            values.next().is_none().then_some(value)
        };
        let signature = one(SIGNATURE).filter(|text| read_signature(text).is_some())?;
        Some(Self { domain: one(DOMAIN)?.to_ascii_lowercase(), signature, topic: one(TOPIC)? })
    }
}

/// Whether the headers are those of a webhook whose body is worth waiting for.
pub(super) fn body_check(secrets: Arc<ShopSecrets>) -> BodyCheck {
    Arc::new(move |headers| {
        let known = Envelope::of(headers).is_some_and(|envelope| secrets.knows(&envelope.domain));
        if known { Ok(()) } else { Err(unsigned()) }
    })
}

fn unsigned() -> Problem {
    Problem::because(ErrorCode::BadSignature, "no secret of this shop has signed the body")
}

const fn counted(outcome: LineOutcome) -> ShopOutcome {
    match outcome {
        LineOutcome::Credited => ShopOutcome::Credited,
        LineOutcome::Refunded => ShopOutcome::Refunded,
        LineOutcome::Repeated => ShopOutcome::Repeated,
        LineOutcome::Kept => ShopOutcome::Kept,
        LineOutcome::Ignored => ShopOutcome::Ignored,
    }
}
