//! The HTTP surfaces: what clients and edges ask on the public listener, and operators on the administrative one.
//!
//! [`Surface::public`] answers everything but heartbeats. `POST /oauth/introspect` is answered first, from memory,
//! without a router; everything else goes through one. Every refusal is a problem document, see [`ErrorCode`].

mod admin;
mod at_once;
mod auth;
mod budgets;
mod clients;
mod edge;
mod encoding;
mod events;
mod extract;
mod hooks;
mod instruments;
mod limits;
mod lookups;
mod openapi;
mod problem;
mod receive;
mod shapes;
mod status;
#[cfg(test)]
mod tests;

use std::{panic::AssertUnwindSafe, sync::Arc, time::Duration};

use axum::{
    Router,
    extract::{MatchedPath, Request as AxumRequest, State},
    middleware::{self, Next},
    response::{IntoResponse, Response as AxumResponse},
};
use bytes::Bytes;
use futures_util::FutureExt;
use hyper::{
    Request, Response,
    header::{CACHE_CONTROL, HeaderValue},
};
use tower::ServiceExt;

use crate::{
    engine::Engine,
    entropy::Entropy,
    identity::{Authenticator, EventReader},
    store::{Store, StoreError},
    time::{Clock, MeterTime, Millis},
    tls::Certificates,
    web::{
        admission::{Admission, Bodies, Capacity, Pool},
        peer::Peer,
    },
};

use super::{
    acts::Acts,
    hooks::{events::Events, secrets::HookSecrets},
    secrets::Secrets,
    status_token::StatusTokens,
    tokens::Issuer,
};
use auth::SecretHash;
use budgets::UnderWay;
use edge::Edges;
use instruments::Stopwatch;
use limits::Limits;
use lookups::Lookups;

pub use crate::web::problem::Code as ErrorCode;
pub use at_once::Caller;
pub use budgets::Budget;
pub use instruments::{Activated, Hooked, Instruments, Listened, Phase, Told};
pub use limits::{LimitedBy, Rate};

/// Bodies of operators' requests that may be waited for.
const ADMIN_BODIES: usize = 128;

/// The body of every answer.
pub type Body = axum::body::Body;

/// Why the body of a request ends early.
type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// What the surfaces work with.
pub struct Parts {
    /// Does acts.
    pub acts: Arc<Acts>,
    /// Gives verdicts.
    pub engine: Arc<Engine>,
    /// Holds truth.
    pub store: Arc<dyn Store>,
    /// Tells the time.
    pub clock: Arc<dyn Clock>,
    /// Draws ids, keys and secrets.
    pub entropy: Arc<dyn Entropy>,
    /// Issues tokens.
    pub issuer: Arc<Issuer>,
    /// Tells who shows an identity token.
    pub identity: Arc<dyn Authenticator>,
    /// Reads what identity providers tell.
    pub events: Arc<dyn EventReader>,
    /// Who may send webhooks.
    pub hooks: Arc<HookSecrets>,
    /// Publishes status lists.
    pub statuses: Arc<StatusTokens>,
    /// Keeps the cluster secrets.
    pub secrets: Arc<Secrets>,
    /// Who has proved themselves, and the bodies under way.
    pub admission: Arc<Admission>,
    /// Health and figures.
    pub instruments: Arc<dyn Instruments>,
    /// What is configured.
    pub settings: Settings,
}

/// What is configured of the surfaces.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The audience of a token when its client asks for none.
    pub audience: String,
    /// Where clients and edges reach the public listener, without a trailing slash.
    pub http_url: String,
    /// Host and port where clients reach the UDP listener, if it is on.
    pub udp: Option<String>,
    /// Host and port where clients reach the QUIC listener, if it is on.
    pub quic: Option<String>,
    /// Where browsers open WebTransport sessions, if they may.
    pub webtransport: Option<String>,
    /// Whose hashes browsers are told to trust.
    pub certificates: Option<Arc<Certificates>>,
    /// The addresses that the listeners are bound to, for operators: name and address.
    pub listeners: Vec<(String, String)>,
    /// The bearer token of the administration.
    pub admin_token: AdminToken,
    /// Bytes that a body may have.
    pub max_body_bytes: usize,
    /// How long a body may take to arrive.
    pub body_timeout: Duration,
    /// How long rows of the audit log are kept.
    pub audit_retention: Millis,
    /// How long the heartbeat history is kept, if it is.
    pub history_keep: Option<Millis>,
    /// The limit on one account's acts.
    pub per_account: Option<Rate>,
    /// The limit on acts from one address.
    pub per_address: Option<Rate>,
    /// The limit on webhooks and events from one address.
    pub hooks_per_address: Option<Rate>,
}

