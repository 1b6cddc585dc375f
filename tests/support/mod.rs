//! The built program, run on free ports and a data directory of its own.

#![expect(dead_code, reason = "each test file uses the part of it that it needs")]
#![expect(
    clippy::disallowed_methods,
    reason = "the program under test runs by the real clock, and so does who waits for it"
)]

use std::{
    collections::HashMap,
    fs,
    io::{BufRead, BufReader, Read},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Output, Stdio},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use tempfile::TempDir;

const READY_TIMEOUT: Duration = Duration::from_secs(30);
const STOP_TIMEOUT: Duration = Duration::from_secs(15);

/// A command of the built program, with none of the caller's settings. What is built with the tests, unless
/// `GASTANK_TEST_PROGRAM` names another.
pub(crate) fn gastank() -> Command {
    let program = std::env::var_os("GASTANK_TEST_PROGRAM").unwrap_or_else(|| env!("CARGO_BIN_EXE_gastank").into());
    let mut command = Command::new(program);
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("GASTANK_") {
            command.env_remove(name);
        }
    }
    command
}

/// A data directory, which outlives the services that run on it and goes with this.
pub(crate) struct Home(TempDir);

impl Home {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().expect("a temporary directory can be made"))
    }

    pub(crate) fn data_dir(&self) -> PathBuf {
        self.0.path().join("data")
    }

    /// The admin token, as the service wrote it.
    pub(crate) fn admin_token(&self) -> String {
        let token = fs::read_to_string(self.data_dir().join("admin.token")).expect("the service wrote its admin token");
        token.trim().to_owned()
    }

    /// Where the service's standard error goes; appended to by each start.
    pub(crate) fn log(&self) -> PathBuf {
        self.0.path().join("stderr")
    }

    /// What the service has said on standard error.
    pub(crate) fn said(&self) -> String {
        fs::read_to_string(self.log()).unwrap_or_default()
    }

    /// What a service that runs has said once `text` is in it: lines are written after what they are of.
    pub(crate) fn said_once(&self, text: &str) -> String {
        let until = Instant::now() + Duration::from_secs(20);
        loop {
            let said = self.said();
            if said.contains(text) {
                return said;
            }
            assert!(Instant::now() < until, "{text:?} is not in the log: {said}");
            thread::sleep(Duration::from_millis(20));
        }
    }
}

/// A running service. Killed when dropped.
pub(crate) struct Service {
    child: Child,
    listening: HashMap<String, String>,
    data_dir: PathBuf,
}

impl Service {
    /// Starts the service with heartbeats that suit tests, and waits until it is ready.
    pub(crate) fn start(home: &Home) -> Self {
        Self::start_with(home, &[])
    }

    /// The same, with more variables, such as `("GASTANK_HEARTBEAT_TIMEOUT_MS", "500")`.
    pub(crate) fn start_with(home: &Home, variables: &[(&str, &str)]) -> Self {
        Self::start_at(home, &["127.0.0.1:0"; 3].map(str::to_owned), variables)
    }

    /// The same, listening at these addresses for HTTP, UDP and administration.
    pub(crate) fn start_at(home: &Home, addresses: &[String; 3], variables: &[(&str, &str)]) -> Self {
        Self::start_as(home, Self::command(home, addresses, variables))
    }

    /// The same, by this command, whose standard output must be piped.
    pub(crate) fn start_as(home: &Home, command: Command) -> Self {
        Self::try_start_as(home, command).unwrap_or_else(|why| panic!("{why}"))
    }

    /// Starts the service at these addresses, or says why it was not ready in time.
    pub(crate) fn try_start_at(
        home: &Home,
        addresses: &[String; 3],
        variables: &[(&str, &str)],
    ) -> Result<Self, String> {
        Self::try_start_as(home, Self::command(home, addresses, variables))
    }

    fn try_start_as(home: &Home, mut command: Command) -> Result<Self, String> {
        let mut child = command.spawn().expect("the built program can be started");
        let stdout = child.stdout.take().expect("it is piped");
        if let Some(listening) = ready_line(stdout) {
            return Ok(Self { child, listening, data_dir: home.data_dir() });
        }
        let _ = child.kill();
        let (status, log) = (child.wait(), home.said());
        Err(format!("the service was not ready in {READY_TIMEOUT:?} ({status:?}); it said:\n{log}"))
    }

