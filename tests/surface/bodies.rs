//! A megabyte where a few bytes are meant, to every call that takes a body.

use std::{
    fs,
    io::Write,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use reqwest::Method;

use crate::{
    client::Api,
    support::{Home, Service},
};

const MEGABYTE: usize = 1 << 20;
/// So that both hooks are there. Nobody asks the provider anything here.
const SETTINGS: [(&str, &str); 2] =
    [("GASTANK_IDENTITY_ISSUER", "http://127.0.0.1:9"), ("GASTANK_IDENTITY_EVENT_CLIENT_ID", "gastank")];

#[tokio::test]
async fn a_megabyte_is_refused_by_every_call_that_takes_a_body() {
    let home = Home::new();
    fs::DirBuilder::new().mode(0o700).create(home.data_dir()).unwrap();
    for (name, secrets) in [
        ("hooks.secrets", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"),
        ("shops.secrets", "shop.example hush-of-a-shop-that-is-long-enough"),
    ] {
        let at = home.data_dir().join(name);
        let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(at).unwrap();
        file.write_all(secrets.as_bytes()).unwrap();
    }
    let unsigned = STANDARD.encode([0; 32]);
    let service = Service::start_with(&home, &SETTINGS);
    let api = Api::new(&service, &home);
    let (owner, edge) = (api.owner(100).await, api.edge().await);
    let basic = format!("Basic {}", STANDARD.encode(format!("{}:{}", edge.client_id, edge.secret)));
    let (bearer, operator) = (format!("Bearer {}", owner.key), format!("Bearer {}", api.admin_token));

    let described =
        api.send(Method::GET, format!("{}/openapi.json", api.public), &[], Vec::new()).await.unwrap().json();
    let mut refused = Vec::new();
    for (path, operations) in described["paths"].as_object().expect("there are paths") {
        for (method, operation) in operations.as_object().unwrap() {
            let Some(content) = operation["requestBody"]["content"].as_object() else { continue };
            let (base, authorization) = match path.split('/').nth(1) {
                Some("admin") => (&api.admin, &operator),
                Some("oauth") => (&api.public, &basic),
                _ => (&api.public, &bearer),
            };
            let at = path.replace("{id}", &owner.account).replace("{client_id}", &edge.client_id);
            for content_type in content.keys() {
                let headers = [
                    ("authorization", &**authorization),
                    ("content-type", content_type),
                    ("idempotency-key", "k"),
                    ("webhook-id", "m"),
                    ("webhook-timestamp", "1"),
                    ("webhook-signature", "v1,AA=="),
                    ("x-shopify-shop-domain", "shop.example"),
                    ("x-shopify-hmac-sha256", &unsigned),
                    ("x-shopify-topic", "orders/paid"),
                ];
                let method = Method::from_bytes(method.to_uppercase().as_bytes()).unwrap();
                let sent = api.send(method, format!("{base}{at}"), &headers, vec![b' '; MEGABYTE]).await;
                sent.expect("it is heard while we write").must_be_problem(413, "body_too_large");
                refused.push(format!("{path} {content_type}"));
            }
        }
    }
    println!("{refused:#?}");
    assert!(refused.len() >= 10, "{refused:?}");
    assert_eq!(api.account(&owner.account).await["remaining_s"], 100);
}
