//! What the keys of the configuration mean to the rest of the program: the same figures in its own types.

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::Config;
use super::sections::{
    Audit, Checkpoint, Heartbeat, History, Hooks, Http, Https, Hub, Identity, Limits, Quic, Shutdown, StatusList, Tls,
    Token, Webtransport,
};
use super::values::{HostPort, ProviderUrl, PublicUrl, only_here};
use crate::control::keyring::KeyPolicy;
use crate::engine::{Credit, ListSize, Offer, OfferId};
use crate::hub::Lifetimes;
use crate::identity::{EventSettings, ProviderSettings, RelyingSettings};
use crate::ingest::quic::SessionLimits;
use crate::rewards::{Catalogue, Reward as Priced};
use crate::time::Millis;
use crate::tls::CertificateSource;
use crate::web::admission::Capacity;
use crate::web::peer::Proxies;

impl Config {
    /// What clients are told of where a listener is that is bound to `bound`: what is configured, else that address. `None`
    /// where the service is for clients elsewhere and they could not reach it there.
    pub fn told(&self, public_addr: Option<&HostPort>, bound: SocketAddr) -> Option<String> {
        match public_addr {
            Some(addr) => Some(addr.as_str().to_owned()),
            None if self.is_public() && only_here(bound.ip()) => None,
            None => Some(bound.to_string()),
        }
    }

    /// Where HTTP/3 is, as clients are told which have come by HTTPS: an alt-authority of RFC 7838. It names the host only where
    /// `quic.public_addr` has another than `http.public_url`; a client goes on asking for that one there, and is shown the same
    /// certificate. `None` where they could not reach it.
    pub fn told_h3(&self, bound: SocketAddr) -> Option<String> {
        let is_elsewhere = |addr: &HostPort| {
            self.http.public_url.as_ref().is_some_and(|url| !url.host().eq_ignore_ascii_case(addr.host()))
        };
        match &self.quic.public_addr {
            Some(addr) if is_elsewhere(addr) => Some(addr.as_str().to_owned()),
            Some(addr) => Some(format!(":{}", addr.port())),
            // What is bound to all addresses is there too.
            None if self.is_public() && bound.ip().is_loopback() => None,
            None => Some(format!(":{}", bound.port())),
        }
    }

    /// Whether the service is for clients elsewhere.
    pub(super) fn is_public(&self) -> bool {
        self.http.public_url.as_ref().is_some_and(PublicUrl::is_public)
    }
}

impl Http {
    /// Connections that may be open at once.
    pub fn connections(&self) -> Capacity {
        capacity(self.max_connections, self.max_connections_per_address)
    }

    /// Bodies that may be waited for at once.
    pub fn bodies(&self) -> Capacity {
        capacity(self.max_bodies, self.max_bodies_per_address)
    }

    /// The proxies in front, and how they say whom they speak for.
    pub fn proxies(&self) -> Proxies {
        Proxies::new(self.trusted_proxies.as_slice().to_vec(), self.proxy_header)
    }

    /// How long a client may take to send a request's head.
    pub const fn header_timeout(&self) -> Duration {
        Duration::from_millis(self.header_timeout_ms)
    }

    /// How long a client may take to send a request's body.
    pub const fn body_timeout(&self) -> Duration {
        Duration::from_millis(self.body_timeout_ms)
    }

    /// How long a connection may stay open without a request.
    pub const fn idle_timeout(&self) -> Duration {
        Duration::from_millis(self.idle_timeout_ms)
    }
}

impl Heartbeat {
    /// The time between two heartbeats of a client.
    pub const fn interval(&self) -> Millis {
        Millis::new(self.interval_ms)
    }

    /// The time after its last heartbeat at which a session has timed out.
    pub const fn timeout(&self) -> Millis {
        Millis::new(self.timeout_ms)
    }

    /// The credit below which acks carry the low-credit flag.
    pub const fn low_credit(&self) -> Millis {
        Millis::from_secs(self.low_credit_s as u64)
    }
}

impl Checkpoint {
    /// The time between two checkpoints of a session.
    pub const fn interval(&self) -> Millis {
        Millis::new(self.interval_ms)
    }
}

impl Token {
    /// The longest that a token lives.
    pub const fn max_ttl(&self) -> Millis {
        Millis::from_secs(self.max_ttl_s)
    }

