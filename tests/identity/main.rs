//! Signing in with tokens of identity providers, through the built program.
//!
//! `real`, `pages` and `siblings` ask a real OpenID provider, `oidc-provider` from npm; the other files ask a provider made by
//! hand. `siblings` are foreign services that sign people in with this one.

#[path = "../support/dying.rs"]
mod dying;
#[path = "../support/mod.rs"]
mod support;

mod bad_tokens;
mod browser;
mod client;
mod crashes;
mod events;
mod first_sight;
mod handmade;
mod logouts;
mod opaque;
mod outages;
mod pages;
mod real;
mod siblings;
mod sign_outs;

use reqwest::{Method, Response};
use serde_json::Value;

use gastank::control::keys::{Algorithm, SigningKey};
use handmade::{Handmade, key};
use support::{Home, Service};

/// A service with one provider.
struct Stage {
    provider: Handmade,
    key: SigningKey,
    home: Home,
    service: Service,
}

/// What came back.
#[derive(Debug)]
struct Got {
    status: u16,
    retry_after: Option<String>,
    challenge: Option<String>,
    language: Option<String>,
    json: Value,
}

impl Stage {
    async fn new() -> Self {
        Self::with(&[], |_| {}).await
    }

    /// With more variables, and a provider that is changed before the service starts.
    async fn with(variables: &[(&str, &str)], change: impl FnOnce(&Handmade)) -> Self {
        let key = key(Algorithm::ES256);
        let provider = Handmade::start(&[&key]).await;
        change(&provider);
        let home = Home::new();
        let issuer = provider.issuer();
        let ours = [("GASTANK_IDENTITY_ISSUER", issuer.as_str()), ("GASTANK_IDENTITY_SCOPE", "tank")];
        let service = start(&home, &[&ours, variables].concat());
        Self { provider, key, home, service }
    }

    fn token(&self, subject: &str) -> String {
        self.provider.token(&self.key, subject)
    }

    /// The account that a token opens.
    async fn see(&self, token: &str) -> Got {
        see(&self.service, token).await
    }
}

fn start(home: &Home, variables: &[(&str, &str)]) -> Service {
    tokio::task::block_in_place(|| Service::start_with(home, variables))
}

async fn see(service: &Service, token: &str) -> Got {
    ask(service, Method::GET, "/v1/account", token).await
}

async fn ask(service: &Service, method: Method, path: &str, token: &str) -> Got {
    let url = format!("{}{path}", service.http());
    got(client().request(method, url).bearer_auth(token).send().await.expect("an answer")).await
}

impl Got {
    #[track_caller]
    fn ok(self) -> Value {
        assert_eq!(self.status, 200, "{self:?}");
        self.json
    }

    /// Nobody is signed in, and it is the token's fault.
    #[track_caller]
    fn refused(&self, why: &str) {
        assert_eq!((self.status, &self.json["code"]), (401, &"bad_credentials".into()), "{why}: {self:?}");
        assert_eq!(self.challenge.as_deref(), Some("Bearer"), "{why}");
    }

    /// Nobody is signed in: a token names a key that nobody knows, and the provider may have been asked too lately to say
    /// whether it is a new one.
    #[track_caller]
    fn unknown_key(&self, why: &str) {
        if self.status == 503 { self.unavailable(why) } else { self.refused(why) }
    }

    /// Nobody is signed in, and it is not the token's fault.
    #[track_caller]
    fn unavailable(&self, why: &str) {
        assert_eq!((self.status, &self.json["code"]), (503, &"provider_unavailable".into()), "{why}: {self:?}");
        assert_eq!((self.retry_after.as_deref(), &self.challenge), (Some("5"), &None), "{why}");
    }
}

fn client() -> reqwest::Client {
    reqwest::Client::builder().no_proxy().tls_certs_only([]).build().expect("a client")
}

async fn got(response: Response) -> Got {
    let header = |name: &str| response.headers().get(name).map(|value| value.to_str().expect("text").to_owned());
    let (status, retry_after, challenge) =
        (response.status().as_u16(), header("retry-after"), header("www-authenticate"));
    let language = header("content-language");
    Got {
        status,
        retry_after,
        challenge,
        language,
        json: serde_json::from_str(&body(response).await).unwrap_or_default(),
    }
}

async fn body(mut response: Response) -> String {
    let mut text = Vec::new();
    while let Some(chunk) = response.chunk().await.expect("a body") {
        text.extend_from_slice(&chunk);
        assert!(text.len() < 1 << 22, "far too long");
    }
    String::from_utf8(text).expect("it is UTF-8")
}

/// The figure of a series, as `/metrics` shows it.
async fn figure(service: &Service, series: &str) -> f64 {
    let page = body(client().get(format!("{}/metrics", service.admin())).send().await.expect("an answer")).await;
    let line = page.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {series}")).parse().expect("a number")
}

/// The accounts there are.
async fn accounts(home: &Home, service: &Service) -> usize {
    let request = client().get(format!("{}/admin/accounts", service.admin())).bearer_auth(home.admin_token());
    got(request.send().await.expect("an answer")).await.ok()["accounts"].as_array().map_or(0, Vec::len)
}
