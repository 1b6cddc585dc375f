//! The labels of the metrics: closed sets of values, so that every series exists from the start and none is ever
//! made from what a caller sent.

use crate::engine::EntryKind;
use crate::wire::{EndReason, FrameError};

/// A label whose values are known beforehand.
pub trait Label: Copy + 'static {
    /// The label's name in the exposition.
    const NAME: &'static str;
    /// Every value, in the order of [`Label::index`].
    const VALUES: &'static [&'static str];

    /// Where this value stands in [`Label::VALUES`].
    fn index(self) -> usize;
}

macro_rules! labels {
    ($( $(#[$doc:meta])* $type:ident($name:literal) { $( $(#[$value_doc:meta])* $value:ident = $text:literal, )+ } )+) => {
        $(
            $(#[$doc])*
            #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
            pub enum $type {
                $( $(#[$value_doc])* $value, )+
            }

            impl $type {
                /// Every value, in order.
                pub const ALL: &'static [Self] = &[$(Self::$value),+];
            }

            impl Label for $type {
                const NAME: &'static str = $name;
                const VALUES: &'static [&'static str] = &[$($text),+];

                fn index(self) -> usize {
                    self as usize
                }
            }
        )+
    };
}

labels! {
    /// How a heartbeat reached the service.
    Transport("transport") {
        /// A UDP datagram.
        Udp = "udp",
        /// 48 bytes in an HTTP body.
        Http = "http",
        /// JSON in an HTTP body.
        Json = "json",
        /// A QUIC datagram.
        Quic = "quic",
        /// A QUIC stream.
        QuicStream = "quic_stream",
        /// A datagram of a WebTransport session.
        WebTransport = "webtransport",
    }

    /// How an activation went.
    ActivationOutcome("outcome") {
        /// A session was opened; none was open before.
        Opened = "opened",
        /// A session was opened and took the place of an older one.
        Superseding = "superseding",
        /// The caller is not known.
        BadCredentials = "bad_credentials",
        /// The tank is empty.
        TankEmpty = "tank_empty",
        /// The audience asked for is not known.
        UnknownAudience = "unknown_audience",
        /// It was repeated under its name, and may not be answered again.
        Stale = "stale",
        /// A limit on acts was reached.
        Limited = "limited",
        /// The service could not decide: store down, overloaded or warming up.
        Unavailable = "unavailable",
    }

    /// How a renewal went.
    RenewalOutcome("outcome") {
        /// A fresh token was issued.
        Renewed = "renewed",
        /// The session is over.
        SessionEnded = "session_ended",
        /// It was late or came twice.
        Stale = "stale",
        /// The token is not one of the session's.
        BadCredentials = "bad_credentials",
        /// The frame is malformed or forged.
        BadFrame = "bad_frame",
        /// A limit on acts was reached.
        Limited = "limited",
        /// The service could not decide: store down, overloaded or warming up.
        Unavailable = "unavailable",
    }

    /// What the store was asked to do.
    StoreOperation("operation") {
        /// Read an account.
        ReadAccount = "read_account",
        /// Commit an act on an account.
        CommitAct = "commit_act",
        /// Read a page of the ledger or another listing.
        ReadList = "read_list",
        /// Write a batch of checkpoints.
        WriteCheckpoints = "write_checkpoints",
        /// Read open sessions and checkpoints at start.
        Recover = "recover",
        /// Write the meter's durable fact.
        WriteMeter = "write_meter",
        /// Read or write keys, edges and other small rows.
        Settings = "settings",
        /// Renew this node's lease, or read those of the others.
        Membership = "membership",
        /// Tell other nodes that an account is about to change.
        AnnounceChange = "announce_change",
        /// Read what other nodes are about to change.
        ReadChanges = "read_changes",
        /// Read when other nodes heard of sessions.
        ReadCheckpoints = "read_checkpoints",
        /// Append to the heartbeat history.
        WriteHistory = "write_history",
    }

    /// What became of a row of the heartbeat history.
    HistoryOutcome("outcome") {
        /// It is in the store.
        Kept = "kept",
        /// The store did not take it in time; nobody waits for it.
        Dropped = "dropped",
    }

    /// How an operation of the store went.
    StoreOutcome("outcome") {
        /// It was done.
        Ok = "ok",
        /// The store failed.
        Error = "error",
    }

    /// What an edge was told of a token.
    VerdictOutcome("outcome") {
        /// The token is good.
        Active = "active",
        /// The token is not good.
        Inactive = "inactive",
        /// The service could not say: 503.
        Unavailable = "unavailable",
    }

    /// The class of an HTTP answer's status.
    StatusClass("class") {
        /// 200 to 299, and the informational ones below.
        Success = "2xx",
        /// 300 to 399.
        Redirection = "3xx",
        /// 400 to 499.
        ClientError = "4xx",
        /// 500 and above.
        ServerError = "5xx",
        /// Refused with 503, unread, because there was more to do than could be done.
        Shed = "shed",
    }

    /// A listener that accepts connections.
    HttpListener("listener") {
        /// The one for clients, edges and hooks.
        Public = "public",
        /// The same, with TLS.
        PublicTls = "public_tls",
        /// The one for operators.
        Admin = "admin",
    }

    /// What became of a certificate that was read.
    CertificateLoad("outcome") {
        /// It is shown from now on.
        Loaded = "loaded",
        /// It cannot be used; the one before stays.
        Refused = "refused",
    }

    /// Why a connection was closed at once.
    Refusal("reason") {
        /// There is no room.
        Full = "full",
        /// There are too many from its address.
        Address = "address",
        /// Too many are shaking hands.
        Handshakes = "handshakes",
        /// Too many from its address are shaking hands.
        AddressHandshakes = "address_handshakes",
    }

    /// How a TLS handshake went.
    Handshake("outcome") {
        /// It was a new session.
        Full = "full",
        /// It went on with an earlier session.
        Resumed = "resumed",
        /// It failed, or took too long.
        Failed = "failed",
    }

    /// What requests are about. Each has its own budget.
    Surface("surface") {
        /// Heartbeats.
        Beats = "beats",
        /// Introspection.
        Verdicts = "verdicts",
        /// Activations, renewals, revocations, accounts: what goes to the store.
        Acts = "acts",
        /// Webhooks and account events.
        Hooks = "hooks",
        /// Status lists, keys and other documents that are open to everybody.
        Documents = "documents",
        /// Operators' requests.
        Admin = "admin",
    }

    /// Threads that serve connections.
    Crew("crew") {
        /// Those that serve everybody.
        Clients = "clients",
        /// Those that serve edges.
        Edges = "edges",
    }

    /// A listener that receives datagrams.
    UdpListener("listener") {
        /// Heartbeats in bare datagrams.
        Udp = "udp",
        /// QUIC.
        Quic = "quic",
    }

    /// What became of a QUIC connection that was asked for.
    Arrival("outcome") {
        /// It is served.
        Admitted = "admitted",
        /// It was asked to prove its address, and to come again.
        Retry = "retry",
        /// Refused: too many connections are open.
        Full = "full",
        /// Refused: too many connections are open from its address.
        Address = "address",
        /// Refused: too many handshakes are under way.
        Handshakes = "handshakes",
        /// Refused: too many handshakes are under way from its address.
        AddressHandshakes = "address_handshakes",
        /// Its handshake failed or took too long.
        Failed = "failed",
    }

    /// What a QUIC connection speaks.
    QuicProtocol("protocol") {
        /// Frames in datagrams and streams.
        Frames = "gastank",
        /// HTTP/3, and WebTransport.
        Http3 = "h3",
    }

    /// Why a QUIC datagram was dropped.
    DatagramDrop("reason") {
        /// Too many waited to be read. Counted when the connection ends.
        Unread = "unread",
        /// Too many acks waited to be sent. Counted when the connection ends.
        Unsent = "unsent",
        /// It named no session that is open.
        NoSession = "no_session",
        /// It named no session at all.
        Malformed = "malformed",
        /// Too many stops were being committed.
        Settling = "settling",
    }

    /// What became of a WebTransport session that was asked for.
    WebTransportOutcome("outcome") {
        /// It was opened.
        Opened = "opened",
        /// Pages of its origin may not open any.
        Origin = "origin",
        /// Too many are open, in all or on its connection.
        Full = "full",
        /// Too many are open from its address.
        Address = "address",
        /// There are none at its path.
        Path = "path",
    }

    /// A buffer of a socket.
    UdpBuffer("buffer") {
        /// For datagrams that wait to be read.
        Receive = "receive",
        /// For datagrams that wait to be sent.
        Send = "send",
    }

    /// A kind of housekeeping.
    Housekeeping("task") {
        /// Makes and drops what has a date: signing keys, status lists, rows of the audit log and the heartbeat history.
        Dates = "dates",
        /// Clears away what acts that were cut off left behind.
        Leftovers = "leftovers",
    }

    /// A file of the store.
    StoreFile("file") {
        /// The data file.
        Data = "data",
        /// Its write-ahead log.
        Log = "log",
    }

    /// What a credit webhook came to.
    WebhookOutcome("outcome") {
        /// Time was bought.
        Credited = "credited",
        /// Time was taken back.
        Refunded = "refunded",
        /// It had come before.
        Repeated = "repeated",
        /// It waits until the person has an account.
        Held = "held",
        /// It is about something else.
        Ignored = "ignored",
        /// It is for an account that has been deleted.
        Undeliverable = "undeliverable",
        /// Nobody known signed it, or not lately.
        BadSignature = "bad_signature",
        /// It cannot be read, or cannot be.
        Refused = "refused",
        /// The service could not decide: store down, overloaded or warming up.
        Unavailable = "unavailable",
    }

    /// What an account event came to.
    EventOutcome("outcome") {
        /// Sessions from before a change of the password are over.
        PasswordChanged = "password_changed",
        /// A profile changed.
        ProfileChanged = "profile_changed",
        /// It is known what somebody has subscribed to.
        SubscriptionChanged = "subscription_changed",
        /// Somebody is gone.
        Deleted = "deleted",
        /// It has no effect here.
        Ignored = "ignored",
        /// It was dealt with before.
        Repeated = "repeated",
        /// Something later about the same thing was told before.
        Stale = "stale",
        /// It is about somebody who is gone.
        Gone = "gone",
        /// It is not the provider's, or cannot be read.
        Refused = "refused",
        /// The service could not decide: store or provider down, overloaded or warming up.
        Unavailable = "unavailable",
    }

    /// Which limit on acts was reached.
    ActLimit("by") {
        /// Acts of one account.
        Account = "account",
        /// Acts from one address.
        Address = "address",
        /// Webhooks and account events from one address.
        Hooks = "hooks",
    }

    /// How signing in with a token of an identity provider went. Everything after the first two is a refusal.
    SignIn("outcome") {
        /// The token is good.
        Accepted = "accepted",
        /// The provider was needed to tell, and could not.
        Unavailable = "unavailable",
        /// It names a key that nobody knows, and the provider was asked for its keys only seconds ago.
        Undecided = "undecided",
        /// It is no token.
        Malformed = "malformed",
        /// Its algorithm is not allowed.
        Algorithm = "algorithm",
        /// Its type is not allowed.
        Type = "type",
        /// It is another issuer's.
        Issuer = "issuer",
        /// It is for another audience.
        Audience = "audience",
        /// It lacks a scope.
        Scope = "scope",
        /// It is over.
        Expired = "expired",
        /// It has not begun.
        NotYet = "not_yet",
        /// It names nobody.
        Subject = "subject",
        /// The provider has no such key, or does not know the opaque token.
        Key = "key",
        /// It was not signed by that key.
        Signature = "signature",
    }

    /// How fetching an identity provider's keys went.
    KeyFetch("outcome") {
        /// The keys are here.
        Ok = "ok",
        /// The provider could not be asked.
        Failed = "failed",
        /// Its answer could not be used.
        Malformed = "malformed",
    }

    /// A route of the HTTP interface, as its template. Paths that no route matches are all `other`.
    Route("route") {
        /// Open a session.
        Activate = "/v1/activate",
        /// Renew a token.
        Renew = "/v1/renew",
        /// One heartbeat.
        Heartbeat = "/v1/heartbeat",
        /// Close the session.
        Deactivate = "/v1/deactivate",
        /// The caller's account.
        Account = "/v1/account",
        /// The caller's ledger.
        AccountEntries = "/v1/account/entries",
        /// A verdict for an edge.
        Introspect = "/oauth/introspect",
        /// Revocation by an edge.
        Revoke = "/oauth/revoke",
        /// The server's metadata, of an issuer with a path.
        MetadataOfPath = "/.well-known/oauth-authorization-server/{*path}",
        /// Token status lists.
        Status = "/oauth/status",
        /// One token status list.
        StatusList = "/oauth/status/{list}",
        /// The signing keys.
        Jwks = "/.well-known/jwks.json",
        /// The server's metadata.
        Metadata = "/.well-known/oauth-authorization-server",
        /// Credit from a shop.
        HookCredit = "/hooks/credit",
        /// Account events from the identity provider.
        HookAccountEvents = "/hooks/account-events",
        /// The interface's description.
        OpenApi = "/openapi.json",
        /// The page of an error.
        ErrorPage = "/errors/{code}",
        /// This exposition.
        Metrics = "/metrics",
        /// Is the process alive?
        HealthLive = "/health/live",
        /// May traffic come?
        HealthReady = "/health/ready",
        /// Make or list accounts.
        AdminAccounts = "/admin/accounts",
        /// One account.
        AdminAccount = "/admin/accounts/{id}",
        /// Give or take credit.
        AdminCredit = "/admin/accounts/{id}/credit",
        /// An account's ledger.
        AdminEntries = "/admin/accounts/{id}/entries",
        /// Make or list account keys.
        AdminKeys = "/admin/accounts/{id}/keys",
        /// One account key.
        AdminKey = "/admin/accounts/{id}/keys/{key_id}",
        /// Revoke a session.
        AdminRevoke = "/admin/sessions/{id}/revoke",
        /// What was heard of a session.
        AdminHistory = "/admin/sessions/{id}/history",
        /// Make or list edges.
        AdminEdges = "/admin/edges",
        /// One edge.
        AdminEdge = "/admin/edges/{client_id}",
        /// Make or list an edge's secrets.
        AdminEdgeSecrets = "/admin/edges/{client_id}/secrets",
        /// One secret of an edge.
        AdminEdgeSecret = "/admin/edges/{client_id}/secrets/{secret_id}",
        /// The signing keys.
        AdminSigningKeys = "/admin/keys",
        /// Rotate the signing keys.
        AdminRotate = "/admin/keys/rotate",
        /// Rotate the cluster secret.
        AdminRotateSecret = "/admin/keys/rotate-secret",
        /// The audit log.
        AdminAudit = "/admin/audit",
        /// How the service does.
        AdminStatus = "/admin/status",
        /// No route at all.
        Other = "other",
    }
}

impl Route {
    /// The route with this template, such as axum's matched path; [`Route::Other`] when there is none.
    pub fn of(template: &str) -> Self {
        let found = Self::VALUES.iter().position(|known| *known == template);
        found.map_or(Self::Other, |index| Self::ALL[index])
    }
}

impl StatusClass {
    /// The class of this status code.
    pub const fn of(status: u16) -> Self {
        match status {
            0..300 => Self::Success,
            300..400 => Self::Redirection,
            400..500 => Self::ClientError,
            500.. => Self::ServerError,
        }
    }
}

impl Label for EndReason {
    const NAME: &'static str = "reason";
    const VALUES: &'static [&'static str] = &END_REASONS;

    fn index(self) -> usize {
        self as usize - 1
    }
}

const END_REASONS: [&str; EndReason::ALL.len()] = {
    let mut names = [""; EndReason::ALL.len()];
    let mut i = 0;
    while i < names.len() {
        names[i] = EndReason::ALL[i].name();
        i += 1;
    }
    names
};

impl Label for EntryKind {
    const NAME: &'static str = "kind";
    const VALUES: &'static [&'static str] = &ENTRY_KINDS;

    fn index(self) -> usize {
        self as usize
    }
}

const ENTRY_KINDS: [&str; EntryKind::ALL.len()] = {
    let mut names = [""; EntryKind::ALL.len()];
    let mut i = 0;
    while i < names.len() {
        names[i] = EntryKind::ALL[i].name();
        i += 1;
    }
    names
};

/// What became of a heartbeat. The exposition names every end reason beside `invalid`, as `invalid_timed_out`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BeatOutcome {
    /// The session is open and was seen.
    Valid,
    /// The frame is good but nobody knows its session.
    Unknown,
    /// The session was ended by this frame.
    Stop,
    /// The frame was met with silence, and why.
    Bad(FrameError),
    /// The session is over, and why.
    Invalid(EndReason),
}

impl Label for BeatOutcome {
    const NAME: &'static str = "outcome";
    const VALUES: &'static [&'static str] = &[
        "valid",
        "unknown",
        "stop",
        "bad_length",
        "bad_version",
        "bad_kind",
        "forged",
        "bad_value",
        "invalid_superseded",
        "invalid_exhausted",
        "invalid_timed_out",
        "invalid_deactivated",
        "invalid_revoked",
        "invalid_logged_out",
        "invalid_account_deleted",
        "invalid_expired",
    ];

    fn index(self) -> usize {
        match self {
            Self::Valid => 0,
            Self::Unknown => 1,
            Self::Stop => 2,
            Self::Bad(FrameError::Length) => 3,
            Self::Bad(FrameError::Version) => 4,
            Self::Bad(FrameError::Kind) => 5,
            Self::Bad(FrameError::Tag) => 6,
            Self::Bad(FrameError::Value) => 7,
            Self::Invalid(reason) => 8 + reason.index(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_end_reason_has_its_own_outcome_of_a_heartbeat() {
        for reason in EndReason::ALL {
            let outcome = BeatOutcome::VALUES[BeatOutcome::Invalid(reason).index()];
            assert_eq!(outcome, format!("invalid_{}", reason.name()));
            assert_eq!(EndReason::VALUES[reason.index()], reason.name());
        }
        assert_eq!(BeatOutcome::VALUES.len(), 8 + EndReason::ALL.len());
    }

    #[test]
    fn every_kind_of_entry_is_found_under_its_name() {
        for kind in EntryKind::ALL {
            assert_eq!(EntryKind::VALUES[kind.index()], kind.name());
        }
    }

    #[test]
    fn a_route_is_found_by_its_template_and_anything_else_is_other() {
        assert_eq!(Route::of("/admin/accounts/{id}/credit"), Route::AdminCredit);
        for route in Route::ALL {
            assert_eq!(Route::of(Route::VALUES[route.index()]), *route);
        }
        assert_eq!(Route::of("/admin/accounts/7/credit"), Route::Other);
        assert_eq!(Route::of(""), Route::Other);
    }

    #[test]
    fn every_status_has_a_class() {
        let classes = [101, 200, 204, 301, 404, 499, 503, 999].map(|status| StatusClass::of(status).index());
        assert_eq!(classes, [0, 0, 0, 1, 2, 2, 3, 3]);
    }
}
