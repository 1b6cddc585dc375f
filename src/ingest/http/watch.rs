//! The timeouts of one HTTP connection, and the signals that end it.
//!
//! Hyper bounds how long a request's head may take, but not how long a connection may be silent before its first byte,
//! and it knows only one time-out for "between requests" and "within a head". A [`Watch`] tells them apart. It holds no
//! timer: the listener looks at all its connections a few times a second, so a request costs no timer either.

#![expect(clippy::disallowed_methods, reason = "time-outs of connections are told by the runtime's clock")]

use std::{
    io::{self, IoSlice},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering},
    },
    task::{Context, Poll, Waker, ready},
    time::Duration,
};

use parking_lot::Mutex;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::Instant,
};

/// The timeouts of a connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct Timeouts {
    /// From the first byte of a request (at first: from accepting the connection) to the end of its head.
    pub(super) head: Duration,
    /// From the end of a head to the end of the body, where the connection reads it by itself.
    pub(super) body: Duration,
    /// Between requests.
    pub(super) idle: Duration,
}

/// The activity of a connection, and the signals to it.
#[derive(Clone)]
pub(super) struct Watch(Arc<Activity>);

struct Activity {
    opened: Instant,
    timeouts: Timeouts,
    stage: AtomicU8,
    /// Milliseconds after `opened` at which the stage began.
    since: AtomicU64,
    in_flight: AtomicUsize,
    /// An HTTP/2 connection speaks between requests: only the idle rule applies.
    multiplexed: AtomicBool,
    stopping: AtomicBool,
    cut: AtomicBool,
    /// A body was refused that the peer may still be sending.
    refused: AtomicBool,
    /// The caller on this connection has proved to be an edge.
    edge: AtomicBool,
    /// How often the connection has moved from one runtime to another.
    moves: AtomicU32,
    waker: Mutex<Option<Waker>>,
}

/// Between requests.
const IDLE: u8 = 0;
/// A head is coming in.
const HEAD: u8 = 1;
/// A body is coming in, read by the connection itself.
const BODY: u8 = 2;

impl Watch {
    pub(super) fn new(timeouts: Timeouts) -> Self {
        Self(Arc::new(Activity {
            opened: Instant::now(),
            timeouts,
            stage: AtomicU8::new(HEAD),
            since: AtomicU64::new(0),
            in_flight: AtomicUsize::new(0),
            multiplexed: AtomicBool::new(false),
            stopping: AtomicBool::new(false),
            cut: AtomicBool::new(false),
            refused: AtomicBool::new(false),
            edge: AtomicBool::new(false),
            moves: AtomicU32::new(0),
            waker: Mutex::new(None),
        }))
    }

    /// The timeouts of the connection.
    pub(super) fn timeouts(&self) -> Timeouts {
        self.0.timeouts
    }

    /// A request's head has been read.
    pub(super) fn request(&self, multiplexed: bool) -> InFlight {
        self.0.multiplexed.store(multiplexed, Ordering::Relaxed);
        self.0.in_flight.fetch_add(1, Ordering::Relaxed);
        InFlight(self.clone())
    }

    /// Requests have been read and answered, all at `now`.
    pub(super) fn answered(&self, now: Instant) {
        self.enter(IDLE, now);
    }

    /// Bytes of a head have come in, and more are to follow.
    pub(super) fn in_head(&self, now: Instant) {
        if self.0.stage.load(Ordering::Relaxed) != HEAD {
            self.enter(HEAD, now);
        }
    }

    /// A head has come in, and its body is to follow.
    pub(super) fn in_body(&self, now: Instant) {
        if self.0.stage.load(Ordering::Relaxed) != BODY {
            self.enter(BODY, now);
        }
    }

    /// The TLS handshake or the proxy's header is complete: the head of the first request is due.
    pub(super) fn start_head(&self, now: Instant) {
        self.enter(HEAD, now);
    }

    /// Whether it is a body that is waited for.
    pub(super) fn is_in_body(&self) -> bool {
        self.0.stage.load(Ordering::Relaxed) == BODY
    }

    fn enter(&self, stage: u8, now: Instant) {
        let since = now.saturating_duration_since(self.0.opened).as_millis();
        self.0.since.store(u64::try_from(since).unwrap_or(u64::MAX), Ordering::Relaxed);
        self.0.stage.store(stage, Ordering::Relaxed);
    }

