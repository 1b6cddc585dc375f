//! `POST /oauth/token`: a code becomes a handle and an ID token, once.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Request, State},
    http::HeaderValue,
    response::{IntoResponse, Response},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use hyper::header::CACHE_CONTROL;
use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::{
    hub::HubSession,
    store::{ClientKind, HubClient},
    time::{Millis, UnixMs},
    web::{
        authorization::{Authorization, ClientPair, basic_pair, client_pair},
        body::{FORM, read_body, require_type},
        params::Params,
        peer::Peer,
    },
};

use super::{
    code::{Code, Grant},
    refusal::Refusal,
    state::{OpenIdProvider, in_time},
};

/// How long an ID token is good: it says who has just signed in, and is of no use afterwards.
const ID_TOKEN: Millis = Millis::from_secs(600);

/// The answer (RFC 6749, 5.1; OpenID Connect Core, 3.1.3.3).
#[derive(Serialize)]
struct TokenAnswer<'a> {
    access_token: &'a str,
    token_type: &'static str,
    expires_in: u64,
    scope: &'a str,
    id_token: String,
}

/// An ID token's claims (OpenID Connect Core, 2).
#[derive(Serialize)]
struct IdToken<'a> {
    iss: &'a str,
    sub: String,
    aud: &'a str,
    iat: u64,
    exp: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    auth_time: Option<u64>,
    sid: String,
    at_hash: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    nonce: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    acr: Option<&'a str>,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    amr: &'a [String],
}

/// Redeems a code.
pub(super) async fn token(State(provider): State<Arc<OpenIdProvider>>, request: Request) -> Response {
    match in_time(redeem(&provider, request)).await {
        Ok(response) => response,
        Err(refusal) => refusal.into_response(),
    }
}

async fn redeem(provider: &OpenIdProvider, request: Request) -> Result<Response, Refusal> {
    let (parts, body) = request.into_parts();
    require_type(&parts.headers, FORM)
        .map_err(|_| Refusal::request("the body is of the type application/x-www-form-urlencoded"))?;
    let body = read_body(body).await?;
    let params = Params::parse(&body)?;
    let client = client(provider, &parts.headers, &params, parts.extensions.get::<Peer>())?;
    if params.find("grant_type") != Some("authorization_code") {
        return Err(Refusal::named("unsupported_grant_type", "grant_type is authorization_code"));
    }
    let text = params.find("code").ok_or(Refusal::request("code is missing"))?;
    let verifier = params.find("code_verifier").ok_or(Refusal::request("code_verifier is missing"))?;
    let now = provider.clock.wall();
    let opened = Code::open(text, &provider.engine.secrets(), now);
    let Code { grant, digest } = opened.ok_or(Refusal::grant("the code is not good, or older than a minute"))?;
    if grant.client_id != client.client_id {
        return Err(Refusal::grant("the code was given to another client"));
    }
    if params.find("redirect_uri") != Some(&grant.redirect_uri) {
        return Err(Refusal::grant("redirect_uri is not the one that the code was sent to"));
    }
    if !grant.is_verified_by(verifier) {
        return Err(Refusal::grant("code_verifier does not belong to the code_challenge"));
    }
    let redeemed = provider.sessions.redeem(&digest, &grant.session(), &client, &grant.scope).await?;
    let Some((handle, session)) = redeemed else {
        return Err(Refusal::grant("the code has been redeemed before, or its person has signed out"));
    };
    let id_token = id_token(provider, &client, &grant, &session, handle.expose(), now)?;
    let answer = TokenAnswer {
        access_token: handle.expose(),
        token_type: "Bearer",
        expires_in: session.absolute_end.since(now).as_secs(),
        scope: &grant.scope,
        id_token,
    };
    Ok(([(CACHE_CONTROL, HeaderValue::from_static("no-store"))], Json(answer)).into_response())
}

/// The client that asks: a confidential one by its secret, a public one by its name alone.
fn client(
    provider: &OpenIdProvider,
    headers: &hyper::HeaderMap,
    params: &Params<'_>,
    peer: Option<&Peer>,
) -> Result<Arc<HubClient>, Refusal> {
    let basic = match Authorization::of(headers).map_err(|_| Refusal::client())? {
        Authorization::Basic(encoded) => Some(basic_pair(encoded).ok_or(Refusal::client())?),
        Authorization::Bearer(_) => return Err(Refusal::client()),
        Authorization::Missing => None,
    };
    let shown = client_pair(&basic, params.find("client_id"), params.find("client_secret"));
    let proved = match shown.map_err(|_| Refusal::client())? {
        ClientPair::Secret(id, secret) => provider.clients.proven(id, secret),
        ClientPair::NameOnly(id) => provider.clients.find(id).filter(|client| client.kind == ClientKind::Public),
        ClientPair::Missing => None,
    };
    proved.ok_or_else(|| provider.wrong_client(peer))
}

fn id_token(
    provider: &OpenIdProvider,
    client: &HubClient,
    grant: &Grant,
    session: &HubSession,
    handle: &str,
    now: UnixMs,
) -> Result<String, Refusal> {
    let half = Sha256::digest(handle);
    let claims = IdToken {
        iss: provider.issuer.name(),
        sub: session.account.to_string(),
        aud: &client.client_id,
        iat: now.as_secs(),
        exp: now.plus(ID_TOKEN).as_secs(),
        auth_time: session.authentication.at().map(UnixMs::as_secs),
        sid: session.id.to_string(),
        at_hash: URL_SAFE_NO_PAD.encode(&half[..16]),
        nonce: grant.nonce.as_deref(),
        acr: session.authentication.acr(),
        amr: session.authentication.amr(),
    };
    provider.issuer.sign_id_token(&claims, now).map_err(|error| {
        tracing::error!(%error, "an ID token could not be signed");
        Refusal::unavailable()
    })
}
