//! A service that runs, and how it stops.

use std::{sync::Arc, time::Duration};

use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    ingest::http::Threads,
    store::{StoreError, roles::*},
    telemetry::Phase,
    time::MeterClock,
};

use super::{error::ServiceError, listening::Listening, nodes::Joined, supervisor::Supervisor, upkeep::Upkeep};

/// What of the time to stop is kept for writing and closing.
const CLOSING: Duration = Duration::from_secs(3);

/// What has been started and has to end: filled as the service starts, stage by stage.
#[derive(Default)]
pub(super) struct Teardown {
    /// Ends the listeners of clients and edges.
    pub(super) stop_listening: CancellationToken,
    /// Ends everything else.
    pub(super) stop_rest: CancellationToken,
    /// The listeners of clients and edges.
    pub(super) listeners: TaskTracker,
    /// The listener of operators.
    pub(super) operators: TaskTracker,
    /// The threads that serve connections.
    pub(super) threads: Option<Threads>,
    /// What runs until `stop_rest`.
    pub(super) tasks: TaskTracker,
    /// Threads that are to run as long as anything does, by their names: cancelled where one has ended.
    pub(super) watched: Vec<(&'static str, CancellationToken)>,
    /// The meter.
    pub(super) meter: Option<Arc<MeterClock>>,
    /// What has joined other nodes, if they share the store.
    pub(super) joined: Option<Joined>,
    /// What knows more than the store, once there is anything to know.
    pub(super) upkeep: Option<Upkeep>,
    /// The store.
    pub(super) store: Option<Arc<dyn Store>>,
}

impl Teardown {
    /// Ends the listeners of clients and edges. What is under way has so long to finish, and is cut then.
    async fn end_listeners(&mut self, grace: Duration) {
        self.stop_listening.cancel();
        self.listeners.close();
        if tokio::time::timeout(grace, self.listeners.wait()).await.is_err() {
            tracing::warn!("some connections did not end in time and are cut");
        }
        if let Some(threads) = self.threads.take() {
            threads.end().await;
        }
    }

    /// Stops the meter and ends whatever else runs.
    async fn end_rest(&self) {
        if let Some(meter) = &self.meter {
            meter.stop();
        }
        self.stop_rest.cancel();
        self.operators.close();
        self.tasks.close();
        self.tasks.wait().await;
    }

    /// Writes what memory knows better than the store, takes leave of the other nodes, and closes the store.
    async fn end_store(&self) -> Result<(), StoreError> {
        let mut flushed = Ok(());
        if let Some(upkeep) = &self.upkeep {
            flushed = upkeep.flush(CLOSING).await;
            // Who has left writes nothing any more.
            if let Some(history) = &upkeep.history {
                history.finish().await;
            }
            // Only who has told all that it heard may go without the others' waiting for it.
            if let (Ok(()), Some(joined)) = (&flushed, &self.joined)
                && !matches!(tokio::time::timeout(CLOSING, joined.leave()).await, Ok(Ok(())))
            {
                tracing::warn!("the other nodes could not be told that this one leaves; they will find out");
            }
        }
        let closed = match &self.store {
            Some(store) => store.close().await,
            None => Ok(()),
        };
        flushed.and(closed)
    }

    /// Undoes a start that failed: afterwards ports, threads and the data file are free again.
    pub(super) async fn undo(mut self) {
        self.end_listeners(CLOSING).await;
        self.end_rest().await;
        if tokio::time::timeout(CLOSING, self.operators.wait()).await.is_err() {
            tracing::warn!("some connections of operators did not end in time");
        }
        if let Err(error) = self.end_store().await {
            tracing::warn!(%error, "the store could not be closed in order after a start that failed");
        }
    }
}

/// A service that runs.
pub struct Service {
    pub(super) listening: Listening,
    pub(super) first_start: bool,
    pub(super) delay: Duration,
    pub(super) grace: Duration,
    pub(super) supervisor: Supervisor,
    pub(super) upkeep: Upkeep,
    pub(super) teardown: Teardown,
}

impl Service {
    /// Where it listens.
    pub const fn listening(&self) -> &Listening {
        &self.listening
    }

    /// Whether this is the first start on its data directory.
    pub const fn is_first_start(&self) -> bool {
        self.first_start
    }

