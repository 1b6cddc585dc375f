//! The start, in named stages. What a stage begins is noted in [`Teardown`]; when a later one fails, all of it is undone: then ports,
//! threads and the data file are free again.

use std::{sync::Arc, time::Duration};

use crate::{
    cluster::ClusterError, config::Config, control::hooks::secrets::HookSecrets, identity::Providers, telemetry::Phase,
    tls::Certificates,
};

use super::{
    error::ServiceError,
    history,
    listening::Listening,
    parts::{Core, Front, Ground, HttpListeners, Keys, Serving, Sockets, upkeep},
    running::{Service, Teardown},
    supervisor::Supervisor,
    upkeep::Upkeep,
    warm,
};

/// A stage of the start, in their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// The store is open, its lock held.
    Store,
    /// The meter ticks; secrets, signing keys and the certificate are there.
    Keys,
    /// The ports are bound.
    Sockets,
    /// The engine, and what does acts.
    Core,
    /// The threads that serve connections, and what they ask.
    Threads,
    /// The HTTP listeners answer, with 503.
    Answering,
    /// Every open session is known; this node has joined the others, if there are any.
    Warm,
    /// Housekeeping runs.
    Housekeeping,
    /// Datagrams and QUIC are answered: the last.
    Ready,
}

/// Whether the start goes on after a stage. In the service it always does.
trait Gate: Sync {
    /// Asked at the end of each stage.
    fn passed(&self, stage: Stage) -> Result<(), ServiceError>;
}

/// The start goes on.
struct Go;

impl Gate for Go {
    fn passed(&self, stage: Stage) -> Result<(), ServiceError> {
        tracing::debug!(?stage, "a stage of the start is done");
        Ok(())
    }
}

impl Service {
    /// Starts a service. Returns once it is ready.
    ///
    /// # Errors
    ///
    /// [`ServiceError`]; nothing is left running then.
    pub async fn start(config: Config) -> Result<Self, ServiceError> {
        start(&config, &Go).await
    }
}

async fn start(config: &Config, gate: &dyn Gate) -> Result<Service, ServiceError> {
    let mut teardown = Teardown::default();
    match Box::pin(stages(config, gate, &mut teardown)).await {
        Ok(parts) => Ok(Service {
            listening: parts.listening,
            first_start: parts.first_start,
            delay: config.shutdown.delay(),
            grace: config.shutdown.grace(),
            supervisor: parts.supervisor,
            upkeep: parts.upkeep,
            teardown,
        }),
        Err(error) => {
            teardown.undo().await;
            Err(error)
        }
    }
}

/// What a service is made of beside what has to end.
struct Started {
    listening: Listening,
    first_start: bool,
    supervisor: Supervisor,
    upkeep: Upkeep,
}

async fn stages(config: &Config, gate: &dyn Gate, teardown: &mut Teardown) -> Result<Started, ServiceError> {
    let ground = Ground::open(config, teardown).await?;
    gate.passed(Stage::Store)?;
    let keys = Keys::open(config, &ground, teardown).await?;
    gate.passed(Stage::Keys)?;
    let sockets = Sockets::bind(config, &ground, &keys).await?;
    gate.passed(Stage::Sockets)?;
    let core = Core::build(config, &ground, &keys, &sockets).await?;
    gate.passed(Stage::Core)?;
    let front = Front::build(config, &ground, &keys, &sockets, &core, teardown).await?;
    gate.passed(Stage::Threads)?;
    let supervisor = Supervisor::new(ground.telemetry.clone());
    for (part, ended) in &teardown.watched {
        let watching = supervisor.clone().thread(part, teardown.stop_rest.clone(), ended.clone());
        teardown.operators.spawn(watching);
    }
    let (udp, quic, listening) = (sockets.datagrams, sockets.quic, sockets.listening);
    let serving = Serving {
        config,
        listening: &listening,
        handler: &core.handler,
        admission: sockets.admission,
        public: front.surfaces.public,
        admin: front.surfaces.admin,
        pools: front.pools,
        supervisor: &supervisor,
    };
    let listeners = HttpListeners { public: sockets.public, encrypted: sockets.encrypted, admin: sockets.admin };
    let site = serving.start(listeners, teardown);
    ground.telemetry.health().enter(Phase::WarmingUp);
    gate.passed(Stage::Answering)?;
    let upkeep = upkeep(config, &ground, &keys, &core);
    warm_up(config, &ground, &keys, &listening, &upkeep, teardown).await?;
    gate.passed(Stage::Warm)?;
    teardown.tasks = upkeep.start(core.chores, core.queue, &supervisor, &teardown.stop_rest);
    if let Some(joined) = &teardown.joined {
        joined.start(front.surfaces.surface, core.statuses, &teardown.tasks, &supervisor, &teardown.stop_rest);
    }
    let (outbox, stop) = (front.surfaces.outbox, teardown.stop_rest.clone());
    let deliver = move || Arc::clone(&outbox).deliver_for_ever();
    teardown.tasks.spawn(supervisor.clone().again("back-channel logouts", stop, deliver));
    keep_house(&upkeep, &core.providers, &core.hooks, &keys.certificates, &supervisor, teardown);
    gate.passed(Stage::Housekeeping)?;
    if let Some(quic) = quic {
        let running = quic.run(Arc::clone(&core.handler), site, teardown.stop_listening.clone());
        let running = supervisor.clone().once("quic listener", teardown.stop_listening.clone(), running);
        teardown.listeners.spawn(running);
    }
    if let Some(udp) = udp {
        let running = udp.start(&core.handler)?.run(teardown.stop_listening.clone());
        teardown.listeners.spawn(supervisor.clone().once("udp listener", teardown.stop_listening.clone(), running));
    }
    gate.passed(Stage::Ready)?;
    ground.telemetry.health().enter(Phase::Ready);
    tracing::info!(sessions = upkeep.engine.live(), meter = %upkeep.clock.now(), "ready");
    Ok(Started { listening, first_start: ground.first_start, supervisor, upkeep })
}

