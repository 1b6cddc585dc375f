//! kill -9 between recording and acknowledging, and re-delivery.

use std::{
    collections::BTreeMap,
    io::{Read, Write},
    net::TcpStream,
    thread,
    time::{Duration, Instant},
};

use reqwest::Method;
use serde_json::{Value, json};

use crate::{
    client::{Api, text},
    dying::Dying,
    sender::{Delivery, SECRET, Sender, granted, granted_to, refunded, write_secrets},
    support::{Home, Service},
};

/// On an address of its own, so that while it is down nobody's outgoing connection takes its ports.
const ADDRESS: &str = "127.0.0.3:0";
const MESSAGES: usize = 400;
const KILLS: u64 = 12;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_at_random_points_every_message_is_entered_once() {
    let seed = u64::from(std::process::id());
    println!("seed {seed}");
    let mut dice = seed;
    let mut below = |bound: u64| {
        dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (dice >> 33) % bound
    };
    let home = Home::new();
    write_secrets(&home, &[SECRET]);
    let mut service = Service::start_at(&home, &[ADDRESS; 3].map(str::to_owned), &[]);
    let addresses = service.addresses();
    let api = Api::new(&service, &home);
    let owner = api.owner(1000).await.account;
    let mut sender = Sender::start(&service);
    let message = |n: usize| match n % 4 {
        0 => refunded(&owner, 700),
        1 => granted_to("ada", 60),
        _ => granted(&owner, 60),
    };
    // Every message twice at the same time: platforms do that too.
    let all: Vec<_> =
        (0..2 * MESSAGES).map(|n| Delivery::new(&format!("msg_{}", n % MESSAGES), &message(n % MESSAGES))).collect();
    sender.begin(&all, true);
    let who = json!({"issuer": "https://id.example", "subject": "ada"});
    for kill in 0..KILLS {
        tokio::time::sleep(Duration::from_millis(10 + below(120))).await;
        if kill == KILLS / 2 {
            // She signs up in the middle of it, and what was held is entered, perhaps not by this process.
            let _ = api.admin(Method::POST, "/admin/accounts", &[], &who).await;
        }
        service.kill();
        service = Service::start_at(&home, &addresses, &[]);
    }
    let answers = sender.finish();
    assert!(answers.iter().all(|answer| answer.status == 204));
    let again: u32 = answers.iter().map(|answer| answer.attempts - 1).sum();
    println!(
        "{again} attempts were cut off or refused; {} found theirs recorded",
        api.metric("gastank_webhooks_total", "\"repeated\"").await
    );
    assert!(again > 0, "the kills came too late to disturb anybody");

    let ada = api.admin(Method::POST, "/admin/accounts", &[], &who).await.unwrap().json();
    let ada = text(&ada["account"]);
    sender.begin(&all, true);
    sender.finish();
    for (account, count) in [(&owner, MESSAGES / 4 * 3), (&ada, MESSAGES / 4)] {
        let ledger = api.ledger(account).await;
        let mut entered: BTreeMap<String, (String, i64)> = BTreeMap::new();
        let (mut balance, mut debt) = (0, 0);
        for row in &ledger {
            let (amount, owed) = (row["amount_ms"].as_i64().unwrap(), row["owed_ms"].as_i64().unwrap_or(0));
            (balance, debt) = (balance + amount, debt + owed);
            if row["source"] == "webhook" {
                let twice = entered.insert(text(&row["external_id"]), (text(&row["kind"]), amount - owed));
                assert_eq!(twice, None, "{row}");
            }
        }
        assert_eq!(entered.len(), count);
        for (id, (kind, amount)) in entered {
            let number: usize = id.strip_prefix("msg_").unwrap().parse().unwrap();
            let told = message(number);
            let seconds = told["data"]["seconds"].as_i64().unwrap();
            let expected = if kind == "refund" { -seconds } else { seconds };
            assert_eq!((kind == "refund", amount), (told["type"] == "credit.refunded", expected * 1000));
        }
        assert!(balance >= 0 && debt >= 0);
        let shown = api.account(account).await;
        assert_eq!((&shown["remaining_s"], &shown["debt_s"]), (&json!(balance / 1000), &json!(debt / 1000)));
    }
    // 1000 + 200 * 60 - 100 * 700: all of it is accounted for, in whatever order it came.
    assert_eq!(api.account(&owner).await["debt_s"], 57_000);
    assert_eq!(api.account(&ada).await["remaining_s"], 6_000);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_acknowledgment_that_nobody_heard_is_given_again_after_a_crash() {
    let home = Home::new();
    write_secrets(&home, &[SECRET]);
    let mut service = Service::start_at(&home, &[ADDRESS; 3].map(str::to_owned), &[]);
    let addresses = service.addresses();
    let api = Api::new(&service, &home);
    let owner = api.owner(1).await.account;
    let mut sender = Sender::start(&service);
    let path = format!("/admin/accounts/{owner}/entries");
    for n in 0..3 {
        // A sender that hangs up before it is answered, so that all that is left of the message is its entry.
        let (id, message) = (format!("msg_{n}"), granted(&owner, 60));
        let recorded = thread::spawn({
            let (id, message, http) = (id.clone(), message.to_string(), addresses[0].clone());
            move || send_and_hang_up(&http, &id, &message)
        });
        recorded.join().unwrap();
        let began = Instant::now();
        loop {
            let page = api.admin(Method::GET, &path, &[], &Value::Null).await.unwrap().must_be(200).json();
            if page["entries"].as_array().unwrap().iter().any(|entry| entry["external_id"] == id) {
                break;
            }
            assert!(began.elapsed() < Duration::from_secs(10), "{page}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        service.kill();
        service = Service::start_at(&home, &addresses, &[]);
        assert_eq!(sender.send(&id, &message), 204);
        assert_eq!(api.metric("gastank_webhooks_total", "\"repeated\"").await, 1.0);
    }
    assert_eq!(api.account(&owner).await["remaining_s"], 181);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_between_recording_and_acknowledging_a_message_is_entered_once() {
    let home = Home::new();
    write_secrets(&home, &[SECRET]);
    let dying = Dying::new();
    let mut service = Service::start_at(&home, &[ADDRESS; 3].map(str::to_owned), &dying.variables());
    let addresses = service.addresses();
    let api = Api::new(&service, &home);
    let mut sender = Sender::start(&service);
    for kind in ["purchase", "refund", "held"] {
        let mut deaths = 0;
        for step in 1..10 {
            let owner = api.owner(100).await.account;
            let subject = format!("{kind} {step}");
            let (id, message) = match kind {
                "purchase" => (format!("buy_{step}"), granted(&owner, 60)),
                "refund" => (format!("refund_{step}"), refunded(&owner, 160)),
                _ => (format!("held_{step}"), granted_to(&subject, 60)),
            };
            dying.after(step);
            let first = sender.send(&id, &message);
            dying.not();
            if first == 0 {
                deaths += 1;
                service.kill();
                service = Service::start_at(&home, &addresses, &dying.variables());
                // It was recorded, or the sender was told nothing for another reason.
                assert_eq!((sender.send(&id, &message), sender.send(&id, &message)), (204, 204));
                // What is written first claims the message's name: it is entered after that, by the next attempt.
                let repeated = if step == 1 { 1.0 } else { 2.0 };
                assert_eq!(api.metric("gastank_webhooks_total", "\"repeated\"").await, repeated, "{kind} {step}");
            }
            let account = if kind == "held" {
                let who = json!({"issuer": "https://id.example", "subject": subject});
                let made = api.admin(Method::POST, "/admin/accounts", &[], &who).await.unwrap().must_be(201).json();
                text(&made["account"])
            } else {
                owner
            };
            let shown = api.account(&account).await;
            let (remaining, debt) = match kind {
                "purchase" => (160, 0),
                "refund" => (0, 60),
                _ => (60, 0),
            };
            assert_eq!((&shown["remaining_s"], &shown["debt_s"]), (&json!(remaining), &json!(debt)), "{kind} {step}");
            let entered = api.ledger(&account).await.iter().filter(|entry| entry["external_id"] == *id).count();
            assert_eq!(entered, 1, "{kind} {step}");
            if first != 0 {
                assert_eq!(first, 204);
                break;
            }
        }
        println!("{kind}: killed {deaths} times");
        assert!((1..9).contains(&deaths), "{kind}: {deaths}");
    }
}

/// Sends a message and closes the connection without waiting for the answer.
fn send_and_hang_up(http: &str, id: &str, message: &str) {
    let sent = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let signature = signature(id, sent, message);
    let mut stream = TcpStream::connect(http).unwrap();
    let request = format!(
        "POST /hooks/credit HTTP/1.1\r\nhost: {http}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\
         webhook-id: {id}\r\nwebhook-timestamp: {sent}\r\nwebhook-signature: {signature}\r\n\r\n{message}",
        message.len()
    );
    stream.write_all(request.as_bytes()).unwrap();
    // One byte of the answer proves that the message was read; the rest is lost.
    stream.read_exact(&mut [0]).unwrap();
}

fn signature(id: &str, sent: u64, message: &str) -> String {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    use hmac::{Hmac, KeyInit, Mac};

    let secret = STANDARD.decode(SECRET.trim_start_matches("whsec_")).unwrap();
    let mut mac = Hmac::<sha2::Sha256>::new_from_slice(&secret).unwrap();
    mac.update(format!("{id}.{sent}.{message}").as_bytes());
    format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
}
