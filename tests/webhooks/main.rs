//! Credit webhooks, sent by the `standardwebhooks` package from npm to the built program.

#![expect(
    clippy::disallowed_methods,
    reason = "the program under test runs by the real clock, and so does who measures it"
)]
#![expect(clippy::unwrap_used, reason = "what cannot be done here fails the test")]

#[path = "../support/client.rs"]
mod client;
mod crashes;
#[path = "../support/dying.rs"]
mod dying;
mod sender;
#[path = "../support/mod.rs"]
mod support;

use std::time::Duration;

use gastank::wire::HeartbeatKind;
use reqwest::Method;
use serde_json::{Value, json};

use client::{Api, text};
use sender::{
    Delivery, OLD, OTHER, PRIVATE_KEY, PUBLIC_KEY, SECRET, Sender, granted, granted_to, refunded, write_secrets,
};
use support::{Home, Service};

/// A service that knows [`SECRET`], a client of it and a sender to it.
fn start() -> (Home, Service, Api, Sender) {
    let home = Home::new();
    write_secrets(&home, &[SECRET]);
    let service = Service::start(&home);
    let (api, sender) = (Api::new(&service, &home), Sender::start(&service));
    (home, service, api, sender)
}

#[tokio::test]
async fn a_purchase_is_credited_and_a_refund_taken_back() {
    let (_home, _service, api, mut sender) = start();
    let owner = api.owner(100).await;
    let bought = granted(&owner.account, 3600);
    assert_eq!(sender.send("msg_1", &bought), 204);
    assert_eq!(sender.send("msg_2", &refunded(&owner.account, 600)), 204);
    assert_eq!(api.account(&owner.account).await["remaining_s"], 3100);
    // More than there is: the rest is owed, and paid by what is bought next.
    assert_eq!(sender.send("msg_3", &refunded(&owner.account, 4000)), 204);
    let account = api.account(&owner.account).await;
    assert_eq!((&account["remaining_s"], &account["debt_s"]), (&json!(0), &json!(900)));
    assert_eq!(api.activate(&owner).await.unwrap().status, 402);
    assert_eq!(sender.send("msg_4", &granted(&owner.account, 1000)), 204);
    let account = api.account(&owner.account).await;
    assert_eq!((&account["remaining_s"], &account["debt_s"]), (&json!(100), &json!(0)));

    let ledger = api.ledger(&owner.account).await;
    let row =
        |row: &Value| (text(&row["kind"]), row["amount_ms"].as_i64().unwrap(), row["owed_ms"].as_i64().unwrap_or(0));
    let rows: Vec<_> = ledger.iter().map(row).collect();
    let expected = [
        ("grant", 100_000, 0),
        ("purchase", 3_600_000, 0),
        ("refund", -600_000, 0),
        ("refund", -3_100_000, 900_000),
        ("purchase", 1_000_000, 0),
        ("repayment", -900_000, -900_000),
    ];
    assert_eq!(rows, expected.map(|(kind, amount, owed)| (kind.to_owned(), amount, owed)));
    assert_eq!(text(&ledger[1]["external_id"]), "msg_1");
    for (outcome, times) in [("credited", 2.0), ("refunded", 2.0), ("bad_signature", 0.0)] {
        assert_eq!(api.metric("gastank_webhooks_total", &format!("\"{outcome}\"")).await, times, "{outcome}");
    }
}

#[tokio::test]
async fn an_open_session_sees_the_credit_in_its_next_ack() {
    let (_home, _service, api, mut sender) = start();
    let owner = api.owner(100).await;
    let mut session = api.open(&owner).await;
    let before = session.posted(&api, HeartbeatKind::Beat).await.unwrap().remaining_s;
    assert!((95..=100).contains(&before), "{before}");
    assert_eq!(sender.send("msg_1", &granted(&owner.account, 1000)), 204);
    let after = session.posted(&api, HeartbeatKind::Beat).await.unwrap().remaining_s;
    assert!((1090..=1100).contains(&after), "{after}");
    assert_eq!(sender.send("msg_2", &refunded(&owner.account, 1000)), 204);
    let after = session.posted(&api, HeartbeatKind::Beat).await.unwrap().remaining_s;
    assert!((90..=100).contains(&after), "{after}");
}

