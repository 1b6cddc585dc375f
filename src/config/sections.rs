//! The sections of the configuration, one struct each, and their defaults.
//!
//! A key is written once: its name, type, default and meaning. The file format, the environment variables and
//! `docs/configuration.md` are made from that.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::values::{
    CapabilityCredits, HostPort, ListenAddr, Names, OptionalListenAddr, ProviderUrl, PublicUrl, StoreUrl,
    TrustedProxies,
};
use crate::control::keys::Algorithm;
use crate::engine::ListSize;
use crate::identity::verify::{Algorithm as IdentityAlgorithm, AudienceClaim, TokenType};
use crate::ingest::quic::Origins;
use crate::store::Consistency;
use crate::telemetry::LogFormat;
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
        /// Directory of the data: secrets, keys and, by default, the store. Made with mode 0700 when it is missing.
        /// Default: `gastank-data` in `$XDG_DATA_HOME`, else in `~/.local/share`, else in the working directory.
        data_dir: PathBuf;
        /// The store: `sqlite:PATH`, or `scylla://host:port,host:port/keyspace`. A relative path is relative to the working
        /// directory.
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
        status_list: StatusList,
        limits: Limits,
        hooks: Hooks,
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
        /// Threads that serve everybody, and as many again that serve edges; 0 is one for every two processors.
        threads: u32 = 0;
        /// Connections that may be open at once; further ones are closed at once.
        max_connections: u32 = 16_384;
        /// Connections that may be open at once from one address (an IPv6 /64 is one); 0 turns that limit off. Addresses of
        /// edges have none. The last eighth of all places of any kind is for addresses that have proved themselves within an
        /// hour, by a valid frame or credential; the last sixteenth is for those of edges.
        /// Default: a quarter of `max_connections`, and at least 64.
        max_connections_per_address: Option<u32> = None;
        /// Requests whose bodies may be waited for at once, over all listeners but that for operators; further ones are
        /// answered 503. A body that comes with its request is not waited for.
        max_bodies: u32 = 2_048;
        /// The same from one address; 0 turns that limit off. Further ones are answered 429.
        /// Default: a quarter of `max_bodies`, and at least 64.
        max_bodies_per_address: Option<u32> = None;
        /// Milliseconds a client has to send the head of a request.
        header_timeout_ms: u64 = 5_000;
        /// Milliseconds a client has to send the body of a request.
        body_timeout_ms: u64 = 10_000;
        /// Milliseconds a connection may stay open without a request.
        idle_timeout_ms: u64 = 75_000;
        /// Bytes a request's body may have.
        max_body_bytes: u32 = 65_536;
        /// Where clients and edges reach this listener, as they are told.
        /// Default: `http://` and the address bound.
        public_url: Option<PublicUrl> = None;
        /// Origins whose pages may use `/v1/*` and read `/.well-known/*` from a browser (CORS), with spaces between them: to the
        /// letter, `SCHEME://*` for all of a scheme, or `*` for all. Empty: none.
        cors_origins: Origins = Origins::none();
        /// Proxies in front that say which client they speak for: addresses and networks, with spaces between them. Empty:
        /// nobody is believed, and whatever is limited by address is limited for all clients of a proxy together. All HTTP
        /// listeners follow it.
        trusted_proxies: TrustedProxies = TrustedProxies::default();
        /// How they say it, and nothing else is read: `x-forwarded-for`, `forwarded` (both in each request) or `proxy-protocol`
        /// (version 1 or 2, at the beginning of each connection from them).
        proxy_header: ProxyHeader = ProxyHeader::XForwardedFor;
    }
}

section! {
    /// The public listener with TLS, for HTTP/1.1 and HTTP/2: it answers what `http` answers, within the same limits and as
    /// many connections again. Its certificate is that of `tls`.
    Https {
        /// Address and port it binds, or `off`; port 0 picks a free one.
        addr: OptionalListenAddr = OptionalListenAddr::Off;
        /// TLS handshakes that may be under way at once; further connections are closed at once.
        max_handshakes: u32 = 1_024;
        /// The same from one address; 0 turns that limit off.
        /// Default: a quarter of `max_handshakes`, and at least 64.
        max_handshakes_per_address: Option<u32> = None;
    }
}

