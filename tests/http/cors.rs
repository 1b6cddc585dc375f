//! Pages of other origins, in browsers.

use gastank::wire::HeartbeatKind;
use serde_json::{Value, json};

use crate::{
    client::Api,
    raw::{Raw, Response},
    support::{Home, Service},
};

fn header<'a>(answer: &'a Response, name: &str) -> Option<&'a str> {
    answer.head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
}

#[tokio::test]
async fn pages_of_configured_origins_may_ask_and_others_may_not() {
    let home = Home::new();
    let service =
        Service::start_with(&home, &[("GASTANK_HTTP_CORS_ORIGINS", "https://app.example.org moz-extension://*")]);
    let api = Api::new(&service, &home);
    let mut session = api.open(&api.owner(1000).await).await;
    let mut raw = Raw::connect(service.listener("http")).await;
    for (origin, allowed) in [
        ("https://app.example.org", true),
        ("moz-extension://1234", true),
        ("https://app.example.org.evil.example", false),
        ("null", false),
    ] {
        for path in
            ["/.well-known/jwks.json", "/.well-known/oauth-authorization-server", "/v1/activate", "/v1/heartbeat"]
        {
            let what = format!("{origin} {path}");
            let asked =
                "access-control-request-method: POST\r\naccess-control-request-headers: authorization,content-type";
            raw.send(format!("OPTIONS {path} HTTP/1.1\r\nhost: x\r\norigin: {origin}\r\n{asked}\r\n\r\n")).await;
            let answer = raw.response().await.unwrap();
            assert_eq!(answer.status, if allowed { 204 } else { 403 }, "{what}: {answer:?}");
            assert_eq!(header(&answer, "access-control-allow-origin"), allowed.then_some(origin), "{what}");
            assert_eq!(header(&answer, "vary"), Some("origin"), "{what}");
            if allowed {
                assert!(header(&answer, "access-control-allow-headers").unwrap().contains("authorization"), "{what}");
                assert!(header(&answer, "access-control-allow-methods").unwrap().contains("POST"), "{what}");
            }
        }
        // The answer itself, a heartbeat's and an error's too.
        let beat = session.frame(HeartbeatKind::Beat);
        let head = format!("POST /v1/heartbeat HTTP/1.1\r\nhost: x\r\norigin: {origin}\r\ncontent-length: 48\r\n\r\n");
        raw.send([head.as_bytes(), &beat].concat()).await;
        let acked = raw.response().await.unwrap();
        raw.send(format!("GET /v1/account HTTP/1.1\r\nhost: x\r\norigin: {origin}\r\n\r\n")).await;
        let refused = raw.response().await.unwrap();
        assert_eq!((acked.status, refused.status), (200, 401));
        for answer in [acked, refused] {
            assert_eq!(header(&answer, "access-control-allow-origin"), allowed.then_some(origin), "{answer:?}");
        }
    }
    // Introspection is for edges: pages have no business there.
    raw.send("OPTIONS /oauth/introspect HTTP/1.1\r\nhost: x\r\norigin: https://app.example.org\r\naccess-control-request-method: POST\r\n\r\n").await;
    assert_eq!(raw.response().await.unwrap().status, 405);
}

#[tokio::test]
async fn every_page_may_read_what_clients_are_told() {
    let home = Home::new();
    let service = Service::start_with(
        &home,
        &[
            ("GASTANK_CLIENT_PROXY", "https://proxy.example.org:8443"),
            ("GASTANK_CLIENT_BYPASS", "*.example.org 10.0.0.0/8"),
            ("GASTANK_CLIENT_SHOP_URL", "https://shop.example.org/time/"),
            ("GASTANK_CLIENT_ACCOUNT_URL", "https://account.example.org"),
            ("GASTANK_IDENTITY_ISSUER", "http://127.0.0.1:9"),
            ("GASTANK_IDENTITY_SIGN_IN_CLIENT_ID", "extension"),
            ("GASTANK_HTTP_CORS_ORIGINS", "https://app.example.org"),
        ],
    );
    let mut raw = Raw::connect(service.listener("http")).await;
    for origin in ["", "origin: https://anybody.example\r\n", "origin: https://app.example.org\r\n"] {
        raw.send(format!("GET /v1/client HTTP/1.1\r\nhost: x\r\n{origin}\r\n")).await;
        let answer = raw.response().await.unwrap();
        assert_eq!(answer.status, 200, "{answer:?}");
        assert_eq!(header(&answer, "access-control-allow-origin"), Some("*"), "{answer:?}");
        assert_eq!(header(&answer, "cache-control"), Some("public, max-age=300"), "{answer:?}");
        assert_eq!(header(&answer, "vary"), None, "caches keep one for everybody: {answer:?}");
        let told: Value = serde_json::from_slice(&answer.body).unwrap();
        let expected = json!({
            "sign_in": [{ "issuer": "http://127.0.0.1:9", "client_id": "extension" }],
            "proxy": { "type": "https", "host": "proxy.example.org", "port": 8443 },
            "bypass": ["*.example.org", "10.0.0.0/8"],
            "shop_url": "https://shop.example.org/time",
            "account_url": "https://account.example.org",
            "low_credit_s": 300,
            "interval_ms": 300,
            "timeout_ms": 3000,
        });
        assert_eq!(told, expected);
    }
}
