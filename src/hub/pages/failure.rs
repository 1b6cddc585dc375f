//! What goes wrong, as a page for people: what happened, and what to do.

use axum::{
    http::{HeaderValue, StatusCode},
    response::Response,
};
use hyper::header::RETRY_AFTER;

use super::{
    frame::{Frame, Message, answer},
    text::Text,
};
use crate::{
    control::acts::ActError,
    hub::{limits::TooOften, sessions::HubError},
    identity::AuthError,
    store::StoreError,
    web::problem::{Code, Problem},
};

/// Why there is no page.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(in crate::hub) enum Failure {
    /// There is no such thing.
    #[error("not found")]
    NotFound,
    /// A form came from somebody who is not signed in.
    #[error("the sign-in has expired")]
    Expired,
    /// The answer of a provider belongs to no sign-in of this browser.
    #[error("the sign-in is over")]
    Over,
    /// The provider did not sign the person in.
    #[error("the provider did not sign the person in")]
    Denied,
    /// The provider's answer is not good.
    #[error("the provider's answer is not good")]
    Refused,
    /// A form that was not sent by a page of ours.
    #[error("the form was not sent by a page of this service")]
    Forged,
    /// A form that did not arrive in time.
    #[error("the form did not arrive in time")]
    TooSlow,
    /// A form that has more bytes than any of ours.
    #[error("the form is too long")]
    TooLong,
    /// The store or another part of ours fails.
    #[error("the service cannot answer now")]
    Unavailable,
    /// The provider fails.
    #[error("the identity provider is unavailable")]
    ProviderDown,
    /// The provider does not take our client id and secret.
    #[error("the identity provider does not take the client id and secret of this service")]
    Misconfigured,
    /// The person has as many as one may have.
    #[error("there are as many as one person may have")]
    Full,
    /// One address asks too often.
    #[error("asked too often")]
    TooOften,
    /// There is no provider.
    #[error("sign-in is not set up")]
    NoSignIn,
}

impl Failure {
    const fn status(self) -> StatusCode {
        match self {
            Self::NotFound | Self::NoSignIn => StatusCode::NOT_FOUND,
            Self::Expired => StatusCode::UNAUTHORIZED,
            Self::Over | Self::Denied | Self::Refused => StatusCode::BAD_REQUEST,
            Self::Forged => StatusCode::FORBIDDEN,
            Self::Full => StatusCode::CONFLICT,
            Self::TooSlow => StatusCode::REQUEST_TIMEOUT,
            Self::TooLong => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Unavailable | Self::ProviderDown | Self::Misconfigured => StatusCode::SERVICE_UNAVAILABLE,
            Self::TooOften => StatusCode::TOO_MANY_REQUESTS,
        }
    }

    /// What happened, and what to do.
    const fn texts(self, text: &'static Text) -> (&'static str, &'static str) {
        match self {
            Self::NotFound => (text.not_found, text.not_found_hint),
            Self::Expired => (text.expired, text.expired_hint),
            Self::Over => (text.over, text.over_hint),
            Self::Denied => (text.denied, text.denied_hint),
            Self::Refused => (text.refused, text.refused_hint),
            Self::Forged => (text.forged, text.forged_hint),
            Self::TooSlow => (text.too_slow, text.too_slow_hint),
            Self::TooLong => (text.too_long, text.too_long_hint),
            Self::Unavailable => (text.unavailable, text.unavailable_hint),
            Self::ProviderDown => (text.provider_down, text.provider_down_hint),
            Self::Misconfigured => (text.misconfigured, text.misconfigured_hint),
            Self::Full => (text.full, text.full_hint),
            Self::TooOften => (text.too_often, text.too_often_hint),
            Self::NoSignIn => (text.no_sign_in, text.no_sign_in_hint),
        }
    }

    /// The page.
    pub(in crate::hub) fn page(self, text: &'static Text, development: bool) -> Response {
        let (title, hint) = self.texts(text);
        let (href, action) = match self {
            Self::NotFound
            | Self::Forged
            | Self::TooSlow
            | Self::TooLong
            | Self::Full
            | Self::Unavailable
            | Self::NoSignIn => ("/account", text.to_account),
            Self::Expired => ("/sign-in", text.sign_in),
            // Whoever is signed in at the provider as somebody who may not come in has to be asked who they are.
            Self::Denied | Self::Refused => ("/sign-in?prompt=login", text.try_again),
            Self::Over | Self::ProviderDown | Self::Misconfigured | Self::TooOften => ("/sign-in", text.try_again),
        };
        let frame = Frame::anonymous(text, development);
        let mut response = answer(self.status(), text, &Message { frame, title, hint, href: href.to_owned(), action });
        if matches!(self, Self::Unavailable | Self::ProviderDown | Self::TooOften) {
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("5"));
        }
        response
    }
}

impl From<ActError> for Failure {
    fn from(error: ActError) -> Self {
        match error {
            // The account has gone since the person signed in, or they may not come in.
            ActError::NotFound(_) | ActError::Gone | ActError::BadCredentials => Self::Denied,
            ActError::Refused(_) | ActError::BadFrame(_) | ActError::IdReused | ActError::HeldFull => Self::Refused,
            ActError::Store(_)
            | ActError::Unknown(_)
            | ActError::Late(_)
            | ActError::Untold
            | ActError::Contended
            | ActError::Signing(_) => Self::Unavailable,
        }
    }
}

impl From<TooOften> for Failure {
    fn from(TooOften: TooOften) -> Self {
        Self::TooOften
    }
}

/// Of a form that did not come.
impl From<Problem> for Failure {
    fn from(problem: Problem) -> Self {
        match problem.code() {
            Code::BodyTooLarge => Self::TooLong,
            code if code.status().is_server_error() => Self::Unavailable,
            // Late, or broken off.
            _ => Self::TooSlow,
        }
    }
}

impl From<StoreError> for Failure {
    fn from(_: StoreError) -> Self {
        Self::Unavailable
    }
}

impl From<HubError> for Failure {
    fn from(error: HubError) -> Self {
        match error {
            // It has been deleted since the person signed in.
            HubError::NoSuchAccount => Self::Denied,
            HubError::EndedAtProvider => Self::Over,
            HubError::Store(_) => Self::Unavailable,
        }
    }
}

impl From<AuthError> for Failure {
    fn from(error: AuthError) -> Self {
        match error {
            AuthError::Rejected => Self::Refused,
            AuthError::Unavailable => Self::ProviderDown,
            AuthError::Misconfigured => Self::Misconfigured,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_that_did_not_come_is_called_what_it_is() {
        for (problem, status, says) in [
            (Problem::new(Code::RequestTimeout), 408, "did not arrive in time"),
            (Problem::new(Code::BodyTooLarge), 413, "too long"),
            (Problem::new(Code::Overloaded), 503, "cannot answer now"),
            (Problem::bad_request("the body broke off"), 408, "did not arrive in time"),
        ] {
            let failure = Failure::from(problem);
            let page = failure.page(Text::of(&axum::http::HeaderMap::new()), false);
            assert_eq!(page.status().as_u16(), status, "{says}");
            assert!(failure.texts(Text::of(&axum::http::HeaderMap::new())).0.contains(says), "{says}");
        }
    }
}