section! {
    /// The listener for heartbeats in UDP datagrams.
    Udp {
        /// Address and port it binds, or `off`; port 0 picks a free one.
        addr: OptionalListenAddr = OptionalListenAddr::At(ListenAddr::loopback(7080));
        /// Threads that do nothing but answer datagrams, each with a socket of its own; 0 makes one for each processor.
        threads: u32 = 0;
        /// Bytes of each socket's receive buffer. The kernel may grant less: see `net.core.rmem_max`.
        receive_buffer_bytes: u32 = 4 * 1024 * 1024;
        /// Bytes of each socket's send buffer. The kernel may grant less: see `net.core.wmem_max`.
        send_buffer_bytes: u32 = 4 * 1024 * 1024;
        /// Host and port where clients reach this listener, as they are told.
        /// Default: the address bound.
        public_addr: Option<HostPort> = None;
    }
}

section! {
    /// The certificate of the listeners that encrypt. Without files, one for development is made in the data directory.
    Tls {
        /// File with the certificate chain, in PEM, the service's own first. It and the key are read again when they change.
        /// Default: none.
        cert_file: Option<PathBuf> = None;
        /// File with the certificate's private key, in PEM.
        /// Default: `cert_file`.
        key_file: Option<PathBuf> = None;
    }
}

section! {
    /// The QUIC listener: heartbeats in datagrams, HTTP/3, WebTransport. A connection that is open costs tens of kilobytes.
    Quic {
        /// Address and port it binds, or `off`; port 0 picks a free one.
        addr: OptionalListenAddr = OptionalListenAddr::At(ListenAddr::loopback(7443));
        /// Connections that may be open at once; further ones are refused.
        max_connections: u32 = 16_384;
        /// Connections that may be open at once from one address (an IPv6 /64 is one); 0 turns that limit off.
        /// Default: a quarter of `max_connections`, and at least 64.
        max_connections_per_address: Option<u32> = None;
        /// Handshakes that may be under way at once. From a quarter of it on, addresses are to be proven first.
        max_handshakes: u32 = 4_096;
        /// The same from one address; 0 turns that limit off. An address that is not proven yet is not counted.
        /// Default: a quarter of `max_handshakes`, and at least 64.
        max_handshakes_per_address: Option<u32> = None;
        /// Milliseconds that a connection of frames, or a WebTransport session, has to send its first valid frame. Later ones
        /// may be as far apart as `idle_timeout_ms`.
        /// Default: half again as long as `heartbeat.interval_ms`, and at least 10000.
        first_frame_timeout_ms: Option<u64> = None;
        /// Milliseconds a connection may be silent. Longer than `heartbeat.interval_ms`, or every beat would need a new one.
        /// Default: 120000, or twice `heartbeat.interval_ms` where that is more.
        idle_timeout_ms: Option<u64> = None;
        /// Bytes of the socket's buffers. The kernel may grant less: see `net.core.rmem_max` and `net.core.wmem_max`.
        buffer_bytes: u32 = 4 * 1024 * 1024;
        /// Host and port where clients reach this listener, as they are told.
        /// Default: the address bound.
        public_addr: Option<HostPort> = None;
    }
}

section! {
    /// WebTransport sessions of browsers, at the QUIC listener.
    Webtransport {
        /// Origins whose pages may open sessions, with spaces between them: to the letter, `SCHEME://*` for all of a scheme,
        /// or `*` for all. Who sends no origin is no browser, and may.
        origins: Origins = Origins::extensions();
        /// Sessions that may be open at once; 0 turns WebTransport off.
        max_sessions: u32 = 16_384;
        /// The same from one address; 0 turns that limit off.
        /// Default: a quarter of `max_sessions`, and at least 64.
        max_sessions_per_address: Option<u32> = None;
        /// Sessions that may be open at once on one connection.
        max_sessions_per_connection: u32 = 16;
        /// Where browsers reach the listener, as they are told, an https URL. Sessions are at `/v1/webtransport` there.
        /// Default: `https://` and `quic.public_addr`, or what that defaults to.
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
        /// Milliseconds between two heartbeats of a client, as it is told in every ack.
        interval_ms: u64 = 30_000;
        /// Milliseconds after its last heartbeat at which a session has timed out.
        timeout_ms: u64 = 90_000;
        /// Seconds of credit below which acks carry the low-credit flag.
        low_credit_s: u32 = 300;
    }
}

