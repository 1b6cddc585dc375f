//! What values cannot be, alone or beside each other.

use std::collections::HashSet;
use std::fmt::Display;
use std::iter;
use std::ops::RangeInclusive;
use std::path::Path;

use super::{Config, ConfigError, OptionalListenAddr};
use crate::engine::ListSize;
use crate::identity::RequiredScopes;
use crate::telemetry;

/// Credit that an account can begin with: ten years.
const MAX_STARTING_CREDIT_S: u64 = 10 * 366 * 24 * 3600;
/// Further identity providers: the keys of each are fetched all the time.
const MAX_PROVIDERS: usize = 16;
/// Classes and distinguishers: an account remembers a cooldown of each.
const MAX_REWARDS: usize = 256;
/// What all accounts together can earn on a day: a hundred thousand years.
const MAX_BUDGET_S: u64 = 100_000 * 366 * 86_400;
const HOUR_MS: u64 = 3_600_000;
/// An ack tells the next beat in units of 100 ms, in 16 bits.
const HEARTBEAT_INTERVAL_MS: RangeInclusive<u64> = 100..=u16::MAX as u64 * 100;

impl Config {
    pub(super) fn validate(&self) -> Result<(), ConfigError> {
        self.validate_listeners()?;
        self.validate_times()?;
        self.validate_tokens()?;
        self.validate_providers()?;
        self.validate_rewards()?;
        within("hooks.tolerance_s", self.hooks.tolerance_s, 1..=3600)?;
        within("audit.retention_days", self.audit.retention_days.into(), 1..=3650)?;
        within("hub.session_lifetime_s", self.hub.session_lifetime_s, 300..=366 * 24 * 3600)?;
        within("hub.idle_timeout_s", self.hub.idle_timeout_s, 300..=self.hub.session_lifetime_s)?;
        within("hub.logout_retry_s", self.hub.logout_retry_s, 60..=14 * 24 * 3600)?;
        within("history.keep_days", self.history.keep_days.into(), 0..=366)?;
        let limits = &self.limits;
        for (key, per_s, burst) in [
            ("limits.acts_per_account_burst", limits.acts_per_account_per_s, limits.acts_per_account_burst),
            ("limits.acts_per_address_burst", limits.acts_per_address_per_s, limits.acts_per_address_burst),
            ("limits.hooks_per_address_burst", limits.hooks_per_address_per_s, limits.hooks_per_address_burst),
        ] {
            let why = "no act would ever be allowed; set it to at least 1, or turn the limit off with a rate of 0";
            ensure(per_s == 0 || burst > 0, key, burst, why)?;
        }
        if let Err(error) = telemetry::check_filter(&self.log.filter) {
            return invalid("log.filter", &self.log.filter, error);
        }
        if let Some(word) = misspelt_level(&self.log.filter) {
            let why = format!(
                "`{word}` is not a level (off, error, warn, info, debug, trace); a module alone would silence all others: write \
                 info,{word}=debug"
            );
            return invalid("log.filter", &self.log.filter, why);
        }
        if self.data_dir.as_os_str().is_empty() {
            return invalid("data_dir", "\"\"", "must name a directory; remove the key to use the default");
        }
        self.validate_cluster()
    }

    fn validate_cluster(&self) -> Result<(), ConfigError> {
        let scylla = &self.scylla;
        let name = self.node.name.as_deref().unwrap_or("(none)");
        let fits = (1..=64).contains(&name.chars().count()) && !name.chars().any(char::is_control);
        ensure(fits, "node.name", name, "must have 1 to 64 characters and no control characters")?;
        within("scylla.request_timeout_ms", scylla.request_timeout_ms, 100..=60_000)?;
        within("scylla.connect_timeout_ms", scylla.connect_timeout_ms, 100..=60_000)?;
        within("scylla.replication_factor", scylla.replication_factor.into(), 0..=32)?;
        let why = "scylla.password_file is missing; set both";
        let username = scylla.username.as_deref().unwrap_or("(none)");
        ensure(scylla.username.is_none() || scylla.password_file.is_some(), "scylla.username", username, why)?;
        let why = "scylla.username is missing; set both";
        let path = scylla.password_file.as_deref().unwrap_or(Path::new("")).display();
        ensure(scylla.password_file.is_none() || scylla.username.is_some(), "scylla.password_file", path, why)
    }

