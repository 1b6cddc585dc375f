//! Responses to plain requests, written into one buffer.

use std::cell::RefCell;

use hyper::{HeaderMap, StatusCode};
use jiff::{Timestamp, fmt::rfc2822::DateTimePrinter};

use crate::time::UnixMs;

thread_local! {
    /// The second for which a `Date` was made last, and the header.
    static DATE: RefCell<(u64, String)> = const { RefCell::new((u64::MAX, String::new())) };
}

/// Writes the head of a 200 response that must not be cached. `length` is that of the body, which follows.
pub(super) fn ok(out: &mut Vec<u8>, content_type: &str, length: usize, wall: UnixMs) {
    out.extend_from_slice(b"HTTP/1.1 200 OK\r\ncontent-type: ");
    out.extend_from_slice(content_type.as_bytes());
    out.extend_from_slice(b"\r\ncache-control: no-store\r\n");
    end_head(out, length, wall);
}

/// Writes the head of any response. `length` is that of the body, which follows.
pub(super) fn any(out: &mut Vec<u8>, status: StatusCode, headers: &HeaderMap, length: usize, wall: UnixMs) {
    out.extend_from_slice(b"HTTP/1.1 ");
    out.extend_from_slice(status.as_str().as_bytes());
    out.push(b' ');
    out.extend_from_slice(status.canonical_reason().unwrap_or_default().as_bytes());
    out.extend_from_slice(b"\r\n");
    for (name, value) in headers {
        out.extend_from_slice(name.as_str().as_bytes());
        out.extend_from_slice(b": ");
        out.extend_from_slice(value.as_bytes());
        out.extend_from_slice(b"\r\n");
    }
    end_head(out, length, wall);
}

fn end_head(out: &mut Vec<u8>, length: usize, wall: UnixMs) {
    out.extend_from_slice(b"content-length: ");
    out.extend_from_slice(itoa::Buffer::new().format(length).as_bytes());
    DATE.with_borrow_mut(|(second, header)| {
        if *second != wall.as_secs() {
            *second = wall.as_secs();
            *header = date(*second).map_or_else(String::new, |date| format!("\r\ndate: {date}"));
        }
        out.extend_from_slice(header.as_bytes());
    });
    out.extend_from_slice(b"\r\n\r\n");
}

/// The HTTP date of a second since 1970. `None` past the year 9999.
fn date(second: u64) -> Option<String> {
    let at = Timestamp::from_second(i64::try_from(second).ok()?).ok()?;
    DateTimePrinter::new().timestamp_to_rfc9110_string(&at).ok()
}

#[cfg(test)]
mod tests {
    use hyper::header::{HeaderValue, RETRY_AFTER};

    use super::*;

    const WALL: UnixMs = UnixMs::from_ms(784_111_777_999);

    #[test]
    fn an_answer_says_what_it_is_how_long_and_when() {
        let mut out = Vec::new();
        ok(&mut out, "text/plain", 120, WALL);
        let head = "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncache-control: no-store\r\ncontent-length: 120\r\n\
                    date: Sun, 06 Nov 1994 08:49:37 GMT\r\n\r\n";
        assert_eq!(String::from_utf8(out).unwrap(), head);
    }

    #[test]
    fn any_status_and_headers_can_be_said() {
        let mut out = Vec::new();
        let headers = HeaderMap::from_iter([(RETRY_AFTER, HeaderValue::from_static("1"))]);
        any(&mut out, StatusCode::SERVICE_UNAVAILABLE, &headers, 0, WALL);
        let text = String::from_utf8(out).unwrap();
        assert!(
            text.starts_with("HTTP/1.1 503 Service Unavailable\r\nretry-after: 1\r\ncontent-length: 0\r\ndate: "),
            "{text}"
        );
    }
}
