//! A service moves from its data file to a cluster, and nobody notices but by the time it was away.

use std::{
    fs,
    io::Write,
    os::unix::fs::OpenOptionsExt,
    process::{Child, Output, Stdio},
    sync::Arc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use gastank::{
    entropy::OsEntropy,
    store::{
        ScyllaOptions, ScyllaStore, ScyllaTarget, SqliteOptions, SqliteStore,
        moving::{Row, Source, Target},
        roles::*,
    },
    time::UnixMs,
    wire::{EndReason, HeartbeatKind, WireVerdict},
};
use hmac::{Hmac, KeyInit, Mac};
use reqwest::Method;
use serde_json::{Value, json};
use sha2::Sha256;

use crate::{
    HANGS, SERVER,
    client::{Answer, Api, text},
    crowd::Crowd,
    settings, store,
    support::{self, Home, Service, stdout_of},
};

/// Signs webhooks.
const SECRET: &str = "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
/// Times that a copy is killed.
const KILLS: u64 = 6;

fn copy(home: &Home, store: &str) -> Output {
    command(home, store).output().expect("the built program can be run")
}

fn command(home: &Home, store: &str) -> std::process::Command {
    let mut command = support::gastank();
    let from = format!("sqlite:{}", home.data_dir().join("gastank.db").display());
    command.args(["store", "copy", "--from", &from, "--to", store]).stdin(Stdio::null());
    command
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Lets a shop give credit by webhooks.
fn open_a_shop(home: &Home) {
    fs::create_dir_all(home.data_dir()).unwrap();
    let mut options = fs::OpenOptions::new();
    let mut file =
        options.write(true).create_new(true).mode(0o600).open(home.data_dir().join("hooks.secrets")).unwrap();
    writeln!(file, "whsec_{SECRET}").unwrap();
}

/// A webhook of the shop.
async fn bought(api: &Api, id: &str, whose: Value, seconds: u64) -> Answer {
    let mut data = whose;
    data["seconds"] = json!(seconds);
    let body = json!({"type": "credit.granted", "data": data}).to_string();
    let at = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs().to_string();
    let mut mac = Hmac::<Sha256>::new_from_slice(&STANDARD.decode(SECRET).unwrap()).unwrap();
    mac.update(format!("{id}.{at}.{body}").as_bytes());
    let signature = format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()));
    let headers = [
        ("content-type", "application/json"),
        ("webhook-id", id),
        ("webhook-timestamp", &at),
        ("webhook-signature", &signature),
    ];
    api.send(Method::POST, format!("{}/hooks/credit", api.public), &headers, body.into_bytes()).await.unwrap()
}

