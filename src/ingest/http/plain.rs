//! Requests in their plainest form, read without a doubt about where they end.
//!
//! Two parsers that disagree about where a request ends are how requests are smuggled. So what is read here is only what
//! every parser of HTTP/1.1 reads alike: a request line known to the letter, header lines that end in CRLF and are not
//! folded, exactly one `Host`, exactly one `Content-Length` of a few digits, and nothing that changes how a body is framed
//! or a connection goes on. Everything else is [`Read::Other`] and is hyper's to judge, from its first byte on.

use super::site::ExpressRoute;

/// What stands at the front of the bytes that have come in.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Read<'a> {
    /// A whole request.
    Whole(Plain<'a>),
    /// The beginning of a plain request; its head is not complete.
    Head,
    /// The beginning of a plain request; its head is complete, its body is not.
    Body,
    /// Something else.
    Other,
}

/// A whole request.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Plain<'a> {
    pub(super) path: ExpressRoute,
    pub(super) content_type: Option<&'a [u8]>,
    pub(super) authorization: Option<&'a [u8]>,
    /// Whom a proxy speaks for, if it is a proxy that says so.
    pub(super) forwarded: Option<&'a [u8]>,
    pub(super) x_forwarded_for: Option<&'a [u8]>,
    pub(super) body: &'a [u8],
    /// Bytes of the request, head and body.
    pub(super) length: usize,
}

/// Bytes that a plain request has at most.
pub(super) const MAX_PLAIN: usize = 16 << 10;
/// Header lines that it has at most.
const MAX_HEADERS: usize = 48;
/// Headers that every parser has to look at before it knows where the request ends, or that ask for more than an answer.
const NOT_PLAIN: [&str; 8] = [
    "transfer-encoding",
    "connection",
    "expect",
    "upgrade",
    "trailer",
    "content-encoding",
    "proxy-connection",
    "origin",
];

/// Reads what stands at the front of `bytes`.
pub(super) fn read(bytes: &[u8]) -> Read<'_> {
    let Some((path, rest)) = request_line(bytes) else {
        let start_head = ExpressRoute::ALL.iter().any(|path| path.request_line().starts_with(bytes));
        return if start_head { Read::Head } else { Read::Other };
    };
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let (used, headers) = match httparse::parse_headers(rest, &mut headers) {
        Ok(httparse::Status::Complete(found)) => found,
        Ok(httparse::Status::Partial) if bytes.len() < MAX_PLAIN => return Read::Head,
        Ok(httparse::Status::Partial) | Err(_) => return Read::Other,
    };
    let (head, rest) = rest.split_at(used);
    if has_bare_line_feed(head) {
        return Read::Other;
    }
    let (mut content_type, mut authorization, mut length, mut host) = (None, None, None, None);
    let (mut forwarded, mut x_forwarded_for) = (None, None);
    for header in headers {
        let slot = match header.name.len() {
            4 if header.name.eq_ignore_ascii_case("host") => &mut host,
            12 if header.name.eq_ignore_ascii_case("content-type") => &mut content_type,
            13 if header.name.eq_ignore_ascii_case("authorization") => &mut authorization,
            14 if header.name.eq_ignore_ascii_case("content-length") => &mut length,
            9 if header.name.eq_ignore_ascii_case("forwarded") => &mut forwarded,
            15 if header.name.eq_ignore_ascii_case("x-forwarded-for") => &mut x_forwarded_for,
            10 if is_keep_alive(header) => continue,
            _ if NOT_PLAIN.iter().any(|name| header.name.eq_ignore_ascii_case(name)) => return Read::Other,
            _ => continue,
        };
        if slot.replace(header.value).is_some() {
            return Read::Other;
        }
    }
    let (Some(_), Some(length)) = (host, length.and_then(digits)) else { return Read::Other };
    if length > path.max_body() {
        return Read::Other;
    }
    match rest.get(..length) {
        Some(body) => {
            let length = path.request_line().len() + used + length;
            Read::Whole(Plain { path, content_type, authorization, forwarded, x_forwarded_for, body, length })
        }
        None if path.request_line().len() + used + length <= MAX_PLAIN => Read::Body,
        None => Read::Other,
    }
}

/// The path that a request line known to the letter is for, and what follows the line.
fn request_line(bytes: &[u8]) -> Option<(ExpressRoute, &[u8])> {
    ExpressRoute::ALL.into_iter().find_map(|path| Some((path, bytes.strip_prefix(path.request_line())?)))
}

/// What HTTP/1.1 means without being told.
fn is_keep_alive(header: &httparse::Header<'_>) -> bool {
    header.name.eq_ignore_ascii_case("connection") && header.value.eq_ignore_ascii_case(b"keep-alive")
}

/// One to five digits, as everybody reads them.
fn digits(value: &[u8]) -> Option<usize> {
    if !(1..=5).contains(&value.len()) {
        return None;
    }
    value.iter().try_fold(0, |number, byte| byte.is_ascii_digit().then(|| number * 10 + usize::from(byte - b'0')))
}

