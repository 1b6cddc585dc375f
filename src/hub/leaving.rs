//! Where a browser goes after a sign-out: back to the client that asked for it, or to a page of ours.

use axum::{http::StatusCode, response::Response};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use hyper::header::SET_COOKIE;
use serde::{Deserialize, Serialize};

use crate::{
    control::seal::{open, seal},
    engine::SecretRing,
    time::{Millis, UnixMs},
};

use super::{
    pages::{
        frame::{Frame, Message, answer, go_on, redirect},
        text::Text,
    },
    sessions::HubSession,
    sign_in::cookies::{forget, keep},
    state::SESSION_COOKIE,
};

/// Remembers that somebody signed out here: their provider is to ask again who they are.
pub(super) const SIGNED_OUT_COOKIE: &str = "__Host-gastank-out";
/// For so many seconds.
const SIGNED_OUT_S: u64 = 30 * 24 * 3600;
const CONTEXT: &str = "gastank/leaving/v1";
/// How long a person may think about it.
const MAX_AGE: Millis = Millis::from_secs(600);

/// What a client that signs somebody out has proved, and where it wants the browser back. Sealed, it goes through the browser.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Leaving {
    /// The account and the hub session of the ID token that it has shown.
    pub(super) of: Option<(String, String)>,
    /// An address of that client.
    pub(super) back: Option<String>,
}

#[derive(Serialize, Deserialize)]
struct Sealed {
    #[serde(flatten)]
    leaving: Leaving,
    at: u64,
}

/// By what a browser goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Onto {
    /// A redirect.
    Redirect,
    /// A page that goes on by itself: after a form, browsers hold redirects against the policy of its page.
    Page,
}

impl Leaving {
    /// Whether a client has proved that it means this session.
    pub(super) fn is_of(&self, session: &HubSession) -> bool {
        let of = self.of.as_ref();
        of.is_some_and(|(account, id)| *account == session.account.to_string() && *id == session.id.to_string())
    }

    pub(super) fn seal(&self, secrets: &SecretRing, now: UnixMs) -> String {
        let (id, secret) = secrets.current();
        let sealed = Sealed { leaving: self.clone(), at: now.as_ms() };
        let plain = serde_json::to_vec(&sealed).expect("text and numbers are always JSON");
        URL_SAFE_NO_PAD.encode(seal(id, secret, CONTEXT, &plain))
    }

    /// Opens what was sealed here within ten minutes.
    pub(super) fn open(text: &str, secrets: &SecretRing, now: UnixMs) -> Option<Self> {
        let sealed = URL_SAFE_NO_PAD.decode(text).ok()?;
        let plain = open(|id| secrets.find(id), CONTEXT, &sealed).ok()?;
        let Sealed { leaving, at } = serde_json::from_slice(&plain).ok()?;
        (now.since(UnixMs::from_ms(at)) <= MAX_AGE).then_some(leaving)
    }
}

/// The answer to who has signed out, which makes the browser forget.
pub(super) fn left(frame: Frame, back: Option<&str>, onto: Onto) -> Response {
    let text: &'static Text = frame.text;
    let mut response = match (back, onto) {
        (Some(back), Onto::Redirect) => redirect(back),
        (Some(back), Onto::Page) => go_on(frame, back.to_owned()),
        (None, _) => {
            let (title, hint) = (text.signed_out, text.signed_out_hint);
            let page = Message { frame, title, hint, href: "/sign-in".to_owned(), action: text.sign_in };
            answer(StatusCode::OK, text, &page)
        }
    };
    response.headers_mut().append(SET_COOKIE, forget(SESSION_COOKIE));
    response.headers_mut().append(SET_COOKIE, keep(SIGNED_OUT_COOKIE, "1", SIGNED_OUT_S));
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{ClusterSecret, SecretId};

    #[test]
    fn what_was_sealed_opens_for_ten_minutes_with_the_secret_alone() {
        let ring = |byte| SecretRing::new(SecretId::default(), ClusterSecret::from_bytes([byte; 32]));
        let now = UnixMs::from_ms(1_700_000_000_000);
        let leaving =
            Leaving { of: Some(("a".to_owned(), "b".to_owned())), back: Some("https://app.example/".to_owned()) };
        let text = leaving.seal(&ring(1), now);
        assert_eq!(Leaving::open(&text, &ring(1), now.plus(MAX_AGE)), Some(leaving));
        assert_eq!(Leaving::open(&text, &ring(1), now.plus(MAX_AGE).plus(Millis::new(1))), None);
        assert_eq!(Leaving::open(&text, &ring(2), now), None);
        assert_eq!(Leaving::open("https://evil.example", &ring(1), now), None);
    }
}
