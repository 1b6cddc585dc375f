//! Datagrams by the batch: one system call takes what is waiting, one sends the answers.
//!
//! Everything is made once, at the start of a thread, and used for every batch: receiving and sending allocate nothing.
//!
//! A socket that is bound to no single address says of every datagram which address it came to, see
//! [`socket`](super::socket). Its ack leaves from there: a client that has connected its socket takes it from nowhere else.

use std::{
    array,
    io::{self, IoSlice, IoSliceMut},
    os::fd::AsRawFd,
};

use nix::sys::socket::{ControlMessage, MsgFlags, MultiHeaders, recvmmsg, sendmmsg};
use socket2::Socket;

use crate::wire::{FRAME_LEN, SignedAck};

use super::address::Address;

/// Datagrams that are taken, answered and sent together, at most. Enough that a system call's own cost is spread thin,
/// and few enough that the first of a batch does not wait long for its last: a batch takes about 100 µs.
pub const BATCH: usize = 64;
/// One byte more than a frame: a longer datagram is seen to be too long.
const ROOM: usize = FRAME_LEN + 1;

/// Datagrams that there is room for after a batch of one.
const LEAST_ROOM: usize = 8;

/// Room for a datagram, in a cache line of its own.
#[derive(Clone, Copy)]
#[repr(align(64))]
struct Buffer([u8; ROOM]);

/// The datagrams of a batch.
pub(super) struct Inbox<A: Address> {
    headers: MultiHeaders<A>,
    buffers: Box<[Buffer; BATCH]>,
    lengths: [usize; BATCH],
    senders: [Option<A>; BATCH],
    /// Which of our addresses they came to; `None` throughout where the socket has only one.
    locals: [Option<A::Local>; BATCH],
    told: bool,
    /// How many there are room for in the next batch.
    room: usize,
    count: usize,
}

impl<A: Address> Inbox<A> {
    /// For a socket that says which address a datagram came to, or does not.
    pub(super) fn new(told: bool) -> Self {
        Self {
            headers: Self::headers(told),
            buffers: Box::new([Buffer([0; ROOM]); BATCH]),
            lengths: [0; BATCH],
            senders: [None; BATCH],
            locals: [None; BATCH],
            told,
            room: BATCH,
            count: 0,
        }
    }

    fn headers(told: bool) -> MultiHeaders<A> {
        MultiHeaders::preallocate(BATCH, told.then(A::control_space))
    }

    /// Waits for a datagram and takes it with all that are waiting behind it. Answers how many that are.
    ///
    /// # Errors
    ///
    /// Those of the system; there are no datagrams then.
    pub(super) fn receive(&mut self, socket: &Socket) -> io::Result<usize> {
        self.count = 0;
        let mut slices = self.buffers.each_mut().map(|buffer| [IoSliceMut::new(&mut buffer.0)]);
        let slices = slices.iter_mut().take(self.room);
        let received = recvmmsg(socket.as_raw_fd(), &mut self.headers, slices, MsgFlags::MSG_WAITFORONE, None)?;
        let mut untold = false;
        let places = self.lengths.iter_mut().zip(&mut self.senders).zip(&mut self.locals);
        for (message, ((length, sender), local)) in received.zip(places) {
            (*length, *sender) = (message.bytes, message.address);
            if self.told {
                let said = message.cmsgs().ok().and_then(|mut said| said.next());
                untold |= said.is_none();
                *local = said.as_ref().and_then(A::local);
            }
            self.count += 1;
        }
        if untold {
            // The kernel writes into a header how much room it used, which is all there is the next time.
            self.headers = Self::headers(self.told);
        }
        // Preparing for many costs more than receiving few.
        self.room = (2 * self.count).clamp(LEAST_ROOM, BATCH);
        Ok(self.count)
    }

    /// Whether more may have been waiting.
    pub(super) const fn is_full(&self) -> bool {
        self.count == BATCH
    }

    /// The datagrams, in the order of their arrival.
    pub(super) fn datagrams(&self) -> impl Iterator<Item = &[u8]> {
        self.buffers.iter().zip(&self.lengths).take(self.count).map(|(buffer, length)| &buffer.0[..*length.min(&ROOM)])
    }

    /// Who sent the `n`th of them.
    pub(super) const fn sender(&self, n: usize) -> Option<A> {
        self.senders[n]
    }

    /// Which of our addresses the `n`th of them came to, if the socket says so.
    pub(super) const fn local(&self, n: usize) -> Option<A::Local> {
        self.locals[n]
    }
}

/// The acks of a batch.
pub(super) struct Outbox<A: Address> {
    /// Of acks that leave from wherever the kernel thinks best.
    headers: MultiHeaders<A>,
    /// Of acks that leave from an address that is said.
    headers_from: MultiHeaders<A>,
    acks: [[u8; FRAME_LEN]; BATCH],
    recipients: [Option<A>; BATCH],
    locals: [Option<A::Local>; BATCH],
    count: usize,
}

