//! A real CQL server: Apache Cassandra, on free ports of loopback addresses, gone with who started it.
//!
//! `tests/setup.sh` fetches it. Each server is a child of a shell that waits for the end of its own standard input, which
//! is ours: whatever becomes of this process, the server is ended by its id.

#![expect(clippy::disallowed_methods, reason = "a server starts by the real clock, and so does who waits for it")]

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    thread,
    time::{Duration, Instant},
};

use tempfile::TempDir;

/// A server that is alone is ready in 7 s on an idle machine; three, in 17 s.
const READY_TIMEOUT: Duration = Duration::from_secs(300);
const READY: &str = "Starting listening for CQL clients";
/// How large a small disk is: what a server has written when it is ready is a megabyte.
const DISK_MB: u32 = 96;

const EXPORTS: [&str; 7] = [
    "java.base/jdk.internal.misc",
    "java.base/jdk.internal.ref",
    "java.base/sun.nio.ch",
    "java.management.rmi/com.sun.jmx.remote.internal.rmi",
    "java.rmi/sun.rmi.registry",
    "java.rmi/sun.rmi.server",
    "java.sql/java.sql",
];

const OPENS: [&str; 15] = [
    "java.base/java.lang",
    "java.base/java.lang.module",
    "java.base/java.io",
    "java.base/java.nio",
    "java.base/java.util",
    "java.base/java.util.concurrent",
    "java.base/java.util.concurrent.atomic",
    "java.base/jdk.internal.loader",
    "java.base/jdk.internal.ref",
    "java.base/jdk.internal.reflect",
    "java.base/jdk.internal.math",
    "java.base/jdk.internal.module",
    "java.base/jdk.internal.util.jar",
    "java.base/sun.nio.ch",
    "jdk.management/com.sun.management.internal",
];

/// What a server asks of its clients.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Guard {
    /// Nothing.
    #[default]
    Open,
    /// TLS, and the password of the user `cassandra`, which is `cassandra`.
    TlsAndPassword,
}

/// How far what a server has answered for is on its disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Syncs {
    /// Once a second: a server that is killed forgets what came after.
    #[default]
    Periodic,
    /// Before each answer.
    Each,
}

/// What kind of server it is.
#[derive(Clone, Copy, Debug, Default)]
struct Kind {
    guard: Guard,
    sync: Syncs,
    small_disk: bool,
}

/// What servers are for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// To work.
    #[default]
    Use,
    /// To be hurt: each syncs before it answers, and the last has its data on a small disk, if this machine lets us make
    /// one.
    Faults,
}

/// Servers that know each other, each with all rows of its neighbours if a keyspace wants that.
pub(crate) struct Cluster {
    servers: Vec<Server>,
}

impl Cluster {
    /// Starts this many servers on 127.0.0.1 and the addresses after it, and waits until they are ready.
    pub(crate) fn start(count: u8, purpose: Purpose) -> Self {
        let what = |n| match purpose {
            Purpose::Use => Kind::default(),
            Purpose::Faults => Kind { sync: Syncs::Each, small_disk: n == count - 1, ..Kind::default() },
        };
        let ports = Ports::free(count);
        let mut servers: Vec<Server> = Vec::new();
        for n in 0..count {
            let token = (i128::from(i64::MIN) + i128::from(n) * (1_i128 << 64) / i128::from(count)).to_string();
            let server = Server::launch(n, &ports, &token, what(n));
            // The others learn from the first.
            if n == 0 {
                server.wait();
            }
            servers.push(server);
        }
        servers.iter().for_each(Server::wait);
        // One that does not know another yet tells it of no table, and it asks only after a minute.
        for server in &servers {
            server.wait_for(&servers);
        }
        Self { servers }
    }

    /// The servers, the first first.
    pub(crate) fn servers(&mut self) -> &mut [Server] {
        &mut self.servers
    }

    /// Lets those go on that hang, and starts those that have ended on what they left behind. Waits until all have met.
    pub(crate) fn heal(&mut self) {
        let mut again = Vec::new();
        for (n, server) in self.servers.iter_mut().enumerate() {
            if server.is_running() {
                server.resume();
            } else {
                server.relaunch();
                again.push(n);
                // The others look for it when they start, and give up if it is not there.
                if n == 0 {
                    server.wait();
                }
            }
        }
        self.servers.iter().for_each(Server::wait);
        for n in again {
            self.servers[n].wait_for(&self.servers);
        }
    }

