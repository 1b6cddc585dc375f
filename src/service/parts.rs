//! What a service is made of, stage by stage.

use std::{
    path::PathBuf,
    sync::{Arc, atomic::AtomicU64},
};

use tokio_util::sync::CancellationToken;
use zeroize::Zeroizing;

use crate::{
    cluster::Joining,
    config::{Config, StoreUrl},
    control::{
        acts::Acts,
        hooks::secrets::HookSecrets,
        keyring::{KeyPolicy, Keyring},
        peers::{Alone, Membership},
        secrets::{self, SecretFile, Secrets},
        status::{StatusKeeper, StatusPolicy},
        status_token::StatusTokens,
        tokens::Issuer,
    },
    engine::{Credit, Engine, SecretRing},
    entropy::{Entropy, OsEntropy},
    hub::{self, Development, HubSessions},
    identity::Providers,
    ingest::{
        Handler,
        http::{self, HttpLimits, Site, Threads, Tls, WorkerPool, WorkerPools},
        quic, udp,
    },
    rewards::ShopSecrets,
    store::Store,
    telemetry::{Health, HttpListener, Telemetry},
    time::{Clock, ClockFact, MeterClock},
    tls::Certificates,
    web::{
        admission::{Admission, Capacity, Pool},
        cors::CorsRules,
    },
};

use super::{
    descriptors,
    error::ServiceError,
    history::History,
    home::Home,
    instruments::{Counting, Witnesses},
    listeners::{listen, listen_quic, listen_udp},
    listening::Listening,
    nodes::Shared,
    running::Teardown,
    store,
    supervisor::Supervisor,
    surfaces::{self, Surfaces},
    upkeep::{self, ChoreQueue, Chores, Upkeep},
};

/// Ended sessions that are remembered so that their clients are told why: about 20 MB when full.
const REMEMBERED: usize = 1 << 18;

/// The data directory and the store.
pub(super) struct Ground {
    pub(super) entropy: Arc<dyn Entropy>,
    pub(super) home: Home,
    pub(super) first_start: bool,
    pub(super) telemetry: Telemetry,
    pub(super) store: Arc<dyn Store>,
    pub(super) shared: Option<Shared>,
    pub(super) statements: Option<Arc<AtomicU64>>,
}

impl Ground {
    pub(super) async fn open(config: &Config, teardown: &mut Teardown) -> Result<Self, ServiceError> {
        let home = Home::open(&config.data_dir)?;
        let has_secret = home.has_secret();
        let telemetry = Telemetry::new(Health::new());
        let store::Opened { store, shared, statements, writer_ended } = store::open(config, &telemetry).await?;
        teardown.watched.extend(writer_ended.map(|ended| ("store writer", ended)));
        teardown.store = Some(Arc::clone(&store));
        telemetry.health().store_reachable(true);
        if !has_secret && !store.signing_keys().await?.is_empty() {
            return Err(ServiceError::SecretLost(home.secret_path()));
        }
        // A store that has kept the meter has been used, also where the secrets had to be made anew.
        let first_start = !has_secret && store.clock().await?.is_none();
        let shared = shared.map(Shared::new);
        Ok(Self { entropy: Arc::new(OsEntropy), home, first_start, telemetry, store, shared, statements })
    }
}

/// What is secret, and the clock that tells how long it is.
pub(super) struct Keys {
    pub(super) secrets: SecretRing,
    pub(super) admin_token: Zeroizing<String>,
    pub(super) kept: Option<ClockFact>,
    pub(super) meter: Arc<MeterClock>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) keyring: Arc<Keyring>,
    pub(super) certificates: Arc<Certificates>,
}

