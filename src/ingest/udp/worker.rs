//! What one thread does: take a batch, answer it, send the acks.

#![expect(clippy::disallowed_methods, reason = "how thick datagrams come is told by the system's clock")]

use std::{
    io::ErrorKind,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use socket2::Socket;

use crate::telemetry::{Seldom, Transport};

use super::{
    super::{Handler, Reply},
    address::Address,
    batch::{BATCH, Inbox, Outbox},
    fullness::Level,
    pace::Pace,
    settling::Settling,
};

/// How long to leave a socket alone that answers with an error.
const PAUSE: Duration = Duration::from_millis(50);

static TROUBLED: Seldom = Seldom::new();

/// A thread's part of the listener.
pub(super) struct Worker {
    pub(super) socket: Arc<Socket>,
    /// Whether it says which address a datagram came to.
    pub(super) says_where_to: bool,
    pub(super) handler: Arc<Handler>,
    pub(super) settling: Settling,
    pub(super) level: Level,
    pub(super) stopping: Arc<AtomicBool>,
}

impl Worker {
    /// Answers datagrams until told to stop.
    pub(super) fn run<A: Address>(&mut self) {
        let (mut inbox, mut outbox) = (Inbox::<A>::new(self.says_where_to), Outbox::<A>::new());
        let (start, mut pace) = (Instant::now(), Pace::new(Duration::ZERO));
        loop {
            let received = inbox.receive(&self.socket);
            // What a socket that was shut down receives is no datagram.
            if self.stopping.load(Ordering::Acquire) {
                return;
            }
            match received {
                Ok(count) => {
                    self.answer(&inbox, &mut outbox);
                    self.level.batch(inbox.is_full());
                    if pace.batch(count, start.elapsed()) {
                        Pace::rest();
                    }
                }
                Err(error) => match error.kind() {
                    ErrorKind::WouldBlock => self.level.idle(),
                    // The other end of an earlier ack was not there: nothing to do with us.
                    ErrorKind::Interrupted | ErrorKind::ConnectionRefused => {}
                    _ => {
                        if let Some(unsaid) = TROUBLED.speak() {
                            tracing::warn!(%error, unsaid, "error on the UDP socket");
                        }
                        thread::sleep(PAUSE);
                    }
                },
            }
        }
    }

    fn answer<A: Address>(&self, inbox: &Inbox<A>, outbox: &mut Outbox<A>) {
        let mut frames = [&[][..]; BATCH];
        let mut count = 0;
        for (frame, datagram) in frames.iter_mut().zip(inbox.datagrams()) {
            *frame = datagram;
            count += 1;
        }
        self.handler.beats(Transport::Udp, &frames[..count], |n, reply| {
            let Some(from) = inbox.sender(n) else { return };
            match reply {
                Reply::Silence(_) => {}
                Reply::Now(ack) => outbox.push(&ack, from, inbox.local(n)),
                Reply::Settled(ack, account) => {
                    self.settling.settle(account, ack, &self.socket, from, inbox.local(n));
                }
            }
        });
        let sent = outbox.send(&self.socket);
        self.handler.sent_together(Transport::Udp, sent);
    }
}
