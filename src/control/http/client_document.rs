//! `GET /v1/client`: what apps and browser extensions need to know before anybody has signed in. It holds no secrets and is
//! the same for everybody.

use serde::Serialize;
use utoipa::ToSchema;

/// What clients are told of the service.
#[derive(Clone, Debug, Default, Serialize, ToSchema)]
pub struct ClientDocument {
    /// Where people sign in, and as which public client. Empty: with an account key alone.
    pub sign_in: Vec<SignIn>,
    /// The proxy that shows tokens to the edge. Absent: the client has none to set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proxy: Option<ClientProxy>,
    /// Hosts that are to be reached without the proxy: names, `*.` and a domain, addresses, networks.
    #[schema(example = json!(["*.example.org", "10.0.0.0/8"]))]
    pub bypass: Vec<String>,
    /// Where time can be bought.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shop_url: Option<String>,
    /// Where time can be earned.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub earn_url: Option<String>,
    /// Where people see their account.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub account_url: Option<String>,
    /// Seconds of credit below which acks carry the low-credit flag.
    pub low_credit_s: u32,
    /// How far apart heartbeats are to be, in milliseconds.
    pub interval_ms: u64,
    /// How long after its last heartbeat a session times out, in milliseconds.
    pub timeout_ms: u64,
}

/// A provider that people sign in at.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct SignIn {
    /// Its issuer; its discovery document says the rest.
    #[schema(example = "https://id.example.org")]
    pub issuer: String,
    /// The id of the public client that apps and extensions are there.
    pub client_id: String,
}

/// A proxy.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = Proxy)]
pub struct ClientProxy {
    /// `https` or `http`: how the proxy itself is spoken to.
    #[serde(rename = "type")]
    pub scheme: String,
    /// Its host; an IPv6 address in brackets.
    #[schema(example = "proxy.example.org")]
    pub host: String,
    /// Its port.
    pub port: u16,
}