impl Keys {
    pub(super) async fn open(config: &Config, ground: &Ground, teardown: &mut Teardown) -> Result<Self, ServiceError> {
        let Ground { entropy, home, store, shared, telemetry, .. } = ground;
        let mut secrets = home.secrets(&**entropy)?;
        if shared.is_some()
            && let Some(learnt) = secrets::learn(&**store, &secrets).await?
        {
            home.secret_lines().keep(&learnt)?;
            secrets = learnt;
        }
        let admin_token = home.admin_token(&**entropy)?;
        let kept = store.clock().await?;
        let meter = match shared {
            Some(shared) => shared.meter(),
            None => Arc::new(MeterClock::resume(kept)),
        };
        teardown.meter = Some(Arc::clone(&meter));
        let ended = CancellationToken::new();
        meter.tick_for_ever(ended.clone().drop_guard())?;
        teardown.watched.push(("meter thread", ended));
        let clock: Arc<dyn Clock> = Arc::<MeterClock>::clone(&meter);
        let key_policy = KeyPolicy { shared: shared.is_some(), ..config.token.keys() };
        let keyring = Arc::new(Keyring::open(&**store, &secrets, key_policy, clock.wall()).await?);
        let certificates = Certificates::open(config.tls.source(&config.data_dir), telemetry.clone(), clock.wall())?;
        Ok(Self { secrets, admin_token, kept, meter, clock, keyring, certificates })
    }
}

/// The bound ports.
pub(super) struct Sockets {
    pub(super) admission: Arc<Admission>,
    pub(super) public: http::Listener,
    pub(super) encrypted: Option<http::Listener>,
    pub(super) admin: http::Listener,
    pub(super) datagrams: Option<udp::Listener>,
    pub(super) quic: Option<quic::Listener>,
    pub(super) listening: Listening,
}

impl Sockets {
    pub(super) async fn bind(config: &Config, ground: &Ground, keys: &Keys) -> Result<Self, ServiceError> {
        let (telemetry, certificates) = (&ground.telemetry, &keys.certificates);
        let admission = Admission::new(config.http.bodies());
        let wanted = config.http.connections();
        let public = 1 + usize::from(config.https.addr.get().is_some());
        let connections = descriptors::raise_limit().map_or(wanted, |limit| descriptors::fit(wanted, public, limit));
        if connections.total < wanted.total {
            tracing::info!(
                wanted = wanted.total,
                allowed = connections.total,
                "http.max_connections is lowered to what the limit on open files has room for; raise it (LimitNOFILE, ulimit -n)"
            );
        }
        let limits = HttpLimits {
            connections,
            head: config.http.header_timeout(),
            body: config.http.body_timeout(),
            idle: config.http.idle_timeout(),
        };
        let public = listen(HttpListener::Public, "http", config.http.addr.get(), limits, telemetry).await?;
        let encrypted = match config.https.addr.get() {
            None => None,
            Some(addr) => {
                let listener = listen(HttpListener::PublicTls, "https", addr, limits, telemetry).await?;
                let handshakes = Pool::new(config.https.handshakes(), Arc::clone(&admission.proven));
                let tls = certificates.for_tcp(&[b"h2", b"http/1.1"]);
                Some(listener.encrypted(Tls::new(tls, handshakes)))
            }
        };
        let of_admin = HttpLimits { connections: Capacity { per_network: None, ..limits.connections }, ..limits };
        let admin = listen(HttpListener::Admin, "admin", config.admin.addr.get(), of_admin, telemetry).await?;
        let datagrams = config.udp.addr.get().map(|addr| listen_udp(addr, config, telemetry)).transpose()?;
        let quic = config.quic.addr.get().map(|addr| listen_quic(addr, config, certificates, telemetry)).transpose()?;
        let listening = Listening {
            http: public.local_addr()?,
            https: encrypted.as_ref().map(http::Listener::local_addr).transpose()?,
            udp: datagrams.as_ref().map(udp::Listener::local_addr),
            quic: quic.as_ref().map(quic::Listener::local_addr).transpose()?,
            admin: admin.local_addr()?,
        };
        Ok(Self { admission, public, encrypted, admin, datagrams, quic, listening })
    }
}

