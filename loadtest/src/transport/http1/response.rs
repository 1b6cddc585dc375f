//! Reading an answer out of the bytes that have come.

use std::io;

use super::super::HttpReply;

/// How long an answer's head may be.
const MAX_HEAD: usize = 16 << 10;
/// How long an answer's body may be: a status list is the longest.
const MAX_BODY: usize = 4 << 20;
/// How many headers an answer may have.
const MAX_HEADERS: usize = 64;

/// The bytes of an answer, as far as they have come.
#[derive(Default)]
pub(super) struct Response {
    bytes: Vec<u8>,
}

/// What a head says of what follows.
struct Head {
    status: u16,
    retry_after_s: Option<u16>,
    body: Body,
    last: bool,
    len: usize,
}

#[derive(Clone, Copy)]
enum Body {
    Length(usize),
    Chunked,
    UntilClosed,
}

impl Response {
    pub(super) fn push(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.bytes.len() + bytes.len() > MAX_HEAD + MAX_BODY {
            return Err(invalid("an answer is too long"));
        }
        self.bytes.extend_from_slice(bytes);
        Ok(())
    }

    /// The answer, once it is there as a whole, and whether the server closes after it. `over`: no more bytes will come.
    pub(super) fn take(&mut self, over: bool) -> io::Result<Option<(HttpReply, bool)>> {
        let head = match parse(&self.bytes)? {
            Some(head) if head.status == 100 => {
                self.bytes.drain(..head.len);
                return self.take(over);
            }
            Some(head) => head,
            None if self.bytes.len() > MAX_HEAD => return Err(invalid("an answer's head is too long")),
            None => return Ok(None),
        };
        let rest = &self.bytes[head.len..];
        let (body, end) = match head.body {
            Body::Length(length) if rest.len() >= length => (rest[..length].to_vec(), head.len + length),
            Body::Length(_) => return Ok(None),
            Body::UntilClosed if over => (rest.to_vec(), self.bytes.len()),
            Body::UntilClosed => return Ok(None),
            Body::Chunked => match unchunk(rest)? {
                Some((body, length)) => (body, head.len + length),
                None => return Ok(None),
            },
        };
        self.bytes.drain(..end);
        let reply = HttpReply { status: head.status, retry_after_s: head.retry_after_s, body };
        Ok(Some((reply, head.last)))
    }
}

fn parse(bytes: &[u8]) -> io::Result<Option<Head>> {
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut response = httparse::Response::new(&mut headers);
    let len = match response.parse(bytes) {
        Ok(httparse::Status::Complete(len)) => len,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(error) => return Err(invalid(error)),
    };
    let status = response.code.unwrap_or_default();
    let mut head =
        Head { status, retry_after_s: None, body: Body::UntilClosed, last: response.version == Some(0), len };
    for header in &*response.headers {
        let value = header.value.trim_ascii();
        let number = || std::str::from_utf8(value).ok()?.parse::<usize>().ok();
        if header.name.eq_ignore_ascii_case("content-length") {
            let length = number().filter(|length| *length <= MAX_BODY);
            head.body = Body::Length(length.ok_or_else(|| invalid("an answer's length makes no sense"))?);
        } else if header.name.eq_ignore_ascii_case("transfer-encoding") {
            head.body = Body::Chunked;
        } else if header.name.eq_ignore_ascii_case("retry-after") {
            head.retry_after_s = number().map(|seconds| u16::try_from(seconds).unwrap_or(u16::MAX));
        } else if header.name.eq_ignore_ascii_case("connection") && value.eq_ignore_ascii_case(b"close") {
            head.last = true;
        }
    }
    if status == 204 || status == 304 || status == 100 {
        head.body = Body::Length(0);
    }
    Ok(Some(head))
}

/// The body in chunks, once it is there as a whole, and how many bytes it takes up.
fn unchunk(bytes: &[u8]) -> io::Result<Option<(Vec<u8>, usize)>> {
    let (mut body, mut at) = (Vec::new(), 0);
    loop {
        let (digits, length) = match httparse::parse_chunk_size(&bytes[at..]) {
            Ok(httparse::Status::Complete((digits, length))) => (digits, length),
            Ok(httparse::Status::Partial) => return Ok(None),
            Err(_) => return Err(invalid("a chunk's length makes no sense")),
        };
        let length = usize::try_from(length).ok().filter(|length| *length <= MAX_BODY);
        let length = length.ok_or_else(|| invalid("a chunk is too long"))?;
        at += digits;
        let Some(chunk) = bytes.get(at..at + length + 2) else { return Ok(None) };
        at += length + 2;
        if length == 0 {
            return Ok(Some((body, at)));
        }
        body.extend_from_slice(&chunk[..length]);
    }
}

fn invalid(why: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answers(bytes: &[u8], piece: usize, over: bool) -> io::Result<Vec<(u16, Vec<u8>, bool)>> {
        let mut response = Response::default();
        let mut answers = Vec::new();
        for piece in bytes.chunks(piece) {
            response.push(piece)?;
            while let Some((reply, last)) = response.take(false)? {
                answers.push((reply.status, reply.body, last));
            }
        }
        if let Some((reply, last)) = response.take(over)? {
            answers.push((reply.status, reply.body, last));
        }
        Ok(answers)
    }

    #[test]
    fn an_answer_is_read_however_its_bytes_are_cut() {
        let bytes = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabcHTTP/1.1 204 No\r\n\r\n\
            HTTP/1.1 503 Busy\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n2\r\nxy\r\n1\r\nz\r\n0\r\n\r\n";
        for piece in 1..bytes.len() {
            let expected = [(200, b"abc".to_vec(), false), (204, Vec::new(), false), (503, b"xyz".to_vec(), true)];
            assert_eq!(answers(bytes, piece, false).unwrap(), expected, "{piece}");
        }
    }

    #[test]
    fn a_body_of_no_stated_length_ends_when_the_server_closes() {
        let bytes = b"HTTP/1.0 200 OK\r\n\r\nall of it";
        assert_eq!(answers(bytes, 7, false).unwrap(), []);
        assert_eq!(answers(bytes, 7, true).unwrap(), [(200, b"all of it".to_vec(), true)]);
    }

    #[test]
    fn what_is_no_http_or_too_long_is_refused() {
        for bytes in [
            "SSH-2.0-x\r\n\r\n".to_owned(),
            "HTTP/1.1 200 OK\r\ncontent-length: 99999999999\r\n\r\n".to_owned(),
            "HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n".to_owned(),
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n".to_owned(),
            format!("HTTP/1.1 200 OK\r\nx: {}\r\n", "y".repeat(MAX_HEAD)),
        ] {
            assert!(answers(bytes.as_bytes(), 1 << 10, false).is_err(), "{bytes}");
        }
    }

    #[test]
    fn retry_after_is_told() {
        let mut response = Response::default();
        response.push(b"HTTP/1.1 503 Busy\r\nRetry-After: 7\r\ncontent-length: 0\r\n\r\n").unwrap();
        assert_eq!(response.take(false).unwrap().unwrap().0.retry_after_s, Some(7));
    }
}