fn has_bare_line_feed(head: &[u8]) -> bool {
    let mut rest = head;
    while let Some(at) = memchr::memchr(b'\n', rest) {
        if at == 0 || rest[at - 1] != b'\r' {
            return true;
        }
        rest = &rest[at + 1..];
    }
    false
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HEAD: &str = "POST /oauth/introspect HTTP/1.1\r\nHost: x\r\n";

    fn whole(text: &str) -> Option<(ExpressRoute, usize, usize)> {
        match read(text.as_bytes()) {
            Read::Whole(plain) => Some((plain.path, plain.body.len(), plain.length)),
            _ => None,
        }
    }

    #[test]
    fn a_plain_request_is_read_and_what_follows_it_is_left() {
        let text =
            "POST /v1/heartbeat HTTP/1.1\r\nhost: x\r\nContent-Length: 3\r\nconnection: keep-alive\r\n\r\nabcPOST";
        assert_eq!(whole(text), Some((ExpressRoute::Heartbeat, 3, text.len() - 4)));
        let text = format!("{HEAD}content-type: a/b\r\nauthorization: Basic eA==\r\ncontent-length: 0\r\n\r\n");
        let Read::Whole(plain) = read(text.as_bytes()) else { panic!("{text}") };
        assert_eq!((plain.content_type, plain.authorization), (Some(&b"a/b"[..]), Some(&b"Basic eA=="[..])));
        assert_eq!((plain.path, plain.length, plain.body), (ExpressRoute::Introspect, text.len(), &b""[..]));
    }

    #[test]
    fn what_two_parsers_may_read_differently_is_not_plain() {
        for lines in [
            "Content-Length: 3\r\nContent-Length: 3\r\n",
            "Content-Length: 3\r\nContent-Length: 4\r\n",
            "Content-Length: 3, 3\r\n",
            "Content-Length: +3\r\n",
            "Content-Length: 0x3\r\n",
            "Content-Length: 3 \x0b\r\n",
            "Content-Length:\r\n",
            "Content-Length: 99999\r\n",
            "Content-Length: 000003\r\n",
            "Content-Length : 3\r\n",
            "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n",
            "Transfer-Encoding: chunked\r\n",
            "Transfer-Encoding: identity\r\nContent-Length: 3\r\n",
            "Content-Length: 3\r\nX: a\r\n b\r\n",
            "Content-Length: 3\r\nX: a\nTransfer-Encoding: chunked\r\n",
            "Content-Length: 3\n",
            "Content-Length: 3\r\nX: a\rb\r\n",
            "Content-Length: 3\r\nX: a\0b\r\n",
            "Content-Length: 3\r\nX\r\n",
            "Content-Length: 3\r\nX y: a\r\n",
            "Content-Length: 3\r\nHost: y\r\n",
            "Content-Length: 3\r\nExpect: 100-continue\r\n",
            "Content-Length: 3\r\nConnection: close\r\n",
            "Content-Length: 3\r\nConnection: keep-alive, transfer-encoding\r\n",
            "Content-Length: 3\r\nUpgrade: h2c\r\n",
            "Content-Length: 3\r\nTrailer: x\r\n",
            "Content-Length: 3\r\nAuthorization: Basic a\r\nAuthorization: Basic b\r\n",
            "Content-Length: 3\r\nContent-Type: a/b\r\nContent-Type: c/d\r\n",
            "",
        ] {
            assert_eq!(read(format!("{HEAD}{lines}\r\nabc").as_bytes()), Read::Other, "{lines:?}");
        }
        for start in [
            "GET /v1/heartbeat HTTP/1.1\r\n",
            "post /v1/heartbeat HTTP/1.1\r\n",
            "POST /v1/heartbeat HTTP/1.0\r\n",
            "POST  /v1/heartbeat HTTP/1.1\r\n",
            "POST /v1/heartbeat HTTP/1.1\n",
            "POST /v1/heartbeat?a HTTP/1.1\r\n",
            "POST /v1/heartbeat/ HTTP/1.1\r\n",
            "POST http://x/v1/heartbeat HTTP/1.1\r\n",
            "\r\nPOST /v1/heartbeat HTTP/1.1\r\n",
            "PRI * HTTP/2.0\r\n",
        ] {
            assert_eq!(
                read(format!("{start}Host: x\r\nContent-Length: 3\r\n\r\nabc").as_bytes()),
                Read::Other,
                "{start:?}"
            );
        }
        assert_eq!(read(b"POST /v1/heartbeat HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc"), Read::Other, "no host");
    }

    #[test]
    fn too_many_headers_or_too_long_ones_are_not_plain() {
        let many = "a: b\r\n".repeat(MAX_HEADERS);
        assert_eq!(read(format!("{HEAD}{many}content-length: 0\r\n\r\n").as_bytes()), Read::Other);
        let long = "a".repeat(MAX_PLAIN);
        assert_eq!(read(format!("{HEAD}x: {long}").as_bytes()), Read::Other);
        let body = "a".repeat(ExpressRoute::Introspect.max_body() + 1);
        assert_eq!(read(format!("{HEAD}content-length: {}\r\n\r\n{body}", body.len()).as_bytes()), Read::Other);
    }

    proptest! {
        #[test]
        fn a_plain_request_is_waited_for_at_every_cut(body in proptest::collection::vec(any::<u8>(), 0..200), more: bool) {
            let mut bytes = format!("{HEAD}Content-Length: {}\r\nX: y\r\n\r\n", body.len()).into_bytes();
            let head = bytes.len();
            bytes.extend(&body);
            for cut in 0..bytes.len() {
                let wanted = if cut < head { Read::Head } else { Read::Body };
                prop_assert_eq!(read(&bytes[..cut]), wanted, "{}", cut);
            }
            let length = bytes.len();
            if more {
                bytes.extend(b"POST");
            }
            let Read::Whole(plain) = read(&bytes) else { panic!("it is whole") };
            prop_assert_eq!((plain.length, plain.body), (length, &body[..]));
        }

        #[test]
        fn whatever_is_read_lies_within_what_has_come_in(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = read(&bytes);
            let bytes = [HEAD.as_bytes(), &bytes].concat();
            if let Read::Whole(plain) = read(&bytes) {
                prop_assert!(plain.length <= bytes.len());
            }
        }
    }
}