/// The audit log of the last hour, oldest first.
async fn audit(api: &Api) -> Vec<Value> {
    let (mut rows, mut after) = (Vec::new(), String::new());
    loop {
        let path = format!("/admin/audit?since_s=3600&limit=1000{after}");
        let page = api.admin(Method::GET, &path, &[], &Value::Null).await.unwrap().must_be(200).json();
        rows.extend(page["rows"].as_array().unwrap().iter().cloned());
        match page["next"].as_str() {
            Some(next) => after = format!("&after={next}"),
            None => return rows,
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_whole_house_moves_and_its_clients_go_on_beating() {
    let _calm = HANGS.read().await;
    let (home, store) = (Home::new(), store("moved").await);
    open_a_shop(&home);
    let alone = &settings(&store)[1..];
    let service = Service::start_with(&home, alone);
    let api = Api::new(&service, &home);
    let edge = api.edge().await;
    let (beats, rests, leaves) = (api.owner(1000).await, api.owner(500).await, api.owner(70).await);
    let (mut live, mut over) = (api.open(&beats).await, api.open(&rests).await);
    let socket = api.socket().await;
    let ack = over.datagram(&socket, HeartbeatKind::Stop).await.expect("it is acked");
    assert_eq!(ack.verdict, WireVerdict::Invalid(EndReason::Deactivated));
    let account = json!({"account": rests.account});
    assert_eq!(bought(&api, "order-1", account.clone(), 100).await.status, 204);
    let shopper = json!({"issuer": "https://id.example", "subject": "shopper"});
    assert_eq!(bought(&api, "order-2", shopper.clone(), 77).await.status, 204, "it is held");
    assert_eq!(api.credit(&rests.account, "thanks", 10).await.unwrap().status, 200);
    let path = format!("/admin/accounts/{}", leaves.account);
    api.admin(Method::DELETE, &path, &[], &Value::Null).await.unwrap().must_be(204);
    api.admin(Method::POST, "/admin/keys/rotate", &[], &Value::Null).await.unwrap().must_be(200);
    let jwks = format!("{}/.well-known/jwks.json", api.public);
    let keys = api.send(Method::GET, jwks, &[], Vec::new()).await.unwrap().must_be(200).json();
    let (ledger, log) = (api.ledger(&rests.account).await, audit(&api).await);
    let last = live.datagram(&socket, HeartbeatKind::Beat).await.expect("it is acked");
    let heard = Instant::now();

    // While it serves, nothing moves.
    let refused = copy(&home, &store);
    assert_eq!(refused.status.code(), Some(1));
    assert!(
        said(&refused).contains("another gastank is using") && said(&refused).contains("stop it"),
        "{}",
        said(&refused)
    );
    assert!(service.stop().success());
    let served = heard.elapsed();

    let moved = copy(&home, &store);
    let told = stdout_of(&moved);
    for row in ["accounts", "ledger entries", "sessions", "open sessions", "signing keys", "credits held", "audit rows"]
    {
        assert!(told.lines().any(|line| line.starts_with(row)), "{row}: {told}");
    }
    let next = said(&moved);
    assert!(next.contains("cluster.secret") && next.contains(&format!("--store {store}")), "{next}");
    let secret = fs::read_to_string(home.data_dir().join("cluster.secret")).unwrap();
    assert!(!next.contains(secret.split_whitespace().nth(1).unwrap()));

    let began = Instant::now();
    let service = Service::start_with(&home, &settings(&store));
    let api = Api::new(&service, &home);
    let socket = api.socket().await;
    let ack = live.datagram(&socket, HeartbeatKind::Beat).await.expect("its session is known");
    assert_eq!(ack.verdict, WireVerdict::Valid);
    let up = served + began.elapsed();
    let burned = Duration::from_millis(ack.now.since(last.now).get());
    assert!(burned <= up + Duration::from_millis(50), "{burned:?} burned, and it was up for {up:?}");
    assert!(api.is_active(&edge, &live.token).await);
    let renewed = live.frame(HeartbeatKind::Renew);
    let renewed = text(&api.renew(&live, renewed).await.unwrap().must_be(200).json()["token"]);
    assert!(api.is_active(&edge, &renewed).await && !api.is_active(&edge, &live.token).await);
    // A session that the service does not hold is looked for after the first beat.
    let mut told = WireVerdict::Unknown;
    for _ in 0..100 {
        told = over.posted(&api, HeartbeatKind::Beat).await.map_or(told, |ack| ack.verdict);
        if told != WireVerdict::Unknown {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(told, WireVerdict::Invalid(EndReason::Deactivated));

    // What was counted is counted once.
    assert_eq!(api.ledger(&rests.account).await, ledger);
    assert_eq!(api.credit(&rests.account, "thanks", 10).await.unwrap().status, 200);
    assert_eq!(bought(&api, "order-1", account, 100).await.status, 204);
    assert_eq!(bought(&api, "order-2", shopper.clone(), 77).await.status, 204);
    assert_eq!(api.ledger(&rests.account).await, ledger);
    let made = api.admin(Method::POST, "/admin/accounts", &[], &shopper).await.unwrap().must_be(201).json();
    assert_eq!(bought(&api, "order-2", shopper, 77).await.status, 204);
    assert_eq!(api.account(&text(&made["account"])).await["remaining_s"], 77);

    // Keys are as they were, and who has gone.
    let jwks = format!("{}/.well-known/jwks.json", api.public);
    assert_eq!(api.send(Method::GET, jwks, &[], Vec::new()).await.unwrap().must_be(200).json(), keys);
    api.activate(&rests).await.unwrap().must_be(200);
    assert_eq!(api.activate(&leaves).await.unwrap().status, 401);
    let rows = audit(&api).await;
    assert_eq!(rows[..log.len()], log);
    assert!(rows.len() > log.len());
    assert!(service.stop().success());

    // The service has gone on since: nothing is copied over it.
    let again = copy(&home, &store);
    assert!(again.status.success() && said(&again).contains("nothing was copied"), "{}", said(&again));
}

/// How far a copy is, looked at from beside.
struct Beside(ScyllaTarget);

impl Beside {
    async fn rows(&self) -> u64 {
        self.0.moving().await.unwrap().map_or(0, |moving| moving.rows)
    }

    /// Waits until so many rows are there.
    async fn has(&self, rows: u64, child: &mut Child) {
        while self.rows().await < rows {
            assert_eq!(child.try_wait().unwrap(), None, "it ends only when it is killed");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_that_is_killed_again_and_again_comes_to_its_end() {
    let _calm = HANGS.read().await;
    let (home, store) = (Home::new(), store("killed_moving").await);
    fs::create_dir_all(home.data_dir()).unwrap();
    let open = || SqliteStore::open(&home.data_dir().join("gastank.db"), &SqliteOptions::default()).unwrap();
    let file = open();
    let crowd = Crowd::make(&file, 2000, 7).await;
    let total = rows_of(&file).await;
    assert!(usize::try_from(total).unwrap() > 4 * crowd.len(), "there are several pages");
    file.close().await.unwrap();
    drop(file);
    let options = ScyllaOptions::new(vec![SERVER.addr().to_string()], "killed_moving".to_owned());
    let beside = Beside(ScyllaTarget::open(&options, Arc::new(OsEntropy), UnixMs::from_ms(0)).await.unwrap());

    for kill in 1..=KILLS {
        let mut child = command(&home, &store).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        // The last dies while it compares.
        beside.has(total * kill / KILLS, &mut child).await;
        tokio::time::sleep(Duration::from_millis(20 * kill)).await;
        child.kill().unwrap();
        child.wait().unwrap();
    }
    // A node does not begin to serve what is there.
    let addresses = ["127.0.0.1:0"; 3].map(str::to_owned);
    let status = Service::command(&home, &addresses, &settings(&store)).status().unwrap();
    assert_eq!(status.code(), Some(1));
    let log = fs::read_to_string(home.log()).unwrap();
    assert!(log.contains("gastank store copy") && log.contains("gastank.db"), "{log}");

    stdout_of(&copy(&home, &store));
    let moved = ScyllaStore::open(&options, Arc::new(OsEntropy)).await.unwrap();
    crowd.is_the_same_in(&open(), &moved).await;
}

async fn rows_of(file: &SqliteStore) -> u64 {
    let (pages, mut taken) = tokio::sync::mpsc::channel::<Vec<Row>>(1);
    let count = async {
        let mut rows = 0;
        while let Some(page) = taken.recv().await {
            rows += u64::try_from(page.len()).unwrap();
        }
        rows
    };
    let (read, rows) = tokio::join!(file.read_out(pages), count);
    read.unwrap();
    rows
}
