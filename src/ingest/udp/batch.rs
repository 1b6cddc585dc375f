//! Datagrams by the batch: one system call takes what is waiting, one sends the answers.
//!
//! Everything is made once, at the start of a thread, and used for every batch: receiving and sending allocate nothing.

use std::{
    array,
    io::{self, IoSlice, IoSliceMut},
    net::SocketAddr,
    os::fd::AsRawFd,
};

use nix::sys::socket::{
    ControlMessage, MsgFlags, MultiHeaders, SockaddrIn, SockaddrIn6, SockaddrLike, recvmmsg, sendmmsg,
};
use socket2::Socket;

use crate::wire::{FRAME_LEN, SignedAck};

/// Datagrams that are taken, answered and sent together, at most. Enough that a system call's own cost is spread thin,
/// and few enough that the first of a batch does not wait long for its last: a batch takes about 100 µs.
pub const BATCH: usize = 64;
/// One byte more than a frame: a longer datagram is seen to be too long.
const ROOM: usize = FRAME_LEN + 1;

/// Datagrams that there is room for after a batch of one.
const LEAST_ROOM: usize = 8;

/// An address of the socket's family.
pub(super) trait Address: SockaddrLike + Copy {
    /// As the standard library has it.
    fn socket_addr(self) -> SocketAddr;
}

impl Address for SockaddrIn {
    fn socket_addr(self) -> SocketAddr {
        self.into()
    }
}

impl Address for SockaddrIn6 {
    fn socket_addr(self) -> SocketAddr {
        self.into()
    }
}

/// Room for a datagram, in a cache line of its own.
#[derive(Clone, Copy)]
#[repr(align(64))]
struct Buffer([u8; ROOM]);

/// The datagrams of a batch.
pub(super) struct Inbox<A> {
    headers: MultiHeaders<A>,
    buffers: Box<[Buffer; BATCH]>,
    lengths: [usize; BATCH],
    senders: [Option<A>; BATCH],
    /// How many there are room for in the next batch.
    room: usize,
    count: usize,
}

impl<A: Address> Inbox<A> {
    pub(super) fn new() -> Self {
        Self {
            headers: MultiHeaders::preallocate(BATCH, None),
            buffers: Box::new([Buffer([0; ROOM]); BATCH]),
            lengths: [0; BATCH],
            senders: [None; BATCH],
            room: BATCH,
            count: 0,
        }
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
        for ((message, length), sender) in received.zip(&mut self.lengths).zip(&mut self.senders) {
            (*length, *sender) = (message.bytes, message.address);
            self.count += 1;
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
}

/// The acks of a batch.
pub(super) struct Outbox<A> {
    headers: MultiHeaders<A>,
    acks: [[u8; FRAME_LEN]; BATCH],
    recipients: [Option<A>; BATCH],
    count: usize,
}

impl<A: Address> Outbox<A> {
    pub(super) fn new() -> Self {
        Self {
            headers: MultiHeaders::preallocate(BATCH, None),
            acks: [[0; FRAME_LEN]; BATCH],
            recipients: [None; BATCH],
            count: 0,
        }
    }

    /// Adds an ack. There is room for as many as a batch has datagrams.
    pub(super) fn push(&mut self, ack: &SignedAck, to: A) {
        if let Some(place) = self.acks.get_mut(self.count) {
            *place = *ack.as_bytes();
            self.recipients[self.count] = Some(to);
            self.count += 1;
        }
    }

    /// Sends the acks; answers how many the kernel took. The others are dropped: their clients beat again.
    pub(super) fn send(&mut self, socket: &Socket) -> usize {
        let count = std::mem::take(&mut self.count);
        let slices: [[IoSlice<'_>; 1]; BATCH] = array::from_fn(|n| [IoSlice::new(&self.acks[n])]);
        let (mut next, mut taken) = (0, 0);
        while next < count {
            let recipients = &self.recipients[next..count];
            let none: [ControlMessage<'_>; 0] = [];
            let slices = slices[next..count].iter();
            match sendmmsg(socket.as_raw_fd(), &mut self.headers, slices, recipients, none, MsgFlags::MSG_NOSIGNAL) {
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

    use super::*;
    use crate::wire::{Ack, AckFlags, MeterTime, SessionKey, WireVerdict};

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
        let mut inbox = Inbox::<SockaddrIn>::new();
        for length in [48, 0, 47, 49, 1400, 1] {
            theirs.send(&vec![u8::try_from(length % 251).unwrap(); length]).unwrap();
        }
        assert_eq!(inbox.receive(&ours).unwrap(), 6);
        let lengths: Vec<usize> = inbox.datagrams().map(<[u8]>::len).collect();
        assert_eq!(lengths, [48, 0, 47, 49, 49, 1], "what is too long is cut off where that can be told");
        assert!(inbox.datagrams().all(|datagram| datagram.iter().all(|byte| *byte == datagram[0])));
        for n in 0..6 {
            assert_eq!(inbox.sender(n).unwrap().socket_addr(), theirs.local_addr().unwrap());
        }
    }

    #[test]
    fn a_batch_has_a_limit_and_the_rest_comes_with_the_next() {
        let (ours, theirs) = pair();
        let mut inbox = Inbox::<SockaddrIn>::new();
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
            outbox.push(&ack(u32::try_from(seq).unwrap()), to);
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
            outbox.push(&ack(0), them);
        }
        assert_eq!(outbox.send(&ours), BATCH);
    }
}
