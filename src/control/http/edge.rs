//! What edges ask: is this token still good? (RFC 7662) And what they tell: it is not to be any more (RFC 7009).

use std::sync::Arc;

use axum::{body::Body, extract::State, response::IntoResponse};
use bytes::Bytes;
use hyper::{
    Method, Request, Response,
    header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue},
};
use utoipa::ToSchema;

use crate::{
    control::{acts::Acts, tokens::Issuer},
    store::{Actor, ActorKind, Surface},
    web::{
        peer::KnownEdge,
        problem::{Code as ErrorCode, Problem},
    },
};

use super::{
    checks::Checks,
    edge_request::EdgeRequest,
    handles::{self, Handles},
    instruments::IntrospectionOutcome,
    introspection::{INACTIVE, Introspection, Introspector},
    refusals::{IntrospectErrors, RevokeErrors},
};

/// What is asked of a token. With `client_secret_post`, `client_id` and `client_secret` are parameters beside it.
#[derive(ToSchema)]
#[expect(
    dead_code,
    reason = "for the interface's description; the form is read by hand, to refuse what is given twice"
)]
pub(super) struct IntrospectForm {
    /// The token.
    token: String,
    /// Accepted, and without effect.
    token_type_hint: Option<String>,
}

/// Whether a token is good now (RFC 7662). Anything not good is exactly `{"active":false}`.
#[utoipa::path(
    post, path = "/oauth/introspect", tag = "edge", security(("client" = [])),
    request_body(content = IntrospectForm, content_type = "application/x-www-form-urlencoded"),
    responses((status = 200, description = "What the token is worth.", body = Introspection<'_>), IntrospectErrors),
)]
pub(super) async fn introspect(introspector: &Introspector, request: Request<Body>) -> Response<Body> {
    if request.method() != Method::POST {
        let problem = Problem::because(ErrorCode::MethodNotAllowed, "the header Allow says which are");
        let mut response = problem.for_oauth().into_response();
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("POST"));
        return response;
    }
    match judged(introspector, request).await {
        Ok(Some(body)) => {
            introspector.instruments.told(IntrospectionOutcome::Active);
            answer(Bytes::from(body))
        }
        Ok(None) => {
            introspector.instruments.told(IntrospectionOutcome::Inactive);
            answer(Bytes::from_static(INACTIVE))
        }
        Err(problem) => {
            if problem.code().status().is_server_error() {
                introspector.instruments.told(IntrospectionOutcome::Unavailable);
            }
            problem.for_oauth().into_response()
        }
    }
}

fn answer(body: Bytes) -> Response<Body> {
    let mut response = Response::new(Body::from(body));
    response.extensions_mut().insert(KnownEdge);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// The answer about a token that is good; `None` about any other.
async fn judged(introspector: &Introspector, request: Request<Body>) -> Result<Option<Vec<u8>>, Problem> {
    let EdgeRequest { token, edge } =
        EdgeRequest::read(request, introspector.registries(), &introspector.checks).await?;
    introspector.judge(&token, &edge).await
}

/// What is to be revoked. With `client_secret_post`, `client_id` and `client_secret` are parameters beside it.
#[derive(ToSchema)]
#[expect(
    dead_code,
    reason = "for the interface's description; the form is read by hand, to refuse what is given twice"
)]
pub(super) struct RevokeForm {
    /// The token.
    token: String,
    /// Accepted, and without effect.
    token_type_hint: Option<String>,
}

/// Ends the session of a token, at once and for good (RFC 7009). A token that is not good, or is for another edge, is
/// answered the same, and nothing happens. 503 means that the token still lives.
#[utoipa::path(
    post, path = "/oauth/revoke", tag = "edge", security(("client" = [])),
    request_body(content = RevokeForm, content_type = "application/x-www-form-urlencoded"),
    responses((status = 200, description = "The token is not good, or not this edge's."), RevokeErrors),
)]
pub(super) async fn revoke(
    State(checks): State<Arc<Checks>>,
    State(issuer): State<Arc<Issuer>>,
    State(acts): State<Arc<Acts>>,
    State(handles): State<Option<Arc<dyn Handles>>>,
    EdgeRequest { token, edge }: EdgeRequest,
) -> Result<impl IntoResponse, Problem> {
    if token.starts_with(handles::PREFIX) {
        if let Some(handles) = handles {
            let revoked = acts.in_time(handles.revoke(&edge.client_id, &token)).await;
            revoked.map_err(|error| Problem::from(error).for_oauth())?;
        }
        return Ok(([(CACHE_CONTROL, HeaderValue::from_static("no-store"))], ""));
    }
    // A token that nobody here has signed is not good already.
    if checks.is_worth_a_read(&issuer, &token, &edge.client_id).map_err(Problem::for_oauth)? {
        let acts = acts.by(Actor::named(ActorKind::Edge, edge.client_id, Surface::Http));
        acts.revoke_token(&token, &edge.audience).await.map_err(|error| Problem::from(error).for_oauth())?;
    }
    Ok(([(CACHE_CONTROL, HeaderValue::from_static("no-store"))], ""))
}
