//! The calls of the HTTP interface: how they are asked, and what their answers hold.

use std::{fs, io, net::SocketAddr, path::Path, sync::Arc};

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use gastank::{
    engine::parse_session,
    wire::{FRAME_LEN, SessionId, SessionKey},
};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::json;

use crate::{
    session::{AccountKey, parse_key},
    transport::{Call, FRAME_TYPE, HttpReply, Method},
};

/// Makes the calls, and knows what authorises those of operators.
#[derive(Clone)]
pub struct Api {
    admin: Arc<str>,
}

/// Why a call came to nothing.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// The admin token cannot be read.
    #[error("cannot read the admin token: {0}")]
    Token(io::Error),
    /// The service did not answer.
    #[error("{call}: no answer from {server}: {why}")]
    Unreachable {
        /// What was called.
        call: String,
        /// Where.
        server: SocketAddr,
        /// Why not.
        why: String,
    },
    /// The service refused.
    #[error("{call}: the service answered {status} {code}")]
    Refused {
        /// What was called.
        call: String,
        /// The HTTP status.
        status: u16,
        /// The problem's `code`, if it has one.
        code: String,
    },
    /// The answer is not what the interface promises.
    #[error("{0}: the answer is not what the interface promises")]
    Answer(&'static str),
}

impl ApiError {
    /// Whether asking again for the same is of no use: the account or the session is not there any more.
    pub const fn is_refusal(&self) -> bool {
        matches!(self, Self::Refused { status, .. } if *status < 500 && *status != 429)
    }

    /// What a status other than 2xx says.
    pub fn refused(call: &Call, reply: &HttpReply) -> Self {
        let problem: Option<serde_json::Value> = serde_json::from_slice(&reply.body).ok();
        let code = problem.and_then(|problem| Some(problem.get("code")?.as_str()?.to_owned())).unwrap_or_default();
        Self::Refused { call: name(call), status: reply.status, code }
    }
}

/// What a call is called in messages: its path may hold an account's id, and says no more than that.
pub fn name(call: &Call) -> String {
    format!("{} {}", call.method.name(), call.path)
}

/// An account that has just been made.
#[derive(Deserialize)]
pub struct NewAccount {
    /// Its id.
    pub account: Box<str>,
    /// Its key.
    pub key: AccountKey,
}

/// A session that has just been opened.
pub struct Activation {
    /// The session.
    pub id: SessionId,
    /// What signs its frames.
    pub key: SessionKey,
    /// Its token.
    pub token: Box<str>,
    /// Meter time, in ms.
    pub meter_ms: u64,
    /// How it is to beat.
    pub heartbeat: HeartbeatTerms,
    /// Whether another session ended for it.
    pub superseded: bool,
}

/// How a session is to beat.
#[derive(Clone, Debug, Deserialize)]
pub struct HeartbeatTerms {
    /// How far apart, in ms.
    pub interval_ms: u64,
    /// After what silence the session is over, in ms.
    pub timeout_ms: u64,
    /// Where datagrams go, if anywhere.
    pub udp: Option<String>,
    /// Where QUIC connections go, if anywhere.
    pub quic: Option<String>,
    /// Where WebTransport sessions are opened, if anywhere.
    pub webtransport: Option<String>,
    /// SHA-256 of the certificates that may be trusted without an authority.
    #[serde(default)]
    pub cert_hashes: Vec<String>,
}

#[derive(Deserialize)]
struct ActivationAnswer {
    token: Box<str>,
    session_id: String,
    heartbeat_key: String,
    meter_ms: u64,
    heartbeat: HeartbeatTerms,
    #[serde(default)]
    superseded: bool,
}

/// A fresh token.
#[derive(Deserialize)]
pub struct Renewal {
    /// The token.
    pub token: Box<str>,
    /// How long it lives, in seconds.
    pub expires_in_s: u64,
    /// What is left to burn, in seconds.
    pub remaining_s: u64,
}

/// What an edge authenticates with.
#[derive(Deserialize)]
pub struct EdgeCredentials {
    /// Its name.
    pub client_id: String,
    client_secret: String,
}

impl EdgeCredentials {
    /// The `Authorization` header (RFC 6749, 2.3.1). Never shown.
    pub fn basic(&self) -> Arc<str> {
        format!("Basic {}", STANDARD.encode(format!("{}:{}", self.client_id, self.client_secret))).into()
    }
}

/// The status lists there are.
#[derive(Deserialize)]
pub struct StatusLists {
    /// Their addresses.
    pub status_lists: Vec<String>,
}

