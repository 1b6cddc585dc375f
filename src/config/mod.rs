//! The configuration: one typed [`Config`] from a TOML file, then the environment, then flags; what comes later wins.
//!
//! Every key of the file is also a variable, `GASTANK_<SECTION>_<KEY>`, derived from its name. An empty variable is an unset
//! one, and those that Kubernetes makes for a Service named `gastank` are not ours: see [`foreign`]. An unknown key, an
//! unknown variable in that namespace or a value that cannot work is an error that names it: a service that starts
//! with a setting it did not understand is worse than one that does not start.

mod args;
mod client;
mod error;
mod foreign;
mod lists;
mod meaning;
mod overlay;
mod products;
mod sections;
mod validate;
mod values;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::{env, fs, io, iter};

use serde::Deserialize;

pub use args::{ConfigArgs, Env};
pub use client::{HostPatterns, ProxyServer};
pub use error::ConfigError;
pub use lists::{CapabilityCredits, Named, Names, TrustedProxies};
pub use meaning::ActRate;
pub use products::{Products, TestOrders};
pub use sections::{
    Admin, Audit, Checkpoint, Client, Heartbeat, History, Hooks, Http, Https, Hub, Identity, KeyDoc, Limits, Log, Node,
    Quic, Reward, Rewards, SECTIONS, Scylla, SectionDoc, Shutdown, StatusList, Tls, Token, Udp, Webtransport,
};
pub use values::{HostPort, ListenAddr, OptionalListenAddr, ProviderUrl, PublicUrl, ScyllaUrl, StoreUrl, ValueError};

use self::args::{CONFIG_VARIABLE, NAMESPACE};
use self::error::MAX_FILE_BYTES;
use self::overlay::Overlay;
use self::sections::File;
use crate::engine::Policy;
use crate::identity::ProviderSettings;
use crate::time::Millis;

/// How the service is set up. Every value is checked.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Directory of the data: secrets, keys and, by default, the store.
    pub data_dir: PathBuf,
    /// Where the truth is kept.
    pub store: StoreUrl,
    /// The public HTTP listener.
    pub http: Http,
    /// The public listener with TLS.
    pub https: Https,
    /// The listener for heartbeats in UDP datagrams.
    pub udp: Udp,
    /// The certificate of the listeners that encrypt.
    pub tls: Tls,
    /// The QUIC listener.
    pub quic: Quic,
    /// WebTransport sessions of browsers.
    pub webtransport: Webtransport,
    /// The listener for operators.
    pub admin: Admin,
    /// Heartbeats.
    pub heartbeat: Heartbeat,
    /// Writing of heartbeats to the store.
    pub checkpoint: Checkpoint,
    /// The CQL cluster of the store, if it is one.
    pub scylla: Scylla,
    /// This node among others.
    pub node: Node,
    /// Tokens.
    pub token: Token,
    /// An identity provider.
    pub identity: Identity,
    /// Further identity providers.
    pub identity_provider: Vec<Identity>,
    /// Hub sessions.
    pub hub: Hub,
    /// Token status lists.
    pub status_list: StatusList,
    /// What apps and browser extensions are told.
    pub client: Client,
    /// Limits on acts.
    pub limits: Limits,
    /// Webhooks.
    pub hooks: Hooks,
    /// Rewards.
    pub rewards: Rewards,
    /// What rewards are paid for.
    pub reward: Vec<Reward>,
    /// The audit log.
    pub audit: Audit,
    /// The heartbeat history.
    pub history: History,
    /// The log.
    pub log: Log,
    /// The end of the process.
    pub shutdown: Shutdown,
}

