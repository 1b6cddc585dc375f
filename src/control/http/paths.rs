//! Paths that more than their handlers know.

/// Where edges ask about tokens.
pub(super) const INTROSPECT: &str = "/oauth/introspect";
/// Where edges revoke tokens.
pub(super) const REVOKE: &str = "/oauth/revoke";
/// Where clients of the hub redeem codes.
pub(super) const TOKEN: &str = "/oauth/token";
/// The route of a status list.
pub(super) const STATUS_LIST: &str = "/oauth/status/{list}";
/// Where webhooks bring credit.
pub(super) const CREDIT: &str = "/hooks/credit";
/// Where identity providers tell of people.
pub(super) const ACCOUNT_EVENTS: &str = "/hooks/account-events";
