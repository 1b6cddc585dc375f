//! What a verdict costs over HTTP/1.1 keep-alive: CPU time of the server process for each request, held against Redis
//! answering `GET`, both unpipelined, over the same number of connections, in interleaved rounds of the same run.
//!
//! `cargo bench --bench introspection`. Redis is `redis-server` on the path, or what `REDIS_SERVER` names; without it, only
//! our own figure is shown.

#![expect(clippy::print_stdout, reason = "its output is what it is for")]

use std::{
    env, fs,
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    process::{Child, Command, Stdio},
    thread,
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::Value;

const CONNECTIONS: usize = 16;
const ROUNDS: usize = 9;
/// Requests on each connection in a round.
const BATCH: usize = 4_000;

fn main() {
    let tank = Tank::start();
    let redis = Redis::start();
    let mut ours = Load::new(&tank.http, tank.introspection(), b"\"active\":true");
    let mut theirs = redis.as_ref().map(|redis| Load::new(&redis.at, redis.get(), b"xxxx\r\n"));
    let (mut our_cpu, mut their_cpu) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        our_cpu.push(ours.round(tank.child.id()));
        if let (Some(load), Some(redis)) = (&mut theirs, &redis) {
            their_cpu.push(load.round(redis.child.id()));
        }
    }
    println!("CPU time of the server for each request, {CONNECTIONS} connections, median of {ROUNDS} rounds");
    let ours = median(our_cpu);
    println!("  introspection of a good token  {ours:>6.2} us");
    if their_cpu.is_empty() {
        println!("  redis-server is not there to compare with");
        return;
    }
    let theirs = median(their_cpu);
    println!("  Redis GET, unpipelined         {theirs:>6.2} us   ratio {:.2}, goal at most 1", ours / theirs);
}

/// Requests over connections that stay open.
struct Load {
    connections: Vec<TcpStream>,
    request: Vec<u8>,
    /// What every answer ends with or contains, so that a refusal is not counted.
    proof: &'static [u8],
    /// Bytes of an answer: the same for every one.
    length: usize,
}

impl Load {
    fn new(at: &str, request: Vec<u8>, proof: &'static [u8]) -> Self {
        let connect = || {
            let stream = TcpStream::connect(at).expect("the server listens");
            stream.set_nodelay(true).expect("it is TCP");
            stream
        };
        let mut connections: Vec<_> = std::iter::repeat_with(connect).take(CONNECTIONS).collect();
        let first = &mut connections[0];
        first.write_all(&request).expect("it takes a request");
        thread::sleep(Duration::from_millis(200));
        let mut answer = vec![0; 64 * 1024];
        let length = first.read(&mut answer).expect("it answers");
        assert!(contains(&answer[..length], proof), "{}", String::from_utf8_lossy(&answer[..length]));
        Self { connections, request, proof, length }
    }

    /// Microseconds of CPU for each request of a round.
    fn round(&mut self, pid: u32) -> f64 {
        let mut answer = vec![0; self.length];
        let before = cpu_seconds(pid);
        for _ in 0..BATCH {
            for connection in &mut self.connections {
                connection.write_all(&self.request).expect("it takes requests");
            }
            for connection in &mut self.connections {
                connection.read_exact(&mut answer).expect("it answers");
                assert!(contains(&answer, self.proof), "{}", String::from_utf8_lossy(&answer));
            }
        }
        (cpu_seconds(pid) - before) * 1e6 / (BATCH * CONNECTIONS) as f64
    }
}

struct Tank {
    child: Child,
    http: String,
    admin: String,
    home: tempfile::TempDir,
}

impl Tank {
    fn start() -> Self {
        let home = tempfile::tempdir().expect("a temporary directory");
        let mut child = Command::new(env!("CARGO_BIN_EXE_gastank"))
            .args([
                "serve",
                "--http",
                "127.0.0.1:0",
                "--udp",
                "off",
                "--quic",
                "off",
                "--admin",
                "127.0.0.1:0",
                "--data-dir",
            ])
            .arg(home.path().join("data"))
            .env("GASTANK_HEARTBEAT_TIMEOUT_MS", "3600000")
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("the program can be run");
        let mut lines = BufReader::new(child.stdout.take().expect("it is piped")).lines().map_while(Result::ok);
        let ready = lines.find(|line| line.starts_with("ready ")).expect("it becomes ready");
        let of = |name: &str| {
            let found = ready.split(' ').find_map(|part| part.strip_prefix(name));
            found.expect("the ready line names it").to_owned()
        };
        Self { child, http: of("http="), admin: of("admin="), home }
    }

