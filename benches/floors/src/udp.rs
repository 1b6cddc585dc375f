//! The least that a signed exchange of datagrams costs: two system calls for a batch, two HMACs for a datagram.
//!
//! No poll, no clock, no session, no count. The HMACs are those of the service, which are the fastest we know: a key's
//! midstates are computed once, so that a tag takes two compressions.

use std::{
    io::{IoSlice, IoSliceMut},
    net::{SocketAddr, UdpSocket},
    os::fd::AsRawFd,
    thread,
    time::Duration,
};

use anyhow::Context;
use gastank::wire::{BODY_LEN, BodyMac, FRAME_LEN, SessionKey, Tag};
use nix::sys::socket::{MsgFlags, MultiHeaders, SockaddrIn, recvmmsg, sendmmsg};
use socket2::{Domain, Protocol, Socket, Type};

use crate::ready;

/// The key of every session.
pub(crate) const KEY: [u8; 32] = [7; 32];
/// Datagrams in a batch, at most.
const BATCH: usize = 64;
/// Room after a batch of one. Preparing room for many costs more than receiving few.
const LEAST_ROOM: usize = 8;
/// Of each socket, asked for; the kernel grants what it is allowed to.
const BUFFER: usize = 8 << 20;

/// Answers until the process is ended.
pub(crate) fn serve(addr: SocketAddr, threads: Option<usize>, answers: bool, rest: Duration) -> anyhow::Result<()> {
    let first = bind(addr).with_context(|| format!("cannot bind {addr}"))?;
    let bound = first.local_addr()?;
    let mut sockets = vec![first];
    for _ in 1..threads.unwrap_or_else(ready::processors) {
        sockets.push(bind(bound)?);
    }
    ready::announce(bound)?;
    let work = |socket: UdpSocket| thread::spawn(move || exchange(&socket, answers, rest));
    let loops: Vec<_> = sockets.into_iter().map(work).collect();
    for each in loops {
        each.join().map_err(|_| anyhow::anyhow!("a thread panicked"))??;
    }
    Ok(())
}

fn bind(addr: SocketAddr) -> std::io::Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(addr), Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_reuse_port(true)?;
    socket.set_recv_buffer_size(BUFFER)?;
    socket.set_send_buffer_size(BUFFER)?;
    socket.bind(&addr.into())?;
    Ok(socket.into())
}

fn exchange(socket: &UdpSocket, answers: bool, rest: Duration) -> nix::Result<()> {
    let mac = SessionKey::from_bytes(KEY).body_mac();
    let mut incoming = MultiHeaders::preallocate(BATCH, None);
    let mut outgoing = MultiHeaders::preallocate(BATCH, None);
    let mut frames = [[0; FRAME_LEN + 1]; BATCH];
    let mut acks = [[0; FRAME_LEN]; BATCH];
    let mut senders: [Option<SockaddrIn>; BATCH] = [None; BATCH];
    let mut received = [(0, None); BATCH];
    let mut room = BATCH;
    loop {
        let mut slices = frames.each_mut().map(|frame| [IoSliceMut::new(frame)]);
        let mut count = 0;
        // Sleeps until there is one, then takes what else is there.
        let slices = slices.iter_mut().take(room);
        for message in recvmmsg(socket.as_raw_fd(), &mut incoming, slices, MsgFlags::MSG_WAITFORONE, None)? {
            received[count] = (message.bytes, message.address);
            count += 1;
        }
        room = (2 * count).clamp(LEAST_ROOM, BATCH);
        let full = count == BATCH;
        let mut good = 0;
        for (frame, (length, sender)) in frames.iter().zip(&received[..count]) {
            if *length == FRAME_LEN
                && let Some(ack) = answer(&mac, frame.first_chunk().expect("a frame is shorter"))
            {
                acks[good] = ack;
                senders[good] = *sender;
                good += 1;
            }
        }
        if answers && good > 0 {
            let slices = acks.each_ref().map(|ack| [IoSlice::new(ack)]);
            let (slices, to) = (&slices[..good], &senders[..good]);
            // Acks that find no room are dropped, as ours are.
            drop(sendmmsg(socket.as_raw_fd(), &mut outgoing, slices, to, [], MsgFlags::MSG_DONTWAIT));
        }
        if !full && !rest.is_zero() {
            thread::sleep(rest);
        }
    }
}

/// The ack to a frame with a good tag: what one needs to pass for an answer of the service.
pub(crate) fn answer(mac: &BodyMac, frame: &[u8; FRAME_LEN]) -> Option<[u8; FRAME_LEN]> {
    let (body, tag) = frame.split_first_chunk::<BODY_LEN>().expect("a body is shorter than a frame");
    if !mac.tag(body).matches(&Tag::from_bytes(*tag.first_chunk().expect("the rest is a tag"))) {
        return None;
    }
    let mut ack = *frame;
    let clock = &body[24..32];
    ack[1] = 129;
    ack[2..4].fill(0);
    ack[8..16].copy_from_slice(clock);
    ack[16..24].copy_from_slice(clock);
    ack[24..28].copy_from_slice(&86_400u32.to_le_bytes());
    ack[28..30].copy_from_slice(&300u16.to_le_bytes());
    ack[30..32].fill(0);
    let tag = mac.tag(ack.first_chunk().expect("a body is shorter than an ack"));
    ack[BODY_LEN..].copy_from_slice(tag.as_bytes());
    Some(ack)
}

#[cfg(test)]
mod tests {
    use gastank::{
        time::MeterTime,
        wire::{Ack, Heartbeat, HeartbeatKind, SessionId, StateBits, WireVerdict},
    };

    use super::*;

    #[test]
    fn a_floor_answers_a_signed_frame_with_a_good_ack_and_a_forged_one_with_nothing() {
        let mac = SessionKey::from_bytes(KEY).body_mac();
        let clock = MeterTime::from_ms(5_000);
        let session = SessionId::from_bytes([3; 16]);
        let beat = Heartbeat { kind: HeartbeatKind::Beat, state: StateBits::default(), seq: 9, session, clock };
        let mut frame = beat.sign(&mac);
        let ack = Ack::verify(&answer(&mac, &frame).unwrap(), &mac).unwrap();
        assert_eq!((ack.verdict, ack.seq, ack.echo), (WireVerdict::Valid, 9, clock));
        frame[47] ^= 1;
        assert!(answer(&mac, &frame).is_none());
    }
}
