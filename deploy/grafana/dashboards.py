#!/usr/bin/env python3
"""The dashboards, one for each question. Writes the JSON files beside it that Grafana imports:

    deploy/grafana/dashboards.py            writes them
    deploy/grafana/dashboards.py --check    ends with 1 if they are stale

In an expression, $S stands for the labels that choose the service: {$S} or {$S,outcome="valid"}.
Needs Python 3 and nothing else.
"""

import json
import pathlib
import sys

HERE = pathlib.Path(__file__).resolve().parent
SELECT = 'job="$job",instance=~"$instance"'
RATE = "$__rate_interval"

PER_S, SECONDS, BYTES, COUNT, PERCENT, CORES = "ops", "s", "bytes", "short", "percentunit", "short"


def rate(metric, labels="", by=""):
    grouped = f" by ({by})" if by else ""
    return f"sum{grouped} (rate({metric}{{$S{',' if labels else ''}{labels}}}[{RATE}]))"


def increase(metric, labels="", by=""):
    grouped = f" by ({by})" if by else ""
    return f"sum{grouped} (increase({metric}{{$S{',' if labels else ''}{labels}}}[{RATE}]))"


def quantile(q, metric, labels="", by=""):
    return f"histogram_quantile({q}, {rate(metric + '_bucket', labels, 'le' + (', ' + by if by else ''))})"


def quantiles(metric, labels=""):
    return [(quantile(q, metric, labels), f"p{q * 100:g}") for q in (0.5, 0.99, 0.999)]