    /// How the signing keys are made and kept.
    pub const fn keys(&self) -> KeyPolicy {
        let usual = KeyPolicy::new(self.algorithm, self.max_ttl());
        KeyPolicy { lifetime: Millis::from_secs(self.keys_max_age_s), ..usual }
    }

    /// How old a signing key gets before another one takes over, if that happens by itself.
    pub fn rotate_keys(&self) -> Option<Millis> {
        (self.rotate_keys_days > 0).then(|| Millis::from_secs(u64::from(self.rotate_keys_days) * 86_400))
    }

    /// How long before a token's end its client is told to renew.
    pub fn renew_before(&self) -> Millis {
        Millis::from_secs(self.renew_before_s.unwrap_or_else(|| (self.max_ttl_s / 4).min(900)))
    }
}

impl Hub {
    /// How long hub sessions live.
    pub const fn lifetimes(&self) -> Lifetimes {
        let (absolute, idle) = (Millis::from_secs(self.session_lifetime_s), Millis::from_secs(self.idle_timeout_s));
        Lifetimes { absolute, idle }
    }

    /// How long a client that does not answer is told of a logout.
    pub const fn logout_retry(&self) -> Millis {
        Millis::from_secs(self.logout_retry_s)
    }
}

impl StatusList {
    /// How long an edge may keep a list.
    pub const fn ttl(&self) -> Millis {
        Millis::from_secs(self.ttl_s)
    }

    /// How many entries a new list has. The usual number if it cannot have what is configured, which is refused anyway.
    pub const fn size(&self) -> ListSize {
        match ListSize::new(self.entries) {
            Some(size) => size,
            None => ListSize::DEFAULT,
        }
    }
}

/// A limit on acts: so many a second on average, so many at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ActRate {
    /// Acts a second.
    pub per_s: NonZeroU32,
    /// Acts at once.
    pub burst: NonZeroU32,
}

impl Limits {
    /// The limit on one account's acts, if there is one.
    pub fn per_account(&self) -> Option<ActRate> {
        rate(self.acts_per_account_per_s, self.acts_per_account_burst)
    }

    /// The limit on acts from one address, if there is one.
    pub fn per_address(&self) -> Option<ActRate> {
        rate(self.acts_per_address_per_s, self.acts_per_address_burst)
    }

    /// The limit on webhooks and account events from one address, if there is one.
    pub fn hooks_per_address(&self) -> Option<ActRate> {
        rate(self.hooks_per_address_per_s, self.hooks_per_address_burst)
    }
}

impl Https {
    /// TLS handshakes that may be under way at once.
    pub fn handshakes(&self) -> Capacity {
        capacity(self.max_handshakes, self.max_handshakes_per_address)
    }
}

impl Identity {
    /// The provider, if there is one.
    pub fn provider(&self) -> Option<ProviderSettings> {
        let url = |url: &ProviderUrl| url.as_str().to_owned();
        Some(ProviderSettings {
            issuer: self.issuer.as_ref().map(url)?,
            audience: self.audience.clone(),
            audience_claim: self.audience_claim,
            scope: self.scope.clone(),
            algorithms: self.algorithms.as_slice().to_vec(),
            types: self.token_types.as_slice().to_vec(),
            jwks_uri: self.jwks_uri.as_ref().map(url),
            verify_url: self.verify_url.as_ref().map(url),
            leeway: Millis::from_secs(self.clock_leeway_s),
            events: self.event_client_id.as_ref().map(|client_id| EventSettings {
                issuer: self.event_issuer.as_ref().or(self.issuer.as_ref()).map(url).unwrap_or_default(),
                audience: client_id.clone(),
            }),
            gives: self.capability_credit.as_slice().to_vec(),
            starting_credit: Credit::from_secs(i64::try_from(self.starting_credit_s).unwrap_or(i64::MAX)),
            relying: self.hub_client_id.as_ref().map(|client_id| RelyingSettings {
                name: self.display_name.clone().or_else(|| host(self.issuer.as_ref()?.as_str())).unwrap_or_default(),
                client_id: client_id.clone(),
                client_secret_file: self.hub_client_secret_file.clone(),
                scope: self.hub_scope.clone(),
            }),
        })
    }
}