    fn cli(&self, arguments: &[&str]) -> Value {
        let mut command = Command::new(env!("CARGO_BIN_EXE_gastank"));
        command.args(arguments).args(["--json", "--admin-url", &format!("http://{}", self.admin), "--data-dir"]);
        let output = command.arg(self.home.path().join("data")).output().expect("the program can be run");
        serde_json::from_slice(&output.stdout).expect("it prints JSON")
    }

    /// A request about a good token.
    fn introspection(&self) -> Vec<u8> {
        let text = |value: &Value| value.as_str().expect("a text").to_owned();
        let key = text(&self.cli(&["account", "create", "--credit", "1d", "--key"])["key"]);
        let edge = self.cli(&["edge", "add", "bench"]);
        let mut stream = TcpStream::connect(&self.http).expect("it listens");
        let activate = format!(
            "POST /v1/activate HTTP/1.1\r\nhost: x\r\nconnection: close\r\nauthorization: Bearer {key}\r\n\
             content-length: 0\r\n\r\n"
        );
        stream.write_all(activate.as_bytes()).expect("it takes a request");
        let mut answer = String::new();
        stream.take(64 * 1024).read_to_string(&mut answer).expect("it answers");
        let (_, body) = answer.split_once("\r\n\r\n").expect("a body");
        let token = text(&serde_json::from_str::<Value>(body).expect("it is JSON")["token"]);
        let known = STANDARD.encode(format!("{}:{}", text(&edge["client_id"]), text(&edge["client_secret"])));
        let body = format!("token={token}");
        let head = format!(
            "POST /oauth/introspect HTTP/1.1\r\nhost: x\r\nauthorization: Basic {known}\r\n\
             content-type: application/x-www-form-urlencoded\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        (head + &body).into_bytes()
    }
}

impl Drop for Tank {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

struct Redis {
    child: Child,
    at: String,
}

impl Redis {
    /// With a value as long as an answer of ours under a key as long as a token's hash. `None` where there is no Redis.
    fn start() -> Option<Self> {
        let program = env::var("REDIS_SERVER").unwrap_or_else(|_| "redis-server".to_owned());
        let port = TcpListener::bind("127.0.0.1:0").and_then(|probe| probe.local_addr()).expect("a free port").port();
        let child = Command::new(program)
            .args(["--port", &port.to_string(), "--save", "", "--appendonly", "no", "--bind", "127.0.0.1"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .ok()?;
        let redis = Self { child, at: format!("127.0.0.1:{port}") };
        let mut stream = (0..50).find_map(|_| {
            thread::sleep(Duration::from_millis(100));
            TcpStream::connect(&redis.at).ok()
        })?;
        stream.write_all(&command(&["SET", &key(), &"x".repeat(330)])).ok()?;
        stream.read_exact(&mut [0; 5]).ok()?;
        Some(redis)
    }

    fn get(&self) -> Vec<u8> {
        command(&["GET", &key()])
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn key() -> String {
    "k".repeat(43)
}

fn command(words: &[&str]) -> Vec<u8> {
    let mut text = format!("*{}\r\n", words.len());
    for word in words {
        text += &format!("${}\r\n{word}\r\n", word.len());
    }
    text.into_bytes()
}

/// User and system time of a process, from `/proc`.
fn cpu_seconds(pid: u32) -> f64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("the process lives");
    let after_name = stat.rsplit_once(')').expect("the name is in parentheses").1;
    let ticks: f64 = after_name.split_whitespace().skip(11).take(2).map(|n| n.parse::<f64>().expect("a number")).sum();
    // The kernel's unit for user space is a hundredth of a second on every architecture we build for.
    ticks / 100.0
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}

fn median(mut samples: Vec<f64>) -> f64 {
    samples.sort_by(f64::total_cmp);
    samples[samples.len() / 2]
}
