//! Paths that more than their handlers know.

/// Where edges ask about tokens.
pub(super) const INTROSPECT: &str = "/oauth/introspect";
/// Where edges revoke tokens.
pub(super) const REVOKE: &str = "/oauth/revoke";
/// Where browsers come from clients of the hub.
pub const AUTHORIZE: &str = "/oauth/authorize";
/// Where clients of the hub redeem codes.
pub const TOKEN: &str = "/oauth/token";
/// Where browsers come from clients of the hub that sign people out.
pub const LOGOUT: &str = "/oauth/logout";
/// Where clients of the hub ask who somebody is.
pub const USERINFO: &str = "/oauth/userinfo";
/// The route of a status list.
pub(super) const STATUS_LIST: &str = "/oauth/status/{list}";
/// Where webhooks bring credit.
pub(super) const CREDIT: &str = "/hooks/credit";
/// Where identity providers tell of people.
pub(super) const ACCOUNT_EVENTS: &str = "/hooks/account-events";

/// Whether the errors of a path are in the form of OAuth (RFC 6749, 5.2).
pub(super) fn is_oauth(path: &str) -> bool {
    matches!(path, INTROSPECT | REVOKE | TOKEN | USERINFO)
}