/// The engine, and what does acts.
pub(super) struct Core {
    pub(super) public_url: String,
    pub(super) issuer: Arc<Issuer>,
    pub(super) engine: Arc<Engine>,
    pub(super) keeper: Arc<StatusKeeper>,
    pub(super) statuses: Arc<StatusTokens>,
    pub(super) secrets: Arc<Secrets>,
    pub(super) acts: Arc<Acts>,
    pub(super) hub_sessions: HubSessions,
    pub(super) hooks: Arc<HookSecrets>,
    pub(super) shops: Arc<ShopSecrets>,
    pub(super) chores: Chores,
    pub(super) queue: ChoreQueue,
    pub(super) handler: Arc<Handler>,
    pub(super) providers: Arc<Providers>,
    pub(super) development: Option<Arc<Development>>,
}

impl Core {
    pub(super) async fn build(
        config: &Config,
        ground: &Ground,
        keys: &Keys,
        sockets: &Sockets,
    ) -> Result<Self, ServiceError> {
        let Ground { entropy, home, store, shared, telemetry, .. } = ground;
        let Keys { clock, keyring, .. } = keys;
        let public_url = config
            .http
            .public_url
            .as_ref()
            .map_or_else(|| format!("http://{}", sockets.listening.http), |url| url.as_str().to_owned());
        let issuer_name =
            config.token.issuer.as_ref().map_or_else(|| public_url.clone(), |url| url.as_str().to_owned());
        let issuer =
            Arc::new(Issuer::new(issuer_name, config.token.client_id.clone(), &public_url, Arc::clone(keyring)));
        let engine = Engine::new(config.policy(), keys.secrets.clone(), REMEMBERED);
        let engine = Arc::new(if shared.is_some() { engine.among_others() } else { engine });
        engine.set_wall(clock.now(), clock.wall());
        let lists = StatusPolicy {
            size: config.status_list.size(),
            shared: shared.is_some(),
            ..StatusPolicy::new(config.token.max_ttl())
        };
        let keeper =
            StatusKeeper::open(Arc::clone(&engine), Arc::clone(store), Arc::clone(clock), Arc::clone(entropy), lists);
        let keeper = Arc::new(keeper.await?);
        let statuses = StatusTokens::new(
            Arc::clone(&engine),
            Arc::clone(clock),
            Arc::clone(&issuer),
            Arc::clone(&keeper),
            config.status_list.ttl(),
        );
        let secrets = Secrets::new(
            Arc::clone(&engine),
            Arc::clone(keyring),
            Arc::clone(store),
            Arc::clone(entropy),
            Arc::new(home.secret_lines()),
        );
        let secrets = Arc::new(if shared.is_some() { secrets.among(Arc::clone(clock)) } else { secrets });
        let bus: Arc<dyn hub::Bus> = if shared.is_some() { Arc::new(hub::Unheard) } else { Arc::new(hub::Alone) };
        let hub_sessions =
            HubSessions::new(Arc::clone(store), Arc::clone(clock), Arc::clone(entropy), bus, config.hub.lifetimes());
        let acts = Acts::new(
            Arc::clone(&engine),
            Arc::clone(store),
            Arc::clone(clock),
            Arc::clone(entropy),
            Arc::clone(&issuer),
            Arc::clone(&keeper),
            Arc::new(Witnesses { counting: Counting(telemetry.clone()), hub_sessions: hub_sessions.clone() }),
        );
        let (acts, statuses) = match shared {
            Some(Shared { joining, store, .. }) => (
                acts.among(Arc::<Joining>::clone(joining)),
                statuses.among(Arc::<Joining>::clone(joining), Arc::clone(store)),
            ),
            None => (acts, statuses),
        };
        let (acts, statuses) = (Arc::new(acts), Arc::new(statuses));
        let hooks = Arc::new(HookSecrets::open(config.hooks_secrets(), config.hooks.tolerance(), clock.wall())?);
        let shops = Arc::new(ShopSecrets::open(&config.shops_secrets())?);
        for warning in likely_mistakes(config) {
            tracing::warn!("{warning}");
        }
        let (chores, queue) = upkeep::chores(Arc::clone(&acts));
        let handler =
            Arc::new(Handler::new(Arc::clone(&engine), Arc::clone(clock), Arc::new(chores.clone()), telemetry.clone()));
        let development = match config.hub.development_provider {
            true => Some(Arc::new(Development::new(public_url.clone(), Arc::clone(clock), Arc::clone(entropy))?)),
            false => None,
        };
        let inside = development.as_ref().map(|provider| provider.settings(Credit::ZERO));
        let providers = Arc::new(Providers::new(config.identity_providers().chain(inside), clock, telemetry)?);
        Ok(Self {
            public_url,
            issuer,
            engine,
            keeper,
            statuses,
            secrets,
            acts,
            hub_sessions,
            hooks,
            shops,
            chores,
            queue,
            handler,
            providers,
            development,
        })
    }
}

