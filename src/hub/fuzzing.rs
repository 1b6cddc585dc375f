//! For the fuzzer: readers of what browsers send.

use hyper::{
    HeaderMap,
    header::{COOKIE, HeaderValue},
};

use super::sign_in::cookies::Cookies;

/// Reads `Cookie` headers, one a line. Whether all that was found is a cookie of ours.
pub fn cookies(bytes: &[u8]) -> bool {
    let mut headers = HeaderMap::new();
    for line in bytes.split(|byte| *byte == b'\n').take(64) {
        let Ok(value) = HeaderValue::from_bytes(line) else { return true };
        headers.append(COOKIE, value);
    }
    let cookies = Cookies::of(&headers);
    cookies.starting_with("").all(|(name, value)| {
        name.starts_with("__Host-gastank")
            && value.bytes().all(|byte| byte.is_ascii_graphic() && !b"\",;\\".contains(&byte))
    })
}
