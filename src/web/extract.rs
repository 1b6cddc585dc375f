//! What comes in: JSON, pages of lists, names and texts, each with its limits.

use axum::extract::{FromRequest, FromRequestParts, Query, Request};
use axum::http::request::Parts;
use hyper::HeaderMap;
use serde::{Deserialize, de::DeserializeOwned};

use super::{
    body::{read_body, require_type},
    problem::Problem,
};

/// A JSON body. No body at all is an empty object. Fields that nobody knows are ignored.
pub struct Json<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Json<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, _state: &S) -> Result<Self, Problem> {
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

/// Reads JSON. Says where a mistake is but not what stands there: it may be a secret.
///
/// # Errors
///
/// 400.
pub fn parse_json<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    let text = std::str::from_utf8(bytes).map_err(|_| Problem::bad_request("the body is not UTF-8"))?;
    serde_json::from_str(text).map_err(|error| {
        let what = if error.is_data() { "the body does not have the fields it should" } else { "the body is not JSON" };
        Problem::bad_request(format!("{what} (line {}, column {})", error.line(), error.column()))
    })
}

/// Bytes of an `Idempotency-Key`.
const MAX_IDEMPOTENCY_KEY: usize = 128;

/// What a request is called by its header `Idempotency-Key`. An empty one names nothing.
///
/// # Errors
///
/// 400 if there is more than one, or if it is not 1 to 128 visible ASCII characters.
pub fn idempotency_key(headers: &HeaderMap) -> Result<Option<&str>, Problem> {
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

/// Rows of a page when the caller does not say.
const DEFAULT_LIMIT: u16 = 100;
/// Rows of a page at most.
pub const MAX_LIMIT: u16 = 1000;

/// Which page of a list is asked for.
pub struct Page<T> {
    /// From after this row on.
    pub after: Option<T>,
    /// So many rows.
    pub limit: usize,
}

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Page<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        #[derive(Deserialize)]
        struct PageQuery<T> {
            after: Option<T>,
            limit: Option<u16>,
        }
        let Query(query) = Query::<PageQuery<T>>::from_request_parts(parts, state)
            .await
            .map_err(|_| Problem::bad_request("`after` or `limit` is not what it should be"))?;
        let limit = query.limit.unwrap_or(DEFAULT_LIMIT);
        if !(1..=MAX_LIMIT).contains(&limit) {
            return Err(Problem::bad_request(format!("`limit` is 1 to {MAX_LIMIT}")));
        }
        Ok(Self { after: query.after, limit: usize::from(limit) })
    }
}

impl<T> Page<T> {
    /// The rows of the page, of one more than it has room for; and whether others follow.
    pub fn cut<R>(&self, mut rows: Vec<R>) -> (Vec<R>, bool) {
        let more = rows.len() > self.limit;
        rows.truncate(self.limit);
        (rows, more)
    }
}

/// A text from outside that is kept: not empty, not too long, without control characters.
///
/// # Errors
///
/// 400.
pub fn text(name: &str, value: String, max: usize) -> Result<String, Problem> {
    if value.is_empty() || value.chars().count() > max || value.chars().any(char::is_control) {
        return Err(Problem::bad_request(format!(
            "`{name}` is 1 to {max} characters of text without control characters"
        )));
    }
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::{super::problem::Code, *};

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
            assert_eq!(problem.code(), Code::BadRequest);
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
