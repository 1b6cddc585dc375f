//! What clients ask: activation, renewal, deactivation, the account and its ledger.

use std::sync::Arc;

use axum::{
    Json as Answer,
    extract::{Request, State},
    http::HeaderValue,
    response::IntoResponse,
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use hyper::header::CACHE_CONTROL;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    control::{
        acts::{Activation, Acts},
        edges::EdgeRegistry,
    },
    engine::{ActivationName, Engine, Policy, parse_session, session_text},
    store::{Actor, Store},
    time::Clock,
    web::{
        admission::Trust,
        authorization::Authorization,
        body::{read_body, require_type},
        extract::{Page, idempotency_key},
        problem::{Code as ErrorCode, Problem},
    },
    wire::{EndReason, FRAME_LEN},
};

use super::{
    callers::{TankRequest, TankUser},
    checks::Checks,
    instruments::{Activated, Instruments},
    problem::for_owner,
    refusals::{ActErrors, DeactivateErrors, OwnerErrors, RenewErrors},
    shapes::{AccountShape, Entries, Remaining},
    state::Settings,
};

/// What a client may ask of an activation.
#[derive(Debug, Default, Deserialize, ToSchema)]
pub(super) struct ActivateRequest {
    /// The edge that the token is to be for. Absent: the one that is configured.
    audience: Option<String>,
}

/// An open session.
#[derive(Serialize, ToSchema)]
pub(super) struct ActivateAnswer {
    /// The token, to be shown to the edge.
    token: String,
    /// Always `Bearer`.
    #[schema(value_type = String, example = "Bearer")]
    token_type: &'static str,
    /// How long the token lives, in seconds.
    expires_in_s: u64,
    /// The session's id, 16 bytes in base64url.
    session_id: String,
    /// The key that signs heartbeats, 32 bytes in base64url.
    heartbeat_key: String,
    /// Meter time at the activation, in milliseconds.
    meter_ms: u64,
    /// What is left to burn, in seconds.
    remaining_s: u64,
    /// How to beat.
    heartbeat: HeartbeatAdvice,
    /// Whether another session ended for this one.
    superseded: bool,
}

/// What a client may ask of a deactivation.
#[derive(Debug, Default, Deserialize, ToSchema)]
pub(super) struct DeactivateRequest {
    /// The session that is to end, if it is the one that is open. Absent: whichever is open.
    #[schema(pattern = "^[A-Za-z0-9_-]{21}[AQgw]$")]
    session_id: Option<String>,
}

/// Where and how often to beat.
#[derive(Serialize, ToSchema)]
pub(super) struct HeartbeatAdvice {
    /// How far apart heartbeats are to be, in milliseconds; every ack says it anew.
    interval_ms: u64,
    /// How long after its last heartbeat a session times out, in milliseconds.
    timeout_ms: u64,
    /// Where to `POST` heartbeats.
    #[schema(example = "https://tank.example.org/v1/heartbeat")]
    http: String,
    /// Host and port to send datagrams to, if there is such a listener.
    #[serde(skip_serializing_if = "Option::is_none")]
    udp: Option<String>,
    /// Host and port of the QUIC listener, if there is one: ALPN `gastank/1`, or `h3`.
    #[serde(skip_serializing_if = "Option::is_none")]
    quic: Option<String>,
    /// Where to open WebTransport sessions, if that is possible.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "https://tank.example.org:7443/v1/webtransport")]
    webtransport: Option<String>,
    /// SHA-256 of the certificates to trust by their hash, in base64url, where the service's own are self-signed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    cert_hashes: Vec<String>,
}

/// A fresh token.
#[derive(Serialize, ToSchema)]
pub(super) struct RenewAnswer {
    /// The token. The one before it is dead.
    token: String,
    /// How long it lives, in seconds.
    expires_in_s: u64,
    /// What is left to burn, in seconds.
    remaining_s: u64,
}

