//! The development provider: an OpenID provider inside the program that signs anybody in by the name they type.
//!
//! It is for one machine: the configuration refuses it wherever a listener or the public URL is not on the loopback interface. It says
//! what it is on each of its pages and in the log. It answers no request that came through a proxy or under another name than this
//! machine's, so that neither a forgotten proxy nor a rebound DNS name opens it.
//!
//! It speaks the same protocol as every other provider (code flow, S256, ID tokens, userinfo), and the service signs people in with
//! it in the same way.

mod codes;

use std::sync::Arc;

use askama::Template;
use axum::{
    Json, Router,
    extract::{Query, Request, State, rejection::QueryRejection},
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use hyper::header::HOST;
use serde::{Deserialize, Serialize};
use serde_json::json;
use sha2::{Digest, Sha256};

use self::codes::{Codes, Grant};
use super::pages::{
    failure::Failure,
    forms::is_same_origin,
    frame::{Frame, answer, go_on, redirect},
    text::Text,
};
use crate::{
    control::keys::{Algorithm, KeyError, SigningKey},
    engine::Credit,
    entropy::{Entropy, draw},
    identity::{ProviderSettings, RelyingSettings, verify},
    time::{Clock, Millis, UnixMs},
    web::{
        authorization::Authorization,
        body::{FORM, has_type, read_body},
    },
};

/// Where it is, below the public URL.
const PATH: &str = "/development";
/// The client id of the service itself.
const CLIENT: &str = "gastank";
/// What it is called.
const NAME: &str = "Development";
/// Characters of a name.
const MAX_NAME: usize = 64;
/// How long its ID tokens live.
const TOKEN_LIFE: Millis = Millis::from_secs(300);

/// The provider.
pub struct Development {
    public_url: String,
    key: SigningKey,
    codes: Codes,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
}

/// What a client asks for (Core 3.1.2.1).
#[derive(Clone, Debug, Deserialize)]
struct AuthorizationQuery {
    response_type: Option<String>,
    client_id: Option<String>,
    redirect_uri: Option<String>,
    scope: Option<String>,
    state: Option<String>,
    nonce: Option<String>,
    code_challenge: Option<String>,
    code_challenge_method: Option<String>,
    prompt: Option<String>,
    login_hint: Option<String>,
}

/// The page that asks for a name.
#[derive(Template)]
#[template(path = "development.html")]
struct Page {
    frame: Frame,
    request: String,
    name: String,
}

#[derive(Serialize)]
struct IdToken<'a> {
    iss: String,
    sub: &'a str,
    aud: &'static str,
    exp: u64,
    iat: u64,
    auth_time: u64,
    amr: [&'static str; 1],
    #[serde(skip_serializing_if = "Option::is_none")]
    nonce: Option<&'a str>,
}

impl Development {
    /// A provider below `public_url`.
    ///
    /// # Errors
    ///
    /// [`KeyError`] when no key can be made.
    pub fn new(public_url: String, clock: Arc<dyn Clock>, entropy: Arc<dyn Entropy>) -> Result<Self, KeyError> {
        let (key, _) = SigningKey::generate(Algorithm::ES256)?;
        let codes = Codes::new();
        tracing::warn!("the development provider is on: anybody who reaches this machine signs in as anybody");
        Ok(Self { public_url, key, codes, clock, entropy })
    }

    /// What it is configured as. A new account of its people begins with `starting_credit`.
    pub fn settings(&self, starting_credit: Credit) -> ProviderSettings {
        ProviderSettings {
            issuer: self.issuer(),
            audience: CLIENT.to_owned(),
            audience_claim: verify::AudienceClaim::Audience,
            scope: String::new(),
            algorithms: vec![verify::Algorithm::ES256],
            // Its tokens open the pages, and nothing else: none is of this type.
            types: vec![verify::TokenType::AccessToken],
            jwks_uri: None,
            verify_url: None,
            leeway: Millis::from_secs(60),
            starting_credit,
            events: None,
            gives: Vec::new(),
            relying: Some(RelyingSettings {
                name: NAME.to_owned(),
                client_id: CLIENT.to_owned(),
                client_secret_file: None,
                scope: "openid profile".to_owned(),
            }),
        }
    }

    /// Its issuer, as in its tokens.
    pub fn issuer(&self) -> String {
        format!("{}{PATH}", self.public_url)
    }

    /// What it calls the person of this name: the same name is the same person.
    pub fn subject_of(name: &str) -> Option<String> {
        let name = name.trim();
        let fits = (1..=MAX_NAME).contains(&name.chars().count()) && !name.chars().any(char::is_control);
        fits.then(|| name.to_lowercase())
    }

    /// Whether a request comes from this machine and not through a proxy.
    fn is_direct(&self, headers: &HeaderMap) -> bool {
        let proxied = ["forwarded", "x-forwarded-for", "x-forwarded-host", "x-real-ip", "via"];
        let host = headers.get(HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
        let name = host.rsplit_once(':').map_or(host, |(name, port)| if port.ends_with(']') { host } else { name });
        let ip = name.trim_start_matches('[').trim_end_matches(']').parse::<std::net::IpAddr>();
        let local = name.eq_ignore_ascii_case("localhost") || ip.is_ok_and(|ip| ip.is_loopback());
        local && !proxied.iter().any(|name| headers.contains_key(*name))
    }

    /// Whether a request is one of the service itself, with everything that it sends.
    fn fits(&self, asked: &AuthorizationQuery) -> bool {
        let is = |value: &Option<String>, wanted: &str| value.as_deref() == Some(wanted);
        is(&asked.response_type, "code")
            && is(&asked.client_id, CLIENT)
            && is(&asked.redirect_uri, &self.redirect_uri())
            && is(&asked.code_challenge_method, "S256")
            && asked.scope.as_deref().is_some_and(|scope| scope.split(' ').any(|one| one == "openid"))
            && asked.code_challenge.as_deref().is_some_and(|challenge| challenge.len() == 43)
            && asked.state.is_some()
    }

    fn redirect_uri(&self) -> String {
        format!("{}/sign-in/callback", self.public_url)
    }

    /// Where the browser goes back to with these parameters.
    fn callback(&self, asked: &AuthorizationQuery, parameters: &[(&str, &str)]) -> String {
        let mut query = form_urlencoded::Serializer::new(String::new());
        query.extend_pairs(parameters);
        query.append_pair("state", asked.state.as_deref().unwrap_or_default()).append_pair("iss", &self.issuer());
        format!("{}?{}", self.redirect_uri(), query.finish())
    }

    fn id_token(&self, grant: &Grant, now: UnixMs) -> Result<String, KeyError> {
        let claims = IdToken {
            iss: self.issuer(),
            sub: &grant.subject,
            aud: CLIENT,
            exp: now.plus(TOKEN_LIFE).as_secs(),
            iat: now.as_secs(),
            auth_time: now.as_secs(),
            amr: ["none"],
            nonce: grant.nonce.as_deref(),
        };
        let part = |json: &[u8]| URL_SAFE_NO_PAD.encode(json);
        let header = json!({"alg": "ES256", "typ": "JWT", "kid": self.key.kid()}).to_string();
        let claims = serde_json::to_vec(&claims).expect("texts and numbers are JSON");
        let message = format!("{}.{}", part(header.as_bytes()), part(&claims));
        let signature = self.key.sign(message.as_bytes())?;
        Ok(format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }
}

/// The routes of the provider.
pub(super) fn router<S: Clone + Send + Sync + 'static>(provider: Arc<Development>) -> Router<S> {
    Router::new()
        .route("/development/.well-known/openid-configuration", get(metadata))
        .route("/development/jwks", get(jwks))
        .route("/development/authorize", get(authorize).post(decide))
        .route("/development/token", post(token))
        .route("/development/userinfo", get(userinfo))
        .with_state(provider)
}

async fn metadata(State(provider): State<Arc<Development>>) -> Response {
    let at = |path: &str| format!("{}/{path}", provider.issuer());
    Json(json!({
        "issuer": provider.issuer(),
        "authorization_endpoint": at("authorize"),
        "token_endpoint": at("token"),
        "userinfo_endpoint": at("userinfo"),
        "jwks_uri": at("jwks"),
        "response_types_supported": ["code"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["ES256"],
        "token_endpoint_auth_methods_supported": ["none"],
        "code_challenge_methods_supported": ["S256"],
        "prompt_values_supported": ["none", "login"],
        "authorization_response_iss_parameter_supported": true,
    }))
    .into_response()
}

async fn jwks(State(provider): State<Arc<Development>>) -> Response {
    Json(json!({"keys": [provider.key.public()]})).into_response()
}

async fn authorize(
    State(provider): State<Arc<Development>>,
    asked: Result<Query<AuthorizationQuery>, QueryRejection>,
    request: Request,
) -> Response {
    let text = Text::of(request.headers());
    let asked = asked.ok().map(|Query(asked)| asked).filter(|asked| provider.fits(asked));
    // Nobody is sent on to an address that is not the service's own.
    let Some(asked) = asked.filter(|_| provider.is_direct(request.headers())) else {
        return Failure::Refused.page(text, true);
    };
    if asked.prompt.as_deref().is_some_and(|prompt| prompt.split(' ').any(|one| one == "none")) {
        return redirect(&provider.callback(&asked, &[("error", "login_required")]));
    }
    let page = Page {
        frame: Frame::anonymous(text, true),
        request: request.uri().query().unwrap_or_default().to_owned(),
        name: asked.login_hint.clone().unwrap_or_default(),
    };
    answer(StatusCode::OK, text, &page)
}

/// Somebody has typed a name.
async fn decide(State(provider): State<Arc<Development>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let text = Text::of(&parts.headers);
    let ours = is_same_origin(&parts.headers) && provider.is_direct(&parts.headers);
    if !ours || !has_type(&parts.headers, FORM) {
        return Failure::Forged.page(text, true);
    }
    let body = match read_body(body).await {
        Ok(body) => body,
        Err(problem) => return Failure::from(problem).page(text, true),
    };
    let field = |wanted: &str| {
        form_urlencoded::parse(&body).find(|(name, _)| name == wanted).map(|(_, value)| value.into_owned())
    };
    let asked = field("request").and_then(|query| asked_of(&query)).filter(|asked| provider.fits(asked));
    let Some(asked) = asked else { return Failure::Refused.page(text, true) };
    let name = field("name").unwrap_or_default();
    let on = |parameters: &[(&str, &str)]| go_on(Frame::anonymous(text, true), provider.callback(&asked, parameters));
    let Some(subject) = Development::subject_of(&name) else { return on(&[("error", "access_denied")]) };
    let code = URL_SAFE_NO_PAD.encode(draw::<32>(&*provider.entropy));
    let grant = Grant {
        subject,
        name: name.trim().to_owned(),
        nonce: asked.nonce.clone(),
        challenge: asked.code_challenge.clone().unwrap_or_default(),
    };
    provider.codes.keep(&format!("code/{code}"), grant, provider.clock.now());
    on(&[("code", &code)])
}

async fn token(State(provider): State<Arc<Development>>, request: Request) -> Response {
    let refused = |error: &str| (StatusCode::BAD_REQUEST, Json(json!({"error": error}))).into_response();
    let (parts, body) = request.into_parts();
    let Ok(body) = read_body(body).await else { return refused("invalid_request") };
    if !has_type(&parts.headers, FORM) || !provider.is_direct(&parts.headers) {
        return refused("invalid_request");
    }
    let field = |wanted: &str| {
        let value = form_urlencoded::parse(&body).find(|(name, _)| name == wanted).map(|(_, value)| value.into_owned());
        value.unwrap_or_default()
    };
    if field("grant_type") != "authorization_code" {
        return refused("unsupported_grant_type");
    }
    let now = provider.clock.now();
    let grant = provider.codes.take(&format!("code/{}", field("code")), now).filter(|grant| {
        let challenge = URL_SAFE_NO_PAD.encode(Sha256::digest(field("code_verifier")));
        grant.challenge == challenge && field("redirect_uri") == provider.redirect_uri() && field("client_id") == CLIENT
    });
    let Some(grant) = grant else { return refused("invalid_grant") };
    let Ok(id_token) = provider.id_token(&grant, provider.clock.wall()) else {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    };
    let access_token = URL_SAFE_NO_PAD.encode(draw::<32>(&*provider.entropy));
    provider.codes.keep(&format!("token/{access_token}"), grant, now);
    let tokens = json!({"id_token": id_token, "access_token": access_token, "token_type": "Bearer", "expires_in": 60});
    Json(tokens).into_response()
}

async fn userinfo(State(provider): State<Arc<Development>>, headers: HeaderMap) -> Response {
    let token = Authorization::bearer(&headers).ok();
    let grant = token.and_then(|token| provider.codes.take(&format!("token/{token}"), provider.clock.now()));
    match grant {
        Some(grant) => Json(json!({"sub": grant.subject, "name": grant.name})).into_response(),
        None => (StatusCode::UNAUTHORIZED, Json(json!({"error": "invalid_token"}))).into_response(),
    }
}

/// What a query asks for.
fn asked_of(query: &str) -> Option<AuthorizationQuery> {
    let uri = axum::http::Uri::builder().path_and_query(format!("/?{query}")).build().ok()?;
    Query::try_from_uri(&uri).ok().map(|Query(asked)| asked)
}

#[cfg(test)]
mod tests;
