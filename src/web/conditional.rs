//! Conditional requests: whether a caller has the version already that it would be given (RFC 9110, 13.1.2).

use hyper::{HeaderMap, header::IF_NONE_MATCH};

/// Whether the caller has the version that `tag`, an entity tag with its quotes, names. Caches in between may have made the tag
/// a weak one.
pub fn is_known(tag: &str, headers: &HeaderMap) -> bool {
    let lines = headers.get_all(IF_NONE_MATCH).iter().filter_map(|line| line.to_str().ok());
    lines
        .flat_map(|line| line.split(','))
        .map(str::trim)
        .any(|known| known == "*" || known.strip_prefix("W/").unwrap_or(known) == tag)
}