/// The bearer token of the administration. Only its hash is kept.
#[derive(Clone)]
pub struct AdminToken(SecretHash);

impl AdminToken {
    /// The token `text`.
    pub fn new(text: &str) -> Self {
        Self(SecretHash::of(text.as_bytes()))
    }
}

impl std::fmt::Debug for AdminToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("AdminToken(…)")
    }
}

/// Answers HTTP requests.
pub struct Surface {
    shared: Arc<Shared>,
    public: Router,
    admin: Router,
}

/// What handlers work with.
struct Shared {
    acts: Arc<Acts>,
    engine: Arc<Engine>,
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    issuer: Arc<Issuer>,
    identity: Arc<dyn Authenticator>,
    reader: Arc<dyn EventReader>,
    events: Events,
    hooks: Arc<HookSecrets>,
    statuses: Arc<StatusTokens>,
    secrets: Arc<Secrets>,
    instruments: Arc<dyn Instruments>,
    settings: Settings,
    lookups: Lookups,
    edges: Edges,
    limits: Limits,
    admission: Arc<Admission>,
    /// Bodies for operators that are waited for: nobody who cannot reach their listener takes from these.
    admin_bodies: Arc<Pool<Bodies>>,
    under_way: UnderWay,
    started: MeterTime,
    openapi: Bytes,
}

/// What handlers ask for to get at [`Shared`].
type SharedState = State<Arc<Shared>>;

impl Surface {
    /// Opens the surfaces; reads the registered edges.
    ///
    /// # Errors
    ///
    /// [`StoreError`] when the edges cannot be read.
    pub async fn open(parts: Parts) -> Result<Self, StoreError> {
        let (public, admin, document) = openapi::routers();
        let shared = Arc::new(Shared {
            edges: Edges::load(&*parts.store).await?,
            limits: Limits::new(
                parts.settings.per_account,
                parts.settings.per_address,
                parts.settings.hooks_per_address,
            ),
            admin_bodies: Pool::new(
                Capacity { total: ADMIN_BODIES, per_network: None },
                Arc::clone(&parts.admission.proven),
            ),
            under_way: UnderWay::new(&parts.admission.proven),
            admission: parts.admission,
            started: parts.clock.now(),
            openapi: openapi::render(&document),
            events: Events::new(Arc::clone(&parts.acts)),
            reader: parts.events,
            acts: parts.acts,
            engine: parts.engine,
            store: parts.store,
            clock: parts.clock,
            entropy: parts.entropy,
            issuer: parts.issuer,
            identity: parts.identity,
            hooks: parts.hooks,
            statuses: parts.statuses,
            secrets: parts.secrets,
            lookups: Lookups::new(),
            instruments: parts.instruments,
            settings: parts.settings,
        });
        let finish = |router: Router<Arc<Shared>>| {
            router.route_layer(middleware::from_fn(note_route)).with_state(Arc::clone(&shared))
        };
        let admin = admin::guarded(admin, &shared);
        Ok(Self { public: finish(public), admin: finish(admin), shared })
    }

    /// Takes over which edges other nodes have registered, changed and removed.
    ///
    /// # Errors
    ///
    /// [`StoreError`]; the edges are as they were.
    pub async fn learn(&self) -> Result<(), StoreError> {
        self.shared.edges.learn(&*self.shared.store).await
    }

