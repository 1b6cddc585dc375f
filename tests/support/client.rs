//! A client of the running service: acts over HTTP, heartbeats over UDP and HTTP.

#![expect(dead_code, reason = "each test file uses the part of it that it needs")]
#![expect(clippy::disallowed_methods, reason = "bodies come from the program under test, whose clock is the real one")]

use std::time::{Duration, Instant};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use gastank::{
    time::MeterTime,
    wire::{Ack, BodyMac, Heartbeat, HeartbeatKind, SessionId, SessionKey, StateBits},
};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::net::UdpSocket;

use crate::support::{Home, Service};

const PATIENCE: Duration = Duration::from_secs(10);
/// How long to wait for a datagram.
const DATAGRAM: Duration = Duration::from_millis(700);

/// What was answered.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: reqwest::header::HeaderMap,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|_| panic!("no JSON: {} {:?}", self.status, String::from_utf8_lossy(&self.body)))
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.body.clone()).expect("it is UTF-8")
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().expect("it is ASCII"))
    }

    /// It must be a problem document with this status and code.
    #[track_caller]
    pub(crate) fn must_be_problem(&self, status: u16, code: &str) {
        assert_eq!(self.status, status, "{}", String::from_utf8_lossy(&self.body));
        let problem = self.json();
        // OAuth has a form of its own (RFC 6749, 5.2).
        let form = if problem.get("error").is_some() { "application/json" } else { "application/problem+json" };
        assert_eq!(self.header("content-type"), form);
        assert_eq!(problem["code"], code, "{problem}");
        assert_eq!(problem["status"], status, "{problem}");
        assert!(problem["type"].is_string() && problem["title"].is_string() && problem["detail"].is_string());
        if status == 503 {
            assert!(self.header("retry-after").parse::<u32>().is_ok_and(|wait| wait > 0), "{:?}", self.headers);
        }
    }

    #[track_caller]
    pub(crate) fn must_be(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{}", String::from_utf8_lossy(&self.body));
        self
    }
}

/// An account and its key.
#[derive(Clone, Debug)]
pub(crate) struct Owner {
    pub(crate) account: String,
    pub(crate) key: String,
}

/// An edge and its secret.
#[derive(Clone, Debug)]
pub(crate) struct EdgeSecret {
    pub(crate) client_id: String,
    pub(crate) secret: String,
}

/// Calls the service.
#[derive(Clone)]
pub(crate) struct Api {
    client: reqwest::Client,
    pub(crate) public: String,
    pub(crate) admin: String,
    pub(crate) udp: String,
    pub(crate) admin_token: String,
}

impl Api {
    pub(crate) fn new(service: &Service, home: &Home) -> Self {
        let client = reqwest::Client::builder().no_proxy().timeout(PATIENCE).build().expect("a client can be made");
        Self {
            client,
            public: service.http(),
            admin: service.admin(),
            udp: service.listener("udp").to_owned(),
            admin_token: home.admin_token(),
        }
    }

    /// One request. An error is an outcome that is not known.
    pub(crate) async fn send(
        &self,
        method: Method,
        url: String,
        headers: &[(&str, &str)],
        body: Vec<u8>,
    ) -> reqwest::Result<Answer> {
        let mut request = self.client.request(method, url).body(body);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let answer = request.send().await?;
        let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
        Ok(Answer { status, headers, body: answer.bytes().await?.to_vec() })
    }

    /// A call with a JSON body to the public listener, with a bearer.
    pub(crate) async fn public(
        &self,
        method: Method,
        path: &str,
        bearer: &str,
        body: &Value,
    ) -> reqwest::Result<Answer> {
        let bearer = format!("Bearer {bearer}");
        let headers = [("authorization", &*bearer), ("content-type", "application/json")];
        let body = if body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
        self.send(method, format!("{}{path}", self.public), &headers, body).await
    }

    /// A call to the admin listener.
    pub(crate) async fn admin(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: &Value,
    ) -> reqwest::Result<Answer> {
        let bearer = format!("Bearer {}", self.admin_token);
        let mut all = vec![("authorization", &*bearer), ("content-type", "application/json")];
        all.extend_from_slice(headers);
        let body = if body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
        self.send(method, format!("{}{path}", self.admin), &all, body).await
    }

