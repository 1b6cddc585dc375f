#!/usr/bin/env python3
"""Whether the rules and dashboards in deploy/ work.

    tests/monitoring/check.py                      rules, scenarios of the alerts, the dashboards' structure
    tests/monitoring/check.py --live DIRECTORY     also runs every expression against a Prometheus that scrapes a gastank
                                                   under load; both programs, gastank and loadtest, are in DIRECTORY

Needs Python 3, and promtool and prometheus from target/tools/bin or the PATH (tests/setup.sh). Starts nothing that outlives it.
"""

import contextlib
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request

import scenarios

ROOT = pathlib.Path(__file__).resolve().parents[2]
RULES = [ROOT / "deploy/prometheus/alerts.yml", ROOT / "deploy/prometheus/slo.yml"]
GRAFANA = ROOT / "deploy/grafana"
RUNBOOK = ROOT / "docs/operations/alerts.md"
UNITS = {"ops", "s", "bytes", "short", "percentunit"}

# Alerts about speed: a service of a test build on a busy machine may well be slow. And the load forges frames.
BUSY = {
    "GastankBudgetBurnsFast",
    "GastankBudgetBurnsSlowly",
    "GastankCheckpointsLate",
    "GastankForgedFrames",
    "GastankOverloaded",
    "GastankPressed",
    "GastankUdpDrops",
}
# A selector with an offset asks for a time when nothing was there.
OLDER = re.compile(r"\boffset \d+[smhd]")
# A vector selector: a metric's name, its labels, and the range that may follow.
SELECTOR = re.compile(r"\b((?:gastank|process)_[a-z0-9_]+|gastank:[a-z0-9_:]+|up)(\{[^}]*(?:\{[^}]*\}[^}]*)*\})?(?=[\s)\[<>=*/+-]|$)")

problems = []


def wrong(text):
    problems.append(text)
    print(text, file=sys.stderr)


def tool(name):
    ours = ROOT / "target/tools/bin" / name
    found = str(ours) if ours.exists() else shutil.which(name)
    assert found, f"{name} is missing: run tests/setup.sh"
    return found


def run_quietly(*command):
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode != 0:
        wrong(f"{' '.join(map(str, command))}:\n{done.stdout}")


def alerts():
    """Name and text of each alert."""
    parts = re.split(r"^      - alert: (\w+)$", RULES[0].read_text(), flags=re.M)
    return dict(zip(parts[1::2], parts[2::2]))


def check_rules():
    run_quietly(tool("promtool"), "check", "rules", "--lint-fatal", *map(str, RULES))
    headings = set(re.findall(r"^## (\w+)$", RUNBOOK.read_text(), flags=re.M))
    known = alerts()
    for name, text in known.items():
        if name not in headings:
            wrong(f"{RUNBOOK.name} has no heading {name}")
        if f"/operations/alerts.md#{name.lower()}\n" not in text + "\n":
            wrong(f"{name}: its runbook_url leads elsewhere")
        if not re.search(r"severity: (page|ticket)$", text, flags=re.M):
            wrong(f"{name}: no severity")
        if name not in scenarios.SCENARIOS:
            wrong(f"{name}: tests/monitoring/scenarios.py does not make it fire")
    for name in {*headings, *scenarios.SCENARIOS, *scenarios.SILENT} - set(known):
        if name.startswith("Gastank"):
            wrong(f"there is no alert {name}")
    with tempfile.NamedTemporaryFile("w", suffix=".yml") as file:
        # JSON is YAML.
        json.dump(scenarios.test_file(RULES), file)
        file.flush()
        run_quietly(tool("promtool"), "test", "rules", file.name)


def dashboards():
    return {path.name: json.loads(path.read_text()) for path in sorted(GRAFANA.glob("*.json"))}


def check_dashboards():
    run_quietly(sys.executable, str(GRAFANA / "dashboards.py"), "--check")
    uids = [dashboard["uid"] for dashboard in dashboards().values()]
    if len(set(uids)) != len(uids):
        wrong("two dashboards have one uid")
    for name, dashboard in dashboards().items():
        variables = {variable["name"] for variable in dashboard["templating"]["list"]}
        if not {"datasource", "job", "instance"} <= variables:
            wrong(f"{name}: variables are missing")
        taken, numbers = set(), set()
        for panel in dashboard["panels"]:
            called = f"{name}: {panel['title']}"
            place = panel["gridPos"]
            cells = {(x, y) for x in range(place["x"], place["x"] + place["w"]) for y in range(place["y"], place["y"] + place["h"])}
            if taken & cells or place["x"] + place["w"] > 24:
                wrong(f"{called}: it does not fit where it is")
            taken |= cells
            if panel["id"] in numbers:
                wrong(f"{called}: its id is another panel's")
            numbers.add(panel["id"])
            if panel["fieldConfig"]["defaults"]["unit"] not in UNITS:
                wrong(f"{called}: no unit")
            if not re.match(r".{10,}\.$", panel["description"]):
                wrong(f"{called}: no sentence that describes it")
            if panel["datasource"]["uid"] != "${datasource}" or not panel["targets"]:
                wrong(f"{called}: it asks nobody")
            for target in panel["targets"]:
                for variable in re.findall(r"\$(?!__)(\w+)", target["expr"]):
                    if variable not in variables:
                        wrong(f"{called}: there is no variable {variable}")


