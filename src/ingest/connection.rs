//! What keeps one HTTP connection from being held open for nothing.
//!
//! Hyper bounds how long a request's head may take, but not how long a connection may be silent before its first byte,
//! and it knows only one time-out for "between requests" and "within a head". A [`Watch`] tells them apart.

#![expect(clippy::disallowed_methods, reason = "time-outs of connections are told by the runtime's clock")]

use std::{
    io::{self, IoSlice},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::Instant,
};

/// How long what may take on a connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    /// From the first byte of a request (at first: from accepting the connection) to the end of its head.
    pub(super) head: Duration,
    /// Between requests.
    pub(super) idle: Duration,
}

/// What a connection is doing.
#[derive(Clone)]
pub(super) struct Watch(Arc<Activity>);

struct Activity {
    opened: Instant,
    patience: Patience,
    /// Milliseconds after `opened` at which the wait for a request's head began; [`NOT_READING`] when there is none.
    reading_since: AtomicU64,
    /// Milliseconds after `opened` at which the last request was answered.
    answered_at: AtomicU64,
    in_flight: AtomicUsize,
    /// An HTTP/2 connection speaks between requests: only the idle rule applies.
    multiplexed: AtomicBool,
}

const NOT_READING: u64 = u64::MAX;

impl Watch {
    pub(super) fn new(patience: Patience) -> Self {
        Self(Arc::new(Activity {
            opened: Instant::now(),
            patience,
            reading_since: AtomicU64::new(0),
            answered_at: AtomicU64::new(0),
            in_flight: AtomicUsize::new(0),
            multiplexed: AtomicBool::new(false),
        }))
    }

    /// A request's head has been read.
    pub(super) fn request(&self, multiplexed: bool) -> InFlight {
        self.0.reading_since.store(NOT_READING, Ordering::Relaxed);
        self.0.multiplexed.store(multiplexed, Ordering::Relaxed);
        self.0.in_flight.fetch_add(1, Ordering::Relaxed);
        InFlight(self.clone())
    }

    /// Ends when the connection has been held open for nothing.
    pub(super) async fn run_out(&self) {
        while let Some(left) = self.left() {
            tokio::time::sleep(left).await;
        }
    }

    /// How much patience is left with what the connection does now. `None` when it has run out.
    fn left(&self) -> Option<Duration> {
        let activity = &self.0;
        let now = activity.opened.elapsed();
        let since = |at: &AtomicU64| now.saturating_sub(Duration::from_millis(at.load(Ordering::Relaxed)));
        let Patience { head, idle } = activity.patience;
        if activity.in_flight.load(Ordering::Relaxed) > 0 {
            return Some(head);
        }
        let reading = activity.reading_since.load(Ordering::Relaxed) != NOT_READING;
        let (taken, patience) = if reading && !activity.multiplexed.load(Ordering::Relaxed) {
            (since(&activity.reading_since), head)
        } else {
            (since(&activity.answered_at), idle)
        };
        patience.checked_sub(taken).filter(|left| !left.is_zero()).map(|left| left.min(head))
    }

    fn millis(&self) -> u64 {
        u64::try_from(self.0.opened.elapsed().as_millis()).unwrap_or(NOT_READING - 1)
    }

    /// Bytes have come in.
    fn read(&self) {
        if self.0.in_flight.load(Ordering::Relaxed) == 0 && self.0.reading_since.load(Ordering::Relaxed) == NOT_READING
        {
            self.0.reading_since.store(self.millis(), Ordering::Relaxed);
        }
    }
}

/// A request that is being answered.
pub(super) struct InFlight(Watch);

impl Drop for InFlight {
    fn drop(&mut self) {
        let activity = &self.0.0;
        activity.answered_at.store(self.0.millis(), Ordering::Relaxed);
        activity.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A connection that tells its watch of every read.
pub(super) struct Watched<IO> {
    io: IO,
    watch: Watch,
}

impl<IO> Watched<IO> {
    pub(super) const fn new(io: IO, watch: Watch) -> Self {
        Self { io, watch }
    }
}

impl<IO: AsyncRead + Unpin> AsyncRead for Watched<IO> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.io).poll_read(cx, buf))?;
        self.watch.read();
        Poll::Ready(Ok(()))
    }
}

impl<IO: AsyncWrite + Unpin> AsyncWrite for Watched<IO> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
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
    use super::*;

    const PATIENCE: Patience = Patience { head: Duration::from_secs(5), idle: Duration::from_secs(75) };

    async fn lasts(watch: &Watch, seconds: std::ops::Range<u64>) {
        let start = Instant::now();
        watch.run_out().await;
        let took = start.elapsed().as_secs();
        assert!(seconds.contains(&took), "{took} s");
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_that_says_nothing_is_given_up_after_the_time_for_a_head() {
        lasts(&Watch::new(PATIENCE), 5..7).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_between_requests_may_idle_longer() {
        let watch = Watch::new(PATIENCE);
        drop(watch.request(false));
        lasts(&watch, 75..77).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_head_that_trickles_in_is_given_up() {
        let watch = Watch::new(PATIENCE);
        drop(watch.request(false));
        tokio::time::sleep(Duration::from_secs(20)).await;
        watch.read();
        lasts(&watch, 5..7).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_that_is_being_answered_keeps_the_connection() {
        let watch = Watch::new(PATIENCE);
        let request = watch.request(false);
        tokio::time::timeout(Duration::from_secs(3600), watch.run_out()).await.unwrap_err();
        drop(request);
        lasts(&watch, 70..77).await;
    }

    #[tokio::test(start_paused = true)]
    async fn frames_between_requests_of_a_multiplexed_connection_are_no_head() {
        let watch = Watch::new(PATIENCE);
        drop(watch.request(true));
        watch.read();
        lasts(&watch, 75..77).await;
    }
}
