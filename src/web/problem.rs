//! What goes wrong, as callers see it: problem documents (RFC 9457).
//!
//! [`Code`] is the only place where an error's name, status, title and page are written down. What went wrong inside is
//! logged and never told.

mod caught;
mod response;

use std::{borrow::Cow, collections::BTreeMap};

use bytes::Bytes;
use http_body_util::Full;
use hyper::{
    HeaderMap, Response, StatusCode,
    header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE},
};
use serde::Serialize;
use serde_json::Value;

use crate::time::MeterTime;

pub use caught::{caught, caught_at_once};
pub use response::{OwnForm, normalised};

/// The content type of problem documents.
pub const PROBLEM_JSON: HeaderValue = HeaderValue::from_static("application/problem+json");

macro_rules! codes {
    ($( $(#[$doc:meta])* $code:ident = $name:literal, $status:ident, $title:literal; )+) => {
        /// Everything that a caller can be refused for. Stable: names are never changed or used again.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Code {
            $( $(#[$doc])* $code, )+
        }

        impl Code {
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
                match self { $( Self::$code => include_str!(concat!("../../docs/errors/", $name, ".md")), )+ }
            }
        }
    };
}

codes! {
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
    /// Nobody known signed this webhook, or not lately.
    BadSignature = "bad_signature", UNAUTHORIZED, "The signature is not accepted";
    /// There is less than a second of credit.
    TankEmpty = "tank_empty", PAYMENT_REQUIRED, "The tank is empty";
    /// Pages of this origin may not do this.
    OriginNotAllowed = "origin_not_allowed", FORBIDDEN, "Pages of this origin are not allowed here";
    /// The reward is for accounts that have used the service lately.
    ActivityRequired = "activity_required", FORBIDDEN, "The account has not been active lately";
    /// There is no such thing.
    NotFound = "not_found", NOT_FOUND, "There is no such thing";
    /// The path does not take this method.
    MethodNotAllowed = "method_not_allowed", METHOD_NOT_ALLOWED, "This method is not allowed here";
    /// The body did not arrive in time.
    RequestTimeout = "request_timeout", REQUEST_TIMEOUT, "The request took too long to arrive";
    /// The session to be renewed is over.
    SessionEnded = "session_ended", CONFLICT, "The session has ended";
    /// A later renewal of the session, or this one, has been done.
    StaleRenewal = "stale_renewal", CONFLICT, "A later renewal has been done";
    /// The same name was given to another entry, or to another activation.
    IdReused = "id_reused", CONFLICT, "This name was used for something else";
    /// There are as many as there may be.
    LimitReached = "limit_reached", CONFLICT, "There are too many of these";
    /// Nothing is written down of what was heard.
    HistoryOff = "history_off", CONFLICT, "The heartbeat history is off";
    /// The identity provider has told that this person is gone.
    PersonGone = "person_gone", GONE, "This person is gone";
    /// The body is too large.
    BodyTooLarge = "body_too_large", PAYLOAD_TOO_LARGE, "The request's body is too large";
    /// The body is of the wrong type.
    UnsupportedMediaType = "unsupported_media_type", UNSUPPORTED_MEDIA_TYPE, "The body is of the wrong type";
    /// The reward was paid not long ago, or as much is paid as may be.
    RewardNotDue = "reward_not_due", TOO_MANY_REQUESTS, "The reward is not due yet";
    /// The caller asks too often.
    RateLimited = "rate_limited", TOO_MANY_REQUESTS, "Too many requests";
    /// A mistake of ours.
    Internal = "internal", INTERNAL_SERVER_ERROR, "The service failed";
    /// An option of a standard that the service does not have.
    NotImplemented = "not_implemented", NOT_IMPLEMENTED, "This is not supported";
    /// The store cannot be reached or cannot write.
    StoreUnavailable = "store_unavailable", SERVICE_UNAVAILABLE, "The store is unavailable";
    /// An identity provider is needed to tell who asks, and cannot.
    ProviderUnavailable = "provider_unavailable", SERVICE_UNAVAILABLE, "The identity provider is unavailable";
    /// There is more to do than can be done.
    Overloaded = "overloaded", SERVICE_UNAVAILABLE, "The service is overloaded";
    /// The service has started but does not know all sessions yet.
    WarmingUp = "warming_up", SERVICE_UNAVAILABLE, "The service is warming up";
    /// The service is about to stop.
    ShuttingDown = "shutting_down", SERVICE_UNAVAILABLE, "The service is shutting down";
}

impl Code {
    /// Where its page is, relative to the service.
    pub fn uri(self) -> String {
        format!("/errors/{}", self.name())
    }

    /// The code with this name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|code| code.name() == name)
    }

    /// In how many seconds to ask again, for codes that say so by themselves.
    const fn retry_after_s(self) -> Option<u32> {
        match self {
            Self::StoreUnavailable | Self::ProviderUnavailable => Some(5),
            Self::ShuttingDown => Some(2),
            Self::RateLimited | Self::RewardNotDue | Self::Overloaded | Self::WarmingUp => Some(1),
            _ => None,
        }
    }

    /// The error that OAuth calls it (RFC 6749, 5.2).
    const fn oauth(self) -> &'static str {
        match self {
            Self::BadCredentials => "invalid_client",
            Self::StoreUnavailable
            | Self::ProviderUnavailable
            | Self::Overloaded
            | Self::WarmingUp
            | Self::ShuttingDown
            | Self::RateLimited => "temporarily_unavailable",
            Self::Internal => "server_error",
            _ => "invalid_request",
        }
    }
}