impl Config {
    /// Reads the file that `args` or `env` name, if any, then applies `env`, then `args`.
    ///
    /// `read` is asked for the file's content; `env` is all of the environment.
    ///
    /// # Errors
    ///
    /// Any [`ConfigError`].
    pub fn load(
        args: &ConfigArgs,
        env: &Env,
        read: impl FnOnce(&Path) -> io::Result<String>,
    ) -> Result<Self, ConfigError> {
        let path =
            args.config.clone().or_else(|| env.get(CONFIG_VARIABLE).filter(|path| !path.is_empty()).map(PathBuf::from));
        let (path, text) = match path {
            Some(path) => {
                let text = read(&path);
                let text = text.map_err(|source| ConfigError::Unreadable { path: path.clone(), source })?;
                (path, text)
            }
            None => (PathBuf::new(), String::new()),
        };
        if text.len() > MAX_FILE_BYTES {
            return Err(ConfigError::TooLong);
        }
        let wrong = |source| ConfigError::File { path: path.clone(), source: Box::new(source) };
        // Read as a whole first: only here are the lines of a fault known.
        toml::from_str::<File>(&text).map_err(wrong)?;
        let mut overlay = Overlay::new(toml::from_str(&text).map_err(wrong)?);
        overlay.apply_environment(env)?;
        overlay.apply_flags(args)?;
        let file = File::deserialize(overlay.into_table()).map_err(wrong)?;
        let config = Self::resolve(file, env);
        config.validate()?;
        Ok(config)
    }

    /// The configuration that `args`, the process's environment and the file they name make.
    ///
    /// # Errors
    ///
    /// Any [`ConfigError`].
    pub fn load_here(args: &ConfigArgs) -> Result<Self, ConfigError> {
        Self::load(args, &process_environment()?, |path| fs::read_to_string(path))
    }

    /// The configuration that a file with this text makes, without environment and flags. The data directory then is
    /// in the working directory unless the text names one.
    ///
    /// # Errors
    ///
    /// [`ConfigError::TooLong`], [`ConfigError::File`] or [`ConfigError::Invalid`].
    pub fn from_toml(text: &str) -> Result<Self, ConfigError> {
        let args = ConfigArgs { config: Some(PathBuf::from("configuration")), ..ConfigArgs::default() };
        Self::load(&args, &Env::new(), |_| Ok(text.to_owned()))
    }

    /// The identity providers.
    pub fn identity_providers(&self) -> impl Iterator<Item = ProviderSettings> {
        iter::once(&self.identity).chain(&self.identity_provider).filter_map(Identity::provider)
    }

    /// The issuers that clients sign in at, each with the id of the public client that they are there.
    pub fn sign_ins(&self) -> impl Iterator<Item = (&str, &str)> {
        iter::once(&self.identity)
            .chain(&self.identity_provider)
            .filter_map(|identity| Some((identity.issuer.as_ref()?.as_str(), identity.sign_in_client_id.as_deref()?)))
    }

