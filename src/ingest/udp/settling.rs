//! Stops: their ack goes out once their end is durable, which the threads that receive do not wait for.

use std::{net::SocketAddr, os::fd::AsRawFd, sync::Arc};

use nix::sys::socket::{MsgFlags, SockaddrStorage, sendto};
use socket2::Socket;
use tokio::{runtime, sync::Semaphore};

use crate::{engine::AccountId, telemetry::Transport, wire::SignedAck};

use super::super::Handler;

/// Stops whose end is being committed at the same time; further ones are left unanswered, and their clients retry.
const ROOM: usize = 1024;

/// Commits ends on the runtime, and sends their acks.
#[derive(Clone)]
pub(super) struct Settling {
    runtime: runtime::Handle,
    handler: Arc<Handler>,
    room: Arc<Semaphore>,
}

impl Settling {
    /// On the runtime that this is called in.
    pub(super) fn new(handler: Arc<Handler>) -> Self {
        Self { runtime: runtime::Handle::current(), handler, room: Arc::new(Semaphore::new(ROOM)) }
    }

    /// Commits the end of an account's session and then sends `ack`, without keeping the caller.
    pub(super) fn settle(&self, account: AccountId, ack: SignedAck, socket: &Arc<Socket>, to: SocketAddr) {
        let Ok(permit) = Arc::clone(&self.room).try_acquire_owned() else { return };
        let (handler, socket) = (Arc::clone(&self.handler), Arc::clone(socket));
        self.runtime.spawn(async move {
            if handler.settle(account).await && send(&socket, &ack, to) {
                handler.sent(Transport::Udp);
            }
            drop(permit);
        });
    }

    /// Waits until nothing is being committed any more.
    pub(super) async fn done(&self) {
        let all = u32::try_from(ROOM).expect("a small constant");
        drop(self.room.acquire_many(all).await);
    }
}

/// Sends an ack, or drops it when the socket's buffer is full: a thread of the runtime does not wait for it.
fn send(socket: &Socket, ack: &SignedAck, to: SocketAddr) -> bool {
    sendto(socket.as_raw_fd(), ack.as_bytes(), &SockaddrStorage::from(to), MsgFlags::MSG_DONTWAIT).is_ok()
}