/// Opens the tap: a token, and a key for heartbeats. The account's open session ends for it, if there is one.
#[utoipa::path(
    post, path = "/v1/activate", tag = "clients", security(("identity_token" = []), ("account_key" = []), ("handle" = [])),
    params(("Idempotency-Key" = Option<String>, Header, description = "The activation's name, 1 to 128 visible ASCII \
        characters: repeated while its session is open, it answers that session with another token.")),
    request_body = Option<ActivateRequest>,
    responses((status = 200, description = "A session is open.", body = ActivateAnswer), ActErrors),
)]
pub(super) async fn activate(
    State(instruments): State<Arc<dyn Instruments>>,
    State(settings): State<Arc<Settings>>,
    State(edges): State<Arc<EdgeRegistry>>,
    State(store): State<Arc<dyn Store>>,
    State(engine): State<Arc<Engine>>,
    asked: Result<TankRequest, Problem>,
) -> Result<impl IntoResponse, Problem> {
    let activated = async { try_activate(&settings, &edges, &*store, asked?).await };
    let activation = match activated.await {
        Ok(activation) => activation,
        Err(problem) => {
            instruments.activated(Activated::Refused(problem.code()));
            return Err(problem);
        }
    };
    instruments.activated(if activation.superseded { Activated::Superseding } else { Activated::Opened });
    Ok((NO_STORE, Answer(ActivateAnswer::of(&settings, engine.policy(), activation))))
}

async fn try_activate(
    settings: &Settings,
    edges: &EdgeRegistry,
    store: &dyn Store,
    asked: TankRequest,
) -> Result<Activation, Problem> {
    let name = idempotency_key(asked.headers())?.map(ActivationName::of);
    let (user, asked) = asked.json::<Option<ActivateRequest>>().await?;
    let audience = asked.as_ref().and_then(|asked| asked.audience.as_deref()).unwrap_or(&settings.audience);
    if audience != settings.audience && !edges.know_audience(audience) {
        return Err(Problem::because(ErrorCode::UnknownAudience, "no edge and no configuration names this audience"));
    }
    let activation = user.acts.activate_named(&user.account, audience, name).await.map_err(for_owner)?;
    user.confirm(store, &activation.session).await?;
    Ok(activation)
}

impl ActivateAnswer {
    fn of(settings: &Settings, policy: &Policy, activation: Activation) -> Self {
        Self {
            token: activation.token.text,
            token_type: "Bearer",
            expires_in_s: activation.token.expires_in.as_secs(),
            session_id: session_text(&activation.session),
            heartbeat_key: URL_SAFE_NO_PAD.encode(activation.key.expose_bytes()),
            meter_ms: activation.now.as_ms(),
            remaining_s: activation.remaining.as_secs(),
            heartbeat: HeartbeatAdvice {
                interval_ms: policy.interval.get(),
                timeout_ms: policy.timeout.get(),
                http: format!("{}/v1/heartbeat", settings.http_url),
                udp: settings.udp.clone(),
                quic: settings.quic.clone(),
                webtransport: settings.webtransport.clone(),
                cert_hashes: settings.certificates.as_ref().map_or_else(Vec::new, |certificates| {
                    certificates.hashes().iter().map(|hash| URL_SAFE_NO_PAD.encode(hash.0)).collect()
                }),
            },
            superseded: activation.superseded,
        }
    }
}

/// Gives the current session a fresh token. Asked with its token and a frame of kind 3; never takes an activation away.
#[utoipa::path(
    post, path = "/v1/renew", tag = "clients", security(("session_token" = [])),
    request_body(content = Vec<u8>, content_type = "application/octet-stream", description = "A frame of kind 3, 48 bytes."),
    responses((status = 200, description = "The session has another token.", body = RenewAnswer), RenewErrors),
)]
pub(super) async fn renew(
    State(instruments): State<Arc<dyn Instruments>>,
    State(checks): State<Arc<Checks>>,
    State(engine): State<Arc<Engine>>,
    State(clock): State<Arc<dyn Clock>>,
    State(acts): State<Arc<Acts>>,
    request: Request,
) -> Result<impl IntoResponse, Problem> {
    let renewed = try_renew(&checks, &engine, &*clock, &acts, request).await;
    instruments.renewed(renewed.as_ref().err().map(|problem| problem.code()));
    Ok((NO_STORE, Answer(renewed?)))
}