    /// Where their clients go.
    pub(crate) fn nodes(&self) -> Vec<String> {
        self.servers.iter().map(|server| server.addr().to_string()).collect()
    }
}

/// A running server. Ended when dropped.
pub(crate) struct Server {
    home: TempDir,
    addr: SocketAddr,
    command: Vec<String>,
    running: Option<Running>,
    disk: Option<Disk>,
}

struct Running {
    shell: Child,
    lifeline: Option<ChildStdin>,
    pid: u32,
}

impl Server {
    /// Starts a server of its own, and waits until it is ready.
    pub(crate) fn start() -> Self {
        Self::start_with(Guard::Open)
    }

    /// The same, with a guard.
    pub(crate) fn start_with(guard: Guard) -> Self {
        let what = Kind { guard, ..Kind::default() };
        let server = Self::launch(0, &Ports::free(1), &i64::MIN.to_string(), what);
        server.wait();
        server
    }

    /// Where its clients go.
    pub(crate) const fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// The certificate of a server that is guarded, in PEM.
    pub(crate) fn certificate(&self) -> PathBuf {
        self.home.path().join("server.pem")
    }

    /// What it said since it was started.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.home.path().join("log")).unwrap_or_default()
    }

    /// Stops its processes where they are, as a machine that hangs does.
    pub(crate) fn pause(&self) {
        self.signal("-STOP");
    }

    /// Lets it go on.
    pub(crate) fn resume(&self) {
        self.signal("-CONT");
    }

    /// The disk that it has for itself, if it has one.
    pub(crate) const fn disk(&self) -> Option<&Disk> {
        self.disk.as_ref()
    }

    /// Kills it, as a crash would. What it has answered for may still be in memory, since it syncs once a second; those
    /// for faults sync before they answer.
    pub(crate) fn kill(&mut self) {
        self.running = None;
    }

    /// Starts it again on what it left behind, and waits until it is ready.
    pub(crate) fn restart(&mut self) {
        self.relaunch();
        self.wait();
    }

    fn relaunch(&mut self) {
        self.running = None;
        fs::remove_file(self.home.path().join("log")).expect("it has a log");
        self.running = Some(run(self.home.path(), &self.command));
    }

    fn launch(n: u8, ports: &Ports, token: &str, what: Kind) -> Self {
        let home = tempfile::tempdir().expect("a temporary directory can be made");
        let addr = address(n);
        let dir = home.path();
        let guard = what.guard;
        fs::write(dir.join("cassandra.yaml"), settings(dir, addr, ports, token, what)).expect("it can be written");
        fs::write(dir.join("logback.xml"), include_str!("logback.xml")).expect("it can be written");
        if guard == Guard::TlsAndPassword {
            make_certificate(dir, addr);
        }
        fs::create_dir(dir.join("disk")).expect("it can be made");
        let disk = if what.small_disk { Disk::make(dir) } else { None };
        let mut command = disk.as_ref().map(Disk::within).unwrap_or_default();
        command.extend(java(dir, ports.jmx[usize::from(n)], guard));
        let running = Some(run(dir, &command));
        Self { addr: SocketAddr::new(addr, ports.cql), home, command, running, disk }
    }

    fn wait(&self) {
        let deadline = Instant::now() + READY_TIMEOUT;
        while !self.log().contains(READY) || TcpStream::connect(self.addr).is_err() {
            assert!(self.is_running(), "the CQL server ended:\n{}", self.last_words());
            assert!(Instant::now() < deadline, "no CQL server in {READY_TIMEOUT:?}:\n{}", self.last_words());
            thread::sleep(Duration::from_millis(100));
        }
    }

    /// Waits until it knows that the others are there.
    fn wait_for(&self, all: &[Self]) {
        let deadline = Instant::now() + READY_TIMEOUT;
        for other in all.iter().filter(|other| other.addr != self.addr) {
            let is_up = format!("InetAddress /{}", other.addr.ip());
            while !self.log().lines().any(|line| line.contains(&is_up) && line.contains("is now UP")) {
                assert!(Instant::now() < deadline, "{} never met {}:\n{}", self.addr, other.addr, self.last_words());
                thread::sleep(Duration::from_millis(100));
            }
        }
    }

    /// The end of what it said; some of its lines are very long.
    fn last_words(&self) -> String {
        let log = self.log();
        let lines: Vec<String> = log.lines().rev().take(20).map(|line| line.chars().take(200).collect()).collect();
        lines.into_iter().rev().collect::<Vec<_>>().join("\n")
    }

    /// Whether its process is there, hanging or not.
    pub(crate) fn is_running(&self) -> bool {
        self.running.as_ref().is_some_and(Running::is_there)
    }

    fn signal(&self, signal: &str) {
        let pid = self.running.as_ref().expect("it is running").pid.to_string();
        assert!(Command::new("kill").args([signal, &pid]).status().expect("kill can be run").success());
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.lifeline = None;
        let _ = self.shell.wait();
    }
}

