//! Proxies in front, and the addresses of clients as they tell them.
//!
//! Behind a proxy every connection comes from the proxy's address, and what is limited by address would be limited for all
//! clients together. A proxy that is trusted says whom it speaks for. Three rules keep others from saying it:
//!
//! - Only a peer whose address is configured is believed.
//! - Only one header is read, that which the proxy sets. A proxy passes on the ones that it does not know.
//! - A header grows at its end. So it is read from there, hop by hop, for as long as the hops are proxies that are trusted:
//!   the first that is not is the client. What stands before it, the client may have written.

use std::{
    net::{IpAddr, SocketAddr},
    str::FromStr,
};

use hyper::{
    HeaderMap,
    header::{FORWARDED, HeaderName},
};
use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::Peer;

/// Hops that are followed, at most.
const MOST_HOPS: usize = 16;
/// How a line of version 1 of the PROXY protocol begins, and the bytes that it has at most.
const V1_PREFIX: &[u8] = b"PROXY ";
const V1_MOST: usize = 107;
/// What every proxy but those of the standard sets.
const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// How a proxy says whom it speaks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ProxyHeader {
    /// The header `X-Forwarded-For` of each request.
    #[default]
    XForwardedFor,
    /// The header `Forwarded` of each request (RFC 7239).
    Forwarded,
    /// The PROXY protocol, version 1 or 2, at the beginning of each connection.
    ProxyProtocol,
}

/// The proxies that are trusted.
#[derive(Clone, Debug, Default)]
pub struct Proxies {
    trusted: Vec<IpNet>,
    header: ProxyHeader,
}

/// What stands at the beginning of a connection.
#[derive(Debug, PartialEq, Eq)]
pub enum Announced {
    /// The connection is for this client, and the announcement has so many bytes.
    For(SocketAddr, usize),
    /// The proxy speaks for itself or for somebody without an address; the announcement has so many bytes.
    Itself(usize),
    /// More has to come in.
    Incomplete,
    /// No announcement.
    Malformed,
}

impl Proxies {
    /// Bytes of an announcement, at most: a header of version 2 with extensions of a usual length.
    pub const MAX_ANNOUNCEMENT: usize = 1024;

    /// Trusts these addresses.
    pub fn new(trusted: Vec<IpNet>, header: ProxyHeader) -> Self {
        Self { trusted, header }
    }

    /// Whether this is the address of a proxy that is trusted.
    pub fn trust(&self, ip: IpAddr) -> bool {
        let ip = ip.to_canonical();
        self.trusted.iter().any(|network| network.contains(&ip))
    }

    /// Whether a connection from this peer begins with an announcement.
    pub fn announces(&self, peer: Peer) -> bool {
        self.header == ProxyHeader::ProxyProtocol && self.trust(peer.0.ip())
    }

    /// Whom a request is from that came from this peer.
    pub fn client(&self, peer: Peer, headers: &HeaderMap) -> Peer {
        if self.trusted.is_empty() || !self.trust(peer.0.ip()) {
            return peer;
        }
        match self.header {
            ProxyHeader::ProxyProtocol => peer,
            ProxyHeader::XForwardedFor => self.follow(peer, backwards(headers, &X_FORWARDED_FOR).map(address)),
            ProxyHeader::Forwarded => self.follow(peer, backwards(headers, &FORWARDED).map(forwarded_for)),
        }
    }

    /// Follows hops, the nearest first, to the first that is not trusted. Where one cannot be read, the last before it counts.
    fn follow(&self, peer: Peer, hops: impl Iterator<Item = Option<SocketAddr>>) -> Peer {
        let mut client = peer;
        for hop in hops.take(MOST_HOPS) {
            let Some(hop) = hop else { break };
            client = Peer(hop);
            if !self.trust(hop.ip()) {
                break;
            }
        }
        client
    }
}

