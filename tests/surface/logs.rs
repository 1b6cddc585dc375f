//! The log of a busy day, searched for what must not be in it.

use std::{fs, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use gastank::wire::HeartbeatKind;
use reqwest::Method;
use rusqlite::Connection;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::{
    client::{Api, Owner, Session, text},
    support::{Home, Service},
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_line_of_the_log_holds_a_token_a_key_an_address_or_a_subject() {
    for format in ["text", "json"] {
        let home = Home::new();
        let config = tempfile::NamedTempFile::new().unwrap();
        let reward = "[[reward]]\nclass = \"click\"\ndistinguisher = \"news.example\"\nreward_s = 60\n";
        fs::write(config.path(), reward).unwrap();
        let settings = [
            ("GASTANK_CONFIG", config.path().to_str().unwrap()),
            ("GASTANK_LOG_FORMAT", format),
            ("GASTANK_LOG_FILTER", "debug"),
        ];
        if format == "text" {
            // The first start says more to whoever typed it than where it listens. That is no log.
            assert!(Service::start_with(&home, &settings).stop().success());
            fs::remove_file(home.log()).unwrap();
        }
        let service = Service::start_with(&home, &settings);
        let secrets = busy_day(&service, &home).await;
        assert!(service.stop().success());
        let log = fs::read_to_string(home.log()).unwrap();
        println!("{log}");
        assert!(log.lines().count() > 3, "{format}: there is no log to speak of");
        let welcome = ["  clients and edges ", "  heartbeats (UDP) ", "  QUIC and HTTP/3 ", "  operators ", "  data "];
        let of_the_log = |(_, line): &(usize, &str)| !welcome.iter().any(|start| line.starts_with(start));
        for (number, line) in log.lines().enumerate().filter(of_the_log) {
            for (what, secret) in &secrets {
                assert!(!line.contains(secret), "{format}: line {} holds {what}: {line}", number + 1);
            }
            if format == "json" {
                let event: Value = serde_json::from_str(line).unwrap_or_else(|_| panic!("not JSON: {line}"));
                assert!(event["level"].is_string(), "{line}");
            }
        }
    }
}

/// All kinds of requests, good and bad. Answers what must not be in the log.
async fn busy_day(service: &Service, home: &Home) -> Vec<(&'static str, String)> {
    let api = Api::new(service, home);
    let subject = "someone-whom-nobody-may-know";
    let body = json!({"issuer": "https://people.example", "subject": subject, "credit_s": 100, "key": true});
    let made = api.admin(Method::POST, "/admin/accounts", &[], &body).await.unwrap().must_be(201).json();
    let owner = Owner { account: text(&made["account"]), key: text(&made["key"]) };
    let edge = api.edge().await;
    let mut session = api.open(&owner).await;
    let mut secrets = vec![
        ("the subject", subject.to_owned()),
        ("an address", "127.0.0.1".to_owned()),
        ("the admin token", api.admin_token.clone()),
        ("an account key", owner.key.clone()),
        ("the start of an account key", "gtk_".to_owned()),
        ("the start of a client secret", "gts_".to_owned()),
        ("the start of an admin token", "gta_".to_owned()),
        ("the start of a token", "eyJ".to_owned()),
        ("a client secret", edge.secret.clone()),
        ("client credentials", STANDARD.encode(format!("{}:{}", edge.client_id, edge.secret))),
        ("a session's id", session.id_text.clone()),
        ("a heartbeat key", hex(&session.key)),
        ("a heartbeat key", format!("{:?}", session.key)),
        (
            "the cluster secret",
            fs::read_to_string(home.data_dir().join("cluster.secret")).unwrap()[2..].trim().to_owned(),
        ),
    ];

    let socket = api.socket().await;
    secrets.push(("a peer", format!(":{}", socket.local_addr().unwrap().port())));
    session.datagram(&socket, HeartbeatKind::Beat).await.unwrap();
    session.posted(&api, HeartbeatKind::Beat).await.unwrap();
    let mut forged = session.frame(HeartbeatKind::Beat);
    forged[40] ^= 1;
    socket.send(&forged).await.unwrap();
    api.post_frame(&forged).await.unwrap().must_be(400);
    assert!(api.is_active(&edge, &session.token).await);
    secrets.push(("a token", session.token.clone()));
    let frame = session.frame(HeartbeatKind::Renew);
    let renewed = api.renew(&session, frame).await.unwrap().must_be(200).json();
    session.token = text(&renewed["token"]);
    secrets.push(("a token", session.token.clone()));
    api.renew(&session, forged).await.unwrap().must_be(400);
    api.credit(&owner.account, "purchase", 10).await.unwrap().must_be(200);
    for (method, path) in [(Method::GET, "/v1/account"), (Method::GET, "/v1/account/entries")] {
        api.public(method, path, &owner.key, &Value::Null).await.unwrap().must_be(200);
    }

    // What a widget shows, and what browsers tell of the page it is on.
    let made = api.public(Method::POST, "/v1/account/earners", &owner.key, &Value::Null).await.unwrap().must_be(201);
    let earner = text(&made.json()["token"]);
    let page = "https://page.example/an-article-nobody-may-know";
    let query = "an-address-nobody-may-know";
    for (method, path) in [(Method::POST, "/v1/transaction"), (Method::GET, "/v1/validate-tokens")] {
        let url = format!("{}{path}?class=click&distinguisher={query}&psicash={earner}", api.public);
        for tokens in [&*earner, "gte_forged", page] {
            let metadata = format!("{{\"referrer\":\"{page}\"}}");
            let headers = [("x-psicash-auth", tokens), ("x-psicash-metadata", &*metadata), ("referer", page)];
            assert!(api.send(method.clone(), url.clone(), &headers, Vec::new()).await.unwrap().status < 500);
        }
    }
    secrets.extend([
        ("an earner token", earner),
        ("the start of an earner token", "gte_".to_owned()),
        ("the address of a page", page.to_owned()),
        ("a query", query.to_owned()),
    ]);

    // Secrets in places where they do not belong.
    let token = &session.token;
    for url in [
        format!("{}/v1/account?access_token={token}", api.public),
        format!("{}/oauth/introspect?token={token}", api.public),
        format!("{}/{token}", api.public),
        format!("{}/admin/accounts/{}", api.admin, owner.key),
        format!("{}/admin/sessions/{token}/revoke", api.admin),
    ] {
        for method in [Method::GET, Method::POST] {
            for bearer in [token, &owner.key, &api.admin_token] {
                let bearer = format!("Bearer {bearer}");
                let headers = [("authorization", &*bearer), ("content-type", "application/json")];
                let body = format!("{{\"{}\": \"{subject}", owner.key).into_bytes();
                let answer = api.send(method.clone(), url.clone(), &headers, body).await.unwrap();
                assert!(answer.status < 500, "{url}: {}", answer.status);
            }
        }
    }
    let mut stream = TcpStream::connect(service.listener("http")).await.unwrap();
    secrets.push(("a peer", format!(":{}", stream.local_addr().unwrap().port())));
    stream.write_all(format!("NONSENSE {token}\r\n\r\n").as_bytes()).await.unwrap();
    let _ = tokio::time::timeout(Duration::from_secs(1), stream.read_to_end(&mut Vec::new())).await;

    // A store that fails, and says so.
    let intruder = Connection::open(home.data_dir().join("gastank.db")).unwrap();
    intruder.execute_batch("BEGIN EXCLUSIVE").unwrap();
    api.credit(&owner.account, "later", 10).await.unwrap().must_be(503);
    intruder.execute_batch("ROLLBACK").unwrap();
    drop(intruder);

    let mut second = api.open(&owner).await;
    session.posted(&api, HeartbeatKind::Beat).await.unwrap();
    second.datagram(&socket, HeartbeatKind::Stop).await.unwrap();
    let third: Session = api.open(&owner).await;
    api.revoke(&third.id_text).await.unwrap().must_be(200);
    let path = format!("/admin/accounts/{}", owner.account);
    api.admin(Method::DELETE, &path, &[], &Value::Null).await.unwrap().must_be(204);
    secrets
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
