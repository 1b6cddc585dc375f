//! Signing in and out: this service as a relying party of identity providers (OpenID Connect Core 1.0, code flow with PKCE).
//!
//! A sign-in under way is in a sealed cookie of the browser ([`flows`]): until somebody has proved to a provider who they are, nothing is
//! written. The secret of the hub session is new at each sign-in, and the session before it in that browser ends, whoever it was of.

pub(super) mod cookies;
mod device;
pub(super) mod flows;
pub(super) mod local_path;

use std::{net::IpAddr, sync::Arc};

use askama::Template;
use axum::{
    extract::{Query, Request, State, rejection::QueryRejection},
    http::{StatusCode, request::Parts as RequestParts},
    response::Response,
};
use hyper::header::{HOST, SET_COOKIE, USER_AGENT};
use serde::Deserialize;

use self::{
    cookies::{Cookies, forget, keep},
    flows::{Flow, MAX_AGE},
    local_path::LocalPath,
};
use super::{
    leaving::{Leaving, Onto, SIGNED_OUT_COOKIE, left},
    pages::{
        failure::Failure,
        forms::Form,
        frame::{Frame, answer, redirect},
        text::Text,
    },
    sessions::SignIn,
    state::{Hub, SESSION_COOKIE, Visitor},
};
use crate::{
    control::{
        acts::{ActError, Acts},
        hooks::events::Admission,
    },
    identity::{AuthError, AuthorizationRequest, Redemption},
    store::{Actor, ActorKind, DeviceText, Profile, Surface},
};

/// Characters of a `login_hint`.
const MAX_HINT: usize = 256;
/// Characters of a code.
const MAX_CODE: usize = 4096;

/// What `/sign-in` may be asked.
#[derive(Default, Deserialize)]
pub(super) struct Start {
    provider: Option<String>,
    next: Option<String>,
    prompt: Option<String>,
    login_hint: Option<String>,
}

/// What a provider answers (Core 3.1.2.5 and 3.1.2.6).
#[derive(Deserialize)]
pub(super) struct Answer {
    state: Option<String>,
    code: Option<String>,
    error: Option<String>,
    iss: Option<String>,
}

/// The page where people choose a provider.
#[derive(Template)]
#[template(path = "sign_in.html")]
struct ChoicePage {
    frame: Frame,
    choices: Vec<Choice>,
}

struct Choice {
    name: String,
    href: String,
}

/// `GET /sign-in`
pub(super) async fn start(
    State(hub): State<Arc<Hub>>,
    asked: Result<Query<Start>, QueryRejection>,
    request: Request,
) -> Response {
    let (request, _) = request.into_parts();
    let text = Text::of(&request.headers);
    let asked = asked.map_or_else(|_| Start::default(), |Query(asked)| asked);
    try_start(&hub, &asked, &request, text).await.unwrap_or_else(|failure| failure.page(text, hub.parts.is_development))
}

async fn try_start(hub: &Hub, asked: &Start, request: &RequestParts, text: &'static Text) -> Result<Response, Failure> {
    // The cookie of a sign-in is for the host that the provider sends the browser back to. Only on one machine can a browser
    // have come by another name of it: elsewhere a proxy may have put its own `Host`, and would be sent round in circles.
    let here = &hub.parts.public_url;
    if request.headers.get(HOST).is_some_and(|host| is_other_name(host.as_bytes(), here)) {
        let query = request.uri.query().map_or_else(String::new, |query| format!("?{query}"));
        return Ok(redirect(&format!("{here}/sign-in{query}")));
    }
    let next = asked.next.as_deref().and_then(LocalPath::parse).unwrap_or_else(LocalPath::account);
    let prompts = asked.prompt.as_deref() == Some("login");
    if !prompts && hub.visitor(&request.headers).await?.is_some() {
        return Ok(redirect(next.as_str()));
    }
    let options: Vec<_> = hub.parts.providers.sign_in_options().collect();
    let wanted = asked.provider.as_deref();
    let chosen = match (&options[..], wanted) {
        ([], _) => return Err(Failure::NoSignIn),
        ([only], None) => *only,
        (options, Some(wanted)) => {
            options.iter().copied().find(|option| option.issuer == wanted).ok_or(Failure::NotFound)?
        }
        (options, None) => {
            let choices = options.iter().map(|option| {
                let mut query = form_urlencoded::Serializer::new(String::new());
                query.append_pair("provider", option.issuer).append_pair("next", next.as_str());
                if prompts {
                    query.append_pair("prompt", "login");
                }
                Choice { name: option.name.to_owned(), href: format!("/sign-in?{}", query.finish()) }
            });
            let frame = hub.frame(text);
            return Ok(answer(StatusCode::OK, text, &ChoicePage { frame, choices: choices.collect() }));
        }
    };
    hub.parts.limits.sign_in(request.extensions.get())?;
    let now = hub.parts.clock.wall();
    let cookies = Cookies::of(&request.headers);
    let prompts = prompts || cookies.value(SIGNED_OUT_COOKIE).is_some();
    let flow = Flow::begin(&*hub.parts.entropy, chosen.issuer, next, now);
    let (state, nonce, challenge) = (flow.state(), flow.nonce(), flow.challenge());
    let hint = |hint: &&str| hint.chars().count() <= MAX_HINT && !hint.chars().any(char::is_control);
    let asked = AuthorizationRequest {
        redirect_uri: &redirect_uri(hub),
        state: &state,
        nonce: &nonce,
        challenge: &challenge,
        anew: prompts,
        login_hint: asked.login_hint.as_deref().filter(hint),
        ui_locales: text.lang,
    };
    let url = answered(&hub.parts.acts, hub.parts.providers.authorization_url(chosen.issuer, &asked)).await?;
    let mut response = redirect(&url);
    let (name, value) = hub.flows.cookie(&flow);
    response.headers_mut().append(SET_COOKIE, keep(&name, &value, MAX_AGE.as_secs()));
    for name in hub.flows.superfluous(&cookies, name.len() + value.len(), now) {
        response.headers_mut().append(SET_COOKIE, forget(&name));
    }
    Ok(response)
}

