//! What comes in: the types of bodies, JSON, paths and pages, each with its limits.

use std::sync::Arc;

use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use hyper::{HeaderMap, header::CONTENT_TYPE};
use serde::{Deserialize, de::DeserializeOwned};

use crate::{
    engine::{AccountId, parse_session},
    store::Identity,
    wire::SessionId,
};

pub(super) use super::receive::read_body;
use super::{
    Shared,
    problem::{ErrorCode, Problem},
};

/// Whether the content type is this one, whatever its parameters.
pub(super) fn has_type(headers: &HeaderMap, wanted: &str) -> bool {
    headers.get(CONTENT_TYPE).is_some_and(|value| is_type(value.as_bytes(), wanted))
}

/// Whether a content type is `wanted`, whatever its case and parameters.
pub(super) fn is_type(value: &[u8], wanted: &str) -> bool {
    let essence = value.split(|byte| *byte == b';').next().unwrap_or_default();
    essence.trim_ascii().eq_ignore_ascii_case(wanted.as_bytes())
}

/// Refuses a body of another type.
pub(super) fn require_type(headers: &HeaderMap, wanted: &'static str) -> Result<(), Problem> {
    if has_type(headers, wanted) {
        return Ok(());
    }
    Err(Problem::because(ErrorCode::UnsupportedMediaType, format!("the body's type has to be {wanted}")))
}

/// A JSON body. No body at all is an empty object. Fields that nobody knows are ignored.
pub(super) struct Json<T>(pub(super) T);

impl<T: DeserializeOwned> FromRequest<Arc<Shared>> for Json<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, _shared: &Arc<Shared>) -> Result<Self, Problem> {
        let (parts, body) = request.into_parts();
        let bytes = read_body(body).await?;
        // `null` is how some say that they have nothing to say.
        if bytes.is_empty() || bytes.trim_ascii() == b"null" {
            return parse_json(b"{}").map(Self);
        }
        require_type(&parts.headers, "application/json")?;
        parse_json(&bytes).map(Self)
    }
}

/// Says where the mistake is but not what stands there: it may be a secret.
pub(super) fn parse_json<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    let text = std::str::from_utf8(bytes).map_err(|_| Problem::bad_request("the body is not UTF-8"))?;
    serde_json::from_str(text).map_err(|error| {
        let what = if error.is_data() { "the body does not have the fields it should" } else { "the body is not JSON" };
        Problem::bad_request(format!("{what} (line {}, column {})", error.line(), error.column()))
    })
}

/// Bytes of an `Idempotency-Key`.
const MAX_IDEMPOTENCY_KEY: usize = 128;

/// What a request is called by its header `Idempotency-Key`. An empty one names nothing.
pub(super) fn idempotency_key(headers: &HeaderMap) -> Result<Option<&str>, Problem> {
    let mut values = headers.get_all("idempotency-key").iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(Problem::bad_request("there is more than one Idempotency-Key"));
    }
    match value.to_str().unwrap_or(" ") {
        "" => Ok(None),
        key if key.len() <= MAX_IDEMPOTENCY_KEY && key.bytes().all(|byte| byte.is_ascii_graphic()) => Ok(Some(key)),
        _ => Err(Problem::bad_request(format!(
            "an Idempotency-Key is 1 to {MAX_IDEMPOTENCY_KEY} visible ASCII characters"
        ))),
    }
}

/// The account that the path names.
pub(super) struct AccountPath(pub(super) AccountId);

impl FromRequestParts<Arc<Shared>> for AccountPath {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut axum::http::request::Parts, shared: &Arc<Shared>) -> Result<Self, Problem> {
        #[derive(Deserialize)]
        struct Named {
            id: String,
        }
        let absent = || Problem::not_found("account");
        let Path(Named { id }) = Path::from_request_parts(parts, shared).await.map_err(|_| absent())?;
        AccountId::parse(&id).map(Self).ok_or_else(absent)
    }
}

/// The session that the path names.
pub(super) struct SessionPath(pub(super) SessionId);

