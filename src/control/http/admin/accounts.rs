//! Accounts and their credit.

use std::sync::Arc;

use axum::{
    Json as Answer,
    extract::{Query, State, rejection::QueryRejection},
    http::HeaderMap,
    response::IntoResponse,
};
use hyper::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    control::{account_keys::AccountKeys, acts::View},
    engine::{AccountId, Credit, Engine, EntryKind, Moment, NewEntry, Source},
    entropy::{Entropy, draw},
    store::{Created, Identity, Owned, Store},
    time::{Clock, Millis},
    web::{
        extract::{self, Json, Page, text},
        problem::{Code as ErrorCode, Problem},
    },
};

use super::super::{
    callers::Operator,
    named::{AccountPath, MAX_IDENTITY, MAX_REASON, bounded},
    refusals::{AdminErrors, CreateErrors, CreditErrors},
    shapes::{Entries, EntryShape, SessionShape, time},
};

/// The issuer of accounts that no identity provider knows.
const LOCAL: &str = "local";
/// Names that begin like this are the service's own.
const OWN_NAMES: &str = "gastank:";

/// An account to be made.
#[derive(Deserialize, ToSchema)]
pub(super) struct CreateRequest {
    /// The identity provider. Absent: `local`.
    #[schema(min_length = 1, max_length = 512, pattern = r"^[^\u0000-\u001F\u007F-\u009F]+$")]
    issuer: Option<String>,
    /// The person's name there. Absent: the account's id.
    #[schema(min_length = 1, max_length = 512, pattern = r"^[^\u0000-\u001F\u007F-\u009F]+$")]
    subject: Option<String>,
    /// Credit to begin with, in seconds. Entered once, however often this is asked.
    #[schema(maximum = 316_224_000)]
    credit_s: Option<u64>,
    /// Whether to make an account key too.
    key: Option<bool>,
}

/// An account that was made, or was there.
#[derive(Serialize, ToSchema)]
pub(super) struct CreateAnswer {
    /// Its id.
    account: String,
    /// The account key that was asked for. Shown this once.
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<String>,
}

/// An account with its owner.
#[derive(Serialize, ToSchema)]
pub(super) struct OwnedAccount {
    /// Its id.
    account: String,
    /// The identity provider.
    #[serde(skip_serializing_if = "Option::is_none")]
    issuer: Option<String>,
    /// The person's name there.
    #[serde(skip_serializing_if = "Option::is_none")]
    subject: Option<String>,
    /// When it was made.
    #[schema(format = DateTime)]
    created_at: String,
    /// What is left to burn, in seconds.
    remaining_s: u64,
    /// What refunds took that the tank did not have, in seconds, rounded up. Credit to come pays it first.
    debt_s: u64,
    /// Its latest session. `null` if there has been none.
    session: Option<SessionShape>,
}

/// Whose account is asked for.
#[derive(Deserialize)]
pub(super) struct OwnedBy {
    issuer: Option<String>,
    subject: Option<String>,
}

/// A page of accounts.
#[derive(Serialize, ToSchema)]
pub(super) struct Accounts {
    /// The accounts, in order of their ids.
    accounts: Vec<OwnedAccount>,
    /// `after` of the next page. Absent on the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

/// Credit to be entered.
#[derive(Deserialize, ToSchema)]
pub(super) struct CreditRequest {
    /// Seconds to add; negative: to take away, as far as the tank has them.
    seconds: i64,
    /// A note for people.
    #[schema(min_length = 1, max_length = 256, pattern = r"^[^\u0000-\u001F\u007F-\u009F]+$")]
    reason: Option<String>,
}

/// Credit that was entered.
#[derive(Serialize, ToSchema)]
pub(super) struct CreditAnswer {
    /// The entry.
    entry: EntryShape,
    /// What is left to burn, in seconds.
    remaining_s: u64,
    /// Whether it had been entered before, and nothing was changed now.
    repeated: bool,
}

/// Makes an account. The same issuer and subject again are the same account.
#[utoipa::path(
    post, path = "/admin/accounts", tag = "admin", security(("admin_token" = [])),
    request_body = Option<CreateRequest>,
    responses(
        (status = 201, description = "The account was made.", body = CreateAnswer),
        (status = 200, description = "The account was there.", body = CreateAnswer),
        CreateErrors,
    ),
)]
pub(super) async fn create(
    operator: Operator,
    State(entropy): State<Arc<dyn Entropy>>,
    State(keys): State<Arc<AccountKeys>>,
    Json(asked): Json<CreateRequest>,
) -> Result<impl IntoResponse, Problem> {
    let id = AccountId::from_bytes(draw(&*entropy));
    let identity = Identity {
        issuer: text("issuer", asked.issuer.unwrap_or_else(|| LOCAL.to_owned()), MAX_IDENTITY)?,
        subject: text("subject", asked.subject.unwrap_or_else(|| id.to_string()), MAX_IDENTITY)?,
    };
    let credit_s = asked.credit_s.unwrap_or(0);
    let credit = Credit::from_secs(bounded(i64::try_from(credit_s).unwrap_or(i64::MAX))?);
    let acts = &operator.acts;
    let (account, made) = acts.create(id, &identity).await?;
    acts.welcome(&account, &identity).await?;
    if credit > Credit::ZERO {
        acts.begin_with(&account, credit).await?;
    }
    let key = match asked.key {
        Some(true) => Some(keys.add(account, &operator.actor).await?.key),
        Some(false) | None => None,
    };
    let status = match made {
        Created::New => StatusCode::CREATED,
        Created::AlreadyThere => StatusCode::OK,
    };
    Ok((status, Answer(CreateAnswer { account: account.to_string(), key })))
}