    /// The command that starts the service.
    pub(crate) fn command(home: &Home, addresses: &[String; 3], variables: &[(&str, &str)]) -> Command {
        let log = fs::File::options().create(true).append(true).open(home.log()).expect("the log can be made");
        let [http, udp, admin] = addresses;
        let mut command = gastank();
        command
            .args(["serve", "--http", http, "--udp", udp, "--admin", admin, "--data-dir"])
            .arg(home.data_dir())
            .env("GASTANK_HEARTBEAT_INTERVAL_MS", "300")
            .env("GASTANK_HEARTBEAT_TIMEOUT_MS", "3000")
            .env("GASTANK_CHECKPOINT_INTERVAL_MS", "300")
            .env("GASTANK_QUIC_ADDR", "127.0.0.1:0")
            .envs(variables.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log);
        command
    }

    /// Where it listens, for [`Self::start_at`].
    pub(crate) fn addresses(&self) -> [String; 3] {
        ["http", "udp", "admin"].map(|name| self.listener(name).to_owned())
    }

    /// Host and port of a listener: `http`, `udp` or `admin`.
    pub(crate) fn listener(&self, name: &str) -> &str {
        self.listening.get(name).unwrap_or_else(|| panic!("the ready line names no {name}: {:?}", self.listening))
    }

    /// The public listener.
    pub(crate) fn http(&self) -> String {
        format!("http://{}", self.listener("http"))
    }

    /// The admin listener.
    pub(crate) fn admin(&self) -> String {
        format!("http://{}", self.listener("admin"))
    }

    pub(crate) fn data_dir(&self) -> &Path {
        &self.data_dir
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Runs a command of the program against this service.
    pub(crate) fn run(&self, arguments: &[&str]) -> Output {
        let mut command = gastank();
        command.args(arguments).args(["--admin-url", &self.admin(), "--data-dir"]).arg(&self.data_dir);
        command.stdin(Stdio::null()).output().expect("the built program can be run")
    }

    /// Asks the service to stop, as an operator does, and waits until it has.
    pub(crate) fn stop(self) -> ExitStatus {
        let told = Command::new("kill").args(["-TERM", &self.id().to_string()]).status().expect("kill can be run");
        assert!(told.success());
        self.wait()
    }

    /// Whether it has ended by itself.
    pub(crate) fn has_ended(&mut self) -> bool {
        self.child.try_wait().expect("it is our child").is_some()
    }

    /// Waits until the service has ended.
    pub(crate) fn wait(mut self) -> ExitStatus {
        let deadline = Instant::now() + STOP_TIMEOUT;
        loop {
            if let Some(status) = self.child.try_wait().expect("it is our child") {
                return status;
            }
            assert!(Instant::now() < deadline, "the service did not stop in {STOP_TIMEOUT:?}");
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// Kills the service at once, as a crash would.
    pub(crate) fn kill(mut self) {
        self.end();
    }

    /// Kills the service, which is to be started again in its place.
    pub(crate) fn end(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.end();
    }
}

/// Standard output as text; the program must have succeeded.
pub(crate) fn stdout_of(output: &Output) -> String {
    let text = String::from_utf8(output.stdout.clone()).expect("it is UTF-8");
    assert!(output.status.success(), "{}\n{text}\n{}", output.status, String::from_utf8_lossy(&output.stderr));
    text
}

/// What `ready name=addr name=addr` says. Whatever follows on standard output is read and dropped, so that the pipe
/// never fills.
fn ready_line(stdout: impl Read + Send + 'static) -> Option<HashMap<String, String>> {
    let (told, ready) = mpsc::sync_channel(1);
    thread::spawn(move || {
        let mut lines = BufReader::new(stdout).lines();
        let line = lines.by_ref().map_while(Result::ok).find_map(|line| line.strip_prefix("ready ").map(str::to_owned));
        let _ = told.send(line);
        lines.for_each(drop);
    });
    let line = ready.recv_timeout(READY_TIMEOUT).ok().flatten()?;
    line.split_whitespace()
        .map(|part| part.split_once('=').map(|(name, at)| (name.to_owned(), at.to_owned())))
        .collect()
}