    /// Answers a request that came to the public listener, whoever it is from.
    ///
    /// The listener puts a [`Peer`] into the request's extensions.
    pub async fn public<B>(self: Arc<Self>, request: Request<B>) -> Response<Body>
    where
        B: hyper::body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        let stopwatch = Stopwatch::start();
        let budget = Budget::of(request.uri().path());
        let from = request.extensions().get::<Peer>().map(|peer| peer.network());
        let received = self.shared.receive(budget, request).await;
        let begun = received.and_then(|request| Ok((self.shared.begin(budget, from)?, request)));
        let (_permit, request) = match begun {
            Ok(begun) => begun,
            Err(problem) if budget == Budget::Verdicts => return problem.for_oauth().into_response(),
            Err(problem) => return problem.into_response(),
        };
        if budget == Budget::Verdicts {
            let response = edge::introspect(&self.shared, request).await;
            self.shared.instruments.answered(edge::INTROSPECT, response.status().as_u16(), stopwatch.elapsed());
            return response;
        }
        // What every edge asks for all the time takes no router either.
        if let Some(list) = status::asked_for(&request) {
            let response = status::fetch(&self.shared, list, request.uri(), request.headers()).await;
            self.shared.instruments.answered(status::LIST, response.status().as_u16(), stopwatch.elapsed());
            return response;
        }
        self.shared.route(&self.public, request, &stopwatch).await
    }

    /// Answers a request that came to the administrative listener. It runs to its end even if the caller goes away.
    pub async fn admin<B>(self: Arc<Self>, request: Request<B>) -> Response<Body>
    where
        B: hyper::body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        let stopwatch = Stopwatch::start();
        let request = request.map(axum::body::Body::new);
        let task = tokio::spawn(async move {
            let received = self.shared.receive(Budget::Admin, request).await;
            match received.and_then(|request| Ok((self.shared.begin(Budget::Admin, None)?, request))) {
                Ok((_permit, request)) => self.shared.route(&self.admin, request, &stopwatch).await,
                Err(problem) => problem.into_response(),
            }
        });
        // A panic goes on here, to where all panics of requests end.
        task.await.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))
    }
}

impl Shared {
    async fn route(&self, router: &Router, request: Request<Body>, stopwatch: &Stopwatch) -> Response<Body> {
        let response = problem::normalised(answer_of(router, request).await);
        let route = response.extensions().get::<MatchedPath>().map_or("other", MatchedPath::as_str);
        self.instruments.answered(route, response.status().as_u16(), stopwatch.elapsed());
        response
    }
}

/// What a router answers: 500 where the handler panics. What the handler was about to do is left as if the caller had
/// hung up.
async fn answer_of(router: &Router, request: AxumRequest) -> AxumResponse {
    match AssertUnwindSafe(router.clone().oneshot(request)).catch_unwind().await {
        Ok(Ok(response)) => response,
        Ok(Err(never)) => match never {},
        Err(_) => problem::Problem::new(ErrorCode::Internal).into_response(),
    }
}

/// Tells by which route a response came about, and that nobody is to keep it unless it says otherwise.
async fn note_route(request: AxumRequest, next: Next) -> AxumResponse {
    let route = request.extensions().get::<MatchedPath>().cloned();
    let mut response = next.run(request).await;
    if let Some(route) = route {
        response.extensions_mut().insert(route);
    }
    // Nearly every answer is about somebody, and some have a secret. What others may keep says so by itself.
    response.headers_mut().entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}

/// For the fuzzer: readers of what callers send, without what answers them.
#[cfg(fuzzing)]
pub mod fuzzing {
    use hyper::{
        HeaderMap,
        header::{AUTHORIZATION, HeaderValue},
    };

    use super::{auth, clients, edge, extract};

    /// Reads the bodies of JSON calls. Whether it is the body of an activation.
    pub fn json_body(bytes: &[u8]) -> bool {
        extract::parse_json::<clients::ActivateRequest>(bytes).is_ok()
    }

    /// Reads the form of an introspection. Whether it is one.
    pub fn introspection_form(bytes: &[u8]) -> bool {
        edge::Form::parse(bytes).is_ok()
    }

    /// Reads `Authorization` headers, one a line. Whether they prove anything that could be looked up.
    pub fn authorization(bytes: &[u8]) -> bool {
        let mut headers = HeaderMap::new();
        for line in bytes.split(|byte| *byte == b'\n') {
            let Ok(value) = HeaderValue::from_bytes(line) else { return false };
            headers.append(AUTHORIZATION, value);
        }
        match auth::Authorization::of(&headers) {
            Ok(auth::Authorization::Basic(encoded)) => auth::basic_pair(encoded).is_some(),
            Ok(auth::Authorization::Bearer(token)) => {
                let claims = crate::control::tokens::claims_of(token);
                crate::control::tokens::session_of(token.as_bytes()).is_some() || claims.is_some()
            }
            Ok(auth::Authorization::Missing) | Err(_) => false,
        }
    }
}