class Panel:
    """A panel: what it shows, why one looks at it, its unit, and (expression, legend) pairs."""

    def __init__(self, title, why, unit, *queries, width=12, kind="timeseries", stacked=False, bounds=None):
        self.title, self.why, self.unit, self.queries = title, why, unit, queries
        self.width, self.kind, self.stacked, self.bounds = width, kind, stacked, bounds

    def json(self, number, x, y):
        stat = self.kind == "stat"
        steps = [{"color": "green", "value": None}]
        # (value, colour) pairs, from the lowest; the first may say what is below the second.
        for value, colour in self.bounds or []:
            if value is None:
                steps[0]["color"] = colour
            else:
                steps.append({"color": colour, "value": value})
        defaults = {
            "unit": self.unit,
            "thresholds": {"mode": "absolute", "steps": steps},
            "color": {"mode": "thresholds" if stat else "palette-classic"},
        }
        if not stat:
            defaults["min"] = 0
            defaults["custom"] = {
                "lineWidth": 1,
                "fillOpacity": 30 if self.stacked else 8,
                "showPoints": "never",
                "stacking": {"mode": "normal" if self.stacked else "none", "group": "A"},
                "thresholdsStyle": {"mode": "line" if self.bounds else "off"},
            }
        options = (
            {"reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False}, "colorMode": "background", "textMode": "auto"}
            if stat
            else {
                "legend": {"displayMode": "table", "placement": "bottom", "calcs": ["lastNotNull", "max"]},
                "tooltip": {"mode": "multi", "sort": "desc"},
            }
        )
        return {
            "id": number,
            "type": self.kind,
            "title": self.title,
            "description": self.why,
            "datasource": {"type": "prometheus", "uid": "${datasource}"},
            "gridPos": {"x": x, "y": y, "w": self.width, "h": 4 if stat else 8},
            "fieldConfig": {"defaults": defaults, "overrides": []},
            "options": options,
            "targets": [
                {
                    "refId": chr(ord("A") + at),
                    "datasource": {"type": "prometheus", "uid": "${datasource}"},
                    "expr": expression.replace("$S", SELECT),
                    "legendFormat": legend,
                }
                for at, (expression, legend) in enumerate(self.queries)
            ],
        }


def stat(title, why, unit, query, legend, *bounds, width=4):
    return Panel(title, why, unit, (query, legend), width=width, kind="stat", bounds=bounds)


ACTS = 'route=~"/v1/(activate|renew|deactivate)|/hooks/credit"'

OVERVIEW = [
    stat("Nodes ready", "Nodes that take traffic. 0: nobody is served.", COUNT, "sum(gastank_ready{$S})", "ready", (None, "red"), (1, "green")),
    stat("Nodes that do not answer", "Targets that Prometheus cannot scrape.", COUNT, 'count(up{$S} == 0) or vector(0)', "down", (1, "red")),
    stat("Store", "1 while every node can write to the store. 0: acts get 503, beats and verdicts go on from memory.", COUNT, "min(gastank_store_up{$S})", "reachable", (None, "red"), (1, "green")),
    stat("Open sessions", "Sessions that live in memory. With several nodes: of the node that knows most.", COUNT, "max(gastank_sessions_live{$S})", "sessions"),
    stat("Pressure", "0: at ease. Above 0 acks ask for fewer heartbeats; at 1 they ask for the fewest.", PERCENT, "max(gastank_pressure_ratio{$S})", "pressure", (0.1, "orange"), (0.5, "red")),
    stat("Checkpoint lag", "Age of the oldest heartbeat that a crash would lose. Twice the checkpoint interval (30 s by default) is too much.", SECONDS, "max(gastank_checkpoint_lag_seconds{$S})", "lag", (60, "orange"), (90, "red")),
    Panel("Burn rate by objective", "How many times faster than the objective allows errors come, over the last hour. 1 is on budget, 14.4 wakes somebody. Needs slo.yml.", COUNT, ('gastank:slo_burn:ratio_rate1h{job="$job"}', "{{slo}}"), bounds=[(1, "orange"), (14.4, "red")]),
    Panel("Errors by objective", "Share of acks, verdicts and acts that failed or were too slow, over five minutes. Needs slo.yml.", PERCENT, ('gastank:slo_errors:ratio_rate5m{job="$job"}', "{{slo}}")),
    Panel("Heartbeats and acks", "Every understood heartbeat gets an ack. Two lines apart: forged or malformed frames, or a fault.", PER_S, (rate("gastank_heartbeats_total"), "heartbeats"), (rate("gastank_acks_total"), "acks")),
    Panel("Verdicts", "What edges were told. `unavailable` must be 0.", PER_S, (rate("gastank_verdicts_total", by="outcome"), "{{outcome}}"), stacked=True),
    Panel("Acts", "Activations, renewals, deactivations and credit webhooks answered, by class of status. `shed` was refused because there was too much to do.", PER_S, (rate("gastank_http_requests_total", ACTS, "class"), "{{class}}"), stacked=True),
    Panel("Sessions ended", "By reason. Many `timed_out` at once: heartbeats do not arrive.", PER_S, (rate("gastank_sessions_ended_total", by="reason"), "{{reason}}"), stacked=True),
    Panel("Answers by class", "All HTTP answers, by class of status.", PER_S, (rate("gastank_http_requests_total", by="class"), "{{class}}"), stacked=True),
    Panel("5xx and shed by route", "Where errors come from.", PER_S, (rate("gastank_http_requests_total", 'class=~"5xx|shed"', "route"), "{{route}}")),
]

HEARTBEATS = [
    Panel("Heartbeats by transport", "A transport that falls to 0 alone: its port, firewall or load balancer.", PER_S, (rate("gastank_heartbeats_total", by="transport"), "{{transport}}"), stacked=True),
    Panel("Heartbeats by outcome, other than valid", "`invalid_*`: clients that do not know yet that their session is over. `unknown`: sessions nobody has. `forged`: a wrong tag.", PER_S, (rate("gastank_heartbeats_total", 'outcome!="valid"', "outcome"), "{{outcome}}")),
    Panel("Acks by transport", "Answers to heartbeats.", PER_S, (rate("gastank_acks_total", by="transport"), "{{transport}}"), stacked=True),
    Panel("Time of a heartbeat over HTTP", "From the request's head to the answer's. Datagrams have no such figure: see lateness and drops.", SECONDS, *quantiles("gastank_http_request_seconds", 'route="/v1/heartbeat"')),
    Panel("Datagrams dropped by the kernel", "The receive buffer was full: raise it, or give the service more processors.", PER_S, (rate("gastank_udp_kernel_drops_total", by="listener"), "{{listener}}")),
    Panel("QUIC datagrams dropped", "`unread` and `unsent`: the service was late. The others are the caller's.", PER_S, (rate("gastank_quic_datagrams_dropped_total", by="reason"), "{{reason}}")),
    Panel("Socket buffers", "What the kernel granted each socket; twice of what was asked for is normal on Linux.", BYTES, ("min by (listener, buffer) (gastank_udp_socket_buffer_bytes{$S})", "{{listener}} {{buffer}}"), width=8),
    Panel("UDP sockets", "One thread each for the UDP listener.", COUNT, ("sum by (listener) (gastank_udp_threads{$S})", "{{listener}}"), width=8),
    Panel("Lateness", "How late the threads that serve connections get to what is ready. At a second they refuse.", SECONDS, ("max by (crew) (gastank_http_late_seconds{$S})", "{{crew}}"), width=8, bounds=[(0.125, "orange"), (1, "red")]),
    Panel("HTTP connections", "Open connections by listener.", COUNT, ("sum by (listener) (gastank_http_connections_open{$S})", "{{listener}}")),
    Panel("HTTP connections refused", "`full`: of the listener. `address`: one address has all it may have.", PER_S, (rate("gastank_http_connections_refused_total", by="listener, reason"), "{{listener}} {{reason}}")),
    Panel("QUIC connections and WebTransport sessions", "Open ones, and handshakes under way.", COUNT, ("sum by (protocol) (gastank_quic_connections_open{$S})", "{{protocol}}"), ("sum(gastank_webtransport_sessions_open{$S})", "WebTransport sessions"), ("sum(gastank_quic_handshakes_open{$S})", "handshakes")),
    Panel("QUIC connections asked for", "`retry` is the address check under load. `full`, `address` and `handshakes` were refused.", PER_S, (rate("gastank_quic_arrivals_total", by="outcome"), "{{outcome}}")),
    Panel("WebTransport sessions asked for", "`origin`: a page that may not; see `webtransport.origins`.", PER_S, (rate("gastank_webtransport_sessions_total", by="outcome"), "{{outcome}}")),
    Panel("TLS handshakes over TCP", "`failed` in numbers: a certificate that clients do not trust, or somebody who tries.", PER_S, (rate("gastank_tls_handshakes_total", by="outcome"), "{{outcome}}")),
]

EDGES = [
    stat("Verdicts withheld", "Share of verdicts that were `unavailable`. Edges decide by their caches then.", PERCENT, rate("gastank_verdicts_total", 'outcome="unavailable"') + " / (" + rate("gastank_verdicts_total") + " > 0) or vector(0)", "unavailable", (0.0001, "red"), width=6),
    stat("p99 of introspection", "From the request's head to the answer's.", SECONDS, quantile(0.99, "gastank_http_request_seconds", 'route="/oauth/introspect"'), "p99", (0.01, "orange"), (0.025, "red"), width=6),
    stat("Changes lag", "How old the knowledge of other nodes' changes is; 0 with a data file. At some seconds verdicts are withheld.", SECONDS, "max(gastank_changes_lag_seconds{$S})", "lag", (1, "orange"), (5, "red"), width=6),
    stat("Lateness of edge threads", "How late the threads that serve edges are.", SECONDS, 'max(gastank_http_late_seconds{$S,crew="edges"})', "late", (0.125, "orange"), (1, "red"), width=6),
    Panel("Verdicts", "What edges were told.", PER_S, (rate("gastank_verdicts_total", by="outcome"), "{{outcome}}"), stacked=True),
    Panel("Time of an introspection", "From the request's head to the answer's.", SECONDS, *quantiles("gastank_http_request_seconds", 'route="/oauth/introspect"')),
    Panel("Introspections by class", "4xx: an edge with a wrong secret. 5xx and shed: this service.", PER_S, (rate("gastank_http_requests_total", 'route="/oauth/introspect"', "class"), "{{class}}"), stacked=True),
    Panel("Status lists and keys", "How often edges that check tokens by themselves fetch lists and keys.", PER_S, (rate("gastank_http_requests_total", 'route=~"/oauth/status.*|/.well-known/jwks.json"', "route"), "{{route}}")),
    Panel("Revocations by edges", "RFC 7009 calls, by class of status.", PER_S, (rate("gastank_http_requests_total", 'route="/oauth/revoke"', "class"), "{{class}}")),
    Panel("Verdicts refused for load", "503 `overloaded`.", PER_S, (rate("gastank_http_requests_shed_total", 'surface="verdicts"', "surface"), "{{surface}}")),
]

ACCOUNTS = [
    stat("Providers without keys", "Identity providers whose keys could not be fetched: nobody can sign in there.", COUNT, "max(gastank_identity_providers_without_keys{$S})", "providers", (1, "red"), width=6),
    stat("Age of the oldest keys", "Of the identity providers' key sets in use.", SECONDS, "max(gastank_identity_key_age_seconds{$S})", "age", width=6),
    stat("Open sessions", "Sessions that live in memory.", COUNT, "max(gastank_sessions_live{$S})", "sessions", width=6),
    stat("Ended sessions remembered", "Kept in memory to tell their clients why.", COUNT, "max(gastank_sessions_remembered{$S})", "sessions", width=6),
    Panel("Sign-ins", "Tokens of identity providers, by what became of them. A new reason at once: the provider or an app has changed.", PER_S, (rate("gastank_sign_ins_total", by="outcome"), "{{outcome}}"), stacked=True),
    Panel("Key fetches", "Fetches of identity providers' keys.", PER_S, (rate("gastank_identity_key_fetches_total", by="outcome"), "{{outcome}}")),
    Panel("Activations", "`superseding` ended an older session of the same account.", PER_S, (rate("gastank_activations_total", by="outcome"), "{{outcome}}"), stacked=True),
    Panel("Renewals", "`session_ended`: the client is told why. `stale`: a late repetition.", PER_S, (rate("gastank_renewals_total", by="outcome"), "{{outcome}}"), stacked=True),
    Panel("Time of an activation and a renewal", "An act waits for a commit of the store.", SECONDS, (quantile(0.99, "gastank_http_request_seconds", 'route=~"/v1/(activate|renew|deactivate)"', "route"), "{{route}} p99")),
    Panel("Sessions ended", "By reason. `timed_out`: the client stopped beating.", PER_S, (rate("gastank_sessions_ended_total", by="reason"), "{{reason}}"), stacked=True),
    Panel("Account events", "Of identity providers: password changes, deletions. `refused` and `unavailable` are sent again.", PER_S, (rate("gastank_account_events_total", by="outcome"), "{{outcome}}")),
    Panel("Back-channel logouts", "Tries to tell clients of the hub that hub sessions have ended. `failed` is tried again, `given_up` is not.", PER_S, (rate("gastank_backchannel_logouts_total", by="outcome"), "{{outcome}}")),
    Panel("Acts refused by limits", "By which limit: of an account, an address, or of hooks.", PER_S, (rate("gastank_acts_limited_total", by="by"), "{{by}}")),
]

CREDIT = [
    Panel("Time put into tanks", "Seconds of credit in each second, by kind. `purchase` at 0 while the shop sells: see webhooks.", SECONDS, (rate("gastank_credit_in_seconds_total", by="kind"), "{{kind}}"), stacked=True),
    Panel("Time taken out of tanks", "Seconds of credit in each second, by kind. Usage is counted when a session is settled.", SECONDS, (rate("gastank_credit_out_seconds_total", by="kind"), "{{kind}}"), stacked=True),
    Panel("Credit webhooks", "`held`: for a person who has no account yet. `undeliverable` and `bad_signature` want a look.", PER_S, (rate("gastank_webhooks_total", by="outcome"), "{{outcome}}"), stacked=True),
    Panel("Bad signatures", "Webhooks with a wrong signature in each interval: a secret that was replaced, or a stranger.", COUNT, (increase("gastank_webhooks_total", 'outcome="bad_signature"', "outcome"), "{{outcome}}")),
    Panel("Time of a credit webhook", "From the request's head to the answer's.", SECONDS, *quantiles("gastank_http_request_seconds", 'route="/hooks/credit"')),
    Panel("Credit by operators", "Calls of the administration that fill a tank.", PER_S, (rate("gastank_http_requests_total", 'route="/admin/accounts/{id}/credit"', "class"), "{{class}}")),
    Panel("Activations with an empty tank", "People who came and had no time left.", PER_S, (rate("gastank_activations_total", 'outcome="tank_empty"', "outcome"), "{{outcome}}")),
    Panel("Sessions that ran dry", "Ended because the tank was empty.", PER_S, (rate("gastank_sessions_ended_total", 'reason="exhausted"', "reason"), "{{reason}}")),
]

STORE = [
    stat("Store", "1 while every node can write.", COUNT, "min(gastank_store_up{$S})", "reachable", (None, "red"), (1, "green")),
    stat("Nodes", "Nodes that share the store, as far as they know.", COUNT, "min(gastank_nodes{$S})", "nodes"),
    stat("Era", "How often the meter was taken up again after all nodes were down.", COUNT, "max(gastank_era{$S})", "era"),
    stat("Clock skew", "The wall clock that is furthest from the others'.", SECONDS, "max(abs(gastank_clock_skew_seconds{$S}))", "skew", (1, "orange"), (5, "red")),
    stat("Housekeeping", "Time since the housekeeping that is furthest behind did all there was to do. It runs once a minute.", SECONDS, "max(gastank_housekeeping_age_seconds{$S})", "age", (300, "orange"), (900, "red")),
    stat("Data file", "With its log; 0 with a CQL cluster.", BYTES, "sum(gastank_store_file_bytes{$S})", "bytes"),
    Panel("Time of store operations, p99", "Waiting included. `commit_act` is what people wait for.", SECONDS, (quantile(0.99, "gastank_store_operation_seconds", 'outcome="ok"', "operation"), "{{operation}}")),
    Panel("Store operations", "By operation.", PER_S, (rate("gastank_store_operation_seconds_count", 'outcome="ok"', "operation"), "{{operation}}")),
    Panel("Store errors", "Operations that failed.", PER_S, (rate("gastank_store_operation_seconds_count", 'outcome="error"', "operation"), "{{operation}}")),
    Panel("Checkpoint lag", "Age of the oldest heartbeat that is not in the store yet.", SECONDS, ("gastank_checkpoint_lag_seconds{$S}", "{{instance}}"), bounds=[(90, "red")]),
    Panel("Checkpoint rows", "Rows written and batches refused.", PER_S, (rate("gastank_checkpoint_rows_total"), "rows"), (rate("gastank_checkpoint_failures_total"), "batches refused"), (rate("gastank_checkpoint_statements_total"), "CQL statements")),
    Panel("Rows of a checkpoint batch", "More rows in a batch cost less each.", COUNT, *quantiles("gastank_checkpoint_batch_rows")),
    Panel("Files of the store", "A log that grows: somebody holds a transaction open. The data file has a row for each activation and each credit.", BYTES, ("gastank_store_file_bytes{$S}", "{{instance}} {{file}}")),
    Panel("Housekeeping", "Time since each kind did all there was to do.", SECONDS, ("gastank_housekeeping_age_seconds{$S}", "{{instance}} {{task}}"), bounds=[(900, "red")]),
    Panel("Heartbeat history", "Rows kept and dropped. Dropped ones are gaps.", PER_S, (rate("gastank_history_rows_total", by="outcome"), "{{outcome}}")),
    Panel("Changes lag", "How old each node's knowledge of the others' changes is.", SECONDS, ("gastank_changes_lag_seconds{$S}", "{{instance}}"), bounds=[(5, "red")]),
    Panel("Nodes as each sees them", "Lines apart: nodes do not see each other.", COUNT, ("gastank_nodes{$S}", "{{instance}}")),
    Panel("Meter", "Seconds of meter time in each second: 1 while the service is up.", PERCENT, (f"rate(gastank_meter_time_seconds{{$S}}[{RATE}])", "{{instance}}")),
]

PROCESS = [
    stat("Version", "Versions that run, with how many nodes each.", COUNT, "count by (version) (gastank_build_info{$S})", "{{version}}", width=6),
    stat("Up since", "The process that started last.", SECONDS, "time() - max(process_start_time_seconds{$S})", "uptime", width=6),
    stat("Certificate", "Time until the certificate that is shown expires. The service's own are replaced two days before.", SECONDS, "min(gastank_certificate_expiry_timestamp_seconds{$S} > 0) - time()", "left", (None, "red"), (86400, "orange"), (1209600, "green"), width=6),
    stat("Panics", "Since the start. Each is a fault of the program.", COUNT, "sum(gastank_panics_total{$S})", "panics", (1, "red"), width=6),
    Panel("Processors", "Processors in use.", CORES, (f"rate(process_cpu_seconds_total{{$S}}[{RATE}])", "{{instance}}")),
    Panel("Memory", "Resident memory. Some 250 bytes for each open session.", BYTES, ("process_resident_memory_bytes{$S}", "{{instance}}")),
    Panel("Open files", "At the limit no connections are accepted.", PERCENT, ("process_open_fds{$S} / process_max_fds{$S}", "{{instance}}"), bounds=[(0.8, "red")]),
    Panel("Threads", "Steady while all is well.", COUNT, ("process_threads{$S}", "{{instance}}")),
    Panel("Requests under way", "Those that wait for the store or a body, by surface.", COUNT, ("sum by (surface) (gastank_http_requests_in_flight{$S})", "{{surface}}")),
    Panel("Requests refused for load", "503 `overloaded`, by surface.", PER_S, (rate("gastank_http_requests_shed_total", by="surface"), "{{surface}}")),
    Panel("Pressure", "How hard each node is pressed.", PERCENT, ("gastank_pressure_ratio{$S}", "{{instance}}"), bounds=[(0.5, "red")]),
    Panel("Parts restarted and lines of the log dropped", "Threads that panicked and began anew; lines that the reader of the log was too slow for.", COUNT, (increase("gastank_parts_restarted_total"), "parts restarted"), (increase("gastank_log_lines_dropped_total"), "lines dropped")),
    Panel("Certificates read", "A refused one leaves the one before.", COUNT, (increase("gastank_certificate_loads_total", by="outcome"), "{{outcome}}")),
    Panel("Time of HTTP requests, p99", "By route. Acts wait for a commit of the store; beats and verdicts never do.", SECONDS, (quantile(0.99, "gastank_http_request_seconds", "", "route"), "{{route}}")),
]

# File name: title, the question it answers, panels.
DASHBOARDS = {
    "overview": ("Overview", "Are people served, and if not, what fails?", OVERVIEW),
    "heartbeats": ("Heartbeats and transports", "Do heartbeats arrive, and how?", HEARTBEATS),
    "edges": ("Edges", "Do edges get their verdicts, and in time?", EDGES),
    "accounts": ("Accounts and sign-in", "Can people sign in and open sessions?", ACCOUNTS),
    "credit": ("Credit", "Is time bought, given and used as it should be?", CREDIT),
    "store": ("Store and cluster", "Does the store keep up, and do the nodes agree?", STORE),
    "process": ("Process", "Does the program have what it needs?", PROCESS),
}


def laid_out(panels):
    """Rows of 24 columns, in order."""
    x = y = height = 0
    for number, panel in enumerate(panels, 1):
        if x + panel.width > 24:
            x, y, height = 0, y + height, 0
        shown = panel.json(number, x, y)
        if height and shown["gridPos"]["h"] != height:
            # A row of small figures ends before graphs begin.
            x, y, height = 0, y + height, 0
            shown = panel.json(number, x, y)
        yield shown
        x, height = x + panel.width, shown["gridPos"]["h"]


def variable(name, label, query, **more):
    return {
        "name": name,
        "label": label,
        "type": "query",
        "datasource": {"type": "prometheus", "uid": "${datasource}"},
        "query": {"query": query, "refId": name},
        "definition": query,
        "refresh": 2,
        "sort": 1,
        **more,
    }


def dashboard(name):
    title, question, panels = DASHBOARDS[name]
    return {
        "uid": f"gastank-{name}",
        "title": f"gastank / {title}",
        "description": question,
        "tags": ["gastank"],
        "schemaVersion": 39,
        "version": 1,
        "editable": True,
        "graphTooltip": 1,
        "time": {"from": "now-3h", "to": "now"},
        "refresh": "30s",
        "timezone": "browser",
        "links": [{"type": "dashboards", "title": "gastank", "tags": ["gastank"], "asDropdown": True, "includeVars": True, "keepTime": True}],
        "templating": {
            "list": [
                {"name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus", "refresh": 1},
                variable("job", "Job", "label_values(gastank_build_info, job)"),
                variable("instance", "Node", 'label_values(gastank_build_info{job="$job"}, instance)', multi=True, includeAll=True, allValue=".+", current={"text": "All", "value": "$__all"}),
            ]
        },
        "annotations": {
            "list": [
                {
                    "name": "Alerts",
                    "enable": True,
                    "iconColor": "red",
                    "datasource": {"type": "prometheus", "uid": "${datasource}"},
                    "expr": 'ALERTS{alertname=~"Gastank.*",alertstate="firing"}',
                    "titleFormat": "{{alertname}}",
                    "textFormat": "{{instance}}",
                }
            ]
        },
        "panels": list(laid_out(panels)),
    }


def main():
    stale = False
    for name in DASHBOARDS:
        path = HERE / f"{name}.json"
        text = json.dumps(dashboard(name), indent=1, ensure_ascii=False) + "\n"
        if path.exists() and path.read_text() == text:
            continue
        stale = True
        if "--check" in sys.argv:
            print(f"{path.name} is stale: run deploy/grafana/dashboards.py", file=sys.stderr)
        else:
            path.write_text(text)
            print(f"{path.name}: {len(DASHBOARDS[name][2])} panels")
    sys.exit(1 if stale and "--check" in sys.argv else 0)


if __name__ == "__main__":
    main()