    /// Makes an account with credit and a key.
    pub(crate) async fn owner(&self, credit_s: u64) -> Owner {
        let body = json!({"credit_s": credit_s, "key": true});
        let answer = self.admin(Method::POST, "/admin/accounts", &[], &body).await.unwrap().must_be(201).json();
        Owner { account: text(&answer["account"]), key: text(&answer["key"]) }
    }

    /// Registers an edge.
    pub(crate) async fn edge(&self) -> EdgeSecret {
        let body = json!({"name": "test", "audience": "edge"});
        let answer = self.admin(Method::POST, "/admin/edges", &[], &body).await.unwrap().must_be(201).json();
        EdgeSecret { client_id: text(&answer["client_id"]), secret: text(&answer["client_secret"]) }
    }

    pub(crate) async fn activate(&self, owner: &Owner) -> reqwest::Result<Answer> {
        self.public(Method::POST, "/v1/activate", &owner.key, &json!({})).await
    }

    /// Activates; must succeed.
    pub(crate) async fn open(&self, owner: &Owner) -> Session {
        Session::of(&self.activate(owner).await.unwrap().must_be(200).json())
    }

    pub(crate) async fn renew(&self, session: &Session, frame: [u8; 48]) -> reqwest::Result<Answer> {
        let bearer = format!("Bearer {}", session.token);
        let headers = [("authorization", &*bearer), ("content-type", "application/octet-stream")];
        self.send(Method::POST, format!("{}/v1/renew", self.public), &headers, frame.to_vec()).await
    }

    pub(crate) async fn credit(&self, account: &str, key: &str, seconds: i64) -> reqwest::Result<Answer> {
        let path = format!("/admin/accounts/{account}/credit");
        self.admin(Method::POST, &path, &[("idempotency-key", key)], &json!({"seconds": seconds})).await
    }

    pub(crate) async fn revoke(&self, session: &str) -> reqwest::Result<Answer> {
        self.admin(Method::POST, &format!("/admin/sessions/{session}/revoke"), &[], &Value::Null).await
    }

    pub(crate) async fn introspect(&self, edge: &EdgeSecret, token: &str) -> reqwest::Result<Answer> {
        let form = form_urlencoded::Serializer::new(String::new())
            .append_pair("token", token)
            .append_pair("client_id", &edge.client_id)
            .append_pair("client_secret", &edge.secret)
            .finish();
        let headers = [("content-type", "application/x-www-form-urlencoded")];
        self.send(Method::POST, format!("{}/oauth/introspect", self.public), &headers, form.into_bytes()).await
    }

    /// Whether the edge would let the token pass; the service must answer.
    pub(crate) async fn is_active(&self, edge: &EdgeSecret, token: &str) -> bool {
        self.introspect(edge, token).await.unwrap().must_be(200).json()["active"].as_bool().expect("`active` is a bool")
    }

    /// A heartbeat over HTTP.
    pub(crate) async fn post_frame(&self, frame: &[u8]) -> reqwest::Result<Answer> {
        let headers = [("content-type", "application/octet-stream")];
        self.send(Method::POST, format!("{}/v1/heartbeat", self.public), &headers, frame.to_vec()).await
    }

    /// The account, as the administration shows it.
    pub(crate) async fn account(&self, account: &str) -> Value {
        let path = format!("/admin/accounts/{account}");
        self.admin(Method::GET, &path, &[], &Value::Null).await.unwrap().must_be(200).json()
    }

    /// The whole ledger of an account, page by page.
    pub(crate) async fn ledger(&self, account: &str) -> Vec<Value> {
        let (mut all, mut after) = (Vec::new(), 0);
        loop {
            let path = format!("/admin/accounts/{account}/entries?after={after}&limit=7");
            let page = self.admin(Method::GET, &path, &[], &Value::Null).await.unwrap().must_be(200).json();
            all.extend(page["entries"].as_array().expect("there are entries").iter().cloned());
            match page["next"].as_u64() {
                Some(next) => after = next,
                None => return all,
            }
        }
    }

