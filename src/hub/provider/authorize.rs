//! `GET /oauth/authorize`: a browser comes from a client, and goes back with a code. Nothing is written.
//!
//! Until the client and its redirect URI are known to be right, nobody is sent anywhere: what is wrong is told here, to the
//! person. From then on errors go to the redirect URI (RFC 6749, 4.1.2.1), each with `iss` (RFC 9207).

use std::sync::Arc;

use axum::{
    extract::{Request, State},
    http::{HeaderValue, request::Parts as RequestParts},
    response::{IntoResponse, Response},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use hyper::{
    StatusCode,
    header::{CACHE_CONTROL, LOCATION, REFERRER_POLICY},
};

use crate::{
    control::{
        http::AUTHORIZE,
        redirects,
        seal::{open, seal},
    },
    hub::{HubSession, sign_in::local_path::LocalPath},
    time::{Millis, UnixMs},
    web::{params::Params, problem::Problem},
};

use super::{
    code::{Grant, is_verifier},
    refusal::Refusal,
    state::{OpenIdProvider, SCOPES, in_time},
};

/// Characters of a nonce.
const MAX_NONCE: usize = 512;
/// Says when the person was asked to sign in anew; sealed, since it vouches for that.
const ASKED: &str = "gastank_asked";
const CONTEXT: &str = "gastank/asked/v1/";
/// How long after that it counts: as long as a sign-in may take, and a little for the ways.
const ANEW: Millis = Millis::from_secs(660);
/// By how much the clocks of two nodes may differ here.
const NODES_APART: Millis = Millis::from_secs(5);
/// By how much an identity provider's clock may differ from ours.
const PROVIDER_APART: Millis = Millis::from_secs(60);

/// A request of a client that is known, for an address of theirs.
struct AuthorizationRequest<'a> {
    params: Params<'a>,
    redirect_uri: String,
    state: Option<String>,
}

/// Sends a browser back with a code, or to sign in first.
pub(super) async fn authorize(State(provider): State<Arc<OpenIdProvider>>, request: Request) -> Response {
    let (parts, _) = request.into_parts();
    let query = parts.uri.query().unwrap_or_default().as_bytes();
    let (asked, client_id, may_tank) = match proven(&provider, query) {
        Ok(proven) => proven,
        Err(problem) => return problem.into_response(),
    };
    match in_time(decide(&provider, &parts, &asked, &client_id, may_tank)).await {
        Ok(location) => to(&location),
        Err(refusal) => {
            to(&asked.back(&provider, &[("error", refusal.error), ("error_description", refusal.description)]))
        }
    }
}

/// Makes sure of the client and of where it wants the browser back.
fn proven<'a>(provider: &OpenIdProvider, query: &'a [u8]) -> Result<(AuthorizationRequest<'a>, String, bool), Problem> {
    let params = Params::parse(query).map_err(|error| Problem::bad_request(error.to_string()))?;
    let unknown = || {
        Problem::bad_request(
            "no client is registered with this `client_id`: go back to the service that you came from; its operator registers \
             it with `gastank client add`",
        )
    };
    let client = params.find("client_id").and_then(|id| provider.clients.find(id)).ok_or_else(unknown)?;
    let wrong = || {
        Problem::bad_request(
            "`redirect_uri` is not exactly one that the client is registered with: go back to the service that you came from; \
             its operator registers it with `gastank client add`",
        )
    };
    let uri = params.find("redirect_uri").ok_or_else(wrong)?.to_owned();
    if !client.redirect_uris.iter().any(|registered| redirects::is_same(registered, &uri)) {
        return Err(wrong());
    }
    let state = params.find("state").map(ToOwned::to_owned);
    Ok((AuthorizationRequest { params, redirect_uri: uri, state }, client.client_id.clone(), client.tank))
}

/// Where the browser goes.
async fn decide(
    provider: &OpenIdProvider,
    request: &RequestParts,
    asked: &AuthorizationRequest<'_>,
    client_id: &str,
    may_tank: bool,
) -> Result<String, Refusal> {
    let params = &asked.params;
    let scope = scope_of(params, may_tank)?;
    let challenge = challenge_of(params)?;
    let nonce = params.find("nonce").map(ToOwned::to_owned);
    if nonce.as_ref().is_some_and(|nonce| nonce.len() > MAX_NONCE) {
        return Err(Refusal::request("nonce has at most 512 characters"));
    }
    let prompts: Vec<_> = params.find("prompt").unwrap_or_default().split(' ').filter(|one| !one.is_empty()).collect();
    let silent = prompts.contains(&"none");
    if silent && prompts.len() > 1 {
        return Err(Refusal::request("prompt=none stands alone"));
    }
    let now = provider.clock.wall();
    let max_age = match params.find("max_age").map(str::parse::<u64>) {
        None => None,
        Some(Ok(seconds)) => Some(Millis::from_secs(seconds)),
        Some(Err(_)) => return Err(Refusal::request("max_age is a number of seconds")),
    };
    let session = provider.signed_in(request).await?;
    let asked_at = params.find(ASKED).and_then(|text| asked_anew_at(provider, client_id, text, now));
    // What is not sealed by us, or too long ago, says no more than that they are to be asked. Where people choose their account, they
    // sign in anew.
    let wants_anew =
        prompts.iter().any(|one| matches!(*one, "login" | "select_account")) || params.find(ASKED).is_some();
    let suffices = |session: &HubSession| {
        let proved_at = session.authentication.at();
        let moment = asked_at.unwrap_or(now);
        max_age.is_none_or(|age| proved_at.is_some_and(|at| is_younger(at, age, moment)))
            && (!wants_anew || asked_at.is_some_and(|asked_at| has_begun_after(session, asked_at)))
    };
    match session {
        Some((session, secret)) if suffices(&session) => {
            let grant = Grant {
                client_id: client_id.to_owned(),
                redirect_uri: asked.redirect_uri.clone(),
                challenge,
                scope,
                nonce,
                ..Grant::new(secret.digest(), now)
            };
            Ok(asked.back(provider, &[("code", &grant.seal(&provider.engine.secrets()))]))
        }
        _ if silent => Err(Refusal::named("login_required", "nobody is signed in, or not lately enough")),
        // They have just been asked, and their identity provider did not ask them.
        Some(_) if asked_at.is_some() => {
            Err(Refusal::named("login_required", "the identity provider did not ask the person to sign in anew"))
        }
        session => {
            let anew = session.is_some() || wants_anew;
            let mut again = params.without(&["prompt", ASKED]);
            if anew {
                again.push_str(&format!("&{ASKED}={}", sealed_instant(provider, client_id, now)));
            }
            let next = LocalPath::parse(&format!("{AUTHORIZE}?{again}"));
            let next =
                next.ok_or(Refusal::request("the parameters are too long to be kept while a person signs in"))?;
            let mut query = form_urlencoded::Serializer::new(String::new());
            query.append_pair("next", next.as_str());
            if anew {
                query.append_pair("prompt", "login");
            }
            Ok(format!("{}/sign-in?{}", provider.public_url, query.finish()))
        }
    }
}

