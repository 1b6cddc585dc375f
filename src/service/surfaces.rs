//! The HTTP surfaces of control, made ready for the listeners of ingest.

use std::{
    net::SocketAddr,
    sync::{Arc, atomic::AtomicU64},
};

use async_trait::async_trait;
use hyper::{Request, Response};
use tokio::runtime::Handle;
use tokio_util::task::AbortOnDropHandle;
use zeroize::Zeroizing;

use crate::{
    config::{ActRate, Config, PublicUrl, TestOrders},
    control::{
        account_keys::AccountKeys,
        acts::Acts,
        hooks::secrets::HookSecrets,
        http::{
            AdminToken, Body, Budget, Caller, ClientDocument, ClientProxy, Parts as SurfaceParts, Rate, Settings,
            SignIn, Surface,
        },
        hub_clients::ClientRegistry,
        secrets::Secrets,
        status_token::StatusTokens,
        tokens::Issuer,
    },
    engine::Engine,
    entropy::Entropy,
    hub::{self, AddressLimits, Development, HubSessions, Links, OpenIdProvider, Outbox, ProviderParts},
    identity::{Authenticator, EventReader, Providers},
    ingest::{
        http::{Fallback, IntrospectionRequest, RequestBody, WorkerPools},
        quic::WEBTRANSPORT_PATH,
    },
    rewards::{self, Assets, Rewards, RewardsParts, RewardsSurface, ShopSecrets},
    store::{Store, StoreError},
    telemetry::{ActLimit, Phase, Telemetry},
    time::Clock,
    tls::Certificates,
    web::admission::Admission,
};

use super::{
    instruments::{Counting, Dashboard},
    listening::Listening,
};

/// What the surfaces are made of.
pub(super) struct Parts<'a> {
    pub(super) config: &'a Config,
    pub(super) public_url: String,
    pub(super) listening: &'a Listening,
    pub(super) admin_token: Zeroizing<String>,
    pub(super) engine: Arc<Engine>,
    pub(super) acts: Arc<Acts>,
    pub(super) store: Arc<dyn Store>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) entropy: Arc<dyn Entropy>,
    pub(super) issuer: Arc<Issuer>,
    pub(super) providers: Arc<Providers>,
    pub(super) hooks: Arc<HookSecrets>,
    pub(super) shops: Arc<ShopSecrets>,
    pub(super) statuses: Arc<StatusTokens>,
    pub(super) secrets: Arc<Secrets>,
    pub(super) certificates: Arc<Certificates>,
    pub(super) telemetry: Telemetry,
    pub(super) pools: WorkerPools,
    pub(super) admission: Arc<Admission>,
    pub(super) statements: Option<Arc<AtomicU64>>,
    pub(super) development: Option<Arc<Development>>,
    pub(super) sessions: HubSessions,
}

/// What answers at the two listeners.
pub(super) struct Surfaces {
    pub(super) public: Public,
    pub(super) admin: Admin,
    /// What both are of.
    pub(super) surface: Arc<Surface>,
    /// What clients are told of hub sessions that have ended.
    pub(super) outbox: Arc<Outbox>,
}

/// Answers what comes to the public listener. Acts are done in the service's own runtime: they take their time, and go on
/// when the connection that asked is cut.
pub(super) struct Public {
    surface: Arc<Surface>,
    runtime: Handle,
}

/// Answers what comes to the listener for operators.
pub(super) struct Admin(Arc<Surface>);

