//! Whole runs against a small service.

#![expect(clippy::unwrap_used, reason = "these are tests")]

mod support;

use std::sync::atomic::Ordering;

use clap::Parser;
use gastank::{engine::Policy, time::Millis};
use loadtest::{
    cli::Args,
    record::Kind,
    report::{Operation, Report},
    run::{Failure, run},
};
use support::Service;

fn load(service: &Service, more: &str) -> Result<Report, Failure> {
    let http = format!("http://{}", service.http);
    let token = service.token_file.to_str().unwrap().to_owned();
    let args = ["loadtest", "--http", &http, "--admin-url", &http, "--admin-token-file", &token];
    let report = run(&Args::parse_from(args.into_iter().chain(more.split_ascii_whitespace())))?;
    Ok(report.unwrap())
}

fn beats(report: &Report) -> &Operation {
    report.operation(Kind::Beats).unwrap()
}

fn forged(report: &Report) -> u64 {
    report.operation(Kind::Forged).map_or(0, |forged| forged.sent)
}

#[test]
fn a_sound_service_passes_over_udp_and_nothing_is_left_behind() {
    let service = Service::start(Policy::default());
    let report = load(
        &service,
        "--sessions 50 --rate 2000 --duration 1s --timeout 10s --threads 2 --forged-percent 10 --replayed-percent 10",
    )
    .unwrap();
    assert!(report.passed, "{report}");
    let beats = beats(&report);
    assert_eq!((beats.sent, beats.on_time, beats.lost), (2000, 2000, 0), "{report}");
    assert!((100..300).contains(&forged(&report)), "{report}");
    let replayed = report.operation(Kind::Replayed).unwrap();
    assert!((50..300).contains(&replayed.sent) && replayed.on_time == replayed.sent, "{report}");
    assert!(report.server.as_ref().unwrap().pid == std::process::id());
    assert_eq!(service.live_accounts(), 0);
}

#[test]
fn a_sound_service_passes_over_http() {
    let service = Service::start(Policy::default());
    let report =
        load(&service, "--transport http1 --sessions 20 --rate 300 --duration 1s --timeout 10s --forged-percent 10")
            .unwrap();
    assert!(report.passed, "{report}");
    assert_eq!((beats(&report).sent, beats(&report).on_time), (300, 300), "{report}");
    assert!(forged(&report) > 0);
}

#[test]
fn lost_acks_are_counted_and_accepted_only_as_far_as_asked() {
    let service = Service::start(Policy::default());
    service.shared.faults.drop_every.store(50, Ordering::Relaxed);
    // Long enough that a busy machine loses none of its own.
    let plan = "--sessions 10 --rate 1000 --duration 500ms --timeout 2s";
    let report = load(&service, plan).unwrap();
    assert_eq!((beats(&report).lost, report.passed), (10, false), "{report}");
    assert!(load(&service, &format!("{plan} --accept-loss 0.03")).unwrap().passed);
}

#[test]
fn bad_acks_fail_a_run_and_repeated_ones_do_not() {
    let service = Service::start(Policy::default());
    service.shared.faults.repeat_every.store(10, Ordering::Relaxed);
    let plan = "--sessions 10 --rate 1000 --duration 300ms --timeout 2s";
    let report = load(&service, plan).unwrap();
    assert!(report.passed && beats(&report).duplicates >= 29, "{report}");
    service.shared.faults.corrupt_every.store(100, Ordering::Relaxed);
    let report = load(&service, plan).unwrap();
    assert!(!report.passed);
    assert_eq!((beats(&report).bad_by_kind["tag"], beats(&report).lost), (3, 0), "{report}");
}

#[test]
fn a_stall_does_not_slow_the_schedule_and_every_beat_it_held_up_shows_in_the_latency() {
    let service = Service::start(Policy::default());
    service.shared.faults.stall_at.store(100, Ordering::Relaxed);
    service.shared.faults.stall_ms.store(1500, Ordering::Relaxed);
    let report = load(&service, "--sessions 10 --rate 100 --duration 4s --timeout 1s").unwrap();
    assert_eq!(beats(&report).sent, 400, "{report}");
    // The first 50 of the 150 beats of that second and a half waited for longer than the timeout.
    assert!((40..150).contains(&beats(&report).late), "{report}");
    assert_eq!(beats(&report).lost, 0, "{report}");
    assert!(report.passed, "late is not lost: {report}");
    assert!(beats(&report).latency_us.p90 > 1_000_000.0 && beats(&report).latency_us.p50 < 1_000_000.0, "{report}");
}

#[test]
fn a_service_that_asks_for_patience_gets_it() {
    let service = Service::start(Policy::default());
    service.shared.faults.busy_activations.store(6, Ordering::Relaxed);
    assert!(load(&service, "--sessions 5 --rate 100 --duration 200ms").unwrap().passed);
}

#[test]
fn kept_sessions_are_used_again_and_dead_ones_are_opened_anew() {
    let policy = Policy { interval: Millis::new(300), timeout: Millis::new(900), ..Policy::default() };
    let service = Service::start(policy);
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("sessions");
    let plan =
        |more: &str| format!("--sessions 10 --rate 100 --duration 200ms --sessions-file {} {more}", file.display());
    let activations = || service.shared.activations.load(Ordering::Relaxed);
    assert!(load(&service, &plan("--keep")).unwrap().passed);
    assert_eq!((service.live_accounts(), activations()), (10, 10));
    assert!(load(&service, &plan("--keep")).unwrap().passed);
    assert_eq!((service.live_accounts(), activations()), (10, 11), "the first is always activated");
    std::thread::sleep(std::time::Duration::from_secs(1));
    assert!(load(&service, &plan("--keep")).unwrap().passed);
    assert_eq!((service.live_accounts(), activations()), (10, 21), "all had timed out");
    assert!(load(&service, &plan("")).unwrap().passed);
    assert_eq!((service.live_accounts(), file.exists()), (0, false));
}

#[test]
fn a_rate_too_low_to_keep_the_sessions_alive_is_a_usage_error() {
    let policy = Policy { interval: Millis::new(300), timeout: Millis::new(900), ..Policy::default() };
    let service = Service::start(policy);
    let failure = load(&service, "--sessions 100 --rate 100 --duration 5s").unwrap_err();
    assert!(matches!(failure, Failure::Usage(text) if text.contains("at least 167")));
    assert_eq!(service.live_accounts(), 0);
}
