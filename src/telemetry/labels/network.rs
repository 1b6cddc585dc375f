//! The labels of listeners, connections and requests.

use super::Label;

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
        /// Too many handshakes are in progress.
        Handshakes = "handshakes",
        /// Too many handshakes from its address are in progress.
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

    /// A pool of threads that serve connections.
    PoolName("crew") {
        /// The pool for all connections.
        Clients = "clients",
        /// The pool for edges.
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
        /// Make or list the earner tokens of the caller's account.
        Earners = "/v1/account/earners",
        /// One earner token.
        Earner = "/v1/account/earners/{earner_id}",
        /// Ask for a reward.
        Transaction = "/v1/transaction",
        /// Validate earner tokens.
        ValidateTokens = "/v1/validate-tokens",
        /// What apps and browser extensions are told.
        Client = "/v1/client",
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
        /// Orders and refunds of a shop.
        HookShopify = "/hooks/shopify",
        /// A script of pages and shops, or a frame.
        RewardsFile = "/v2/{file}",
        /// The script of shops.
        ShopScript = "/shopify-psicash.js",
        /// Account events from the identity provider.
        HookAccountEvents = "/hooks/account-events",
        /// Sign-outs at the identity provider.
        HookBackchannelLogout = "/hooks/backchannel-logout",
        /// A sign-in begins.
        SignIn = "/sign-in",
        /// A sign-in comes back from the identity provider.
        SignInCallback = "/sign-in/callback",
        /// The page of an account.
        AccountPage = "/account",
        /// The tank, for the script of that page.
        AccountTank = "/account/tank",
        /// A person closes their tap.
        AccountSwitchOff = "/account/switch-off",
        /// A person signs out.
        AccountSignOut = "/account/sign-out",
        /// A person's sign-ins.
        AccountSessions = "/account/sessions",
        /// One of them ends.
        AccountSessionsEnd = "/account/sessions/end",
        /// All others end.
        AccountSessionsEndOthers = "/account/sessions/end-others",
        /// All of them end.
        AccountSessionsEndAll = "/account/sessions/end-all",
        /// A person's ledger.
        AccountLedger = "/account/ledger",
        /// A person makes an account key.
        AccountKeysNew = "/account/keys/new",
        /// A person removes an account key.
        AccountKeysRemove = "/account/keys/remove",
        /// Style, script and icon of the pages.
        Asset = "/assets/{name}",
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
        /// An account's earner tokens.
        AdminEarners = "/admin/accounts/{id}/earners",
        /// One earner token of an account.
        AdminEarner = "/admin/accounts/{id}/earners/{earner_id}",
        /// What is paid for.
        AdminRewards = "/admin/rewards",
        /// Lines of orders that are kept for a refund.
        AdminKept = "/admin/rewards/kept",
        /// One line that is kept.
        AdminKeptLine = "/admin/rewards/kept/{shop}/{line}",
        /// One session.
        AdminSession = "/admin/sessions/{id}",
        /// Revoke a session.
        AdminRevoke = "/admin/sessions/{id}/revoke",
        /// What was heard of a session.
        AdminHistory = "/admin/sessions/{id}/history",
        /// The hub's clients.
        AdminClients = "/admin/clients",
        /// One of them.
        AdminClient = "/admin/clients/{client_id}",
        /// Its secrets.
        AdminClientSecrets = "/admin/clients/{client_id}/secrets",
        /// One of these.
        AdminClientSecret = "/admin/clients/{client_id}/secrets/{secret_id}",
        /// The OpenID provider's metadata.
        OpenIdConfiguration = "/.well-known/openid-configuration",
        /// Authorization requests of the hub's clients.
        OauthAuthorize = "/oauth/authorize",
        /// Codes that become handles.
        OauthToken = "/oauth/token",
        /// Browsers that clients send to sign out.
        OauthLogout = "/oauth/logout",
        /// What handles tell of people.
        OauthUserinfo = "/oauth/userinfo",
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

#[cfg(test)]
mod tests {
    use super::*;

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
