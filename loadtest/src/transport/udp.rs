//! Datagrams, over a few sockets in one thread.

use std::{
    io,
    net::{SocketAddr, UdpSocket},
    time::Duration,
};

use gastank::wire::FRAME_LEN;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use socket2::{Domain, Protocol, Socket, Type};

use super::{Answer, Reply, SendError, Transport};
use crate::{clock::Clock, process, session::SessionIndex, verify::claimed_seq};

/// How large a receive queue is asked for, so that a burst of acks survives until it is read.
const RECEIVE_BUFFER: usize = 4 << 20;
/// How many datagrams are read from a socket before others get their turn.
const READS: usize = 64;

/// A few connected UDP sockets. A session always uses the same one.
pub struct UdpTransport {
    clock: Clock,
    sockets: Vec<UdpSocket>,
}

impl UdpTransport {
    /// `connections` sockets that talk to `server`.
    ///
    /// # Errors
    ///
    /// The system's, when a socket cannot be made.
    pub fn new(clock: Clock, server: SocketAddr, connections: usize) -> io::Result<Self> {
        let sockets = (0..connections.max(1)).map(|_| connect(server)).collect::<io::Result<_>>()?;
        Ok(Self { clock, sockets })
    }
}

impl Transport for UdpTransport {
    fn send(&mut self, session: SessionIndex, _seq: u32, frame: &[u8; FRAME_LEN]) -> Result<(), SendError> {
        let socket = &self.sockets[session.get() % self.sockets.len()];
        match socket.send(frame) {
            Ok(_) => Ok(()),
            // The socket reports here that an earlier datagram met a closed port. This one has not been sent yet.
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                socket.send(frame).map(|_| ()).map_err(|_| SendError::Refused)
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Err(SendError::Full),
            Err(_) => Err(SendError::Refused),
        }
    }

    fn receive(&mut self, wait: Duration, answers: &mut Vec<Answer>) -> io::Result<()> {
        if !wait.is_zero() {
            let timeout = Timespec::try_from(wait).map_err(io::Error::other)?;
            let mut fds: Vec<_> = self.sockets.iter().map(|socket| PollFd::new(socket, PollFlags::IN)).collect();
            match poll(&mut fds, Some(&timeout)) {
                Ok(0) | Err(rustix::io::Errno::INTR) => return Ok(()),
                Ok(_) => {}
                Err(error) => return Err(error.into()),
            }
        }
        for socket in &self.sockets {
            read(socket, &self.clock, answers);
        }
        Ok(())
    }

    fn dropped(&self) -> u64 {
        let ports = self.sockets.iter().filter_map(|socket| Some(socket.local_addr().ok()?.port()));
        ports.map(|port| process::udp_drops(port).unwrap_or_default()).sum()
    }
}

/// Reads what has come, up to [`READS`] datagrams.
fn read(socket: &UdpSocket, clock: &Clock, answers: &mut Vec<Answer>) {
    // One byte more than a frame, so that a longer datagram does not pass for one.
    let mut buffer = [0; FRAME_LEN + 1];
    for _ in 0..READS {
        // An error is an empty queue, or news of a closed port: those beats are lost, and counted so.
        let Ok(length) = socket.recv(&mut buffer) else { return };
        let bytes = &buffer[..length];
        let reply = bytes.try_into().map_or(Reply::Odd, Reply::Frame);
        answers.push(Answer { at: clock.now(), seq: claimed_seq(bytes), reply });
    }
}

fn connect(server: SocketAddr) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(server), Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_recv_buffer_size(RECEIVE_BUFFER)?;
    socket.connect(&server.into())?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}
