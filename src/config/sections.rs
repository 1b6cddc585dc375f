//! The sections of the configuration, one struct each, and their defaults.
//!
//! A key is written once: its name, type, default and meaning. The file format, the environment variables and
//! `docs/configuration.md` are made from that.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::client::{HostPatterns, ProxyServer};
use super::lists::{CapabilityCredits, Names, TrustedProxies};
use super::products::{Products, TestOrders};
use super::values::{HostPort, ListenAddr, OptionalListenAddr, ProviderUrl, PublicUrl, StoreUrl};
use crate::control::keys::Algorithm;
use crate::engine::ListSize;
use crate::identity::verify::{Algorithm as IdentityAlgorithm, AudienceClaim, TokenType};
use crate::store::Consistency;
use crate::telemetry::LogFormat;
use crate::web::origin::Origins;
use crate::web::peer::ProxyHeader;

/// A key of the configuration, as the documentation shows it.
#[derive(Clone, Copy, Debug)]
pub struct KeyDoc {
    /// Its name inside its section.
    pub name: &'static str,
    /// Its meaning, as one text.
    pub meaning: &'static str,
}

/// A section of the configuration, as the documentation shows it.
#[derive(Clone, Copy, Debug)]
pub struct SectionDoc {
    /// Its name in the file.
    pub name: &'static str,
    /// What it is about.
    pub about: &'static str,
    /// Its keys, in order.
    pub keys: &'static [KeyDoc],
}

