use aws_lc_rs::hmac;
use base64::{Engine as _, engine::general_purpose::STANDARD};

use crate::{
    control::hooks::deposits::MOST_HELD,
    engine::{AccountId, Beat, Credit, EntryKind, NewEntry, Source},
    store::{Created, Held, HeldCredit, Identity},
};

use super::*;

const SECRET: [u8; 32] = [5; 32];

impl Rig {
    /// A service that accepts webhooks signed with [`SECRET`].
    async fn hooked() -> Self {
        Self::hooked_with(|_| {}).await
    }

    pub(super) async fn hooked_with(change: impl FnOnce(&mut Settings)) -> Self {
        let rig = Self::with(change).await;
        let path = rig.home.path().join("hooks.secrets");
        std::fs::write(&path, format!("whsec_{}\n", STANDARD.encode(SECRET))).unwrap();
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        rig.clock.advance(Millis::from_secs(2));
        rig
    }

    async fn hook(&self, id: &str, body: &Value) -> Got {
        self.public(self.signed(id, body.to_string())).await
    }

    pub(super) fn signed(&self, id: &str, body: String) -> Ask {
        let sent = Clock::wall(&*self.clock).as_secs().to_string();
        let signature = signature(id, &sent, body.as_bytes());
        let ask = ask("POST", "/hooks/credit").header("content-type", "application/json");
        let ask = ask.header("webhook-id", id).header("webhook-timestamp", &sent);
        ask.header("webhook-signature", &signature).body(body)
    }

    async fn shown(&self, account: &str) -> Value {
        self.admin(ask("GET", &format!("/admin/accounts/{account}"))).await.ok().json()
    }

    async fn ledger(&self, account: &str) -> Vec<Value> {
        let got = self.admin(ask("GET", &format!("/admin/accounts/{account}/entries"))).await.ok();
        got.json()["entries"].as_array().unwrap().clone()
    }

    fn last_hooked(&self) -> WebhookResult {
        *self.stub.hooked.lock().last().unwrap()
    }
}

fn signature(id: &str, sent: &str, body: &[u8]) -> String {
    let signed = [id.as_bytes(), b".", sent.as_bytes(), b".", body].concat();
    format!("v1,{}", STANDARD.encode(hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &SECRET), &signed)))
}

fn granted(account: &str, seconds: i64) -> Value {
    json!({"type": "credit.granted", "data": {"account": account, "seconds": seconds, "reason": "order 7"}})
}

fn refunded(account: &str, seconds: i64) -> Value {
    json!({"type": "credit.refunded", "data": {"account": account, "seconds": seconds}})
}

fn granted_to(subject: &str, seconds: i64) -> Value {
    json!({"type": "credit.granted", "data": {"issuer": "https://id.test", "subject": subject, "seconds": seconds}})
}

#[tokio::test]
async fn credit_is_entered_once_however_often_it_is_told() {
    let rig = Rig::hooked().await;
    let (account, _) = rig.account(10).await;
    for repeated in [false, true, true] {
        let got = rig.hook("msg_1", &granted(&account, 60)).await;
        assert_eq!((got.status, got.body.len()), (StatusCode::NO_CONTENT, 0));
        assert_eq!(rig.last_hooked(), if repeated { WebhookResult::Repeated } else { WebhookResult::Credited });
    }
    rig.clock.advance(Millis::from_secs(7 * 24 * 3600));
    assert_eq!(rig.hook("msg_1", &granted(&account, 60)).await.status, StatusCode::NO_CONTENT);
    let ledger = rig.ledger(&account).await;
    assert_eq!(ledger.len(), 2);
    let entry = &ledger[1];
    assert_eq!(
        (&entry["kind"], &entry["source"], &entry["external_id"]),
        (&json!("purchase"), &json!("webhook"), &json!("msg_1"))
    );
    assert_eq!((&entry["amount_ms"], &entry["reason"]), (&json!(60_000), &json!("order 7")));
    rig.hook("msg_1", &granted(&account, 61)).await.is(ErrorCode::IdReused);
    rig.hook("msg_1", &refunded(&account, 60)).await.is(ErrorCode::IdReused);
    assert_eq!(rig.ledger(&account).await, ledger);
}