/// A refusal, on its way to the caller.
#[derive(Clone, Debug)]
pub struct Problem {
    code: Code,
    detail: Cow<'static, str>,
    reason: Option<&'static str>,
    meter: Option<MeterTime>,
    retry_after_s: Option<u32>,
    challenge: Option<&'static str>,
    oauth: bool,
    shed: bool,
    members: BTreeMap<&'static str, Value>,
}

/// In a response's extensions: the request was refused unread, because there was more to do than could be done.
#[derive(Clone, Copy, Debug)]
pub struct Shed;

/// A problem document (RFC 9457).
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = Problem)]
pub struct Document<'a> {
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
    /// Of `session_ended`: why, if that is still known. Of `reward_not_due`: which limit it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "superseded")]
    reason: Option<&'static str>,
    /// Of `stale_renewal`: what the meter shows, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    meter_ms: Option<u64>,
    /// At OAuth endpoints: the error's name there.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "invalid_client")]
    error: Option<&'static str>,
    /// At OAuth endpoints: the detail, under its name there.
    #[serde(skip_serializing_if = "Option::is_none")]
    error_description: Option<&'a str>,
    /// Members that some refusals have beside these.
    #[serde(flatten)]
    #[schema(ignore)]
    members: &'a BTreeMap<&'static str, Value>,
}

impl Problem {
    /// The problem with this code.
    pub fn new(code: Code) -> Self {
        Self::because(code, code.title())
    }

    /// The problem with this code in this case. `detail` is read by people and must not repeat what the caller sent.
    pub fn because(code: Code, detail: impl Into<Cow<'static, str>>) -> Self {
        Self {
            code,
            detail: detail.into(),
            reason: None,
            meter: None,
            retry_after_s: code.retry_after_s(),
            challenge: match code {
                Code::BadSignature => Some("StandardWebhooks"),
                _ => (code.status() == StatusCode::UNAUTHORIZED).then_some("Bearer"),
            },
            oauth: false,
            shed: false,
            members: BTreeMap::new(),
        }
    }

    /// A request that is refused before anything is done for it: as many are under way as may be. [`Shed`] is in the
    /// extensions of its response.
    pub fn shed(detail: impl Into<Cow<'static, str>>) -> Self {
        Self { shed: true, ..Self::because(Code::Overloaded, detail) }
    }

    /// A request that cannot be read.
    pub fn bad_request(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::because(Code::BadRequest, detail)
    }

    /// Credentials that are not accepted. Which part of them is nobody's business.
    pub fn bad_credentials() -> Self {
        Self::because(Code::BadCredentials, "the credentials are missing, malformed or not known")
    }

    /// No such thing.
    pub fn not_found(what: &str) -> Self {
        Self::because(Code::NotFound, format!("there is no such {what}"))
    }

