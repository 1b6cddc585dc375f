use axum::{body::Body, http::Request as HttpRequest};
use http_body_util::{BodyExt, Limited};
use hyper::header::{CONTENT_TYPE, LOCATION};
use serde_json::Value;
use tower::ServiceExt;

use super::*;
use crate::{
    entropy::SeededEntropy,
    time::{FakeClock, MeterTime},
};

const HERE: &str = "http://127.0.0.1:7080";
const VERIFIER: &str = "a verifier of the tests that is long enough for PKCE";

fn provider() -> (Arc<Development>, Arc<FakeClock>) {
    let clock = Arc::new(FakeClock::new(MeterTime::from_ms(0), UnixMs::from_ms(1_700_000_000_000)));
    let entropy = Arc::new(SeededEntropy::new(1));
    let provider = Development::new(HERE.to_owned(), Arc::<FakeClock>::clone(&clock), entropy).unwrap();
    (Arc::new(provider), clock)
}

/// What the service asks for, with a change.
fn query(name: &str, value: &str) -> String {
    let challenge = URL_SAFE_NO_PAD.encode(Sha256::digest(VERIFIER));
    let redirect_uri = format!("{HERE}/sign-in/callback");
    let all = [
        ("response_type", "code"),
        ("client_id", "gastank"),
        ("redirect_uri", &redirect_uri),
        ("scope", "openid profile"),
        ("state", "a state"),
        ("nonce", "a nonce"),
        ("code_challenge", &challenge),
        ("code_challenge_method", "S256"),
    ];
    let mut query = form_urlencoded::Serializer::new(String::new());
    query.extend_pairs(all.into_iter().filter(|(known, _)| *known != name));
    if !value.is_empty() {
        query.append_pair(name, value);
    }
    query.finish()
}

async fn ask(provider: &Arc<Development>, request: HttpRequest<Body>) -> (StatusCode, String, String) {
    let response = router(Arc::clone(provider)).oneshot(request).await.unwrap();
    let location = response.headers().get(LOCATION).map(|to| to.to_str().unwrap().to_owned()).unwrap_or_default();
    let (parts, body) = response.into_parts();
    #[expect(clippy::disallowed_methods, reason = "it is limited")]
    let body = Limited::new(body, 1 << 20).collect().await.unwrap().to_bytes();
    (parts.status, location, String::from_utf8(body.to_vec()).unwrap())
}

fn get(path: &str) -> HttpRequest<Body> {
    HttpRequest::builder().uri(path).header("host", "127.0.0.1:7080").body(Body::empty()).unwrap()
}

fn post(path: &str, form: &[(&str, &str)]) -> HttpRequest<Body> {
    let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish();
    HttpRequest::builder()
        .method("POST")
        .uri(path)
        .header("host", "127.0.0.1:7080")
        .header("sec-fetch-site", "same-origin")
        .header(CONTENT_TYPE, FORM)
        .body(Body::from(body))
        .unwrap()
}

/// Where a page goes on to by itself.
fn onward(page: &str) -> String {
    let (_, rest) = page.split_once("http-equiv=\"refresh\" content=\"0;url=").expect(page);
    let href = rest.split('"').next().unwrap().replace("&#38;", "&");
    assert_eq!(page.matches(&href.replace('&', "&#38;")).count(), 2, "and a link for who has to click: {page}");
    href
}

/// The code of somebody who has typed `name`.
async fn code(provider: &Arc<Development>, name: &str) -> String {
    let form = [("request", query("", "")), ("name", name.to_owned())].map(|(name, value)| (name, value));
    let form: Vec<_> = form.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let (status, location, page) = ask(provider, post("/development/authorize", &form)).await;
    // No redirect: a browser would hold the whole way to the client against the policy of the form's page.
    assert_eq!((status, location.as_str()), (StatusCode::OK, ""));
    let location = onward(&page);
    let url = reqwest::Url::parse(&location).unwrap();
    assert!(location.starts_with(&format!("{HERE}/sign-in/callback?")), "{location}");
    let find = |wanted: &str| url.query_pairs().find(|(name, _)| name == wanted).map(|(_, value)| value.into_owned());
    assert_eq!((find("state").as_deref(), find("iss")), (Some("a state"), Some(provider.issuer())));
    find("code").unwrap()
}

async fn redeem(provider: &Arc<Development>, code: &str, name: &str, value: &str) -> (StatusCode, Value) {
    let redirect_uri = format!("{HERE}/sign-in/callback");
    let mut form = vec![
        ("grant_type", "authorization_code"),
        ("code", code),
        ("client_id", "gastank"),
        ("redirect_uri", &redirect_uri),
        ("code_verifier", VERIFIER),
    ];
    form.retain(|(known, _)| *known != name);
    form.push((name, value));
    let (status, _, body) = ask(provider, post("/development/token", &form)).await;
    (status, serde_json::from_str(&body).unwrap())
}

