//! The routes, and their description made from the same code (OpenAPI 3.1).

use std::{collections::BTreeMap, sync::Arc};

use axum::{
    Json as Answer, Router,
    extract::{Path, State},
    http::HeaderValue,
    response::IntoResponse,
    routing::get,
};
use bytes::Bytes;
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderName};
use serde::Serialize;
use utoipa::{
    IntoResponses, Modify, OpenApi, ToSchema,
    openapi::{
        OpenApi as Document, Ref, RefOr,
        content::ContentBuilder,
        response::{Response, ResponseBuilder},
        security::{Http, HttpAuthScheme, SecurityScheme},
    },
};
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::control::{keys::PublicKey, tokens::STATUS_LISTS};

use super::{
    Shared, SharedState, admin, clients, edge, events, hooks,
    problem::{ErrorCode, Problem, ProblemDocument},
    status,
};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "gastank",
        description = "Time credit for connected services. Durations are integers with their unit in the name; \
            times are RFC 3339 in UTC; every refusal is a problem document (RFC 9457)."
    ),
    paths(edge::introspect, heartbeat),
    components(schemas(ProblemDocument<'_>)),
    modifiers(&Schemes),
    tags(
        (name = "clients", description = "Public listener: what clients ask."),
        (name = "edge", description = "Public listener: what edges ask."),
        (name = "hooks", description = "Public listener: what other services tell."),
        (name = "admin", description = "Administrative listener."),
    ),
)]
struct Api;

struct Schemes;

impl Modify for Schemes {
    fn modify(&self, document: &mut Document) {
        let components = document.components.get_or_insert_default();
        let mut add = |name: &str, scheme, description: &str| {
            let mut http = Http::new(scheme);
            http.description = Some(description.to_owned());
            components.add_security_scheme(name, SecurityScheme::Http(http));
        };
        add("account_key", HttpAuthScheme::Bearer, "An account key, `gtk_…`.");
        add("identity_token", HttpAuthScheme::Bearer, "A token of a configured identity provider, a JWT or opaque.");
        add(
            "event_token",
            HttpAuthScheme::Bearer,
            "A security event token (RFC 8417) of a configured identity provider.",
        );
        add("session_token", HttpAuthScheme::Bearer, "The session's token, or the one before it.");
        add("client", HttpAuthScheme::Basic, "A registered edge's client id and secret (or both in the form).");
        add("admin_token", HttpAuthScheme::Bearer, "The token in `admin.token` of the data directory.");
    }
}

/// The public router, the administrative one, and the description of both.
pub(super) fn routers() -> (Router<Arc<Shared>>, Router<Arc<Shared>>, Document) {
    let (public, mut document) = OpenApiRouter::with_openapi(Api::openapi())
        .routes(routes!(clients::activate))
        .routes(routes!(clients::renew))
        .routes(routes!(clients::deactivate))
        .routes(routes!(clients::account))
        .routes(routes!(clients::entries))
        .routes(routes!(hooks::credit))
        .routes(routes!(events::account_events))
        .routes(routes!(status::list))
        .routes(routes!(status::aggregation))
        .routes(routes!(edge::revoke))
        .routes(routes!(jwks))
        .routes(routes!(metadata))
        .routes(routes!(description))
        .routes(routes!(error_page))
        .split_for_parts();
    let (admin, described) = admin::router().split_for_parts();
    document.merge(described);
    // The `type` of an operator's problem leads somewhere too.
    let admin = admin.route(ERROR_PAGE, get(error_page));
    (public.route(METADATA_OF_PATH, get(metadata_of_path)), admin, document)
}

/// The description as it is served.
pub(super) fn render(document: &Document) -> Bytes {
    serde_json::to_vec(document).expect("the description is made of strings, numbers and lists").into()
}

/// The public keys that tokens are signed with (RFC 7517).
#[derive(Serialize, ToSchema)]
#[schema(as = KeySet)]
struct KeySet {
    /// The keys.
    #[schema(value_type = Vec<Object>)]
    keys: Vec<PublicKey>,
}

