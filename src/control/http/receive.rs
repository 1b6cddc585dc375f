//! Bodies come in before anything is decided, so that no request holds a place of a budget while its body is waited for.
//!
//! A body that came with its request is taken at once. One that has to be waited for is waited for only where the headers
//! show what a good request of that path shows, and takes one of the places for bodies: so many in all, so many from one
//! network ([`admission`](crate::web::admission)). Where it is not waited for, the handler decides by the headers alone; should
//! it want the body all the same, it finds out why there is none.

use std::{pin::pin, sync::Arc};

use axum::{body::Body, http::request::Parts as RequestParts};
use bytes::Bytes;
use hyper::{Method, Request};

use crate::web::{
    admission::{Bodies, BodyPermit, Pool},
    authorization::{Authorization, basic_pair},
    body::{BodyError, FORM, absent, at_once, collect, has_type},
    peer::Network,
    problem::{Code as ErrorCode, Problem},
    stopwatch::now,
};

use super::{
    budgets::Budget, callers::is_operator, checks::network_of, events, hooks, paths, state::ApiState,
    under_way::too_many,
};

/// The same request, with its body at hand or with why there is none.
///
/// # Errors
///
/// 503 or 429 where there is no place for a body that has to be waited for.
pub(super) async fn receive<B>(state: &ApiState, budget: Budget, request: Request<B>) -> Result<Request<Body>, Problem>
where
    B: hyper::body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BodyError>,
{
    let (parts, body) = request.into_parts();
    let nobody_wants_it = budget == Budget::Documents;
    if nobody_wants_it || body.is_end_stream() {
        return Ok(Request::from_parts(parts, Body::empty()));
    }
    let body = match whole(state, budget, &parts, body).await? {
        Ok(bytes) => Body::from(bytes),
        Err(problem) => absent(problem),
    };
    Ok(Request::from_parts(parts, body))
}

async fn whole<B>(
    state: &ApiState,
    budget: Budget,
    parts: &RequestParts,
    body: B,
) -> Result<Result<Bytes, Problem>, Problem>
where
    B: hyper::body::Body<Data = Bytes>,
    B::Error: Into<BodyError>,
{
    let mut reading = pin!(collect(body, state.settings.max_body_bytes));
    if let Some(read) = at_once(&mut reading).await {
        return Ok(read);
    }
    if let Err(problem) = is_worth_waiting(state, budget, parts) {
        return Ok(Err(problem));
    }
    let pool = if budget == Budget::Admin { &state.admin_bodies } else { &state.admission.bodies };
    let _permit = network_of(parts).map(|from| permit(state, budget, pool, from)).transpose()?;
    let late = || Problem::because(ErrorCode::RequestTimeout, "the body did not arrive in time");
    Ok(tokio::time::timeout(state.settings.body_timeout, reading).await.unwrap_or_else(|_| Err(late())))
}

fn permit(state: &ApiState, budget: Budget, pool: &Arc<Pool<Bodies>>, from: Network) -> Result<BodyPermit, Problem> {
    pool.admit(from, now()).map_err(|refused| {
        state.instruments.shed(budget);
        too_many(refused, "requests whose bodies have not come")
    })
}

/// Whether the headers are those of a request whose body may be waited for. Nothing is counted here: the handler will
/// refuse the request for the same reason.
fn is_worth_waiting(state: &ApiState, budget: Budget, parts: &RequestParts) -> Result<(), Problem> {
    let no_body = || Problem::bad_request("no body is expected here");
    let headers = &parts.headers;
    if budget == Budget::Admin {
        return if is_operator(headers, state) { Ok(()) } else { Err(Problem::bad_credentials()) };
    }
    match parts.uri.path() {
        _ if parts.method != Method::POST => Err(no_body()),
        paths::INTROSPECT | paths::REVOKE => match Authorization::of(headers)? {
            Authorization::Basic(encoded) => {
                let pair = basic_pair(encoded).ok_or_else(Problem::bad_credentials)?;
                let known = state.introspector.registries().audience(&pair.0, &pair.1);
                known.map(drop).ok_or_else(Problem::bad_credentials)
            }
            Authorization::Bearer(_) => Err(Problem::bad_credentials()),
            // The secret may be in the body.
            Authorization::Missing if has_type(headers, FORM) => Ok(()),
            Authorization::Missing => Err(Problem::bad_credentials()),
        },
        // Whoever redeems a code, or signs somebody out, says who they are in the form.
        paths::TOKEN | paths::LOGOUT if has_type(headers, FORM) => Ok(()),
        paths::CREDIT => hooks::check_headers(&state.hooks, state.clock.wall(), headers),
        paths::ACCOUNT_EVENTS => events::check_headers(&*state.reader, headers),
        // Forms of pages: whether somebody is signed in takes a read of the store.
        path if is_page(path) && has_type(headers, FORM) => Ok(()),
        path if path.starts_with("/v1/") => Authorization::bearer(headers).map(drop),
        path => match state.expected_bodies.iter().find(|expected| expected.path == path) {
            Some(expected) => (expected.check)(headers),
            None => Err(no_body()),
        },
    }
}

/// Whether a path is one of a page with forms.
fn is_page(path: &str) -> bool {
    path.starts_with("/account/") || path.starts_with("/development/")
}
