//! The service: everything put together, started, and stopped in order.
//!
//! Start: data directory, secrets, store, meter, keys, listeners, warm-up, ready. The HTTP listeners answer from the
//! moment they are bound, with 503 until the service is warm; datagrams wait in the socket's buffer until then. Stop:
//! no new work, what is under way finishes, what memory knows better than the store is written, the store is closed.

pub mod backup;
mod check;
mod dates;
pub mod history;
mod home;
mod instruments;
mod listeners;
mod nodes;
pub mod rounds;
mod store;
pub mod supervisor;
mod surfaces;
pub mod upkeep;
pub mod warm;

use std::{
    io::{self, Write},
    net::SocketAddr,
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    cluster::{ClusterError, Joining},
    config::{Config, StoreUrl},
    control::{
        acts::Acts,
        hooks::secrets::{HookSecrets, HookSecretsError},
        keyring::{KeyPolicy, Keyring, KeyringError},
        peers::{Alone, Membership},
        secrets::{self, SecretFile, Secrets},
        status::{StatusKeeper, StatusPolicy},
        status_token::StatusTokens,
        tokens::Issuer,
    },
    engine::Engine,
    entropy::{Entropy, OsEntropy},
    identity::{ProviderError, Providers},
    ingest::{
        Handler,
        http::{self, Crew, Crews, HttpLimits, Site, Threads, Tls},
        quic, udp,
    },
    store::StoreError,
    telemetry::{Health, HttpListener, Phase, Telemetry},
    time::{Clock, MeterClock},
    tls::{Certificates, PairError},
    web::admission::{Admission, Capacity, Pool},
};
pub use check::check;
use history::History;
use home::{Home, HomeError};
use instruments::Counting;
use listeners::{listen, listen_quic, listen_udp};
use nodes::{Joined, Shared};
pub use store::{StoreCommandError, copy, file_name, migrate};
use supervisor::Supervisor;
use upkeep::Upkeep;

/// Ended sessions that are remembered so that their clients are told why: about 20 MB when full.
const REMEMBERED: usize = 1 << 18;
/// What of the time to stop is kept for writing and closing.
const CLOSING: Duration = Duration::from_secs(3);