#[tokio::test]
async fn the_name_of_a_message_counts_once_in_all_and_not_once_for_each_account() {
    let rig = Rig::hooked().await;
    let [(one, _), (other, _)] = [rig.account(10).await, rig.account(10).await];
    rig.hook("m1", &granted(&one, 60)).await.ok();
    rig.hook("m1", &granted(&other, 60)).await.is(ErrorCode::IdReused);
    rig.hook("m1", &granted_to("ada", 60)).await.is(ErrorCode::IdReused);
    rig.hook("m1", &granted(&one, 60)).await.ok();
    assert_eq!(rig.last_hooked(), WebhookResult::Repeated);
    assert_eq!((rig.ledger(&one).await.len(), rig.ledger(&other).await.len()), (2, 1));
    // What came to nothing claims nothing.
    let nobody = AccountId::from_bytes([1; 16]).to_string();
    rig.hook("m2", &granted(&nobody, 60)).await.is(ErrorCode::NotFound);
    rig.hook("m2", &granted(&other, 60)).await.ok();
    assert_eq!(rig.last_hooked(), WebhookResult::Credited);
}

#[tokio::test]
async fn the_ids_of_senders_that_have_names_are_their_own() {
    let rig = Rig::hooked().await;
    let (account, _) = rig.account(10).await;
    rig.hook("m1", &granted(&account, 60)).await.ok();
    let path = rig.home.path().join("hooks.secrets");
    std::fs::write(&path, format!("shop-a whsec_{}\n", STANDARD.encode(SECRET))).unwrap();
    rig.clock.advance(Millis::from_secs(2));
    rig.hook("m1", &granted(&account, 7)).await.ok();
    assert_eq!(rig.last_hooked(), WebhookResult::Credited, "another sender's m1");
    rig.hook("m1", &granted(&account, 7)).await.ok();
    assert_eq!(rig.last_hooked(), WebhookResult::Repeated);
    let names: Vec<_> = rig.ledger(&account).await.iter().map(|row| row["external_id"].clone()).collect();
    assert_eq!(names[1..], [json!("m1"), json!("shop-a.m1")]);
}

#[tokio::test]
async fn credit_for_the_longest_subject_that_may_be_bought_for_is_theirs_when_they_sign_in() {
    let rig = Rig::hooked().await;
    let subject = "ß".repeat(512);
    rig.hook("m1", &granted_to(&subject, 60)).await.ok();
    rig.hook("m2", &granted_to(&format!("{subject}ß"), 60)).await.is(ErrorCode::BadRequest);
    assert!(Identity::is_name(&subject), "a provider may call somebody this as well");
}

#[tokio::test]
async fn without_secrets_there_is_no_such_place() {
    let rig = Rig::new().await;
    let (account, _) = rig.account(10).await;
    rig.hook("msg_1", &granted(&account, 60)).await.is(ErrorCode::NotFound);
}

#[tokio::test]
async fn a_refund_takes_what_is_there_and_later_credit_pays_the_rest() {
    let rig = Rig::hooked().await;
    let (account, _) = rig.account(100).await;
    rig.hook("r", &refunded(&account, 250)).await.ok();
    assert_eq!(rig.last_hooked(), WebhookResult::Refunded);
    let shown = rig.shown(&account).await;
    assert_eq!((&shown["remaining_s"], &shown["debt_s"]), (&json!(0), &json!(150)));
    rig.hook("r", &refunded(&account, 250)).await.ok();
    assert_eq!(rig.last_hooked(), WebhookResult::Repeated);
    rig.hook("r", &refunded(&account, 100)).await.is(ErrorCode::IdReused);
    rig.hook("p", &granted(&account, 200)).await.ok();
    rig.hook("p", &granted(&account, 200)).await.ok();
    let shown = rig.shown(&account).await;
    assert_eq!((&shown["remaining_s"], &shown["debt_s"]), (&json!(50), &json!(0)));
    let ledger = rig.ledger(&account).await;
    let rows: Vec<_> =
        ledger.iter().map(|row| (row["kind"].as_str().unwrap(), &row["amount_ms"], &row["owed_ms"])).collect();
    let (none, n) = (Value::Null, |ms: i64| json!(ms));
    assert_eq!(
        rows,
        [
            ("grant", &n(100_000), &none),
            ("refund", &n(-100_000), &n(150_000)),
            ("purchase", &n(200_000), &none),
            ("repayment", &n(-150_000), &n(-150_000)),
        ]
    );
    assert_eq!(ledger[3]["external_id"], "3", "names the row that pays");
}

