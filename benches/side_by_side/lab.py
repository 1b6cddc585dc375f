"""The servers that are measured, and what is known of a process: started when a row asks for them, ended after it."""

import json
import os
import pathlib
import re
import shutil
import socket
import subprocess
import tempfile
import time

import peers

ROOT = pathlib.Path(__file__).resolve().parents[2]
WORK = ROOT / "target" / "bench"
PEERS = WORK / "peers"
# Sessions live for a day of meter time without a beat, so that a data directory can be used again.
A_DAY_MS = 86_400_000
PATIENCE_S = 180
# How long a server must have done nothing to be at rest.
SETTLING_S = 5


# Sessions of a quick run, at most.
A_FEW = 500


class Missing(Exception):
    """A server that is not on this machine."""


class Failed(Exception):
    """Something that should have worked."""


class Server:
    """A process that serves: its address by name, what it costs, and its end."""

    def __init__(self, process, addr, pids=None):
        self.process = process
        self.addr = addr
        self.pids = pids or [process.pid]

    @property
    def pid(self):
        return self.pids[-1]

    def cpu_s(self):
        """User and system time of all its processes, in seconds. The kernel counts hundredths."""
        return sum(sum(map(int, stat(pid)[11:13])) for pid in self.pids) / os.sysconf("SC_CLK_TCK")

    def rss(self):
        """Resident bytes of its last process."""
        return int(stat(self.pid)[21]) * os.sysconf("SC_PAGE_SIZE")

    def stop(self):
        self.process.terminate()
        try:
            self.process.wait(timeout=60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


class Tank(Server):
    """gastank itself, with its data directory."""

    def __init__(self, process, addresses, data, built):
        super().__init__(process, addresses["http"])
        self.built = built
        self.addresses = addresses
        self.data = data

    @property
    def sessions_file(self):
        return self.data / "sessions.jsonl"

    def cli(self, *arguments):
        """What an operator's command answers."""
        command = [self.built / "gastank", *arguments, "--json", "--admin-url", f"http://{self.addresses['admin']}"]
        # What it says to people about secrets is of no use here.
        return json.loads(run([*command, "--data-dir", self.data], stderr=subprocess.DEVNULL))

    def activate(self):
        """A token of a session that has just been opened."""
        key = self.cli("account", "create", "--credit", "1d", "--key")["key"]
        return peers.activate(self.addr, key)


class Lab:
    """Starts servers, and ends all that it has started. `built`: where cargo has put our programs."""

    def __init__(self, built, quick=False):
        self.built = built
        self.quick = quick
        self.servers = []
        self.scratch = []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        while self.servers:
            self.servers.pop().stop()
        for directory in self.scratch:
            shutil.rmtree(directory, ignore_errors=True)

    def directory(self):
        WORK.mkdir(parents=True, exist_ok=True)
        self.scratch.append(tempfile.mkdtemp(prefix="lab-", dir=WORK))
        return pathlib.Path(self.scratch[-1])

    def tank(self, sessions=0, **settings):
        """gastank with that many open sessions: in a directory that is kept, filled the first time. One on each directory."""
        data = self.filled(sessions) if sessions else self.directory() / "data"
        running = (server for server in self.servers if getattr(server, "data", None) == data)
        return next(running, None) or self.keep(self.start_tank(data, settings))

    def cql(self):
        """A CQL server, the one that the tests have."""
        if not (ROOT / "target/tools/cassandra/complete").exists():
            raise Missing("there is no CQL server: tests/setup.sh fetches one")
        process = spawn([self.built / "floors", "cql"])
        addr = words(ready(process))["addr"]
        shells = children(process.pid)
        return self.keep(Server(process, addr, [*shells, *(pid for shell in shells for pid in children(shell))]))

    def settle(self, server):
        """Waits until a server has nothing to do any more."""
        tell("    waiting until the server has nothing to do")
        before = server.cpu_s()
        for _ in range(PATIENCE_S // SETTLING_S):
            time.sleep(SETTLING_S)
            now = server.cpu_s()
            if now - before < SETTLING_S / 20:
                return
            before = now
        raise Failed("the server is never at rest")

    def tank_on(self, cql, sessions):
        """gastank with a store in a CQL server, and how to start the same once more."""
        sessions, store = self.crowd(sessions), f"scylla://{cql.addr}/bench{sessions}"
        data, settings = self.directory() / "data", {"GASTANK_STORE": store}
        run([self.built / "gastank", "store", "migrate", "--store", store], stderr=subprocess.DEVNULL)
        self.start_tank(data, settings).stop()
        file = data / "sessions.jsonl"
        tell(f"    opening {sessions} sessions")
        whom = ["--data-dir", data, "--store", store, "--sessions-file", file]
        run([self.built / "floors", "fill", *whom, "--sessions", sessions])
        return lambda: self.keep(self.start_tank(data, settings))

    def crowd(self, sessions):
        """How many sessions a row has that asks for so many."""
        return min(sessions, A_FEW) if self.quick else sessions

    def floor(self, kind, *flags):
        process = spawn([self.built / "floors", kind, *flags])
        return self.keep(Server(process, words(ready(process))["addr"]))

    def nginx(self, location):
        """nginx with one location, everything else as fast as it can be set."""
        program, environment = peer("nginx")
        directory, port = self.directory(), free_port()
        config = directory / "nginx.conf"
        config.write_text(
            f"""daemon off; worker_processes 1; pid {directory}/pid; error_log {directory}/error.log crit;
            events {{ worker_connections 4096; }}
            http {{
                access_log off; sendfile on; tcp_nopush on; tcp_nodelay on; default_type application/octet-stream;
                keepalive_timeout 3600; keepalive_requests 1000000000; open_file_cache max=100; server_tokens off;
                client_body_temp_path {directory}/b; proxy_temp_path {directory}/p; fastcgi_temp_path {directory}/f;
                uwsgi_temp_path {directory}/u; scgi_temp_path {directory}/s;
                server {{ listen 127.0.0.1:{port} backlog=4096; root {directory}; location / {{ {location} }} }}
            }}"""
        )
        process = spawn([program, "-p", directory, "-c", config, "-e", directory / "error.log"], environment)
        server = self.keep(Server(process, f"127.0.0.1:{port}"))
        await_tcp(server)
        server.directory = directory
        server.pids += children(process.pid)
        # What serves files is another user when we are root.
        os.chmod(directory, 0o755)
        return server

    def redis(self):
        """Redis without persistence."""
        program, environment = peer("redis-server")
        port = free_port()
        flags = ["--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
        server = self.keep(Server(spawn([program, *flags], environment), f"127.0.0.1:{port}"))
        await_tcp(server)
        return server

    def freeradius(self):
        """FreeRADIUS that takes accounting requests and does nothing with them."""
        program, environment = peer("freeradius")
        directory, port = self.directory(), free_port(socket.SOCK_DGRAM)
        inside = PEERS / "root" if str(program).startswith(str(PEERS)) else pathlib.Path("/")
        (directory / "radiusd.conf").write_text(
            f"""
            prefix = {directory}
            logdir = {directory}
            run_dir = {directory}
            libdir = {inside}/usr/lib/freeradius
            pidfile = {directory}/pid
            max_requests = 262144
            max_request_time = 2
            cleanup_delay = 0
            proxy_requests = no
            log {{
                auth = no
            }}
            thread pool {{
                start_servers = 2
                max_servers = 2
                min_spare_servers = 1
                max_spare_servers = 2
                max_requests_per_server = 0
            }}
            client loopback {{
                ipaddr = 127.0.0.1
                secret = testing123
            }}
            modules {{
                always ok {{
                    rcode = ok
                }}
            }}
            server bare {{
                listen {{
                    type = acct
                    ipaddr = 127.0.0.1
                    port = {port}
                }}
                preacct {{
                }}
                accounting {{
                    ok
                }}
            }}
            """
        )
        dictionary = inside / "usr/share/freeradius"
        flags = ["-f", "-n", "radiusd", "-d", directory, "-D", dictionary, "-l", "stdout"]
        process = spawn([program, *flags], environment)
        server = self.keep(Server(process, f"127.0.0.1:{port}"))
        await_line(process, "Ready to process requests")
        return server

    def bench(self, name):
        """What one of our own benchmarks prints."""
        if self.quick:
            raise Missing("it takes its time")
        cargo = shutil.which("cargo") or pathlib.Path.home() / ".cargo/bin/cargo"
        return run([cargo, "bench", "--quiet", "--locked", "--manifest-path", ROOT / "Cargo.toml", "--bench", name])

    def keep(self, server):
        self.servers.append(server)
        return server

    def end(self, server):
        """Ends one before the others."""
        self.servers.remove(server)
        server.stop()

    def file(self, content):
        path = self.directory() / "content"
        path.write_bytes(content)
        return path

    def start_tank(self, data, settings):
        environment = {
            "GASTANK_HEARTBEAT_TIMEOUT_MS": str(A_DAY_MS),
            "GASTANK_LIMITS_ACTS_PER_ADDRESS_PER_S": "0",
            "GASTANK_LOG_FILTER": "warn",
            **settings,
        }
        everywhere = ["--http", "127.0.0.1:0", "--udp", "127.0.0.1:0", "--quic", "127.0.0.1:0"]
        everywhere += ["--admin", "127.0.0.1:0"]
        process = spawn([self.built / "gastank", "serve", *everywhere, "--data-dir", data], environment)
        return Tank(process, words(ready(process)), data, self.built)

    def filled(self, sessions):
        """A data directory with open sessions. Made once: later runs use it again."""
        sessions = self.crowd(sessions)
        data = WORK / f"sessions-{sessions}"
        if (data / "sessions.jsonl").exists():
            return data
        shutil.rmtree(data, ignore_errors=True)
        WORK.mkdir(parents=True, exist_ok=True)
        self.start_tank(data, {}).stop()
        tell(f"    opening {sessions} sessions, once: {data.relative_to(ROOT)} is used again")
        fresh = data / "sessions.new"
        run([self.built / "floors", "fill", "--data-dir", data, "--sessions", sessions, "--sessions-file", fresh])
        fresh.rename(data / "sessions.jsonl")
        return data


def peer(name):
    """A foreign server: the system's, or the one that peers.sh has unpacked."""
    if found := shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin"):
        return found, {}
    for directory in ("usr/sbin", "usr/bin"):
        program = PEERS / "root" / directory / name
        if program.exists():
            libraries = [str(path) for path in PEERS.glob("root/**/") if any(path.glob("*.so*"))]
            return program, {"LD_LIBRARY_PATH": ":".join(libraries)}
    raise Missing(f"{name} is not on this machine")


def spawn(command, environment=()):
    process = subprocess.Popen(
        [str(part) for part in command],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        stdin=subprocess.DEVNULL,
        env={**os.environ, **dict(environment)},
        text=True,
    )
    return process


def run(command, stderr=None, accept=(0,)):
    """What a command prints. Its complaints go where ours go."""
    done = subprocess.run([str(part) for part in command], stdout=subprocess.PIPE, stderr=stderr, text=True, check=False)
    if done.returncode not in accept:
        raise Failed(f"{' '.join(str(part) for part in command)}: exit code {done.returncode}")
    return done.stdout


def ready(process):
    return await_line(process, "ready ")


def await_line(process, text):
    for line in process.stdout:
        if text in line:
            return line
    raise Failed(f"{process.args[0]} ended before it was ready: exit code {process.wait()}")


def words(line):
    return dict(re.findall(r"(\w+)=(\S+)", line))


def await_tcp(server):
    host, port = server.addr.split(":")
    for _ in range(100):
        if server.process.poll() is not None:
            raise Failed(f"{server.process.args[0]} ended at once: exit code {server.process.returncode}")
        try:
            socket.create_connection((host, int(port)), timeout=1).close()
            return
        except OSError:
            time.sleep(0.1)
    raise Failed(f"{server.process.args[0]} does not listen")


def free_port(kind=socket.SOCK_STREAM):
    with socket.socket(socket.AF_INET, kind) as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def stat(pid):
    """The fields of /proc/PID/stat from the third on: the name before them may hold anything."""
    return pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def children(pid):
    for _ in range(50):
        found = pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        if found:
            return [int(child) for child in found]
        time.sleep(0.1)
    return []


def tell(text):
    print(text, flush=True)