impl<A: Address> Outbox<A> {
    pub(super) fn new() -> Self {
        Self {
            headers: MultiHeaders::preallocate(BATCH, None),
            headers_from: MultiHeaders::preallocate(BATCH, Some(A::control_space())),
            acks: [[0; FRAME_LEN]; BATCH],
            recipients: [None; BATCH],
            locals: [None; BATCH],
            count: 0,
        }
    }

    /// Adds an ack, to leave from `local` where that is known. There is room for as many as a batch has datagrams.
    pub(super) fn push(&mut self, ack: &SignedAck, to: A, local: Option<A::Local>) {
        if let Some(place) = self.acks.get_mut(self.count) {
            *place = *ack.as_bytes();
            self.recipients[self.count] = Some(to);
            self.locals[self.count] = local;
            self.count += 1;
        }
    }

    /// Sends the acks; answers how many the kernel took. The others are dropped: their clients beat again.
    pub(super) fn send(&mut self, socket: &Socket) -> usize {
        let count = std::mem::take(&mut self.count);
        let locals = &self.locals[..count];
        // One call says one address for all that it sends.
        if locals.windows(2).any(|pair| pair[0] != pair[1]) {
            self.sort(count);
        }
        let (mut next, mut taken) = (0, 0);
        while next < count {
            let local = self.locals[next];
            let length = self.locals[next..count].iter().take_while(|other| **other == local).count();
            taken += self.send_from(socket, local, next, next + length);
            next += length;
        }
        taken
    }

    /// Puts acks together that leave from the same address.
    fn sort(&mut self, count: usize) {
        let mut order: [usize; BATCH] = array::from_fn(|n| n);
        order[..count].sort_unstable_by_key(|n| self.locals[*n]);
        self.acks = order.map(|n| self.acks[n]);
        self.recipients = order.map(|n| self.recipients[n]);
        self.locals = order.map(|n| self.locals[n]);
    }