#[tokio::test]
async fn ten_at_once_and_more_later_are_one_entry() {
    let (home, service, api, mut sender) = start();
    let owner = api.owner(1).await;
    let bought = granted(&owner.account, 60);
    let same = || Delivery::new("msg_1", &bought);
    let answers = sender.deliver(std::iter::repeat_with(same).take(10).collect());
    assert!(answers.iter().all(|answer| answer.status == 204), "{answers:?}");
    // Whoever has no account yet gets it once, too.
    let waiting = granted_to("ada", 60);
    let answers = sender.deliver((0..10).map(|_| Delivery::new("msg_2", &waiting)).collect());
    assert!(answers.iter().all(|answer| answer.status == 204), "{answers:?}");
    assert!(service.stop().success());

    let service = Service::start(&home);
    let (api, mut sender) = (Api::new(&service, &home), Sender::start(&service));
    assert_eq!((sender.send("msg_1", &bought), sender.send("msg_2", &waiting)), (204, 204));
    assert_eq!(api.ledger(&owner.account).await.len(), 2);
    let who = json!({"issuer": "https://id.example", "subject": "ada"});
    let made = api.admin(Method::POST, "/admin/accounts", &[], &who).await.unwrap().must_be(201).json();
    assert_eq!(sender.send("msg_2", &waiting), 204);
    let ledger = api.ledger(&text(&made["account"])).await;
    assert_eq!(ledger.len(), 1, "{ledger:?}");
    assert_eq!(api.account(&text(&made["account"])).await["remaining_s"], 60);
}

#[tokio::test]
async fn only_what_was_signed_lately_with_a_known_secret_is_accepted() {
    let (_home, _service, api, mut sender) = start();
    let owner = api.owner(1).await;
    let bought = granted(&owner.account, 60);
    // Machines are slow: a second from the edge is as near as a test over a socket can go.
    for (offset_s, status) in [(-302, 401), (-290, 204), (298, 204), (310, 401), (-1_000_000, 401)] {
        let delivery = Delivery { offset_s, ..Delivery::new(&format!("msg{offset_s}"), &bought) };
        assert_eq!(sender.deliver(vec![delivery])[0].status, status, "{offset_s}");
    }
    let spaced = bought.to_string().replace(':', ": ");
    let rewritten =
        Delivery { payload: spaced.clone(), body: Some(bought.to_string()), ..Delivery::new("msg_1", &bought) };
    let answer = &sender.deliver(vec![rewritten])[0];
    assert_eq!((answer.status, answer.problem.as_deref()), (401, Some("bad_signature")));
    assert_eq!(sender.deliver(vec![Delivery { payload: spaced, ..Delivery::new("msg_1", &bought) }])[0].status, 204);
    sender.secrets = vec![OTHER.to_owned()];
    assert_eq!(sender.send("msg_2", &bought), 401);
    sender.secrets = vec![OTHER.to_owned(), SECRET.to_owned()];
    assert_eq!(sender.send("msg_2", &bought), 204, "one good signature among others will do");
    assert_eq!(api.ledger(&owner.account).await.len(), 5);
    let odd = json!({"type": "credit.granted", "data": {
        "issuer": "https://id.example", "subject": "Zoë 🛢️", "seconds": 5, "reason": "Überraschung",
    }});
    assert_eq!(sender.send("msg_3", &odd), 204, "every byte counts, whatever it is of");
}

