use std::collections::HashSet;
use std::fmt::Write;

use super::*;
use crate::engine::{Account, AccountId, End, Entry, Source};
use crate::wire::SessionId;

fn telemetry() -> Telemetry {
    Telemetry::new(Health::new())
}

/// The value of a series; panics when there is none, or more than one.
fn value(text: &str, series: &str) -> f64 {
    let mut values = text.lines().filter_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    let value = values.next().unwrap_or_else(|| panic!("no {series} in\n{text}"));
    assert_eq!(values.next(), None, "{series} comes twice");
    value.parse().expect("is a number")
}

#[test]
fn every_series_of_every_metric_is_there_from_the_start_and_only_once() {
    let text = telemetry().render();
    for metric in Metric::ALL {
        let Spec { name, kind, help, .. } = metric.spec();
        assert_eq!(text.matches(&format!("# TYPE {name} {}\n", kind.name())).count(), 1, "{name}");
        assert_eq!(text.matches(&format!("# HELP {name} {help}\n")).count(), 1, "{name}");
        for labels in registry::series(*metric) {
            let labels: Vec<_> = labels.iter().map(|(label, value)| format!("{label}=\"{value}\"")).collect();
            let labels = if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
            let suffix = if matches!(kind, Kind::Histogram(_)) { "_count" } else { "" };
            let value = value(&text, &format!("{name}{suffix}{labels}"));
            if kind != Kind::Gauge {
                assert_eq!(value, 0.0, "{name}");
            }
        }
    }
    let described: HashSet<_> = text.lines().filter(|line| line.starts_with("# TYPE gastank_")).collect();
    assert_eq!(described.len(), Metric::ALL.len());
}

#[test]
fn heartbeats_are_counted_by_transport_and_outcome() {
    let telemetry = telemetry();
    telemetry.heartbeats(Transport::Udp).valid().increment(1);
    telemetry.heartbeats(Transport::Udp).valid().increment(1);
    telemetry.heartbeats(Transport::Json).invalid(EndReason::Expired).increment(1);
    telemetry.heartbeats(Transport::Http).bad(FrameError::Tag).increment(3);
    telemetry.acks(Transport::Http).increment(7);
    let text = telemetry.render();
    assert_eq!(value(&text, "gastank_heartbeats_total{transport=\"udp\",outcome=\"valid\"}"), 2.0);
    assert_eq!(value(&text, "gastank_heartbeats_total{transport=\"json\",outcome=\"invalid_expired\"}"), 1.0);
    assert_eq!(value(&text, "gastank_heartbeats_total{transport=\"http\",outcome=\"forged\"}"), 3.0);
    assert_eq!(value(&text, "gastank_heartbeats_total{transport=\"http\",outcome=\"valid\"}"), 0.0);
    assert_eq!(value(&text, "gastank_acks_total{transport=\"http\"}"), 7.0);
}

#[test]
fn each_handle_counts_in_its_own_series() {
    let telemetry = telemetry();
    let mut count = 0;
    for transport in Transport::ALL {
        for outcome in 0..BeatOutcome::VALUES.len() {
            count += 1;
            let reason = |number: usize| EndReason::ALL[number];
            let outcome = match outcome {
                0 => BeatOutcome::Valid,
                1 => BeatOutcome::Unknown,
                2 => BeatOutcome::Stop,
                3 => BeatOutcome::Bad(FrameError::Length),
                4 => BeatOutcome::Bad(FrameError::Version),
                5 => BeatOutcome::Bad(FrameError::Kind),
                6 => BeatOutcome::Bad(FrameError::Tag),
                7 => BeatOutcome::Bad(FrameError::Value),
                invalid => BeatOutcome::Invalid(reason(invalid - 8)),
            };
            telemetry.heartbeats(*transport).of(outcome).increment(count);
        }
    }
    let text = telemetry.render();
    let mut expected = 0.0;
    for transport in Transport::VALUES {
        for outcome in BeatOutcome::VALUES {
            expected += 1.0;
            let series = format!("gastank_heartbeats_total{{transport=\"{transport}\",outcome=\"{outcome}\"}}");
            assert_eq!(value(&text, &series), expected);
        }
    }
}

