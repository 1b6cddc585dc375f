//! The audit log, as operators read it.

use std::sync::Arc;

use axum::{
    Json as Answer,
    extract::{Query, State},
};
use serde::{Deserialize, Serialize};
use utoipa::{
    ToSchema,
    openapi::{ObjectBuilder, RefOr, Schema, Type},
};

use crate::{
    engine::AccountId,
    store::{AuditAct, AuditDay, AuditKey, AuditRecord, Store},
    time::{Clock, Millis, UnixMs},
    web::{extract::Page, problem::Problem},
};

use super::super::{callers::Operator, refusals::AdminErrors, shapes::time, state::Settings};

/// Days that one page looks through at most.
const DAYS: usize = 100;

/// Which rows are asked for.
#[derive(Deserialize)]
pub(super) struct AuditQuery {
    account: Option<String>,
    since_s: Option<u64>,
    act: Option<String>,
}

/// The name of an act, for the interface's description.
struct ActName;

impl utoipa::PartialSchema for ActName {
    fn schema() -> RefOr<Schema> {
        let names = AuditAct::ALL.iter().map(|act| act.name());
        ObjectBuilder::new().schema_type(Type::String).enum_values(Some(names)).into()
    }
}

impl ToSchema for ActName {}

/// A page of the audit log.
#[derive(Serialize, ToSchema)]
pub(super) struct AuditLog {
    /// The rows, oldest first.
    rows: Vec<AuditRow>,
    /// `after` of the next page. Absent on the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

/// Who did what.
#[derive(Serialize, ToSchema)]
pub(super) struct AuditRow {
    /// Its place in the log: `after` goes on from here.
    id: String,
    /// When it was done.
    #[schema(format = DateTime)]
    at: String,
    /// What was done.
    #[schema(value_type = String, example = "session_opened")]
    act: &'static str,
    /// What kind of caller did it.
    #[schema(value_type = String, example = "identity_token")]
    actor: &'static str,
    /// Which of them: the id of a key, an edge or a message, or an issuer.
    #[serde(skip_serializing_if = "Option::is_none")]
    actor_name: Option<String>,
    /// Where they called.
    #[schema(value_type = String, example = "http")]
    surface: &'static str,
    /// On which account.
    #[serde(skip_serializing_if = "Option::is_none")]
    account: Option<String>,
    /// The id of the session, key or edge, or the number of the entry.
    #[serde(skip_serializing_if = "Option::is_none")]
    target: Option<String>,
    /// What came of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<String>,
}

/// Who did which act on which account, when, and over which surface. Oldest first.
///
/// A page may have fewer rows than its limit, or none, and others follow all the same: `next` says so.
#[utoipa::path(
    get, path = "/admin/audit", tag = "admin", security(("admin_token" = [])),
    params(
        ("account" = Option<String>, Query, pattern = "^[A-Za-z0-9_-]{21}[AQgw]$", description = "Only what was done on this account."),
        ("since_s" = Option<u64>, Query, description = "Only the last so many seconds. Absent: all that is kept."),
        ("act" = inline(Option<ActName>), Query, description = "Only this act."),
        ("after" = Option<String>, Query, pattern = "^[A-Za-f][A-Za-z0-9_-]{20}[AQgw]$", description = "From after this row on."),
        ("limit" = Option<u16>, Query, minimum = 1, maximum = 1000, description = "So many rows, 1 to 1000; 100 by default."),
    ),
    responses((status = 200, description = "A page of the log.", body = AuditLog), AdminErrors),
)]
pub(super) async fn list(
    _: Operator,
    State(store): State<Arc<dyn Store>>,
    State(clock): State<Arc<dyn Clock>>,
    State(settings): State<Arc<Settings>>,
    page: Page<String>,
    asked: Result<Query<AuditQuery>, axum::extract::rejection::QueryRejection>,
) -> Result<Answer<AuditLog>, Problem> {
    let Query(asked) = asked.map_err(|_| Problem::bad_request("`since_s` is a whole number"))?;
    let account = asked
        .account
        .as_deref()
        .map(|id| AccountId::parse(id).ok_or_else(|| Problem::bad_request("`account` is not an account's id")));
    let account = account.transpose()?;
    let act = asked
        .act
        .as_deref()
        .map(|name| AuditAct::parse(name).ok_or_else(|| Problem::bad_request("`act` is not the name of an act")));
    let act = act.transpose()?;
    let after = page
        .after
        .as_deref()
        .map(|key| AuditKey::parse(key).ok_or_else(|| Problem::bad_request("`after` is not the id of a row")));
    let since = since(asked.since_s, settings.audit_retention, clock.wall());
    let after = after.transpose()?.max(Some(just_before(since)));
    let (rows, next) = match account {
        Some(account) => {
            let (rows, more) = page.cut(store.audit_of_account(&account, after, page.limit + 1).await?);
            let next = rows.last().filter(|_| more).map(|row| row.key);
            (rows, next)
        }
        None => days(&*store, clock.wall(), since, after, page.limit).await?,
    };
    let rows = rows.into_iter().filter(|row| act.is_none_or(|act| row.act == act)).map(AuditRow::from).collect();
    Ok(Answer(AuditLog { rows, next: next.map(|key| key.to_string()) }))
}

/// The first instant that is asked for; nothing is kept from before the retention.
fn since(seconds: Option<u64>, retention: Millis, now: UnixMs) -> UnixMs {
    let back = seconds.map_or(retention, |seconds| Millis::new(seconds.saturating_mul(1000)).min(retention));
    now.minus(back)
}

/// The rows of day after day, and where to go on.
async fn days(
    store: &dyn Store,
    now: UnixMs,
    since: UnixMs,
    after: Option<AuditKey>,
    limit: usize,
) -> Result<(Vec<AuditRecord>, Option<AuditKey>), Problem> {
    let today = AuditDay::of(now);
    let mut day = after.map_or_else(|| AuditDay::of(since), |key| key.day());
    let mut rows: Vec<AuditRecord> = Vec::new();
    for _ in 0..DAYS {
        rows.extend(store.audit_of_day(day, after, limit + 1 - rows.len()).await?);
        if rows.len() > limit {
            rows.truncate(limit);
            let next = rows.last().map(|row| row.key);
            return Ok((rows, next));
        }
        if day >= today {
            return Ok((rows, None));
        }
        day = day.next();
    }
    Ok((rows, Some(just_before(day.begins()))))
}

/// The last place in the log before an instant.
fn just_before(at: UnixMs) -> AuditKey {
    AuditKey { at: at.minus(Millis::new(1)), id: [255; 8] }
}

impl From<AuditRecord> for AuditRow {
    fn from(row: AuditRecord) -> Self {
        Self {
            id: row.key.to_string(),
            at: time(row.key.at),
            act: row.act.name(),
            actor: row.actor.kind.name(),
            actor_name: row.actor.name,
            surface: row.actor.surface.name(),
            account: row.account.map(|account| account.to_string()),
            target: row.target,
            detail: row.detail,
        }
    }
}