    /// What can work but should be known: one sentence each.
    pub fn warnings(&self) -> Vec<&'static str> {
        let mut warnings = Vec::new();
        if !self.admin.addr.get().ip().is_loopback() {
            warnings.push(
                "admin.addr is not on the loopback interface: anyone who can connect can read metrics and health",
            );
        }
        let told = self.http.public_url.as_ref().map_or("", PublicUrl::as_str);
        if !self.http.addr.get().ip().is_loopback() && !told.starts_with("https://") {
            warnings.push("http.public_url is not https: tokens travel unencrypted unless a proxy in front adds TLS");
        }
        let encrypted = self.https.addr.get().is_some_and(|addr| !addr.ip().is_loopback());
        if encrypted && (self.tls.cert_file.is_none() || !told.starts_with("https://")) {
            warnings.push(
                "https.addr is open to clients, but tls.cert_file or an https http.public_url is not set: clients are told of \
                 another address, or get a certificate that is good for development only",
            );
        }
        if self.scylla.username.is_some() && self.scylla.tls_ca_file.is_none() {
            warnings.push("scylla.tls_ca_file is not set: the password travels unencrypted");
        }
        if self.identity.issuer.is_none() && self.identity != Identity::default() {
            warnings
                .push("identity.issuer is not set: sign-in with identity tokens is off and the rest of [identity] has no effect");
        }
        if self.http.addr.get().ip().is_unspecified() && self.http.public_url.is_none() {
            warnings.push("http.public_url is not set and clients cannot connect to http.addr as it stands");
        }
        if self.is_public() {
            self.warn_of_untold(&mut warnings);
        }
        warnings
    }

    /// What clients elsewhere are not told of, or cannot be served by.
    fn warn_of_untold(&self, warnings: &mut Vec<&'static str>) {
        let untold = |addr: Option<SocketAddr>, told: Option<&HostPort>| {
            addr.is_some_and(|addr| self.told(told, addr).is_none())
        };
        if untold(self.udp.addr.get(), self.udp.public_addr.as_ref()) {
            warnings.push(
                "udp.public_addr is not set and clients cannot reach udp.addr: activations do not offer UDP; set it, or set \
                 udp.addr to off",
            );
        }
        if untold(self.quic.addr.get(), self.quic.public_addr.as_ref()) {
            warnings.push(
                "quic.public_addr is not set and clients cannot reach quic.addr: activations do not offer QUIC and \
                 WebTransport; set it, or set quic.addr to off",
            );
        }
        let proxied = self.http.addr.get().ip().is_loopback() && self.https.addr.get().is_none();
        if proxied && self.http.trusted_proxies.as_slice().is_empty() {
            warnings.push(
                "http.trusted_proxies is empty: all clients of the proxy in front share the limits of one address",
            );
        }
    }

    /// The file with the secrets of webhooks.
    pub fn hooks_secrets(&self) -> PathBuf {
        self.hooks.secrets_file.clone().unwrap_or_else(|| self.data_dir.join("hooks.secrets"))
    }

    /// The file with the secrets of shops.
    pub fn shops_secrets(&self) -> PathBuf {
        self.rewards.shops_file.clone().unwrap_or_else(|| self.data_dir.join("shops.secrets"))
    }

    /// The figures that the engine works with.
    pub fn policy(&self) -> Policy {
        let (interval, timeout) = (self.heartbeat.interval(), self.heartbeat.timeout());
        let third = Millis::new(timeout.get() / 3);
        // A restart may lose the last checkpoint: nobody who goes on beating may time out because of that.
        let safe = timeout.minus(self.checkpoint.interval()).minus(Millis::new(1));
        Policy {
            interval,
            longest_interval: third.min(safe).max(interval),
            timeout,
            max_ttl: self.token.max_ttl(),
            renew_before: self.token.renew_before(),
            low_credit: self.heartbeat.low_credit(),
        }
    }

    fn resolve(file: File, env: &Env) -> Self {
        let data_dir = file.data_dir.unwrap_or_else(|| default_data_dir(env));
        Self {
            store: file.store.unwrap_or_else(|| StoreUrl::in_data_dir(&data_dir)),
            data_dir,
            http: file.http,
            https: file.https,
            udp: file.udp,
            tls: file.tls,
            quic: file.quic,
            webtransport: file.webtransport,
            admin: file.admin,
            heartbeat: file.heartbeat,
            checkpoint: file.checkpoint,
            scylla: file.scylla,
            node: file.node,
            token: file.token,
            identity: file.identity,
            identity_provider: file.identity_provider,
            hub: file.hub,
            status_list: file.status_list,
            client: file.client,
            limits: file.limits,
            hooks: file.hooks,
            rewards: file.rewards,
            reward: file.reward,
            audit: file.audit,
            history: file.history,
            log: file.log,
            shutdown: file.shutdown,
        }
    }
}

/// `gastank-data` under the person's data directory, as the XDG base directory specification says: a relative
/// `$XDG_DATA_HOME` is ignored.
fn default_data_dir(env: &Env) -> PathBuf {
    let absolute = |name: &str| env.get(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let base = absolute("XDG_DATA_HOME").or_else(|| absolute("HOME").map(|home| home.join(".local/share")));
    base.unwrap_or_default().join("gastank-data")
}

/// The environment of this process. Variables of others that are not UTF-8 are left out.
fn process_environment() -> Result<Env, ConfigError> {
    let mut all = Env::new();
    for (name, value) in env::vars_os() {
        let Ok(name) = name.into_string() else { continue };
        match value.into_string() {
            Ok(value) => {
                all.insert(name, value);
            }
            Err(_) if name.starts_with(NAMESPACE) => return Err(ConfigError::NotText { name }),
            Err(_) => {}
        }
    }
    Ok(all)
}

#[cfg(test)]
mod tests;