/// `GET /sign-in/callback`
pub(super) async fn callback(
    State(hub): State<Arc<Hub>>,
    answer: Result<Query<Answer>, QueryRejection>,
    request: Request,
) -> Response {
    let (request, _) = request.into_parts();
    let text = Text::of(&request.headers);
    let failed = |failure: Failure| failure.page(text, hub.parts.is_development);
    let Ok(Query(answer)) = answer else { return failed(Failure::Over) };
    let now = hub.parts.clock.wall();
    let cookies = Cookies::of(&request.headers);
    let flow = answer.state.as_deref().and_then(|state| hub.flows.of_answer(&cookies, state, now));
    let Some((flow, cookie)) = flow else {
        // Reloaded, or gone back to: whoever is signed in by now goes on.
        return match hub.visitor(&request.headers).await {
            Ok(Some(_)) => redirect("/account"),
            Ok(None) => failed(Failure::Over),
            Err(failure) => failed(failure),
        };
    };
    let mut response = match finish(&hub, &flow, &answer, &request).await {
        Ok(response) => response,
        // The provider may be asked again about the same answer.
        Err(failure @ (Failure::Unavailable | Failure::TooOften)) => return failed(failure),
        Err(failure) => failed(failure),
    };
    response.headers_mut().append(SET_COOKIE, forget(&cookie));
    response
}

async fn finish(hub: &Hub, flow: &Flow, answer: &Answer, request: &RequestParts) -> Result<Response, Failure> {
    hub.parts.limits.sign_in(request.extensions.get())?;
    if let Some(error) = &answer.error {
        tracing::debug!(issuer = flow.issuer, "a provider answered a sign-in with an error");
        return Err(match error.as_str() {
            "server_error" | "temporarily_unavailable" => Failure::ProviderDown,
            _ => Failure::Denied,
        });
    }
    // Known before the provider is asked: an account that cannot be read now is no reason to use up the code.
    let before = hub.visitor(&request.headers).await?;
    let code = answer.code.as_deref().filter(|code| code.len() <= MAX_CODE).ok_or(Failure::Refused)?;
    let (verifier, nonce) = (flow.verifier(), flow.nonce());
    let with = Redemption { code, verifier: &verifier, nonce: &nonce, redirect_uri: &redirect_uri(hub) };
    let now = hub.parts.clock.wall();
    let acts = hub.parts.acts.by(Actor::named(ActorKind::IdentityToken, flow.issuer.clone(), Surface::Http));
    let redeemed = hub.parts.providers.redeem(&flow.issuer, answer.iss.as_deref(), &with, now);
    let (somebody, how) = answered(&acts, redeemed).await?;
    let account = acts.in_time(acts.first_sight(&somebody)).await?;
    let agent = request.headers.get(USER_AGENT).and_then(|agent| agent.to_str().ok()).unwrap_or_default();
    let sign_in = SignIn {
        account,
        identity: somebody.identity.clone(),
        profile: Profile::from_claims(&how.claims),
        auth_time: how.auth_time,
        acr: how.acr,
        amr: how.amr,
        provider_sid: how.sid,
        device: DeviceText::new(&device::of(agent)),
    };
    let replaced = before.as_ref().map(|visitor: &Visitor| &visitor.secret);
    let (secret, session) = in_time(&acts, hub.parts.sessions.begin(sign_in, replaced)).await?;
    // The provider may have told meanwhile of something that outdates what has just been shown.
    if !matches!(acts.in_time(acts.admit(&somebody)).await?, Admission::Admitted(_)) {
        let _ = in_time(&acts, hub.parts.sessions.end(&account, &session.id)).await?;
        return Err(Failure::Denied);
    }
    let mut response = redirect(flow.next.as_str());
    let lives_s = session.absolute_end.since(now).as_secs();
    response.headers_mut().append(SET_COOKIE, keep(SESSION_COOKIE, secret.expose(), lives_s));
    response.headers_mut().append(SET_COOKIE, forget(SIGNED_OUT_COOKIE));
    Ok(response)
}