/// The threads that serve connections, and what they ask.
pub(super) struct Front {
    pub(super) pools: WorkerPools,
    pub(super) surfaces: Surfaces,
}

impl Front {
    pub(super) async fn build(
        config: &Config,
        ground: &Ground,
        keys: &Keys,
        sockets: &Sockets,
        core: &Core,
        teardown: &mut Teardown,
    ) -> Result<Self, ServiceError> {
        let threads = teardown.threads.insert(Threads::start(config.http.threads as usize)?);
        let pools = WorkerPools { clients: Arc::clone(&threads.clients), edges: Some(Arc::clone(&threads.edges)) };
        let surfaces = surfaces::build(surfaces::Parts {
            config,
            public_url: core.public_url.clone(),
            listening: &sockets.listening,
            admin_token: keys.admin_token.clone(),
            engine: Arc::clone(&core.engine),
            acts: Arc::clone(&core.acts),
            store: Arc::clone(&ground.store),
            clock: Arc::clone(&keys.clock),
            entropy: Arc::clone(&ground.entropy),
            issuer: Arc::clone(&core.issuer),
            providers: Arc::clone(&core.providers),
            hooks: Arc::clone(&core.hooks),
            shops: Arc::clone(&core.shops),
            statuses: Arc::clone(&core.statuses),
            secrets: Arc::clone(&core.secrets),
            certificates: Arc::clone(&keys.certificates),
            telemetry: ground.telemetry.clone(),
            pools: pools.clone(),
            admission: Arc::clone(&sockets.admission),
            statements: ground.statements.clone(),
            development: core.development.clone(),
            sessions: core.hub_sessions.clone(),
        });
        Ok(Self { pools, surfaces: surfaces.await? })
    }
}

/// The bound listeners of HTTP.
pub(super) struct HttpListeners {
    pub(super) public: http::Listener,
    pub(super) encrypted: Option<http::Listener>,
    pub(super) admin: http::Listener,
}

/// What the HTTP listeners answer with.
pub(super) struct Serving<'a> {
    pub(super) config: &'a Config,
    pub(super) listening: &'a Listening,
    pub(super) handler: &'a Arc<Handler>,
    pub(super) admission: Arc<Admission>,
    pub(super) public: surfaces::Public,
    pub(super) admin: surfaces::Admin,
    pub(super) pools: WorkerPools,
    pub(super) supervisor: &'a Supervisor,
}

