//! The routes, and their description made from the same code (OpenAPI 3.1).

use axum::{Router, routing::get};
use bytes::Bytes;
use utoipa::{
    Modify, OpenApi, ToSchema,
    openapi::{
        OpenApi as Document,
        security::{Http, HttpAuthScheme, SecurityScheme},
    },
};
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::web::problem::Document as ProblemDocument;

use super::{
    admin, clients, documents, edge, events, hooks,
    refusals::HeartbeatErrors,
    state::{ApiState, ExpectedBody},
    status,
};

const ERROR_PAGE: &str = "/errors/{code}";
const METADATA_OF_PATH: &str = "/.well-known/oauth-authorization-server/{*path}";

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
        (name = "rewards", description = "Public listener: what landing pages and shops ask."),
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
        add("handle", HttpAuthScheme::Bearer, "A handle of a client of the hub with the scope `tank`, `gth_…`.");
        add("identity_token", HttpAuthScheme::Bearer, "A token of a configured identity provider, a JWT or opaque.");
        add(
            "event_token",
            HttpAuthScheme::Bearer,
            "A security event token (RFC 8417) of a configured identity provider.",
        );
        add("session_token", HttpAuthScheme::Bearer, "The session's token, or the one before it.");
        add(
            "client",
            HttpAuthScheme::Basic,
            "The client id and secret of a registered edge or client of the hub (or both in the form).",
        );
        add("admin_token", HttpAuthScheme::Bearer, "The token in `admin.token` of the data directory.");
    }
}

/// Routes of another room, with their description: served behind the budgets, the limits and the figures of this surface. Routes for
/// operators are reached with the administration's token alone.
#[derive(Default)]
pub struct Mounted {
    /// Routes of the public listener.
    pub public: OpenApiRouter<ApiState>,
    /// Routes of the administrative listener.
    pub admin: OpenApiRouter<ApiState>,
    /// Its paths of the public listener whose requests have bodies.
    pub bodies: Vec<ExpectedBody>,
}

/// The public router, the administrative one, and the description of both.
pub(super) fn routers(mounted: Vec<Mounted>) -> (Router<ApiState>, Router<ApiState>, Document) {
    let public = OpenApiRouter::with_openapi(Api::openapi())
        .routes(routes!(documents::client))
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
        .routes(routes!(documents::jwks))
        .routes(routes!(documents::metadata))
        .routes(routes!(documents::description))
        .routes(routes!(documents::error_page));
    let (public, admin) = mounted
        .into_iter()
        .fold((public, admin::router()), |(public, admin), of| (public.merge(of.public), admin.merge(of.admin)));
    let (public, mut document) = public.split_for_parts();
    let (admin, described) = admin.split_for_parts();
    document.merge(described);
    // The `type` of an operator's problem leads somewhere too.
    let admin = admin.route(ERROR_PAGE, get(documents::error_page));
    (public.route(METADATA_OF_PATH, get(documents::metadata_of_path)), admin, document)
}

/// The description as it is served.
pub(super) fn render(document: &Document) -> Bytes {
    serde_json::to_vec(document).expect("the description is made of strings, numbers and lists").into()
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