    /// The sum of all series of a metric whose labels contain `labels`.
    pub(crate) async fn metric(&self, name: &str, labels: &str) -> f64 {
        let page = self.send(Method::GET, format!("{}/metrics", self.admin), &[], Vec::new()).await.unwrap();
        let page = page.must_be(200).text();
        let mine = |line: &&str| line.starts_with(name) && matches!(line.as_bytes()[name.len()], b'{' | b' ');
        page.lines()
            .filter(mine)
            .filter(|line| line.contains(labels))
            .map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap())
            .sum()
    }

    pub(crate) async fn ready(&self) -> Answer {
        self.send(Method::GET, format!("{}/health/ready", self.admin), &[], Vec::new()).await.unwrap()
    }

    /// A socket whose peer is the service's UDP listener.
    pub(crate) async fn socket(&self) -> UdpSocket {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        socket.connect(&self.udp).await.unwrap();
        socket
    }
}

/// A session, as its client knows it.
#[derive(Clone)]
pub(crate) struct Session {
    pub(crate) id: SessionId,
    pub(crate) id_text: String,
    pub(crate) token: String,
    pub(crate) key: [u8; 32],
    pub(crate) started: u64,
    pub(crate) mac: BodyMac,
    seq: u32,
    meter: (u64, Instant),
}

impl Session {
    /// The session that an activation opened.
    pub(crate) fn of(answer: &Value) -> Self {
        let bytes = |name: &str| URL_SAFE_NO_PAD.decode(text(&answer[name])).expect("it is base64url");
        let id: [u8; 16] = bytes("session_id").try_into().expect("an id is 16 bytes");
        let key: [u8; 32] = bytes("heartbeat_key").try_into().expect("a key is 32 bytes");
        let started = answer["meter_ms"].as_u64().expect("meter time is an integer");
        Self {
            id: SessionId::from_bytes(id),
            id_text: text(&answer["session_id"]),
            token: text(&answer["token"]),
            key,
            started,
            mac: SessionKey::from_bytes(key).body_mac(),
            seq: 0,
            meter: (started, Instant::now()),
        }
    }

    /// A signed frame with the client's estimate of meter time.
    pub(crate) fn frame(&mut self, kind: HeartbeatKind) -> [u8; 48] {
        self.frame_at(kind, self.estimate())
    }

    /// The client's estimate of meter time.
    pub(crate) fn estimate(&self) -> u64 {
        let (meter, at) = self.meter;
        meter + u64::try_from(at.elapsed().as_millis()).expect("tests are short")
    }

    /// A signed frame with this clock.
    pub(crate) fn frame_at(&mut self, kind: HeartbeatKind, clock: u64) -> [u8; 48] {
        self.seq += 1;
        let state = StateBits::default();
        Heartbeat { kind, state, seq: self.seq, session: self.id, clock: MeterTime::from_ms(clock) }.sign(&self.mac)
    }

    /// The ack in these bytes, which must be genuine and answer the latest frame.
    #[track_caller]
    pub(crate) fn ack(&mut self, bytes: &[u8]) -> Ack {
        let ack = Ack::verify(bytes, &self.mac).expect("an ack verifies");
        assert_eq!(ack.seq, self.seq, "the ack is of another frame");
        self.meter = (ack.now.as_ms(), Instant::now());
        ack
    }

    /// Sends a frame over UDP. `None` if no ack comes in time.
    pub(crate) async fn datagram(&mut self, socket: &UdpSocket, kind: HeartbeatKind) -> Option<Ack> {
        let frame = self.frame(kind);
        socket.send(&frame).await.ok()?;
        let until = tokio::time::Instant::now() + DATAGRAM;
        let mut buffer = [0; 64];
        while let Ok(Ok(length)) = tokio::time::timeout_at(until, socket.recv(&mut buffer)).await {
            match Ack::verify(&buffer[..length], &self.mac) {
                Ok(ack) if ack.seq == self.seq => return Some(self.ack(&buffer[..length])),
                // A late one, of an earlier frame or of an earlier session.
                Ok(_) | Err(_) => {}
            }
        }
        None
    }

    /// Sends a frame over HTTP. `None` if it is not known what came of it.
    pub(crate) async fn posted(&mut self, api: &Api, kind: HeartbeatKind) -> Option<Ack> {
        let frame = self.frame(kind);
        let answer = api.post_frame(&frame).await.ok()?;
        if answer.status == 503 {
            return None;
        }
        Some(self.ack(&answer.must_be(200).body))
    }
}

/// A JSON string.
#[track_caller]
pub(crate) fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("not a string: {value}")).to_owned()
}
