//! A load of RADIUS accounting requests (RFC 2866): interim updates, which are what a heartbeat is to RADIUS.
//!
//! Every request has a right authenticator, and every answer's is checked. An id is a byte, so that a socket can have 256
//! requests under way; there are enough sockets for the rate. The loop is open: a request is sent when it is due.

use std::{
    io::{self, ErrorKind},
    net::{Ipv4Addr, SocketAddr, UdpSocket},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use md5::{Digest, Md5};
use serde_json::json;

const ACCOUNTING_REQUEST: u8 = 4;
const ACCOUNTING_RESPONSE: u8 = 5;
/// Code, id and length of a packet; the authenticator follows.
const HEAD: usize = 4;
/// Head and authenticator.
const HEADER: usize = 20;
/// One id for each.
const IDS: usize = 256;
const SOCKETS: usize = 32;
/// How long to wait for what is missing at the end.
const PATIENCE: Duration = Duration::from_millis(500);

/// Sends at `rate` a second for `duration`, and prints what came of it.
pub(crate) fn run(addr: SocketAddr, secret: &[u8], rate: f64, duration: Duration) -> anyhow::Result<()> {
    ensure!(rate > 0.0 && duration > Duration::ZERO, "there is nothing to send");
    let mut lines = (0..SOCKETS).map(|_| Line::open(addr)).collect::<io::Result<Vec<_>>>().context("no sockets")?;
    let began = now();
    let (mut sent, mut good, mut bad, mut skipped) = (0u64, 0u64, 0u64, 0u64);
    loop {
        let elapsed = now() - began;
        let over = elapsed >= duration;
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is positive and small")]
        let due = (elapsed.min(duration).as_secs_f64() * rate) as u64;
        while sent + skipped < due {
            #[expect(clippy::cast_possible_truncation, reason = "the remainder is small")]
            let line = &mut lines[(sent % SOCKETS as u64) as usize];
            // All ids of the socket are under way: the server is that far behind.
            if line.ask(secret, sent)? { sent += 1 } else { skipped += 1 }
        }
        for line in &mut lines {
            line.take(secret, &mut good, &mut bad)?;
        }
        if over && (good + bad == sent || elapsed > duration + PATIENCE) {
            break;
        }
        thread::sleep(Duration::from_micros(200));
    }
    let lost = sent - good.min(sent);
    let report = json!({ "operations": good, "sent": sent, "lost": lost, "bad": bad, "unsent": skipped });
    serde_json::to_writer(io::stdout(), &report)?;
    ensure!(bad == 0, "{bad} answers had a wrong authenticator");
    Ok(())
}

/// A socket, and the authenticators of its requests that are under way.
struct Line {
    socket: UdpSocket,
    asked: Box<[Option<[u8; 16]>; IDS]>,
    next: u8,
}

impl Line {
    fn open(addr: SocketAddr) -> io::Result<Self> {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        socket.connect(addr)?;
        socket.set_nonblocking(true)?;
        Ok(Self { socket, asked: Box::new([None; IDS]), next: 0 })
    }

    /// Sends one; `false` if too many are under way.
    fn ask(&mut self, secret: &[u8], session: u64) -> io::Result<bool> {
        let id = self.next;
        if self.asked[usize::from(id)].is_some() {
            return Ok(false);
        }
        let packet = request(id, session, secret);
        match self.socket.send(&packet) {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
            Err(error) => return Err(error),
        }
        self.asked[usize::from(id)] = packet[HEAD..HEADER].try_into().ok();
        self.next = id.wrapping_add(1);
        Ok(true)
    }

    fn take(&mut self, secret: &[u8], good: &mut u64, bad: &mut u64) -> io::Result<()> {
        let mut answer = [0; 4096];
        loop {
            let length = match self.socket.recv(&mut answer) {
                Ok(length) => length,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            };
            let answer = &answer[..length];
            let asked = answer.get(1).and_then(|id| self.asked[usize::from(*id)].take());
            match asked {
                Some(asked) if answers(answer, &asked, secret) => *good += 1,
                _ => *bad += 1,
            }
        }
    }
}

/// An interim update with what a session has used so far.
fn request(id: u8, session: u64, secret: &[u8]) -> Vec<u8> {
    let mut packet = vec![ACCOUNTING_REQUEST, id, 0, 0];
    packet.extend([0; 16]);
    attribute(&mut packet, 40, &3u32.to_be_bytes()); // Acct-Status-Type: Interim-Update
    attribute(&mut packet, 44, format!("{session:016x}").as_bytes()); // Acct-Session-Id
    attribute(&mut packet, 1, b"person"); // User-Name
    attribute(&mut packet, 4, &Ipv4Addr::LOCALHOST.octets()); // NAS-IP-Address
    attribute(&mut packet, 46, &30u32.to_be_bytes()); // Acct-Session-Time
    let length = u16::try_from(packet.len()).expect("a few attributes").to_be_bytes();
    packet[2..HEAD].copy_from_slice(&length);
    // Of a request the authenticator is the digest of the packet with zeros in its place, then the secret.
    let digest: [u8; 16] = Md5::new().chain_update(&packet).chain_update(secret).finalize().into();
    packet[HEAD..HEADER].copy_from_slice(&digest);
    packet
}

fn attribute(packet: &mut Vec<u8>, kind: u8, value: &[u8]) {
    packet.push(kind);
    packet.push(u8::try_from(value.len() + 2).expect("short values"));
    packet.extend(value);
}

/// Whether this is the response to the request with this authenticator.
fn answers(packet: &[u8], asked: &[u8; 16], secret: &[u8]) -> bool {
    let Some((header, attributes)) = packet.split_first_chunk::<HEADER>() else { return false };
    let digest = Md5::new()
        .chain_update(&header[..HEAD])
        .chain_update(asked)
        .chain_update(attributes)
        .chain_update(secret)
        .finalize();
    header[0] == ACCOUNTING_RESPONSE && header[HEAD..] == digest[..]
}

#[expect(clippy::disallowed_methods, reason = "a load is an edge of the program: it measures time")]
fn now() -> Instant {
    Instant::now()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_well_formed_and_only_its_response_answers_it() {
        let packet = request(7, 1, b"secret");
        assert_eq!(packet.len(), usize::from(u16::from_be_bytes([packet[2], packet[3]])));
        let asked: [u8; 16] = packet[4..20].try_into().unwrap();
        let head = [ACCOUNTING_RESPONSE, 7, 0, 20];
        let tag = Md5::new().chain_update(head).chain_update(asked).chain_update(b"secret").finalize();
        let response = [&head[..], &tag[..]].concat();
        assert!(answers(&response, &asked, b"secret"));
        assert!(!answers(&response, &asked, b"another"));
        assert!(!answers(&response, &[0; 16], b"secret"));
        assert!(!answers(&packet, &asked, b"secret"));
    }
}