#[tokio::test]
async fn credit_for_somebody_without_an_account_waits_for_them() {
    let rig = Rig::hooked().await;
    for _ in 0..2 {
        rig.hook("m1", &granted_to("ada", 60)).await.ok();
    }
    assert_eq!(*rig.stub.hooked.lock(), [WebhookResult::Held, WebhookResult::Repeated]);
    rig.hook("m1", &granted_to("ada", 61)).await.is(ErrorCode::IdReused);
    rig.hook("m2", &granted_to("ada", 5)).await.ok();
    let refund =
        json!({"type": "credit.refunded", "data": {"issuer": "https://id.test", "subject": "ada", "seconds": 20}});
    rig.hook("m3", &refund).await.ok();
    rig.hook("m1", &granted_to("bob", 7)).await.is(ErrorCode::IdReused);
    rig.hook("m1", &granted_to("bob", 60)).await.is(ErrorCode::IdReused);

    let who = json!({"issuer": "https://id.test", "subject": "ada"});
    let make = || rig.admin(ask("POST", "/admin/accounts").json(&who));
    let account = make().await.ok().text("account");
    assert_eq!(rig.shown(&account).await["remaining_s"], 45);
    assert_eq!(make().await.ok().text("account"), account);
    for id in ["m1", "m1"] {
        rig.hook(id, &granted_to("ada", 60)).await.ok();
        assert_eq!(rig.last_hooked(), WebhookResult::Repeated);
    }
    rig.hook("m1", &granted(&account, 60)).await.ok();
    assert_eq!(rig.last_hooked(), WebhookResult::Repeated, "by the account's id it is the same entry");
    assert_eq!(rig.ledger(&account).await.len(), 3);
    rig.hook("m4", &granted_to("ada", 1)).await.ok();
    assert_eq!(rig.shown(&account).await["remaining_s"], 46);
}

#[tokio::test]
async fn as_much_is_held_for_one_person_as_may_be() {
    let rig = Rig::hooked().await;
    for n in 0..MOST_HELD {
        rig.hook(&format!("m{n}"), &granted_to("ada", 1)).await.ok();
    }
    rig.hook("one_more", &granted_to("ada", 1)).await.is(ErrorCode::LimitReached);
    rig.hook("m0", &granted_to("ada", 1)).await.ok();
}

#[tokio::test]
async fn what_came_between_making_an_account_and_entering_what_was_held_is_made_good() {
    let rig = Rig::hooked().await;
    rig.hook("m1", &granted_to("ada", 60)).await.ok();
    // The service dies right after it has made the account.
    let identity = Identity { issuer: "https://id.test".into(), subject: "ada".into() };
    let id = AccountId::from_bytes([3; 16]);
    assert_eq!(rig.store.create_account(id, &identity, START).await.unwrap().1, Created::New);
    rig.hook("m2", &granted_to("ada", 1)).await.ok();
    let account = id.to_string();
    let who = json!({"issuer": "https://id.test", "subject": "ada"});
    rig.admin(ask("POST", "/admin/accounts").json(&who)).await.ok();
    assert_eq!(rig.shown(&account).await["remaining_s"], 61);
    // And between entering and letting go.
    let held = HeldCredit {
        entry: NewEntry {
            kind: EntryKind::Purchase,
            amount: Credit::from_secs(60),
            source: Source::Webhook,
            external_id: "m1".into(),
            reason: None,
        },
        at: START,
    };
    assert_eq!(rig.store.hold_credit(&identity, &held, 10).await.unwrap(), Held::Kept);
    rig.admin(ask("POST", "/admin/accounts").json(&who)).await.ok();
    assert_eq!(rig.shown(&account).await["remaining_s"], 61);
    assert_eq!(rig.store.held_credit(&identity, 10).await.unwrap(), []);
}

