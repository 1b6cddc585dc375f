//! What is around the content of each page, and the headers that each is answered with: nothing but this service's own style and
//! script is loaded, no other page may frame it, nobody keeps it, and no address of a page is told to another site.

use askama::Template;
use axum::{
    body::Body,
    http::{HeaderName, HeaderValue, StatusCode},
    response::Response,
};
use hyper::header::{
    CACHE_CONTROL, CONTENT_LANGUAGE, CONTENT_SECURITY_POLICY, CONTENT_TYPE, LOCATION, REFERRER_POLICY, VARY,
    X_CONTENT_TYPE_OPTIONS,
};

use super::{assets, assets::Paths, text::Text};
use crate::web::problem::OwnForm;

const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; \
     base-uri 'none'; frame-ancestors 'none'",
);
const SAFETY: [(HeaderName, HeaderValue); 6] = [
    (CONTENT_SECURITY_POLICY, POLICY),
    (HeaderName::from_static("cross-origin-opener-policy"), HeaderValue::from_static("same-origin")),
    (HeaderName::from_static("cross-origin-resource-policy"), HeaderValue::from_static("same-origin")),
    (REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    (X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    (CACHE_CONTROL, HeaderValue::from_static("no-store")),
];

/// Where a page is in the navigation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::hub) enum Here {
    Account,
    Sessions,
    Ledger,
    Elsewhere,
}

impl Here {
    const fn name(self) -> &'static str {
        match self {
            Self::Account => "account",
            Self::Sessions => "sessions",
            Self::Ledger => "ledger",
            Self::Elsewhere => "",
        }
    }
}

/// SignedInAs is signed in, as every page shows it.
pub(in crate::hub) struct SignedInAs {
    pub(in crate::hub) name: String,
    pub(in crate::hub) csrf: String,
}

/// What is around the content of each page.
pub(in crate::hub) struct Frame {
    pub(in crate::hub) text: &'static Text,
    pub(in crate::hub) paths: &'static Paths,
    pub(in crate::hub) who: Option<SignedInAs>,
    here: Here,
    pub(in crate::hub) development: bool,
}

impl Frame {
    /// Of a page for anybody.
    pub(in crate::hub) fn anonymous(text: &'static Text, development: bool) -> Self {
        Self { text, paths: &assets::PATHS, who: None, here: Here::Elsewhere, development }
    }

    /// Whether this is the page in the navigation.
    pub(in crate::hub) fn is(&self, here: &str) -> bool {
        self.here.name() == here
    }

    /// The same, of a page for somebody who is signed in, whose forms have this token.
    pub(in crate::hub) fn signed_in(self, name: String, csrf: String, here: Here) -> Self {
        Self { who: Some(SignedInAs { name, csrf }), here, ..self }
    }
}

/// A page with one message and one way on.
#[derive(Template)]
#[template(path = "message.html")]
pub(in crate::hub) struct Message {
    pub(in crate::hub) frame: Frame,
    pub(in crate::hub) title: &'static str,
    pub(in crate::hub) hint: &'static str,
    pub(in crate::hub) href: String,
    pub(in crate::hub) action: &'static str,
}

/// A page that goes on by itself.
#[derive(Template)]
#[template(path = "onward.html")]
struct Onward {
    frame: Frame,
    href: String,
}

/// Answers with a page that goes on by itself. After a form a redirect would not do: browsers hold the redirects after it against
/// the policy of its page (`form-action`), and these lead to the pages of others.
pub(in crate::hub) fn go_on(frame: Frame, href: String) -> Response {
    let text = frame.text;
    answer(StatusCode::OK, text, &Onward { frame, href })
}

/// Answers with a page.
pub(in crate::hub) fn answer(status: StatusCode, text: &Text, page: &impl Template) -> Response {
    let Ok(html) = page.render() else {
        // Templates write into memory and cannot fail there.
        return with_safety(Response::new(Body::empty()), StatusCode::INTERNAL_SERVER_ERROR);
    };
    let mut response = with_safety(Response::new(Body::from(html)), status);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    headers.insert(CONTENT_LANGUAGE, HeaderValue::from_static(text.lang));
    headers.insert(VARY, HeaderValue::from_static("cookie, accept-language"));
    response.extensions_mut().insert(OwnForm);
    response
}

/// Sends a browser on, by a GET.
pub(in crate::hub) fn redirect(to: &str) -> Response {
    let mut response = with_safety(Response::new(Body::empty()), StatusCode::SEE_OTHER);
    match HeaderValue::from_str(to) {
        Ok(to) => drop(response.headers_mut().insert(LOCATION, to)),
        Err(_) => *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR,
    }
    response
}

fn with_safety(mut response: Response, status: StatusCode) -> Response {
    *response.status_mut() = status;
    response.headers_mut().extend(SAFETY);
    response
}
