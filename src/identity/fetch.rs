//! What is asked of identity providers over HTTP, and what clients of the hub are told: short, small, and nobody else.

use std::time::Duration;

use reqwest::{RequestBuilder, StatusCode, Url, header, redirect};
use serde::Serialize;

use crate::time::Millis;

/// How long a connection may take to come about.
const CONNECT: Duration = Duration::from_secs(3);
/// How long an answer may take, all of it.
const WHOLE: Duration = Duration::from_secs(5);
/// Bytes of an answer.
const MAX_BODY: usize = 256 * 1024;
/// Redirects that are followed within an origin.
const MAX_REDIRECTS: usize = 3;

/// Why there is no answer to work with. Names no URL, so that it can be logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum FetchError {
    /// Nobody answered, or not in time.
    #[error("the provider cannot be reached")]
    Unreachable,
    /// The provider did not answer in time.
    #[error("the provider takes too long")]
    TooSlow,
    /// It answered with another status than 200.
    #[error("the provider answered {0}")]
    Status(StatusCode),
    /// It sent us elsewhere.
    #[error("the provider redirects to another origin")]
    Redirected,
    /// The answer is too long.
    #[error("the provider's answer has more than 256 KiB")]
    TooLong,
    /// The answer is not what it should be.
    #[error("the provider's answer is not as it should be: {0}")]
    Malformed(&'static str),
}

/// Asks identity providers, and tells clients of the hub.
#[derive(Clone, Debug)]
pub(crate) struct Fetcher {
    http: reqwest::Client,
}

/// An answer with status 200.
pub(super) struct Fetched {
    pub(super) body: Vec<u8>,
    /// How long it may be kept, if it says so.
    pub(super) max_age: Option<Millis>,
}

impl Fetcher {
    /// Asks a provider at `home`, and only by HTTPS unless that is on this machine.
    ///
    /// # Errors
    ///
    /// What the library says when the system's certificates cannot be read.
    pub(super) fn new(home: &Url) -> Result<Self, reqwest::Error> {
        Self::with(home, redirect::Policy::custom(within_origin))
    }

    /// The same, for whoever is at `home`; a redirect is an answer like others.
    ///
    /// # Errors
    ///
    /// What the library says when the system's certificates cannot be read.
    pub(crate) fn without_redirects(home: &Url) -> Result<Self, reqwest::Error> {
        Self::with(home, redirect::Policy::none())
    }