impl Config {
    /// What rewards are paid for.
    pub fn catalogue(&self) -> Catalogue {
        let daily = Some(self.rewards.account_daily_s).filter(|most| *most > 0).map(Millis::from_secs);
        Catalogue::new(self.reward.iter().map(|reward| Priced {
            class: reward.class.clone(),
            distinguisher: reward.distinguisher.clone(),
            offer: Offer {
                id: OfferId::of(&reward.class, &reward.distinguisher),
                reward: Credit::from_secs(i64::try_from(reward.reward_s).unwrap_or(i64::MAX)),
                cooldown: Millis::from_secs(reward.cooldown_s),
                daily,
                session: Millis::from_secs(reward.session_s),
            },
            budget: Some(reward.budget_s).filter(|budget| *budget > 0).map(Millis::from_secs),
        }))
    }
}

/// The host and port of a URL.
fn host(url: &str) -> Option<String> {
    url.split_once("://").map(|(_, rest)| rest.split('/').next().unwrap_or_default().to_owned())
}

impl Hooks {
    /// How far from now the time that a webhook says it was sent at may be.
    pub const fn tolerance(&self) -> Millis {
        Millis::from_secs(self.tolerance_s)
    }
}

impl Tls {
    /// Where the certificate comes from; `data_dir` is where one of our own is kept.
    pub fn source(&self, data_dir: &Path) -> CertificateSource {
        match &self.cert_file {
            Some(chain) => {
                CertificateSource::Files { chain: chain.clone(), key: self.key_file.as_ref().unwrap_or(chain).clone() }
            }
            None => CertificateSource::Development { dir: data_dir.to_owned() },
        }
    }
}

impl Quic {
    /// How long a connection may be silent, where clients beat in this interval.
    pub fn idle_timeout(&self, interval: Millis) -> Duration {
        Duration::from_millis(self.idle_timeout_ms.unwrap_or_else(|| (2 * interval.get()).max(120_000)))
    }

    /// Connections that may be open at once.
    pub fn connections(&self) -> Capacity {
        capacity(self.max_connections, self.max_connections_per_address)
    }

    /// Handshakes that may be under way at once.
    pub fn handshakes(&self) -> Capacity {
        capacity(self.max_handshakes, self.max_handshakes_per_address)
    }

    /// How long there may be no valid frame at first, where clients beat in this interval.
    pub fn first_frame_timeout(&self, interval: Millis) -> Duration {
        Duration::from_millis(self.first_frame_timeout_ms.unwrap_or_else(|| (interval.get() * 3 / 2).max(10_000)))
    }
}

impl Webtransport {
    /// Who may open sessions, and how many.
    pub fn limits(&self) -> SessionLimits {
        SessionLimits {
            origins: Arc::new(self.origins.clone()),
            of_connection: self.max_sessions_per_connection as usize,
            capacity: capacity(self.max_sessions, self.max_sessions_per_address),
        }
    }
}

impl Audit {
    /// How long rows are kept.
    pub fn retention(&self) -> Millis {
        Millis::from_secs(u64::from(self.retention_days) * 86_400)
    }
}

impl History {
    /// How long it is kept, if it is.
    pub fn keep(&self) -> Option<Millis> {
        (self.keep_days > 0).then(|| Millis::from_secs(u64::from(self.keep_days) * 86_400))
    }
}

impl Shutdown {
    /// How long connections are still taken after the service has said that it is not ready.
    pub const fn delay(&self) -> Duration {
        Duration::from_millis(self.delay_ms)
    }

    /// How long requests under way have to finish.
    pub const fn grace(&self) -> Duration {
        Duration::from_millis(self.grace_ms)
    }
}

/// So many places in all, and so many for one address: 0 is no limit, and a quarter where nothing is said.
fn capacity(total: u32, per_address: Option<u32>) -> Capacity {
    let total = total as usize;
    let share = per_address.map_or_else(|| Capacity::quarter(total), |most| most as usize);
    Capacity { total, per_network: (share > 0).then_some(share) }
}

fn rate(per_s: u32, burst: u32) -> Option<ActRate> {
    Some(ActRate { per_s: NonZeroU32::new(per_s)?, burst: NonZeroU32::new(burst)? })
}