#[tokio::test]
async fn accounts_that_never_were_are_refused_and_deleted_ones_acknowledged() {
    let rig = Rig::hooked().await;
    let (account, _) = rig.account(10).await;
    let nobody = AccountId::from_bytes([1; 16]).to_string();
    rig.hook("m1", &granted(&nobody, 60)).await.is(ErrorCode::NotFound);
    rig.hook("m1", &granted("nonsense", 60)).await.is(ErrorCode::BadRequest);
    rig.admin(ask("DELETE", &format!("/admin/accounts/{account}"))).await.ok();
    for message in [granted(&account, 60), refunded(&account, 60)] {
        rig.hook("m1", &message).await.ok();
        assert_eq!(rig.last_hooked(), WebhookResult::Undeliverable);
    }
}

#[tokio::test]
async fn what_nobody_signed_or_nobody_signed_lately_is_refused() {
    let rig = Rig::hooked().await;
    let (account, _) = rig.account(10).await;
    let body = granted(&account, 60).to_string();
    let signed = || rig.signed("m1", body.clone());
    let got = rig.public(signed().body(format!("{body} "))).await;
    got.is(ErrorCode::BadSignature);
    assert_eq!(got.header("www-authenticate"), Some("StandardWebhooks"));
    let ask = signed();
    rig.clock.advance(Millis::from_secs(301));
    rig.public(ask).await.is(ErrorCode::BadSignature);
    let ask = signed();
    rig.clock.step_wall(UnixMs::from_ms(START.as_ms() - 301_000));
    rig.public(ask).await.is(ErrorCode::BadSignature);
    rig.clock.step_wall(START);
    for name in ["webhook-id", "webhook-timestamp", "webhook-signature"] {
        let mut without = signed();
        let value = without.request.headers_mut().remove(name).unwrap();
        let again = signed().header(name, value.to_str().unwrap());
        rig.public(without).await.is(ErrorCode::BadRequest);
        rig.public(again).await.is(ErrorCode::BadRequest);
    }
    assert_eq!(rig.ledger(&account).await.len(), 1);
    rig.public(signed()).await.ok();
}

#[tokio::test]
async fn the_headers_may_have_the_names_that_most_senders_use() {
    let rig = Rig::hooked().await;
    let (account, _) = rig.account(10).await;
    let renamed = |id: &str| {
        let mut ask = rig.signed(id, granted(&account, 60).to_string());
        for (standard, other) in [("webhook-id", "svix-id"), ("webhook-timestamp", "svix-timestamp")] {
            let value = ask.request.headers_mut().remove(standard).unwrap();
            ask.request.headers_mut().insert(other, value);
        }
        let value = ask.request.headers_mut().remove("webhook-signature").unwrap();
        ask.header("svix-signature", value.to_str().unwrap())
    };
    rig.public(renamed("m1")).await.ok();
    assert_eq!(rig.last_hooked(), WebhookResult::Credited);
    let mixed = renamed("m2").header("webhook-id", "m3");
    rig.public(mixed).await.is(ErrorCode::BadRequest);
    let twice = renamed("m2").header("svix-id", "m3");
    rig.public(twice).await.is(ErrorCode::BadRequest);
    rig.hook("m1", &granted(&account, 60)).await.ok();
    assert_eq!(rig.last_hooked(), WebhookResult::Repeated, "by either name it is the same message");
}