/// The public keys that tokens are signed with (RFC 7517).
#[utoipa::path(
    get, path = "/.well-known/jwks.json", tag = "edge",
    responses((status = 200, description = "The keys. May be cached as long as it says.", body = KeySet)),
)]
async fn jwks(State(shared): SharedState) -> impl IntoResponse {
    let keyring = shared.issuer.keyring();
    let cache = format!("public, max-age={}", keyring.max_age(shared.clock.now()).as_secs());
    ([(CACHE_CONTROL, cache)], Answer(KeySet { keys: keyring.published() }))
}

/// What this service does as an authorization server (RFC 8414).
#[derive(Serialize, ToSchema)]
struct ServerMetadata {
    /// The issuer of its tokens.
    issuer: String,
    /// Where its public keys are.
    jwks_uri: String,
    /// Where edges ask about tokens.
    introspection_endpoint: String,
    /// Where edges find the addresses of all token status lists.
    status_list_aggregation_endpoint: String,
    /// How edges prove who they are there.
    introspection_endpoint_auth_methods_supported: [&'static str; 2],
    /// Where edges revoke tokens.
    revocation_endpoint: String,
    /// How edges prove who they are there.
    revocation_endpoint_auth_methods_supported: [&'static str; 2],
    /// `none` alone: there is no authorization endpoint that gives a code or a token.
    response_types_supported: [&'static str; 1],
    /// The address of activation, as the name of the only way to a token. There is no token endpoint, and leaving this out
    /// would mean a code or implicit grant (RFC 8414, 2).
    grant_types_supported: [String; 1],
}

/// What this service does as an authorization server (RFC 8414).
#[utoipa::path(
    get, path = "/.well-known/oauth-authorization-server", tag = "edge",
    responses((status = 200, description = "The metadata.", body = ServerMetadata)),
)]
async fn metadata(State(shared): SharedState) -> impl IntoResponse {
    (DOCUMENT, Answer(ServerMetadata::of(&shared)))
}

/// The same for an issuer with a path, which goes behind the well-known one (RFC 8414, 3.1).
async fn metadata_of_path(State(shared): SharedState, Path(path): Path<String>) -> Result<impl IntoResponse, Problem> {
    let issuer = shared.issuer.name();
    let of_issuer = issuer.split_once("://").and_then(|(_, rest)| rest.split_once('/')).map(|(_, path)| path);
    if of_issuer != Some(&*path) {
        return Err(Problem::not_found("issuer"));
    }
    Ok((DOCUMENT, Answer(ServerMetadata::of(&shared))))
}

/// What stays the same while a service runs.
const DOCUMENT: [(HeaderName, HeaderValue); 1] = [(CACHE_CONTROL, HeaderValue::from_static("public, max-age=300"))];
const ERROR_PAGE: &str = "/errors/{code}";
const METADATA_OF_PATH: &str = "/.well-known/oauth-authorization-server/{*path}";
const AUTH_METHODS: [&str; 2] = ["client_secret_basic", "client_secret_post"];

impl ServerMetadata {
    fn of(shared: &Shared) -> Self {
        let at = |path: &str| format!("{}{path}", shared.settings.http_url);
        Self {
            issuer: shared.issuer.name().to_owned(),
            jwks_uri: at("/.well-known/jwks.json"),
            introspection_endpoint: at(edge::INTROSPECT),
            status_list_aggregation_endpoint: at(STATUS_LISTS),
            introspection_endpoint_auth_methods_supported: AUTH_METHODS,
            revocation_endpoint: at(edge::REVOKE),
            revocation_endpoint_auth_methods_supported: AUTH_METHODS,
            response_types_supported: ["none"],
            grant_types_supported: [at("/v1/activate")],
        }
    }
}

/// This document.
#[utoipa::path(
    get, path = "/openapi.json", tag = "clients",
    responses((status = 200, description = "This document.", body = Object)),
)]
async fn description(State(shared): SharedState) -> impl IntoResponse {
    (DOCUMENT, [(CONTENT_TYPE, HeaderValue::from_static("application/json"))], shared.openapi.clone())
}

/// A heartbeat: the session lives, or stops. The frame's tag is its authentication. See `docs/protocol.md`.
///
/// Answered before this surface is asked; here only so that the description has it.
#[utoipa::path(
    post, path = "/v1/heartbeat", tag = "clients",
    request_body(description = "A frame of 48 bytes, or its fields.", content(
        (Vec<u8> = "application/octet-stream"),
        (HeartbeatFields = "application/json"),
    )),
    responses(
        (status = 200, description = "The ack: 48 bytes, or its fields, as it was asked.", content(
            (Vec<u8> = "application/octet-stream"),
            (AckFields = "application/json"),
        )),
        HeartbeatErrors,
    ),
)]
#[expect(dead_code, reason = "the description is made from it; heartbeats are answered by their own listener")]
fn heartbeat() {}

