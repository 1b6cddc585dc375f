//! What other services tell: credit that was bought or paid back (Standard Webhooks 1.0).

use std::sync::Arc;

use axum::extract::{Request, State};
use hyper::{HeaderMap, StatusCode};
use serde::Deserialize;
use utoipa::ToSchema;

use crate::{
    control::{
        acts::Acts,
        hooks::{
            deposits::{Deposit, Payee},
            secrets::HookSecrets,
            standard::{Delivery, Rejected, Sender},
        },
    },
    engine::{AccountId, Credit, EntryKind, NewEntry, Source},
    store::{Actor, ActorKind, Identity, Surface},
    time::{Clock, UnixMs},
    web::{
        admission::Trust,
        body::{read_body, require_type},
        extract::{parse_json, text},
        problem::{Code as ErrorCode, Problem},
    },
};

use super::{
    checks::Checks,
    instruments::{Instruments, WebhookResult},
    named::{MAX_IDENTITY, MAX_REASON, bounded},
    refusals::HookErrors,
};

/// Time was bought.
const GRANTED: &str = "credit.granted";
/// Time was paid back.
const REFUNDED: &str = "credit.refunded";

/// What every message has.
#[derive(Deserialize)]
struct Envelope {
    r#type: String,
}

/// A message about credit.
#[derive(Deserialize, ToSchema)]
pub(super) struct CreditMessage {
    /// `credit.granted` or `credit.refunded`. Messages of other types are acknowledged and ignored.
    #[serde(rename = "type")]
    #[schema(example = "credit.granted")]
    _type: String,
    /// Whose credit, and how much.
    data: CreditData,
}

/// Whose credit, and how much: `issuer` and `subject`, or `account`.
#[derive(Deserialize, ToSchema)]
pub(super) struct CreditData {
    /// The identity provider.
    issuer: Option<String>,
    /// The person's name there.
    subject: Option<String>,
    /// The account's id, instead of the two.
    account: Option<String>,
    /// Seconds to add, or to take back: more than zero either way.
    seconds: i64,
    /// A note for people.
    reason: Option<String>,
}

/// Takes credit from a sender of webhooks. The same `webhook-id` again changes nothing and is acknowledged again; for another
/// account or amount it is refused. Senders that have names have ids of their own.
///
/// A refund takes what the tank has; the rest is debt that later credit pays first. Credit for a person who has no account
/// yet is kept until they have one. The headers may be named `svix-id`, `svix-timestamp` and `svix-signature` instead.
#[utoipa::path(
    post, path = "/hooks/credit", tag = "hooks",
    params(
        ("webhook-id" = String, Header, description = "The message's id, the same at every attempt: 1 to 256 visible ASCII \
            characters without a full stop."),
        ("webhook-timestamp" = u64, Header, description = "When this attempt was made, in seconds since 1970."),
        ("webhook-signature" = String, Header, description = "Signatures, separated by spaces: `v1,` and the HMAC-SHA256 or \
            `v1a,` and the Ed25519 signature of `id.timestamp.body`, in base64."),
    ),
    request_body = CreditMessage,
    responses((status = 204, description = "It is durable, or of no concern here. It need not be sent again."), HookErrors),
)]
pub(super) async fn credit(
    State(instruments): State<Arc<dyn Instruments>>,
    State(hooks): State<Arc<HookSecrets>>,
    State(checks): State<Arc<Checks>>,
    State(clock): State<Arc<dyn Clock>>,
    State(acts): State<Arc<Acts>>,
    request: Request,
) -> Result<StatusCode, Problem> {
    let answered = try_credit(&hooks, &checks, &acts, clock.wall(), request).await;
    instruments.hooked(match &answered {
        Ok(hooked) => *hooked,
        Err(problem) => WebhookResult::Refused(problem.code()),
    });
    answered.map(|_| StatusCode::NO_CONTENT)
}

