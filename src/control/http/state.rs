//! What the surfaces work with. A handler is given the few parts that it names, each by [`State`](axum::extract::State).

use std::{ops::Deref, sync::Arc, time::Duration};

use axum::extract::FromRef;
use bytes::Bytes;
use hyper::HeaderMap;

use crate::{
    control::{
        account_keys::AccountKeys,
        acts::Acts,
        credentials::AdminToken,
        edges::EdgeRegistry,
        hooks::{
            events::{Events, SignIns},
            secrets::HookSecrets,
        },
        hub_clients::ClientRegistry,
        secrets::Secrets,
        status_token::StatusTokens,
        tokens::Issuer,
    },
    engine::Engine,
    entropy::Entropy,
    identity::{Authenticator, EventReader},
    store::{Store, StoreError},
    time::{Clock, MeterTime, Millis},
    tls::Certificates,
    web::{
        admission::{Admission, Bodies, Capacity, Pool},
        limits::Rate,
        problem::Problem,
    },
};

use super::{
    checks::Checks, client_document::ClientDocument, handles::Handles, instruments::Instruments,
    introspection::Introspector, limits::Limits, lookups::Lookups, under_way::UnderWay,
};

/// Bodies of operators' requests that may be waited for.
const ADMIN_BODIES: usize = 128;

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
    /// The clients of the hub.
    pub clients: Arc<ClientRegistry>,
    /// What the handles of these are worth.
    pub handles: Option<Arc<dyn Handles>>,
    /// Where people are signed in to it.
    pub sign_ins: Option<Arc<dyn SignIns>>,
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
    /// What apps and browser extensions are told.
    pub client: ClientDocument,
    /// The limit on one account's acts.
    pub per_account: Option<Rate>,
    /// The limit on acts from one address.
    pub per_address: Option<Rate>,
    /// The limit on webhooks and events from one address.
    pub hooks_per_address: Option<Rate>,
}

/// The parts, shared by all requests.
#[derive(Clone)]
pub struct ApiState(Arc<Components>);

/// When the surfaces were opened, in meter time.
#[derive(Clone, Copy)]
pub(super) struct Started(pub(super) MeterTime);

/// The interface's description, as it is served.
#[derive(Clone)]
pub(super) struct Description(pub(super) Bytes);

/// Whether the headers of a request are those of one whose body may be waited for.
pub type BodyCheck = Arc<dyn Fn(&HeaderMap) -> Result<(), Problem> + Send + Sync>;

/// A path of another room whose requests have bodies.
pub struct ExpectedBody {
    /// The path.
    pub path: &'static str,
    /// Whether the body may be waited for.
    pub check: BodyCheck,
}

pub struct Components {
    pub(super) acts: Arc<Acts>,
    pub(super) engine: Arc<Engine>,
    pub(super) store: Arc<dyn Store>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) entropy: Arc<dyn Entropy>,
    pub(super) issuer: Arc<Issuer>,
    pub(super) identity: Arc<dyn Authenticator>,
    pub(super) reader: Arc<dyn EventReader>,
    pub(super) events: Arc<Events>,
    pub(super) hooks: Arc<HookSecrets>,
    pub(super) statuses: Arc<StatusTokens>,
    pub(super) secrets: Arc<Secrets>,
    pub(super) instruments: Arc<dyn Instruments>,
    pub(super) settings: Arc<Settings>,
    pub(super) edges: Arc<EdgeRegistry>,
    pub(super) clients: Arc<ClientRegistry>,
    pub(super) handles: Option<Arc<dyn Handles>>,
    pub(super) account_keys: Arc<AccountKeys>,
    pub(super) introspector: Introspector,
    pub(super) checks: Arc<Checks>,
    pub(super) admission: Arc<Admission>,
    /// Bodies for operators that are waited for: nobody who cannot reach their listener takes from these.
    pub(super) admin_bodies: Arc<Pool<Bodies>>,
    pub(super) under_way: Arc<UnderWay>,
    /// Paths of other rooms whose requests have bodies.
    pub(super) expected_bodies: Vec<ExpectedBody>,
    started: Started,
    description: Description,
}

impl ApiState {
    /// Reads the registered edges.
    ///
    /// # Errors
    ///
    /// [`StoreError`] when they cannot be read.
    pub(super) async fn open(
        parts: Parts,
        description: Description,
        expected_bodies: Vec<ExpectedBody>,
    ) -> Result<Self, StoreError> {
        let Parts { acts, engine, store, clock, entropy, issuer, identity, events, .. } = parts;
        let Parts { hooks, clients, handles, sign_ins, statuses, secrets, admission, instruments, settings, .. } =
            parts;
        let registry = |store: &Arc<dyn Store>| {
            (Arc::clone(store), Arc::clone(&clock), Arc::clone(&entropy), Arc::clone(acts.audit()))
        };
        let (of_edges, of_keys) = (registry(&store), registry(&store));
        let edges = Arc::new(EdgeRegistry::open(of_edges.0, of_edges.1, of_edges.2, of_edges.3).await?);
        let account_keys = Arc::new(AccountKeys::new(of_keys.0, of_keys.1, of_keys.2, of_keys.3));
        let limits = Limits::new(settings.per_account, settings.per_address, settings.hooks_per_address);
        let checks = Arc::new(Checks::new(limits, Arc::clone(&admission), Arc::clone(&instruments)));
        Ok(Self(Arc::new(Components {
            introspector: Introspector {
                acts: Arc::clone(&acts),
                engine: Arc::clone(&engine),
                clock: Arc::clone(&clock),
                issuer: Arc::clone(&issuer),
                edges: Arc::clone(&edges),
                clients: Arc::clone(&clients),
                handles: handles.clone(),
                lookups: Lookups::new(),
                checks: Arc::clone(&checks),
                instruments: Arc::clone(&instruments),
            },
            admin_bodies: Pool::new(Capacity { total: ADMIN_BODIES, per_network: None }, Arc::clone(&admission.proven)),
            under_way: Arc::new(UnderWay::new(&admission.proven, Arc::clone(&instruments))),
            started: Started(clock.now()),
            events: Arc::new(Events::new(Arc::clone(&acts), sign_ins)),
            settings: Arc::new(settings),
            reader: events,
            acts,
            engine,
            store,
            clock,
            entropy,
            issuer,
            identity,
            hooks,
            statuses,
            secrets,
            instruments,
            edges,
            clients,
            handles,
            account_keys,
            checks,
            admission,
            expected_bodies,
            description,
        })))
    }
}

impl Deref for ApiState {
    type Target = Components;

    fn deref(&self) -> &Components {
        &self.0
    }
}

macro_rules! parts {
    ($($field:ident: $part:ty),+ $(,)?) => {
        $(
            impl FromRef<ApiState> for $part {
                fn from_ref(state: &ApiState) -> Self {
                    state.$field.clone()
                }
            }
        )+
    };
}

parts! {
    acts: Arc<Acts>,
    engine: Arc<Engine>,
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    issuer: Arc<Issuer>,
    reader: Arc<dyn EventReader>,
    events: Arc<Events>,
    hooks: Arc<HookSecrets>,
    statuses: Arc<StatusTokens>,
    secrets: Arc<Secrets>,
    instruments: Arc<dyn Instruments>,
    settings: Arc<Settings>,
    edges: Arc<EdgeRegistry>,
    clients: Arc<ClientRegistry>,
    handles: Option<Arc<dyn Handles>>,
    account_keys: Arc<AccountKeys>,
    checks: Arc<Checks>,
    under_way: Arc<UnderWay>,
    started: Started,
    description: Description,
}
