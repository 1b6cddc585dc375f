//! The registration of the hub's clients.

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
    control::{
        hub_clients::{AddedClient, ClientRegistry, MAX_REDIRECTS, NewClient},
        redirects::{BackchannelUri, RedirectUri},
    },
    store::{ClientKind, HubClient},
    web::{
        extract::{Json, text},
        problem::Problem,
    },
};

use super::{
    super::{
        callers::Operator,
        refusals::{AdminBodyErrors, AdminErrors},
        shapes::time,
    },
    edges::{NewSecret, SecretsShape},
};

/// Characters of a client's name.
const MAX_NAME: usize = 128;

/// A client to be registered.
#[derive(Deserialize, ToSchema)]
#[schema(as = AddClientRequest)]
pub(super) struct AddRequest {
    /// A name for people.
    #[schema(min_length = 1, max_length = 128, pattern = r"^[^\u0000-\u001F\u007F-\u009F]+$")]
    name: String,
    /// Where browsers are sent back to, exactly as the client will ask for it: `https`, `http` on this machine, or the scheme
    /// of an app. Of a loopback address any port will do.
    #[schema(min_items = 1, max_items = 16, example = json!(["https://app.example.org/callback"]))]
    redirect_uris: Vec<String>,
    /// Where browsers may be sent after the client has signed somebody out, exactly as it will ask for it.
    #[serde(default)]
    #[schema(max_items = 16, example = json!(["https://app.example.org/"]))]
    post_logout_redirect_uris: Vec<String>,
    /// Whether it is an app or a page that can keep no secret.
    #[serde(default)]
    public: bool,
    /// Whether its handles may activate tanks and read accounts.
    #[serde(default)]
    tank: bool,
    /// Where it is told that hub sessions of its people have ended (OpenID Connect Back-Channel Logout): `https`, or `http` on
    /// this machine.
    #[schema(example = "https://app.example.org/backchannel-logout")]
    backchannel_logout_uri: Option<String>,
}

/// A client that was registered.
#[derive(Serialize, ToSchema)]
#[schema(as = AddClientAnswer)]
pub(super) struct AddAnswer {
    /// Its id.
    client_id: String,
    /// Its secret. Shown this once. Absent of a public client.
    #[serde(skip_serializing_if = "Option::is_none")]
    client_secret: Option<String>,
}

/// The registered clients.
#[derive(Serialize, ToSchema)]
#[schema(as = HubClients)]
pub(super) struct ClientsShape {
    /// The clients, in order of their registration.
    clients: Vec<ClientShape>,
}

/// A client of the hub.
#[derive(Serialize, ToSchema)]
#[schema(as = HubClient)]
pub(super) struct ClientShape {
    /// Its id.
    client_id: String,
    /// A name for people.
    name: String,
    /// Whether it can keep no secret.
    public: bool,
    /// Where browsers are sent back to.
    redirect_uris: Vec<String>,
    /// Where browsers may be sent after the client has signed somebody out.
    post_logout_redirect_uris: Vec<String>,
    /// Whether its handles may activate tanks and read accounts.
    tank: bool,
    /// Where it is told that hub sessions have ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    backchannel_logout_uri: Option<String>,
    /// When it was registered.
    #[schema(format = DateTime)]
    created_at: String,
}

/// Registers a client of the hub.
#[utoipa::path(
    post, path = "/admin/clients", tag = "admin", security(("admin_token" = [])),
    request_body = AddRequest,
    responses((status = 201, description = "The client is registered.", body = AddAnswer), AdminBodyErrors),
)]
pub(super) async fn add(
    operator: Operator,
    State(clients): State<Arc<ClientRegistry>>,
    Json(asked): Json<AddRequest>,
) -> Result<impl IntoResponse, Problem> {
    let name = text("name", asked.name, MAX_NAME)?;
    let redirect_uris = addresses("redirect_uris", &asked.redirect_uris)?;
    if redirect_uris.is_empty() {
        return Err(Problem::bad_request(format!("`redirect_uris` has 1 to {MAX_REDIRECTS} addresses")));
    }
    let post_logout_redirect_uris = addresses("post_logout_redirect_uris", &asked.post_logout_redirect_uris)?;
    let kind = if asked.public { ClientKind::Public } else { ClientKind::Confidential };
    let backchannel_logout_uri = asked
        .backchannel_logout_uri
        .map(|uri| BackchannelUri::parse(&uri))
        .transpose()
        .map_err(|error| Problem::bad_request(format!("`backchannel_logout_uri` {error}")))?;
    let new =
        NewClient { name, kind, redirect_uris, post_logout_redirect_uris, tank: asked.tank, backchannel_logout_uri };
    let AddedClient { client, secret } = clients.add(new, &operator.actor).await?;
    let answer = AddAnswer { client_id: client.client_id.clone(), client_secret: secret.map(|made| made.secret) };
    Ok((StatusCode::CREATED, Answer(answer)))
}

