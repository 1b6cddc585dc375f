//! The process itself: starts that are refused, an end under load, and two clients at war.

use std::{
    collections::HashMap,
    fs,
    process::{Command, Output},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use gastank::{
    engine::session_text,
    wire::{EndReason, HeartbeatKind, SessionId, WireVerdict},
};
use rusqlite::Connection;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use crate::{
    client::{Api, Session},
    support::{Home, Service, gastank},
};

#[tokio::test]
async fn a_second_process_on_the_same_data_is_refused() {
    let home = Home::new();
    let service = Service::start(&home);
    let api = Api::new(&service, &home);
    let owner = api.owner(10).await;
    let anywhere = ["127.0.0.1:0"; 3].map(str::to_owned);
    let mut second = Service::command(&home, &anywhere, &[]);
    let output = second.stderr(std::process::Stdio::piped()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("another gastank is using") && said.contains("--data-dir"), "{said}");
    assert_eq!(api.account(&owner.account).await["remaining_s"], 10, "the first one goes on");
}

#[test]
fn a_configuration_that_cannot_work_is_refused_with_2() {
    let home = Home::new();
    let file = tempfile::NamedTempFile::new().unwrap();
    let path = file.path().to_str().unwrap().to_owned();
    let data = home.data_dir();
    let run = |variables: &[(&str, &str)], arguments: &[&str]| -> Output {
        let mut command = gastank();
        command.arg("serve").arg("--data-dir").arg(&data).args(arguments).envs(variables.iter().copied());
        command.output().unwrap()
    };
    let timeout = ("GASTANK_HEARTBEAT_TIMEOUT_MS", "1000");
    for (variables, arguments, told) in [
        (&[("GASTANK_HEARTBEAT_TIMEOUT", "1000")][..], &[][..], "GASTANK_HEARTBEAT_TIMEOUT"),
        (&[timeout], &[], "timeout"),
        (&[("GASTANK_HTTP_ADDR", "everywhere")], &[], "everywhere"),
        (&[("GASTANK_LOG_FORMAT", "xml")], &[], "xml"),
        (&[], &["--http", "nowhere"], "nowhere"),
        (&[], &["--no-such-flag"], "--no-such-flag"),
        (&[], &["--config", "/nowhere/gastank.toml"], "/nowhere/gastank.toml"),
        (&[], &["--store", "mysql://x"], "store"),
    ] {
        let output = run(variables, arguments);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{variables:?} {arguments:?}: {said}");
        assert!(said.contains(told), "{variables:?} {arguments:?} does not say {told}: {said}");
    }
    for text in ["[heartbeat]\ninterval = 5", "[nonsense]", "not toml", "[heartbeat]\ninterval_ms = \"x\""] {
        fs::write(&path, text).unwrap();
        let output = run(&[], &["--config", &path]);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{text}: {said}");
        assert!(said.contains(&path), "{text}: does not name the file: {said}");
    }
    assert!(!data.exists(), "a refused start has made the data directory");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn told_to_stop_under_load_it_ends_in_time_and_loses_nothing() {
    let home = Home::new();
    // No checkpoint comes by itself.
    let settings = [
        ("GASTANK_HEARTBEAT_TIMEOUT_MS", "600000"),
        ("GASTANK_CHECKPOINT_INTERVAL_MS", "300000"),
        ("GASTANK_LIMITS_ACTS_PER_ADDRESS_PER_S", "0"),
        ("GASTANK_LIMITS_ACTS_PER_ACCOUNT_PER_S", "0"),
    ];
    let service = Service::start_with(&home, &settings);
    let api = Api::new(&service, &home);
    let over = Arc::new(AtomicBool::new(false));
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..8 {
        let (api, over) = (api.clone(), Arc::clone(&over));
        let owner = api.owner(1000).await;
        let mut session = api.open(&owner).await;
        tasks.spawn(async move {
            let (socket, mut seen, mut credits) = (api.socket().await, 0, Vec::new());
            for beat in 0_u32.. {
                if over.load(Ordering::SeqCst) {
                    break;
                }
                let ack = match number % 2 {
                    0 => session.datagram(&socket, HeartbeatKind::Beat).await,
                    _ => session.posted(&api, HeartbeatKind::Beat).await,
                };
                match ack {
                    Some(ack) => {
                        assert_eq!(ack.verdict, WireVerdict::Valid);
                        seen = ack.echo.as_ms().min(ack.now.as_ms()).max(seen);
                    }
                    None => tokio::time::sleep(Duration::from_millis(20)).await,
                }
                let key = format!("credit-{beat}");
                if beat % 8 == 0
                    && let Ok(answer) = api.credit(&owner.account, &key, 1).await
                    && answer.status == 200
                {
                    credits.push(key);
                }
            }
            (session.id_text, seen, credits)
        });
    }
    // Whoever is silent must not hold it up.
    let idle = TcpStream::connect(service.listener("http")).await.unwrap();
    tokio::time::sleep(Duration::from_millis(1500)).await;
    let start = Instant::now();
    let status = tokio::task::spawn_blocking(move || service.stop()).await.unwrap();
    let took = start.elapsed();
    assert_eq!(status.code(), Some(0));
    assert!(took < Duration::from_secs(10), "{took:?}");
    println!("it ended in {took:?}");
    over.store(true, Ordering::SeqCst);
    drop(idle);

    let conn = Connection::open(home.data_dir().join("gastank.db")).unwrap();
    let mut query = conn.prepare("SELECT session, last_seen FROM checkpoints").unwrap();
    let stored: HashMap<String, i64> = query
        .query_map([], |row| Ok((session_text(&SessionId::from_bytes(row.get(0)?)), row.get(1)?)))
        .unwrap()
        .collect::<Result<_, _>>()
        .unwrap();
    let mut kept = 0;
    while let Some(done) = tasks.join_next().await {
        let (session, seen, credits) = done.unwrap();
        assert!(seen > 0 && stored[&session] >= i64::try_from(seen).unwrap(), "an acknowledged beat was lost");
        for key in credits {
            let count = "SELECT count(*) FROM entries WHERE external_id = ?1";
            let found: i64 = conn.query_row(count, [&key], |row| row.get(0)).unwrap();
            assert!(found > 0, "{key} was acknowledged");
            kept += 1;
        }
    }
    assert!(kept > 8);
    let log = fs::read_to_string(home.log()).unwrap();
    assert!(!log.contains("ERROR") && !log.contains("panicked"), "{log}");
}

#[tokio::test]
async fn a_process_that_was_frozen_for_longer_than_the_time_out_ends_no_session_and_charges_for_a_second() {
    let home = Home::new();
    let service = Service::start_with(&home, &[("GASTANK_HEARTBEAT_TIMEOUT_MS", "2500")]);
    let api = Api::new(&service, &home);
    let (edge, owner) = (api.edge().await, api.owner(1000).await);
    let mut session = api.open(&owner).await;
    let signal = |signal: &str| {
        assert!(Command::new("kill").args([signal, &service.id().to_string()]).status().unwrap().success());
    };
    let before = session.posted(&api, HeartbeatKind::Beat).await.unwrap();
    let beaten = Instant::now();
    signal("-STOP");
    tokio::time::sleep(Duration::from_secs(3)).await;
    signal("-CONT");
    // It may find itself late at first, and say so.
    let after = loop {
        if let Some(ack) = session.posted(&api, HeartbeatKind::Beat).await {
            break ack;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    let passed = beaten.elapsed();
    assert_eq!(after.verdict, WireVerdict::Valid, "{after:?}");
    assert!(api.is_active(&edge, &session.token).await);
    let metered = Duration::from_millis(after.now.as_ms() - before.now.as_ms());
    // It ran on for a second at most.
    let missing = passed.checked_sub(metered).unwrap();
    assert!(missing > Duration::from_millis(1_500), "of {passed:?}, {metered:?} were metered");
    assert!(before.remaining_s - after.remaining_s <= u32::try_from(metered.as_secs()).unwrap() + 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_clients_at_war_never_take_the_activation_from_each_other() {
    let home = Home::new();
    let settings = [("GASTANK_LIMITS_ACTS_PER_ADDRESS_PER_S", "0"), ("GASTANK_LIMITS_ACTS_PER_ACCOUNT_PER_S", "0")];
    let service = Service::start_with(&home, &settings);
    let api = Api::new(&service, &home);
    let (edge, owner) = (api.edge().await, api.owner(1000).await);
    let mut loser = api.open(&owner).await;
    for _ in 0..3 {
        // A person's act, and the only one.
        let winner = api.open(&owner).await;
        let until = Instant::now() + Duration::from_millis(700);
        let (lost, won) = tokio::join!(
            tokio::spawn(fight(api.clone(), loser.clone(), until)),
            tokio::spawn(fight(api.clone(), winner, until))
        );
        let ((loser_after, lost), (winner_after, won)) = (lost.unwrap(), won.unwrap());
        assert!(lost.total() > 10 && won.total() > 10, "that was no war: {lost:?} {won:?}");
        assert_eq!((lost.valid, lost.renewed), (0, 0), "the old client got something: {lost:?}");
        assert_eq!((won.superseded, won.refused), (0, 0), "the new client lost something: {won:?}");
        assert!(api.is_active(&edge, &winner_after.token).await);
        assert!(!api.is_active(&edge, &loser_after.token).await);
        loser = winner_after;
    }
    let entries = api.ledger(&owner.account).await;
    assert_eq!(entries.iter().filter(|entry| entry["kind"] == "usage").count(), 3, "{entries:?}");
}

/// What came of a client's fight.
#[derive(Debug, Default)]
struct Spoils {
    valid: u32,
    superseded: u32,
    renewed: u32,
    refused: u32,
}

impl Spoils {
    const fn total(&self) -> u32 {
        self.valid + self.superseded + self.renewed + self.refused
    }
}

async fn fight(api: Api, mut session: Session, until: Instant) -> (Session, Spoils) {
    let mut spoils = Spoils::default();
    while Instant::now() < until {
        match session.posted(&api, HeartbeatKind::Beat).await.unwrap().verdict {
            WireVerdict::Valid => spoils.valid += 1,
            WireVerdict::Invalid(EndReason::Superseded) => spoils.superseded += 1,
            other => panic!("{other:?}"),
        }
        let frame = session.frame(HeartbeatKind::Renew);
        let answer = api.renew(&session, frame).await.unwrap();
        if answer.status == 200 {
            session.token = crate::client::text(&answer.json()["token"]);
            spoils.renewed += 1;
        } else {
            answer.must_be_problem(409, "session_ended");
            assert_eq!(answer.json()["reason"], "superseded");
            spoils.refused += 1;
        }
    }
    (session, spoils)
}

#[tokio::test]
async fn told_to_stop_it_closes_its_ports_at_once_though_a_connection_is_still_held() {
    let home = Home::new();
    let settings = [("GASTANK_HTTPS_ADDR", "127.0.0.1:0"), ("GASTANK_SHUTDOWN_DELAY_MS", "1500")];
    let service = Service::start_with(&home, &settings);
    let api = Api::new(&service, &home);
    let owner = api.owner(10).await;
    let (http, https) = (service.listener("http").to_owned(), service.listener("https").to_owned());

    // A request under way: its body has not all come.
    let mut held = TcpStream::connect(&http).await.unwrap();
    let head = format!(
        "POST /v1/activate HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\ncontent-type: application/json\r\n\
         content-length: 2\r\n\r\n{{",
        owner.key
    );
    held.write_all(head.as_bytes()).await.unwrap();
    let told = Instant::now();
    assert!(Command::new("kill").args(["-TERM", &service.id().to_string()]).status().unwrap().success());

    // First it says that it is not ready and still takes connections.
    while api.ready().await.status != 503 {
        assert!(told.elapsed() < Duration::from_secs(10), "it does not say that it is not ready");
    }
    if told.elapsed() < Duration::from_millis(700) {
        assert!(TcpStream::connect(&http).await.is_ok(), "it takes nobody during the delay");
    }
    // Then whoever comes is refused by the system, at once.
    for addr in [&http, &https] {
        loop {
            match timeout(Duration::from_millis(500), TcpStream::connect(addr)).await {
                Ok(Err(error)) if error.kind() == std::io::ErrorKind::ConnectionRefused => break,
                _ => assert!(told.elapsed() < Duration::from_secs(15), "{addr} still takes connections"),
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    assert_eq!(api.ready().await.status, 503, "operators are answered while it drains");
    held.write_all(b"}").await.unwrap();
    let mut answer = String::new();
    timeout(Duration::from_secs(5), held.read_to_string(&mut answer)).await.unwrap().unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "what was under way is answered: {answer}");
    let stopped = tokio::task::spawn_blocking(move || service.wait()).await.unwrap();
    assert!(stopped.success(), "{stopped}");
}