/// Reads the announcement at the beginning of a connection.
pub fn announced(bytes: &[u8]) -> Announced {
    use ppp::{HeaderResult, PartialResult, v1, v2};

    let is_line = bytes.starts_with(V1_PREFIX);
    let mut bytes = bytes;
    if is_line {
        // The line ends with the first CR LF. The parser takes a CR by itself for the end, and a line that was cut in the middle of an
        // address for a wrong one.
        let end = bytes.iter().take(V1_MOST).position(|byte| *byte == b'\n');
        match end {
            None if bytes.len() < V1_MOST => return Announced::Incomplete,
            Some(end) if bytes[..end].iter().position(|byte| *byte == b'\r') == end.checked_sub(1) => {
                bytes = &bytes[..=end];
            }
            _ => return Announced::Malformed,
        }
    }
    let result = HeaderResult::parse(bytes);
    if result.is_incomplete() {
        // Nothing is missing from a line that has ended.
        let more_may_come = !is_line && bytes.len() < Proxies::MAX_ANNOUNCEMENT;
        return if more_may_come { Announced::Incomplete } else { Announced::Malformed };
    }
    let (source, length) = match result {
        HeaderResult::V1(Ok(header)) => {
            let source = match header.addresses {
                v1::Addresses::Tcp4(tcp) => Some((tcp.source_address.into(), tcp.source_port)),
                v1::Addresses::Tcp6(tcp) => Some((tcp.source_address.into(), tcp.source_port)),
                v1::Addresses::Unknown => None,
            };
            (source, header.header.len())
        }
        HeaderResult::V2(Ok(header)) => {
            let source: Option<(IpAddr, u16)> = match header.addresses {
                _ if header.command == v2::Command::Local => None,
                v2::Addresses::IPv4(ip) => Some((ip.source_address.into(), ip.source_port)),
                v2::Addresses::IPv6(ip) => Some((ip.source_address.into(), ip.source_port)),
                v2::Addresses::Unspecified | v2::Addresses::Unix(_) => None,
            };
            (source, header.len())
        }
        HeaderResult::V1(Err(_)) | HeaderResult::V2(Err(_)) => return Announced::Malformed,
    };
    match source {
        _ if length > Proxies::MAX_ANNOUNCEMENT => Announced::Malformed,
        Some(source) => Announced::For(source.into(), length),
        None => Announced::Itself(length),
    }
}

/// The elements of a header's lines, the last first. In bytes: what a client wrote before need not be text, and does not
/// spoil what a proxy has added to the same line.
fn backwards<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a [u8]> + use<'a> {
    headers.get_all(name).iter().rev().flat_map(|line| Elements { rest: Some(line.as_bytes()), separator: b',' })
}

/// The elements of a list, the last first. A separator between quotes parts nothing, as they look from the end: what a
/// client wrote before cannot swallow what a proxy has added.
struct Elements<'a> {
    rest: Option<&'a [u8]>,
    separator: u8,
}

impl<'a> Iterator for Elements<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let bytes = self.rest?;
        let mut quoted = false;
        for at in (0..bytes.len()).rev() {
            match bytes[at] {
                b'"' => {
                    let escapes = bytes[..at].iter().rev().take_while(|byte| **byte == b'\\').count();
                    quoted ^= escapes % 2 == 0;
                }
                byte if byte == self.separator && !quoted => {
                    self.rest = Some(&bytes[..at]);
                    return Some(bytes[at + 1..].trim_ascii());
                }
                _ => {}
            }
        }
        self.rest = None;
        Some(bytes.trim_ascii())
    }
}

/// The client of an element of `Forwarded`. Proxies repeat what a client calls the host, in quotes: whatever stands there is
/// no parameter.
fn forwarded_for(element: &[u8]) -> Option<SocketAddr> {
    let mut found = None;
    for pair in (Elements { rest: Some(element), separator: b';' }) {
        let equals = pair.iter().position(|byte| *byte == b'=')?;
        let (name, value) = (pair[..equals].trim_ascii(), pair[equals + 1..].trim_ascii());
        if name.eq_ignore_ascii_case(b"for") && found.replace(value).is_some() {
            return None;
        }
    }
    let value = found?;
    let value = value.strip_prefix(b"\"").and_then(|value| value.strip_suffix(b"\"")).unwrap_or(value);
    address(value)
}