/// Reads the addresses of a field.
fn addresses(field: &str, given: &[String]) -> Result<Vec<RedirectUri>, Problem> {
    if given.len() > MAX_REDIRECTS {
        return Err(Problem::bad_request(format!("`{field}` has at most {MAX_REDIRECTS} addresses")));
    }
    let read = |uri: &String| {
        RedirectUri::parse(uri).map_err(|error| Problem::bad_request(format!("each of `{field}` {error}")))
    };
    given.iter().map(read).collect()
}

/// The registered clients of the hub, in order of their registration.
#[utoipa::path(
    get, path = "/admin/clients", tag = "admin", security(("admin_token" = [])),
    responses((status = 200, description = "The clients.", body = ClientsShape), AdminErrors),
)]
pub(super) async fn list(_: Operator, State(clients): State<Arc<ClientRegistry>>) -> Answer<ClientsShape> {
    let shape = |client: &HubClient| ClientShape {
        client_id: client.client_id.clone(),
        name: client.name.clone(),
        public: client.kind == ClientKind::Public,
        redirect_uris: client.redirect_uris.clone(),
        post_logout_redirect_uris: client.post_logout_redirect_uris.clone(),
        tank: client.tank,
        backchannel_logout_uri: client.backchannel_logout_uri.clone(),
        created_at: time(client.created_at),
    };
    Answer(ClientsShape { clients: clients.all().iter().map(|client| shape(client)).collect() })
}

/// Removes a client of the hub: nobody signs in to it any more, and its handles are not good any more.
#[utoipa::path(
    delete, path = "/admin/clients/{client_id}", tag = "admin", security(("admin_token" = [])),
    params(("client_id" = String, Path, description = "The client's id.")),
    responses((status = 204, description = "The client is gone."), AdminErrors),
)]
pub(super) async fn remove(
    operator: Operator,
    State(clients): State<Arc<ClientRegistry>>,
    Path(client_id): Path<String>,
) -> Result<StatusCode, Problem> {
    clients.remove(client_id, &operator.actor).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Adds a secret to a confidential client. Both are good until the old one is removed: that is how a secret is replaced.
#[utoipa::path(
    post, path = "/admin/clients/{client_id}/secrets", tag = "admin", security(("admin_token" = [])),
    params(("client_id" = String, Path, description = "The client's id.")),
    responses((status = 201, description = "The secret was made.", body = NewSecret), AdminBodyErrors),
)]
pub(super) async fn add_secret(
    operator: Operator,
    State(clients): State<Arc<ClientRegistry>>,
    Path(client_id): Path<String>,
) -> Result<impl IntoResponse, Problem> {
    let made = clients.add_secret(client_id, &operator.actor).await?;
    Ok((StatusCode::CREATED, Answer(NewSecret::from(made))))
}

/// The secrets of a client, by their ids.
#[utoipa::path(
    get, path = "/admin/clients/{client_id}/secrets", tag = "admin", security(("admin_token" = [])),
    params(("client_id" = String, Path, description = "The client's id.")),
    responses((status = 200, description = "The secrets.", body = SecretsShape), AdminErrors),
)]
pub(super) async fn list_secrets(
    _: Operator,
    State(clients): State<Arc<ClientRegistry>>,
    Path(client_id): Path<String>,
) -> Result<Answer<SecretsShape>, Problem> {
    let ids = clients.secret_ids(&client_id)?;
    Ok(Answer(ids.into()))
}

/// Removes a secret of a client: it is good no more, from now on. A confidential client keeps at least one.
#[utoipa::path(
    delete, path = "/admin/clients/{client_id}/secrets/{secret_id}", tag = "admin", security(("admin_token" = [])),
    params(
        ("client_id" = String, Path, description = "The client's id."),
        ("secret_id" = String, Path, description = "The secret's id."),
    ),
    responses((status = 204, description = "The secret is good no more."), AdminBodyErrors),
)]
pub(super) async fn remove_secret(
    operator: Operator,
    State(clients): State<Arc<ClientRegistry>>,
    Path((client_id, secret_id)): Path<(String, String)>,
) -> Result<StatusCode, Problem> {
    clients.remove_secret(client_id, &secret_id, &operator.actor).await?;
    Ok(StatusCode::NO_CONTENT)
}