impl Api {
    /// With the admin token of this file.
    ///
    /// # Errors
    ///
    /// [`ApiError::Token`].
    pub fn new(token_file: &Path) -> Result<Self, ApiError> {
        let token = fs::read_to_string(token_file).map_err(ApiError::Token)?;
        Ok(Self { admin: format!("Bearer {}", token.trim()).into() })
    }

    /// Makes an account with this much credit and a key: answered with a [`NewAccount`].
    pub fn create_account(&self, credit_s: u32) -> Call {
        let body = json!({ "credit_s": credit_s, "key": true });
        self.by_operator(Method::Post, "/admin/accounts".into(), Some(&body))
    }

    /// Deletes an account.
    pub fn delete_account(&self, account: &str) -> Call {
        self.by_operator(Method::Delete, format!("/admin/accounts/{account}").into(), None)
    }

    /// Registers an edge: answered with [`EdgeCredentials`].
    pub fn add_edge(&self, audience: &str) -> Call {
        let body = json!({ "name": "loadtest", "audience": audience });
        self.by_operator(Method::Post, "/admin/edges".into(), Some(&body))
    }

    /// Takes an edge away.
    pub fn remove_edge(&self, client_id: &str) -> Call {
        self.by_operator(Method::Delete, format!("/admin/edges/{client_id}").into(), None)
    }

    fn by_operator(&self, method: Method, path: Arc<str>, body: Option<&serde_json::Value>) -> Call {
        Call {
            method,
            path,
            authorization: Some(Arc::clone(&self.admin)),
            content_type: body.map(|_| JSON),
            body: body.map(|body| body.to_string().into_bytes()).unwrap_or_default(),
        }
    }
}

const JSON: &str = "application/json";
const ACTIVATE: &str = "/v1/activate";

/// Opens a session of an account: answered with what [`activation`] reads.
pub fn activate(key: &AccountKey) -> Call {
    Call {
        method: Method::Post,
        path: ACTIVATE.into(),
        authorization: Some(format!("Bearer {}", key.expose()).into()),
        content_type: Some(JSON),
        body: b"{}".to_vec(),
    }
}

/// The session that an activation has opened.
///
/// # Errors
///
/// [`ApiError::Answer`].
pub fn activation(body: &[u8]) -> Result<Activation, ApiError> {
    const CALL: &str = "POST /v1/activate";
    let answer: ActivationAnswer = parse(CALL, body)?;
    Ok(Activation {
        id: parse_session(&answer.session_id).ok_or(ApiError::Answer(CALL))?,
        key: parse_key(&answer.heartbeat_key).ok_or(ApiError::Answer(CALL))?,
        token: answer.token,
        meter_ms: answer.meter_ms,
        heartbeat: answer.heartbeat,
        superseded: answer.superseded,
    })
}

/// Asks for a fresh token with the one there is and a frame of kind 3: answered with a [`Renewal`].
pub fn renew(token: &str, frame: &[u8; FRAME_LEN]) -> Call {
    Call {
        method: Method::Post,
        path: "/v1/renew".into(),
        authorization: Some(format!("Bearer {token}").into()),
        content_type: Some(FRAME_TYPE),
        body: frame.to_vec(),
    }
}

/// Asks, as an edge, whether a token is good. Tokens need no escaping in a form.
pub fn introspect(edge: &Arc<str>, token: &str) -> Call {
    Call {
        method: Method::Post,
        path: "/oauth/introspect".into(),
        authorization: Some(Arc::clone(edge)),
        content_type: Some("application/x-www-form-urlencoded"),
        body: format!("token={token}").into_bytes(),
    }
}

/// Fetches something that is open to everybody.
pub fn get(path: Arc<str>) -> Call {
    Call { method: Method::Get, path, authorization: None, content_type: None, body: Vec::new() }
}

/// Reads an answer's JSON.
///
/// # Errors
///
/// [`ApiError::Answer`].
pub fn parse<T: DeserializeOwned>(call: &'static str, body: &[u8]) -> Result<T, ApiError> {
    serde_json::from_slice(body).map_err(|_| ApiError::Answer(call))
}

/// The claims of a token. Its signature is not looked at: the service's own verdict is what is tested.
pub fn claims(token: &str) -> Option<serde_json::Value> {
    part(token, 1)
}

/// A part of a JWT, as JSON.
pub fn part(token: &str, number: usize) -> Option<serde_json::Value> {
    let text = token.split('.').nth(number)?;
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(text).ok()?).ok()
}
