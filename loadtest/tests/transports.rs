//! Every transport against a bare server: what is sent comes back, and connections that are dropped are opened again.

#![expect(clippy::unwrap_used, reason = "these are tests")]

mod echo;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use aws_lc_rs::digest::{SHA256, digest};
use clap::Parser;
use echo::Echo;
use loadtest::{
    cli::Args,
    clock::Clock,
    report::{Operation, Report},
    run::run,
    transport::{self, Message, Reply, Route, Transport, TransportKind, Trust},
};

fn floor(transport: &str, address: SocketAddr, more: &str) -> Report {
    let line = format!("loadtest floor --transport {transport} --addr {address} --timeout 10s {more}");
    run(&Args::parse_from(line.split_ascii_whitespace())).unwrap().unwrap()
}

fn only(report: &Report) -> &Operation {
    let [operation] = report.operations.as_slice() else { panic!("{report}") };
    operation
}

#[test]
fn frames_come_back_over_every_transport() {
    let echo = Echo::start();
    for (transport, address, tls) in [
        ("udp", echo.udp, ""),
        ("quic", echo.quic, ""),
        ("webtransport", echo.quic, ""),
        ("http1", echo.http, ""),
        ("http1", echo.https, "--tls"),
        ("http2", echo.http, ""),
        ("http2", echo.https, "--tls"),
        ("http3", echo.quic, ""),
    ] {
        let plan = "--sessions 50 --connections 5 --threads 2 --rate 400 --duration 500ms";
        let report = floor(transport, address, &format!("{plan} {tls}"));
        assert!(report.passed, "{transport} {tls}: {report}");
        let operation = only(&report);
        assert_eq!((operation.sent, operation.on_time), (200, 200), "{transport} {tls}: {report}");
        assert_eq!(report.links["floor"].connects, 5, "{transport} {tls}");
    }
}

#[test]
fn a_server_that_answers_forged_frames_fails() {
    let echo = Echo::start();
    let report = floor("udp", echo.udp, "--only-forged --sessions 5 --rate 200 --duration 300ms");
    assert_eq!((report.passed, only(&report).bad_by_kind["forged_answered"]), (false, 60), "{report}");
}

#[test]
fn a_server_that_is_not_there_is_told_at_once() {
    let nobody = "127.0.0.1:1".parse().unwrap();
    let route = route(TransportKind::Http1, nobody, None);
    assert!(transport::open(Clock::start(), &route).is_err());
}

#[test]
fn certificates_are_believed_by_their_hash_by_their_authority_or_not_at_all() {
    let echo = Echo::start();
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("ca.pem");
    let pem = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap().cert.pem();
    std::fs::write(&file, pem).unwrap();
    let hash: [u8; 32] = digest(&SHA256, &echo.certificate).as_ref().try_into().unwrap();
    let open = |kind, server, trust| transport::open(Clock::start(), &route(kind, server, Some(trust))).is_ok();
    for (kind, server) in [(TransportKind::Quic, echo.quic), (TransportKind::Http2, echo.https)] {
        assert!(open(kind, server, Trust::Hashes(vec![hash])), "{kind:?}");
        assert!(open(kind, server, Trust::Anyone), "{kind:?}");
        assert!(!open(kind, server, Trust::Hashes(vec![[1; 32]])), "{kind:?}");
        assert!(!open(kind, server, Trust::Authorities(file.clone())), "another's certificate");
        assert!(!open(kind, server, Trust::Authorities("/nowhere".into())), "{kind:?}");
    }
}

#[test]
fn connections_that_are_dropped_are_opened_again_and_go_on() {
    let echo = Echo::start();
    for (kind, server) in [
        (TransportKind::Udp, echo.udp),
        (TransportKind::Quic, echo.quic),
        (TransportKind::WebTransport, echo.quic),
        (TransportKind::Http1, echo.http),
        (TransportKind::Http2, echo.http),
        (TransportKind::Http3, echo.quic),
    ] {
        let trust = (server == echo.quic).then_some(Trust::Anyone);
        let mut transport = transport::open(Clock::start(), &route(kind, server, trust)).unwrap();
        for round in 0..3u32 {
            // All of them come back, those too that are sent while connections are being opened.
            let seqs: Vec<_> = (10 * round..10 * round + 10).collect();
            for seq in &seqs {
                transport.send(*seq as usize, *seq, &frame(*seq)).unwrap();
            }
            transport.flush();
            assert_eq!(answers(&mut *transport, seqs.len()), seqs, "{kind:?}, round {round}");
            transport.reconnect();
        }
        let tally = transport.tally();
        assert!(tally.connects >= 9 && tally.broken == 0, "{kind:?}: {tally:?}");
    }
}

fn frame(seq: u32) -> Message {
    let mut frame = [9; 48];
    frame[4..8].copy_from_slice(&seq.to_le_bytes());
    Message::Frame(frame)
}

fn answers(transport: &mut dyn Transport, wanted: usize) -> Vec<u32> {
    let clock = Clock::start();
    let (mut seqs, mut answers) = (Vec::new(), Vec::new());
    while seqs.len() < wanted && clock.now() < Duration::from_secs(20) {
        transport.receive(Duration::from_millis(20), &mut answers).unwrap();
        for answer in answers.drain(..) {
            assert!(matches!(answer.reply, Reply::Frame(_)), "{answer:?}");
            seqs.push(answer.seq.unwrap());
        }
    }
    seqs.sort_unstable();
    seqs
}

fn route(kind: TransportKind, server: SocketAddr, trust: Option<Trust>) -> Route {
    Route {
        kind,
        server,
        name: server.to_string().into(),
        path: "/v1/webtransport".into(),
        trust: trust.map(Arc::new),
        connections: 3,
        give_up: Duration::from_secs(20),
    }
}