def expressions():
    """Where each expression of a dashboard is, and what Grafana would ask."""
    for name, dashboard in dashboards().items():
        for panel in dashboard["panels"]:
            for target in panel["targets"]:
                expression = target["expr"].replace("$__rate_interval", "10s")
                yield f"{name}: {panel['title']}", expression.replace("$job", "gastank").replace("$instance", ".+")


class Prometheus:
    def __init__(self, address):
        self.address = address

    def get(self, path, **parameters):
        url = f"http://{self.address}/{path}?{urllib.parse.urlencode(parameters)}"
        try:
            with urllib.request.urlopen(url, timeout=10) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            if error.code not in (400, 422):
                raise
            return json.load(error)

    def ask(self, expression):
        """How many series the expression answers with, or why it cannot be asked."""
        answer = self.get("api/v1/query", query=expression)
        if answer["status"] != "success":
            return answer["error"]
        return len(answer["data"]["result"])


def selectors(expression):
    """The vector selectors of an expression, but for those of another time."""
    for found in SELECTOR.finditer(expression):
        rest = expression[found.end() :]
        if not OLDER.match(rest.lstrip()):
            yield found.group(0)


def check_live(prometheus):
    asked = 0
    for where, expression in expressions():
        asked += 1
        answered = prometheus.ask(expression)
        if not isinstance(answered, int):
            wrong(f"{where}: {expression}: {answered}")
        elif answered == 0:
            wrong(f"{where}: {expression}: no data")
        for selector in selectors(expression):
            if prometheus.ask(selector) == 0:
                wrong(f"{where}: {selector}: there is no such series")
    groups = prometheus.get("api/v1/rules")["data"]["groups"]
    for rule in (rule for group in groups for rule in group["rules"]):
        asked += 1
        name, expression = rule["name"], rule["query"]
        if rule["health"] != "ok":
            wrong(f"{name}: {rule['health']} {rule.get('lastError', '')}")
        answered = prometheus.ask(expression)
        if not isinstance(answered, int):
            wrong(f"{name}: {answered}")
        elif rule["type"] == "recording" and answered == 0:
            wrong(f"{name}: no data")
        elif rule["type"] == "alerting" and answered > 0 and name not in BUSY:
            wrong(f"{name}: it would fire at a service that is well")
        for selector in selectors(expression):
            if prometheus.ask(selector) == 0:
                wrong(f"{name}: {selector}: there is no such series")
    return asked


@contextlib.contextmanager
def running(command, **options):
    """A process, until the end of the block."""
    process = subprocess.Popen(command, **options)
    try:
        yield process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        try:
            process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def wait_for(what, condition, seconds=60):
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        answer = condition()
        if answer:
            return answer
        time.sleep(0.1)
    raise SystemExit(f"{what}: not within {seconds} s")


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def live(programs):
    with contextlib.ExitStack() as stack:
        work = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory()))
        ready = work / "ready"
        address = "127.0.0.1:0"
        serve = [programs / "gastank", "serve", "--data-dir", work / "data", "--http", address, "--https", address, "--udp", address]
        serve += ["--quic", address, "--admin", address]
        no_limit = {**os.environ, "GASTANK_LIMITS_ACTS_PER_ADDRESS_PER_S": "0"}
        service = stack.enter_context(running(serve, env=no_limit, stdout=ready.open("w"), stderr=(work / "log").open("w")))
        line = wait_for("the service is ready", lambda: service.poll() is not None or ready.read_text().endswith("\n") and ready.read_text())
        at = dict(re.findall(r"(\w+)=(\S+)", line))
        config = {
            "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
            "rule_files": [str(rule) for rule in RULES],
            "scrape_configs": [{"job_name": "gastank", "static_configs": [{"targets": [at["admin"]]}]}],
        }
        (work / "prometheus.yml").write_text(json.dumps(config))
        here = f"127.0.0.1:{free_port()}"
        scrape = [tool("prometheus"), f"--config.file={work}/prometheus.yml", f"--storage.tsdb.path={work}/tsdb"]
        scrape += [f"--web.listen-address={here}", "--log.level=warn"]
        stack.enter_context(running(scrape, stdout=subprocess.DEVNULL, stderr=(work / "prometheus.log").open("w")))
        load = [programs / "loadtest", "run", ROOT / "tests/monitoring/load.toml", "--http", f"http://{at['http']}"]
        load += ["--https", at["https"], "--admin-url", f"http://{at['admin']}", "--admin-token-file", work / "data/admin.token"]
        load += ["--abandon", "--max-time", "5m"]
        stack.enter_context(running(load, stdout=(work / "load").open("w"), stderr=subprocess.STDOUT))
        prometheus = Prometheus(here)

        def loaded():
            with contextlib.suppress(OSError):
                # All kinds of load have begun, and rates over ten seconds have two points of it.
                return prometheus.ask('rate(gastank_renewals_total{outcome="renewed"}[10s] offset 3s) > 0') == 1
            return False

        wait_for("the load has begun", loaded, 120)
        asked = check_live(prometheus)
    print(f"{asked} expressions were run against a Prometheus that scrapes a loaded gastank")


def main():
    check_rules()
    check_dashboards()
    if not problems and "--live" in sys.argv:
        live(pathlib.Path(sys.argv[sys.argv.index("--live") + 1]).resolve())
    if problems:
        sys.exit(1)
    print(f"{len(alerts())} alerts fire and clear; {len(dashboards())} dashboards hang together")


if __name__ == "__main__":
    main()