    /// Stops: finishes what is under way, writes down what memory knows, closes the store. Operators are answered while
    /// clients' connections end, so that they can see it drain.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if not everything could be written: at most the last checkpoint interval of heartbeats is lost.
    pub async fn stop(mut self) -> Result<(), StoreError> {
        self.upkeep.telemetry.health().enter(Phase::Draining);
        tracing::info!("draining");
        // Who sends clients here is to see that first.
        tokio::time::sleep(self.delay).await;
        self.teardown.end_listeners(self.grace.saturating_sub(CLOSING)).await;
        self.teardown.end_rest().await;
        self.teardown.end_store().await?;
        tracing::info!("stopped");
        Ok(())
    }

    /// Runs until it is told to stop, or cannot go on.
    pub(super) async fn run_until(self, told: impl Future<Output = ()>) -> Result<(), ServiceError> {
        let (joined, supervisor) = (self.teardown.joined.clone(), self.supervisor.clone());
        let lost = async {
            match &joined {
                Some(joined) => joined.lost().await,
                None => std::future::pending().await,
            }
        };
        let failed = tokio::select! {
            biased;
            why = lost => {
                self.abandon().await;
                return Err(why.into());
            }
            part = supervisor.failed() => Some(part),
            () = told => None,
        };
        self.stop().await?;
        match failed {
            Some(part) => Err(ServiceError::Part(part)),
            None => Ok(()),
        }
    }

    /// Ends at once, and writes nothing: others have gone on without this node, and what it knows is void.
    async fn abandon(self) {
        self.teardown.stop_listening.cancel();
        self.teardown.stop_rest.cancel();
        if let Some(threads) = self.teardown.threads {
            threads.end().await;
        }
        drop(self.upkeep.store.close().await);
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpStream;

    use super::*;
    use crate::config::Config;
    use crate::store::{SqliteOptions, SqliteStore};

    /// A service on free ports, and where its data are.
    async fn service() -> (Service, tempfile::TempDir) {
        let dir = tempfile::tempdir().unwrap();
        let text = format!(
            "data_dir = {:?}\n[http]\naddr = \"127.0.0.1:0\"\n[udp]\naddr = \"127.0.0.1:0\"\n[quic]\naddr = \"off\"\n\
             [admin]\naddr = \"127.0.0.1:0\"\n",
            dir.path()
        );
        let service = Box::pin(Service::start(Config::from_toml(&text).unwrap())).await.unwrap();
        (service, dir)
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_part_that_fails_for_good_ends_the_service_in_order() {
        let (service, dir) = service().await;
        let http = service.listening().http;
        let failing = service.supervisor.clone().once("sunrise", service.teardown.stop_rest.clone(), async {
            panic!("a part panics");
        });
        service.teardown.tasks.spawn(failing);
        let ended = service.run_until(std::future::pending()).await;
        assert!(matches!(ended, Err(ServiceError::Part("sunrise"))), "{ended:?}");
        assert!(TcpStream::connect(http).await.is_err(), "nobody is let in any more");
        // Everything is written, and the file is let go: another may have it, and the meter is where it was.
        let store = SqliteStore::open(&dir.path().join("gastank.db"), &SqliteOptions::default()).unwrap();
        assert!(store.clock().await.unwrap().is_some());
        store.close().await.unwrap();
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn each_listener_and_thread_that_ends_too_early_ends_the_service() {
        let (service, _dir) = service().await;
        // As if each of the HTTP threads had ended.
        service.teardown.threads.as_ref().expect("it has threads").ended().cancel();
        let ended = service.run_until(std::future::pending()).await;
        assert!(matches!(ended, Err(ServiceError::Part("HTTP threads"))), "{ended:?}");
        for thread in ["meter thread", "store writer"] {
            let (service, _dir) = self::service().await;
            let watched = service.teardown.watched.iter().find(|(part, _)| *part == thread);
            watched.expect("it is watched").1.cancel();
            let ended = service.run_until(std::future::pending()).await;
            assert!(matches!(ended, Err(ServiceError::Part(part)) if part == thread), "{ended:?}");
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_service_that_is_told_to_stop_has_no_part_that_failed() {
        let (service, _dir) = service().await;
        let supervisor = service.supervisor.clone();
        service.run_until(std::future::ready(())).await.unwrap();
        let failed = tokio::time::timeout(Duration::from_millis(50), supervisor.failed()).await;
        assert!(failed.is_err(), "{failed:?}");
    }
}