#[test]
fn credit_is_shown_in_whole_seconds_and_loses_no_millisecond() {
    let telemetry = telemetry();
    for _ in 0..3 {
        telemetry.credit(EntryKind::Purchase, Credit::from_ms(60_001));
    }
    telemetry.credit(EntryKind::Usage, Credit::from_ms(-999));
    telemetry.credit(EntryKind::Grant, Credit::from_secs(-2));
    let text = telemetry.render();
    assert_eq!(value(&text, "gastank_credit_in_seconds_total{kind=\"purchase\"}"), 180.0);
    assert_eq!(value(&text, "gastank_credit_out_seconds_total{kind=\"usage\"}"), 0.0);
    assert_eq!(value(&text, "gastank_credit_in_seconds_total{kind=\"grant\"}"), 0.0);
    assert_eq!(value(&text, "gastank_credit_out_seconds_total{kind=\"grant\"}"), 2.0);
    telemetry.credit(EntryKind::Usage, Credit::from_ms(-1));
    telemetry.credit(EntryKind::Purchase, Credit::from_ms(997));
    let text = telemetry.render();
    assert_eq!(value(&text, "gastank_credit_in_seconds_total{kind=\"purchase\"}"), 181.0);
    assert_eq!(value(&text, "gastank_credit_out_seconds_total{kind=\"usage\"}"), 1.0);
}

#[test]
fn durations_and_batches_fall_into_their_buckets() {
    let telemetry = telemetry();
    telemetry.http_request(Route::Introspect, 200, Duration::from_micros(80));
    telemetry.http_request(Route::Introspect, 503, Duration::from_millis(20));
    telemetry.store_operation(StoreOperation::CommitAct, StoreOutcome::Ok, Duration::from_millis(3));
    telemetry.checkpoint_written(1000);
    let text = telemetry.render();
    let bucket = |le: &str| format!("gastank_http_request_seconds_bucket{{route=\"/oauth/introspect\",le=\"{le}\"}}");
    assert_eq!(value(&text, &bucket("0.0001")), 1.0);
    assert_eq!(value(&text, &bucket("0.025")), 2.0);
    assert_eq!(value(&text, "gastank_http_requests_total{route=\"/oauth/introspect\",class=\"5xx\"}"), 1.0);
    let committed = "gastank_store_operation_seconds_sum{operation=\"commit_act\",outcome=\"ok\"}";
    assert_eq!(value(&text, committed), 0.003);
    assert_eq!(value(&text, "gastank_checkpoint_batch_rows_bucket{le=\"256\"}"), 0.0);
    assert_eq!(value(&text, "gastank_checkpoint_batch_rows_bucket{le=\"1024\"}"), 1.0);
    assert_eq!(value(&text, "gastank_checkpoint_rows_total"), 1000.0);
}

#[test]
fn no_sample_is_lost_when_nobody_scrapes_for_long() {
    let telemetry = telemetry();
    for _ in 0..150_000 {
        telemetry.http_request(Route::Heartbeat, 200, Duration::from_micros(50));
    }
    assert_eq!(value(&telemetry.render(), "gastank_http_request_seconds_count{route=\"/v1/heartbeat\"}"), 150_000.0);
}

#[test]
fn gauges_follow_what_they_are_told() {
    let telemetry = telemetry();
    telemetry.sessions(5, 2);
    telemetry.checkpoint_lag(Millis::new(1500));
    telemetry.meter_time(MeterTime::from_ms(2500));
    let first = telemetry.connection_opened(HttpListener::Public);
    let second = telemetry.connection_opened(HttpListener::Public);
    drop(first);
    telemetry.health().enter(Phase::Ready);
    telemetry.health().store_reachable(true);
    let text = telemetry.render();
    assert_eq!(value(&text, "gastank_sessions_live"), 5.0);
    assert_eq!(value(&text, "gastank_sessions_remembered"), 2.0);
    assert_eq!(value(&text, "gastank_checkpoint_lag_seconds"), 1.5);
    assert_eq!(value(&text, "gastank_meter_time_seconds"), 2.5);
    assert_eq!(value(&text, "gastank_http_connections_open{listener=\"public\"}"), 1.0);
    assert_eq!(value(&text, "gastank_ready"), 1.0);
    assert_eq!(value(&text, "gastank_store_up"), 1.0);
    drop(second);
    telemetry.health().enter(Phase::Draining);
    let text = telemetry.render();
    assert_eq!(value(&text, "gastank_http_connections_open{listener=\"public\"}"), 0.0);
    assert_eq!(value(&text, "gastank_ready"), 0.0);
}

#[test]
fn two_services_in_one_process_count_apart() {
    let (one, other) = (telemetry(), telemetry());
    one.verdicts(VerdictOutcome::Active).increment(1);
    one.clone().verdicts(VerdictOutcome::Active).increment(1);
    let series = "gastank_verdicts_total{outcome=\"active\"}";
    assert_eq!(value(&one.render(), series), 2.0);
    assert_eq!(value(&other.render(), series), 0.0);
}

