//! Cookies: a strict reader of what browsers send (RFC 6265bis, 5.8.3), and what they are told to keep.
//!
//! Only cookies whose names begin with [`PREFIX`] are read: browsers take these from this very host alone, over TLS or from this
//! machine, for the path `/`. What others have set for the host is passed over without a look at its value. A name that comes
//! twice is nobody's: no browser sends `__Host-` cookies so.

use axum::http::HeaderValue;
use hyper::{HeaderMap, header::COOKIE};

/// How the names of our cookies begin.
const PREFIX: &str = "__Host-gastank";
/// Bytes of all cookies of a request that are looked at.
const MAX_BYTES: usize = 32 * 1024;
/// Cookies of a request that are looked at.
const MAX_COOKIES: usize = 128;

/// Our cookies of a request.
#[derive(Debug, Default)]
pub(in crate::hub) struct Cookies<'a>(Vec<(&'a str, Option<&'a str>)>);

impl<'a> Cookies<'a> {
    /// Reads them. What is not as the standard has it is passed over.
    pub(in crate::hub) fn of(headers: &'a HeaderMap) -> Self {
        let mut cookies = Self::default();
        let (mut bytes, mut seen) = (0, 0);
        // HTTP/2 may cut the header into several (RFC 9113, 8.2.3).
        for value in headers.get_all(COOKIE) {
            bytes += value.len();
            if bytes > MAX_BYTES {
                break;
            }
            for pair in pairs(value.as_bytes()) {
                seen += 1;
                if seen > MAX_COOKIES {
                    return cookies;
                }
                // Cookies of others may have bytes that are no text. One of ours does not.
                if let Some(pair) =
                    pair.starts_with(PREFIX.as_bytes()).then(|| std::str::from_utf8(pair).ok()).flatten()
                {
                    cookies.take(pair);
                }
            }
        }
        cookies
    }

    fn take(&mut self, pair: &'a str) {
        let Some((name, value)) = pair.split_once('=') else { return };
        if !name.bytes().all(is_token) || !value.bytes().all(is_cookie_octet) {
            return;
        }
        match self.0.iter_mut().find(|(known, _)| *known == name) {
            Some((_, value)) => *value = None,
            None => self.0.push((name, Some(value))),
        }
    }

    /// The value of the cookie with this name.
    pub(in crate::hub) fn value(&self, name: &str) -> Option<&'a str> {
        self.0.iter().find(|(known, _)| *known == name).and_then(|(_, value)| *value)
    }

    /// The cookies whose names begin so.
    pub(in crate::hub) fn starting_with(&self, prefix: &str) -> impl Iterator<Item = (&'a str, &'a str)> {
        self.0
            .iter()
            .filter(move |(name, _)| name.starts_with(prefix))
            .filter_map(|(name, value)| Some((*name, (*value)?)))
    }
}

/// What is between one `; ` and the next.
fn pairs(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    const BETWEEN: &[u8] = b"; ";
    let mut from = 0;
    let ends = memchr::memmem::find_iter(line, BETWEEN).chain([line.len()]);
    ends.map(move |end| &line[std::mem::replace(&mut from, end + BETWEEN.len())..end])
}

/// A token of HTTP (RFC 9110, 5.6.2).
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// What a value is made of (RFC 6265bis, 4.1.1).
fn is_cookie_octet(byte: u8) -> bool {
    matches!(byte, 0x21 | 0x23..=0x2b | 0x2d..=0x3a | 0x3c..=0x5b | 0x5d..=0x7e)
}

/// Tells a browser to keep a cookie for so many seconds. `name` and `value` are ours.
pub(in crate::hub) fn keep(name: &str, value: &str, seconds: u64) -> HeaderValue {
    written(&format!("{name}={value}; Path=/; Secure; HttpOnly; SameSite=Lax; Max-Age={seconds}"))
}

/// Tells a browser to forget a cookie.
pub(in crate::hub) fn forget(name: &str) -> HeaderValue {
    written(&format!("{name}=; Path=/; Secure; HttpOnly; SameSite=Lax; Max-Age=0"))
}

