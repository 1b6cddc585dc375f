//! What operators ask about a session.

use std::sync::Arc;

use axum::{Json as Answer, extract::State};
use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    engine::{End, Engine, session_text},
    store::{SessionRecord, Store},
    time::{Clock, UnixMs},
    web::problem::Problem,
    wire::SessionId,
};

use super::super::{callers::Operator, named::SessionPath, refusals::AdminErrors, shapes::time};

/// What is known of a session.
#[derive(Serialize, ToSchema)]
pub(super) struct KnownSession {
    /// The session.
    session_id: String,
    /// Whose it is.
    account: String,
    /// When it was last heard of. Absent if the session is open and only others have heard of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(format = DateTime)]
    last_seen_at: Option<String>,
    /// When it ended. Absent while it is open.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(format = DateTime)]
    ended_at: Option<String>,
    /// Why it ended. Absent while it is open.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, example = "timed_out")]
    end_reason: Option<&'static str>,
}

/// Whose session it is, and when and why it ended.
#[utoipa::path(
    get, path = "/admin/sessions/{id}", tag = "admin", security(("admin_token" = [])),
    params(("id" = String, Path, description = "The session's id.")),
    responses((status = 200, description = "What is known of the session.", body = KnownSession), AdminErrors),
)]
pub(super) async fn show(
    _: Operator,
    State(store): State<Arc<dyn Store>>,
    State(engine): State<Arc<Engine>>,
    State(clock): State<Arc<dyn Clock>>,
    SessionPath(session): SessionPath,
) -> Result<Answer<KnownSession>, Problem> {
    let record = store.session(&session).await?.ok_or_else(|| Problem::not_found("session"))?;
    Ok(Answer(KnownSession::new(&session, &record, &engine, &*clock)))
}

impl KnownSession {
    /// What `record` and the engine know of `session`.
    pub(super) fn new(session: &SessionId, record: &SessionRecord, engine: &Engine, clock: &dyn Clock) -> Self {
        Self {
            session_id: session_text(session),
            account: record.account.to_string(),
            last_seen_at: last_seen_at(session, record.end, engine, clock).map(time),
            ended_at: record.end.map(|end| time(end.at_wall)),
            end_reason: record.end.map(|end| end.reason.name()),
        }
    }
}

/// When a session was last heard of, on the wall clock.
fn last_seen_at(session: &SessionId, end: Option<End>, engine: &Engine, clock: &dyn Clock) -> Option<UnixMs> {
    match end {
        Some(end) => Some(end.at_wall.minus(end.at.since(end.last_seen)).plus(end.last_seen.since(end.at))),
        None => engine.report(session).map(|report| clock.wall().minus(clock.now().since(report.last_seen))),
    }
}