/// Reads every open session, and joins the other nodes, if there are any. The meter runs afterwards.
async fn warm_up(
    config: &Config,
    ground: &Ground,
    keys: &Keys,
    listening: &Listening,
    upkeep: &Upkeep,
    teardown: &mut Teardown,
) -> Result<(), ServiceError> {
    let warm = warm::warm(&upkeep.engine, &*upkeep.store, &*upkeep.clock, &ground.telemetry);
    match &ground.shared {
        None => {
            warm.await?;
            keys.meter.start();
        }
        Some(shared) => {
            let name = config.node.name.clone().unwrap_or_else(|| listening.http.to_string());
            let warm = async { warm.await.map(drop) };
            let joined = shared.join(name, upkeep, &*ground.entropy, warm).await.map_err(|error| match error {
                ClusterError::Store(error) => ServiceError::from(error),
                why => why.into(),
            })?;
            teardown.joined = Some(joined);
        }
    }
    // From here on memory may know more than the store.
    teardown.upkeep = Some(upkeep.clone());
    Ok(())
}

/// Starts what else runs until the service stops.
fn keep_house(
    upkeep: &Upkeep,
    providers: &Arc<Providers>,
    hooks: &Arc<HookSecrets>,
    certificates: &Arc<Certificates>,
    supervisor: &Supervisor,
    teardown: &Teardown,
) {
    let (tasks, stop) = (&teardown.tasks, &teardown.stop_rest);
    if upkeep.history.is_none() {
        let (store, clock) = (Arc::clone(&upkeep.store), Arc::clone(&upkeep.clock));
        let forgetting = move || {
            let (store, clock) = (Arc::clone(&store), Arc::clone(&clock));
            async move { history::forget(&*store, &*clock).await }
        };
        tasks.spawn(supervisor.clone().again("heartbeat history", stop.clone(), forgetting));
    }
    for keep_fresh in providers.keepers() {
        tasks.spawn(supervisor.clone().again("identity provider's keys", stop.clone(), keep_fresh));
    }
    let (clock, certificates, stopped) = (Arc::clone(&upkeep.clock), Arc::clone(certificates), stop.clone());
    let watch = move || Arc::clone(&certificates).watch(Arc::clone(&clock), stopped.clone());
    tasks.spawn(supervisor.clone().again("certificate", stop.clone(), watch));
    let (clock, hooks) = (Arc::clone(&upkeep.clock), Arc::clone(hooks));
    let look = move || {
        let (clock, hooks) = (Arc::clone(&clock), Arc::clone(&hooks));
        async move {
            // A file that has become unusable is in the log before the next webhook comes.
            loop {
                hooks.current(clock.wall());
                tokio::time::sleep(Duration::from_millis(HookSecrets::LOOK_AGAIN.get())).await;
            }
        }
    };
    tasks.spawn(supervisor.clone().again("secrets of webhooks", stop.clone(), look));
}

#[cfg(test)]
mod tests {
    use std::{
        env, fs, io,
        net::{SocketAddr, TcpListener, UdpSocket},
        process::Command,
        time::Duration,
    };

    use super::*;
    use crate::store::{SqliteOptions, SqliteStore, roles::*};