impl FromRequestParts<Arc<Shared>> for SessionPath {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut axum::http::request::Parts, shared: &Arc<Shared>) -> Result<Self, Problem> {
        let absent = || Problem::not_found("session");
        let Path(id) = Path::<String>::from_request_parts(parts, shared).await.map_err(|_| absent())?;
        parse_session(&id).map(Self).ok_or_else(absent)
    }
}

/// Rows of a page when the caller does not say.
const DEFAULT_LIMIT: u16 = 100;
/// Rows of a page at most.
pub(super) const MAX_LIMIT: u16 = 1000;

/// Which page of a list is asked for.
pub(super) struct Page<T> {
    /// From after this row on.
    pub(super) after: Option<T>,
    /// So many rows.
    pub(super) limit: usize,
}

impl<T: DeserializeOwned> FromRequestParts<Arc<Shared>> for Page<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut axum::http::request::Parts, shared: &Arc<Shared>) -> Result<Self, Problem> {
        #[derive(Deserialize)]
        struct Asked<T> {
            after: Option<T>,
            limit: Option<u16>,
        }
        let Query(asked) = Query::<Asked<T>>::from_request_parts(parts, shared)
            .await
            .map_err(|_| Problem::bad_request("`after` or `limit` is not what it should be"))?;
        let limit = asked.limit.unwrap_or(DEFAULT_LIMIT);
        if !(1..=MAX_LIMIT).contains(&limit) {
            return Err(Problem::bad_request(format!("`limit` is 1 to {MAX_LIMIT}")));
        }
        Ok(Self { after: asked.after, limit: usize::from(limit) })
    }
}

impl<T> Page<T> {
    /// The rows of the page, of one more than it has room for; and whether others follow.
    pub(super) fn cut<R>(&self, mut rows: Vec<R>) -> (Vec<R>, bool) {
        let more = rows.len() > self.limit;
        rows.truncate(self.limit);
        (rows, more)
    }
}

/// Characters of an issuer or a subject.
pub(super) const MAX_IDENTITY: usize = Identity::MAX_NAME;
/// Characters of a note.
pub(super) const MAX_REASON: usize = 256;
/// Seconds that one entry may move: ten years.
const MAX_CREDIT_S: u64 = 10 * 366 * 24 * 60 * 60;

/// Refuses seconds that no entry may move.
pub(super) fn bounded(seconds: i64) -> Result<i64, Problem> {
    if seconds.unsigned_abs() > MAX_CREDIT_S {
        return Err(Problem::bad_request(format!("an entry moves {MAX_CREDIT_S} seconds at most")));
    }
    Ok(seconds)
}

/// A text from outside that is kept: not empty, not too long, without control characters.
pub(super) fn text(name: &str, value: String, max: usize) -> Result<String, Problem> {
    if value.is_empty() || value.chars().count() > max || value.chars().any(char::is_control) {
        return Err(Problem::bad_request(format!(
            "`{name}` is 1 to {max} characters of text without control characters"
        )));
    }
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_json_is_refused_without_repeating_it() {
        #[derive(Debug, Deserialize)]
        struct Wanted {
            #[expect(dead_code, reason = "only its type matters")]
            audience: Option<String>,
        }
        for body in
            [&b"{\"audience\":\"\xff\"}"[..], b"{\"audience\":12345}", b"{\"audience\":hunter2}", b"[[[", b"nul"]
        {
            let problem = parse_json::<Wanted>(body).unwrap_err();
            let text = format!("{problem:?}");
            assert_eq!(problem.code(), ErrorCode::BadRequest);
            assert!(!text.contains("12345") && !text.contains("hunter2"), "{text}");
        }
    }

    #[test]
    fn deep_json_is_refused_or_ignored_but_never_followed() {
        #[derive(Debug, Deserialize)]
        struct Wanted {
            #[expect(dead_code, reason = "only its type matters")]
            audience: Option<serde_json::Value>,
        }
        let deep = "[".repeat(30_000);
        let closed = format!("{deep}{}", "]".repeat(30_000));
        assert!(parse_json::<Wanted>(format!("{{\"audience\":{closed}}}").as_bytes()).is_err());
        assert!(parse_json::<Wanted>(format!("{{\"nobody_knows\":{closed}}}").as_bytes()).is_ok());
        assert!(parse_json::<Wanted>(deep.as_bytes()).is_err());
    }
}
