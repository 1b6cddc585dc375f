//! Token status lists, for edges to fetch and keep (draft-ietf-oauth-status-list, 8).
//!
//! Open to everybody: a list says nothing about anybody, and whoever holds a token may look its status up.

use std::{fmt::Write, sync::Arc};

use axum::{
    Json as Answer,
    extract::{Path, State},
    http::Uri,
    response::{IntoResponse, Response},
};
use hyper::{
    HeaderMap, Method, Request, StatusCode,
    header::{
        ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE,
        ETAG, HeaderValue, IF_NONE_MATCH, VARY,
    },
};
use serde::Serialize;
use utoipa::ToSchema;

use crate::{control::status_token::Publication, engine::ListId};

use super::{
    Body, Shared, SharedState,
    encoding::Coding,
    openapi::{AggregationErrors, StatusErrors},
    problem::{ErrorCode, Problem},
};

/// The route of a list, and what all of them begin with.
pub(super) const LIST: &str = "/oauth/status/{list}";
const LISTS: &str = "/oauth/status/";
/// The content type of signed status lists.
const STATUS_LIST_JWT: HeaderValue = HeaderValue::from_static("application/statuslist+jwt");
const ANYBODY: HeaderValue = HeaderValue::from_static("*");

/// The status lists there are.
#[derive(Serialize, ToSchema)]
struct Aggregation {
    /// Their addresses.
    status_lists: Vec<String>,
}

/// The addresses of all status lists whose tokens may be good.
#[utoipa::path(
    get, path = "/oauth/status", tag = "edge",
    responses((status = 200, description = "The addresses.", body = Aggregation), AggregationErrors),
)]
pub(super) async fn aggregation(State(shared): SharedState) -> Response {
    let answer = shared.warm().map(|()| {
        let cache = format!("public, max-age={}", shared.statuses.ttl().as_secs());
        ([(CACHE_CONTROL, cache)], Answer(Aggregation { status_lists: shared.statuses.addresses() }))
    });
    open_to_all(answer.into_response())
}

/// One signed status list: a JWT with one bit for each token, 1 where the token is not good any more.
///
/// A token that has expired is not good whatever its bit says. May be kept for `ttl` seconds.
#[utoipa::path(
    get, path = "/oauth/status/{list}", tag = "edge",
    params(
        ("list" = String, Path, description = "The list's id, from a token's `status` claim."),
        ("time" = Option<u64>, Query, description = "Not supported: there are no lists of the past."),
    ),
    responses(
        (status = 200, description = "The list.", body = String, content_type = "application/statuslist+jwt"),
        (status = 304, description = "The list is the one that the caller has."),
        StatusErrors,
    ),
)]
pub(super) async fn list(
    State(shared): SharedState,
    Path(list): Path<String>,
    uri: Uri,
    headers: HeaderMap,
) -> Response {
    fetch(&shared, &list, &uri, &headers).await
}

/// The list that a request asks for, if that is all there is to it: what is written in another way is for the router.
pub(super) fn asked_for<B>(request: &Request<B>) -> Option<&str> {
    let list = request.uri().path().strip_prefix(LISTS).filter(|_| request.method() == Method::GET)?;
    (!list.contains(['/', '%'])).then_some(list)
}

/// One list, or why there is none.
pub(super) async fn fetch(shared: &Arc<Shared>, list: &str, uri: &Uri, headers: &HeaderMap) -> Response {
    open_to_all(find(shared, list, uri, headers).await.unwrap_or_else(IntoResponse::into_response))
}

async fn find(shared: &Arc<Shared>, list: &str, uri: &Uri, headers: &HeaderMap) -> Result<Response, Problem> {
    let mut parameters = form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes());
    if parameters.any(|(name, _)| name == "time") {
        return Err(Problem::because(ErrorCode::NotImplemented, "only the status of now is known"));
    }
    shared.warm()?;
    let id = ListId::parse(list).ok_or_else(|| Problem::not_found("status list"))?;
    let found = shared.statuses.publication(&id).await?.ok_or_else(|| Problem::not_found("status list"))?;
    Ok(answer(shared, &found, headers))
}

fn answer(shared: &Shared, found: &Publication, headers: &HeaderMap) -> Response {
    let coding = Coding::wanted(headers);
    let (body, suffix) = match coding {
        Coding::Identity => (&found.plain, ""),
        Coding::Gzip => (&found.gzip, "-gz"),
        Coding::Brotli => (&found.brotli, "-br"),
    };
    let tag = format!("\"{}{suffix}\"", found.tag);
    let mut cache = String::with_capacity(32);
    let fresh_for = found.fresh_for(shared.statuses.ttl(), shared.clock.now()).as_secs();
    write!(cache, "public, max-age={fresh_for}").expect("writing to a string does not fail");

    let known = is_known(&tag, headers);
    let mut response = Response::new(if known { Body::empty() } else { Body::from(body.clone()) });
    let out = response.headers_mut();
    let header = |text: String| HeaderValue::try_from(text).expect("base64url and digits are good in a header");
    out.insert(ETAG, header(tag));
    out.insert(CACHE_CONTROL, header(cache));
    out.insert(VARY, HeaderValue::from_static("accept-encoding"));
    if known {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        return response;
    }
    out.insert(CONTENT_TYPE, STATUS_LIST_JWT);
    if let Some(name) = coding.name() {
        out.insert(CONTENT_ENCODING, HeaderValue::from_static(name));
    }
    response
}

/// Whether the caller has this version already (RFC 9110, 13.1.2). Caches in between may have made the tag a weak one.
fn is_known(tag: &str, headers: &HeaderMap) -> bool {
    let lines = headers.get_all(IF_NONE_MATCH).iter().filter_map(|line| line.to_str().ok());
    lines
        .flat_map(|line| line.split(','))
        .map(str::trim)
        .any(|known| known == "*" || known.strip_prefix("W/").unwrap_or(known) == tag)
}

fn open_to_all(mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, ANYBODY);
    headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static("etag"));
    response
}
