//! `/.well-known/openid-configuration`: what the provider does (OpenID Connect Discovery, 3), beside what it does as an
//! authorization server.

use std::sync::Arc;

use axum::{Json, extract::State, http::HeaderValue, response::IntoResponse};
use hyper::header::{ACCESS_CONTROL_ALLOW_ORIGIN, CACHE_CONTROL};
use serde::Serialize;

use crate::control::http::{LOGOUT, ServerMetadata, USERINFO};

use super::state::{OpenIdProvider, SCOPES};

const CLAIMS: [&str; 18] = [
    "iss",
    "sub",
    "aud",
    "iat",
    "exp",
    "auth_time",
    "nonce",
    "acr",
    "amr",
    "sid",
    "at_hash",
    "name",
    "preferred_username",
    "picture",
    "locale",
    "zoneinfo",
    "email",
    "email_verified",
];

/// The document.
#[derive(Serialize)]
struct Metadata {
    #[serde(flatten)]
    server: ServerMetadata,
    userinfo_endpoint: String,
    end_session_endpoint: String,
    scopes_supported: [&'static str; 4],
    subject_types_supported: [&'static str; 1],
    id_token_signing_alg_values_supported: [&'static str; 1],
    claims_supported: [&'static str; 18],
    prompt_values_supported: [&'static str; 2],
    backchannel_logout_supported: bool,
    backchannel_logout_session_supported: bool,
    claims_parameter_supported: bool,
    request_parameter_supported: bool,
    request_uri_parameter_supported: bool,
}

/// Answers with the document.
pub(super) async fn metadata(State(provider): State<Arc<OpenIdProvider>>) -> impl IntoResponse {
    let document = Metadata {
        server: ServerMetadata::of(&provider.issuer, &provider.public_url),
        userinfo_endpoint: format!("{}{USERINFO}", provider.public_url),
        end_session_endpoint: format!("{}{LOGOUT}", provider.public_url),
        scopes_supported: SCOPES,
        subject_types_supported: ["public"],
        id_token_signing_alg_values_supported: [provider.issuer.algorithm(provider.clock.wall()).name()],
        claims_supported: CLAIMS,
        prompt_values_supported: ["none", "login"],
        backchannel_logout_supported: true,
        backchannel_logout_session_supported: true,
        claims_parameter_supported: false,
        request_parameter_supported: false,
        request_uri_parameter_supported: false,
    };
    let headers = [
        (CACHE_CONTROL, HeaderValue::from_static("public, max-age=300")),
        (ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*")),
    ];
    (headers, Json(document))
}
