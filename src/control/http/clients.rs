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
    control::acts::Activation,
    engine::{AccountId, ActivationName, parse_session, session_text},
    store::Actor,
    web::admission::Trust,
    wire::{EndReason, FRAME_LEN},
};

use super::{
    Shared, SharedState,
    auth::{Authorization, Owner},
    extract::{Json, Page, idempotency_key, read_body, require_type},
    instruments::Activated,
    openapi::{ActErrors, DeactivateErrors, OwnerErrors, RenewErrors},
    problem::{ErrorCode, Problem, for_owner},
    shapes::{AccountShape, Entries, Remaining},
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
    post, path = "/v1/activate", tag = "clients", security(("identity_token" = []), ("account_key" = [])),
    params(("Idempotency-Key" = Option<String>, Header, description = "The activation's name, 1 to 128 visible ASCII \
        characters: repeated while its session is open, it answers that session with another token.")),
    request_body = Option<ActivateRequest>,
    responses((status = 200, description = "A session is open.", body = ActivateAnswer), ActErrors),
)]
pub(super) async fn activate(State(shared): SharedState, request: Request) -> Result<impl IntoResponse, Problem> {
    let activated = match try_activate(&shared, request).await {
        Ok(activation) => {
            let outcome = if activation.superseded { Activated::Superseding } else { Activated::Opened };
            shared.instruments.activated(outcome);
            activation
        }
        Err(problem) => {
            shared.instruments.activated(Activated::Refused(problem.code()));
            return Err(problem);
        }
    };
    Ok((NO_STORE, Answer(ActivateAnswer::of(&shared, activated))))
}

async fn try_activate(shared: &Arc<Shared>, request: Request) -> Result<Activation, Problem> {
    let (request, owner) = authenticated(shared, request).await?;
    let name = idempotency_key(request.headers())?.map(ActivationName::of);
    let Json(asked) =
        <Json<Option<ActivateRequest>> as axum::extract::FromRequest<_>>::from_request(request, shared).await?;
    let audience = asked.as_ref().and_then(|asked| asked.audience.as_deref()).unwrap_or(&shared.settings.audience);
    if audience != shared.settings.audience && !shared.edges.know_audience(audience) {
        return Err(Problem::because(ErrorCode::UnknownAudience, "no edge and no configuration names this audience"));
    }
    let activation = owner.acts.activate_named(&owner.account, audience, name).await.map_err(for_owner)?;
    shared.confirm(&owner, &activation.session).await?;
    Ok(activation)
}

