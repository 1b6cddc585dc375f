//! What goes wrong, as callers see it: problem documents after RFC 9457.
//!
//! [`ErrorCode`] is the only place where an error's name, status, title and page are written down. What went wrong
//! inside is logged and never told.

use std::borrow::Cow;

use axum::{
    body::Body,
    response::{IntoResponse, Response},
};
use hyper::{
    HeaderMap, StatusCode,
    header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE},
};
use serde::Serialize;

use crate::{
    control::{acts::ActError, keyring::KeyringError},
    engine::Refusal,
    store::StoreError,
    wire::EndReason,
};

macro_rules! error_codes {
    ($( $(#[$doc:meta])* $code:ident = $name:literal, $status:ident, $title:literal; )+) => {
        /// Everything that a caller can be refused for. Stable: names are never changed or used again.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum ErrorCode {
            $( $(#[$doc])* $code, )+
        }

        impl ErrorCode {
            /// Every code.
            pub const ALL: &'static [Self] = &[$(Self::$code),+];

            /// Its name in documents and in `docs/errors/`.
            pub const fn name(self) -> &'static str {
                match self { $( Self::$code => $name, )+ }
            }

            /// The status it is answered with.
            pub const fn status(self) -> StatusCode {
                match self { $( Self::$code => StatusCode::$status, )+ }
            }

            /// What it is, in one line.
            pub const fn title(self) -> &'static str {
                match self { $( Self::$code => $title, )+ }
            }

            /// Its page: what it means and what a client should do. Markdown.
            pub const fn page(self) -> &'static str {
                match self { $( Self::$code => include_str!(concat!("../../../docs/errors/", $name, ".md")), )+ }
            }
        }
    };
}

error_codes! {
    /// The request cannot be read.
    BadRequest = "bad_request", BAD_REQUEST, "The request cannot be read";
    /// The frame of a renewal is malformed, forged or of another kind.
    BadFrame = "bad_frame", BAD_REQUEST, "The frame is not valid";
    /// The audience is neither configured nor any edge's.
    UnknownAudience = "unknown_audience", BAD_REQUEST, "Nobody knows this audience";
    /// Credit is entered under a name, and there is none.
    IdempotencyKeyRequired = "idempotency_key_required", BAD_REQUEST, "An Idempotency-Key is required";
    /// Who asks is not known.
    BadCredentials = "bad_credentials", UNAUTHORIZED, "The credentials are not accepted";
    /// There is less than a second of credit.
    TankEmpty = "tank_empty", PAYMENT_REQUIRED, "The tank is empty";
    /// There is no such thing.
    NotFound = "not_found", NOT_FOUND, "There is no such thing";
    /// The path does not take this method.
    MethodNotAllowed = "method_not_allowed", METHOD_NOT_ALLOWED, "This method is not allowed here";
    /// The body did not arrive in time.
    RequestTimeout = "request_timeout", REQUEST_TIMEOUT, "The request took too long to arrive";
    /// The session to be renewed is over.
    SessionEnded = "session_ended", CONFLICT, "The session has ended";
    /// The same name was given to another entry.
    IdReused = "id_reused", CONFLICT, "This name was used for something else";
    /// There are as many as there may be.
    LimitReached = "limit_reached", CONFLICT, "There are too many of these";
    /// The body is too large.
    TooLarge = "too_large", PAYLOAD_TOO_LARGE, "The request's body is too large";
    /// The body is of the wrong type.
    UnsupportedMediaType = "unsupported_media_type", UNSUPPORTED_MEDIA_TYPE, "The body is of the wrong type";
    /// The caller asks too often.
    RateLimited = "rate_limited", TOO_MANY_REQUESTS, "Too many requests";
    /// A mistake of ours.
    Internal = "internal", INTERNAL_SERVER_ERROR, "The service failed";
    /// The store cannot be reached or cannot write.
    StoreUnavailable = "store_unavailable", SERVICE_UNAVAILABLE, "The store is unavailable";
    /// There is more to do than can be done.
    Overloaded = "overloaded", SERVICE_UNAVAILABLE, "The service is overloaded";
    /// The service has started but does not know all sessions yet.
    WarmingUp = "warming_up", SERVICE_UNAVAILABLE, "The service is warming up";
    /// The service is about to stop.
    ShuttingDown = "shutting_down", SERVICE_UNAVAILABLE, "The service is shutting down";
}