/// A heartbeat, field by field.
#[derive(ToSchema)]
#[schema(as = Heartbeat)]
#[expect(dead_code, reason = "for the interface's description")]
struct HeartbeatFields {
    /// 1.
    version: u8,
    /// 1 beat, 2 stop.
    kind: u8,
    /// State bits.
    state: u16,
    /// The client's counter.
    seq: u32,
    /// The session, in base64url.
    session_id: String,
    /// The client's estimate of meter time, in milliseconds.
    clock_ms: u64,
    /// The tag of the binary frame, in hexadecimal.
    tag: String,
}

/// An ack, field by field.
#[derive(ToSchema)]
#[schema(as = Ack)]
#[expect(dead_code, reason = "for the interface's description")]
struct AckFields {
    /// 1.
    version: u8,
    /// 129.
    kind: u8,
    /// `valid`, `invalid` or `unknown`.
    verdict: String,
    /// Of `invalid`: why.
    end_reason: Option<String>,
    /// The heartbeat's.
    seq: u32,
    /// Meter time, in milliseconds.
    meter_ms: u64,
    /// The heartbeat's `clock_ms`.
    echo_ms: u64,
    /// Credit left, in whole seconds.
    remaining_s: u32,
    /// When to beat next, in units of 100 ms.
    next_beat_100ms: u16,
    /// 1 renew the token, 2 low credit.
    flags: u16,
    /// The tag of the binary ack, in hexadecimal.
    tag: String,
}

/// What an error means and what to do about it: the `type` of problem documents leads here.
#[utoipa::path(
    get, path = "/errors/{code}", tag = "clients",
    params(("code" = String, Path, description = "An error's code.")),
    responses((status = 200, description = "The page.", body = String, content_type = "text/markdown"), PageErrors),
)]
async fn error_page(Path(code): Path<String>) -> Result<impl IntoResponse, Problem> {
    let code = ErrorCode::parse(&code).ok_or_else(|| Problem::not_found("error"))?;
    Ok((DOCUMENT, [(CONTENT_TYPE, HeaderValue::from_static("text/markdown; charset=utf-8"))], code.page()))
}

/// What any call may be refused for: a head that cannot be understood, a body that it did not ask for, a mistake of ours, more
/// to do than can be done.
const ANY: [ErrorCode; 6] = [
    ErrorCode::BadRequest,
    ErrorCode::RequestTimeout,
    ErrorCode::BodyTooLarge,
    ErrorCode::RateLimited,
    ErrorCode::Internal,
    ErrorCode::Overloaded,
];

/// The type of what refusals say, everywhere but under `/oauth/`.
const PROBLEM: &str = "application/problem+json";
/// The type of what refusals say where OAuth prescribes it (RFC 6749, section 5.2).
const OAUTH: &str = "application/json";

/// The refusals of a call, by status: one response of this media type each, which names its codes.
fn refusals(media: &str, codes: &[ErrorCode]) -> BTreeMap<String, RefOr<Response>> {
    let mut by_status: BTreeMap<u16, Vec<String>> = BTreeMap::new();
    for code in codes.iter().chain(ANY.iter().filter(|code| !codes.contains(code))) {
        by_status.entry(code.status().as_u16()).or_default().push(format!("`{}`", code.name()));
    }
    let response = |codes: Vec<String>| {
        let content = ContentBuilder::new().schema(Some(Ref::from_schema_name("Problem"))).build();
        ResponseBuilder::new().description(codes.join(", ")).content(media, content).build()
    };
    by_status.into_iter().map(|(status, codes)| (status.to_string(), response(codes).into())).collect()
}