impl Serving<'_> {
    /// Lets the HTTP listeners answer. The answer is what QUIC serves too.
    pub(super) fn start(self, listeners: HttpListeners, teardown: &Teardown) -> Arc<Site<surfaces::Public>> {
        let Self { config, handler, pools, supervisor, .. } = self;
        let stop = &teardown.stop_listening;
        if let Some(threads) = &teardown.threads {
            teardown.listeners.spawn(supervisor.clone().thread("HTTP threads", stop.clone(), threads.ended()));
        }
        let body = config.http.body_timeout();
        let max_body_bytes = config.http.max_body_bytes as usize;
        let site = Arc::new(Site {
            heartbeats: Some(Arc::clone(handler)),
            fallback: self.public,
            body,
            cors: CorsRules { clients: config.http.cors_origins.clone(), earning: config.rewards.origins.clone() },
            proxies: config.http.proxies(),
            h3: self.listening.quic.and_then(|bound| config.told_h3(bound)),
            admission: self.admission,
            max_body_bytes,
        });
        let admin_site = Site {
            heartbeats: None,
            fallback: self.admin,
            body,
            cors: CorsRules::none(),
            proxies: config.http.proxies(),
            h3: None,
            // Nobody who cannot reach this listener takes anything from those who can.
            admission: Admission::new(config.http.bodies()),
            max_body_bytes,
        };
        if let Some(encrypted) = listeners.encrypted {
            let running = encrypted.run(Arc::clone(&site), pools.clone(), stop.clone());
            teardown.listeners.spawn(supervisor.clone().once("https listener", stop.clone(), running));
        }
        let running = listeners.public.run(Arc::clone(&site), pools, stop.clone());
        teardown.listeners.spawn(supervisor.clone().once("http listener", stop.clone(), running));
        let (here, stop) = (WorkerPools { clients: Arc::new(WorkerPool::here()), edges: None }, &teardown.stop_rest);
        let running = listeners.admin.run(Arc::new(admin_site), here, stop.clone());
        teardown.operators.spawn(supervisor.clone().once("admin listener", stop.clone(), running));
        site
    }
}

pub(super) fn upkeep(config: &Config, ground: &Ground, keys: &Keys, core: &Core) -> Upkeep {
    let (engine, store, clock) = (Arc::clone(&core.engine), Arc::clone(&ground.store), Arc::clone(&keys.clock));
    let membership: Arc<dyn Membership> = match &ground.shared {
        Some(Shared { joining, .. }) => Arc::<Joining>::clone(joining),
        None => Arc::new(Alone),
    };
    let history = config.history.keep().map(|keep| {
        let (engine, store, clock) = (Arc::clone(&engine), Arc::clone(&store), Arc::clone(&clock));
        Arc::new(History::new(keep, engine, store, clock, Arc::clone(&membership), ground.telemetry.clone()))
    });
    Upkeep {
        engine,
        store,
        clock,
        membership,
        acts: Arc::clone(&core.acts),
        hub_sessions: core.hub_sessions.clone(),
        keyring: Arc::clone(&keys.keyring),
        keeper: Arc::clone(&core.keeper),
        secrets: Arc::clone(&core.secrets),
        audit_retention: config.audit.retention(),
        history,
        rotate_keys: config.token.rotate_keys(),
        telemetry: ground.telemetry.clone(),
        checkpoint_interval: config.checkpoint.interval(),
        skewed: Arc::default(),
        rounds: Arc::default(),
        data_file: match &config.store {
            StoreUrl::Sqlite(path) => Some(path.clone()),
            StoreUrl::Scylla(_) => None,
        },
        kept: keys.kept,
    }
}

/// What to tell of a configuration that works and is hardly meant so: a file with secrets that is named and not there, rewards
/// that no page may ask for.
pub(super) fn likely_mistakes(config: &Config) -> Vec<String> {
    let missing = |path: &Option<PathBuf>| path.clone().filter(|path| !path.exists());
    let mut told = Vec::new();
    if let Some(path) = missing(&config.hooks.secrets_file) {
        told.push(format!("hooks.secrets_file {} is not there: all webhooks are refused until it is", path.display()));
    }
    if let Some(path) = missing(&config.rewards.shops_file) {
        told.push(format!(
            "rewards.shops_file {} is not there: all webhooks of shops are refused; it is read at the start",
            path.display()
        ));
    }
    if !config.reward.is_empty() && config.rewards.landing_pages.is_empty() {
        told.push("there are rewards, and rewards.landing_pages is empty: no page may show the widget".to_owned());
    }
    told
}