impl ErrorCode {
    /// Where its page is, relative to the service.
    pub fn uri(self) -> String {
        format!("/errors/{}", self.name())
    }

    /// The code with this name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|code| code.name() == name)
    }

    /// When to ask again, for codes that say so by themselves.
    const fn retry_after_s(self) -> Option<u32> {
        match self {
            Self::StoreUnavailable => Some(5),
            Self::ShuttingDown => Some(2),
            Self::RateLimited | Self::Overloaded | Self::WarmingUp => Some(1),
            _ => None,
        }
    }

    /// The error that OAuth calls it (RFC 6749, 5.2).
    const fn oauth(self) -> &'static str {
        match self {
            Self::BadCredentials => "invalid_client",
            Self::StoreUnavailable | Self::Overloaded | Self::WarmingUp | Self::ShuttingDown | Self::RateLimited => {
                "temporarily_unavailable"
            }
            Self::Internal => "server_error",
            _ => "invalid_request",
        }
    }
}

/// A refusal, on its way to the caller.
#[derive(Clone, Debug)]
pub(super) struct Problem {
    pub(super) code: ErrorCode,
    detail: Cow<'static, str>,
    reason: Option<EndReason>,
    retry_after_s: Option<u32>,
    challenge: Option<&'static str>,
    oauth: bool,
}

/// A problem document (RFC 9457).
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = Problem)]
pub(super) struct ProblemDocument<'a> {
    /// The page about this error, relative to the service.
    #[schema(example = "/errors/tank_empty")]
    r#type: String,
    /// What it is, in one line.
    title: &'static str,
    /// The HTTP status.
    status: u16,
    /// What it is in this case. For people.
    detail: &'a str,
    /// What it is. For programs.
    #[schema(example = "tank_empty")]
    code: &'static str,
    /// Of `session_ended`: why.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "superseded")]
    reason: Option<&'static str>,
    /// At OAuth endpoints: the error's name there.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "invalid_client")]
    error: Option<&'static str>,
}

impl Problem {
    /// A problem. `detail` is read by people and must not repeat what the caller sent.
    pub(super) fn new(code: ErrorCode, detail: impl Into<Cow<'static, str>>) -> Self {
        Self {
            code,
            detail: detail.into(),
            reason: None,
            retry_after_s: code.retry_after_s(),
            challenge: (code.status() == StatusCode::UNAUTHORIZED).then_some("Bearer"),
            oauth: false,
        }
    }