    fn validate_listeners(&self) -> Result<(), ConfigError> {
        if let (None, Some(key)) = (&self.tls.cert_file, &self.tls.key_file) {
            return invalid("tls.key_file", key.display(), "tls.cert_file is missing; set both");
        }
        let (http, admin) = (self.http.addr.get(), self.admin.addr.get());
        let why = "http.addr uses the same address; give the admin listener its own address or port";
        ensure(http.port() == 0 || http != admin, "admin.addr", admin, why)?;
        within("http.threads", self.http.threads.into(), 0..=256)?;
        within("http.max_connections", self.http.max_connections.into(), 1..=1_000_000)?;
        within("http.max_bodies", self.http.max_bodies.into(), 1..=1_000_000)?;
        within("https.max_handshakes", self.https.max_handshakes.into(), 1..=1_000_000)?;
        for (key, share) in [
            ("http.max_connections_per_address", self.http.max_connections_per_address),
            ("http.max_bodies_per_address", self.http.max_bodies_per_address),
            ("https.max_handshakes_per_address", self.https.max_handshakes_per_address),
            ("quic.max_connections_per_address", self.quic.max_connections_per_address),
            ("quic.max_handshakes_per_address", self.quic.max_handshakes_per_address),
            ("webtransport.max_sessions_per_address", self.webtransport.max_sessions_per_address),
        ] {
            within(key, share.unwrap_or(0).into(), 0..=1_000_000)?;
        }
        if let Some(https) = self.https.addr.get() {
            let why = "another listener uses the same address; give each listener its own address or port";
            let taken = https.port() != 0 && [http, admin].contains(&https);
            ensure(!taken, "https.addr", https, why)?;
        }
        within("http.header_timeout_ms", self.http.header_timeout_ms, 1..=HOUR_MS)?;
        within("http.body_timeout_ms", self.http.body_timeout_ms, 1..=HOUR_MS)?;
        within("http.idle_timeout_ms", self.http.idle_timeout_ms, 1..=HOUR_MS)?;
        within("http.max_body_bytes", self.http.max_body_bytes.into(), 1024..=16 << 20)?;
        within("udp.threads", self.udp.threads.into(), 0..=256)?;
        within("udp.receive_buffer_bytes", self.udp.receive_buffer_bytes.into(), 4096..=1 << 30)?;
        within("udp.send_buffer_bytes", self.udp.send_buffer_bytes.into(), 4096..=1 << 30)?;
        self.validate_quic()
    }

    fn validate_quic(&self) -> Result<(), ConfigError> {
        let quic = &self.quic;
        if let (Some(udp), OptionalListenAddr::At(addr)) = (self.udp.addr.get(), quic.addr) {
            let why = "udp.addr uses the same address; give the QUIC listener its own port";
            ensure(udp.port() == 0 || udp != addr.get(), "quic.addr", addr, why)?;
        }
        within("quic.max_connections", quic.max_connections.into(), 1..=1_000_000)?;
        within("quic.max_handshakes", quic.max_handshakes.into(), 1..=1_000_000)?;
        within("quic.first_frame_timeout_ms", quic.first_frame_timeout_ms.unwrap_or(1), 1..=24 * HOUR_MS)?;
        within("quic.buffer_bytes", quic.buffer_bytes.into(), 4096..=1 << 30)?;
        if let Some(idle) = quic.idle_timeout_ms {
            within("quic.idle_timeout_ms", idle, 1..=24 * HOUR_MS)?;
            let interval = self.heartbeat.interval_ms;
            let why = format!(
                "must be greater than heartbeat.interval_ms ({interval}), or every beat would need a new handshake"
            );
            ensure(idle > interval, "quic.idle_timeout_ms", idle, why)?;
        }
        let sessions = &self.webtransport;
        within("webtransport.max_sessions", sessions.max_sessions.into(), 0..=1_000_000)?;
        within("webtransport.max_sessions_per_connection", sessions.max_sessions_per_connection.into(), 1..=32)?;
        if let Some(url) = &sessions.public_url {
            let fits = url.as_str().starts_with("https://");
            ensure(fits, "webtransport.public_url", url, "must start with https://; browsers refuse other schemes")?;
        }
        Ok(())
    }

    fn validate_times(&self) -> Result<(), ConfigError> {
        let (interval, timeout) = (self.heartbeat.interval_ms, self.heartbeat.timeout_ms);
        let checkpoint = self.checkpoint.interval_ms;
        within("heartbeat.interval_ms", interval, HEARTBEAT_INTERVAL_MS)?;
        within("heartbeat.timeout_ms", timeout, 1..=24 * HOUR_MS)?;
        within("checkpoint.interval_ms", checkpoint, 10..=HOUR_MS)?;
        let why = format!(
            "must be greater than heartbeat.interval_ms ({interval}) + checkpoint.interval_ms ({checkpoint}), \
             or a restart could time out clients that never stopped beating; raise it, or lower the other two"
        );
        ensure(checkpoint.saturating_add(interval) < timeout, "heartbeat.timeout_ms", timeout, why)?;
        within("shutdown.delay_ms", self.shutdown.delay_ms, 0..=HOUR_MS)?;
        within("shutdown.grace_ms", self.shutdown.grace_ms, 0..=HOUR_MS)
    }