/// Why the service does not run.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    /// The data directory cannot be used.
    #[error(transparent)]
    Home(#[from] HomeError),
    /// The store cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The secrets of webhooks cannot be used.
    #[error(transparent)]
    Hooks(#[from] HookSecretsError),
    /// There are no usable signing keys.
    #[error(transparent)]
    Keys(#[from] KeyringError),
    /// The cluster secret is gone, but what it sealed is there.
    #[error(
        "the store has signing keys, but {} is missing: restore it from a backup, or copy it from another node of this \
         store; without it no session and no key can be used",
        .0.display()
    )]
    SecretLost(PathBuf),
    /// A listener's address cannot be bound.
    #[error("cannot listen on {name} {addr}: {source}")]
    Bind {
        /// The listener.
        name: &'static str,
        /// The address.
        addr: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// Signals cannot be waited for, or the like.
    #[error("the system refused: {0}")]
    System(#[from] io::Error),
    /// The certificate cannot be used.
    #[error(transparent)]
    Certificate(#[from] PairError),
    /// An identity provider cannot be used as it is configured.
    #[error(transparent)]
    Provider(#[from] ProviderError),
    /// A part that cannot begin anew panicked. What memory knew is written.
    #[error("a part of the service failed: {0}; the log has the panic before it. Please report it")]
    Part(&'static str),
    /// It cannot be, or go on as, one of the nodes that share the store.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
}

/// Where a running service listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listening {
    /// The public HTTP listener.
    pub http: SocketAddr,
    /// The public listener with TLS, if it is on.
    pub https: Option<SocketAddr>,
    /// The UDP listener, if it is on.
    pub udp: Option<SocketAddr>,
    /// The QUIC listener, if it is on.
    pub quic: Option<SocketAddr>,
    /// The listener for operators.
    pub admin: SocketAddr,
}

impl Listening {
    /// The line that tells programs where the service listens.
    pub fn ready_line(&self) -> String {
        let named =
            |name: &str, addr: Option<SocketAddr>| addr.map(|addr| format!(" {name}={addr}")).unwrap_or_default();
        let [https, udp, quic] =
            [("https", self.https), ("udp", self.udp), ("quic", self.quic)].map(|(name, addr)| named(name, addr));
        format!("ready http={}{https}{udp}{quic} admin={}", self.http, self.admin)
    }
}

/// A service that runs.
pub struct Service {
    listening: Listening,
    first_start: bool,
    meter: Arc<MeterClock>,
    delay: Duration,
    grace: Duration,
    stop_listening: CancellationToken,
    stop_rest: CancellationToken,
    listeners: TaskTracker,
    operators: TaskTracker,
    threads: Threads,
    supervisor: Supervisor,
    tasks: TaskTracker,
    upkeep: Upkeep,
    joined: Option<Joined>,
}

impl Service {
    /// Starts a service. Returns once it is ready.
    ///
    /// # Errors
    ///
    /// [`ServiceError`]; nothing is left running then.
    pub async fn start(config: Config) -> Result<Self, ServiceError> {
        let entropy: Arc<dyn Entropy> = Arc::new(OsEntropy);
        let home = Home::open(&config.data_dir)?;
        let first_start = !home.has_secret();
        let telemetry = Telemetry::new(Health::new());

        let store::Opened { store, shared, statements } = store::open(&config, &telemetry).await?;
        let shared = shared.map(Shared::new);
        telemetry.health().store_reachable(true);
        if first_start && !store.signing_keys().await?.is_empty() {
            return Err(ServiceError::SecretLost(home.secret_path()));
        }
        let mut secrets = home.secrets(&*entropy)?;
        if shared.is_some()
            && let Some(learnt) = secrets::learn(&*store, &secrets).await?
        {
            home.secret_lines().keep(&learnt)?;
            secrets = learnt;
        }
        let admin_token = home.admin_token(&*entropy)?;
        let kept = store.clock().await?;
        let meter = match &shared {
            Some(shared) => shared.meter(),
            None => Arc::new(MeterClock::resume(kept)),
        };
        meter.tick_for_ever()?;
        let clock: Arc<dyn Clock> = Arc::<MeterClock>::clone(&meter);
        let key_policy = KeyPolicy { shared: shared.is_some(), ..config.token.keys() };
        let keyring = Arc::new(Keyring::open(&*store, &secrets, key_policy, clock.wall()).await?);

        let certificates = Certificates::open(config.tls.source(&config.data_dir), telemetry.clone(), clock.wall())?;

        let admission = Admission::new(config.http.bodies());
        let limits = HttpLimits {
            connections: config.http.connections(),
            head: config.http.header_timeout(),
            body: config.http.body_timeout(),
            idle: config.http.idle_timeout(),
        };
        let public = listen(HttpListener::Public, "http", config.http.addr.get(), limits, &telemetry).await?;
        let encrypted = match config.https.addr.get() {
            None => None,
            Some(addr) => {
                let listener = listen(HttpListener::PublicTls, "https", addr, limits, &telemetry).await?;
                let handshakes = Pool::new(config.https.handshakes(), Arc::clone(&admission.proven));
                let tls = certificates.for_tcp(&[b"h2", b"http/1.1"]);
                Some(listener.encrypted(Tls::new(tls, handshakes)))
            }
        };
        let admin = listen(
            HttpListener::Admin,
            "admin",
            config.admin.addr.get(),
            HttpLimits { connections: Capacity { per_network: None, ..limits.connections }, ..limits },
            &telemetry,
        )
        .await?;
        let datagrams = config.udp.addr.get().map(|addr| listen_udp(addr, &config, &telemetry)).transpose()?;
        let quic =
            config.quic.addr.get().map(|addr| listen_quic(addr, &config, &certificates, &telemetry)).transpose()?;
        let listening = Listening {
            http: public.local_addr()?,
            https: encrypted.as_ref().map(http::Listener::local_addr).transpose()?,
            udp: datagrams.as_ref().map(udp::Listener::local_addr),
            quic: quic.as_ref().map(quic::Listener::local_addr).transpose()?,
            admin: admin.local_addr()?,
        };

        let public_url = config
            .http
            .public_url
            .as_ref()
            .map_or_else(|| format!("http://{}", listening.http), |url| url.as_str().to_owned());
        let issuer_name =
            config.token.issuer.as_ref().map_or_else(|| public_url.clone(), |url| url.as_str().to_owned());
        let issuer =
            Arc::new(Issuer::new(issuer_name, config.token.client_id.clone(), &public_url, Arc::clone(&keyring)));
        let engine = Engine::new(config.policy(), secrets, REMEMBERED);
        let engine = Arc::new(if shared.is_some() { engine.among_others() } else { engine });
        engine.set_wall(clock.now(), clock.wall());
        let lists = StatusPolicy {
            size: config.status_list.size(),
            shared: shared.is_some(),
            ..StatusPolicy::new(config.token.max_ttl())
        };
        let keeper = StatusKeeper::open(
            Arc::clone(&engine),
            Arc::clone(&store),
            Arc::clone(&clock),
            Arc::clone(&entropy),
            lists,
        );
        let keeper = Arc::new(keeper.await?);
        let statuses = StatusTokens::new(
            Arc::clone(&engine),
            Arc::clone(&clock),
            Arc::clone(&issuer),
            Arc::clone(&keeper),
            config.status_list.ttl(),
        );
        let secrets = Secrets::new(
            Arc::clone(&engine),
            Arc::clone(&keyring),
            Arc::clone(&store),
            Arc::clone(&entropy),
            Arc::new(home.secret_lines()),
        );
        let secrets = Arc::new(if shared.is_some() { secrets.among(Arc::clone(&clock)) } else { secrets });
        let acts = Acts::new(
            Arc::clone(&engine),
            Arc::clone(&store),
            Arc::clone(&clock),
            Arc::clone(&entropy),
            Arc::clone(&issuer),
            Arc::clone(&keeper),
            Arc::new(Counting(telemetry.clone())),
        );
        let (acts, statuses) = match &shared {
            Some(Shared { joining, store, .. }) => (
                acts.among(Arc::<Joining>::clone(joining)),
                statuses.among(Arc::<Joining>::clone(joining), Arc::clone(store)),
            ),
            None => (acts, statuses),
        };
        let (acts, statuses) = (Arc::new(acts), Arc::new(statuses));
        let hooks = Arc::new(HookSecrets::open(config.hooks_secrets(), config.hooks.tolerance(), clock.wall())?);
        let (chores, queue) = upkeep::chores(Arc::clone(&acts));
        let handler = Arc::new(Handler::new(
            Arc::clone(&engine),
            Arc::clone(&clock),
            Arc::new(chores.clone()),
            telemetry.clone(),
        ));
        let providers = Arc::new(Providers::new(config.identity_providers(), &clock, &telemetry)?);
        let threads = Threads::start(config.http.threads as usize)?;
        let crews = Crews { clients: Arc::clone(&threads.clients), edges: Some(Arc::clone(&threads.edges)) };
        let surfaces = surfaces::build(surfaces::Parts {
            config: &config,
            public_url,
            listening: &listening,
            admin_token,
            engine: Arc::clone(&engine),
            acts: Arc::clone(&acts),
            store: Arc::clone(&store),
            clock: Arc::clone(&clock),
            entropy: Arc::clone(&entropy),
            issuer,
            providers: Arc::clone(&providers),
            hooks,
            statuses: Arc::clone(&statuses),
            secrets: Arc::clone(&secrets),
            certificates: Arc::clone(&certificates),
            telemetry: telemetry.clone(),
            crews: crews.clone(),
            admission: Arc::clone(&admission),
            statements,
        })
        .await?;

        let (stop_listening, stop_rest) = (CancellationToken::new(), CancellationToken::new());
        let (listeners, operators) = (TaskTracker::new(), TaskTracker::new());
        let supervisor = Supervisor::new(telemetry.clone());
        listeners.spawn(supervisor.clone().thread("HTTP threads", stop_listening.clone(), threads.ended()));
        let body = config.http.body_timeout();
        let heartbeats = Some(Arc::clone(&handler));
        let h3_port = listening.quic.and_then(|bound| config.told_h3_port(bound));
        let max_body_bytes = config.http.max_body_bytes as usize;
        let public_site = Arc::new(Site {
            heartbeats,
            fallback: surfaces.public,
            body,
            origins: config.http.cors_origins.clone(),
            proxies: config.http.proxies(),
            h3_port,
            admission,
            max_body_bytes,
        });
        let admin_site = Site {
            heartbeats: None,
            fallback: surfaces.admin,
            body,
            origins: quic::Origins::none(),
            proxies: config.http.proxies(),
            h3_port: None,
            // Nobody who cannot reach this listener takes anything from those who can.
            admission: Admission::new(config.http.bodies()),
            max_body_bytes,
        };
        if let Some(encrypted) = encrypted {
            let running = encrypted.run(Arc::clone(&public_site), crews.clone(), stop_listening.clone());
            listeners.spawn(supervisor.clone().once("https listener", stop_listening.clone(), running));
        }
        let running = public.run(Arc::clone(&public_site), crews, stop_listening.clone());
        listeners.spawn(supervisor.clone().once("http listener", stop_listening.clone(), running));
        let here = Crews { clients: Arc::new(Crew::here()), edges: None };
        let running = admin.run(Arc::new(admin_site), here, stop_rest.clone());
        operators.spawn(supervisor.clone().once("admin listener", stop_rest.clone(), running));

        telemetry.health().enter(Phase::WarmingUp);
        let membership: Arc<dyn Membership> = match &shared {
            Some(Shared { joining, .. }) => Arc::<Joining>::clone(joining),
            None => Arc::new(Alone),
        };
        let history = config.history.keep().map(|keep| {
            let (engine, store, clock) = (Arc::clone(&engine), Arc::clone(&store), Arc::clone(&clock));
            Arc::new(History::new(keep, engine, store, clock, Arc::clone(&membership), telemetry.clone()))
        });
        let upkeep = Upkeep {
            engine,
            store,
            clock,
            membership,
            acts,
            keyring,
            keeper,
            secrets,
            audit_retention: config.audit.retention(),
            history,
            rotate_keys: config.token.rotate_keys(),
            telemetry: telemetry.clone(),
            checkpoint_interval: config.checkpoint.interval(),
            skewed: Arc::default(),
            rounds: Arc::default(),
            data_file: match &config.store {
                StoreUrl::Sqlite(path) => Some(path.clone()),
                StoreUrl::Scylla(_) => None,
            },
            kept,
        };
        let warm = warm::warm(&upkeep.engine, &*upkeep.store, &*upkeep.clock, &telemetry);
        let ready = async {
            let Some(shared) = &shared else {
                warm.await?;
                return Ok(None);
            };
            let name = config.node.name.clone().unwrap_or_else(|| listening.http.to_string());
            let warm = async { warm.await.map(drop) };
            shared.join(name, &upkeep, &*entropy, warm).await.map(Some)
        };
        let joined = match ready.await {
            Ok(joined) => joined,
            Err(error) => {
                stop_listening.cancel();
                stop_rest.cancel();
                return Err(match error {
                    ClusterError::Store(error) => error.into(),
                    why => why.into(),
                });
            }
        };
        if joined.is_none() {
            meter.start();
        }
        let tasks = upkeep.start(chores, queue, &supervisor, &stop_rest);
        if let Some(joined) = &joined {
            joined.start(surfaces.surface, statuses, &tasks, &supervisor, &stop_rest);
        }
        if upkeep.history.is_none() {
            let (store, clock, stop) = (Arc::clone(&upkeep.store), Arc::clone(&upkeep.clock), stop_rest.clone());
            tasks.spawn(async move { stop.run_until_cancelled(history::forget(&*store, &*clock)).await });
        }
        for keep_fresh in providers.keepers() {
            tasks.spawn(supervisor.clone().again("identity provider's keys", stop_rest.clone(), keep_fresh));
        }
        let (clock, stop) = (Arc::clone(&upkeep.clock), stop_rest.clone());
        let watch = move || Arc::clone(&certificates).watch(Arc::clone(&clock), stop.clone());
        tasks.spawn(supervisor.clone().again("certificate", stop_rest.clone(), watch));
        if let Some(quic) = quic {
            let running = quic.run(Arc::clone(&handler), public_site, stop_listening.clone());
            listeners.spawn(supervisor.clone().once("quic listener", stop_listening.clone(), running));
        }
        if let Some(datagrams) = datagrams {
            match datagrams.start(&handler) {
                Ok(running) => {
                    let running = running.run(stop_listening.clone());
                    listeners.spawn(supervisor.clone().once("udp listener", stop_listening.clone(), running));
                }
                Err(error) => {
                    stop_listening.cancel();
                    stop_rest.cancel();
                    return Err(error.into());
                }
            }
        }
        telemetry.health().enter(Phase::Ready);
        tracing::info!(sessions = upkeep.engine.live(), meter = %upkeep.clock.now(), "ready");
        let (delay, grace) = (config.shutdown.delay(), config.shutdown.grace());
        Ok(Self {
            listening,
            first_start,
            meter,
            delay,
            grace,
            stop_listening,
            stop_rest,
            listeners,
            operators,
            threads,
            supervisor,
            tasks,
            upkeep,
            joined,
        })
    }

    /// Where it listens.
    pub const fn listening(&self) -> &Listening {
        &self.listening
    }

    /// Whether this is the first start on its data directory.
    pub const fn is_first_start(&self) -> bool {
        self.first_start
    }

    /// Stops: finishes what is under way, writes down what memory knows, closes the store. Operators are answered while
    /// clients' connections end, so that they can see it drain.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if not everything could be written: at most the last checkpoint interval of heartbeats is lost.
    pub async fn stop(self) -> Result<(), StoreError> {
        self.upkeep.telemetry.health().enter(Phase::Draining);
        tracing::info!("draining");
        // Who sends clients here is to see that first.
        tokio::time::sleep(self.delay).await;
        self.stop_listening.cancel();
        self.listeners.close();
        if tokio::time::timeout(self.grace.saturating_sub(CLOSING), self.listeners.wait()).await.is_err() {
            tracing::warn!("some connections did not end in time and are cut");
        }
        self.threads.end().await;
        self.meter.stop();
        self.stop_rest.cancel();
        self.operators.close();
        self.tasks.wait().await;
        let flushed = self.upkeep.flush(CLOSING).await;
        // Only who has told all that it heard may go without the others' waiting for it.
        if let (Ok(()), Some(joined)) = (&flushed, &self.joined)
            && !matches!(tokio::time::timeout(CLOSING, joined.leave()).await, Ok(Ok(())))
        {
            tracing::warn!("the other nodes could not be told that this one leaves; they will find out");
        }
        if let Some(history) = &self.upkeep.history {
            history.finish().await;
        }
        let closed = self.upkeep.store.close().await;
        flushed?;
        closed?;
        tracing::info!("stopped");
        Ok(())
    }

    /// Runs until it is told to stop, or cannot go on.
    async fn run_until(self, told: impl Future<Output = ()>) -> Result<(), ServiceError> {
        let (joined, supervisor) = (self.joined.clone(), self.supervisor.clone());
        let lost = async {
            match &joined {
                Some(joined) => joined.lost().await,
                None => std::future::pending().await,
            }
        };
        let failed = tokio::select! {
            biased;
            why = lost => {
                self.abandon().await;
                return Err(why.into());
            }
            part = supervisor.failed() => Some(part),
            () = told => None,
        };
        self.stop().await?;
        match failed {
            Some(part) => Err(ServiceError::Part(part)),
            None => Ok(()),
        }
    }

    /// Ends at once, and writes nothing: others have gone on without this node, and what it knows is void.
    async fn abandon(self) {
        self.stop_listening.cancel();
        self.stop_rest.cancel();
        self.threads.end().await;
        drop(self.upkeep.store.close().await);
    }
}

/// Runs a service until it is told to stop by SIGTERM or SIGINT.
///
/// Prints the ready line on standard output. `welcome` is told where it listens, and whether this is the first start.
///
/// # Errors
///
/// [`ServiceError`].
pub async fn run(config: Config, welcome: impl FnOnce(&Listening, bool)) -> Result<(), ServiceError> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    // It makes the certificates be looked at; from now on it does not end the process, not even while that starts.
    let _hangup = signal(SignalKind::hangup())?;
    for warning in config.warnings() {
        tracing::warn!("{warning}");
    }
    let service = tokio::select! {
        started = Service::start(config) => started?,
        _ = terminate.recv() => return Ok(()),
        _ = interrupt.recv() => return Ok(()),
    };
    welcome(service.listening(), service.is_first_start());
    say_ready(service.listening());
    let told = async {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    };
    service.run_until(told).await
}

/// Prints the ready line. A reader that is gone, or does not read, is no reason not to serve.
fn say_ready(listening: &Listening) {
    let line = listening.ready_line();
    let saying = move || {
        let mut out = io::stdout().lock();
        if let Err(error) = writeln!(out, "{line}").and_then(|()| out.flush()) {
            tracing::warn!(%error, "the ready line could not be written to standard output");
        }
    };
    // Not a thread of the runtime, whose end would wait for the reader.
    if let Err(error) = std::thread::Builder::new().name("say".to_owned()).spawn(saying) {
        tracing::warn!(%error, "the ready line could not be written to standard output");
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpStream;

    use super::*;
    use crate::store::{SqliteOptions, SqliteStore, Store};

    /// A service on free ports, and where its data are.
    async fn service() -> (Service, tempfile::TempDir) {
        let dir = tempfile::tempdir().unwrap();
        let text = format!(
            "data_dir = {:?}\n[http]\naddr = \"127.0.0.1:0\"\n[udp]\naddr = \"127.0.0.1:0\"\n[quic]\naddr = \"off\"\n\
             [admin]\naddr = \"127.0.0.1:0\"\n",
            dir.path()
        );
        let service = Box::pin(Service::start(Config::from_toml(&text).unwrap())).await.unwrap();
        (service, dir)
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_part_that_fails_for_good_ends_the_service_in_order() {
        let (service, dir) = service().await;
        let http = service.listening().http;
        let failing = service.supervisor.clone().once("sunrise", service.stop_rest.clone(), async {
            panic!("a part panics");
        });
        service.tasks.spawn(failing);
        let ended = service.run_until(std::future::pending()).await;
        assert!(matches!(ended, Err(ServiceError::Part("sunrise"))), "{ended:?}");
        assert!(TcpStream::connect(http).await.is_err(), "nobody is let in any more");
        // Everything is written, and the file is let go: another may have it, and the meter is where it was.
        let store = SqliteStore::open(&dir.path().join("gastank.db"), &SqliteOptions::default()).unwrap();
        assert!(store.clock().await.unwrap().is_some());
        store.close().await.unwrap();
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn each_listener_and_thread_that_ends_too_early_ends_the_service() {
        let (service, _dir) = service().await;
        // As if each of the HTTP threads had ended.
        service.threads.ended().cancel();
        let ended = service.run_until(std::future::pending()).await;
        assert!(matches!(ended, Err(ServiceError::Part("HTTP threads"))), "{ended:?}");
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_service_that_is_told_to_stop_has_no_part_that_failed() {
        let (service, _dir) = service().await;
        let supervisor = service.supervisor.clone();
        service.run_until(std::future::ready(())).await.unwrap();
        let failed = tokio::time::timeout(Duration::from_millis(50), supervisor.failed()).await;
        assert!(failed.is_err(), "{failed:?}");
    }
}
