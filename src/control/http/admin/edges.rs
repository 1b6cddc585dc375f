//! The registration of edges.

use std::sync::Arc;

use axum::{
    Json as Answer,
    extract::{Path, State},
    response::IntoResponse,
};
use hyper::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    control::{client_secrets::NewClientSecret, edges::EdgeRegistry},
    store::Edge,
    web::{
        extract::{Json, text},
        problem::Problem,
    },
};

use super::super::{
    callers::Operator,
    refusals::{AdminBodyErrors, AdminErrors},
    shapes::time,
};

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

impl From<NewClientSecret> for NewSecret {
    fn from(made: NewClientSecret) -> Self {
        Self { secret_id: made.secret_id, client_secret: made.secret }
    }
}

/// The secrets of an edge, or of a client of the hub.
#[derive(Serialize, ToSchema)]
#[schema(as = ClientSecrets)]
pub(super) struct SecretsShape {
    /// The secrets, the oldest first.
    secrets: Vec<SecretShape>,
}

impl From<Vec<String>> for SecretsShape {
    /// The secrets with these ids.
    fn from(ids: Vec<String>) -> Self {
        Self { secrets: ids.into_iter().map(|secret_id| SecretShape { secret_id }).collect() }
    }
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
    operator: Operator,
    State(edges): State<Arc<EdgeRegistry>>,
    Json(asked): Json<AddRequest>,
) -> Result<impl IntoResponse, Problem> {
    let name = text("name", asked.name, MAX_NAME)?;
    let audience = text("audience", asked.audience, MAX_AUDIENCE)?;
    if !audience.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(Problem::bad_request("`audience` is of visible ASCII characters"));
    }
    let made = edges.add(name, audience, &operator.actor).await?;
    Ok((StatusCode::CREATED, Answer(AddAnswer { client_id: made.client_id, client_secret: made.secret })))
}

/// The registered edges, in order of their registration.
#[utoipa::path(
    get, path = "/admin/edges", tag = "admin", security(("admin_token" = [])),
    responses((status = 200, description = "The edges.", body = EdgesShape), AdminErrors),
)]
pub(super) async fn list(_: Operator, State(edges): State<Arc<EdgeRegistry>>) -> Answer<EdgesShape> {
    let shape = |edge: &Edge| EdgeShape {
        client_id: edge.client_id.clone(),
        name: edge.name.clone(),
        audience: edge.audience.clone(),
        created_at: time(edge.created_at),
    };
    Answer(EdgesShape { edges: edges.all().iter().map(|edge| shape(edge)).collect() })
}

/// Removes an edge. Tokens for its audience live on, but nobody is asked with its secret any more.
#[utoipa::path(
    delete, path = "/admin/edges/{client_id}", tag = "admin", security(("admin_token" = [])),
    params(("client_id" = String, Path, description = "The edge's client id.")),
    responses((status = 204, description = "The edge is gone."), AdminErrors),
)]
pub(super) async fn remove(
    operator: Operator,
    State(edges): State<Arc<EdgeRegistry>>,
    Path(client_id): Path<String>,
) -> Result<StatusCode, Problem> {
    edges.remove(client_id, &operator.actor).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Adds a client secret to an edge. Both are good until the old one is removed: that is how a secret is replaced.
#[utoipa::path(
    post, path = "/admin/edges/{client_id}/secrets", tag = "admin", security(("admin_token" = [])),
    params(("client_id" = String, Path, description = "The edge's client id.")),
    responses((status = 201, description = "The secret was made.", body = NewSecret), AdminBodyErrors),
)]
pub(super) async fn add_secret(
    operator: Operator,
    State(edges): State<Arc<EdgeRegistry>>,
    Path(client_id): Path<String>,
) -> Result<impl IntoResponse, Problem> {
    let made = edges.add_secret(client_id, &operator.actor).await?;
    Ok((StatusCode::CREATED, Answer(NewSecret::from(made))))
}

/// The client secrets of an edge, by their ids.
#[utoipa::path(
    get, path = "/admin/edges/{client_id}/secrets", tag = "admin", security(("admin_token" = [])),
    params(("client_id" = String, Path, description = "The edge's client id.")),
    responses((status = 200, description = "The secrets.", body = SecretsShape), AdminErrors),
)]
pub(super) async fn list_secrets(
    _: Operator,
    State(edges): State<Arc<EdgeRegistry>>,
    Path(client_id): Path<String>,
) -> Result<Answer<SecretsShape>, Problem> {
    let ids = edges.secret_ids(&client_id)?;
    Ok(Answer(ids.into()))
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
    operator: Operator,
    State(edges): State<Arc<EdgeRegistry>>,
    Path((client_id, secret_id)): Path<(String, String)>,
) -> Result<StatusCode, Problem> {
    edges.remove_secret(client_id, &secret_id, &operator.actor).await?;
    Ok(StatusCode::NO_CONTENT)
}
