//! Refusals in the form of OAuth: at an endpoint of clients as JSON (RFC 6749, 5.2), at the redirect URI as parameters.

use axum::{
    Json,
    http::HeaderValue,
    response::{IntoResponse, Response},
};
use hyper::{
    StatusCode,
    header::{CACHE_CONTROL, RETRY_AFTER, WWW_AUTHENTICATE},
};
use serde::Serialize;

use crate::{
    hub::{HubError, limits::TooOften, pages::failure::Failure},
    store::StoreError,
    web::{
        params::BadParams,
        problem::{Code, OwnForm, Problem},
    },
};

/// Why a client is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    status: StatusCode,
    /// The name that the standard has for it.
    pub(super) error: &'static str,
    /// What to do about it. Fixed texts: nothing of the request is repeated.
    pub(super) description: &'static str,
}

#[derive(Serialize)]
struct Body {
    error: &'static str,
    error_description: &'static str,
}

impl Refusal {
    /// The request is wrong.
    pub(super) const fn request(description: &'static str) -> Self {
        Self::named("invalid_request", description)
    }

    /// It is wrong in this way.
    pub(super) const fn named(error: &'static str, description: &'static str) -> Self {
        Self { status: StatusCode::BAD_REQUEST, error, description }
    }

    /// The code is not good for this client.
    pub(super) const fn grant(description: &'static str) -> Self {
        Self::named("invalid_grant", description)
    }

    /// Who asks is not the client that they say.
    pub(super) const fn client() -> Self {
        let description = "the client id or secret is wrong, or the client authenticates in two ways";
        Self { status: StatusCode::UNAUTHORIZED, error: "invalid_client", description }
    }

    /// The handle is not good.
    pub(super) const fn token() -> Self {
        let description = "the access token is not good: sign in again";
        Self { status: StatusCode::UNAUTHORIZED, error: "invalid_token", description }
    }

    /// Too much has come from there.
    pub(super) const fn too_often() -> Self {
        let description = "too many requests came from this address: wait a moment";
        Self { status: StatusCode::TOO_MANY_REQUESTS, error: "temporarily_unavailable", description }
    }

    /// Nobody can tell now.
    pub(super) const fn unavailable() -> Self {
        let description = "the service cannot tell now: ask again";
        Self { status: StatusCode::SERVICE_UNAVAILABLE, error: "temporarily_unavailable", description }
    }
}

impl From<TooOften> for Refusal {
    fn from(TooOften: TooOften) -> Self {
        Self::too_often()
    }
}

impl From<BadParams> for Refusal {
    fn from(error: BadParams) -> Self {
        Self::request(match error {
            BadParams::Twice => "a parameter is given twice",
            BadParams::TooLong => "the parameters are longer than 12 KiB",
        })
    }
}

/// Of a body that did not come.
impl From<Problem> for Refusal {
    fn from(problem: Problem) -> Self {
        let (status, description) = match problem.code() {
            Code::RequestTimeout => (StatusCode::REQUEST_TIMEOUT, "the body did not arrive in time"),
            Code::BodyTooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "the body is too large"),
            code if code.status().is_server_error() => return Self::unavailable(),
            _ => (StatusCode::BAD_REQUEST, "the body broke off"),
        };
        Self { status, error: "invalid_request", description }
    }
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        tracing::warn!(%error, "a request to the OpenID provider could not be answered");
        Self::unavailable()
    }
}

impl From<HubError> for Refusal {
    fn from(error: HubError) -> Self {
        match error {
            HubError::NoSuchAccount | HubError::EndedAtProvider => Self::grant("the person's account has been deleted"),
            HubError::Store(error) => error.into(),
        }
    }
}

/// The same as a page.
impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        match refusal.status {
            StatusCode::TOO_MANY_REQUESTS => Self::TooOften,
            _ => Self::Unavailable,
        }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let Self { status, error, description } = self;
        let mut response = (status, Json(Body { error, error_description: description })).into_response();
        response.extensions_mut().insert(OwnForm);
        let headers = response.headers_mut();
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        match status {
            StatusCode::UNAUTHORIZED if error == "invalid_token" => {
                headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer error=\"invalid_token\""));
            }
            StatusCode::UNAUTHORIZED => {
                headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Basic realm=\"gastank\""));
            }
            StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS => {
                headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
            }
            _ => {}
        }
        response
    }
}
