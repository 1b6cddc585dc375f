//! The calls of the HTTP interface that open sessions and clear them away.

use std::{fs, io, path::Path, time::Duration};

use gastank::wire::{FRAME_LEN, SessionId, SessionKey};
use reqwest::{
    Client, Method, RequestBuilder, Response, StatusCode, Url,
    header::{CONTENT_TYPE, RETRY_AFTER},
};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::json;

use crate::session::{AccountKey, parse_key};

/// The service's public and admin listeners.
pub struct Api {
    client: Client,
    public: Url,
    admin: Url,
    token: String,
}

/// Why a call came to nothing.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// The admin token cannot be read.
    #[error("cannot read the admin token: {0}")]
    Token(io::Error),
    /// The service did not answer.
    #[error("{call}: {}", root(.source))]
    Unreachable {
        /// What was called.
        call: &'static str,
        /// Why not.
        source: reqwest::Error,
    },
    /// The service refused.
    #[error("{call}: the service answered {status} {code}")]
    Refused {
        /// What was called.
        call: &'static str,
        /// The HTTP status.
        status: StatusCode,
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
        matches!(self, Self::Refused { status, .. } if status.as_u16() < 500 && status.as_u16() != 429)
    }
}

/// An account that has just been made.
#[derive(Deserialize)]
pub struct NewAccount {
    /// Its id.
    pub account: String,
    /// Its key.
    pub key: AccountKey,
}

/// A session that has just been opened.
pub struct Activation {
    /// The session.
    pub id: SessionId,
    /// What signs its frames.
    pub key: SessionKey,
    /// Meter time, in ms.
    pub meter_ms: u64,
    /// How it is to beat.
    pub heartbeat: HeartbeatTerms,
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
}

#[derive(Deserialize)]
struct ActivationAnswer {
    session_id: String,
    heartbeat_key: String,
    meter_ms: u64,
    heartbeat: HeartbeatTerms,
}

/// How often a call is tried while the service asks for patience.
const TRIES: u32 = 30;
/// How long to wait at least when the service asks for patience.
const LEAST_WAIT: Duration = Duration::from_millis(100);
/// How long a service may ask us to wait.
const LONGEST_WAIT: Duration = Duration::from_secs(60);
/// How much of an answer is read.
const MAX_BODY: usize = 64 << 10;

impl Api {
    /// The service at these addresses, with the admin token of this file.
    ///
    /// # Errors
    ///
    /// [`ApiError::Token`], and [`ApiError::Unreachable`] when no client can be made.
    pub fn new(public: Url, admin: Url, token_file: &Path, connections: u16) -> Result<Self, ApiError> {
        let token = fs::read_to_string(token_file).map_err(ApiError::Token)?.trim().to_owned();
        let client = Client::builder()
            .no_proxy()
            .http1_only()
            .pool_max_idle_per_host(usize::from(connections))
            .timeout(Duration::from_secs(30))
            .build()
            .map_err(|source| ApiError::Unreachable { call: "setting up", source })?;
        Ok(Self { client, public, admin, token })
    }

    /// Makes an account with this much credit and a key.
    ///
    /// # Errors
    ///
    /// Any [`ApiError`] but of the token.
    pub async fn create_account(&self, credit_s: u32) -> Result<NewAccount, ApiError> {
        let body = json!({ "credit_s": credit_s, "key": true });
        let make = || self.admin_call(Method::POST, &["admin", "accounts"]).json(&body);
        self.answer("POST /admin/accounts", make).await
    }

    /// Deletes an account; one that is gone already is fine.
    ///
    /// # Errors
    ///
    /// Any [`ApiError`] but of the token.
    pub async fn delete_account(&self, account: &str) -> Result<(), ApiError> {
        let make = || self.admin_call(Method::DELETE, &["admin", "accounts", account]);
        match self.call("DELETE /admin/accounts/{id}", make).await {
            Err(ApiError::Refused { status: StatusCode::NOT_FOUND | StatusCode::GONE, .. }) => Ok(()),
            other => other.map(|_| ()),
        }
    }

