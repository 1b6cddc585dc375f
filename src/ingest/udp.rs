//! Heartbeats by UDP: one frame a datagram, 48 bytes each way.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use socket2::{Domain, Protocol, Socket, Type};
use tokio::{net::UdpSocket, sync::Semaphore};
use tokio_util::sync::CancellationToken;

use crate::{
    telemetry::Transport,
    wire::{FRAME_LEN, SignedAck},
};

use super::{Handler, Reply};

/// One byte more than a frame: a longer datagram is seen to be too long.
const BUFFER: usize = FRAME_LEN + 1;
/// Datagrams that are answered before other tasks of the thread get their turn.
const BURST: usize = 64;
/// Stops whose end is being committed at the same time; further ones are left unanswered, and their clients retry.
const SETTLING: usize = 1024;
/// How long to leave a socket alone that answers with an error.
const PAUSE: Duration = Duration::from_millis(50);

/// A bound UDP socket.
pub struct Listener {
    socket: UdpSocket,
    receive_buffer: usize,
}

impl Listener {
    /// Binds `addr`, and asks for a receive buffer of `receive_buffer` bytes.
    ///
    /// # Errors
    ///
    /// Those of the system, when the address cannot be bound.
    pub fn bind(addr: SocketAddr, receive_buffer: usize) -> io::Result<Self> {
        let socket = Socket::new(Domain::for_address(addr), Type::DGRAM, Some(Protocol::UDP))?;
        socket.set_nonblocking(true)?;
        // The kernel grants what it is allowed to; what that was is told by `receive_buffer`.
        socket.set_recv_buffer_size(receive_buffer)?;
        socket.bind(&addr.into())?;
        let receive_buffer = socket.recv_buffer_size()?;
        Ok(Self { socket: UdpSocket::from_std(socket.into())?, receive_buffer })
    }

    /// The address that was bound.
    ///
    /// # Errors
    ///
    /// Those of the system.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// The receive buffer that the kernel granted, in bytes.
    pub const fn receive_buffer(&self) -> usize {
        self.receive_buffer
    }

    /// Answers datagrams until told to stop.
    pub async fn run(self, handler: Arc<Handler>, stop: CancellationToken) {
        let socket = Arc::new(self.socket);
        let settling = Arc::new(Semaphore::new(SETTLING));
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                ready = socket.readable() => {
                    if let Err(error) = ready.and_then(|()| drain(&socket, &handler, &settling)) {
                        tracing::warn!(%error, "the UDP socket answers with an error");
                        tokio::time::sleep(PAUSE).await;
                    }
                }
            }
            tokio::task::yield_now().await;
        }
        // Acks of stops that are being settled still go out.
        let all = u32::try_from(SETTLING).expect("a small constant");
        drop(settling.acquire_many(all).await);
    }
}

/// Answers what is waiting at the socket, up to a burst.
fn drain(socket: &Arc<UdpSocket>, handler: &Arc<Handler>, settling: &Arc<Semaphore>) -> io::Result<()> {
    let mut buffer = [0; BUFFER];
    for _ in 0..BURST {
        let (length, from) = match socket.try_recv_from(&mut buffer) {
            Ok(received) => received,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            // The other end of an earlier ack was not there: nothing to do with us.
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => continue,
            Err(error) => return Err(error),
        };
        match handler.beat(Transport::Udp, &buffer[..length]) {
            Reply::Silence(_) => {}
            Reply::Now(ack) => send(socket, handler, &ack, from),
            Reply::Settled(ack, account) => {
                let Ok(permit) = Arc::clone(settling).try_acquire_owned() else { continue };
                let (socket, handler) = (Arc::clone(socket), Arc::clone(handler));
                tokio::spawn(async move {
                    if handler.settle(account).await {
                        send(&socket, &handler, &ack, from);
                    }
                    drop(permit);
                });
            }
        }
    }
    Ok(())
}

/// Sends an ack, or drops it: a client that misses one beats again.
fn send(socket: &UdpSocket, handler: &Handler, ack: &SignedAck, to: SocketAddr) {
    if socket.try_send_to(ack.as_bytes(), to).is_ok() {
        handler.sent(Transport::Udp);
    }
}
