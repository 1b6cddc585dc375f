//! The registration of edges.

use axum::{
    Json as Answer,
    extract::{Path, State},
    response::IntoResponse,
};
use hyper::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    control::audit::Deed,
    store::{AuditAct, Edge},
};

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
/// Secrets of one edge that are good at the same time: the old one and the new one.
const MAX_SECRETS: usize = 2;
/// Characters of an edge's name.
const MAX_NAME: usize = 128;
/// Characters of an audience.
const MAX_AUDIENCE: usize = 256;

/// An edge to be registered.
#[derive(Deserialize, ToSchema)]
pub(super) struct AddRequest {
    /// A name for people.
    #[schema(min_length = 1, max_length = 128, pattern = r"^[^\u0000-\u001F\u007F-\u009F]+$")]
    name: String,
    /// The audience whose tokens it may ask about: 1 to 256 visible ASCII characters.
    #[schema(min_length = 1, max_length = 256, pattern = "^[!-~]+$")]
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

/// A client secret, as it is shown once.
#[derive(Serialize, ToSchema)]
pub(super) struct NewSecret {
    /// Names the secret.
    secret_id: String,
    /// The secret. Shown this once.
    client_secret: String,
}

/// The client secrets of an edge.
#[derive(Serialize, ToSchema)]
#[schema(as = ClientSecrets)]
pub(super) struct SecretsShape {
    /// The secrets, the oldest first.
    secrets: Vec<SecretShape>,
}

/// A client secret, as it is listed.
#[derive(Serialize, ToSchema)]
#[schema(as = ClientSecret)]
pub(super) struct SecretShape {
    /// Names the secret.
    secret_id: String,
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
    let _change = shared.edges.changes().await;
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
    shared.for_operator().write_down(Deed::to(AuditAct::EdgeAdded, &client_id)).await?;
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
    let _change = shared.edges.changes().await;
    let removed = shared.store.remove_edge(&client_id).await?;
    shared.edges.remove(&client_id);
    if !removed {
        return Err(Problem::not_found("edge"));
    }
    shared.for_operator().write_down(Deed::to(AuditAct::EdgeRemoved, client_id)).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Adds a client secret to an edge. Both are good until the old one is removed: that is how a secret is replaced.
#[utoipa::path(
    post, path = "/admin/edges/{client_id}/secrets", tag = "admin", security(("admin_token" = [])),
    params(("client_id" = String, Path, description = "The edge's client id.")),
    responses((status = 201, description = "The secret was made.", body = NewSecret), AdminBodyErrors),
)]
pub(super) async fn add_secret(
    State(shared): SharedState,
    Path(client_id): Path<String>,
) -> Result<impl IntoResponse, Problem> {
    let _change = shared.edges.changes().await;
    let mut edge = shared.edges.find(&client_id).ok_or_else(|| Problem::not_found("edge"))?;
    if edge.secret_hashes.len() >= MAX_SECRETS {
        let detail = format!("an edge has {MAX_SECRETS} secrets at most; remove the one that is no longer used");
        return Err(Problem::because(ErrorCode::LimitReached, detail));
    }
    let (client_secret, hash) = new_client_secret(&*shared.entropy);
    edge.secret_hashes.push(*hash.as_bytes());
    shared.store.put_edge(&edge).await?;
    shared.edges.put(edge);
    shared.for_operator().write_down(Deed::to(AuditAct::EdgeSecretAdded, client_id)).await?;
    Ok((StatusCode::CREATED, Answer(NewSecret { secret_id: secret_id(hash.as_bytes()), client_secret })))
}

/// The client secrets of an edge, by their ids.
#[utoipa::path(
    get, path = "/admin/edges/{client_id}/secrets", tag = "admin", security(("admin_token" = [])),
    params(("client_id" = String, Path, description = "The edge's client id.")),
    responses((status = 200, description = "The secrets.", body = SecretsShape), AdminErrors),
)]
pub(super) async fn list_secrets(
    State(shared): SharedState,
    Path(client_id): Path<String>,
) -> Result<Answer<SecretsShape>, Problem> {
    let edge = shared.edges.find(&client_id).ok_or_else(|| Problem::not_found("edge"))?;
    let shape = |hash| SecretShape { secret_id: secret_id(hash) };
    Ok(Answer(SecretsShape { secrets: edge.secret_hashes.iter().map(shape).collect() }))
}

/// Removes a client secret: it is good no more, from now on. An edge keeps at least one.
#[utoipa::path(
    delete, path = "/admin/edges/{client_id}/secrets/{secret_id}", tag = "admin", security(("admin_token" = [])),
    params(
        ("client_id" = String, Path, description = "The edge's client id."),
        ("secret_id" = String, Path, description = "The secret's id."),
    ),
    responses((status = 204, description = "The secret is good no more."), AdminBodyErrors),
)]
pub(super) async fn remove_secret(
    State(shared): SharedState,
    Path((client_id, wanted)): Path<(String, String)>,
) -> Result<StatusCode, Problem> {
    let _change = shared.edges.changes().await;
    let mut edge = shared.edges.find(&client_id).ok_or_else(|| Problem::not_found("edge"))?;
    let before = edge.secret_hashes.len();
    edge.secret_hashes.retain(|hash| secret_id(hash) != wanted);
    if edge.secret_hashes.len() == before {
        return Err(Problem::not_found("secret"));
    }
    if edge.secret_hashes.is_empty() {
        let detail = "an edge keeps at least one secret; add another one first, or remove the edge";
        return Err(Problem::because(ErrorCode::LimitReached, detail));
    }
    shared.store.put_edge(&edge).await?;
    shared.edges.put(edge);
    shared.for_operator().write_down(Deed::to(AuditAct::EdgeSecretRemoved, client_id)).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// A secret goes by the beginning of its hash: 64 bits tell secrets apart, and nothing about them.
fn secret_id(hash: &[u8; 32]) -> String {
    hash[..8].iter().map(|byte| format!("{byte:02x}")).collect()
}
