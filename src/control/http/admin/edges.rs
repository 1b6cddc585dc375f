//! The registration of edges.

use axum::{
    Json as Answer,
    extract::{Path, State},
    response::IntoResponse,
};
use hyper::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::store::Edge;

use super::{
    SharedState,
    auth::{new_client_secret, new_short_id},
    extract::{Json, text},
    openapi::{AdminBodyErrors, AdminErrors},
    problem::{ErrorCode, Problem},
    shapes::time,
};

/// Edges that may be registered.
const MAX_EDGES: usize = 1000;
/// Bytes of an edge's name.
const MAX_NAME: usize = 128;
/// Bytes of an audience.
const MAX_AUDIENCE: usize = 256;

/// An edge to be registered.
#[derive(Deserialize, ToSchema)]
pub(super) struct AddRequest {
    /// A name for people.
    name: String,
    /// The audience whose tokens it may ask about: 1 to 256 visible ASCII characters.
    audience: String,
}

/// An edge that was registered.
#[derive(Serialize, ToSchema)]
pub(super) struct AddAnswer {
    /// The name it authenticates with.
    client_id: String,
    /// Its secret. Shown this once.
    client_secret: String,
}

/// The registered edges.
#[derive(Serialize, ToSchema)]
#[schema(as = Edges)]
pub(super) struct EdgesShape {
    /// The edges, in order of their registration.
    edges: Vec<EdgeShape>,
}

/// An edge.
#[derive(Serialize, ToSchema)]
#[schema(as = Edge)]
pub(super) struct EdgeShape {
    /// The name it authenticates with.
    client_id: String,
    /// A name for people.
    name: String,
    /// The audience whose tokens it may ask about.
    audience: String,
    /// When it was registered.
    #[schema(format = DateTime)]
    created_at: String,
}

/// Registers an edge.
#[utoipa::path(
    post, path = "/admin/edges", tag = "admin", security(("admin_token" = [])),
    request_body = AddRequest,
    responses((status = 201, description = "The edge is registered.", body = AddAnswer), AdminBodyErrors),
)]
pub(super) async fn add(
    State(shared): SharedState,
    Json(asked): Json<AddRequest>,
) -> Result<impl IntoResponse, Problem> {
    let name = text("name", asked.name, MAX_NAME)?;
    let audience = text("audience", asked.audience, MAX_AUDIENCE)?;
    if !audience.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(Problem::bad_request("`audience` is of visible ASCII characters"));
    }
    if shared.edges.len() >= MAX_EDGES {
        return Err(Problem::because(ErrorCode::LimitReached, format!("there are {MAX_EDGES} edges at most")));
    }
    let (client_secret, hash) = new_client_secret(&*shared.entropy);
    let client_id = new_short_id(&*shared.entropy);
    let edge = Edge {
        client_id: client_id.clone(),
        name,
        audience,
        secret_hashes: vec![*hash.as_bytes()],
        created_at: shared.clock.wall(),
    };
    shared.store.put_edge(&edge).await?;
    shared.edges.put(edge);
    Ok((StatusCode::CREATED, Answer(AddAnswer { client_id, client_secret })))
}

/// The registered edges, in order of their registration.
#[utoipa::path(
    get, path = "/admin/edges", tag = "admin", security(("admin_token" = [])),
    responses((status = 200, description = "The edges.", body = EdgesShape), AdminErrors),
)]
pub(super) async fn list(State(shared): SharedState) -> Answer<EdgesShape> {
    let shape = |edge: Edge| EdgeShape {
        client_id: edge.client_id,
        name: edge.name,
        audience: edge.audience,
        created_at: time(edge.created_at),
    };
    Answer(EdgesShape { edges: shared.edges.all().into_iter().map(shape).collect() })
}

/// Removes an edge. Tokens for its audience live on, but nobody is asked with its secret any more.
#[utoipa::path(
    delete, path = "/admin/edges/{client_id}", tag = "admin", security(("admin_token" = [])),
    params(("client_id" = String, Path, description = "The edge's client id.")),
    responses((status = 204, description = "The edge is gone."), AdminErrors),
)]
pub(super) async fn remove(State(shared): SharedState, Path(client_id): Path<String>) -> Result<StatusCode, Problem> {
    let removed = shared.store.remove_edge(&client_id).await?;
    shared.edges.remove(&client_id);
    if removed { Ok(StatusCode::NO_CONTENT) } else { Err(Problem::not_found("edge")) }
}