pub(super) async fn build(parts: Parts<'_>) -> Result<Surfaces, StoreError> {
    let Parts { config, listening, .. } = parts;
    let named = |name: &str, addr: Option<SocketAddr>| addr.map(|addr| (name.to_owned(), addr.to_string()));
    let rate = |rate: ActRate| Rate { per_s: rate.per_s, burst: rate.burst };
    let settings = Settings {
        audience: config.token.audience.clone(),
        http_url: parts.public_url,
        udp: listening.udp.and_then(|bound| config.told(config.udp.public_addr.as_ref(), bound)),
        quic: listening.quic.and_then(|bound| config.told(config.quic.public_addr.as_ref(), bound)),
        webtransport: webtransport_url(config, listening),
        certificates: listening.quic.map(|_| parts.certificates),
        listeners: [
            named("http", Some(listening.http)),
            named("https", listening.https),
            named("udp", listening.udp),
            named("quic", listening.quic),
            named("admin", Some(listening.admin)),
        ]
        .into_iter()
        .flatten()
        .collect(),
        admin_token: AdminToken::new(&parts.admin_token),
        max_body_bytes: config.http.max_body_bytes as usize,
        body_timeout: config.http.body_timeout(),
        audit_retention: config.audit.retention(),
        history_keep: config.history.keep(),
        client: client_document(config),
        per_account: config.limits.per_account().map(rate),
        per_address: config.limits.per_address().map(rate),
        hooks_per_address: config.limits.hooks_per_address().map(rate),
    };
    let telemetry = parts.telemetry.clone();
    let is_development = parts.development.is_some();
    let refused = move || telemetry.acts_limited(ActLimit::Address).increment(1);
    let limits = Arc::new(AddressLimits::new(settings.per_address, refused));
    let pages = hub::Parts {
        acts: Arc::clone(&parts.acts),
        engine: Arc::clone(&parts.engine),
        store: Arc::clone(&parts.store),
        clock: Arc::clone(&parts.clock),
        entropy: Arc::clone(&parts.entropy),
        providers: Arc::clone(&parts.providers),
        sessions: parts.sessions.clone(),
        limits: Arc::clone(&limits),
        is_development,
        public_url: settings.http_url.clone(),
        links: Links {
            shop: config.client.shop_url.as_ref().map(|url| url.as_str().to_owned()),
            earn: config.client.earn_url.as_ref().map(|url| url.as_str().to_owned()),
        },
        is_warm: Box::new({
            let telemetry = parts.telemetry.clone();
            move || matches!(telemetry.health().phase(), Phase::Ready | Phase::Draining)
        }),
    };
    let hub = hub::mount(pages, parts.development);
    let clients = ClientRegistry::open(
        Arc::clone(&parts.store),
        Arc::clone(&parts.clock),
        Arc::clone(&parts.entropy),
        Arc::clone(parts.acts.audit()),
    );
    let audit = Arc::clone(parts.acts.audit());
    let (store, clock, entropy) = (Arc::clone(&parts.store), Arc::clone(&parts.clock), Arc::clone(&parts.entropy));
    let tokens = AccountKeys::new(Arc::clone(&store), Arc::clone(&clock), entropy, audit).of_earners();
    let rewards = rewards::mount(RewardsSurface {
        secrets: parts.shops,
        assets: Arc::new(Assets::new(&config.rewards.landing_pages)),
        rewards: Arc::new(Rewards::new(RewardsParts {
            catalogue: config.catalogue(),
            address_daily: config.rewards.address_daily,
            products: config.rewards.products.iter().collect(),
            test_orders: config.rewards.test_orders == TestOrders::Credit,
            store,
            clock,
            tokens: Arc::new(tokens),
            telemetry: parts.telemetry.clone(),
        })),
    });
    let clients = Arc::new(clients.await?);
    let outbox = Arc::new(Outbox::new(
        parts.sessions.clone(),
        Arc::clone(&clients),
        Arc::clone(&parts.issuer),
        Arc::new(Counting(parts.telemetry.clone())),
        config.hub.logout_retry(),
    ));
    let provider = Arc::new(OpenIdProvider::new(ProviderParts {
        clients: Arc::clone(&clients),
        sessions: parts.sessions.clone(),
        issuer: Arc::clone(&parts.issuer),
        engine: Arc::clone(&parts.engine),
        clock: Arc::clone(&parts.clock),
        limits,
        public_url: settings.http_url.clone(),
        is_development,
    }));
    let parts = SurfaceParts {
        clients,
        handles: Some(Arc::<OpenIdProvider>::clone(&provider)),
        sign_ins: Some(Arc::new(parts.sessions)),
        acts: parts.acts,
        engine: Arc::clone(&parts.engine),
        store: parts.store,
        clock: Arc::clone(&parts.clock),
        entropy: parts.entropy,
        issuer: parts.issuer,
        statuses: parts.statuses,
        hooks: parts.hooks,
        identity: Arc::clone(&parts.providers) as Arc<dyn Authenticator>,
        events: Arc::clone(&parts.providers) as Arc<dyn EventReader>,
        instruments: Arc::new(Dashboard {
            telemetry: parts.telemetry,
            engine: parts.engine,
            clock: parts.clock,
            providers: parts.providers,
            pools: parts.pools,
            statements: parts.statements,
        }),
        secrets: parts.secrets,
        admission: parts.admission,
        settings,
    };
    let surface = Surface::open(parts, vec![rewards, hub, provider.mount()]).await?;
    let surface = Arc::new(surface);
    let public = Public { surface: Arc::clone(&surface), runtime: Handle::current() };
    Ok(Surfaces { public, admin: Admin(Arc::clone(&surface)), surface, outbox })
}

