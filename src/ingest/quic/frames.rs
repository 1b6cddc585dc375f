//! `gastank/1`: a frame in each datagram, its ack in another. A stream of frames is the fallback.
//!
//! Frames are answered before the handshake is done, also those in early data (0-RTT). Replaying a captured packet changes
//! nothing: a beat raises `last_seen` to its clock and never above now, and a stop ends a session that it has already
//! ended. Frames have no other effect, and nothing else is served here.

use std::{
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bytes::{BufMut, Bytes, BytesMut};
use quinn::{Connection, ReadExactError, RecvStream, SendStream};
use tokio::sync::Semaphore;
use tokio_util::task::TaskTracker;

use crate::{
    ingest::{Handler, Reply},
    telemetry::{DatagramDrop, Telemetry, Transport},
    web::admission::{Permit, Trust},
    wire::{FRAME_LEN, SignedAck},
};

use super::limits::{GOING, NO_FRAME, QuicLimits, now};

/// Datagrams that are answered before other tasks of the thread get their turn.
const BURST: u32 = 64;
/// Timeout for writing an ack to a stream.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);

/// Answers frames, for all connections.
pub(super) struct FrameService {
    pub(super) handler: Arc<Handler>,
    pub(super) telemetry: Telemetry,
    /// Places for stops that are being committed.
    pub(super) settling: Arc<Semaphore>,
    /// What is finished before the listener ends.
    pub(super) work: TaskTracker,
}

/// The valid frames of a connection or of a WebTransport session: whether there have been any, and lately.
///
/// A peer that never sends one is disconnected. The first one proves the peer's network.
pub(super) struct ValidFrames<K> {
    ever: AtomicBool,
    /// Since it was looked at last.
    lately: AtomicBool,
    /// How long there may be none before the first.
    first: Duration,
    /// How long there may be none after that.
    later: Duration,
    permit: Arc<Permit<K>>,
}

impl<K> ValidFrames<K> {
    pub(super) fn of(permit: Arc<Permit<K>>, limits: &QuicLimits) -> Arc<Self> {
        let (ever, lately) = (AtomicBool::new(false), AtomicBool::new(false));
        Arc::new(Self { ever, lately, first: limits.first_frame, later: limits.idle, permit })
    }

    /// A valid frame has come.
    pub(super) fn note(&self) {
        self.lately.store(true, Ordering::Relaxed);
        if !self.ever.load(Ordering::Relaxed) && !self.ever.swap(true, Ordering::Relaxed) {
            self.permit.prove(Trust::Client, now());
        }
    }

    /// Completes when no valid frame has arrived for the timeout.
    pub(super) async fn idle_timeout(&self) {
        loop {
            let timeout = if self.ever.load(Ordering::Relaxed) { self.later } else { self.first };
            tokio::time::sleep(timeout).await;
            if !self.lately.swap(false, Ordering::Relaxed) {
                return;
            }
        }
    }
}

/// Serves a connection to its end.
pub(super) async fn serve<K: 'static>(
    connection: &Connection,
    service: &Arc<FrameService>,
    valid: Arc<ValidFrames<K>>,
) {
    let mut tally = Tally::default();
    let mut timed_out = pin!(valid.idle_timeout());
    let mut burst = 0;
    let (mut both_ways, mut one_way) = (pin!(connection.accept_bi()), pin!(connection.accept_uni()));
    loop {
        tokio::select! {
            biased;
            datagram = connection.read_datagram() => {
                let Ok(datagram) = datagram else { break };
                tally.read += 1;
                let FrameOutcome { valid: is_valid, answered } = service.datagram(connection, Transport::Quic, &[], &datagram);
                if is_valid {
                    valid.note();
                }
                tally.answered += u64::from(answered);
                burst += 1;
                if burst == BURST {
                    burst = 0;
                    tokio::task::yield_now().await;
                }
            }
            stream = &mut both_ways => {
                let Ok((send, recv)) = stream else { break };
                both_ways.set(connection.accept_bi());
                tokio::spawn(stream_of_frames(connection.clone(), Arc::clone(service), Arc::clone(&valid), Some(send), recv));
            }
            stream = &mut one_way => {
                let Ok(recv) = stream else { break };
                one_way.set(connection.accept_uni());
                tokio::spawn(stream_of_frames(connection.clone(), Arc::clone(service), Arc::clone(&valid), None, recv));
            }
            () = &mut timed_out => {
                connection.close(NO_FRAME, b"no valid frame for too long");
                break;
            }
        }
    }
    tally.tell(connection, &service.telemetry);
}

/// Datagrams of a connection, as far as its task has seen them.
#[derive(Default)]
pub(super) struct Tally {
    pub(super) read: u64,
    pub(super) answered: u64,
}