#[tokio::test]
async fn messages_that_cannot_be_are_refused_and_others_ignored() {
    let rig = Rig::hooked().await;
    let (account, _) = rig.account(10).await;
    let of = |data: Value| json!({"type": "credit.granted", "data": data});
    for body in [
        json!([]),
        json!({}),
        json!({"type": 7}),
        json!({"type": "credit.granted"}),
        of(json!({"seconds": 5})),
        of(json!({"account": account})),
        of(json!({"account": account, "seconds": 0})),
        of(json!({"account": account, "seconds": -5})),
        of(json!({"account": account, "seconds": 1.5})),
        of(json!({"account": account, "seconds": "5"})),
        of(json!({"account": account, "seconds": i64::MAX})),
        of(json!({"account": account, "subject": "ada", "seconds": 5})),
        of(json!({"issuer": "https://id.test", "seconds": 5})),
        of(json!({"issuer": "", "subject": "ada", "seconds": 5})),
        of(json!({"account": account, "seconds": 5, "reason": "a".repeat(257)})),
        of(json!({"account": account, "seconds": 5, "reason": "a\nb"})),
    ] {
        rig.hook("m1", &body).await.is(ErrorCode::BadRequest);
    }
    for text in ["", "{", "\u{0}", "nul", r#"{"type":"credit.granted","type":"credit.granted","data":{}}"#] {
        rig.public(rig.signed("m1", text.to_owned())).await.is(ErrorCode::BadRequest);
    }
    let mut form = rig.signed("m1", granted(&account, 60).to_string());
    form.request.headers_mut().insert("content-type", "application/x-www-form-urlencoded".parse().unwrap());
    rig.public(form).await.is(ErrorCode::UnsupportedMediaType);
    rig.public(rig.signed("m1", " ".repeat(64 * 1024 + 1))).await.is(ErrorCode::BodyTooLarge);
    for body in
        [json!({"type": "order.shipped"}), json!({"type": "", "data": [1]}), json!({"type": "credit.granted.v2"})]
    {
        rig.hook("m1", &body).await.ok();
        assert_eq!(rig.last_hooked(), WebhookResult::Ignored);
    }
    assert_eq!(rig.ledger(&account).await.len(), 1);
    rig.hook("m1", &of(json!({"account": account, "seconds": 5, "unknown": {"deep": []}}))).await.ok();
}

#[tokio::test]
async fn nothing_is_acknowledged_while_warming_up_or_when_the_store_fails() {
    let rig = Rig::hooked().await;
    let (account, _) = rig.account(10).await;
    rig.stub.cold.store(true, Ordering::Relaxed);
    rig.hook("m1", &granted(&account, 60)).await.is(ErrorCode::WarmingUp);
    rig.stub.cold.store(false, Ordering::Relaxed);
    rig.store.close().await.unwrap();
    rig.hook("m1", &granted(&account, 60)).await.is(ErrorCode::StoreUnavailable);
    rig.hook("m1", &granted_to("ada", 60)).await.is(ErrorCode::StoreUnavailable);
    assert_eq!(rig.last_hooked(), WebhookResult::Refused(ErrorCode::StoreUnavailable));
}

#[tokio::test]
async fn the_open_session_sees_the_credit_in_its_next_ack() {
    let rig = Rig::hooked().await;
    let (account, key) = rig.account(100).await;
    let activation = rig.activate(&key).await.ok();
    rig.hook("m1", &granted(&account, 60)).await.ok();
    let now = Clock::now(&*rig.clock);
    let Beat::Answer { ack, .. } = rig.engine.beat(&frame(&activation, HeartbeatKind::Beat, now), now) else {
        panic!("a good frame is answered")
    };
    let remaining = u32::from_le_bytes(ack.as_bytes()[24..28].try_into().unwrap());
    assert_eq!(remaining, 160);
}

#[tokio::test]
async fn who_signs_in_for_the_first_time_finds_what_was_bought_before() {
    let rig = Rig::hooked().await;
    rig.stub.starting_credit_s.store(600, Ordering::Relaxed);
    rig.hook("m1", &granted_to("ada", 60)).await.ok();
    let account = || rig.public(ask("GET", "/v1/account").bearer("id:ada"));
    for _ in 0..2 {
        assert_eq!(account().await.ok().json()["remaining_s"], 660);
    }
    rig.hook("m2", &granted_to("ada", 60)).await.ok();
    assert_eq!(rig.last_hooked(), WebhookResult::Credited);
    assert_eq!(rig.activate("id:ada").await.ok().json()["remaining_s"], 720);
}