/// `POST /account/sign-out`
pub(super) async fn sign_out(State(hub): State<Arc<Hub>>, request: Request) -> Response {
    let form = match Form::read(&hub, request).await {
        Ok(form) => form,
        Err(page) => return page,
    };
    let Visitor { session, acts, .. } = &form.visitor;
    match in_time(acts, hub.parts.sessions.end(&session.account, &session.id)).await {
        Ok(_) => {
            let now = hub.parts.clock.wall();
            let leaving = Leaving::open(form.field("leaving"), &hub.parts.engine.secrets(), now);
            left(hub.frame(form.text), leaving.and_then(|leaving| leaving.back).as_deref(), Onto::Page)
        }
        Err(failure) => failure.page(form.text, hub.parts.is_development),
    }
}

/// Does something in the time that a request has.
pub(super) async fn in_time<T, E>(acts: &Acts, work: impl Future<Output = Result<T, E>>) -> Result<T, Failure>
where
    Failure: From<E>,
{
    acts.in_time(async { Ok::<_, ActError>(work.await) }).await?.map_err(Failure::from)
}

/// What a provider answers in the time that a request has.
async fn answered<T>(acts: &Acts, asked: impl Future<Output = Result<T, AuthError>>) -> Result<T, Failure> {
    let answered = acts.in_time(async { Ok::<_, ActError>(asked.await) }).await;
    answered.map_err(|_| Failure::ProviderDown)?.map_err(Failure::from)
}

fn redirect_uri(hub: &Hub) -> String {
    format!("{}/sign-in/callback", hub.parts.public_url)
}

/// Whether a `Host` is another name of this machine than the one of a URL.
fn is_other_name(host: &[u8], url: &str) -> bool {
    let authority = url.split_once("://").map_or("", |(_, rest)| rest.split('/').next().unwrap_or_default());
    let default = if url.starts_with("https://") { ":443" } else { ":80" };
    let bare = |authority: &[u8]| authority.strip_suffix(default.as_bytes()).unwrap_or(authority).to_ascii_lowercase();
    let (host, here) = (bare(host), bare(authority.as_bytes()));
    host != here && is_this_machine(&host) && is_this_machine(&here)
}

/// Whether a host, with or without a port, is a loopback address or `localhost`.
fn is_this_machine(authority: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(authority) else { return false };
    let is_port = |port: &str| port.bytes().all(|byte| byte.is_ascii_digit());
    let host = text.rsplit_once(':').filter(|(_, port)| is_port(port)).map_or(text, |(host, _)| host);
    let address = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
    host == "localhost" || address.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_browser_is_sent_to_the_name_of_this_machine_that_its_cookies_are_for_and_nowhere_else() {
        for (host, url, other) in [
            ("127.0.0.1:7080", "http://127.0.0.1:7080", false),
            ("localhost:7080", "http://127.0.0.1:7080", true),
            ("LOCALHOST:7080", "http://localhost:7080", false),
            ("[::1]:7080", "http://localhost:7080", true),
            ("localhost", "http://localhost:80", false),
            // nginx passes on the name of its upstream unless it is told otherwise.
            ("127.0.0.1:7080", "https://tank.example", false),
            ("backend", "https://tank.example", false),
            ("tank.example:443", "https://tank.example", false),
            ("tank.example", "http://localhost:7080", false),
            ("", "http://localhost:7080", false),
        ] {
            assert_eq!(is_other_name(host.as_bytes(), url), other, "{host} {url}");
        }
    }
}