impl Tally {
    /// Counts what the connection took from the network and nobody read, and what was answered and never left.
    pub(super) fn tell(&self, connection: &Connection, telemetry: &Telemetry) {
        let stats = connection.stats();
        let unread = stats.frame_rx.datagram.saturating_sub(self.read);
        let unsent = self.answered.saturating_sub(stats.frame_tx.datagram);
        telemetry.datagrams_dropped(DatagramDrop::Unread).increment(unread);
        telemetry.datagrams_dropped(DatagramDrop::Unsent).increment(unsent);
    }
}

/// The outcome of a datagram.
pub(super) struct FrameOutcome {
    /// Whether it was a frame with a good tag.
    pub(super) valid: bool,
    /// Whether there is an answer already.
    pub(super) answered: bool,
}

impl FrameService {
    /// Answers the frame of a datagram in a datagram that begins with `prefix`.
    pub(super) fn datagram(
        self: &Arc<Self>,
        connection: &Connection,
        transport: Transport,
        prefix: &[u8],
        frame: &[u8],
    ) -> FrameOutcome {
        match self.handler.beat(transport, frame) {
            Reply::Silence(_) => FrameOutcome { valid: false, answered: false },
            Reply::Now(ack) => FrameOutcome { valid: true, answered: self.send(connection, transport, prefix, &ack) },
            Reply::Settled(ack, account) => {
                let Ok(permit) = Arc::clone(&self.settling).try_acquire_owned() else {
                    self.telemetry.datagrams_dropped(DatagramDrop::Settling).increment(1);
                    return FrameOutcome { valid: true, answered: false };
                };
                let (service, connection, prefix) = (Arc::clone(self), connection.clone(), prefix.to_vec());
                self.work.spawn(async move {
                    if service.handler.settle(account).await {
                        service.send(&connection, transport, &prefix, &ack);
                    }
                    drop(permit);
                });
                FrameOutcome { valid: true, answered: false }
            }
        }
    }

    /// Sends an ack, or drops it: a client that misses one beats again.
    fn send(&self, connection: &Connection, transport: Transport, prefix: &[u8], ack: &SignedAck) -> bool {
        let mut datagram = BytesMut::with_capacity(prefix.len() + FRAME_LEN);
        datagram.put_slice(prefix);
        datagram.put_slice(ack.as_bytes());
        let sent = connection.send_datagram(datagram.freeze()).is_ok();
        if sent {
            self.handler.sent(transport);
        }
        sent
    }
}

/// Answers frames on the stream they came by, or in datagrams where it goes one way only.
async fn stream_of_frames<K>(
    connection: Connection,
    service: Arc<FrameService>,
    valid: Arc<ValidFrames<K>>,
    mut send: Option<SendStream>,
    mut recv: RecvStream,
) {
    const BY: Transport = Transport::QuicStream;
    let mut frame = [0; FRAME_LEN];
    loop {
        match recv.read_exact(&mut frame).await {
            Ok(()) => {}
            Err(ReadExactError::FinishedEarly(length)) => {
                if length > 0 {
                    // Counted as what it is: a frame of the wrong length.
                    service.handler.beat(BY, &frame[..length]);
                }
                break;
            }
            Err(ReadExactError::ReadError(_)) => return,
        }
        let reply = service.handler.beat(BY, &frame);
        if !matches!(reply, Reply::Silence(_)) {
            valid.note();
        }
        let ack = match reply {
            Reply::Silence(_) => continue,
            Reply::Now(ack) => ack,
            Reply::Settled(ack, account) => {
                let Ok(permit) = Arc::clone(&service.settling).try_acquire_owned() else { continue };
                let (settled, handler) = (service.work.clone(), Arc::clone(&service.handler));
                // It is finished even if the peer goes away.
                let settled = settled.spawn(async move {
                    let settled = handler.settle(account).await;
                    drop(permit);
                    settled
                });
                if !settled.await.unwrap_or(false) {
                    continue;
                }
                ack
            }
        };
        let taken = match &mut send {
            Some(send) => {
                let written = tokio::time::timeout(WRITE_TIMEOUT, send.write_all(ack.as_bytes())).await;
                matches!(written, Ok(Ok(())))
            }
            None => connection.send_datagram(Bytes::copy_from_slice(ack.as_bytes())).is_ok(),
        };
        if taken {
            service.handler.sent(BY);
        } else if let Some(mut send) = send {
            // Either the peer has gone or it takes nothing: nothing more is kept for it.
            drop(send.reset(GOING));
            return;
        }
    }
    if let Some(mut send) = send {
        drop(send.finish());
    }
}