    /// Another member of the document, of the name that a standard or another service's clients know.
    #[must_use]
    pub fn member(mut self, name: &'static str, value: Value) -> Self {
        self.members.insert(name, value);
        self
    }

    /// The member `reason` of the document: the name of an end reason, or of another one.
    #[must_use]
    pub const fn reason(mut self, name: &'static str) -> Self {
        self.reason = Some(name);
        self
    }

    /// The member `meter_ms` of the document: what the meter shows.
    #[must_use]
    pub const fn meter(mut self, now: MeterTime) -> Self {
        self.meter = Some(now);
        self
    }

    /// Come back in so many seconds.
    #[must_use]
    pub const fn retry_after_s(mut self, seconds: u32) -> Self {
        self.retry_after_s = Some(seconds);
        self
    }

    /// As OAuth endpoints show it (RFC 6749, 5.2): with `error`, as `application/json`, and asking for client credentials.
    #[must_use]
    pub const fn for_oauth(mut self) -> Self {
        self.oauth = true;
        if self.challenge.is_some() {
            self.challenge = Some(r#"Basic realm="gastank", charset="UTF-8""#);
        }
        self
    }

    /// Whether it is shown as OAuth endpoints show it.
    pub const fn is_for_oauth(&self) -> bool {
        self.oauth
    }

    /// What it is.
    pub const fn code(&self) -> Code {
        self.code
    }

    /// The problem as a response.
    pub fn response(&self) -> Response<Full<Bytes>> {
        let mut response = Response::new(Full::new(Bytes::from(self.document())));
        *response.status_mut() = self.code.status();
        *response.headers_mut() = self.headers();
        if self.shed {
            response.extensions_mut().insert(Shed);
        }
        response
    }

    /// The problem document.
    pub fn document(&self) -> Vec<u8> {
        let document = Document {
            r#type: self.code.uri(),
            title: self.code.title(),
            status: self.code.status().as_u16(),
            detail: &self.detail,
            code: self.code.name(),
            reason: self.reason,
            meter_ms: self.meter.map(MeterTime::as_ms),
            error: self.oauth.then(|| self.code.oauth()),
            error_description: self.oauth.then_some(&*self.detail),
            members: &self.members,
        };
        serde_json::to_vec(&document).expect("strings and integers are always JSON")
    }

    /// The headers of the response.
    pub fn headers(&self) -> HeaderMap {
        let mut headers = HeaderMap::with_capacity(4);
        headers
            .insert(CONTENT_TYPE, if self.oauth { HeaderValue::from_static("application/json") } else { PROBLEM_JSON });
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(seconds) = self.retry_after_s {
            headers.insert(RETRY_AFTER, seconds.into());
        }
        if let Some(challenge) = self.challenge {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
        }
        headers
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, fs, path::Path};

    use super::*;

    #[test]
    fn every_code_has_a_page_and_no_page_is_orphaned() {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/errors");
        let pages = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let pages: BTreeSet<String> = pages.filter(|name| name != "README.md").collect();
        let codes: BTreeSet<String> = Code::ALL.iter().map(|code| format!("{}.md", code.name())).collect();
        assert_eq!(pages, codes);
    }

    #[test]
    fn a_page_says_what_the_code_says() {
        for code in Code::ALL {
            let (title, line) = (
                format!("# {}\n", code.title()),
                format!("Code `{}`, status {}.", code.name(), code.status().as_u16()),
            );
            assert!(code.page().starts_with(&title), "{}: {title}", code.name());
            assert!(code.page().contains(&line), "{}: {line}", code.name());
            assert_eq!(Code::parse(code.name()), Some(*code));
        }
    }

    #[test]
    fn every_503_says_when_to_come_back() {
        for code in Code::ALL {
            let response = Problem::new(*code).response();
            let told = response.headers().contains_key(RETRY_AFTER);
            let wanted = [StatusCode::SERVICE_UNAVAILABLE, StatusCode::TOO_MANY_REQUESTS].contains(&code.status());
            assert_eq!(told, wanted, "{}", code.name());
            assert_eq!(response.status(), code.status());
            assert_eq!(response.headers()[CONTENT_TYPE], PROBLEM_JSON);
        }
    }
}