/// A disk for a server: a small file system in memory, mounted in a namespace that a process of its own keeps, and gone
/// with it. The server runs in that namespace.
pub(crate) struct Disk {
    keeper: Running,
    filler: PathBuf,
}

impl Disk {
    /// `None` if this machine does not let us.
    fn make(dir: &Path) -> Option<Self> {
        let home = dir.join("keeper");
        fs::create_dir(&home).expect("it can be made");
        let mount =
            format!("mount -t tmpfs -o size={DISK_MB}M disk {}/disk && echo made && exec sleep 86400", dir.display());
        let keeper = run(&home, &["unshare", "--map-root-user", "--mount", "sh", "-c", &mount].map(str::to_owned));
        let said = |what: &str| fs::read_to_string(home.join("log")).is_ok_and(|log| log.contains(what));
        let deadline = Instant::now() + Duration::from_secs(10);
        while !said("made") {
            if Instant::now() > deadline || !keeper.is_there() {
                return None;
            }
            thread::sleep(Duration::from_millis(10));
        }
        let filler = format!("/proc/{}/root{}/disk/filler", keeper.pid, dir.display());
        Some(Self { keeper, filler: filler.into() })
    }

    /// What to put before a command that is to see it.
    fn within(&self) -> Vec<String> {
        let keeper = self.keeper.pid.to_string();
        ["nsenter", "--target", &keeper, "--user", "--mount", "--preserve-credentials"].map(str::to_owned).into()
    }

    /// Leaves no room on it.
    pub(crate) fn fill(&self) {
        let mut filler = fs::File::create(&self.filler).expect("it can be made");
        while filler.write_all(&[0; 4096]).is_ok() {}
    }

    /// There is room again.
    pub(crate) fn make_room(&self) {
        fs::remove_file(&self.filler).expect("it was there");
    }
}

impl Running {
    fn is_there(&self) -> bool {
        Path::new(&format!("/proc/{}/exe", self.pid)).exists()
    }
}

/// Counts the ports that have been tried.
static NEXT_PORT: AtomicU32 = AtomicU32::new(0);

/// Ports that are free on the addresses of some servers, and below those that clients get: a server that is started again
/// finds them free.
struct Ports {
    cql: u16,
    storage: u16,
    jmx: Vec<u16>,
}

impl Ports {
    fn free(count: u8) -> Self {
        let mut held = Vec::new();
        let mut on_all = || loop {
            let next = NEXT_PORT.fetch_add(1, Ordering::Relaxed);
            let port = 10_000
                + u16::try_from(std::process::id().wrapping_mul(61).wrapping_add(next) % 20_000).expect("it fits");
            let on_each: Vec<_> = (0..count).filter_map(|n| TcpListener::bind((address(n), port)).ok()).collect();
            if on_each.len() == usize::from(count) {
                held.extend(on_each);
                return port;
            }
        };
        Self { cql: on_all(), storage: on_all(), jmx: (0..count).map(|_| on_all()).collect() }
    }
}

const fn address(n: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(127, 0, 0, 1 + n))
}

fn settings(dir: &Path, addr: IpAddr, ports: &Ports, token: &str, what: Kind) -> String {
    let dir = dir.display();
    let sync = match what.sync {
        Syncs::Periodic => "periodic\ncommitlog_sync_period: 1000ms",
        Syncs::Each => "batch",
    };
    let Ports { cql, storage, .. } = ports;
    let seed = address(0);
    let guard = match what.guard {
        Guard::Open => String::new(),
        Guard::TlsAndPassword => format!(
            "authenticator: PasswordAuthenticator\n\
             client_encryption_options:\n  enabled: true\n  optional: false\n  keystore: {dir}/keystore\n  \
             keystore_password: changeit\n"
        ),
    };
    format!(
        "cluster_name: gastank tests\n\
         num_tokens: 1\n\
         initial_token: \"{token}\"\n\
         auto_bootstrap: false\n\
         partitioner: org.apache.cassandra.dht.Murmur3Partitioner\n\
         endpoint_snitch: SimpleSnitch\n\
         seed_provider:\n  - class_name: org.apache.cassandra.locator.SimpleSeedProvider\n    \
         parameters:\n      - seeds: \"{seed}:{storage}\"\n\
         listen_address: {addr}\n\
         rpc_address: {addr}\n\
         storage_port: {storage}\n\
         native_transport_port: {cql}\n\
         data_file_directories: [{dir}/disk/data]\n\
         commitlog_directory: {dir}/disk/commitlog\n\
         saved_caches_directory: {dir}/disk/saved_caches\n\
         hints_directory: {dir}/disk/hints\n\
         cdc_raw_directory: {dir}/disk/cdc_raw\n\
         commitlog_sync: {sync}\n\
         hinted_handoff_enabled: false\n\
         auto_snapshot: false\n\
         memtable_heap_space: 128MiB\n\
         memtable_offheap_space: 128MiB\n\
         tombstone_warn_threshold: 500\n\
         tombstone_failure_threshold: 1000\n\
         in_select_cartesian_product_fail_threshold: 100\n\
         {guard}"
    )
}