/// Who sent it is proved by a signature of the body.
async fn try_credit(
    hooks: &HookSecrets,
    checks: &Checks,
    acts: &Acts,
    now: UnixMs,
    request: Request,
) -> Result<WebhookResult, Problem> {
    let verifier = hooks.current(now);
    if verifier.is_empty() {
        return Err(Problem::because(ErrorCode::NotFound, "no webhooks are accepted here"));
    }
    checks.warm()?;
    let (parts, body) = request.into_parts();
    checks.limit_hooks(&parts)?;
    let delivery = delivery(&parts.headers)?;
    let body = read_body(body).await?;
    checks.limit_forgeries(&parts)?;
    let tolerance = hooks.tolerance();
    let sender = verifier.verify(&delivery, &body, now, tolerance).map_err(|rejected| {
        let detail = match rejected {
            Rejected::Untimely => {
                format!("`webhook-timestamp` is more than {} seconds from now", tolerance.as_secs())
            }
            Rejected::Unsigned => "no signature fits the body and the other headers".to_owned(),
        };
        Problem::because(ErrorCode::BadSignature, detail)
    })?;
    checks.prove(&parts, Trust::Client);
    require_type(&parts.headers, "application/json")?;
    let Envelope { r#type } = parse_json(&body)?;
    let (kind, hooked) = match r#type.as_str() {
        GRANTED => (EntryKind::Purchase, WebhookResult::Credited),
        REFUNDED => (EntryKind::Refund, WebhookResult::Refunded),
        _ => return Ok(WebhookResult::Ignored),
    };
    let CreditMessage { data, .. } = parse_json(&body)?;
    let (payee, new) = data.read(kind, Sender::entry_name(sender, delivery.id()))?;
    let actor = Actor::named(ActorKind::Webhook, new.external_id.clone(), Surface::Hooks);
    Ok(match acts.by(actor).deposit(&payee, new).await? {
        Deposit::Entered => hooked,
        Deposit::Repeated => WebhookResult::Repeated,
        Deposit::Held => WebhookResult::Held,
        Deposit::Undeliverable => {
            tracing::warn!(webhook = delivery.id(), "a credit webhook is for an account that has been deleted");
            WebhookResult::Undeliverable
        }
    })
}

impl CreditData {
    fn read(self, kind: EntryKind, external_id: String) -> Result<(Payee, NewEntry), Problem> {
        let payee = match (self.account, self.issuer, self.subject) {
            (Some(account), None, None) => {
                let account = AccountId::parse(&account);
                Payee::Account(account.ok_or_else(|| Problem::bad_request("`account` is not an account's id"))?)
            }
            (None, Some(issuer), Some(subject)) => Payee::Identity(Identity {
                issuer: text("issuer", issuer, MAX_IDENTITY)?,
                subject: text("subject", subject, MAX_IDENTITY)?,
            }),
            _ => return Err(Problem::bad_request("`data` has either `issuer` and `subject`, or `account`")),
        };
        let seconds = bounded(self.seconds)?;
        if seconds <= 0 {
            return Err(Problem::bad_request("`seconds` is more than zero, for refunds too"));
        }
        let amount = Credit::from_secs(seconds);
        let new = NewEntry {
            kind,
            amount: if kind == EntryKind::Refund { amount.negated() } else { amount },
            source: Source::Webhook,
            external_id,
            reason: self.reason.map(|reason| text("reason", reason, MAX_REASON)).transpose()?,
        };
        Ok((payee, new))
    }
}

/// Whether these are the headers of a webhook whose body is worth waiting for.
pub(super) fn check_headers(hooks: &HookSecrets, now: UnixMs, headers: &HeaderMap) -> Result<(), Problem> {
    if hooks.current(now).is_empty() {
        return Err(Problem::because(ErrorCode::NotFound, "no webhooks are accepted here"));
    }
    require_type(headers, "application/json")?;
    if delivery(headers)?.is_timely(now, hooks.tolerance()) {
        return Ok(());
    }
    Err(Problem::because(ErrorCode::BadSignature, "`webhook-timestamp` is too far from now"))
}

/// The names of the headers, by the standard, and by the service that many senders send through.
const HEADERS: [[&str; 3]; 2] =
    [["webhook-id", "webhook-timestamp", "webhook-signature"], ["svix-id", "svix-timestamp", "svix-signature"]];

/// Reads the headers: those of the standard, unless there is none of them and one of the others. Two of one kind are refused:
/// whoever passes them on may have checked the other one.
fn delivery(headers: &HeaderMap) -> Result<Delivery<'_>, Problem> {
    let [standard, other] = HEADERS;
    let any_of = |names: [&str; 3]| names.iter().any(|name| headers.contains_key(*name));
    let [id, timestamp, signatures] = if !any_of(standard) && any_of(other) { other } else { standard };
    let only = |name: &'static str| {
        let mut values = headers.get_all(name).iter();
        match (values.next().map(|value| value.to_str()), values.next()) {
            (Some(Ok(value)), None) => Ok(value),
            (None, _) => Err(Problem::bad_request(format!("the header `{name}` is missing"))),
            (Some(_), Some(_)) => Err(Problem::bad_request(format!("there is more than one `{name}`"))),
            (Some(Err(_)), None) => Err(Problem::bad_request(format!("the header `{name}` is not ASCII"))),
        }
    };
    let (id, timestamp, signatures) = (only(id)?, only(timestamp)?, only(signatures)?);
    Delivery::parse(id, timestamp, signatures).map_err(|malformed| Problem::bad_request(malformed.to_string()))
}