/// An address as proxies write it: with a port or without, IPv6 in brackets or not. Without a port it is 0.
fn address(bytes: &[u8]) -> Option<SocketAddr> {
    let text = std::str::from_utf8(bytes).ok()?;
    if let Ok(whole) = SocketAddr::from_str(text) {
        return Some(whole);
    }
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    bare.parse().ok().map(|ip: IpAddr| SocketAddr::new(ip, 0))
}

/// What must hold of whatever comes from outside.
///
/// An announcement ends where it ends, whatever follows, and is not taken for whole before. What a client writes into a
/// header, before what a proxy adds, in the same line or in one of its own, does not change whom the request is from.
#[cfg(any(test, fuzzing))]
fn holds(bytes: &[u8]) {
    use hyper::header::HeaderValue;

    match announced(bytes) {
        whole @ (Announced::For(_, length) | Announced::Itself(length)) => {
            assert!(length <= bytes.len() && length <= Proxies::MAX_ANNOUNCEMENT, "{length} of {bytes:?}");
            assert_eq!(announced(&bytes[..length]), whole);
            assert_eq!(announced(&bytes[..length - 1]), Announced::Incomplete);
        }
        Announced::Incomplete => assert!(bytes.len() < Proxies::MAX_ANNOUNCEMENT),
        Announced::Malformed => {}
    }
    let (proxy, client) = (IpAddr::from([10, 0, 0, 1]), IpAddr::from([192, 0, 2, 7]));
    let host: Vec<u8> = bytes
        .iter()
        .flat_map(|byte| match byte {
            b'"' | b'\\' => vec![b'\\', *byte],
            byte => vec![*byte],
        })
        .collect();
    let of_host = [b"for=192.0.2.7;host=\"", &host[..], b"\";proto=https"].concat();
    for (header, name, added) in [
        (ProxyHeader::XForwardedFor, X_FORWARDED_FOR, &b"192.0.2.7"[..]),
        (ProxyHeader::Forwarded, FORWARDED, b"proto=https;for=192.0.2.7"),
        (ProxyHeader::Forwarded, FORWARDED, &of_host),
    ] {
        let proxies = Proxies::new(vec![IpNet::from(proxy)], header);
        for lines in [vec![[bytes, b", ", added].concat()], vec![bytes.to_vec(), added.to_vec()]] {
            let Ok(lines) = lines.iter().map(|line| HeaderValue::from_bytes(line)).collect::<Result<Vec<_>, _>>()
            else {
                continue;
            };
            let headers: HeaderMap = lines.into_iter().map(|line| (name.clone(), line)).collect();
            let found = proxies.client(Peer(SocketAddr::new(proxy, 4711)), &headers);
            assert_eq!(found.0.ip(), client, "{headers:?}");
        }
    }
}

/// For the fuzzer: reads bytes as what a proxy says, and panics where something does not hold that must.
#[cfg(fuzzing)]
pub fn fuzz(bytes: &[u8]) {
    holds(bytes);
}

#[cfg(test)]
mod tests {
    use hyper::header::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    const PROXY: &str = "10.0.0.1:4711";

    fn proxies(header: ProxyHeader) -> Proxies {
        Proxies::new(["10.0.0.0/8", "2001:db8:1::/48"].map(|net| net.parse().unwrap()).to_vec(), header)
    }