/// A certificate of its own, for its address.
pub(crate) fn make_certificate(dir: &Path, addr: IpAddr) {
    let keytool = |arguments: &[&str]| {
        let made = Command::new("keytool").args(arguments).current_dir(dir).output().expect("keytool comes with Java");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stdout));
    };
    let store = ["-keystore", "keystore", "-storepass", "changeit", "-alias", "server"];
    let san = format!("san=ip:{addr}");
    let mut make = vec!["-genkeypair", "-keyalg", "EC", "-dname", "CN=server", "-validity", "30", "-ext", &san];
    make.extend(["-ext", "bc:critical=ca:false"]);
    make.extend(store);
    keytool(&make);
    let mut export = vec!["-exportcert", "-rfc", "-file", "server.pem"];
    export.extend(store);
    keytool(&export);
}

fn java(dir: &Path, jmx: u16, guard: Guard) -> Vec<String> {
    // The package that this is compiled into may be further down in the repository.
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut places = package.ancestors().map(|place| place.join("target/tools/cassandra"));
    let jars = places.find(|jars| jars.join("complete").exists());
    let jars = jars.expect("there is no CQL server in target/tools/cassandra: run tests/setup.sh");
    let dir = dir.display();
    let mut command: Vec<String> = ["java", "-Xms512m", "-Xmx512m", "-XX:+UseSerialGC"].map(str::to_owned).into();
    for (option, modules) in [("--add-exports", &EXPORTS[..]), ("--add-opens", &OPENS[..])] {
        command.extend(modules.iter().flat_map(|module| [option.to_owned(), format!("{module}=ALL-UNNAMED")]));
    }
    command.extend([
        format!("-XX:ErrorFile={dir}/crash"),
        "-XX:-CreateCoredumpOnCrash".to_owned(),
        "-Dcassandra-foreground=yes".to_owned(),
        format!("-Dcassandra.config=file://{dir}/cassandra.yaml"),
        format!("-Dcassandra.storagedir={dir}"),
        format!("-Dcassandra.logdir={dir}"),
        format!("-Dlogback.configurationFile=file://{dir}/logback.xml"),
        format!("-Dcassandra.jmx.local.port={jmx}"),
        "-Dcassandra.skip_wait_for_gossip_to_settle=0".to_owned(),
        // A server looks for the others for twice as long, and gives up; one that is alone does not look.
        "-Dcassandra.ring_delay_ms=15000".to_owned(),
    ]);
    if guard == Guard::TlsAndPassword {
        // Whom it asks for a password is made at once. One that cannot make it tries again after as long, and says so.
        command.push("-Dcassandra.superuser_setup_delay_ms=0".to_owned());
    }
    command.extend([
        "-cp".to_owned(),
        format!("{dir}:{}/*", jars.display()),
        "org.apache.cassandra.service.CassandraDaemon".to_owned(),
    ]);
    command
}

fn run(dir: &Path, command: &[String]) -> Running {
    const SCRIPT: &str = "\"$@\" </dev/null >log 2>&1 & echo $!; cat >/dev/null; kill -KILL $!; wait";
    let mut shell = Command::new("sh")
        .args(["-c", SCRIPT, "server"])
        .args(command)
        .current_dir(dir)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("a shell can be run");
    let lifeline = shell.stdin.take();
    let mut line = String::new();
    BufReader::new(shell.stdout.take().expect("it is piped")).read_line(&mut line).expect("the shell tells the id");
    Running { shell, lifeline, pid: line.trim().parse().expect("an id is a number") }
}
