//! Bodies of requests: their types, their limits, and reading them.

use std::{
    error::Error as _,
    future::poll_fn,
    pin::{Pin, pin},
    task::{Context, Poll},
};

use axum::body::Body;
use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::{HeaderMap, body::Frame, header::CONTENT_TYPE};

use super::problem::{Code, Problem};

/// Why the body of a request ends early.
pub type BodyError = Box<dyn std::error::Error + Send + Sync>;

/// The type of what HTML forms and OAuth send.
pub const FORM: &str = "application/x-www-form-urlencoded";

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

/// The body of a request that is not waited for: whoever [reads](read_body) it finds out why.
pub fn absent(why: Problem) -> Body {
    Body::new(Absent(Some(NotReceived(why))))
}

/// What `reading` has come to without waiting.
pub async fn at_once<F: Future + Unpin>(reading: &mut F) -> Option<F::Output> {
    match poll_fn(|cx| Poll::Ready(Pin::new(&mut *reading).poll(cx))).await {
        Poll::Ready(read) => Some(read),
        Poll::Pending => None,
    }
}

/// Reads a body of at most `max` bytes.
///
/// # Errors
///
/// 413 if it is longer, 400 if it breaks off.
pub async fn collect<B>(body: B, max: usize) -> Result<Bytes, Problem>
where
    B: hyper::body::Body<Data = Bytes>,
    B::Error: Into<BodyError>,
{
    let too_large = || Problem::because(Code::BodyTooLarge, format!("the limit is {max} bytes"));
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
pub async fn read_body(body: Body) -> Result<Bytes, Problem> {
    #[expect(clippy::disallowed_methods, reason = "it has been received, within the setting for bodies")]
    let read = body.collect().await;
    read.map(http_body_util::Collected::to_bytes).map_err(|error| {
        let absent = error.source().and_then(|source| source.downcast_ref::<NotReceived>());
        absent.map_or_else(|| Problem::bad_request("the body broke off"), |NotReceived(problem)| problem.clone())
    })
}

/// Whether the content type is this one, whatever its parameters.
pub fn has_type(headers: &HeaderMap, wanted: &str) -> bool {
    headers.get(CONTENT_TYPE).is_some_and(|value| is_type(value.as_bytes(), wanted))
}

/// Whether a content type is `wanted`, whatever its case and parameters.
pub fn is_type(value: &[u8], wanted: &str) -> bool {
    let essence = value.split(|byte| *byte == b';').next().unwrap_or_default();
    essence.trim_ascii().eq_ignore_ascii_case(wanted.as_bytes())
}

/// Refuses a body of another type.
///
/// # Errors
///
/// 415.
pub fn require_type(headers: &HeaderMap, wanted: &'static str) -> Result<(), Problem> {
    if has_type(headers, wanted) {
        return Ok(());
    }
    Err(Problem::because(Code::UnsupportedMediaType, format!("the body's type has to be {wanted}")))
}