    fn client(header: ProxyHeader, peer: &str, lines: &[(&'static str, &str)]) -> String {
        let mut headers = HeaderMap::new();
        for (name, line) in lines {
            headers.append(HeaderName::from_static(name), HeaderValue::from_str(line).unwrap());
        }
        proxies(header).client(Peer(peer.parse().unwrap()), &headers).0.ip().to_string()
    }

    fn x(lines: &[&str]) -> String {
        let lines: Vec<_> = lines.iter().map(|line| ("x-forwarded-for", *line)).collect();
        client(ProxyHeader::XForwardedFor, PROXY, &lines)
    }

    fn forwarded(lines: &[&str]) -> String {
        let lines: Vec<_> = lines.iter().map(|line| ("forwarded", *line)).collect();
        client(ProxyHeader::Forwarded, PROXY, &lines)
    }

    #[test]
    fn the_right_most_hop_that_is_not_trusted_counts() {
        for (lines, wanted) in [
            (&["192.0.2.7"][..], "192.0.2.7"),
            (&["1.1.1.1, 192.0.2.7"], "192.0.2.7"),
            (&["1.1.1.1", "192.0.2.7, 10.2.3.4"], "192.0.2.7"),
            (&["1.1.1.1, 192.0.2.7", "10.9.9.9", "2001:db8:1::5"], "192.0.2.7"),
            (&["192.0.2.7:1234"], "192.0.2.7"),
            (&["[2001:db8::7]:1234"], "2001:db8::7"),
            (&["2001:db8::7"], "2001:db8::7"),
            (&["::ffff:10.1.1.1"], "::ffff:10.1.1.1"),
            (&["192.0.2.9, ::ffff:10.1.1.1"], "192.0.2.9"),
            // All are proxies: the furthest of them.
            (&["10.3.3.3, 10.2.2.2"], "10.3.3.3"),
            // What cannot be read is nobody's: the proxy that wrote it.
            (&["unknown"], "10.0.0.1"),
            (&["192.0.2.7, nonsense"], "10.0.0.1"),
            (&["192.0.2.7, nonsense, 10.2.2.2"], "10.2.2.2"),
            (&[""], "10.0.0.1"),
            (&[], "10.0.0.1"),
        ] {
            assert_eq!(x(lines), wanted, "{lines:?}");
        }
    }

    #[test]
    fn forwarded_is_read_as_its_standard_says() {
        for (lines, wanted) in [
            (&["for=192.0.2.7"][..], "192.0.2.7"),
            (&["For=\"[2001:db8::7]:47011\";proto=https;by=10.0.0.1"], "2001:db8::7"),
            (&["for=1.1.1.1, proto=http;for=192.0.2.7, for=10.1.1.1"], "192.0.2.7"),
            (&["for=192.0.2.7;host=\"a, b\\\", for=1.1.1.1\""], "192.0.2.7"),
            // What the client calls the host is in quotes, and no parameter.
            (&["for=192.0.2.7;host=\"a;for=1.1.1.1\";proto=https"], "192.0.2.7"),
            // A client's unfinished quote does not reach what the proxy has added.
            (&["for=\"1.1.1.1, for=192.0.2.7"], "192.0.2.7"),
            (&["for=1.1.1.1\", for=192.0.2.7"], "192.0.2.7"),
            (&["for=_hidden"], "10.0.0.1"),
            (&["for=unknown, for=10.1.1.1"], "10.1.1.1"),
            (&["for=1.1.1.1;for=192.0.2.7"], "10.0.0.1"),
            (&["by=10.0.0.1"], "10.0.0.1"),
        ] {
            assert_eq!(forwarded(lines), wanted, "{lines:?}");
        }
    }

    #[test]
    fn nobody_else_is_believed_and_no_other_header() {
        let lines = [("x-forwarded-for", "192.0.2.7"), ("forwarded", "for=192.0.2.8")];
        assert_eq!(client(ProxyHeader::XForwardedFor, "198.51.100.1:1", &lines), "198.51.100.1");
        assert_eq!(client(ProxyHeader::XForwardedFor, PROXY, &lines), "192.0.2.7");
        assert_eq!(client(ProxyHeader::Forwarded, PROXY, &lines), "192.0.2.8");
        assert_eq!(client(ProxyHeader::ProxyProtocol, PROXY, &lines), "10.0.0.1");
        let headers = HeaderMap::from_iter([(X_FORWARDED_FOR, HeaderValue::from_static("192.0.2.7"))]);
        let peer = Peer(PROXY.parse().unwrap());
        assert!(Proxies::default().client(peer, &headers) == peer, "by default nobody is trusted");
    }

    #[test]
    fn what_a_client_writes_that_is_no_text_does_not_hide_it_behind_the_proxy() {
        for (header, name, added) in [
            (ProxyHeader::XForwardedFor, X_FORWARDED_FOR, &b"192.0.2.7"[..]),
            (ProxyHeader::Forwarded, FORWARDED, b"for=192.0.2.7"),
        ] {
            let line = HeaderValue::from_bytes(&[b"\xff\xe9, ", added].concat()).unwrap();
            let headers = HeaderMap::from_iter([(name, line)]);
            let client = proxies(header).client(Peer(PROXY.parse().unwrap()), &headers);
            assert_eq!(client.0.ip().to_string(), "192.0.2.7");
        }
    }

    #[test]
    fn announcements_of_both_versions_are_read() {
        let from = |text: &str| text.parse::<SocketAddr>().unwrap();
        let one = b"PROXY TCP4 192.0.2.7 10.0.0.1 4711 443\r\nGET /";
        assert_eq!(announced(one), Announced::For(from("192.0.2.7:4711"), one.len() - 5));
        let six = b"PROXY TCP6 2001:db8::7 2001:db8::1 4711 443\r\n";
        assert_eq!(announced(six), Announced::For(from("[2001:db8::7]:4711"), six.len()));
        assert_eq!(announced(b"PROXY UNKNOWN\r\n"), Announced::Itself(15));
        let signature = b"\r\n\r\n\0\r\nQUIT\n";
        let addresses = [192, 0, 2, 7, 10, 0, 0, 1, 0x12, 0x67, 1, 187];
        let two = |command: u8, extension: &[u8]| {
            let length = u16::try_from(addresses.len() + extension.len()).unwrap().to_be_bytes();
            [&signature[..], &[0x20 | command, 0x11], &length, &addresses, extension, b"POST"].concat()
        };
        assert_eq!(announced(&two(1, &[])), Announced::For(from("192.0.2.7:4711"), 28));
        assert_eq!(announced(&two(1, &[4, 0, 2, 0, 0])), Announced::For(from("192.0.2.7:4711"), 33));
        assert_eq!(announced(&two(0, &[])), Announced::Itself(28), "the proxy asks how we are");
        for bytes in
            [&b"GET / HTTP/1.1\r\n\r\n"[..], b"PROXY TCP4 nobody 10.0.0.1 1 2\r\n", b"\x16\x03\x01\x02\x00\x01"]
        {
            assert_eq!(announced(bytes), Announced::Malformed, "{bytes:?}");
        }
        // Only CR LF ends a line.
        assert_eq!(announced(b"PROXY UNKNOWN \n\rPROXY UNKNOWN UN\0\0\0\0\r\n"), Announced::Malformed);
        assert_eq!(announced(b"PROXY UNKNOWN \rPROXY UNKNOWN UN\r\n"), Announced::Malformed);
        assert_eq!(announced(b"PROXY UNKNOWN UN\rX"), Announced::Incomplete);
        assert_eq!(announced(b"PROXY \r\n"), Announced::Malformed);
        for whole in [&one[..one.len() - 5], &six[..], &two(1, &[])[..28]] {
            for cut in 0..whole.len() {
                assert_eq!(announced(&whole[..cut]), Announced::Incomplete, "{cut} of {whole:?}");
            }
        }
    }

    proptest! {
        #[test]
        fn whatever_a_client_writes_before_does_not_matter(before in "[ -~]{0,40}", quotes in "[\",\\\\;= a]{0,12}") {
            for before in [before, quotes] {
                prop_assert_eq!(x(&[&format!("{before}, 192.0.2.7")]), "192.0.2.7");
                prop_assert_eq!(forwarded(&[&format!("{before}, for=192.0.2.7;proto=https")]), "192.0.2.7");
                prop_assert_eq!(x(&[&before, "192.0.2.7, 10.1.1.1"]), "192.0.2.7");
                prop_assert_eq!(forwarded(&[&before, "for=192.0.2.7, for=10.1.1.1"]), "192.0.2.7");
            }
        }

        #[test]
        fn whatever_comes_from_outside_cannot_say_who_it_is(
            bytes in proptest::collection::vec(any::<u8>(), 0..80),
            text in "[\",;= a-z0-9.\\\\\\[\\]:]{0,40}",
        ) {
            let signature = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0";
            holds(text.as_bytes());
            holds(&bytes);
            holds(&[&signature[..], &bytes].concat());
            holds(&[b"PROXY ", &bytes[..]].concat());
            holds(format!("PROXY TCP4 {text}\r\n").as_bytes());
        }
    }
}