impl ActivateAnswer {
    fn of(shared: &Shared, activation: Activation) -> Self {
        let policy = shared.engine.policy();
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
                http: format!("{}/v1/heartbeat", shared.settings.http_url),
                udp: shared.settings.udp.clone(),
                quic: shared.settings.quic.clone(),
                webtransport: shared.settings.webtransport.clone(),
                cert_hashes: shared.settings.certificates.as_ref().map_or_else(Vec::new, |certificates| {
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
pub(super) async fn renew(State(shared): SharedState, request: Request) -> Result<impl IntoResponse, Problem> {
    let renewed = try_renew(&shared, request).await;
    shared.instruments.renewed(renewed.as_ref().err().map(|problem| problem.code()));
    Ok((NO_STORE, Answer(renewed?)))
}

async fn try_renew(shared: &Shared, request: Request) -> Result<RenewAnswer, Problem> {
    let (parts, body) = request.into_parts();
    shared.warm()?;
    shared.limit_address(&parts)?;
    let token = Authorization::bearer(&parts.headers)?;
    require_type(&parts.headers, "application/octet-stream")?;
    let frame = read_body(body).await?;
    // Only who holds the session's key can use up its limit.
    let (session, _) = shared.engine.renewal(&frame, shared.clock.now()).map_err(|_| {
        Problem::because(ErrorCode::BadFrame, format!("the body is not a signed frame of kind 3, {FRAME_LEN} bytes"))
    })?;
    shared.limit_account(session.as_bytes())?;
    shared.prove(&parts, Trust::Client);
    let renewal = shared.acts.by(Actor::session()).renew(token, &frame).await.map_err(for_owner)?;
    Ok(RenewAnswer {
        token: renewal.token.text,
        expires_in_s: renewal.token.expires_in.as_secs(),
        remaining_s: renewal.remaining.as_secs(),
    })
}

/// Closes the tap. Where nothing is open, or another session than the one that is named, nothing happens.
#[utoipa::path(
    post, path = "/v1/deactivate", tag = "clients", security(("identity_token" = []), ("account_key" = [])),
    request_body = Option<DeactivateRequest>,
    responses((status = 200, description = "It is not open.", body = Remaining), DeactivateErrors),
)]
pub(super) async fn deactivate(State(shared): SharedState, request: Request) -> Result<Answer<Remaining>, Problem> {
    let (request, owner) = authenticated(&shared, request).await?;
    let Json(asked) =
        <Json<Option<DeactivateRequest>> as axum::extract::FromRequest<_>>::from_request(request, &shared).await?;
    let only = match asked.and_then(|asked| asked.session_id) {
        Some(text) => {
            Some(parse_session(&text).ok_or_else(|| Problem::bad_request("`session_id` is no session's id"))?)
        }
        None => None,
    };
    let ended = owner.acts.end_only(&owner.account, EndReason::Deactivated, only).await;
    Ok(Answer(ended.map_err(for_owner)?.into()))
}

/// The caller's account.
#[utoipa::path(
    get, path = "/v1/account", tag = "clients", security(("identity_token" = []), ("account_key" = [])),
    responses((status = 200, description = "The account.", body = AccountShape), OwnerErrors),
)]
pub(super) async fn account(State(shared): SharedState, request: Request) -> Result<impl IntoResponse, Problem> {
    let (_, owner) = authenticated(&shared, request).await?;
    let view = owner.acts.view(&owner.account).await.map_err(for_owner)?;
    Ok((NO_STORE, Answer(AccountShape::of(&view, shared.engine.policy().timeout))))
}

/// The caller's ledger, newest last.
#[utoipa::path(
    get, path = "/v1/account/entries", tag = "clients", security(("identity_token" = []), ("account_key" = [])),
    params(
        ("after" = Option<u64>, Query, description = "From after this entry's number on."),
        ("limit" = Option<u16>, Query, minimum = 1, maximum = 1000, description = "So many entries, 1 to 1000; 100 by default."),
    ),
    responses((status = 200, description = "A page of the ledger.", body = Entries), OwnerErrors),
)]
pub(super) async fn entries(
    State(shared): SharedState,
    page: Page<u64>,
    request: Request,
) -> Result<impl IntoResponse, Problem> {
    let (_, owner) = authenticated(&shared, request).await?;
    Ok((NO_STORE, Answer(shared.ledger(&owner.account, &page).await?)))
}

const NO_STORE: [(hyper::header::HeaderName, HeaderValue); 1] = [(CACHE_CONTROL, HeaderValue::from_static("no-store"))];

async fn authenticated(shared: &Shared, request: Request) -> Result<(Request, Owner), Problem> {
    let (parts, body) = request.into_parts();
    let owner = shared.owner(&parts).await?;
    Ok((Request::from_parts(parts, body), owner))
}

impl Shared {
    /// A page of an account's ledger.
    pub(super) async fn ledger(&self, account: &AccountId, page: &Page<u64>) -> Result<Entries, Problem> {
        let after = page.after.unwrap_or(0);
        if i64::try_from(after).is_err() {
            return Err(Problem::bad_request("`after` is the number of an entry"));
        }
        let rows = self.store.entries(account, after, page.limit + 1).await?;
        let (rows, more) = page.cut(rows);
        let next = rows.last().filter(|_| more).map(|entry| entry.number);
        Ok(Entries { entries: rows.into_iter().map(Into::into).collect(), next })
    }
}