#[tokio::test]
async fn whoever_types_a_name_is_that_person() {
    let (provider, clock) = provider();
    let (status, _, page) =
        ask(&provider, get(&format!("/development/authorize?{}&login_hint=%3Cada%3E", query("", "")))).await;
    assert_eq!(status, StatusCode::OK);
    assert!(page.contains("anybody may sign in here as anybody") && page.contains("value=\"&#60;ada&#62;\""), "{page}");
    let code = code(&provider, " Ada ").await;
    let (status, tokens) = redeem(&provider, &code, "", "").await;
    assert_eq!(status, StatusCode::OK);
    let parts: Vec<_> = tokens["id_token"].as_str().unwrap().split('.').collect();
    let claims: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(parts[1]).unwrap()).unwrap();
    let now = clock.wall().as_secs();
    let expected = json!({
        "iss": provider.issuer(), "sub": "ada", "aud": "gastank", "nonce": "a nonce", "amr": ["none"],
        "iat": now, "auth_time": now, "exp": now + 300,
    });
    assert_eq!(claims, expected);
    assert!(provider.key.verifies(format!("{}.{}", parts[0], parts[1]).as_bytes(), parts[2]));
    let bearer = format!("Bearer {}", tokens["access_token"].as_str().unwrap());
    let userinfo = || HttpRequest::builder().uri("/development/userinfo").header("authorization", &bearer);
    let (_, _, told) = ask(&provider, userinfo().body(Body::empty()).unwrap()).await;
    assert_eq!(serde_json::from_str::<Value>(&told).unwrap(), json!({"sub": "ada", "name": "Ada"}));
    let (status, _, _) = ask(&provider, userinfo().body(Body::empty()).unwrap()).await;
    assert_eq!(status, StatusCode::UNAUTHORIZED, "once");
}

#[tokio::test]
async fn a_code_is_redeemed_once_with_its_verifier_at_its_redirect_uri_and_in_a_minute() {
    let (provider, clock) = provider();
    for (name, value) in [
        ("code_verifier", "another"),
        ("code_verifier", ""),
        ("redirect_uri", "http://127.0.0.1:7080/sign-in/callback/"),
        ("client_id", "other"),
    ] {
        let code = code(&provider, "ada").await;
        let (status, refusal) = redeem(&provider, &code, name, value).await;
        assert_eq!((status, &refusal["error"]), (StatusCode::BAD_REQUEST, &json!("invalid_grant")), "{name}");
        assert_eq!(redeem(&provider, &code, "", "").await.0, StatusCode::BAD_REQUEST, "a wrong try uses it up");
    }
    let once = code(&provider, "ada").await;
    assert_eq!(redeem(&provider, &once, "", "").await.0, StatusCode::OK);
    assert_eq!(redeem(&provider, &once, "", "").await.0, StatusCode::BAD_REQUEST);
    let late = code(&provider, "ada").await;
    clock.advance(Millis::from_secs(60));
    assert_eq!(redeem(&provider, &late, "", "").await.0, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn nobody_is_sent_on_to_another_address_and_only_this_machine_is_answered() {
    let (provider, _) = provider();
    for (name, value) in [
        ("redirect_uri", "https://evil.example/"),
        ("redirect_uri", "http://127.0.0.1:7080/sign-in/callback?x"),
        ("client_id", "other"),
        ("response_type", "token"),
        ("code_challenge_method", "plain"),
        ("code_challenge", ""),
        ("scope", "profile"),
        ("state", ""),
    ] {
        let (status, location, _) =
            ask(&provider, get(&format!("/development/authorize?{}", query(name, value)))).await;
        assert_eq!((status, location.as_str()), (StatusCode::BAD_REQUEST, ""), "{name} {value}");
    }
    let path = format!("/development/authorize?{}", query("", ""));
    for (name, value) in [
        ("host", "rebound.example:7080"),
        ("host", "127.0.0.1.evil.example"),
        ("x-forwarded-for", "192.0.2.1"),
        ("forwarded", "for=192.0.2.1"),
        ("via", "1.1 proxy"),
    ] {
        let mut request = get(&path);
        request.headers_mut().insert(name, value.parse().unwrap());
        assert_eq!(ask(&provider, request).await.0, StatusCode::BAD_REQUEST, "{name}");
    }
    for host in ["localhost:7080", "[::1]:7080", "[::1]", "127.0.0.2"] {
        let mut request = get(&path);
        request.headers_mut().insert("host", host.parse().unwrap());
        assert_eq!(ask(&provider, request).await.0, StatusCode::OK, "{host}");
    }
    let mut forged = post("/development/authorize", &[("request", &query("", "")), ("name", "ada")]);
    forged.headers_mut().insert("sec-fetch-site", "cross-site".parse().unwrap());
    assert_eq!(ask(&provider, forged).await.0, StatusCode::FORBIDDEN);
    let (_, location, _) = ask(&provider, get(&format!("{path}&prompt=none"))).await;
    assert!(location.contains("error=login_required"), "{location}");
}
