//! A shop as the service sees it: webhooks of paid orders and of refunds, each line credited once; and the scripts of pages.

use std::{fs, os::unix::fs::OpenOptionsExt};

use aws_lc_rs::hmac;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use futures_util::future::join_all;
use reqwest::Method;
use rusqlite::Connection;
use serde_json::{Value, json};

use crate::{
    client::{Answer, Api, text},
    rewards::{earner, start},
    support::{Home, Service, stdout_of},
};

const SHOP: &str = "time.example";
const SECRETS: [&str; 3] = ["the-old-secret-of-time", "the-new-secret-of-time", "the-secret-of-another-shop"];
const CONFIG: &str = r#"
[rewards]
landing_pages = "https://news.example http://localhost:8000"
products = ["TIME-1M=60", "TIME 1H=3600"]
"#;

/// A service that knows two shops.
fn open_shop(home: &Home) -> (Service, tempfile::NamedTempFile) {
    fs::DirBuilder::new().create(home.data_dir()).unwrap();
    fs::set_permissions(home.data_dir(), std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    let [old, new, other] = SECRETS;
    let text = format!("{SHOP} {old}\n{SHOP} {new}\nother.example {other}\n");
    let file = fs::File::options().write(true).create_new(true).mode(0o600).open(home.data_dir().join("shops.secrets"));
    std::io::Write::write_all(&mut file.unwrap(), text.as_bytes()).unwrap();
    start(home, CONFIG, &[])
}

async fn deliver(api: &Api, shop: &str, secret: &str, topic: &str, body: &Value) -> Answer {
    let body = body.to_string().into_bytes();
    let signature = STANDARD.encode(hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes()), &body));
    let headers = [
        ("content-type", "application/json"),
        ("x-shopify-hmac-sha256", &*signature),
        ("x-shopify-shop-domain", shop),
        ("x-shopify-topic", topic),
    ];
    api.send(Method::POST, format!("{}/hooks/shopify", api.public), &headers, body).await.unwrap()
}

async fn paid(api: &Api, order: &Value) -> Answer {
    deliver(api, SHOP, SECRETS[0], "orders/paid", order).await
}

async fn refunded(api: &Api, refund: u64, line: u64, units: u64) -> Answer {
    let body =
        json!({"id": refund, "refund_line_items": [{"id": refund + 1, "line_item_id": line, "quantity": units}]});
    deliver(api, SHOP, SECRETS[1], "refunds/create", &body).await
}

fn line(id: u64, sku: &str, units: u64, package: Option<&str>) -> Value {
    let properties: Vec<_> = package.iter().map(|package| json!({"name": "_psicash", "value": package})).collect();
    json!({"id": id, "sku": sku, "quantity": units, "properties": properties, "price": "9.90"})
}

fn order(id: u64, lines: &[Value]) -> Value {
    json!({"id": id, "test": false, "email": "jon@example.com", "note_attributes": [], "line_items": lines})
}

fn package(token: &str) -> String {
    gastank::rewards::Package { timestamp: Some("2020-09-29T19:52:44.123Z".into()), tokens: Some(token.into()) }.write()
}

