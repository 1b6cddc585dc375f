//! Documents that are open to everybody: keys, metadata, the interface's description, the pages of errors.

use std::sync::Arc;

use axum::{
    Json as Answer,
    extract::{Path, State},
    http::HeaderValue,
    response::IntoResponse,
};
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderName};
use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    control::{
        keys::PublicKey,
        tokens::{Issuer, STATUS_LISTS},
    },
    time::Clock,
    web::problem::{Code as ErrorCode, Problem},
};

use super::{
    client_document::ClientDocument,
    paths,
    refusals::PageErrors,
    state::{Description, Settings},
};

/// What apps and browser extensions are told of the service. Open to pages of every origin.
#[utoipa::path(
    get, path = "/v1/client", tag = "clients",
    responses((status = 200, description = "The document. May be cached as long as it says.", body = ClientDocument)),
)]
pub(super) async fn client(State(settings): State<Arc<Settings>>) -> impl IntoResponse {
    (DOCUMENT, Answer(settings.client.clone()))
}

/// The public keys that tokens are signed with (RFC 7517).
#[derive(Serialize, ToSchema)]
#[schema(as = KeySet)]
pub(super) struct KeySet {
    /// The keys.
    #[schema(value_type = Vec<Object>)]
    keys: Vec<PublicKey>,
}

/// The public keys that tokens are signed with (RFC 7517).
#[utoipa::path(
    get, path = "/.well-known/jwks.json", tag = "edge",
    responses((status = 200, description = "The keys. May be cached as long as it says.", body = KeySet)),
)]
pub(super) async fn jwks(State(issuer): State<Arc<Issuer>>, State(clock): State<Arc<dyn Clock>>) -> impl IntoResponse {
    let keyring = issuer.keyring();
    let cache = format!("public, max-age={}", keyring.max_age(clock.now()).as_secs());
    ([(CACHE_CONTROL, cache)], Answer(KeySet { keys: keyring.published() }))
}

/// What this service does as an authorization server (RFC 8414).
#[derive(Serialize, ToSchema)]
pub struct ServerMetadata {
    /// The issuer of its tokens.
    issuer: String,
    /// Where browsers come from clients of the hub.
    authorization_endpoint: String,
    /// Where clients of the hub redeem codes.
    token_endpoint: String,
    /// How they prove who they are there.
    token_endpoint_auth_methods_supported: [&'static str; 3],
    /// Where its public keys are.
    jwks_uri: String,
    /// Where edges ask about tokens.
    introspection_endpoint: String,
    /// Where edges find the addresses of all token status lists.
    status_list_aggregation_endpoint: String,
    /// How edges prove who they are there.
    introspection_endpoint_auth_methods_supported: [&'static str; 2],
    /// Where edges revoke tokens.
    revocation_endpoint: String,
    /// How edges prove who they are there.
    revocation_endpoint_auth_methods_supported: [&'static str; 2],
    /// `code` alone.
    response_types_supported: [&'static str; 1],
    /// `query` alone.
    response_modes_supported: [&'static str; 1],
    /// That of codes, which clients of the hub redeem; and the address of activation, as the name of the way to a session's token.
    grant_types_supported: [String; 2],
    /// `S256` alone.
    code_challenge_methods_supported: [&'static str; 1],
    /// Answers to browsers name the issuer (RFC 9207).
    authorization_response_iss_parameter_supported: bool,
}

/// What this service does as an authorization server (RFC 8414).
#[utoipa::path(
    get, path = "/.well-known/oauth-authorization-server", tag = "edge",
    responses((status = 200, description = "The metadata.", body = ServerMetadata)),
)]
pub(super) async fn metadata(
    State(issuer): State<Arc<Issuer>>,
    State(settings): State<Arc<Settings>>,
) -> impl IntoResponse {
    (DOCUMENT, Answer(ServerMetadata::of(&issuer, &settings.http_url)))
}

/// The same for an issuer with a path, which goes behind the well-known one (RFC 8414, 3.1).
pub(super) async fn metadata_of_path(
    State(issuer): State<Arc<Issuer>>,
    State(settings): State<Arc<Settings>>,
    Path(path): Path<String>,
) -> Result<impl IntoResponse, Problem> {
    let of_issuer = issuer.name().split_once("://").and_then(|(_, rest)| rest.split_once('/')).map(|(_, path)| path);
    if of_issuer != Some(&*path) {
        return Err(Problem::not_found("issuer"));
    }
    Ok((DOCUMENT, Answer(ServerMetadata::of(&issuer, &settings.http_url))))
}

/// What stays the same while a service runs.
const DOCUMENT: [(HeaderName, HeaderValue); 1] = [(CACHE_CONTROL, HeaderValue::from_static("public, max-age=300"))];
const AUTH_METHODS: [&str; 2] = ["client_secret_basic", "client_secret_post"];

impl ServerMetadata {
    /// Of a service that is reached at `public_url`, which has no slash at the end.
    pub fn of(issuer: &Issuer, public_url: &str) -> Self {
        let at = |path: &str| format!("{public_url}{path}");
        Self {
            issuer: issuer.name().to_owned(),
            authorization_endpoint: at(paths::AUTHORIZE),
            token_endpoint: at(paths::TOKEN),
            token_endpoint_auth_methods_supported: [AUTH_METHODS[0], AUTH_METHODS[1], "none"],
            jwks_uri: at("/.well-known/jwks.json"),
            introspection_endpoint: at(paths::INTROSPECT),
            status_list_aggregation_endpoint: at(STATUS_LISTS),
            introspection_endpoint_auth_methods_supported: AUTH_METHODS,
            revocation_endpoint: at(paths::REVOKE),
            revocation_endpoint_auth_methods_supported: AUTH_METHODS,
            response_types_supported: ["code"],
            response_modes_supported: ["query"],
            grant_types_supported: ["authorization_code".to_owned(), at("/v1/activate")],
            code_challenge_methods_supported: ["S256"],
            authorization_response_iss_parameter_supported: true,
        }
    }
}

/// This document.
#[utoipa::path(
    get, path = "/openapi.json", tag = "clients",
    responses((status = 200, description = "This document.", body = Object)),
)]
pub(super) async fn description(State(Description(document)): State<Description>) -> impl IntoResponse {
    (DOCUMENT, [(CONTENT_TYPE, HeaderValue::from_static("application/json"))], document)
}

/// What an error means and what to do about it: the `type` of problem documents leads here.
#[utoipa::path(
    get, path = "/errors/{code}", tag = "clients",
    params(("code" = String, Path, description = "An error's code.")),
    responses((status = 200, description = "The page.", body = String, content_type = "text/markdown"), PageErrors),
)]
pub(super) async fn error_page(Path(code): Path<String>) -> Result<impl IntoResponse, Problem> {
    let code = ErrorCode::parse(&code).ok_or_else(|| Problem::not_found("error"))?;
    Ok((DOCUMENT, [(CONTENT_TYPE, HeaderValue::from_static("text/markdown; charset=utf-8"))], code.page()))
}
