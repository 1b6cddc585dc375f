"""What makes each alert fire, and what clears it, in samples a minute apart as promtool writes them: 1x5 is six times a one,
0+60x5 climbs by 60."""

AT = 'job="gastank",instance="a:7090"'
OTHER = 'job="gastank",instance="b:7090"'


def series(name, labels="", at=AT):
    return f"{name}{{{at}{',' if labels else ''}{labels}}}"


def requests(route, good, bad):
    """Requests of a route: those answered well and quickly, those answered with 5xx, and all in the latency histogram."""
    label = f'route="{route}"'
    return {
        series("gastank_http_requests_total", f'{label},class="2xx"'): good,
        series("gastank_http_requests_total", f'{label},class="5xx"'): bad,
        series("gastank_http_request_seconds_count", label): good,
        series("gastank_http_request_seconds_bucket", f'{label},le="0.025"'): good,
    }


def one(name, values, labels=""):
    return {series(name, labels): values}


# Alert: the samples, the minute at which it fires, the minute at which it has cleared.
SCENARIOS = {
    "GastankAbsent": (one("gastank_ready", "1x5 stale _x9 1x5"), 8, 18),
    "GastankDown": (one("up", "1x5 0x5 1x10"), 8, 13),
    "GastankNodeGone": (one("gastank_nodes", "3x5 2x10 3x5"), 9, 18),
    "GastankNotReady": (one("gastank_ready", "1x2 0x5 1x5"), 5, 10),
    "GastankRestarted": (one("process_start_time_seconds", "1 2 3 4x40"), 4, 25),
    "GastankPanicked": (one("gastank_panics_total", "0x2 1x40"), 4, 25),
    "GastankMassTimeOut": (
        {
            series("gastank_sessions_live"): "1000x40",
            series("gastank_sessions_ended_total", 'reason="timed_out"'): "0x10 500x30",
        },
        12,
        20,
    ),
    # One in eleven fails for an hour. The longer window of the second pair clears half an hour later.
    "GastankBudgetBurnsFast": (requests("/oauth/introspect", "0+6000x200", "0+600x60 36000x140"), 10, 120),
    # Three in a thousand fail for three hours.
    "GastankBudgetBurnsSlowly": (requests("/oauth/introspect", "0+6000x800", "0+18x180 3240x620"), 120, 720),
    "GastankStoreDown": (one("gastank_store_up", "1x2 0x5 1x5"), 5, 10),
    "GastankCutOff": (
        {series("gastank_store_up"): "1x2 0x5 1x5", series("gastank_store_up", at=OTHER): "1x20"},
        5,
        10,
    ),
    "GastankCheckpointsLate": (one("gastank_checkpoint_lag_seconds", "10x2 120x5 10x5"), 5, 10),
    "GastankCheckpointFailures": (one("gastank_checkpoint_failures_total", "0x2 1x30"), 4, 15),
    "GastankChangesLate": (one("gastank_changes_lag_seconds", "0x2 10x5 0x5"), 5, 10),
    "GastankHousekeepingBehind": (one("gastank_housekeeping_age_seconds", "60x2 1000x20 60x5", 'task="dates"'), 10, 25),
    "GastankStoreLogGrows": (
        one("gastank_store_file_bytes", "4000000x2 2000000000x20 4000000x10", 'file="log"'),
        15,
        26,
    ),
    "GastankStoreGrows": (
        one("gastank_store_file_bytes", "1000000000x1440 3000000000x100 1000000000x20", 'file="data"'),
        1480,
        1550,
    ),
    "GastankHistoryGaps": (one("gastank_history_rows_total", "0x2 5x40", 'outcome="dropped"'), 4, 30),
    "GastankVerdictsUnavailable": (
        one("gastank_verdicts_total", "0x2 60+60x10 660x30", 'outcome="unavailable"'),
        7,
        25,
    ),
    "GastankErrors": (requests("/v1/activate", "0+600x80", "0x2 60+60x20 1260x40"), 12, 40),
    "GastankOverloaded": (one("gastank_http_requests_shed_total", "0x2 60+60x20 1260x40", 'surface="acts"'), 12, 40),
    "GastankPressed": (one("gastank_pressure_ratio", "0x2 0.9x30 0x10"), 20, 36),
    "GastankUdpDrops": (one("gastank_udp_kernel_drops_total", "0x2 600+600x20 12600x40", 'listener="udp"'), 12, 40),
    "GastankUnknownSessions": (
        {
            series("gastank_heartbeats_total", 'transport="udp",outcome="unknown"'): "0x2 600+600x30 18600x60",
            series("gastank_acks_total", 'transport="udp"'): "0+1000x100",
        },
        20,
        50,
    ),
    "GastankForgedFrames": (
        one("gastank_heartbeats_total", "0x2 6000+6000x30 186000x60", 'transport="udp",outcome="forged"'),
        20,
        50,
    ),
    "GastankConnectionsRefused": (
        one("gastank_http_connections_refused_total", "0x2 60+60x20 1260x40", 'listener="public",reason="full"'),
        12,
        40,
    ),
    "GastankFewDescriptorsLeft": (
        {series("process_open_fds"): "10x2 900x20 10x10", series("process_max_fds"): "1000x40"},
        10,
        26,
    ),
    "GastankLogLinesDropped": (one("gastank_log_lines_dropped_total", "0x2 5x40"), 4, 30),
    "GastankProvidersWithoutKeys": (one("gastank_identity_providers_without_keys", "0x2 1x20 0x10"), 10, 26),
    "GastankKeyFetchesFail": (
        {
            series("gastank_identity_key_fetches_total", 'outcome="failed"'): "0x2 1+1x30 31x200",
            series("gastank_identity_key_fetches_total", 'outcome="ok"'): "5x300",
        },
        30,
        100,
    ),
    "GastankBadWebhookSignatures": (one("gastank_webhooks_total", "0x2 10x40", 'outcome="bad_signature"'), 4, 25),
    "GastankCertificateRefused": (one("gastank_certificate_loads_total", "0x2 1x40", 'outcome="refused"'), 4, 20),
    "GastankCertificateEndsSoon": (
        {
            series("gastank_certificate_expiry_timestamp_seconds"): "1000000x100 9000000x20",
            series("gastank_certificate_from_files"): "1x130",
        },
        70,
        110,
    ),
    "GastankCertificateExpires": (
        one("gastank_certificate_expiry_timestamp_seconds", "50000x10 9000000x20"),
        2,
        15,
    ),
    "GastankClockSkewed": (one("gastank_clock_skew_seconds", "0x2 -8x5 0x5"), 5, 10),
}

