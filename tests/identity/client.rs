//! A sibling service signs people in with the hub, which runs with the development provider.

use reqwest::{Method, Url};
use serde_json::{Value, json};

use super::{
    body,
    browser::Browser,
    client, got,
    pages::development_with,
    support::{Home, Service},
};

const REDIRECT: &str = "https://app.example/cb";
/// RFC 7636, appendix B.
const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";

/// A sibling service.
struct Sibling<'a> {
    service: &'a Service,
    client_id: String,
    secret: String,
}

/// What a sibling is given for a code.
struct Tokens {
    handle: String,
    id_token: String,
}

async fn admin(home: &Home, service: &Service, method: Method, path: &str, asked: &Value) -> Value {
    let request = client().request(method, format!("{}{path}", service.admin())).bearer_auth(home.admin_token());
    got(request.header("content-type", "application/json").body(asked.to_string()).send().await.expect("an answer"))
        .await
        .json
}

impl<'a> Sibling<'a> {
    async fn register(home: &Home, service: &'a Service) -> Self {
        let asked = json!({"name": "app", "redirect_uris": [REDIRECT]});
        let made = admin(home, service, Method::POST, "/admin/clients", &asked).await;
        let text = |name: &str| made[name].as_str().unwrap_or_else(|| panic!("{made}")).to_owned();
        Self { client_id: text("client_id"), secret: text("client_secret"), service }
    }

    /// Where somebody is sent who wants in.
    fn authorize(&self) -> String {
        let mut url = Url::parse(&format!("{}/oauth/authorize", self.service.http())).expect("a URL");
        url.query_pairs_mut().extend_pairs([
            ("response_type", "code"),
            ("client_id", &*self.client_id),
            ("redirect_uri", REDIRECT),
            ("scope", "openid profile"),
            ("state", "s"),
            ("code_challenge", CHALLENGE),
            ("code_challenge_method", "S256"),
        ]);
        url.into()
    }

    /// Signs in who is signed in at the hub.
    async fn code(&self, browser: &mut Browser) -> String {
        let back = browser.get(&self.authorize()).await.to;
        let url = Url::parse(&back).expect("a URL");
        assert!(back.starts_with(REDIRECT), "{back}");
        let code = url.query_pairs().find(|(name, _)| name == "code");
        code.unwrap_or_else(|| panic!("{back}")).1.into_owned()
    }

    async fn ask(&self, path: &str, secret: &str, form: &[(&str, &str)]) -> Value {
        let mut encoded = Url::parse("form:").expect("a URL");
        encoded.query_pairs_mut().extend_pairs(form);
        let request = client()
            .post(format!("{}{path}", self.service.http()))
            .basic_auth(&self.client_id, Some(secret))
            .header("content-type", "application/x-www-form-urlencoded")
            .body(encoded.query().unwrap_or_default().to_owned());
        serde_json::from_str(&body(request.send().await.expect("an answer")).await).unwrap_or_default()
    }

    async fn redeem(&self, code: &str) -> Tokens {
        let form = [
            ("grant_type", "authorization_code"),
            ("code", code),
            ("redirect_uri", REDIRECT),
            ("code_verifier", VERIFIER),
        ];
        let answer = self.ask("/oauth/token", &self.secret, &form).await;
        let text = |name: &str| answer[name].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned();
        Tokens { handle: text("access_token"), id_token: text("id_token") }
    }

    async fn lives(&self, handle: &str) -> bool {
        self.ask("/oauth/introspect", &self.secret, &[("token", handle)]).await["active"] == true
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_code_handle_or_secret_is_in_the_log() {
    let home = Home::new();
    let service = development_with(&home, &[("GASTANK_LOG_FILTER", "debug")]);
    let sibling = Sibling::register(&home, &service).await;
    let mut browser = Browser::new();
    browser.sign_in(&service.http(), "", "ada").await;
    let code = sibling.code(&mut browser).await;
    let Tokens { handle, id_token } = sibling.redeem(&code).await;
    assert!(sibling.lives(&handle).await);
    let userinfo = client().get(format!("{}/oauth/userinfo", service.http())).bearer_auth(&handle).send().await;
    assert_eq!(userinfo.expect("an answer").status(), 200);
    let wrong = format!("{}x", sibling.secret);
    assert_eq!(sibling.ask("/oauth/token", &wrong, &[("code", &code)]).await["error"], "invalid_client");
    let again = [("grant_type", "authorization_code"), ("code", &*code), ("redirect_uri", REDIRECT)];
    let again = [&again[..], &[("code_verifier", VERIFIER)]].concat();
    assert_eq!(sibling.ask("/oauth/token", &sibling.secret, &again).await["error"], "invalid_grant");
    assert!(!sibling.lives(&handle).await, "a code that is redeemed twice");
    let (cookie, secret) = (browser.cookies["__Host-gastank"].clone(), sibling.secret.clone());
    let leave = format!("{}/oauth/logout?id_token_hint={id_token}", service.http());
    assert!(browser.get(&leave).await.page.contains("You are signed out"));
    assert!(service.stop().success());
    let said = home.said();
    assert!(said.contains("DEBUG") || said.contains("debug"), "all of it is logged: {said}");
    for (what, secret) in [
        ("code", &*code),
        ("handle", &handle[6..]),
        ("ID token", id_token.rsplit('.').next().expect("a signature")),
        ("client secret", &secret[6..]),
        ("session", &cookie[6..]),
        ("verifier", VERIFIER),
    ] {
        assert!(!said.contains(secret), "the {what} is in the log: {said}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_deleted_by_an_operator_is_signed_out_everywhere_at_once() {
    let home = Home::new();
    let service = development_with(&home, &[]);
    let here = service.http();
    let sibling = Sibling::register(&home, &service).await;
    let mut browser = Browser::new();
    browser.sign_in(&here, "", "ada").await;
    let code = sibling.code(&mut browser).await;
    let handle = sibling.redeem(&code).await.handle;
    assert!(sibling.lives(&handle).await && browser.get(&format!("{here}/account")).await.status == 200);
    let accounts = admin(&home, &service, Method::GET, "/admin/accounts", &json!({})).await;
    let account = accounts["accounts"][0]["account"].as_str().unwrap_or_else(|| panic!("{accounts}")).to_owned();
    admin(&home, &service, Method::DELETE, &format!("/admin/accounts/{account}"), &json!({})).await;
    assert_eq!(browser.get(&format!("{here}/account")).await.status, 303, "nobody is signed in");
    assert!(!sibling.lives(&handle).await);
    assert!(browser.get(&sibling.authorize()).await.to.contains("/sign-in?"), "and gets no code");
}