/// The accounts, in order of their ids; or the one that an issuer and a subject have, if they have one.
#[utoipa::path(
    get, path = "/admin/accounts", tag = "admin", security(("admin_token" = [])),
    params(
        ("after" = Option<String>, Query, pattern = "^[A-Za-z0-9_-]{21}[AQgw]$", description = "From after this account on."),
        ("limit" = Option<u16>, Query, minimum = 1, maximum = 1000, description = "So many accounts, 1 to 1000; 100 by default."),
        ("issuer" = Option<String>, Query, min_length = 1, max_length = 512, description = "Only the account of this identity provider's `subject`. None is made."),
        ("subject" = Option<String>, Query, min_length = 1, max_length = 512, description = "The person's name there."),
    ),
    responses((status = 200, description = "A page of accounts.", body = Accounts), AdminErrors),
)]
pub(super) async fn list(
    _: Operator,
    State(store): State<Arc<dyn Store>>,
    State(engine): State<Arc<Engine>>,
    State(clock): State<Arc<dyn Clock>>,
    page: Page<String>,
    owned_by: Result<Query<OwnedBy>, QueryRejection>,
) -> Result<Answer<Accounts>, Problem> {
    let wrong = |_| Problem::bad_request("`issuer` or `subject` is not what it should be");
    match owned_by.map_err(wrong)?.0 {
        OwnedBy { issuer: None, subject: None } => {}
        OwnedBy { issuer: Some(issuer), subject: Some(subject) } => {
            let identity = Identity {
                issuer: text("issuer", issuer, MAX_IDENTITY)?,
                subject: text("subject", subject, MAX_IDENTITY)?,
            };
            let owned = match store.account_of(&identity).await? {
                Some(id) => store.account(&id).await?.filter(|owned| !owned.account.deleted),
                None => None,
            };
            let accounts = owned.map(|owned| OwnedAccount::now(owned, &engine, &*clock)).into_iter().collect();
            return Ok(Answer(Accounts { accounts, next: None }));
        }
        _ => return Err(Problem::bad_request("`issuer` and `subject` go together")),
    }
    let wrong = || Problem::bad_request("`after` is not an account's id");
    let after = page.after.as_deref().map(|id| AccountId::parse(id).ok_or_else(wrong)).transpose()?;
    let (rows, more) = page.cut(store.accounts(after, page.limit + 1).await?);
    let next = rows.last().filter(|_| more).map(|owned| owned.account.id.to_string());
    Ok(Answer(Accounts {
        accounts: rows.into_iter().map(|owned| OwnedAccount::now(owned, &engine, &*clock)).collect(),
        next,
    }))
}

/// An account.
#[utoipa::path(
    get, path = "/admin/accounts/{id}", tag = "admin", security(("admin_token" = [])),
    params(("id" = String, Path, description = "The account's id.")),
    responses((status = 200, description = "The account.", body = OwnedAccount), AdminErrors),
)]
pub(super) async fn show(
    operator: Operator,
    State(engine): State<Arc<Engine>>,
    AccountPath(account): AccountPath,
) -> Result<Answer<OwnedAccount>, Problem> {
    let view = operator.acts.view(&account).await?;
    Ok(Answer(OwnedAccount::of(view, engine.policy().timeout)))
}