# Alert: samples that look alike and must leave it silent, and the minute at which that is asked.
SILENT = {
    # Nobody reaches the store: that is GastankStoreDown.
    "GastankCutOff": (
        {series("gastank_store_up"): "1x2 0x9", series("gastank_store_up", at=OTHER): "1x2 0x9"},
        8,
    ),
    # A service that shows a certificate of its own replaces it by itself.
    "GastankCertificateEndsSoon": (
        {
            series("gastank_certificate_expiry_timestamp_seconds"): "1000000x100",
            series("gastank_certificate_from_files"): "0x100",
        },
        80,
    ),
    # Seven of ten requests fail, and there were no others for hours: nobody is woken for seven.
    "GastankBudgetBurnsFast": (requests("/oauth/introspect", "0x420 3x10", "0x420 7x10"), 426),
    # A few of thousands.
    "GastankMassTimeOut": (
        {
            series("gastank_sessions_live"): "1000x40",
            series("gastank_sessions_ended_total", 'reason="timed_out"'): "0x10 100x30",
        },
        12,
    ),
}


def firing(alert):
    return f'count by (alertname) (ALERTS{{alertname="{alert}",alertstate="firing"}})'


def test(samples, expectations):
    return {
        "interval": "1m",
        "input_series": [{"series": name, "values": values} for name, values in samples.items()],
        "promql_expr_test": [
            {
                "expr": firing(alert),
                "eval_time": f"{minute}m",
                "exp_samples": [{"labels": f'{{alertname="{alert}"}}', "value": 1}] if fires else [],
            }
            for alert, minute, fires in expectations
        ],
    }


def test_file(rules):
    """The input of `promtool test rules`."""
    tests = [
        test(samples, [(alert, fires, True), (alert, clears, False)])
        for alert, (samples, fires, clears) in SCENARIOS.items()
    ]
    tests += [test(samples, [(alert, minute, False)]) for alert, (samples, minute) in SILENT.items()]
    return {"rule_files": [str(rule) for rule in rules], "evaluation_interval": "1m", "tests": tests}
