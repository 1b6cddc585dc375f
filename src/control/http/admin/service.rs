//! The service itself: figures, health, status; and the revocation of sessions.

use std::{collections::BTreeMap, sync::Arc};

use axum::{Json as Answer, extract::State, http::HeaderValue, response::IntoResponse};
use hyper::header::CONTENT_TYPE;
use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    control::edges::EdgeRegistry,
    engine::Engine,
    time::Clock,
    web::problem::{Code as ErrorCode, Problem},
};

use super::super::{
    callers::Operator,
    instruments::{Instruments, Phase},
    named::SessionPath,
    refusals::{AdminErrors, ReadinessErrors},
    shapes::Remaining,
    state::{Settings, Started},
    under_way::UnderWay,
};

/// Every figure, in the Prometheus text format.
#[utoipa::path(
    get, path = "/metrics", tag = "admin",
    responses((status = 200, description = "The figures.", body = String, content_type = "text/plain")),
)]
pub(super) async fn metrics(
    State(instruments): State<Arc<dyn Instruments>>,
    State(under_way): State<Arc<UnderWay>>,
) -> impl IntoResponse {
    let content_type = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    ([(CONTENT_TYPE, content_type)], instruments.exposition(&under_way.figures()))
}

/// How the service does.
#[derive(Serialize, ToSchema)]
pub(super) struct Health {
    /// `warming_up`, `ready` or `draining`.
    #[schema(value_type = String, example = "ready")]
    phase: &'static str,
    /// Nodes that live and share the store, this one counted. Not there where the store is not shared.
    #[serde(skip_serializing_if = "Option::is_none")]
    nodes: Option<u64>,
}

/// The process is alive.
#[utoipa::path(
    get, path = "/health/live", tag = "admin",
    responses((status = 200, description = "It is.", body = Health)),
)]
pub(super) async fn live(State(instruments): State<Arc<dyn Instruments>>) -> Answer<Health> {
    Answer(Health { phase: instruments.phase().name(), nodes: instruments.nodes() })
}

/// Whether traffic may come.
#[utoipa::path(
    get, path = "/health/ready", tag = "admin",
    responses((status = 200, description = "It may.", body = Health), ReadinessErrors),
)]
pub(super) async fn ready(State(instruments): State<Arc<dyn Instruments>>) -> Result<Answer<Health>, Problem> {
    let phase = instruments.phase();
    match phase {
        Phase::Ready => Ok(Answer(Health { phase: phase.name(), nodes: instruments.nodes() })),
        Phase::WarmingUp => {
            let (read, of) = instruments.warmed();
            let detail = match of {
                0 => "open sessions are not read yet".to_owned(),
                _ => format!("{read} of {of} parts of the open sessions have been read"),
            };
            Err(Problem::because(ErrorCode::WarmingUp, detail))
        }
        Phase::Draining => Err(Problem::because(ErrorCode::ShuttingDown, "nothing new is taken")),
    }
}

/// How the service does, in detail.
#[derive(Serialize, ToSchema)]
pub(super) struct Status {
    /// The version of the program.
    #[schema(value_type = String, example = "0.1.0")]
    version: &'static str,
    /// `warming_up`, `ready` or `draining`.
    #[schema(value_type = String, example = "ready")]
    phase: &'static str,
    /// How long it has been up, in milliseconds.
    uptime_ms: u64,
    /// Meter time now, in milliseconds.
    meter_ms: u64,
    /// Sessions in memory that are open.
    live_sessions: usize,
    /// Sessions in memory that have ended.
    remembered_sessions: usize,
    /// Registered edges.
    edges: usize,
    /// The store.
    store: StoreStatus,
    /// The listeners that are on, and where.
    listeners: BTreeMap<String, String>,
}

/// How the store does.
#[derive(Serialize, ToSchema)]
pub(super) struct StoreStatus {
    /// Whether it can be reached.
    reachable: bool,
}

/// How the service does, in detail.
#[utoipa::path(
    get, path = "/admin/status", tag = "admin", security(("admin_token" = [])),
    responses((status = 200, description = "The status.", body = Status), AdminErrors),
)]
pub(super) async fn status(
    _: Operator,
    State(instruments): State<Arc<dyn Instruments>>,
    State(engine): State<Arc<Engine>>,
    State(edges): State<Arc<EdgeRegistry>>,
    State(settings): State<Arc<Settings>>,
    State(clock): State<Arc<dyn Clock>>,
    State(Started(started)): State<Started>,
) -> Answer<Status> {
    let now = clock.now();
    Answer(Status {
        version: env!("CARGO_PKG_VERSION"),
        phase: instruments.phase().name(),
        uptime_ms: now.since(started).get(),
        meter_ms: now.as_ms(),
        live_sessions: engine.live(),
        remembered_sessions: engine.remembered(),
        edges: edges.len(),
        store: StoreStatus { reachable: instruments.store_reachable() },
        listeners: settings.listeners.iter().cloned().collect(),
    })
}

/// Ends a session as revoked. One that is over stays as it is.
#[utoipa::path(
    post, path = "/admin/sessions/{id}/revoke", tag = "admin", security(("admin_token" = [])),
    params(("id" = String, Path, description = "The session's id.")),
    responses((status = 200, description = "The session is over.", body = Remaining), AdminErrors),
)]
pub(super) async fn revoke(
    operator: Operator,
    SessionPath(session): SessionPath,
) -> Result<Answer<Remaining>, Problem> {
    Ok(Answer(operator.acts.revoke(&session).await?.into()))
}