fn written(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).expect("names and values of ours are visible ASCII")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn headers(lines: &[&str]) -> HeaderMap {
        lines.iter().map(|line| (COOKIE, HeaderValue::from_bytes(line.as_bytes()).unwrap())).collect()
    }

    #[test]
    fn our_cookies_are_read_and_those_of_others_passed_over() {
        let map =
            headers(&["a=b; __Host-gastank=x; odd; =; b=\"c,d\"; __Host-gastank-flow-1=y", "__Host-gastank-out=1"]);
        let cookies = Cookies::of(&map);
        assert_eq!(cookies.value("__Host-gastank"), Some("x"));
        assert_eq!(cookies.value("__Host-gastank-out"), Some("1"), "HTTP/2 may cut the header");
        assert_eq!(cookies.value("a"), None);
        assert_eq!(cookies.starting_with("__Host-gastank-flow-").collect::<Vec<_>>(), [("__Host-gastank-flow-1", "y")]);
    }

    #[test]
    fn a_cookie_of_others_that_is_no_ascii_does_not_sign_out() {
        for line in
            ["theme=größe; __Host-gastank=x", "__Host-gastank=x; theme=größe", "__Host-gastankö=y; __Host-gastank=x"]
        {
            assert_eq!(Cookies::of(&headers(&[line])).value("__Host-gastank"), Some("x"), "{line}");
        }
        let latin = HeaderValue::from_bytes(b"theme=gr\xf6\xdfe; __Host-gastank=x; __Host-gastank-\xff=y").unwrap();
        let map: HeaderMap = [(COOKIE, latin)].into_iter().collect();
        assert_eq!(Cookies::of(&map).starting_with("").collect::<Vec<_>>(), [("__Host-gastank", "x")]);
    }

    #[test]
    fn a_name_that_comes_twice_and_a_value_that_is_none_are_nobodys() {
        for line in [
            "__Host-gastank=x; __Host-gastank=x",
            "__Host-gastank=x; a=b; __Host-gastank=y; __Host-gastank=x",
            "__Host-gastank=\"x\"",
            "__Host-gastank=x y",
            "__Host-gastank=x,y",
            "__Host-gastank=x\\y",
            "__Host-gastank =x",
            " __Host-gastank=x",
            "a=b;__Host-gastank=x",
            "__host-gastank=x",
            "__Host-gastank",
        ] {
            assert_eq!(Cookies::of(&headers(&[line])).value("__Host-gastank"), None, "{line}");
        }
    }

    #[test]
    fn no_more_is_looked_at_than_the_limits_say() {
        let many = format!("{}__Host-gastank=x", "a=b; ".repeat(MAX_COOKIES));
        assert_eq!(Cookies::of(&headers(&[&many])).value("__Host-gastank"), None);
        let long = format!("a={}", "x".repeat(MAX_BYTES));
        assert_eq!(Cookies::of(&headers(&[&long, "__Host-gastank=x"])).value("__Host-gastank"), None);
    }

    proptest! {
        #[test]
        fn whatever_comes_is_read_without_harm_and_every_value_is_legal(bytes: Vec<u8>, name in "[a-z-]{0,8}") {
            let Ok(value) = HeaderValue::from_bytes(&bytes) else { return Ok(()) };
            let map: HeaderMap = [(COOKIE, value)].into_iter().collect();
            for (name, value) in Cookies::of(&map).starting_with("") {
                prop_assert!(name.starts_with(PREFIX) && value.bytes().all(is_cookie_octet));
            }
            let _ = Cookies::of(&map).value(&name);
        }

        #[test]
        fn what_a_browser_was_told_to_keep_is_read_back(name in "[A-Za-z0-9_-]{0,20}", value in "[A-Za-z0-9_.~-]{0,200}") {
            let name = format!("{PREFIX}{name}");
            let told = keep(&name, &value, 60);
            let pair = told.to_str().unwrap().split("; ").next().unwrap().to_owned();
            let line = format!("other=1; {pair}; more=2");
            let map = headers(&[&line]);
            prop_assert_eq!(Cookies::of(&map).value(&name), Some(value.as_str()));
        }
    }
}