    /// Whether a timeout of the connection has passed at `now`.
    pub(super) fn is_timed_out(&self, now: Instant) -> bool {
        let activity = &self.0;
        if activity.in_flight.load(Ordering::Relaxed) > 0 {
            return false;
        }
        let Timeouts { head, body, idle } = activity.timeouts;
        let timeouts = match activity.stage.load(Ordering::Relaxed) {
            _ if activity.multiplexed.load(Ordering::Relaxed) => idle,
            HEAD => head,
            BODY => body,
            _ => idle,
        };
        let since = activity.opened + Duration::from_millis(activity.since.load(Ordering::Relaxed));
        now.saturating_duration_since(since) >= timeouts
    }

    /// Bytes have come in.
    fn read(&self) {
        if self.0.in_flight.load(Ordering::Relaxed) == 0 && self.0.stage.load(Ordering::Relaxed) == IDLE {
            self.enter(HEAD, Instant::now());
        }
    }

    /// Tells the connection to finish what it is at, and end.
    pub(super) fn stop(&self) {
        self.0.stopping.store(true, Ordering::Release);
        self.wake();
    }

    /// Whether it has been told to.
    pub(super) fn is_stopping(&self) -> bool {
        self.0.stopping.load(Ordering::Acquire)
    }

    /// Tells the connection to end at once.
    pub(super) fn cut(&self) {
        self.0.cut.store(true, Ordering::Release);
        self.wake();
    }

    /// Whether it has been told to.
    pub(super) fn is_cut(&self) -> bool {
        self.0.cut.load(Ordering::Acquire)
    }

    /// Notes that a body was refused while the peer may still send it: the response must reach the peer before the close.
    pub(super) fn mark_body_refused(&self) {
        self.0.refused.store(true, Ordering::Relaxed);
    }

    /// Notes that the caller on this connection has proved to be an edge.
    pub(super) fn mark_as_edge(&self) {
        self.0.edge.store(true, Ordering::Release);
    }

    /// Whether the caller has proved to be an edge.
    pub(super) fn is_edge(&self) -> bool {
        self.0.edge.load(Ordering::Acquire)
    }

    /// How often the connection has moved.
    pub(super) fn moves(&self) -> u32 {
        self.0.moves.load(Ordering::Acquire)
    }

    /// The connection goes on in another runtime from now on.
    pub(super) fn moved(&self) {
        self.0.moves.fetch_add(1, Ordering::AcqRel);
    }

    /// Sets the task to wake when the connection is stopped or cut.
    pub(super) fn set_waker(&self, waker: &Waker) {
        let mut known = self.0.waker.lock();
        if known.as_ref().is_none_or(|known| !known.will_wake(waker)) {
            *known = Some(waker.clone());
        }
    }

    fn wake(&self) {
        if let Some(waker) = self.0.waker.lock().take() {
            waker.wake();
        }
    }
}

/// A request that is being answered.
pub(super) struct InFlight(Watch);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.enter(IDLE, Instant::now());
        self.0.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Bytes of a refused body that are read and thrown away before the connection is closed.
const MAX_DISCARDED: usize = 4 << 20;
/// How many of them at a time.
const DISCARD_CHUNK: usize = 4 << 10;

/// A connection that tells its watch of every read.
///
/// After a refused body it lingers: a socket that is closed while its peer sends breaks the connection, and the peer may
/// lose the answer for that. How long is for the time that a body may take.
pub(super) struct Watched<IO> {
    io: IO,
    watch: Watch,
    /// Bytes that have been thrown away since our side was closed.
    discarded: Option<usize>,
}

impl<IO> Watched<IO> {
    pub(super) const fn new(io: IO, watch: Watch) -> Self {
        Self { io, watch, discarded: None }
    }
}

impl<IO: AsyncRead + Unpin> Watched<IO> {
    /// Waits for the peer to close its side too.
    fn poll_linger(&mut self, cx: &mut Context<'_>, discarded: &mut usize) -> Poll<()> {
        let mut bytes = [0; DISCARD_CHUNK];
        while *discarded < MAX_DISCARDED {
            let mut buf = ReadBuf::new(&mut bytes);
            match ready!(Pin::new(&mut self.io).poll_read(cx, &mut buf)) {
                Ok(()) if !buf.filled().is_empty() => *discarded += buf.filled().len(),
                Ok(()) | Err(_) => break,
            }
        }
        Poll::Ready(())
    }
}

