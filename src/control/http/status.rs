//! Token status lists, for edges to fetch and keep (draft-ietf-oauth-status-list, 8).
//!
//! Open to everybody: a list says nothing about anybody, and whoever holds a token may look its status up.

use std::{fmt::Write, sync::Arc};

use axum::{
    Json as Answer,
    body::Body,
    extract::{Path, State},
    http::Uri,
    response::{IntoResponse, Response},
};
use hyper::{
    HeaderMap, Method, Request, StatusCode,
    header::{
        ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE,
        ETAG, HeaderValue, VARY,
    },
};
use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    control::status_token::{Publication, StatusTokens},
    engine::ListId,
    time::Clock,
    web::{
        conditional::is_known,
        encoding::Coding,
        problem::{Code as ErrorCode, Problem},
    },
};

use super::{
    checks::Checks,
    refusals::{AggregationErrors, StatusErrors},
};

/// What the paths of all lists begin with.
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
pub(super) async fn aggregation(
    State(statuses): State<Arc<StatusTokens>>,
    State(checks): State<Arc<Checks>>,
) -> Response {
    let answer = checks.warm().map(|()| {
        let cache = format!("public, max-age={}", statuses.ttl().as_secs());
        ([(CACHE_CONTROL, cache)], Answer(Aggregation { status_lists: statuses.addresses() }))
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
    State(statuses): State<Arc<StatusTokens>>,
    State(clock): State<Arc<dyn Clock>>,
    State(checks): State<Arc<Checks>>,
    Path(list): Path<String>,
    uri: Uri,
    headers: HeaderMap,
) -> Response {
    Lists { statuses: &statuses, clock: &*clock, checks: &checks }.fetch(&list, &uri, &headers).await
}

/// The list that a request asks for, if that is all there is to it: what is written in another way is for the router.
pub(super) fn asked_for<B>(request: &Request<B>) -> Option<&str> {
    let list = request.uri().path().strip_prefix(LISTS).filter(|_| request.method() == Method::GET)?;
    (!list.contains(['/', '%'])).then_some(list)
}

/// Where lists are found.
pub(super) struct Lists<'a> {
    pub(super) statuses: &'a StatusTokens,
    pub(super) clock: &'a dyn Clock,
    pub(super) checks: &'a Checks,
}

impl Lists<'_> {
    /// One list, or why there is none.
    pub(super) async fn fetch(&self, list: &str, uri: &Uri, headers: &HeaderMap) -> Response {
        open_to_all(self.find(list, uri, headers).await.unwrap_or_else(IntoResponse::into_response))
    }

    async fn find(&self, list: &str, uri: &Uri, headers: &HeaderMap) -> Result<Response, Problem> {
        let mut parameters = form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes());
        if parameters.any(|(name, _)| name == "time") {
            return Err(Problem::because(ErrorCode::NotImplemented, "only the status of now is known"));
        }
        self.checks.warm()?;
        let id = ListId::parse(list).ok_or_else(|| Problem::not_found("status list"))?;
        let found = self.statuses.publication(&id).await?.ok_or_else(|| Problem::not_found("status list"))?;
        Ok(self.answer(&found, headers))
    }

    fn answer(&self, found: &Publication, headers: &HeaderMap) -> Response {
        let coding = Coding::wanted(headers);
        let (body, suffix) = match coding {
            Coding::Identity => (&found.plain, ""),
            Coding::Gzip => (&found.gzip, "-gz"),
            Coding::Brotli => (&found.brotli, "-br"),
        };
        let tag = format!("\"{}{suffix}\"", found.tag);
        let mut cache = String::with_capacity(32);
        let fresh_for = found.fresh_for(self.statuses.ttl(), self.clock.now()).as_secs();
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
}

fn open_to_all(mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, ANYBODY);
    headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static("etag"));
    response
}
