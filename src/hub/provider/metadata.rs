//! `/.well-known/openid-configuration`: what the provider does (OpenID Connect Discovery, 3).

use std::sync::Arc;

use axum::{Json, extract::State, http::HeaderValue, response::IntoResponse};
use hyper::header::{ACCESS_CONTROL_ALLOW_ORIGIN, CACHE_CONTROL};
use serde_json::json;

use super::state::{AUTHORIZE, OpenIdProvider, SCOPES, TOKEN, USERINFO};

/// The document.
pub(super) async fn metadata(State(provider): State<Arc<OpenIdProvider>>) -> impl IntoResponse {
    let at = |path: &str| format!("{}{path}", provider.public_url);
    let methods = ["client_secret_basic", "client_secret_post"];
    let document = json!({
        "issuer": provider.issuer.name(),
        "authorization_endpoint": at(AUTHORIZE),
        "token_endpoint": at(TOKEN),
        "userinfo_endpoint": at(USERINFO),
        "introspection_endpoint": at("/oauth/introspect"),
        "revocation_endpoint": at("/oauth/revoke"),
        "jwks_uri": at("/.well-known/jwks.json"),
        "scopes_supported": SCOPES,
        "response_types_supported": ["code"],
        "response_modes_supported": ["query"],
        "grant_types_supported": ["authorization_code"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": [provider.issuer.algorithm(provider.clock.wall()).name()],
        "token_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post", "none"],
        "introspection_endpoint_auth_methods_supported": methods,
        "revocation_endpoint_auth_methods_supported": methods,
        "code_challenge_methods_supported": ["S256"],
        "claims_supported": [
            "iss", "sub", "aud", "iat", "exp", "auth_time", "nonce", "acr", "amr", "sid", "at_hash", "name",
            "preferred_username", "picture", "locale", "zoneinfo", "email", "email_verified",
        ],
        "prompt_values_supported": ["none", "login", "select_account"],
        "claims_parameter_supported": false,
        "request_parameter_supported": false,
        "request_uri_parameter_supported": false,
        "authorization_response_iss_parameter_supported": true,
    });
    let headers = [
        (CACHE_CONTROL, HeaderValue::from_static("public, max-age=300")),
        (ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*")),
    ];
    (headers, Json(document))
}