    fn validate_providers(&self) -> Result<(), ConfigError> {
        let (mut seen, mut told) = (HashSet::new(), HashSet::new());
        let mut opaque = 0;
        for identity in iter::once(&self.identity).chain(&self.identity_provider) {
            let audience = &identity.audience;
            let fits = (1..=255).contains(&audience.len()) && !audience.chars().any(char::is_control);
            ensure(fits, "identity.audience", audience, "use 1 to 255 characters")?;
            within("identity.clock_leeway_s", identity.clock_leeway_s, 0..=600)?;
            within("identity.starting_credit_s", identity.starting_credit_s, 0..=MAX_STARTING_CREDIT_S)?;
            let scope = &identity.scope;
            let fits = scope.len() <= 4096 && scope.bytes().all(|b| b.is_ascii_graphic() || b == b' ');
            ensure(fits, "identity.scope", scope, "must be scopes of visible ASCII characters, separated by spaces")?;
            let Some(provider) = identity.provider() else { continue };
            let why = "another provider has the same issuer; list each issuer once";
            ensure(seen.insert(provider.issuer.clone()), "identity.issuer", &provider.issuer, why)?;
            if let Some(id) = &identity.sign_in_client_id {
                let fits = (1..=255).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_graphic());
                ensure(fits, "identity.sign_in_client_id", id, "use 1 to 255 visible ASCII characters without spaces")?;
            }
            if let Some(events) = &provider.events {
                let id = &events.audience;
                let fits = (1..=255).contains(&id.len()) && !id.chars().any(char::is_control);
                ensure(fits, "identity.event_client_id", id, "use 1 to 255 characters")?;
                let why = "another provider has the same name in its events; list each name once";
                ensure(told.insert(events.issuer.clone()), "identity.event_issuer", &events.issuer, why)?;
            }
            if let Some(url) = &provider.verify_url {
                let why =
                    "opaque tokens have no audience; set identity.scope, so that tokens of other services are refused";
                ensure(!RequiredScopes::new(scope).is_empty(), "identity.verify_url", url, why)?;
                opaque += 1;
                let why = "opaque tokens do not name their issuer, so at most one provider can have a verify_url";
                ensure(opaque == 1, "identity.verify_url", url, why)?;
            }
        }
        for identity in iter::once(&self.identity).chain(&self.identity_provider) {
            let Some(client_id) = &identity.hub_client_id else { continue };
            let fits = (1..=255).contains(&client_id.len()) && !client_id.chars().any(char::is_control);
            ensure(fits, "identity.hub_client_id", client_id, "use 1 to 255 characters")?;
            let why = "must have `openid` among its scopes, or the provider gives no ID token";
            let asks = identity.hub_scope.split(' ').any(|scope| scope == "openid");
            ensure(asks, "identity.hub_scope", &identity.hub_scope, why)?;
            let name = identity.display_name.as_deref().unwrap_or("-");
            let fits = (1..=64).contains(&name.chars().count()) && !name.chars().any(char::is_control);
            ensure(fits, "identity.display_name", name, "use 1 to 64 characters")?;
        }
        self.validate_development()?;
        let why = "issuer is missing in an entry of identity_provider";
        let named = self.identity_provider.iter().all(|identity| identity.issuer.is_some());
        ensure(named, "identity_provider.issuer", "(none)", why)?;
        let count = self.identity_provider.len();
        ensure(count <= MAX_PROVIDERS, "identity_provider", count, "must have at most 16 entries")
    }

    fn validate_rewards(&self) -> Result<(), ConfigError> {
        let daily = self.rewards.account_daily_s;
        within("rewards.account_daily_s", daily, 0..=MAX_STARTING_CREDIT_S)?;
        let mut seen = HashSet::new();
        for reward in &self.reward {
            let fits =
                |name: &str, most| (1..=most).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_graphic());
            // Its name in the ledger and in budgets is `class/distinguisher`.
            let (class, why) = (&reward.class, "use 1 to 64 visible ASCII characters without spaces and slashes");
            ensure(fits(class, 64) && !class.contains('/'), "reward.class", class, why)?;
            let (place, why) = (&reward.distinguisher, "use 1 to 255 visible ASCII characters without spaces");
            ensure(fits(place, 255), "reward.distinguisher", place, why)?;
            let why = "another entry of reward has the same class and distinguisher; list each pair once";
            ensure(
                seen.insert((&reward.class, &reward.distinguisher)),
                "reward.distinguisher",
                &reward.distinguisher,
                why,
            )?;
            within("reward.reward_s", reward.reward_s, 1..=MAX_STARTING_CREDIT_S)?;
            within("reward.cooldown_s", reward.cooldown_s, 1..=366 * 86_400)?;
            within("reward.session_s", reward.session_s, 0..=86_400)?;
            let (budget, why) =
                (reward.budget_s, "must be at least reward_s, or 0 for no limit: nothing would ever be paid");
            ensure(budget == 0 || budget >= reward.reward_s, "reward.budget_s", budget, why)?;
            within("reward.budget_s", budget, 0..=MAX_BUDGET_S)?;
            let why = "must be at least the reward_s of every reward, or 0 for no limit: nothing would ever be paid";
            ensure(daily == 0 || daily >= reward.reward_s, "rewards.account_daily_s", daily, why)?;
        }
        let count = self.reward.len();
        ensure(count <= MAX_REWARDS, "reward", count, "must have at most 256 entries")
    }

    /// The development provider signs in anybody as anybody: it exists only where nobody else can reach it.
    fn validate_development(&self) -> Result<(), ConfigError> {
        if !self.hub.development_provider {
            return Ok(());
        }
        let refused = |why: String| invalid("hub.development_provider", true, why);
        let addresses = [
            ("http.addr", Some(self.http.addr.get())),
            ("https.addr", self.https.addr.get()),
            ("udp.addr", self.udp.addr.get()),
            ("quic.addr", self.quic.addr.get()),
            ("admin.addr", Some(self.admin.addr.get())),
        ];
        for (key, addr) in addresses {
            if let Some(addr) = addr.filter(|addr| !addr.ip().is_loopback()) {
                return refused(format!(
                    "it signs in anybody as anybody, and {key} = {addr} is not on the loopback interface"
                ));
            }
        }
        if let Some(url) = self.http.public_url.as_ref().filter(|url| url.is_public()) {
            return refused(format!(
                "it signs in anybody as anybody, and http.public_url = {} is not on the loopback interface",
                url.as_str()
            ));
        }
        if !self.http.trusted_proxies.as_slice().is_empty() {
            return refused(
                "it signs in anybody as anybody, and http.trusted_proxies names a proxy that others come through"
                    .to_owned(),
            );
        }
        match self.identity_providers().next() {
            Some(provider) => {
                refused(format!("it signs in anybody as anybody, and {} is configured too", provider.issuer))
            }
            None => Ok(()),
        }
    }

    fn validate_tokens(&self) -> Result<(), ConfigError> {
        let token = &self.token;
        for (key, name) in [("token.audience", &token.audience), ("token.client_id", &token.client_id)] {
            let fits = (1..=255).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_graphic());
            ensure(fits, key, name, "use 1 to 255 visible ASCII characters without spaces")?;
        }
        within("token.rotate_keys_days", token.rotate_keys_days.into(), 0..=36_500)?;
        within("token.keys_max_age_s", token.keys_max_age_s, 1..=24 * 3600)?;
        within("token.max_ttl_s", token.max_ttl_s, 1..=31 * 24 * 3600)?;
        let why = format!(
            "must be less than token.max_ttl_s ({}), or every token would have to be renewed immediately",
            token.max_ttl_s
        );
        let renew_before_s = token.renew_before().as_secs();
        ensure(renew_before_s < token.max_ttl_s, "token.renew_before_s", renew_before_s, why)?;
        within("status_list.ttl_s", self.status_list.ttl_s, 1..=24 * 3600)?;
        let entries = self.status_list.entries;
        let why = "must be a power of two between 1024 and 16777216; the default is 1048576";
        ensure(entries >= 1024 && ListSize::new(entries).is_some(), "status_list.entries", entries, why)
    }
}

/// A word of a filter that is neither a level nor one of our modules. The filter would take it for a module of that name, log
/// everything of it, and nothing else.
fn misspelt_level(filter: &str) -> Option<&str> {
    const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];
    let words = filter.split(',').map(str::trim).filter(|word| !word.is_empty() && !word.contains(['=', '[', '{']));
    let is_level = |word: &str| {
        LEVELS.iter().any(|level| word.eq_ignore_ascii_case(level))
            || word.parse::<u8>().is_ok_and(|number| number <= 5)
    };
    words.into_iter().find(|word| !is_level(word) && *word != "gastank" && !word.starts_with("gastank::"))
}

fn within(key: &'static str, value: u64, range: RangeInclusive<u64>) -> Result<(), ConfigError> {
    let why = format!("must be between {} and {}", range.start(), range.end());
    ensure(range.contains(&value), key, value, why)
}

fn ensure(holds: bool, key: &'static str, value: impl Display, why: impl Display) -> Result<(), ConfigError> {
    if holds { Ok(()) } else { invalid(key, value, why) }
}

fn invalid(key: &'static str, value: impl Display, why: impl Display) -> Result<(), ConfigError> {
    Err(ConfigError::Invalid { key, value: value.to_string(), why: why.to_string() })
}