    const ALL: [Stage; 9] = [
        Stage::Store,
        Stage::Keys,
        Stage::Sockets,
        Stage::Core,
        Stage::Threads,
        Stage::Answering,
        Stage::Warm,
        Stage::Housekeeping,
        Stage::Ready,
    ];

    /// Lets the start fail at the end of a stage.
    struct FailsAfter(Stage);

    impl Gate for FailsAfter {
        fn passed(&self, stage: Stage) -> Result<(), ServiceError> {
            if stage == self.0 { Err(io::Error::other("as the test wants it").into()) } else { Ok(()) }
        }
    }

    /// The names of this process's threads that belong to a service.
    fn threads() -> Vec<String> {
        let tasks = fs::read_dir("/proc/self/task").expect("this is Linux");
        let name = |task: fs::DirEntry| fs::read_to_string(task.path().join("comm")).unwrap_or_default();
        let names = tasks.filter_map(|task| Some(name(task.ok()?).trim().to_owned()));
        let ours = ["meter", "store-writer", "http-", "edge-", "udp-"];
        names.filter(|name| ours.iter().any(|start| name.starts_with(start))).collect()
    }

    /// The variable that has the test below do its work in a process of its own, where nobody else has threads.
    const ALONE: &str = "STAGES_TEST_ALONE";

    #[test]
    fn a_start_that_fails_in_any_stage_leaves_ports_threads_and_the_data_file_free() {
        if env::var_os(ALONE).is_some() {
            return tokio::runtime::Runtime::new().expect("there is room for a runtime").block_on(fail_in_each_stage());
        }
        let name = "service::start::tests::a_start_that_fails_in_any_stage_leaves_ports_threads_and_the_data_file_free";
        let mut child = Command::new(env::current_exe().expect("it has a path"));
        let ran = child.args(["--exact", name]).env(ALONE, "1").output().expect("it can be run again");
        let said = String::from_utf8_lossy(&ran.stdout);
        assert!(ran.status.success() && said.contains("1 passed"), "{said}{}", String::from_utf8_lossy(&ran.stderr));
    }

    async fn fail_in_each_stage() {
        let dir = tempfile::tempdir().unwrap();
        // An address of this test alone: what other processes bind meanwhile is on another one.
        let free = |_| TcpListener::bind("127.0.77.1:0").unwrap();
        let ports: Vec<SocketAddr> = [(); 4].map(free).iter().map(|listener| listener.local_addr().unwrap()).collect();
        let [http, https, admin, quic] = ports[..] else { unreachable!("there are four") };
        let text = format!(
            "data_dir = {:?}\n[http]\naddr = \"{http}\"\n[https]\naddr = \"{https}\"\n[udp]\naddr = \"{http}\"\n\
             [quic]\naddr = \"{quic}\"\n[admin]\naddr = \"{admin}\"\n",
            dir.path()
        );
        let config = Config::from_toml(&text).unwrap();
        for stage in ALL {
            let failed = start(&config, &FailsAfter(stage)).await.err();
            assert!(matches!(failed, Some(ServiceError::System(_))), "{stage:?}: {failed:?}");
            // QUIC's socket is let go by a task of its library, and the meter's thread looks at most a tick later.
            let tcp = |addr: SocketAddr| TcpListener::bind(addr).is_ok();
            let udp = |addr: SocketAddr| UdpSocket::bind(addr).is_ok();
            let is_free = || [http, https, admin].map(tcp) == [true; 3] && [http, quic].map(udp) == [true; 2];
            let freed = async {
                while !is_free() || !threads().is_empty() {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
            };
            let freed = tokio::time::timeout(Duration::from_secs(30), freed).await;
            assert!(freed.is_ok(), "{stage:?}: ports are free: {}, threads: {:?}", is_free(), threads());
            let file = SqliteStore::open(&dir.path().join("gastank.db"), &SqliteOptions::default());
            file.unwrap_or_else(|error| panic!("{stage:?}: {error}")).close().await.unwrap();
        }
        let service = start(&config, &Go).await.expect("nothing is in its way");
        // That none was left says something only if they are seen while they are there. A thread names itself.
        let seen = |kind: &str| threads().iter().any(|name| name.starts_with(kind));
        let all_seen = async {
            while !["meter", "store-writer", "http-", "edge-", "udp-"].iter().all(|kind| seen(kind)) {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        let all_seen = tokio::time::timeout(Duration::from_secs(30), all_seen).await;
        assert!(all_seen.is_ok(), "the threads of a service are seen: {:?}", threads());
        service.stop().await.unwrap();
    }
}