#[tokio::test]
async fn secrets_rotate_without_a_restart_and_public_keys_are_good_too() {
    let (home, _service, api, mut sender) = start();
    let owner = api.owner(1).await;
    let bought = granted(&owner.account, 60);
    sender.secrets = vec![OLD.to_owned()];
    assert_eq!(sender.send("msg_1", &bought), 401);
    write_secrets(&home, &["# both are good while the sender changes", SECRET, OLD]);
    tokio::time::sleep(Duration::from_millis(1100)).await;
    assert_eq!(sender.send("msg_1", &bought), 204);
    sender.secrets.clear();
    sender.private_key = Some(PRIVATE_KEY.to_owned());
    assert_eq!(sender.send("msg_2", &bought), 401);
    write_secrets(&home, &[PUBLIC_KEY]);
    tokio::time::sleep(Duration::from_millis(1100)).await;
    assert_eq!(sender.send("msg_2", &bought), 204);
    sender.secrets = vec![OLD.to_owned()];
    sender.private_key = None;
    assert_eq!(sender.send("msg_3", &bought), 401);
    write_secrets(&home, &[]);
    tokio::time::sleep(Duration::from_millis(1100)).await;
    assert_eq!(sender.send("msg_3", &bought), 404);
    assert_eq!(api.ledger(&owner.account).await.len(), 3);
}

#[tokio::test]
async fn what_cannot_be_is_refused_and_changes_nothing() {
    let (_home, _service, api, mut sender) = start();
    let owner = api.owner(1).await;
    let nobody = granted("AAAAAAAAAAAAAAAAAAAAAA", 60);
    let deliver = |sender: &mut Sender, body: &Value| {
        let answer = sender.deliver(vec![Delivery::new("msg_1", body)]).remove(0);
        (answer.status, answer.problem)
    };
    let refused = |status: u16, code: &str| (status, Some(code.to_owned()));
    assert_eq!(deliver(&mut sender, &nobody), refused(404, "not_found"));
    assert_eq!(deliver(&mut sender, &granted(&owner.account, -1)), refused(400, "bad_request"));
    assert_eq!(deliver(&mut sender, &json!({"type": "credit.granted", "data": {}})), refused(400, "bad_request"));
    assert_eq!(deliver(&mut sender, &json!({"type": "order.shipped", "data": {}})), (204, None));
    let large = json!({"type": "credit.granted", "padding": "x".repeat(1 << 20)});
    let url = format!("{}/hooks/credit", api.public);
    let headers = [
        ("content-type", "application/json"),
        ("webhook-id", "msg_1"),
        ("webhook-timestamp", "1"),
        ("webhook-signature", "v1,AAAA"),
    ];
    let answer = api.send(Method::POST, url.clone(), &headers, large.to_string().into_bytes()).await.unwrap();
    answer.must_be_problem(413, "body_too_large");
    let answer = api.send(Method::POST, url.clone(), &headers, b"{}".to_vec()).await.unwrap();
    answer.must_be_problem(401, "bad_signature");
    let twice = [&headers[..], &[("webhook-id", "msg_2")]].concat();
    api.send(Method::POST, url.clone(), &twice, b"{}".to_vec()).await.unwrap().must_be_problem(400, "bad_request");
    api.send(Method::POST, url, &headers[..3], b"{}".to_vec()).await.unwrap().must_be_problem(400, "bad_request");
    assert_eq!(api.ledger(&owner.account).await.len(), 1);
    assert_eq!(sender.send("msg_1", &granted(&owner.account, 60)), 204);
    assert_eq!(deliver(&mut sender, &granted(&owner.account, 61)), refused(409, "id_reused"));
}

#[test]
fn secrets_that_others_can_read_stop_the_start() {
    use std::os::unix::fs::PermissionsExt;

    let home = Home::new();
    write_secrets(&home, &[SECRET]);
    let path = home.data_dir().join("hooks.secrets");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
    let status = Service::command(&home, &["127.0.0.1:0"; 3].map(str::to_owned), &[]).status().unwrap();
    assert!(!status.success());
    let log = std::fs::read_to_string(home.log()).unwrap();
    assert!(log.contains("chmod o=") && !log.contains("whsec_"), "{log}");
}