/// Who asks is proved by the frame, which is the body.
async fn try_renew(
    checks: &Checks,
    engine: &Engine,
    clock: &dyn Clock,
    acts: &Acts,
    request: Request,
) -> Result<RenewAnswer, Problem> {
    let (parts, body) = request.into_parts();
    checks.warm()?;
    checks.limit_address(&parts)?;
    let token = Authorization::bearer(&parts.headers)?;
    require_type(&parts.headers, "application/octet-stream")?;
    let frame = read_body(body).await?;
    // Only who holds the session's key can use up its limit.
    let (session, _) = engine.renewal(&frame, clock.now()).map_err(|_| {
        Problem::because(ErrorCode::BadFrame, format!("the body is not a signed frame of kind 3, {FRAME_LEN} bytes"))
    })?;
    checks.limit_account(session.as_bytes())?;
    checks.prove(&parts, Trust::Client);
    let renewal = acts.by(Actor::session()).renew(token, &frame).await.map_err(for_owner)?;
    Ok(RenewAnswer {
        token: renewal.token.text,
        expires_in_s: renewal.token.expires_in.as_secs(),
        remaining_s: renewal.remaining.as_secs(),
    })
}

/// Closes the tap. Where nothing is open, or another session than the one that is named, nothing happens.
#[utoipa::path(
    post, path = "/v1/deactivate", tag = "clients", security(("identity_token" = []), ("account_key" = []), ("handle" = [])),
    request_body = Option<DeactivateRequest>,
    responses((status = 200, description = "It is not open.", body = Remaining), DeactivateErrors),
)]
pub(super) async fn deactivate(asked: TankRequest) -> Result<Answer<Remaining>, Problem> {
    let (user, asked) = asked.json::<Option<DeactivateRequest>>().await?;
    let only = match asked.and_then(|asked| asked.session_id) {
        Some(text) => {
            Some(parse_session(&text).ok_or_else(|| Problem::bad_request("`session_id` is no session's id"))?)
        }
        None => None,
    };
    let ended = user.acts.end_only(&user.account, EndReason::Deactivated, only).await;
    Ok(Answer(ended.map_err(for_owner)?.into()))
}

/// The caller's account.
#[utoipa::path(
    get, path = "/v1/account", tag = "clients", security(("identity_token" = []), ("account_key" = []), ("handle" = [])),
    responses((status = 200, description = "The account.", body = AccountShape), OwnerErrors),
)]
pub(super) async fn account(State(engine): State<Arc<Engine>>, user: TankUser) -> Result<impl IntoResponse, Problem> {
    let view = user.acts.view(&user.account).await.map_err(for_owner)?;
    Ok((NO_STORE, Answer(AccountShape::of(&view, engine.policy().timeout))))
}

/// The caller's ledger, newest last.
#[utoipa::path(
    get, path = "/v1/account/entries", tag = "clients", security(("identity_token" = []), ("account_key" = []), ("handle" = [])),
    params(
        ("after" = Option<u64>, Query, description = "From after this entry's number on."),
        ("limit" = Option<u16>, Query, minimum = 1, maximum = 1000, description = "So many entries, 1 to 1000; 100 by default."),
    ),
    responses((status = 200, description = "A page of the ledger.", body = Entries), OwnerErrors),
)]
pub(super) async fn entries(
    State(store): State<Arc<dyn Store>>,
    page: Page<u64>,
    user: TankUser,
) -> Result<impl IntoResponse, Problem> {
    Ok((NO_STORE, Answer(Entries::page(&*store, &user.account, &page).await?)))
}

const NO_STORE: [(hyper::header::HeaderName, HeaderValue); 1] = [(CACHE_CONTROL, HeaderValue::from_static("no-store"))];