macro_rules! refusals {
    ($media:expr; $( $(#[$doc:meta])* $name:ident: $($code:ident),+; )+) => {
        $(
            $(#[$doc])*
            pub(super) struct $name;

            impl IntoResponses for $name {
                fn responses() -> BTreeMap<String, RefOr<Response>> {
                    refusals($media, &[$(ErrorCode::$code),+])
                }
            }
        )+
    };
}

refusals! { OAUTH;
    /// Of introspection.
    IntrospectErrors: BadRequest, BadCredentials, RequestTimeout, BodyTooLarge, UnsupportedMediaType, RateLimited, Internal,
        StoreUnavailable, WarmingUp;
    /// Of revocation.
    RevokeErrors: BadRequest, BadCredentials, RequestTimeout, BodyTooLarge, UnsupportedMediaType, RateLimited, Internal,
        StoreUnavailable, Overloaded, WarmingUp;
}

refusals! { PROBLEM;
    /// Of an activation.
    ActErrors: BadRequest, UnknownAudience, BadCredentials, TankEmpty, RequestTimeout, SessionEnded, StaleRenewal, IdReused,
        BodyTooLarge, UnsupportedMediaType, RateLimited, Internal, StoreUnavailable, ProviderUnavailable, Overloaded, WarmingUp;
    /// Of a renewal.
    RenewErrors: BadRequest, BadFrame, BadCredentials, SessionEnded, StaleRenewal, RequestTimeout, BodyTooLarge, UnsupportedMediaType,
        RateLimited, Internal, StoreUnavailable, Overloaded, WarmingUp;
    /// Of a deactivation.
    DeactivateErrors: BadRequest, BadCredentials, RequestTimeout, BodyTooLarge, UnsupportedMediaType, RateLimited, Internal,
        StoreUnavailable, ProviderUnavailable, Overloaded, WarmingUp;
    /// Of what else an account's owner asks.
    OwnerErrors: BadRequest, BadCredentials, RateLimited, Internal, StoreUnavailable, ProviderUnavailable, Overloaded,
        WarmingUp;
    /// Of a heartbeat.
    HeartbeatErrors: BadRequest, BadFrame, RequestTimeout, BodyTooLarge, UnsupportedMediaType, StoreUnavailable, WarmingUp;
    /// Of a credit webhook.
    HookErrors: BadRequest, BadSignature, NotFound, RequestTimeout, IdReused, LimitReached, BodyTooLarge,
        UnsupportedMediaType, Internal, StoreUnavailable, Overloaded, WarmingUp;
    /// Of an account event, but for what its own document says.
    EventErrors: BadCredentials, NotFound, RequestTimeout, BodyTooLarge, UnsupportedMediaType, Internal, StoreUnavailable,
        ProviderUnavailable, Overloaded, WarmingUp;
    /// Of making an account.
    CreateErrors: BadRequest, BadCredentials, NotFound, IdReused, LimitReached, PersonGone, RequestTimeout, BodyTooLarge,
        UnsupportedMediaType, RateLimited, Internal, StoreUnavailable, Overloaded, WarmingUp;
    /// Of a status list.
    StatusErrors: BadRequest, NotFound, Internal, NotImplemented, StoreUnavailable, WarmingUp;
    /// Of the status lists' addresses.
    AggregationErrors: WarmingUp;
    /// Of what operators ask without a body.
    AdminErrors: BadRequest, BadCredentials, NotFound, RateLimited, Internal, StoreUnavailable, Overloaded, WarmingUp;
    /// Of asking for the history of a session.
    HistoryErrors: BadRequest, BadCredentials, NotFound, HistoryOff, RateLimited, Internal, StoreUnavailable, Overloaded,
        WarmingUp;
    /// Of what operators ask with a body.
    AdminBodyErrors: BadRequest, BadCredentials, NotFound, LimitReached, RequestTimeout, BodyTooLarge, UnsupportedMediaType,
        RateLimited, Internal, StoreUnavailable, Overloaded, WarmingUp;
    /// Of entering credit.
    CreditErrors: BadRequest, IdempotencyKeyRequired, BadCredentials, NotFound, IdReused, RequestTimeout, BodyTooLarge,
        UnsupportedMediaType, RateLimited, Internal, StoreUnavailable, Overloaded, WarmingUp;
    /// Of rotating the signing keys.
    RotateErrors: BadRequest, BadCredentials, LimitReached, RateLimited, Internal, StoreUnavailable, WarmingUp;
    /// Of the page of an error.
    PageErrors: NotFound;
    /// Of asking whether traffic may come.
    ReadinessErrors: WarmingUp, ShuttingDown;
}
