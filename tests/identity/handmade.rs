//! A provider made by hand, for what a real one cannot be made to do. It does as it is told and counts what it is asked.

use std::{
    collections::HashMap,
    convert::Infallible,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use bytes::Bytes;
use gastank::control::keys::{Algorithm, SigningKey};
use http_body_util::{BodyExt, Full, Limited};
use hyper::{Request, Response, body::Incoming, service::service_fn};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpListener;

pub(crate) const DISCOVERY: &str = "/.well-known/openid-configuration";
pub(crate) const KEYS: &str = "/keys";
pub(crate) const VERIFY: &str = "/v1/verify";

/// What is answered at a path.
#[derive(Clone)]
pub(crate) enum Reply {
    Json(u16, String),
    Huge,
    Late(Duration),
    Redirect(String),
}

/// A provider on a port of its own.
pub(crate) struct Handmade {
    addr: SocketAddr,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    replies: HashMap<String, Reply>,
    asked: HashMap<String, usize>,
    /// Answers about opaque tokens.
    opaque: HashMap<String, Reply>,
}

impl Handmade {
    /// A provider that publishes these keys.
    pub(crate) async fn start(keys: &[&SigningKey]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let this = Self { addr: listener.local_addr().expect("it is bound"), state: Arc::default() };
        this.reply(DISCOVERY, &json!({"issuer": this.issuer(), "jwks_uri": this.at(KEYS)}));
        this.publish(keys);
        let state = Arc::clone(&this.state);
        tokio::spawn(async move {
            loop {
                let Ok((stream, _)) = listener.accept().await else { continue };
                let state = Arc::clone(&state);
                tokio::spawn(async move {
                    let service = service_fn(move |request| answer(Arc::clone(&state), request));
                    let _ = hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service)
                        .await;
                });
            }
        });
        this
    }

    pub(crate) fn issuer(&self) -> String {
        format!("http://{}", self.addr)
    }

    pub(crate) fn at(&self, path: &str) -> String {
        format!("http://{}{path}", self.addr)
    }

    pub(crate) fn publish(&self, keys: &[&SigningKey]) {
        let keys: Vec<_> = keys.iter().map(|key| serde_json::to_value(key.public()).expect("a JWK")).collect();
        self.reply(KEYS, &json!({"keys": keys}));
    }

    pub(crate) fn reply(&self, path: &str, json: &Value) {
        self.set(path, Reply::Json(200, json.to_string()));
    }

    pub(crate) fn set(&self, path: &str, reply: Reply) {
        self.state.lock().expect("no panic under it").replies.insert(path.to_owned(), reply);
    }

    /// Answers so when asked about this opaque token.
    pub(crate) fn about(&self, token: &str, status: u16, json: &Value) {
        let reply = Reply::Json(status, json.to_string());
        self.state.lock().expect("no panic under it").opaque.insert(token.to_owned(), reply);
    }

    /// How often a path was asked for.
    pub(crate) fn asked(&self, path: &str) -> usize {
        self.state.lock().expect("no panic under it").asked.get(path).copied().unwrap_or(0)
    }

    /// How often anything was asked for.
    pub(crate) fn asked_at_all(&self) -> usize {
        self.state.lock().expect("no panic under it").asked.values().sum()
    }

    /// The claims of a good token of this provider.
    pub(crate) fn claims(&self, subject: &str) -> Value {
        json!({
            "iss": self.issuer(), "sub": subject, "aud": "gastank", "scope": "openid tank",
            "iat": now_s() - 0.337, "exp": now_s() + 300.0,
        })
    }

    /// A good token.
    pub(crate) fn token(&self, key: &SigningKey, subject: &str) -> String {
        sign(key, &header(key), &self.claims(subject))
    }
}

pub(crate) fn key(algorithm: Algorithm) -> SigningKey {
    SigningKey::generate(algorithm).expect("a key can be made").0
}

pub(crate) fn header(key: &SigningKey) -> Value {
    json!({"alg": key.algorithm().name(), "typ": "at+jwt", "kid": key.kid()})
}

pub(crate) fn sign(key: &SigningKey, header: &Value, claims: &Value) -> String {
    compact(header, claims, |message| key.sign(message).expect("it signs"))
}

pub(crate) fn compact(header: &Value, claims: &Value, sign: impl FnOnce(&[u8]) -> Vec<u8>) -> String {
    let part = |json: &Value| URL_SAFE_NO_PAD.encode(json.to_string());
    let message = format!("{}.{}", part(header), part(claims));
    let signature = URL_SAFE_NO_PAD.encode(sign(message.as_bytes()));
    format!("{message}.{signature}")
}

#[expect(clippy::disallowed_methods, reason = "the program under test runs by the real clock, and so do its tokens")]
pub(crate) fn now_s() -> f64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("it is after 1970").as_secs_f64()
}

async fn answer(state: Arc<Mutex<State>>, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let path = request.uri().path().to_owned();
    let mut reply = {
        let mut state = state.lock().expect("no panic under it");
        *state.asked.entry(path.clone()).or_default() += 1;
        state.replies.get(&path).cloned()
    };
    if path == VERIFY && reply.is_none() {
        #[expect(clippy::disallowed_methods, reason = "what is collected is limited to 64 KiB")]
        let body = Limited::new(request.into_body(), 1 << 16).collect().await.expect("a body").to_bytes();
        let asked: Value = serde_json::from_slice(&body).expect("JSON");
        reply = state.lock().expect("no panic under it").opaque.get(asked["token"].as_str().expect("a token")).cloned();
    }
    let response = Response::builder().header("content-type", "application/json");
    Ok(match reply {
        None => response.status(404).body(Full::default()),
        Some(Reply::Json(status, body)) => response.status(status).body(body.into()),
        Some(Reply::Huge) => response.body(format!("{{\"keys\":[],\"x\":\"{}\"}}", "x".repeat(1 << 20)).into()),
        Some(Reply::Late(pause)) => {
            tokio::time::sleep(pause).await;
            response.body("{\"keys\":[]}".into())
        }
        Some(Reply::Redirect(to)) => response.status(302).header("location", to).body(Full::default()),
    }
    .expect("a response"))
}