    /// Opens a session of an account.
    ///
    /// # Errors
    ///
    /// Any [`ApiError`] but of the token.
    pub async fn activate(&self, key: &AccountKey) -> Result<Activation, ApiError> {
        const CALL: &str = "POST /v1/activate";
        let url = joined(&self.public, &["v1", "activate"]);
        let make = || self.client.post(url.clone()).bearer_auth(key.expose()).json(&json!({}));
        let answer: ActivationAnswer = self.answer(CALL, make).await?;
        Ok(Activation {
            id: gastank::engine::parse_session(&answer.session_id).ok_or(ApiError::Answer(CALL))?,
            key: parse_key(&answer.heartbeat_key).ok_or(ApiError::Answer(CALL))?,
            meter_ms: answer.meter_ms,
            heartbeat: answer.heartbeat,
        })
    }

    /// Exchanges one frame; the ack is still to be verified.
    ///
    /// # Errors
    ///
    /// Any [`ApiError`] but of the token.
    pub async fn beat(&self, frame: [u8; FRAME_LEN]) -> Result<Vec<u8>, ApiError> {
        let url = joined(&self.public, &["v1", "heartbeat"]);
        let make = || {
            let request = self.client.post(url.clone()).header(CONTENT_TYPE, "application/octet-stream");
            request.body(frame.to_vec())
        };
        body("POST /v1/heartbeat", self.call("POST /v1/heartbeat", make).await?).await
    }

    fn admin_call(&self, method: Method, path: &[&str]) -> RequestBuilder {
        self.client.request(method, joined(&self.admin, path)).bearer_auth(&self.token)
    }

    async fn answer<T: DeserializeOwned>(
        &self,
        call: &'static str,
        make: impl Fn() -> RequestBuilder,
    ) -> Result<T, ApiError> {
        let bytes = body(call, self.call(call, make).await?).await?;
        serde_json::from_slice(&bytes).map_err(|_| ApiError::Answer(call))
    }

    /// Calls until the service answers otherwise than "later", for a bounded number of times.
    async fn call(&self, call: &'static str, make: impl Fn() -> RequestBuilder) -> Result<Response, ApiError> {
        let mut tries = 0;
        loop {
            tries += 1;
            let (error, wait) = match make().send().await {
                Ok(response) if response.status().is_success() => return Ok(response),
                Ok(response) => {
                    let (status, wait) = (response.status(), retry_after(&response, tries));
                    (ApiError::Refused { call, status, code: problem_code(call, response).await }, wait)
                }
                // Not even connected: nothing has happened, so it may be tried again.
                Err(source) if source.is_connect() => {
                    (ApiError::Unreachable { call, source }, (tries < CONNECT_TRIES).then(|| backoff(tries)))
                }
                Err(source) => (ApiError::Unreachable { call, source }, None),
            };
            match wait {
                Some(wait) if tries < TRIES => tokio::time::sleep(wait).await,
                _ => return Err(error),
            }
        }
    }
}

const CONNECT_TRIES: u32 = 4;

/// How long to wait before another try; `None` when the answer is final.
fn retry_after(response: &Response, tries: u32) -> Option<Duration> {
    if !matches!(response.status(), StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) {
        return None;
    }
    let seconds = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
    let asked = seconds.map(Duration::from_secs).map(|wait: Duration| wait.min(LONGEST_WAIT));
    Some(asked.map_or_else(|| backoff(tries), |wait| wait.max(LEAST_WAIT)))
}

fn backoff(tries: u32) -> Duration {
    Duration::from_millis(100) * 2u32.pow(tries.min(5))
}

async fn problem_code(call: &'static str, response: Response) -> String {
    let bytes = body(call, response).await.unwrap_or_default();
    let problem: Option<serde_json::Value> = serde_json::from_slice(&bytes).ok();
    problem.and_then(|problem| Some(problem.get("code")?.as_str()?.to_owned())).unwrap_or_default()
}

async fn body(call: &'static str, mut response: Response) -> Result<Vec<u8>, ApiError> {
    let mut bytes = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|source| ApiError::Unreachable { call, source })? {
        if bytes.len() + chunk.len() > MAX_BODY {
            return Err(ApiError::Answer(call));
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes)
}

fn joined(base: &Url, path: &[&str]) -> Url {
    let mut url = base.clone();
    url.path_segments_mut().expect("the command line takes http and https addresses alone").clear().extend(path);
    url
}

/// The cause at the bottom: `reqwest` says "error sending request" of everything.
fn root(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    cause.to_string()
}
