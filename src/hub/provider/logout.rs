//! `/oauth/logout`: a client signs the person out of the hub (OpenID Connect RP-Initiated Logout 1.0).
//!
//! A session ends at once only for who shows an ID token of that very session; anybody else's request leads to a page that asks
//! the person. A form of a client comes without cookies (`SameSite=Lax`), and what it shows is not to be in an address: it is
//! answered with a page that goes on to the same endpoint, with what it has proved sealed.

use std::sync::Arc;

use askama::Template;
use axum::{
    extract::{Request, State},
    http::{StatusCode, request::Parts as RequestParts},
    response::Response,
};
use hyper::Method;

use crate::{
    control::{acts::ACT_TIMEOUT, http::LOGOUT, redirects},
    deadline::{Late, within},
    hub::{
        leaving::{Leaving, Onto, left},
        pages::{
            failure::Failure,
            forms::csrf_of,
            frame::{Frame, Here, answer, go_on},
            text::Text,
        },
    },
    web::{
        body::{FORM, has_type, read_body},
        params::Params,
    },
};

use super::state::OpenIdProvider;

/// What a form has proved, sealed.
const PROVED: &str = "gastank_proved";
/// Bytes of a client's `state`.
const MAX_STATE: usize = 1024;

/// The page that asks whether to sign out.
#[derive(Template)]
#[template(path = "sign_out.html")]
struct Page {
    frame: Frame,
    csrf: String,
    leaving: String,
}

/// Signs somebody out, or asks them.
pub(super) async fn logout(State(provider): State<Arc<OpenIdProvider>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let text = Text::of(&parts.headers);
    let work = async {
        // A hint that was made up costs a look at its signature.
        provider.limits.request(parts.extensions.get())?;
        if parts.method != Method::POST {
            return provider.sign_out(&parts, text).await;
        }
        if !has_type(&parts.headers, FORM) {
            return Err(Failure::Forged);
        }
        let body = read_body(body).await?;
        let proved = provider.leaving(&body).seal(&provider.engine.secrets(), provider.clock.wall());
        let frame = Frame::anonymous(text, provider.is_development);
        Ok(go_on(frame, format!("{LOGOUT}?{PROVED}={proved}")))
    };
    let answered = within(ACT_TIMEOUT, work).await.unwrap_or_else(|Late| Err(Failure::Unavailable));
    answered.unwrap_or_else(|failure| failure.page(text, provider.is_development))
}

impl OpenIdProvider {
    async fn sign_out(&self, request: &RequestParts, text: &'static Text) -> Result<Response, Failure> {
        let leaving = self.leaving(request.uri.query().unwrap_or_default().as_bytes());
        let frame = Frame::anonymous(text, self.is_development);
        let Some((session, secret)) = self.signed_in(request).await? else {
            return Ok(left(frame, leaving.back.as_deref(), Onto::Redirect));
        };
        if leaving.is_of(&session) {
            // Ended meanwhile is ended too.
            let _ = self.sessions.end(&session.account, &session.id).await?;
            return Ok(left(frame, leaving.back.as_deref(), Onto::Redirect));
        }
        let csrf = csrf_of(&secret);
        let frame = frame.signed_in(session.shown_name().to_owned(), csrf.clone(), Here::Elsewhere);
        // What was shown is of another session: it proves nothing of this one.
        let leaving = Leaving { of: None, ..leaving }.seal(&self.engine.secrets(), self.clock.wall());
        Ok(answer(StatusCode::OK, text, &Page { frame, csrf, leaving }))
    }

    /// What a client has proved by its parameters, and where it may have the browser back. What does not fit counts as not
    /// given: nobody is sent to an address that is not exactly one of the client's, and the person is asked.
    fn leaving(&self, encoded: &[u8]) -> Leaving {
        let Ok(params) = Params::parse(encoded) else { return Leaving::default() };
        if let Some(proved) = params.find(PROVED) {
            return Leaving::open(proved, &self.engine.secrets(), self.clock.wall()).unwrap_or_default();
        }
        let named = params.find("client_id");
        let hint = params.find("id_token_hint").and_then(|token| self.issuer.own_id_token(token));
        let hint = hint.filter(|hint| named.is_none_or(|named| named == hint.aud));
        let client = hint.as_ref().map(|hint| hint.aud.as_str()).or(named).and_then(|id| self.clients.find(id));
        let Some(client) = client else { return Leaving::default() };
        let wanted = params.find("post_logout_redirect_uri");
        let is_known = |uri: &&str| client.post_logout_redirect_uris.iter().any(|known| redirects::is_same(known, uri));
        let state = params.find("state").filter(|state| state.len() <= MAX_STATE);
        Leaving {
            of: hint.map(|hint| (hint.sub, hint.sid)),
            back: wanted.filter(is_known).map(|uri| match state {
                None => uri.to_owned(),
                Some(state) => {
                    let state = form_urlencoded::Serializer::new(String::new()).append_pair("state", state).finish();
                    format!("{uri}{}{state}", if uri.contains('?') { '&' } else { '?' })
                }
            }),
        }
    }
}
