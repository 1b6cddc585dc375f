//! Bodies come in before anything is decided, so that no request holds a place of a budget while its body is waited for.
//!
//! A body that came with its request is taken at once. One that has to be waited for is waited for only where the headers
//! show what a good request of that path shows, and takes one of the places for bodies: so many in all, so many from one
//! network ([`admission`](crate::web::admission)). Where it is not waited for, the handler decides by the headers alone; should
//! it want the body all the same, it finds out why there is none.

use std::{
    error::Error as _,
    future::{Future, poll_fn},
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll},
};

use axum::http::request::Parts as RequestParts;
use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::{Method, Request, body::Frame};

use crate::web::{
    admission::{Bodies, Pool},
    peer::{Network, Peer},
};

use super::{
    Body, BoxError, Shared,
    auth::{Authorization, basic_pair},
    budgets::{Budget, too_many},
    edge, events,
    extract::has_type,
    hooks,
    instruments::now,
    problem::{ErrorCode, Problem},
};

/// Why there is no body.
#[derive(Clone, Debug, thiserror::Error)]
#[error("the body was not received")]
struct NotReceived(Problem);

/// What stands for such a body.
struct Absent(Option<NotReceived>);

impl hyper::body::Body for Absent {
    type Data = Bytes;
    type Error = NotReceived;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, NotReceived>>> {
        Poll::Ready(self.0.take().map(Err))
    }
}

/// Where a request came from, if a listener said so.
pub(super) fn network_of(parts: &RequestParts) -> Option<Network> {
    parts.extensions.get::<Peer>().map(|peer| peer.network())
}

impl Shared {
    /// The same request, with its body at hand or with why there is none.
    ///
    /// # Errors
    ///
    /// 503 or 429 where there is no place for a body that has to be waited for.
    pub(super) async fn receive<B>(&self, budget: Budget, request: Request<B>) -> Result<Request<Body>, Problem>
    where
        B: hyper::body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        let (parts, body) = request.into_parts();
        let nobody_wants_it = budget == Budget::Documents;
        if nobody_wants_it || body.is_end_stream() {
            return Ok(Request::from_parts(parts, Body::empty()));
        }
        let body = match self.whole(budget, &parts, body).await? {
            Ok(bytes) => Body::from(bytes),
            Err(problem) => Body::new(Absent(Some(NotReceived(problem)))),
        };
        Ok(Request::from_parts(parts, body))
    }

    async fn whole<B>(&self, budget: Budget, parts: &RequestParts, body: B) -> Result<Result<Bytes, Problem>, Problem>
    where
        B: hyper::body::Body<Data = Bytes>,
        B::Error: Into<BoxError>,
    {
        let mut reading = pin!(collect(body, self.settings.max_body_bytes));
        if let Poll::Ready(read) = poll_fn(|cx| Poll::Ready(reading.as_mut().poll(cx))).await {
            return Ok(read);
        }
        if let Err(problem) = self.is_worth_waiting(budget, parts) {
            return Ok(Err(problem));
        }
        let pool = if budget == Budget::Admin { &self.admin_bodies } else { &self.admission.bodies };
        let _permit = network_of(parts).map(|from| self.permit(budget, pool, from)).transpose()?;
        let late = || Problem::because(ErrorCode::RequestTimeout, "the body did not arrive in time");
        Ok(tokio::time::timeout(self.settings.body_timeout, reading).await.unwrap_or_else(|_| Err(late())))
    }

    fn permit(
        &self,
        budget: Budget,
        pool: &Arc<Pool<Bodies>>,
        from: Network,
    ) -> Result<crate::web::admission::BodyPermit, Problem> {
        pool.admit(from, now()).map_err(|refused| {
            self.instruments.shed(budget);
            too_many(refused, "requests whose bodies have not come")
        })
    }

    /// Whether the headers are those of a request whose body may be waited for. Nothing is counted here: the handler will
    /// refuse the request for the same reason.
    fn is_worth_waiting(&self, budget: Budget, parts: &RequestParts) -> Result<(), Problem> {
        let no_body = || Problem::bad_request("no body is expected here");
        let headers = &parts.headers;
        if budget == Budget::Admin {
            return if self.is_operator(headers) { Ok(()) } else { Err(Problem::bad_credentials()) };
        }
        match parts.uri.path() {
            _ if parts.method != Method::POST => Err(no_body()),
            edge::INTROSPECT | edge::REVOKE => match Authorization::of(headers)? {
                Authorization::Basic(encoded) => {
                    let pair = basic_pair(encoded).ok_or_else(Problem::bad_credentials)?;
                    self.edges.audience(&pair.0, &pair.1).map(drop).ok_or_else(Problem::bad_credentials)
                }
                Authorization::Bearer(_) => Err(Problem::bad_credentials()),
                // The secret may be in the body.
                Authorization::Missing if has_type(headers, edge::FORM) => Ok(()),
                Authorization::Missing => Err(Problem::bad_credentials()),
            },
            hooks::CREDIT => hooks::check_headers(self, headers),
            events::PATH => events::check_headers(self, headers),
            path if path.starts_with("/v1/") => Authorization::bearer(headers).map(drop),
            _ => Err(no_body()),
        }
    }
}

async fn collect<B>(body: B, max: usize) -> Result<Bytes, Problem>
where
    B: hyper::body::Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    let too_large = || Problem::because(ErrorCode::BodyTooLarge, format!("the limit is {max} bytes"));
    if body.size_hint().lower() > max as u64 {
        return Err(too_large());
    }
    #[expect(
        clippy::disallowed_methods,
        reason = "what is collected is limited to `max` bytes, the setting for bodies"
    )]
    match pin!(Limited::new(body, max)).collect().await {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(too_large()),
        Err(_) => Err(Problem::bad_request("the body broke off")),
    }
}

/// The body of a request that has been received.
///
/// # Errors
///
/// Why there is none.
pub(super) async fn read_body(body: Body) -> Result<Bytes, Problem> {
    #[expect(clippy::disallowed_methods, reason = "it has been received, within the setting for bodies")]
    let read = body.collect().await;
    read.map(http_body_util::Collected::to_bytes).map_err(|error| {
        let absent = error.source().and_then(|source| source.downcast_ref::<NotReceived>());
        absent.map_or_else(|| Problem::bad_request("the body broke off"), |NotReceived(problem)| problem.clone())
    })
}
