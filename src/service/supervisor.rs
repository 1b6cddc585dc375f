//! Everything that is to run as long as the service does, watched in one place.
//!
//! A thread or task that panics takes nothing with it: the others go on, and nobody notices that beats are not answered or
//! sessions not settled any more. So each of them is handed to the [`Supervisor`]. What can begin anew does so, after a
//! pause. What cannot ends the service in order: it drains, writes what memory knows, and exits with code 1, and whatever
//! restarts processes starts it again.

#![expect(clippy::disallowed_methods, reason = "how long something has run is told by the runtime's clock")]

use std::{
    panic::AssertUnwindSafe,
    sync::{Arc, OnceLock},
    time::Duration,
};

use futures_util::FutureExt;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::telemetry::Telemetry;

/// How long something that panicked waits until it begins anew; doubled each time, up to the second.
const PAUSE: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(30));
/// Who has run for so long begins with the shortest pause again.
const HEALTHY: Duration = Duration::from_secs(300);

/// Watches what is to run as long as the service does. Clones watch together.
#[derive(Clone)]
pub struct Supervisor {
    telemetry: Telemetry,
    failed: CancellationToken,
    part: Arc<OnceLock<&'static str>>,
}

impl Supervisor {
    /// Watches nothing yet. What it does is counted by `telemetry`.
    pub fn new(telemetry: Telemetry) -> Self {
        Self { telemetry, failed: CancellationToken::new(), part: Arc::default() }
    }

    /// Runs what can begin anew, until `stop`: whatever a panic leaves half done, the next beginning finds and goes on from.
    pub async fn again<F, W>(self, part: &'static str, stop: CancellationToken, begin: F)
    where
        F: Fn() -> W + Send,
        W: Future<Output = ()> + Send,
    {
        let mut pause = PAUSE.0;
        while !stop.is_cancelled() {
            let began = Instant::now();
            // Also what panics before it has begun.
            let work = AssertUnwindSafe(async { begin().await }).catch_unwind();
            match stop.run_until_cancelled(work).await {
                None | Some(Ok(())) => return,
                Some(Err(_)) => {}
            }
            if began.elapsed() >= HEALTHY {
                pause = PAUSE.0;
            }
            self.telemetry.part_restarted();
            tracing::error!(part, pause_ms = pause.as_millis(), "a part of the service panicked and begins anew");
            stop.run_until_cancelled(tokio::time::sleep(pause)).await;
            pause = (pause * 2).min(PAUSE.1);
        }
    }

    /// Runs what cannot begin anew and ends by itself once there is `stop`. If it ends before, the service fails.
    pub async fn once(self, part: &'static str, stop: CancellationToken, work: impl Future<Output = ()> + Send) {
        // What it was in the middle of is not looked at again: the service ends.
        drop(AssertUnwindSafe(work).catch_unwind().await);
        if !stop.is_cancelled() {
            self.fail(part);
        }
    }

    /// Watches a thread: `ended` is cancelled when it ends, and that must not be before `stop`.
    pub async fn thread(self, part: &'static str, stop: CancellationToken, ended: CancellationToken) {
        tokio::select! {
            biased;
            () = stop.cancelled() => {}
            () = ended.cancelled() => self.fail(part),
        }
    }

    /// Waits until something that cannot begin anew has failed; answers what.
    pub async fn failed(&self) -> &'static str {
        self.failed.cancelled().await;
        self.part.get().expect("it is set before")
    }

    fn fail(&self, part: &'static str) {
        tracing::error!(part, "a part of the service has ended that cannot begin anew; the service stops");
        self.part.get_or_init(|| part);
        self.failed.cancel();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;
    use crate::telemetry::Health;

    fn supervisor() -> Supervisor {
        Supervisor::new(Telemetry::new(Health::new()))
    }

    fn restarts(supervisor: &Supervisor) -> String {
        let page = supervisor.telemetry.render();
        let series = page.lines().find_map(|line| line.strip_prefix("gastank_parts_restarted_total "));
        series.unwrap().to_owned()
    }

    #[tokio::test(start_paused = true)]
    async fn what_panics_begins_anew_after_longer_and_longer_pauses_until_the_stop() {
        let (supervisor, stop, begun) = (supervisor(), CancellationToken::new(), Arc::new(AtomicU32::new(0)));
        let counting = Arc::clone(&begun);
        let running = tokio::spawn(supervisor.clone().again("sweep", stop.clone(), move || {
            let number = counting.fetch_add(1, Ordering::SeqCst);
            async move {
                if number < 3 {
                    panic!("for the {number}th time");
                }
                std::future::pending::<()>().await;
            }
        }));
        let start = Instant::now();
        while begun.load(Ordering::SeqCst) < 4 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert!(start.elapsed() >= PAUSE.0 * 7 && start.elapsed() < PAUSE.0 * 8, "{:?}", start.elapsed());
        assert_eq!(restarts(&supervisor), "3");
        assert!(supervisor.failed().now_or_never().is_none());
        stop.cancel();
        running.await.unwrap();
    }

    #[tokio::test]
    async fn what_cannot_begin_anew_fails_the_service_when_it_panics_or_ends_too_early() {
        for panics in [true, false] {
            let (supervisor, stop) = (supervisor(), CancellationToken::new());
            let work = async move { assert!(!panics, "it panics") };
            tokio::spawn(supervisor.clone().once("http listener", stop, work)).await.unwrap();
            assert_eq!(supervisor.failed().await, "http listener");
        }
        let (supervisor, stop) = (supervisor(), CancellationToken::new());
        let told = stop.clone();
        let work = async move { told.cancelled().await };
        let running = tokio::spawn(supervisor.clone().once("http listener", stop.clone(), work));
        stop.cancel();
        running.await.unwrap();
        assert!(supervisor.failed().now_or_never().is_none(), "it was told to");
    }

    #[tokio::test]
    async fn a_thread_that_ends_fails_the_service() {
        let (supervisor, ended) = (supervisor(), CancellationToken::new());
        let guard = ended.clone().drop_guard();
        let watching = supervisor.clone().thread("http-0", CancellationToken::new(), ended);
        let thread = std::thread::spawn(move || {
            let _guard = guard;
            panic!("a thread panics")
        });
        assert!(thread.join().is_err());
        watching.await;
        assert_eq!(supervisor.failed().await, "http-0");
    }
}