impl<IO: AsyncRead + Unpin> AsyncRead for Watched<IO> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.io).poll_read(cx, buf))?;
        self.watch.read();
        Poll::Ready(Ok(()))
    }
}

impl<IO: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Watched<IO> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut discarded = match self.discarded {
            Some(discarded) => discarded,
            None => {
                ready!(Pin::new(&mut self.io).poll_shutdown(cx))?;
                if !self.watch.0.refused.load(Ordering::Relaxed) {
                    return Poll::Ready(Ok(()));
                }
                self.watch.in_body(Instant::now());
                0
            }
        };
        let over = self.poll_linger(cx, &mut discarded);
        self.discarded = Some(discarded);
        over.map(Ok)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;

    use super::*;

    const TIMEOUTS: Timeouts =
        Timeouts { head: Duration::from_secs(5), body: Duration::from_secs(10), idle: Duration::from_secs(75) };

    #[track_caller]
    fn lasts(watch: &Watch, since: Instant, seconds: u64) {
        let after = |seconds| watch.is_timed_out(since + Duration::from_secs(seconds));
        assert!(!after(seconds - 1) && after(seconds + 1));
    }

    #[test]
    fn a_connection_that_says_nothing_is_given_up_after_the_time_for_a_head() {
        lasts(&Watch::new(TIMEOUTS), Instant::now(), 5);
    }

    #[test]
    fn a_connection_between_requests_may_idle_longer() {
        let watch = Watch::new(TIMEOUTS);
        drop(watch.request(false));
        lasts(&watch, Instant::now(), 75);
        let later = Instant::now() + Duration::from_secs(20);
        watch.answered(later);
        lasts(&watch, later, 75);
    }

    #[test]
    fn a_head_or_a_body_that_trickles_in_is_given_up() {
        let watch = Watch::new(TIMEOUTS);
        drop(watch.request(false));
        let now = Instant::now();
        let later = |seconds| now + Duration::from_secs(seconds);
        watch.in_head(later(20));
        watch.in_head(later(24));
        lasts(&watch, later(20), 5);
        watch.in_body(later(24));
        watch.in_body(later(30));
        lasts(&watch, later(24), 10);
    }

    #[test]
    fn a_request_that_is_being_answered_keeps_the_connection() {
        let watch = Watch::new(TIMEOUTS);
        let request = watch.request(false);
        assert!(!watch.is_timed_out(Instant::now() + Duration::from_secs(3600)));
        drop(request);
        lasts(&watch, Instant::now(), 75);
    }

    #[test]
    fn frames_between_requests_of_a_multiplexed_connection_are_no_head() {
        let watch = Watch::new(TIMEOUTS);
        drop(watch.request(true));
        watch.read();
        lasts(&watch, Instant::now(), 75);
    }

    /// A peer that goes on sending so many bytes and then waits; how many of them were taken when our side is closed.
    async fn closing(watch: Watch, sends: usize) -> usize {
        let (ours, mut theirs) = tokio::io::duplex(16 << 10);
        let peer = async move {
            let mut sent = 0;
            while sent < sends && theirs.write_all(&[b' '; 1 << 10]).await.is_ok() {
                sent += 1 << 10;
            }
            sent
        };
        let mut ours = Watched::new(ours, watch);
        let close = async move { ours.shutdown().await.expect("it closes") };
        tokio::join!(peer, close).0
    }

    #[tokio::test]
    async fn a_refused_body_is_heard_out_within_bounds() {
        let refusing = || {
            let watch = Watch::new(TIMEOUTS);
            watch.mark_body_refused();
            watch
        };
        assert_eq!(closing(refusing(), 1 << 20).await, 1 << 20);
        let taken = closing(refusing(), usize::MAX).await;
        assert!((MAX_DISCARDED..MAX_DISCARDED + (64 << 10)).contains(&taken), "{taken}");
        let taken = closing(Watch::new(TIMEOUTS), usize::MAX).await;
        assert!(taken < 64 << 10, "nothing is waited for: {taken}");
    }
}