/// Deletes an account for good: its session ends, its owner, keys and ledger go.
#[utoipa::path(
    delete, path = "/admin/accounts/{id}", tag = "admin", security(("admin_token" = [])),
    params(("id" = String, Path, description = "The account's id.")),
    responses((status = 204, description = "The account is gone."), AdminErrors),
)]
pub(super) async fn delete(operator: Operator, AccountPath(account): AccountPath) -> Result<StatusCode, Problem> {
    operator.acts.delete(&account).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Enters credit, once: the same `Idempotency-Key` again changes nothing.
#[utoipa::path(
    post, path = "/admin/accounts/{id}/credit", tag = "admin", security(("admin_token" = [])),
    params(
        ("id" = String, Path, description = "The account's id."),
        ("Idempotency-Key" = String, Header, description = "The entry's name: 1 to 128 visible ASCII characters."),
    ),
    request_body = CreditRequest,
    responses((status = 200, description = "It is in the ledger.", body = CreditAnswer), CreditErrors),
)]
pub(super) async fn credit(
    operator: Operator,
    AccountPath(account): AccountPath,
    headers: HeaderMap,
    Json(asked): Json<CreditRequest>,
) -> Result<Answer<CreditAnswer>, Problem> {
    let external_id = idempotency_key(&headers)?;
    let seconds = bounded(asked.seconds)?;
    if seconds == 0 {
        return Err(Problem::bad_request("`seconds` is zero"));
    }
    let new = NewEntry {
        kind: if seconds > 0 { EntryKind::Grant } else { EntryKind::Refund },
        amount: Credit::from_secs(seconds),
        source: Source::Admin,
        external_id,
        reason: asked.reason.map(|reason| text("reason", reason, MAX_REASON)).transpose()?,
    };
    let credited = operator.acts.credit(&account, new).await?;
    Ok(Answer(CreditAnswer {
        entry: credited.entry.into(),
        remaining_s: credited.remaining.as_secs(),
        repeated: credited.repeated,
    }))
}

/// An account's ledger, newest last.
#[utoipa::path(
    get, path = "/admin/accounts/{id}/entries", tag = "admin", security(("admin_token" = [])),
    params(
        ("id" = String, Path, description = "The account's id."),
        ("after" = Option<u64>, Query, description = "From after this entry's number on."),
        ("limit" = Option<u16>, Query, minimum = 1, maximum = 1000, description = "So many entries, 1 to 1000; 100 by default."),
    ),
    responses((status = 200, description = "A page of the ledger.", body = Entries), AdminErrors),
)]
pub(super) async fn entries(
    _: Operator,
    State(store): State<Arc<dyn Store>>,
    State(keys): State<Arc<AccountKeys>>,
    AccountPath(account): AccountPath,
    page: Page<u64>,
) -> Result<Answer<Entries>, Problem> {
    keys.existing(&account).await?;
    Ok(Answer(Entries::page(&*store, &account, &page).await?))
}

impl OwnedAccount {
    fn of(view: View, timeout: Millis) -> Self {
        let session = SessionShape::of(&view.owned, &view.moment, timeout);
        let (issuer, subject) = view.owned.identity.map(|identity| (identity.issuer, identity.subject)).unzip();
        Self {
            account: view.owned.account.id.to_string(),
            issuer,
            subject,
            created_at: time(view.owned.created_at),
            remaining_s: view.remaining.as_secs(),
            debt_s: view.owned.account.debt.fuel().get().div_ceil(1000),
            session,
        }
    }

    /// An account as it stands now; nothing is settled for it.
    fn now(owned: Owned, engine: &Engine, clock: &dyn Clock) -> Self {
        let now = clock.now();
        let sighting = owned.account.open().and_then(|session| engine.sighting(&session.id, now));
        let moment = Moment { now, wall: clock.wall(), sighting };
        let timeout = engine.policy().timeout;
        let remaining = owned.account.remaining(&moment, timeout);
        Self::of(View { owned, moment, remaining }, timeout)
    }
}

fn idempotency_key(headers: &HeaderMap) -> Result<String, Problem> {
    let detail = "the header names the entry, so that a repeated request enters it once";
    let missing = || Problem::because(ErrorCode::IdempotencyKeyRequired, detail);
    let key = extract::idempotency_key(headers)?.ok_or_else(missing)?;
    if key.starts_with(OWN_NAMES) {
        return Err(Problem::bad_request(format!("an Idempotency-Key does not begin with `{OWN_NAMES}`")));
    }
    Ok(key.to_owned())
}