    fn send_from(&mut self, socket: &Socket, local: Option<A::Local>, mut next: usize, end: usize) -> usize {
        let slices: [[IoSlice<'_>; 1]; BATCH] = array::from_fn(|n| [IoSlice::new(&self.acks[n])]);
        let info = local.map(A::info);
        let control: Option<[ControlMessage<'_>; 1]> = info.as_ref().map(|info| [A::control(info)]);
        let control = control.as_ref().map_or(&[][..], |control| &control[..]);
        let headers = if control.is_empty() { &mut self.headers } else { &mut self.headers_from };
        let mut taken = 0;
        while next < end {
            let recipients = &self.recipients[next..end];
            let slices = slices[next..end].iter();
            match sendmmsg(socket.as_raw_fd(), headers, slices, recipients, control, MsgFlags::MSG_NOSIGNAL) {
                Ok(sent) => {
                    let sent = sent.count();
                    next += sent.max(1);
                    taken += sent;
                }
                Err(nix::errno::Errno::EINTR) => {}
                // The buffer stayed full for as long as may be waited.
                Err(nix::errno::Errno::EAGAIN) => break,
                // It is about the first: a sender's address that cannot be sent to, most likely made up.
                Err(_) => next += 1,
            }
        }
        taken
    }
}

#[cfg(test)]
mod tests {
    use std::{net::UdpSocket, time::Duration};

    use nix::sys::socket::{SockaddrIn, SockaddrIn6};

    use super::*;
    use crate::{
        time::MeterTime,
        wire::{Ack, AckFlags, SessionKey, WireVerdict},
    };

    fn pair() -> (Socket, UdpSocket) {
        let ours = UdpSocket::bind("127.0.0.1:0").unwrap();
        let theirs = UdpSocket::bind("127.0.0.1:0").unwrap();
        theirs.connect(ours.local_addr().unwrap()).unwrap();
        theirs.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        (ours.into(), theirs)
    }

    fn ack(seq: u32) -> SignedAck {
        let (now, echo) = (MeterTime::ZERO, MeterTime::ZERO);
        let verdict = WireVerdict::Unknown;
        Ack { verdict, seq, now, echo, remaining_s: 0, next_beat_100ms: 1, flags: AckFlags(0) }
            .sign(&SessionKey::from_bytes([1; 32]).body_mac())
    }

    #[test]
    fn what_is_waiting_is_taken_at_once_and_in_order() {
        let (ours, theirs) = pair();
        let mut inbox = Inbox::<SockaddrIn>::new(false);
        for length in [48, 0, 47, 49, 1400, 1] {
            theirs.send(&vec![u8::try_from(length % 251).unwrap(); length]).unwrap();
        }
        assert_eq!(inbox.receive(&ours).unwrap(), 6);
        let lengths: Vec<usize> = inbox.datagrams().map(<[u8]>::len).collect();
        assert_eq!(lengths, [48, 0, 47, 49, 49, 1], "what is too long is cut off where that can be told");
        assert!(inbox.datagrams().all(|datagram| datagram.iter().all(|byte| *byte == datagram[0])));
        for n in 0..6 {
            assert_eq!(inbox.sender(n).unwrap().to_string(), theirs.local_addr().unwrap().to_string());
        }
    }

    #[test]
    fn a_batch_has_a_limit_and_the_rest_comes_with_the_next() {
        let (ours, theirs) = pair();
        let mut inbox = Inbox::<SockaddrIn>::new(false);
        for n in 0..BATCH + 5 {
            theirs.send(&[u8::try_from(n).unwrap(); FRAME_LEN]).unwrap();
        }
        assert_eq!(inbox.receive(&ours).unwrap(), BATCH);
        assert!(inbox.is_full());
        assert_eq!(inbox.receive(&ours).unwrap(), 5);
        assert!(!inbox.is_full());
        assert_eq!(inbox.datagrams().next().unwrap()[0], u8::try_from(BATCH).unwrap());
    }

    #[test]
    fn an_ack_that_cannot_be_sent_does_not_keep_back_the_others() {
        let (ours, theirs) = pair();
        let mut outbox = Outbox::<SockaddrIn>::new();
        let nowhere = SockaddrIn::new(127, 0, 0, 1, 0);
        let them: SockaddrIn = theirs.local_addr().unwrap().to_string().parse().unwrap();
        for (seq, to) in [nowhere, them, nowhere, nowhere, them].into_iter().enumerate() {
            outbox.push(&ack(u32::try_from(seq).unwrap()), to, None);
        }
        assert_eq!(outbox.send(&ours), 2);
        for seq in [1, 4] {
            let mut frame = [0; 64];
            assert_eq!(theirs.recv(&mut frame).unwrap(), FRAME_LEN);
            assert_eq!(&frame[..FRAME_LEN], ack(seq).as_bytes());
        }
        assert_eq!(outbox.send(&ours), 0, "it is empty again");
    }

    #[test]
    fn more_acks_than_a_batch_has_are_dropped() {
        let (ours, theirs) = pair();
        let mut outbox = Outbox::<SockaddrIn>::new();
        let them: SockaddrIn = theirs.local_addr().unwrap().to_string().parse().unwrap();
        for _ in 0..BATCH + 1 {
            outbox.push(&ack(0), them, None);
        }
        assert_eq!(outbox.send(&ours), BATCH);
    }

    /// Clients that have connected to different addresses of one socket, which is bound to all of them.
    fn answered_where_they_sent<A: Address>(bound_to: &str, addresses: &[&str]) {
        let buffers = super::super::Buffers { receive: 1 << 16, send: 1 << 16 };
        let (sockets, bound, _) =
            super::super::socket::bind(format!("{bound_to}:0").parse().unwrap(), 1, buffers).unwrap();
        let clients: Vec<UdpSocket> = addresses
            .iter()
            .map(|ip| {
                let any = if ip.contains(':') { "[::]:0" } else { "0.0.0.0:0" };
                let client = UdpSocket::bind(any).unwrap();
                client.connect((ip.parse::<std::net::IpAddr>().unwrap(), bound.port())).unwrap();
                client.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
                client
            })
            .collect();
        let (mut inbox, mut outbox) = (Inbox::<A>::new(true), Outbox::<A>::new());
        // Batches of one and of many in turn: what was received before must not matter.
        for round in [1, 5, 1, 3_u8] {
            for n in 0..round {
                for (client, number) in clients.iter().zip(0_u8..) {
                    client.send(&[number, n]).unwrap();
                }
            }
            let mut answered = 0;
            while answered < clients.len() * usize::from(round) {
                let count = inbox.receive(&sockets[0]).unwrap();
                for (n, datagram) in inbox.datagrams().enumerate() {
                    let seq = u32::from(datagram[0]) << 8 | u32::from(datagram[1]);
                    outbox.push(&ack(seq), inbox.sender(n).unwrap(), inbox.local(n));
                }
                assert_eq!(outbox.send(&sockets[0]), count);
                answered += count;
            }
            for (client, number) in clients.iter().zip(0_u32..) {
                let mut got: Vec<Vec<u8>> = (0..round)
                    .map(|_| {
                        let mut frame = vec![0; FRAME_LEN];
                        client.recv(&mut frame).expect("an ack from where the client has sent to");
                        frame
                    })
                    .collect();
                let mut wanted: Vec<Vec<u8>> =
                    (0..u32::from(round)).map(|n| ack(number << 8 | n).as_bytes().to_vec()).collect();
                got.sort_unstable();
                wanted.sort_unstable();
                assert_eq!(got, wanted);
            }
        }
    }

    #[test]
    fn acks_leave_from_the_address_that_a_client_has_sent_to() {
        answered_where_they_sent::<SockaddrIn>("0.0.0.0", &["127.0.0.1", "127.0.0.2", "127.3.2.1"]);
    }

    #[test]
    fn acks_of_a_socket_for_both_versions_of_ip_leave_from_where_clients_have_sent_to() {
        if UdpSocket::bind("[::1]:0").is_err() {
            crate::skips::skipped("this machine has no IPv6");
            return;
        }
        answered_where_they_sent::<SockaddrIn6>("[::]", &["127.0.0.2", "::1", "127.0.0.1"]);
    }
}