async fn balance(api: &Api, account: &str) -> Value {
    let account = api.account(account).await;
    json!([account["remaining_s"], account["debt_s"]])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_line_of_an_order_is_credited_once_and_taken_back_by_the_unit() {
    let home = Home::new();
    let (service, _config) = open_shop(&home);
    let api = Api::new(&service, &home);
    let owner = api.owner(0).await;
    let (id, token) = earner(&api, &owner).await;
    let good = package(&token);

    // Eight times at once, signed by either secret; and again when the token has been revoked.
    let bought =
        order(1, &[line(11, "TIME-1M", 3, Some(&good)), line(12, "Mug", 1, None), line(13, "TIME 1H", 1, Some(&good))]);
    let both = [0, 1, 0, 1, 0, 1, 0, 1].map(|secret| deliver(&api, SHOP, SECRETS[secret], "orders/paid", &bought));
    assert!(join_all(both).await.iter().all(|answer| answer.status == 200));
    assert_eq!(balance(&api, &owner.account).await, json!([3780, 0]));
    refunded(&api, 100, 11, 1).await.must_be(200);
    refunded(&api, 100, 11, 1).await.must_be(200);
    assert_eq!(balance(&api, &owner.account).await, json!([3720, 0]), "one unit of three, once");
    api.public(Method::DELETE, &format!("/v1/account/earners/{id}"), &owner.key, &Value::Null)
        .await
        .unwrap()
        .must_be(204);
    paid(&api, &bought).await.must_be(200);
    refunded(&api, 200, 11, 9).await.must_be(200);
    assert_eq!(balance(&api, &owner.account).await, json!([3600, 0]), "no more than was paid");

    // A refund that comes before the order, and a package in the cart.
    let (_, token) = earner(&api, &owner).await;
    refunded(&api, 300, 21, 1).await.must_be(200);
    let mut early = order(2, &[line(21, "TIME-1M", 2, None)]);
    early["note_attributes"] = json!([{"name": "_psicash", "value": package(&token)}]);
    paid(&api, &early).await.must_be(200);
    assert_eq!(balance(&api, &owner.account).await, json!([3660, 0]));
    let rows = api.ledger(&owner.account).await;
    assert!(rows.iter().all(|row| row["source"] == "shop"), "{rows:?}");
    assert_eq!(rows.iter().filter(|row| row["kind"] == "purchase").count(), 3);

    // Test orders give nothing, and topics of no concern are acknowledged.
    let mut test = order(3, &[line(31, "TIME-1M", 1, Some(&package(&token)))]);
    test["test"] = json!(true);
    paid(&api, &test).await.must_be(200);
    deliver(&api, SHOP, SECRETS[0], "products/update", &json!([])).await.must_be(200);
    assert_eq!(balance(&api, &owner.account).await, json!([3660, 0]));

    // While the store is away the shop is told to come back, and pays once.
    let later = order(4, &[line(41, "TIME-1M", 1, Some(&package(&token)))]);
    let intruder = Connection::open(home.data_dir().join("gastank.db")).unwrap();
    intruder.execute_batch("BEGIN EXCLUSIVE").unwrap();
    paid(&api, &later).await.must_be_problem(503, "store_unavailable");
    intruder.execute_batch("ROLLBACK").unwrap();
    drop(intruder);
    for _ in 0..2 {
        paid(&api, &later).await.must_be(200);
    }
    assert_eq!(balance(&api, &owner.account).await, json!([3720, 0]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_line_that_cannot_be_credited_is_kept_until_it_is_refunded_or_seen_to() {
    let home = Home::new();
    let (service, _config) = open_shop(&home);
    let api = Api::new(&service, &home);
    let owner = api.owner(0).await;
    let (_, token) = earner(&api, &owner).await;
    let kept = || {
        let listed: Value = serde_json::from_str(&stdout_of(&service.run(&["reward", "kept", "--json"]))).unwrap();
        let rows = listed["kept"].as_array().unwrap().clone();
        rows.iter()
            .map(|row| (row["line"].as_u64().unwrap(), text(&row["why"]), row["units"].as_u64().unwrap()))
            .collect::<Vec<_>>()
    };
    let bad = package("gte_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA");
    let bought = order(
        1,
        &[
            line(1, "TIME-1M", 2, Some(&bad)),
            line(2, "TIME-1M", 1, None),
            line(3, "TIME-1M", 1, Some("nonsense")),
            line(4, "TIME-9H", 1, Some(&package(&token))),
        ],
    );
    for _ in 0..2 {
        paid(&api, &bought).await.must_be(200);
    }
    let all = [(1, "bad_token", 2), (2, "no_token", 1), (3, "no_token", 1), (4, "unknown_product", 1)];
    assert_eq!(kept(), all.map(|(line, why, units)| (line, why.to_owned(), units)));
    refunded(&api, 10, 1, 1).await.must_be(200);
    refunded(&api, 20, 2, 1).await.must_be(200);
    stdout_of(&service.run(&["reward", "done", SHOP, "3"]));
    let log: Value =
        serde_json::from_str(&stdout_of(&service.run(&["audit", "--act", "purchase_seen_to", "--json"]))).unwrap();
    let rows = log["rows"].as_array().unwrap();
    assert_eq!(rows.len(), 1, "{rows:?}");
    assert_eq!((&rows[0]["actor"], &rows[0]["target"]), (&json!("operator"), &json!(format!("{SHOP}/3"))));
    // However often it comes again.
    paid(&api, &bought).await.must_be(200);
    assert_eq!(kept(), [(1, "bad_token".to_owned(), 1), (4, "unknown_product".to_owned(), 1)]);
    assert_eq!(balance(&api, &owner.account).await, json!([0, 0]));

    // Of somebody who is deleted: what they had is not kept, what they had not is, and their token is none any more.
    let had = order(2, &[line(6, "TIME-1M", 1, Some(&package(&token)))]);
    let had_not = order(3, &[line(7, "TIME-1M", 1, Some(&package(&token)))]);
    for bought in [&had, &had_not] {
        paid(&api, bought).await.must_be(200);
    }
    // As a crash leaves it between the record of the line and the ledger.
    let intruder = Connection::open(home.data_dir().join("gastank.db")).unwrap();
    let changed = intruder
        .execute(
            "UPDATE reward_records SET content = replace(content, '\"credited\":true', '\"credited\":false') WHERE part LIKE 'line/%/7'",
            [],
        )
        .unwrap();
    assert_eq!(changed, 1);
    api.admin(Method::DELETE, &format!("/admin/accounts/{}", owner.account), &[], &Value::Null)
        .await
        .unwrap()
        .must_be(204);
    for bought in [&had, &had_not] {
        paid(&api, bought).await.must_be(200);
    }
    let of_deleted: Vec<_> = kept().into_iter().filter(|(line, ..)| [6, 7].contains(line)).collect();
    assert_eq!(of_deleted, [(7, "account_deleted".to_owned(), 1)]);
    paid(&api, &order(4, &[line(5, "TIME-1M", 1, Some(&package(&token)))])).await.must_be(200);
    assert!(kept().contains(&(5, "bad_token".to_owned(), 1)));
    assert_eq!(api.metric("gastank_shop_lines_total", "outcome=\"kept\"").await, 5.0);

    // More than the service answers at once.
    let row = "INSERT INTO reward_records (part, name, revision, content) SELECT part, name || '/' || ?1, revision, content FROM \
               reward_records WHERE part = 'kept' LIMIT 1";
    for n in 0..1000 {
        intruder.execute(row, [n]).unwrap();
    }
    assert_eq!(kept().len(), 1004);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_webhook_that_its_shop_has_not_signed_is_refused() {
    let home = Home::new();
    let (service, _config) = open_shop(&home);
    let api = Api::new(&service, &home);
    let body = order(1, &[line(1, "TIME-1M", 1, None)]);
    for (shop, secret) in
        [(SHOP, SECRETS[2]), ("other.example", SECRETS[0]), ("nobody.example", SECRETS[0]), ("", SECRETS[0])]
    {
        deliver(&api, shop, secret, "orders/paid", &body).await.must_be_problem(401, "bad_signature");
    }
    let url = format!("{}/hooks/shopify", api.public);
    for signature in ["", "AAAA", "nonsense"] {
        let headers =
            [("x-shopify-hmac-sha256", signature), ("x-shopify-shop-domain", SHOP), ("x-shopify-topic", "orders/paid")];
        let answer = api.send(Method::POST, url.clone(), &headers, body.to_string().into_bytes()).await.unwrap();
        answer.must_be_problem(401, "bad_signature");
    }
    for nonsense in [json!(null), json!([]), json!("x"), json!({"line_items": []})] {
        deliver(&api, SHOP, SECRETS[0], "orders/paid", &nonsense).await.must_be_problem(400, "bad_request");
    }
    deliver(&api, &SHOP.to_uppercase(), SECRETS[1], "orders/paid", &order(1, &[])).await.must_be(200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn scripts_and_frames_are_served_and_the_frame_is_for_landing_pages() {
    let home = Home::new();
    let (service, _config) = open_shop(&home);
    let api = Api::new(&service, &home);
    let get = async |path: &str, headers: &[(&str, &str)]| {
        api.send(Method::GET, format!("{}{path}", api.public), headers, Vec::new()).await.unwrap()
    };
    let built = |name: &str| fs::read(format!("{}/clients/rewards/dist/{name}", env!("CARGO_MANIFEST_DIR"))).unwrap();
    for name in ["psicash.js", "iframe.html", "iframe.debug.html", "shopify-psicash.js"] {
        let file = get(&format!("/v2/{name}"), &[]).await.must_be(200);
        assert_eq!((&file.body, file.header("cache-control")), (&built(name), "public, max-age=300"));
        let tag = file.header("etag").to_owned();
        get(&format!("/v2/{name}"), &[("if-none-match", &tag)]).await.must_be(304);
        let (stem, ending) = name.rsplit_once('.').unwrap();
        let hashed = get(&format!("/v2/{stem}.{}.{ending}", tag.trim_matches('"')), &[]).await.must_be(200);
        assert_eq!(hashed.header("cache-control"), "public, max-age=31536000, immutable");
    }
    assert_eq!(get("/shopify-psicash.js", &[]).await.must_be(200).body, built("shopify-psicash.js"));
    let frame = get("/v2/iframe.html", &[]).await;
    assert!(
        frame
            .header("content-security-policy")
            .ends_with("; frame-ancestors https://news.example http://localhost:8000")
    );
    get("/v2/other.js", &[]).await.must_be_problem(404, "not_found");
}
