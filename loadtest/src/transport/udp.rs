//! Datagrams, sent and received many at a time, over a few sockets in one thread.
//!
//! Each datagram is a message of its own (`sendmmsg`, `recvmmsg`), never a segment of a larger one: the service is to see
//! what many clients would send, and nothing that its system could take in at a bulk price.

use std::{
    io::{self, IoSlice, IoSliceMut},
    net::{SocketAddr, UdpSocket},
    os::fd::AsRawFd,
    time::Duration,
};

use gastank::wire::FRAME_LEN;
use nix::{
    errno::Errno,
    sys::socket::{MsgFlags, MultiHeaders, SockaddrStorage, recvmmsg, sendmmsg},
};
use socket2::{Domain, Protocol, Socket, Type};

use super::{
    Answer, Message, Reply, SendError, Tally, Transport,
    poll::{Interest, Poller},
};
use crate::{clock::Clock, process, verify::claimed_seq};

/// How large a receive queue is asked for, so that a burst of acks survives until it is read.
const RECEIVE_BUFFER: usize = 4 << 20;
/// How many datagrams go into one system call.
const BATCH: usize = 64;
/// How many datagrams may wait for a socket that takes no more.
const QUEUE: usize = 1024;
/// How many batches are read from a socket before others get their turn.
const READS: usize = 4;

/// A few connected UDP sockets. A client always uses the same one.
pub struct UdpTransport {
    clock: Clock,
    lines: Vec<Line>,
    /// Those with something to send.
    busy: Vec<usize>,
    poller: Poller,
    ready: Vec<usize>,
    heads: MultiHeaders<SockaddrStorage>,
    tally: Tally,
}

struct Line {
    socket: UdpSocket,
    queue: Vec<[u8; FRAME_LEN]>,
}

impl UdpTransport {
    /// `connections` sockets that talk to `server`.
    ///
    /// # Errors
    ///
    /// The system's, when a socket cannot be made.
    pub fn new(clock: Clock, server: SocketAddr, connections: usize) -> io::Result<Self> {
        let poller = Poller::new()?;
        let lines: Vec<_> = (0..connections.max(1))
            .map(|_| Ok(Line { socket: connect(server)?, queue: Vec::new() }))
            .collect::<io::Result<_>>()?;
        for (number, line) in lines.iter().enumerate() {
            poller.add(&line.socket, number, Interest::Read)?;
        }
        let tally = Tally { connects: lines.len() as u64, ..Tally::default() };
        let heads = MultiHeaders::preallocate(BATCH, None);
        Ok(Self { clock, lines, busy: Vec::new(), poller, ready: Vec::new(), heads, tally })
    }

    /// Reads what has come to a socket, up to [`READS`] batches.
    fn read(&mut self, number: usize, answers: &mut Vec<Answer>) {
        let fd = self.lines[number].socket.as_raw_fd();
        // One byte more than a frame, so that a longer datagram does not pass for one.
        let mut buffers = [[0; FRAME_LEN + 1]; BATCH];
        for _ in 0..READS {
            let mut lengths = [0; BATCH];
            let mut count = 0;
            {
                let mut slices = buffers.each_mut().map(|buffer| [IoSliceMut::new(buffer)]);
                // An error is an empty queue, or news of a closed port: those beats are lost, and counted so.
                let Ok(messages) = recvmmsg(fd, &mut self.heads, &mut slices, MsgFlags::MSG_DONTWAIT, None) else {
                    return;
                };
                for message in messages {
                    lengths[count] = message.bytes;
                    count += 1;
                }
            }
            let at = self.clock.now();
            answers.extend(buffers.iter().zip(lengths).take(count).map(|(buffer, length)| {
                let bytes = &buffer[..length];
                let reply = bytes.try_into().map_or(Reply::Odd, Reply::Frame);
                Answer { at, seq: claimed_seq(bytes), reply }
            }));
            if count < BATCH {
                return;
            }
        }
    }
}

impl Transport for UdpTransport {
    fn send(&mut self, client: usize, _seq: u32, message: &Message) -> Result<(), SendError> {
        let Message::Frame(frame) = message else { return Err(SendError::FramesAlone) };
        let number = client % self.lines.len();
        let line = &mut self.lines[number];
        if line.queue.is_empty() {
            self.busy.push(number);
        } else if line.queue.len() >= QUEUE {
            return Err(SendError::Full);
        }
        line.queue.push(*frame);
        if line.queue.len().is_multiple_of(BATCH) {
            line.flush();
        }
        Ok(())
    }

    fn flush(&mut self) {
        self.busy.retain(|number| {
            let line = &mut self.lines[*number];
            line.flush();
            !line.queue.is_empty()
        });
    }

    fn receive(&mut self, wait: Duration, answers: &mut Vec<Answer>) -> io::Result<()> {
        let mut ready = std::mem::take(&mut self.ready);
        self.poller.wait(wait, &mut ready)?;
        for number in ready.drain(..) {
            self.read(number, answers);
        }
        self.ready = ready;
        Ok(())
    }

    fn reconnect(&mut self) {
        for number in 0..self.lines.len() {
            let dropped = drops(&self.lines[number].socket);
            let Ok(server) = self.lines[number].socket.peer_addr() else { continue };
            // A socket that cannot be replaced stays as it is: it still works.
            let Ok(socket) = connect(server) else { continue };
            if self.poller.add(&socket, number, Interest::Read).is_ok() {
                self.tally.connects += 1;
                self.tally.dropped += dropped;
                self.lines[number].socket = socket;
            }
        }
    }

    fn tally(&self) -> Tally {
        let dropped: u64 = self.lines.iter().map(|line| drops(&line.socket)).sum();
        Tally { dropped: self.tally.dropped + dropped, ..self.tally }
    }
}

impl Line {
    /// Sends what waits; what the system has no room for stays.
    fn flush(&mut self) {
        let mut sent = 0;
        let mut refused = false;
        while sent < self.queue.len() {
            let batch = &self.queue[sent..self.queue.len().min(sent + BATCH)];
            let slices: Vec<_> = batch.iter().map(|frame| [IoSlice::new(frame)]).collect();
            let mut heads = MultiHeaders::<SockaddrStorage>::preallocate(slices.len(), None);
            let done = sendmmsg(
                self.socket.as_raw_fd(),
                &mut heads,
                &slices,
                &[None; BATCH][..slices.len()],
                [],
                MsgFlags::MSG_DONTWAIT,
            )
            .map(Iterator::count);
            match done {
                Ok(count) => sent += count,
                Err(Errno::EAGAIN | Errno::ENOBUFS) => break,
                // The socket reports here that an earlier datagram met a closed port. This one has not been sent yet.
                Err(_) if !refused => refused = true,
                // Gone: it will not be answered, and so be counted as lost.
                Err(_) => sent += 1,
            }
        }
        self.queue.drain(..sent);
    }
}

fn drops(socket: &UdpSocket) -> u64 {
    socket.local_addr().ok().and_then(|address| process::udp_drops(address.port())).unwrap_or_default()
}

fn connect(server: SocketAddr) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(server), Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_recv_buffer_size(RECEIVE_BUFFER)?;
    socket.connect(&server.into())?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}
