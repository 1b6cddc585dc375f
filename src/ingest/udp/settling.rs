//! Stops: their ack goes out once their end is durable, which the threads that receive do not wait for.

use std::{io::IoSlice, os::fd::AsRawFd, sync::Arc};

use nix::sys::socket::{MsgFlags, sendmsg};
use socket2::Socket;
use tokio::{runtime, sync::Semaphore};

use crate::{engine::AccountId, telemetry::Transport, wire::SignedAck};

use super::{super::Handler, address::Address};

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

    /// Commits the end of an account's session and then sends `ack`, from `local` where that is known, without keeping the
    /// caller.
    pub(super) fn settle<A: Address>(
        &self,
        account: AccountId,
        ack: SignedAck,
        socket: &Arc<Socket>,
        to: A,
        local: Option<A::Local>,
    ) {
        let Ok(permit) = Arc::clone(&self.room).try_acquire_owned() else { return };
        let (handler, socket) = (Arc::clone(&self.handler), Arc::clone(socket));
        self.runtime.spawn(async move {
            if handler.settle(account).await && send(&socket, &ack, to, local) {
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
fn send<A: Address>(socket: &Socket, ack: &SignedAck, to: A, local: Option<A::Local>) -> bool {
    let info = local.map(A::info);
    let control = info.as_ref().map(|info| [A::control(info)]);
    let control = control.as_ref().map_or(&[][..], |control| &control[..]);
    let ack = [IoSlice::new(ack.as_bytes())];
    sendmsg(socket.as_raw_fd(), &ack, control, MsgFlags::MSG_DONTWAIT, Some(&to)).is_ok()
}