section! {
    /// Writing of what heartbeats said to the store.
    Checkpoint {
        /// Milliseconds between two checkpoints of a session: the most of its last heartbeats that a crash may lose.
        interval_ms: u64 = 30_000;
    }
}

section! {
    /// The CQL cluster of a store `scylla://…`.
    Scylla {
        /// User to sign in as.
        /// Default: none, for a cluster that does not ask.
        username: Option<String> = None;
        /// File with that user's password. Nobody but its owner may read it.
        /// Default: none.
        password_file: Option<PathBuf> = None;
        /// File with the certificates to trust, in PEM. With it connections are encrypted, and servers must have a
        /// certificate for the address or name they are reached by.
        /// Default: none, and nothing is encrypted.
        tls_ca_file: Option<PathBuf> = None;
        /// Datacenter whose servers are asked first.
        /// Default: none is preferred.
        datacenter: Option<String> = None;
        /// Whose majority has to agree: `local`, that of the datacenter, or `global`, that of all of them.
        consistency: Consistency = Consistency::Local;
        /// Servers that have each row, in a keyspace that is made; 0 is as many as are named or known, up to three.
        replication_factor: u32 = 0;
        /// Milliseconds an answer may take. More than the cluster's own timeouts.
        request_timeout_ms: u64 = 5_000;
        /// Milliseconds a connection may take.
        connect_timeout_ms: u64 = 5_000;
    }
}

section! {
    /// This node among others that share a store `scylla://…`.
    Node {
        /// What people call it, in the list of nodes. At most 64 characters.
        /// Default: the address that `http.addr` is bound to.
        name: Option<String> = None;
    }
}

section! {
    /// Tokens.
    Token {
        /// Issuer in every token, a URL.
        /// Default: `http.public_url`, or what that defaults to.
        issuer: Option<PublicUrl> = None;
        /// Audience of a token when its client asks for none.
        audience: String = "edge".to_owned();
        /// Client id in every token.
        client_id: String = "gastank".to_owned();
        /// Signature algorithm: `ES256`, `RS256` or `EdDSA`.
        algorithm: Algorithm = Algorithm::ES256;
        /// Days after which a new signing key takes over by itself; 0 turns that off.
        rotate_keys_days: u32 = 90;
        /// Seconds that verifiers may keep the published keys: a new one waits for as long before it signs, and half a minute
        /// more where nodes share a store. A node that has not read the others' keys for 13 s says fewer. After lowering it,
        /// let the old time pass before keys rotate.
        keys_max_age_s: u64 = 300;
        /// Seconds a token lives at most.
        max_ttl_s: u64 = 86_400;
        /// Seconds before its end from which on acks tell the client to renew.
        /// Default: 900, or a quarter of `max_ttl_s` where that is less.
        renew_before_s: Option<u64> = None;
    }
}