macro_rules! section {
    (
        $(#[doc = $about:literal])+
        $section:ident {
            $( $(#[doc = $meaning:literal])+ $key:ident: $type:ty = $default:expr; )+
        }
    ) => {
        $(#[doc = $about])+
        #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
        #[serde(deny_unknown_fields, default)]
        pub struct $section {
            $( $(#[doc = $meaning])+ pub $key: $type, )+
        }

        impl Default for $section {
            fn default() -> Self {
                Self { $( $key: $default, )+ }
            }
        }

        impl $section {
            /// The keys, in order.
            pub const KEYS: &'static [KeyDoc] =
                &[$( KeyDoc { name: stringify!($key), meaning: concat!($($meaning),+) } ),+];
            /// What the section is about.
            pub const ABOUT: &'static str = concat!($($about),+);
        }
    };
}

macro_rules! file {
    (
        keys { $( $(#[doc = $meaning:literal])+ $key:ident: $type:ty; )+ }
        sections { $( $name:ident: $section:ident, )+ }
    ) => {
        /// A configuration file as it stands: what is left out has its default.
        #[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
        #[serde(deny_unknown_fields, default)]
        pub(super) struct File {
            $( $(#[doc = $meaning])+ pub(super) $key: Option<$type>, )+
            $( pub(super) $name: $section, )+
            /// Further identity providers.
            pub(super) identity_provider: Vec<Identity>,
            /// What rewards are paid for.
            pub(super) reward: Vec<Reward>,
        }

        /// Every section with its keys. The first has no name: its keys stand before all sections.
        pub const SECTIONS: &[SectionDoc] = &[
            SectionDoc {
                name: "",
                about: "Keys before any section.",
                keys: &[$( KeyDoc { name: stringify!($key), meaning: concat!($($meaning),+) } ),+],
            },
            $( SectionDoc { name: stringify!($name), about: $section::ABOUT, keys: $section::KEYS } ),+
        ];
    };
}

file! {
    keys {
        /// Data directory: secrets, keys and, by default, the store. Created with mode 0700 if it is missing.
        /// Default: `gastank-data` in `$XDG_DATA_HOME`, else in `~/.local/share`, else in the working directory.
        data_dir: PathBuf;
        /// The store: `sqlite:PATH`, or `scylla://host:port,host:port/keyspace`. Relative paths start at the working directory.
        /// Default: `gastank.db` in the data directory.
        store: StoreUrl;
    }
    sections {
        http: Http,
        https: Https,
        udp: Udp,
        tls: Tls,
        quic: Quic,
        webtransport: Webtransport,
        admin: Admin,
        heartbeat: Heartbeat,
        checkpoint: Checkpoint,
        scylla: Scylla,
        node: Node,
        token: Token,
        identity: Identity,
        hub: Hub,
        status_list: StatusList,
        client: Client,
        limits: Limits,
        hooks: Hooks,
        rewards: Rewards,
        audit: Audit,
        history: History,
        log: Log,
        shutdown: Shutdown,
    }
}

section! {
    /// The public HTTP listener.
    Http {
        /// Address and port it binds; port 0 picks a free one.
        addr: ListenAddr = ListenAddr::loopback(7080);
        /// Threads in the pool for all connections, and as many again in the pool for edges; 0 means one per two processors.
        threads: u32 = 0;
        /// Maximum number of open connections; further connections are closed on arrival.
        max_connections: u32 = 16_384;
        /// Maximum number of open connections from one address (an IPv6 /64 counts as one); 0 turns the limit off. Addresses of
        /// edges are exempt. The last eighth of every limit is reserved for addresses that have sent a valid frame or
        /// credential within the last hour; the last sixteenth is reserved for addresses of edges.
        /// Default: a quarter of `max_connections`, and at least 64.
        max_connections_per_address: Option<u32> = None;
        /// Maximum number of requests that wait for their body at the same time, over all listeners except admin; further
        /// requests are answered 503. A body that arrives together with its request does not count.
        max_bodies: u32 = 2_048;
        /// The same limit for one address; 0 turns it off. Further requests are answered 429.
        /// Default: a quarter of `max_bodies`, and at least 64.
        max_bodies_per_address: Option<u32> = None;
        /// Timeout for receiving the head of a request, in milliseconds.
        header_timeout_ms: u64 = 5_000;
        /// Timeout for receiving the body of a request, in milliseconds.
        body_timeout_ms: u64 = 10_000;
        /// Timeout after which a connection without a request is closed, in milliseconds.
        idle_timeout_ms: u64 = 75_000;
        /// Maximum size of a request body, in bytes.
        max_body_bytes: u32 = 65_536;
        /// URL of this listener that is announced to clients and edges.
        /// Default: `http://` and the address bound.
        public_url: Option<PublicUrl> = None;
        /// Origins that may use `/v1/*` and read `/.well-known/*` from a browser (CORS), separated by spaces: exact origins,
        /// `SCHEME://*` for all origins of a scheme, or `*` for all. Empty: none.
        cors_origins: Origins = Origins::none();
        /// Proxies in front whose statement of the client's address is trusted: addresses and networks, separated by spaces.
        /// Empty: none, and all clients behind a proxy share the limits of the proxy's address. Applies to all HTTP listeners.
        trusted_proxies: TrustedProxies = TrustedProxies::default();
        /// Where trusted proxies put the client's address; other headers are ignored: `x-forwarded-for` or `forwarded` (in each
        /// request), or `proxy-protocol` (version 1 or 2, at the start of each connection).
        proxy_header: ProxyHeader = ProxyHeader::XForwardedFor;
    }
}

section! {
    /// The public listener with TLS, for HTTP/1.1 and HTTP/2. It serves the same routes as `http` under the same limits, and
    /// counts its connections separately. It uses the certificate of `tls`.
    Https {
        /// Address and port it binds, or `off`; port 0 picks a free one.
        addr: OptionalListenAddr = OptionalListenAddr::Off;
        /// Maximum number of TLS handshakes in progress; further connections are closed on arrival.
        max_handshakes: u32 = 1_024;
        /// The same limit for one address; 0 turns it off.
        /// Default: a quarter of `max_handshakes`, and at least 64.
        max_handshakes_per_address: Option<u32> = None;
    }
}

section! {
    /// The listener for heartbeats in UDP datagrams.
    Udp {
        /// Address and port it binds, or `off`; port 0 picks a free one.
        addr: OptionalListenAddr = OptionalListenAddr::At(ListenAddr::loopback(7080));
        /// Threads that answer datagrams, each with its own socket; 0 means one per processor.
        threads: u32 = 0;
        /// Size of each socket's receive buffer, in bytes. The kernel may grant less: see `net.core.rmem_max`.
        receive_buffer_bytes: u32 = 4 * 1024 * 1024;
        /// Size of each socket's send buffer, in bytes. The kernel may grant less: see `net.core.wmem_max`.
        send_buffer_bytes: u32 = 4 * 1024 * 1024;
        /// Host and port of this listener that are announced to clients.
        /// Default: the address bound.
        public_addr: Option<HostPort> = None;
    }
}

section! {
    /// The certificate of the HTTPS and QUIC listeners. Without files, the service creates a development certificate in the
    /// data directory.
    Tls {
        /// File with the certificate chain, in PEM, the service's own certificate first. Changed files are reloaded.
        /// Default: none.
        cert_file: Option<PathBuf> = None;
        /// File with the certificate's private key, in PEM.
        /// Default: `cert_file`.
        key_file: Option<PathBuf> = None;
    }
}

section! {
    /// The QUIC listener: heartbeats in datagrams, HTTP/3, WebTransport. An open connection uses tens of kilobytes.
    Quic {
        /// Address and port it binds, or `off`; port 0 picks a free one.
        addr: OptionalListenAddr = OptionalListenAddr::At(ListenAddr::loopback(7443));
        /// Maximum number of open connections; further connections are refused.
        max_connections: u32 = 16_384;
        /// Maximum number of open connections from one address (an IPv6 /64 counts as one); 0 turns the limit off.
        /// Default: a quarter of `max_connections`, and at least 64.
        max_connections_per_address: Option<u32> = None;
        /// Maximum number of handshakes in progress. Above a quarter of it, clients must validate their address first.
        max_handshakes: u32 = 4_096;
        /// The same limit for one address; 0 turns it off. An address that has not been validated yet is not counted.
        /// Default: a quarter of `max_handshakes`, and at least 64.
        max_handshakes_per_address: Option<u32> = None;
        /// Timeout for the first valid frame of a frame connection or a WebTransport session, in milliseconds. For later frames
        /// `idle_timeout_ms` applies.
        /// Default: one and a half times `heartbeat.interval_ms`, and at least 10000.
        first_frame_timeout_ms: Option<u64> = None;
        /// Timeout after which a silent connection is closed, in milliseconds. Must be greater than `heartbeat.interval_ms`, or
        /// every beat would need a new connection.
        /// Default: 120000, or twice `heartbeat.interval_ms` if that is more.
        idle_timeout_ms: Option<u64> = None;
        /// Size of the socket's buffers, in bytes. The kernel may grant less: see `net.core.rmem_max` and `net.core.wmem_max`.
        buffer_bytes: u32 = 4 * 1024 * 1024;
        /// Host and port of this listener that are announced to clients.
        /// Default: the address bound.
        public_addr: Option<HostPort> = None;
    }
}

section! {
    /// WebTransport sessions of browsers, at the QUIC listener.
    Webtransport {
        /// Origins that may open sessions, separated by spaces: exact origins, `SCHEME://*` for all origins of a scheme, or
        /// `*` for all. Requests without an origin do not come from a browser and are allowed.
        origins: Origins = Origins::extensions();
        /// Maximum number of open sessions; 0 turns WebTransport off.
        max_sessions: u32 = 16_384;
        /// The same limit for one address; 0 turns it off.
        /// Default: a quarter of `max_sessions`, and at least 64.
        max_sessions_per_address: Option<u32> = None;
        /// Maximum number of open sessions on one connection.
        max_sessions_per_connection: u32 = 16;
        /// The https URL of the listener that is announced to browsers. Sessions are at its path `/v1/webtransport`.
        /// Default: `https://` and `quic.public_addr`, or the default of that.
        public_url: Option<PublicUrl> = None;
    }
}

section! {
    /// The listener for operators: metrics, health, administration.
    Admin {
        /// Address and port it binds; port 0 picks a free one. Keep it on the loopback interface.
        addr: ListenAddr = ListenAddr::loopback(7090);
    }
}

section! {
    /// Heartbeats.
    Heartbeat {
        /// Interval between the heartbeats of a client, in milliseconds; announced in every ack.
        interval_ms: u64 = 30_000;
        /// Time after its last heartbeat at which a session times out, in milliseconds.
        timeout_ms: u64 = 90_000;
        /// Acks carry the low-credit flag below this number of seconds.
        low_credit_s: u32 = 300;
    }
}

section! {
    /// Writing of heartbeats to the store.
    Checkpoint {
        /// Interval between two checkpoints of a session, in milliseconds. A crash loses at most the heartbeats of one interval.
        interval_ms: u64 = 30_000;
    }
}

section! {
    /// The CQL cluster of a store `scylla://…`.
    Scylla {
        /// User to sign in as.
        /// Default: none, for a cluster without authentication.
        username: Option<String> = None;
        /// File with the password of `username`. Only its owner may have read permission.
        /// Default: none.
        password_file: Option<PathBuf> = None;
        /// File with the certificates to trust, in PEM. If set, connections use TLS, and each server's certificate must be valid
        /// for the address or name that is used to reach it.
        /// Default: none, and connections are not encrypted.
        tls_ca_file: Option<PathBuf> = None;
        /// Preferred datacenter: its servers are used first.
        /// Default: no preference.
        datacenter: Option<String> = None;
        /// Majority that decides: `local` for the replicas of the datacenter, `global` for those of all datacenters.
        consistency: Consistency = Consistency::Local;
        /// Replicas of each row in a keyspace that the service creates; 0 means one per named or known server, at most three.
        replication_factor: u32 = 0;
        /// Timeout for a response, in milliseconds. Must be longer than the cluster's own timeouts.
        request_timeout_ms: u64 = 5_000;
        /// Timeout for connecting, in milliseconds.
        connect_timeout_ms: u64 = 5_000;
    }
}

section! {
    /// This node among others that share a store `scylla://…`.
    Node {
        /// Display name in the list of nodes. At most 64 characters.
        /// Default: the address that `http.addr` is bound to.
        name: Option<String> = None;
    }
}

section! {
    /// Tokens.
    Token {
        /// Issuer in every token, a URL.
        /// Default: `http.public_url`, or the default of that.
        issuer: Option<PublicUrl> = None;
        /// Audience of tokens whose client requests none.
        audience: String = "edge".to_owned();
        /// Client id in every token.
        client_id: String = "gastank".to_owned();
        /// Signature algorithm: `ES256`, `RS256` or `EdDSA`.
        algorithm: Algorithm = Algorithm::ES256;
        /// Days after which the signing key is rotated automatically; 0 turns that off.
        rotate_keys_days: u32 = 90;
        /// Seconds that verifiers may cache the published keys. A new key is published this long before it signs, and half a
        /// minute longer if nodes share a store. A node that has not read the keys of the others for 13 s announces fewer. After
        /// lowering the value, wait for the old one to pass before you rotate keys.
        keys_max_age_s: u64 = 300;
        /// Maximum lifetime of a token, in seconds.
        max_ttl_s: u64 = 86_400;
        /// Acks ask the client to renew its token this many seconds before it expires.
        /// Default: 900, or a quarter of `max_ttl_s` if that is less.
        renew_before_s: Option<u64> = None;
    }
}

section! {
    /// An identity provider whose tokens sign people in. Without an issuer, sign-in is off. Configure further providers in
    /// `[[identity_provider]]`, with the same keys.
    Identity {
        /// The provider's issuer, exactly as in its tokens: an HTTPS URL, or HTTP on the loopback interface.
        /// Default: none.
        issuer: Option<ProviderUrl> = None;
        /// Audience that tokens must have.
        audience: String = "gastank".to_owned();
        /// Claim that must name the audience: `aud`, or `client_id` for a provider whose access tokens have no `aud`.
        audience_claim: AudienceClaim = AudienceClaim::Audience;
        /// Scopes that tokens must have, separated by spaces. A scope that is a URL is also met by a scope above it.
        scope: String = String::new();
        /// Allowed signature algorithms: any of `RS256`, `PS256`, `ES256` and `EdDSA`.
        algorithms: Names<IdentityAlgorithm> = Names::all();
        /// Allowed values of the token header `typ`: any of `at+jwt`, `JWT` and `absent`.
        token_types: Names<TokenType> = Names::all();
        /// URL of the provider's keys.
        /// Default: `jwks_uri` of its discovery document.
        jwks_uri: Option<ProviderUrl> = None;
        /// URL that verifies opaque tokens, with the interface of Firefox Accounts.
        /// Default: none, and opaque tokens are refused.
        verify_url: Option<ProviderUrl> = None;
        /// Allowed difference between the provider's clock and this one, in seconds.
        clock_leeway_s: u64 = 60;
        /// Seconds of credit in a new account, created when a person signs in for the first time.
        starting_credit_s: u64 = 0;
        /// Client id that the provider's account events must name as audience.
        /// Default: none, and its events are refused.
        event_client_id: Option<String> = None;
        /// Issuer in the provider's account events, exactly as written there, including a trailing slash.
        /// Default: `issuer`.
        event_issuer: Option<ProviderUrl> = None;
        /// Client id that apps and browser extensions sign in with at this provider: that of a public client.
        /// Default: none, and they are not told of it.
        sign_in_client_id: Option<String> = None;
        /// Client id that this service is registered with there, so that people sign in to their account page. Register
        /// `/sign-in/callback` under `http.public_url` as redirect URI.
        /// Default: none, and nobody signs in to the pages with this provider.
        hub_client_id: Option<String> = None;
        /// File with the client secret that belongs to `hub_client_id`; other users must not be able to read it.
        /// Default: none, and the service is a public client.
        hub_client_secret_file: Option<PathBuf> = None;
        /// Scopes that are asked for when people sign in to the pages, separated by spaces; `openid` must be among them.
        hub_scope: String = "openid profile email".to_owned();
        /// Name of the provider on the page where people choose one.
        /// Default: the host in `issuer`.
        display_name: Option<String> = None;
        /// Credit for subscriptions, as `capability=seconds/days` separated by spaces: this many seconds for each period of
        /// this many days in which the capability is active according to account events. Empty: none.
        capability_credit: CapabilityCredits = CapabilityCredits::default();
    }
}

section! {
    /// Hub sessions: a person signs in once in a browser. The pages are there where a provider has a `hub_client_id`, or the
    /// development provider is on.
    Hub {
        /// Seconds from sign-in to the end of a hub session, however much it is used.
        session_lifetime_s: u64 = 2_592_000;
        /// Seconds without use after which a hub session ends.
        idle_timeout_s: u64 = 604_800;
        /// Seconds for which a client that does not answer is told again that a hub session has ended.
        logout_retry_s: u64 = 259_200;
        /// Whether the service itself signs anybody in by the name they type. For development on one machine: refused unless all
        /// listeners and `http.public_url` are on the loopback interface and no identity provider is configured.
        development_provider: bool = false;
    }
}

section! {
    /// Token status lists, which give edges the status of all tokens in one document.
    StatusList {
        /// Seconds that an edge may cache a list; the service signs it at most twice in that time.
        ttl_s: u64 = 60;
        /// Entries of a new list: a power of two. A list takes fifteen tokens for every sixteen entries.
        entries: u32 = ListSize::DEFAULT.entries();
    }
}

section! {
    /// Settings that `GET /v1/client` gives to apps and browser extensions, beside `heartbeat` and the providers
    /// that have a `sign_in_client_id`.
    Client {
        /// The proxy that clients use while a session is open, such as `https://proxy.example.org:8443`. By `http` on the loopback
        /// interface only.
        /// Default: none.
        proxy: Option<ProxyServer> = None;
        /// Hosts that clients reach without the proxy, beside this service, the providers and the pages below, with spaces between
        /// them: names, `*.` and a domain, addresses, networks.
        bypass: HostPatterns = HostPatterns::default();
        /// Where time can be bought.
        /// Default: none.
        shop_url: Option<PublicUrl> = None;
        /// Where time can be earned.
        /// Default: none.
        earn_url: Option<PublicUrl> = None;
        /// Where people see their account.
        /// Default: none.
        account_url: Option<PublicUrl> = None;
    }
}

section! {
    /// Rate limits on acts: activations, renewals, deactivations. Heartbeats and verdicts of good callers are not limited.
    Limits {
        /// Average rate of acts of one account, per second; 0 turns the limit off.
        acts_per_account_per_s: u32 = 10;
        /// Burst of acts of one account.
        acts_per_account_burst: u32 = 50;
        /// Average rate of acts from one address, per second; 0 turns the limit off.
        acts_per_address_per_s: u32 = 100;
        /// Burst of acts from one address.
        acts_per_address_burst: u32 = 1_000;
        /// Average rate of webhooks and account events from one address, per second; 0 turns the limit off.
        hooks_per_address_per_s: u32 = 100;
        /// Burst of webhooks and account events from one address.
        hooks_per_address_burst: u32 = 1_000;
    }
}

section! {
    /// Webhooks, by which other services add credit.
    Hooks {
        /// File with the secrets of the senders, one per line: `whsec_…` or `whpk_…`, optionally after a sender's name and a
        /// space. Message ids then need to be unique per sender only. Only the file's owner may have read permission. A
        /// changed file is reloaded. Without the file, all webhooks are refused.
        /// Default: `hooks.secrets` in the data directory.
        secrets_file: Option<PathBuf> = None;
        /// Allowed difference between a webhook's timestamp and the current time, in seconds, either way.
        tolerance_s: u64 = 300;
    }
}

section! {
    /// Rewards: time that people earn on landing pages. Each `[[reward]]` is a class and a distinguisher that is paid for; without
    /// any, rewards are off. Its keys: `class`, such as `page-view`, up to 64 visible ASCII characters without a slash;
    /// `distinguisher`, such as `news.example.org`, up to 255; `reward_s`, the seconds paid; `cooldown_s` (default 86400), the seconds after a payment in which the
    /// same account gets no other; `budget_s` (default 0: no limit), the seconds paid on one day (UTC) to all accounts together;
    /// `session_s` (default 0), the seconds that a session of the account must have run, and not have ended more than a day ago.
    Rewards {
        /// Origins whose pages may ask for rewards and validate earner tokens, separated by spaces: those of widgets and shops that
        /// this service does not serve itself. Empty: none.
        origins: Origins = Origins::none();
        /// Origins of the landing pages that may show the widget's frame, separated by spaces: exact origins, or `https://*` for all.
        /// Empty: none, and no page earns.
        landing_pages: Origins = Origins::none();
        /// Products of shops, as `SKU=SECONDS` separated by spaces or in a list: the seconds that one unit is worth. Empty: nothing.
        products: Products = Products::default();
        /// File with the secrets that shops sign their webhooks with, one per line: the shop's domain, a space and the secret. A shop
        /// can have two, while they rotate. Only the file's owner may have read permission. It is read at the start.
        /// Default: `shops.secrets` in the data directory.
        shops_file: Option<PathBuf> = None;
        /// Test orders of shops: `ignore`, or `credit`.
        test_orders: TestOrders = TestOrders::Ignore;
        /// Maximum number of seconds that one account earns on one day (UTC); 0 turns the limit off.
        account_daily_s: u64 = 0;
        /// Maximum number of rewards for one address on one day (UTC); 0 turns the limit off. Each node counts for itself and
        /// forgets when it stops. An IPv6 /64 is one address.
        address_daily: u32 = 0;
    }
}

section! {
    /// Something that a reward is paid for.
    Reward {
        /// What people do.
        class: String = String::new();
        /// Where.
        distinguisher: String = String::new();
        /// The seconds paid.
        reward_s: u64 = 0;
        /// The seconds after a payment in which the same account gets no other.
        cooldown_s: u64 = 86_400;
        /// The seconds paid on one day to all accounts together; 0: no limit.
        budget_s: u64 = 0;
        /// The seconds that a session of the account must have run lately.
        session_s: u64 = 0;
    }
}

section! {
    /// The audit log: actor, act and account of every change.
    Audit {
        /// Days after which rows are deleted.
        retention_days: u32 = 90;
    }
}

section! {
    /// The heartbeat history: one row per session and checkpoint, with the time and the state bits of the last heartbeat.
    History {
        /// Days after which rows are deleted; 0 turns the history off and deletes all rows.
        keep_days: u32 = 0;
    }
}

section! {
    /// The log, on standard error.
    Log {
        /// Format of a line: `text` for people, `json` for machines.
        format: LogFormat = LogFormat::Text;
        /// Log level, or levels by module, as in `info,gastank::store=debug`.
        filter: String = "info".to_owned();
    }
}

section! {
    /// The end of the process.
    Shutdown {
        /// Time between the signal to stop and the start of `grace_ms`, in milliseconds. The process still accepts connections
        /// but reports that it is not ready; set it to the time that a load balancer needs to notice.
        delay_ms: u64 = 0;
        /// Time that requests in progress have to finish when the process stops, in milliseconds.
        grace_ms: u64 = 8_000;
    }
}