/// That a person is asked now to sign in anew for a client.
fn sealed_instant(provider: &OpenIdProvider, client_id: &str, now: UnixMs) -> String {
    let secrets = provider.engine.secrets();
    let (id, secret) = secrets.current();
    URL_SAFE_NO_PAD.encode(seal(id, secret, &format!("{CONTEXT}{client_id}"), &now.as_ms().to_be_bytes()))
}

/// When that was; `None` of what says no such thing, or says it of too long ago.
fn asked_anew_at(provider: &OpenIdProvider, client_id: &str, text: &str, now: UnixMs) -> Option<UnixMs> {
    let sealed = URL_SAFE_NO_PAD.decode(text).ok()?;
    let secrets = provider.engine.secrets();
    let plain = open(|id| secrets.find(id), &format!("{CONTEXT}{client_id}"), &sealed).ok()?;
    let at = UnixMs::from_ms(u64::from_be_bytes(plain.try_into().ok()?));
    (now.since(at) <= ANEW).then_some(at)
}

/// Whether a session began after an instant by a sign-in that the provider did not make of an older one.
fn has_begun_after(session: &HubSession, asked_at: UnixMs) -> bool {
    let proved_at = session.authentication.at();
    asked_at.since(session.created) <= NODES_APART
        && proved_at.is_none_or(|proved_at| asked_at.since(proved_at) <= PROVIDER_APART)
}

fn is_younger(authenticated: UnixMs, age: Millis, now: UnixMs) -> bool {
    // The provider tells whole seconds.
    now.since(authenticated) <= age.plus(Millis::from_secs(1))
}

fn scope_of(params: &Params<'_>, may_tank: bool) -> Result<String, Refusal> {
    if params.find("response_type") != Some("code") {
        return Err(Refusal::named("unsupported_response_type", "response_type is code"));
    }
    if params.find("response_mode").is_some_and(|mode| mode != "query") {
        return Err(Refusal::request("response_mode is query"));
    }
    if params.find("request").is_some() {
        return Err(Refusal::named("request_not_supported", "parameters come in the query"));
    }
    if params.find("request_uri").is_some() {
        return Err(Refusal::named("request_uri_not_supported", "parameters come in the query"));
    }
    let wanted: Vec<_> = params.find("scope").unwrap_or_default().split(' ').collect();
    if !wanted.contains(&"openid") {
        return Err(Refusal::named("invalid_scope", "scope has openid"));
    }
    if wanted.contains(&"tank") && !may_tank {
        return Err(Refusal::named("invalid_scope", "the client is not registered for the scope tank"));
    }
    // A scope that nobody knows is ignored (OpenID Connect Core, 3.1.2.1).
    let given = SCOPES.iter().copied().filter(|scope| wanted.contains(scope));
    Ok(given.collect::<Vec<_>>().join(" "))
}

fn challenge_of(params: &Params<'_>) -> Result<String, Refusal> {
    // Left out, the method is `plain` (RFC 7636, 4.3).
    if params.find("code_challenge_method") != Some("S256") {
        return Err(Refusal::request("code_challenge_method is S256"));
    }
    let challenge = params.find("code_challenge").filter(|challenge| challenge.len() == 43 && is_verifier(challenge));
    challenge
        .map(ToOwned::to_owned)
        .ok_or(Refusal::request("code_challenge is the SHA-256 of the verifier, in base64url"))
}

impl AuthorizationRequest<'_> {
    /// The redirect URI with these parameters, the client's `state` and `iss`.
    fn back(&self, provider: &OpenIdProvider, with: &[(&str, &str)]) -> String {
        let mut query = form_urlencoded::Serializer::new(String::new());
        query.extend_pairs(with);
        if let Some(state) = &self.state {
            query.append_pair("state", state);
        }
        query.append_pair("iss", provider.issuer.name());
        let joint = if self.redirect_uri.contains('?') { '&' } else { '?' };
        format!("{}{joint}{}", self.redirect_uri, query.finish())
    }
}

fn to(location: &str) -> Response {
    let Ok(location) = HeaderValue::from_str(location) else {
        return Problem::bad_request("the redirect URI cannot be sent to").into_response();
    };
    let headers = [
        (LOCATION, location),
        (CACHE_CONTROL, HeaderValue::from_static("no-store")),
        (REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    ];
    (StatusCode::SEE_OTHER, headers).into_response()
}