section! {
    /// An identity provider, whose tokens sign people in. Without an issuer there is none. Further ones stand in
    /// `[[identity_provider]]`, with the same keys.
    Identity {
        /// The provider's issuer, to the letter as it stands in its tokens: an HTTPS URL, or HTTP on the loopback interface.
        /// Default: none.
        issuer: Option<ProviderUrl> = None;
        /// Audience that tokens must be for.
        audience: String = "gastank".to_owned();
        /// Claim that must name the audience: `aud`, or `client_id` for a provider whose access tokens have no `aud`.
        audience_claim: AudienceClaim = AudienceClaim::Audience;
        /// Scopes that tokens must have, with spaces between them. One that is a URL is also met by those above it.
        scope: String = String::new();
        /// Signature algorithms that tokens may have, some of `RS256`, `PS256`, `ES256` and `EdDSA`.
        algorithms: Names<IdentityAlgorithm> = Names::all();
        /// What the header `typ` of tokens may say, some of `at+jwt`, `JWT` and `absent`.
        token_types: Names<TokenType> = Names::all();
        /// Where the provider's keys are.
        /// Default: where its discovery document says.
        jwks_uri: Option<ProviderUrl> = None;
        /// Where to ask about opaque tokens, in the way of Firefox Accounts.
        /// Default: none, and opaque tokens are refused.
        verify_url: Option<ProviderUrl> = None;
        /// Seconds by which the provider's clock may differ from this one.
        clock_leeway_s: u64 = 60;
        /// Seconds of credit that an account begins with when its person is first seen.
        starting_credit_s: u64 = 0;
        /// Client id that the provider's account events must be for.
        /// Default: none, and its events are refused.
        event_client_id: Option<String> = None;
        /// The provider's name in its account events, to the letter, slash at the end included.
        /// Default: `issuer`.
        event_issuer: Option<ProviderUrl> = None;
        /// What subscriptions give, as `capability=seconds/days` with spaces between: so many seconds of credit for each
        /// period of so many days in which account events say that the capability is active. Empty: nothing.
        capability_credit: CapabilityCredits = CapabilityCredits::default();
    }
}

section! {
    /// Token status lists, which tell edges of all tokens at once.
    StatusList {
        /// Seconds that an edge may keep a list; it is signed anew at most twice in that time.
        ttl_s: u64 = 60;
        /// Entries of a new list: a power of two. A list takes fifteen tokens for every sixteen entries.
        entries: u32 = ListSize::DEFAULT.entries();
    }
}

section! {
    /// Limits on acts: activations, renewals, deactivations. Heartbeats and verdicts of good callers have none.
    Limits {
        /// Acts a second that one account may make on average; 0 turns the limit off.
        acts_per_account_per_s: u32 = 10;
        /// Acts that one account may make at once.
        acts_per_account_burst: u32 = 50;
        /// Acts a second that may come from one address on average; 0 turns the limit off.
        acts_per_address_per_s: u32 = 100;
        /// Acts that may come from one address at once.
        acts_per_address_burst: u32 = 1_000;
        /// Webhooks and account events a second that may come from one address on average; 0 turns the limit off.
        hooks_per_address_per_s: u32 = 100;
        /// Webhooks and account events that may come from one address at once.
        hooks_per_address_burst: u32 = 1_000;
    }
}

section! {
    /// Webhooks: credit that other services tell of.
    Hooks {
        /// File with the secrets of the senders, one a line: `whsec_…` or `whpk_…`. A sender's name and a space may stand before
        /// it: the ids of its messages are its own then. Nobody but its owner may read it. It
        /// is read again when it changes. Where there is none, no webhook is accepted.
        /// Default: `hooks.secrets` in the data directory.
        secrets_file: Option<PathBuf> = None;
        /// Seconds that the time a webhook says it was sent at may be before or after now.
        tolerance_s: u64 = 300;
    }
}

section! {
    /// The audit log: who did which act on which account.
    Audit {
        /// Days that its rows are kept.
        retention_days: u32 = 90;
    }
}

section! {
    /// The heartbeat history: when each session was heard of, once a checkpoint, and what its client said of itself.
    History {
        /// Days that it is kept; 0 turns it off, and drops what there is.
        keep_days: u32 = 0;
    }
}

section! {
    /// The log, on standard error.
    Log {
        /// How a line looks: `text` for people, `json` for machines.
        format: LogFormat = LogFormat::Text;
        /// What is logged: a level, or levels by module as in `info,gastank::store=debug`.
        filter: String = "info".to_owned();
    }
}

section! {
    /// The end of the process.
    Shutdown {
        /// Milliseconds for which a process that was told to stop goes on taking connections while it says that it is not
        /// ready, before `grace_ms` begin. As long as a load balancer needs to notice.
        delay_ms: u64 = 0;
        /// Milliseconds that requests under way have to finish when the process is told to stop.
        grace_ms: u64 = 8_000;
    }
}