#[test]
fn a_watched_port_that_nobody_is_bound_to_counts_no_drops() {
    let telemetry = telemetry();
    telemetry.watch_udp(UdpListener::Udp, 1);
    assert_eq!(value(&telemetry.render(), "gastank_udp_kernel_drops_total{listener=\"udp\"}"), 0.0);
}

#[test]
fn the_process_tells_the_standard_figures() {
    let text = telemetry().render();
    assert!(value(&text, "process_resident_memory_bytes") > f64::from(1 << 20));
    assert!(value(&text, "process_open_fds") >= 1.0 && value(&text, "process_threads") >= 1.0);
    assert!(value(&text, "process_start_time_seconds") > 1_600_000_000.0);
    assert!(text.contains("# TYPE process_cpu_seconds_total counter\n"));
}

#[test]
fn families_and_their_series_are_in_order() {
    let text = telemetry().render();
    let families: Vec<_> = text.lines().filter(|line| line.starts_with("# TYPE ")).collect();
    assert!(families.is_sorted(), "{families:?}");
    let acks: Vec<_> = text.lines().filter(|line| line.starts_with("gastank_acks_total")).collect();
    assert!(acks.len() == Transport::ALL.len() && acks.is_sorted(), "{acks:?}");
}

#[test]
fn upkeep_between_scrapes_loses_no_sample() {
    let telemetry = telemetry();
    let series = "gastank_store_operation_seconds_count{operation=\"commit_act\",outcome=\"ok\"}";
    for _ in 0..3 {
        for _ in 0..1000 {
            telemetry.store_operation(StoreOperation::CommitAct, StoreOutcome::Ok, Duration::from_millis(3));
        }
        telemetry.upkeep();
    }
    assert_eq!(value(&telemetry.render(), series), 3000.0);
}

#[test]
fn a_scrape_stays_small_enough_to_be_taken_often() {
    let text = telemetry().render();
    assert!(text.len() < 220_000, "{} bytes", text.len());
}

#[test]
fn a_committed_act_counts_its_end_and_its_entries() {
    let telemetry = telemetry();
    let (at, at_wall) = (MeterTime::from_ms(9_000), UnixMs::from_ms(1));
    let end = End { reason: EndReason::TimedOut, at, at_wall, last_seen: at };
    let entry = Entry {
        owed: Credit::ZERO,
        number: 1,
        kind: EntryKind::Usage,
        amount: Credit::from_ms(-1_500),
        source: Source::Session,
        external_id: "x".to_owned(),
        reason: None,
        at: at_wall,
    };
    let account = Account::new(AccountId::from_bytes([1; 16]));
    let closes = Some((SessionId::from_bytes([2; 16]), end));
    telemetry.committed(&Act { closes, entries: vec![entry], ..account.nothing() });
    let text = telemetry.render();
    assert_eq!(value(&text, "gastank_sessions_ended_total{reason=\"timed_out\"}"), 1.0);
    assert_eq!(value(&text, "gastank_credit_out_seconds_total{kind=\"usage\"}"), 1.0);
}

#[test]
fn page_of_the_metrics_is_fresh() {
    let mut page = String::from("| name | type | labels | meaning |\n|---|---|---|---|\n");
    for metric in Metric::ALL {
        let Spec { name, kind, labels, help, .. } = metric.spec();
        let labels: Vec<_> = labels.iter().map(|label| format!("`{}`", label.name)).collect();
        writeln!(page, "| `{name}` | {} | {} | {help} |", kind.name(), labels.join(", ")).expect("a String takes text");
    }
    page.push_str("\n## Label values\n\n| label | values | of |\n|---|---|---|\n");
    let labels: Vec<_> = Metric::ALL.iter().flat_map(|metric| metric.spec().labels).collect();
    let mut seen = HashSet::new();
    for label in labels.into_iter().filter(|label| label.name != "version" && seen.insert((label.name, label.values))) {
        let values: Vec<_> = label.values.iter().map(|value| format!("`{value}`")).collect();
        let has = |metric: &&Metric| metric.spec().labels.contains(label);
        let of: Vec<_> = Metric::ALL.iter().filter(has).map(|metric| format!("`{}`", metric.spec().name)).collect();
        writeln!(page, "| `{}` | {} | {} |", label.name, values.join(" "), of.join(", ")).expect("a String takes text");
    }
    page::assert_page_is_fresh("metrics.md", &page);
}