    /// A request that cannot be read.
    pub(super) fn bad_request(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ErrorCode::BadRequest, detail)
    }

    /// Credentials that are not accepted. Which part of them is nobody's business.
    pub(super) fn bad_credentials() -> Self {
        Self::new(ErrorCode::BadCredentials, "the credentials are missing, malformed or not known")
    }

    /// No such thing.
    pub(super) fn not_found(what: &str) -> Self {
        Self::new(ErrorCode::NotFound, format!("there is no such {what}"))
    }

    /// Come back in so many seconds.
    pub(super) const fn retry_after(mut self, seconds: u32) -> Self {
        self.retry_after_s = Some(seconds);
        self
    }

    /// As OAuth endpoints show it: with `error`, and asking for client credentials.
    pub(super) const fn for_oauth(mut self) -> Self {
        self.oauth = true;
        if self.challenge.is_some() {
            self.challenge = Some(r#"Basic realm="gastank", charset="UTF-8""#);
        }
        self
    }

    /// As callers see it that have proved who they are by an account that is gone.
    pub(super) fn for_owner(self) -> Self {
        if self.code == ErrorCode::NotFound { Self::bad_credentials() } else { self }
    }

    /// The problem document for a response that is an error and says nothing more.
    fn of_status(status: StatusCode) -> Option<Self> {
        let (code, detail) = match status {
            StatusCode::NOT_FOUND => (ErrorCode::NotFound, "there is nothing at this path"),
            StatusCode::METHOD_NOT_ALLOWED => (ErrorCode::MethodNotAllowed, "the header Allow says which are"),
            StatusCode::PAYLOAD_TOO_LARGE => (ErrorCode::TooLarge, "the body is too large"),
            StatusCode::UNSUPPORTED_MEDIA_TYPE => (ErrorCode::UnsupportedMediaType, "the body is of the wrong type"),
            status if status.is_client_error() => (ErrorCode::BadRequest, "the request cannot be read"),
            status if status.is_server_error() => (ErrorCode::Internal, "the service failed"),
            _ => return None,
        };
        Some(Self::new(code, detail))
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = self.code.status();
        let document = ProblemDocument {
            r#type: self.code.uri(),
            title: self.code.title(),
            status: status.as_u16(),
            detail: &self.detail,
            code: self.code.name(),
            reason: self.reason.map(EndReason::name),
            error: self.oauth.then(|| self.code.oauth()),
        };
        let body = serde_json::to_vec(&document).expect("strings and integers are always JSON");
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, PROBLEM_JSON);
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(seconds) = self.retry_after_s {
            headers.insert(RETRY_AFTER, seconds.into());
        }
        if let Some(challenge) = self.challenge {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
        }
        (status, headers, body).into_response()
    }
}

const PROBLEM_JSON: HeaderValue = HeaderValue::from_static("application/problem+json");

/// Turns errors that the router makes by itself into problem documents. `Allow` is kept.
pub(super) fn normalised(response: Response) -> Response {
    if response.headers().get(CONTENT_TYPE).is_some_and(|value| *value == PROBLEM_JSON) {
        return response;
    }
    let Some(problem) = Problem::of_status(response.status()) else { return response };
    let (mut parts, _) = response.into_parts();
    let (made, body) = problem.into_response().into_parts();
    parts.headers.remove(hyper::header::CONTENT_LENGTH);
    parts.headers.extend(made.headers);
    parts.status = made.status;
    Response::from_parts(parts, Body::new(body))
}

impl From<ActError> for Problem {
    fn from(error: ActError) -> Self {
        match error {
            ActError::Refused(refusal) => refusal.into(),
            ActError::NotFound(what) => Self::not_found(what),
            ActError::BadCredentials => Self::bad_credentials(),
            ActError::BadFrame(_) => {
                Self::new(ErrorCode::BadFrame, "the body is not a renewal's frame of this session")
            }
            ActError::IdReused => Self::new(ErrorCode::IdReused, "an entry of another amount has this name"),
            ActError::Store(error) => error.into(),
            ActError::Contended => Self::new(ErrorCode::Overloaded, "too much happens on this account at once"),
            ActError::Signing(error) => internal(&error),
        }
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::TankEmpty => Self::new(ErrorCode::TankEmpty, "there is less than a second of credit"),
            Refusal::Deleted => Self::not_found("account"),
            Refusal::SessionEnded(reason) => {
                let detail = format!("the session has ended: {}", reason.name());
                Self { reason: Some(reason), ..Self::new(ErrorCode::SessionEnded, detail) }
            }
            Refusal::WrongToken => Self::bad_credentials(),
        }
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Unavailable(_) => {
                tracing::warn!(%error, "an act was refused");
                Self::new(ErrorCode::StoreUnavailable, "nothing has been changed; the meter and the verdicts go on")
            }
            StoreError::Damaged(_) | StoreError::Refused(_) => internal(&error),
        }
    }
}

impl From<KeyringError> for Problem {
    fn from(error: KeyringError) -> Self {
        match error {
            KeyringError::Store(error) => error.into(),
            KeyringError::Key(_) | KeyringError::Sealed { .. } => internal(&error),
        }
    }
}

/// For operators, what happened; for the caller, that it did.
fn internal(error: &dyn std::error::Error) -> Problem {
    tracing::error!(error = %error, "a request failed");
    Problem::new(ErrorCode::Internal, "the service failed; its log says why")
}