    fn with(home: &Url, redirects: redirect::Policy) -> Result<Self, reqwest::Error> {
        let mut builder = reqwest::Client::builder()
            .user_agent(concat!("gastank/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(CONNECT)
            .timeout(WHOLE)
            .referer(false)
            .redirect(redirects);
        if is_loopback(home) {
            builder = builder.no_proxy();
        }
        if home.scheme() == "http" {
            // Reading the system's certificates takes a while, and fails on a system that has none.
            builder = builder.tls_certs_only([]);
        }
        Ok(Self { http: builder.build()? })
    }

    /// Gets a document.
    pub(super) async fn get(&self, url: &Url) -> Result<Fetched, FetchError> {
        let request = self.http.get(url.clone()).header(header::ACCEPT, "application/json, application/jwk-set+json");
        let (status, max_age, body) = exchange(request).await?;
        if status != StatusCode::OK {
            return Err(FetchError::Status(status));
        }
        Ok(Fetched { body, max_age })
    }

    /// Gets a document that is shown to the holder of a token alone.
    pub(super) async fn get_as(&self, url: &Url, token: &str) -> Result<Fetched, FetchError> {
        let request = self.http.get(url.clone()).header(header::ACCEPT, "application/json").bearer_auth(token);
        let (status, max_age, body) = exchange(request).await?;
        if status != StatusCode::OK {
            return Err(FetchError::Status(status));
        }
        Ok(Fetched { body, max_age })
    }

    /// Posts a form, with a client id and secret in `Authorization` where they are given (RFC 6749, 2.3.1); answers the status
    /// and what came back.
    pub(crate) async fn post_form(
        &self,
        url: &Url,
        form: &[(&str, &str)],
        basic: Option<(&str, &str)>,
    ) -> Result<(StatusCode, Vec<u8>), FetchError> {
        let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish();
        let mut request = self
            .http
            .post(url.clone())
            .header(header::ACCEPT, "application/json")
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(body);
        if let Some((id, secret)) = basic {
            let encode = |text: &str| form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
            request = request.basic_auth(encode(id), Some(encode(secret)));
        }
        let (status, _, body) = exchange(request).await?;
        Ok((status, body))
    }

    /// Posts a form of which the status says all; what else comes back is not waited for.
    pub(crate) async fn submit(&self, url: &Url, form: &[(&str, &str)]) -> Result<StatusCode, FetchError> {
        let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish();
        let request = self.http.post(url.clone()).header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
        Ok(request.body(body).send().await.map_err(why)?.status())
    }

    /// Posts a document; answers the status and what came back.
    pub(super) async fn post(&self, url: &Url, document: &impl Serialize) -> Result<(StatusCode, Vec<u8>), FetchError> {
        let (status, _, body) = exchange(self.http.post(url.clone()).json(document)).await?;
        Ok((status, body))
    }
}

/// Whether a URL may be asked: HTTPS, or plain HTTP on this machine.
pub(crate) fn is_safe(url: &Url) -> bool {
    let encrypted = url.scheme() == "https" || (url.scheme() == "http" && is_loopback(url));
    encrypted && url.host_str().is_some() && url.username().is_empty() && url.password().is_none()
}

/// Whether a URL's host is this machine, by address or as `localhost`.
pub(super) fn is_loopback(url: &Url) -> bool {
    let Some(host) = url.host_str() else { return false };
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || bare.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

fn within_origin(attempt: redirect::Attempt<'_>) -> redirect::Action {
    let same = attempt.previous().first().is_some_and(|first| first.origin() == attempt.url().origin());
    if same && attempt.previous().len() <= MAX_REDIRECTS { attempt.follow() } else { attempt.error("not followed") }
}

async fn exchange(request: RequestBuilder) -> Result<(StatusCode, Option<Millis>, Vec<u8>), FetchError> {
    let mut response = request.send().await.map_err(why)?;
    let max_age = response.headers().get(header::CACHE_CONTROL).and_then(|value| max_age(value.to_str().ok()?));
    if response.content_length().is_some_and(|length| length > MAX_BODY as u64) {
        return Err(FetchError::TooLong);
    }
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(why)? {
        if body.len() + chunk.len() > MAX_BODY {
            return Err(FetchError::TooLong);
        }
        body.extend_from_slice(&chunk);
    }
    Ok((response.status(), max_age, body))
}

fn why(error: reqwest::Error) -> FetchError {
    if error.is_redirect() {
        FetchError::Redirected
    } else if error.is_timeout() {
        FetchError::TooSlow
    } else {
        FetchError::Unreachable
    }
}

/// `max-age` of `Cache-Control` (RFC 9111, 5.2.2.1); zero where it forbids to keep the answer.
fn max_age(value: &str) -> Option<Millis> {
    let mut age = None;
    for directive in value.split(',').map(str::trim) {
        if directive.eq_ignore_ascii_case("no-store") || directive.eq_ignore_ascii_case("no-cache") {
            return Some(Millis::ZERO);
        }
        let Some((name, seconds)) = directive.split_once('=') else { continue };
        if name.eq_ignore_ascii_case("max-age") {
            age = seconds.trim_matches('"').parse().ok().map(Millis::from_secs);
        }
    }
    age
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> Url {
        Url::parse(text).unwrap()
    }

    #[test]
    fn only_https_is_asked_unless_it_is_this_machine() {
        for good in ["https://a.example/x", "http://127.0.0.1:1/x", "http://[::1]/", "http://localhost:80/"] {
            assert!(is_safe(&url(good)), "{good}");
        }
        for bad in
            ["http://a.example/x", "ftp://a.example", "https://u:p@a.example/", "http://127.0.0.1.evil/", "file:///x"]
        {
            assert!(!is_safe(&url(bad)), "{bad}");
        }
    }

    #[test]
    fn an_answer_says_how_long_it_may_be_kept() {
        assert_eq!(max_age("public, Max-Age=300"), Some(Millis::from_secs(300)));
        assert_eq!(max_age("max-age=300, no-store"), Some(Millis::ZERO));
        assert_eq!(max_age("max-age=-1"), None);
        assert_eq!(max_age("max-age=99999999999999999999"), None);
        assert_eq!(max_age("private"), None);
    }
}