/// What apps and browser extensions are told.
fn client_document(config: &Config) -> ClientDocument {
    let client = &config.client;
    let url = |url: &Option<PublicUrl>| url.as_ref().map(|url| url.as_str().to_owned());
    let sign_in = |(issuer, client_id): (&str, &str)| SignIn { issuer: issuer.into(), client_id: client_id.into() };
    ClientDocument {
        sign_in: config.sign_ins().map(sign_in).collect(),
        proxy: client.proxy.as_ref().map(|proxy| ClientProxy {
            scheme: proxy.scheme().to_owned(),
            host: proxy.host().to_owned(),
            port: proxy.port(),
        }),
        bypass: client.bypass.as_slice().to_vec(),
        shop_url: url(&client.shop_url),
        earn_url: url(&client.earn_url),
        account_url: url(&client.account_url),
        low_credit_s: config.heartbeat.low_credit_s,
        interval_ms: config.heartbeat.interval_ms,
        timeout_ms: config.heartbeat.timeout_ms,
    }
}

/// Where browsers are told to open WebTransport sessions.
fn webtransport_url(config: &Config, listening: &Listening) -> Option<String> {
    let bound = listening.quic.filter(|_| config.webtransport.max_sessions > 0)?;
    let base = match &config.webtransport.public_url {
        Some(url) => url.as_str().to_owned(),
        None => format!("https://{}", config.told(config.quic.public_addr.as_ref(), bound)?),
    };
    Some(base + WEBTRANSPORT_PATH)
}

#[async_trait]
impl Fallback for Public {
    type Body = Body;
    type Memory = Caller;

    async fn answer(&self, request: Request<RequestBody>) -> Response<Body> {
        let (surface, request) = (Arc::clone(&self.surface), request.map(Body::new));
        if matches!(Budget::of(request.uri().path()), Budget::Verdicts | Budget::Documents) {
            return surface.public(request).await;
        }
        let act = AbortOnDropHandle::new(self.runtime.spawn(surface.public(request)));
        // A panic goes on here, to where all panics of requests end.
        act.await.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))
    }

    fn introspect(&self, caller: &mut Caller, question: &IntrospectionRequest<'_>, body: &mut Vec<u8>) -> bool {
        let IntrospectionRequest { content_type, authorization, form } = *question;
        self.surface.introspect_at_once(caller, content_type, authorization, form, body)
    }
}

#[async_trait]
impl Fallback for Admin {
    type Body = Body;
    type Memory = ();

    async fn answer(&self, request: Request<RequestBody>) -> Response<Body> {
        Arc::clone(&self.0).admin(request.map(Body::new)).await
    }

    fn introspect(&self, (): &mut (), _question: &IntrospectionRequest<'_>, _body: &mut Vec<u8>) -> bool {
        false
    }
}
