//! Opens the sessions of a run, and clears them away.

use std::{
    future::Future,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use gastank::wire::{Ack, Heartbeat, HeartbeatKind, MeterTime, StateBits, WireVerdict};
use tokio::task::JoinSet;

use crate::{
    api::{Api, ApiError, HeartbeatTerms},
    clock::{Clock, MeterEstimate},
    progress::Progress,
    session::OpenSession,
};

/// What it takes to open sessions.
#[derive(Clone)]
pub struct Recruiter {
    /// The service.
    pub api: Arc<Api>,
    /// The program's clock.
    pub clock: Clock,
    /// Credit of each new account, in seconds.
    pub credit_s: u32,
    /// How many calls may be under way at a time.
    pub concurrency: usize,
    /// Set when everything is to end.
    pub stop: Arc<AtomicBool>,
    /// Every account that has been made or taken over, so that it can be cleared away whatever happens.
    pub accounts: Arc<Mutex<Vec<String>>>,
}

/// What the service said of itself when the first session was opened.
#[derive(Clone, Debug)]
pub struct Welcome {
    /// How sessions are to beat.
    pub heartbeat: HeartbeatTerms,
    /// What meter time is.
    pub meter: MeterEstimate,
}

/// Why no crew could be put together.
#[derive(Debug, thiserror::Error)]
pub enum CrewError {
    /// A call failed.
    #[error(transparent)]
    Api(#[from] ApiError),
    /// It was stopped.
    #[error("stopped")]
    Stopped,
}

impl Recruiter {
    /// Opens the first session: from `known` if its account is still there, else from a new account.
    ///
    /// # Errors
    ///
    /// Any [`CrewError`].
    pub async fn first(&self, known: Option<OpenSession>) -> Result<(OpenSession, Welcome), CrewError> {
        if let Some(known) = known {
            match self.activate(known).await {
                Err(error) if error.is_refusal() => {}
                other => return Ok(other?),
            }
        }
        Ok(self.enlist().await?)
    }

    /// Opens the other sessions: what is left of `known`, and `missing` new ones. Keeps them alive meanwhile.
    ///
    /// # Errors
    ///
    /// The first [`CrewError`]; what has been opened by then is in [`Self::accounts`].
    pub async fn rest(
        &self,
        first: OpenSession,
        welcome: &Welcome,
        known: Vec<OpenSession>,
        missing: usize,
    ) -> Result<Vec<OpenSession>, CrewError> {
        let progress = Arc::new(Progress::new("opening sessions", (known.len() + missing) as u64, self.clock));
        let open = Arc::new(Mutex::new(vec![first]));
        let keeper = tokio::spawn(self.clone().keep_alive(welcome.clone(), Arc::clone(&open)));
        let jobs = known.into_iter().map(Some).chain(std::iter::repeat_with(|| None).take(missing));
        let (mine, meter, here, shown) = (self.clone(), welcome.meter, Arc::clone(&open), Arc::clone(&progress));
        let done = each(jobs, self.concurrency, &self.stop, move |known: Option<OpenSession>| {
            let (mine, here, shown) = (mine.clone(), Arc::clone(&here), Arc::clone(&shown));
            async move {
                let session = mine.revive(known, meter).await?;
                here.lock().unwrap_or_else(PoisonError::into_inner).push(session);
                shown.step();
                Ok(())
            }
        })
        .await;
        keeper.abort();
        progress.finish();
        done?;
        let open = std::mem::take(&mut *open.lock().unwrap_or_else(PoisonError::into_inner));
        Ok(open)
    }

    /// Deletes every account of the run. Answers how many could not be.
    pub async fn clear_away(&self) -> usize {
        let accounts = std::mem::take(&mut *self.accounts.lock().unwrap_or_else(PoisonError::into_inner));
        let progress = Arc::new(Progress::new("clearing away", accounts.len() as u64, self.clock));
        let failed = Arc::new(Mutex::new(0));
        let (api, count, shown) = (Arc::clone(&self.api), Arc::clone(&failed), Arc::clone(&progress));
        // Not to be stopped: that is what a person who stops a run wants done.
        let never = AtomicBool::new(false);
        let all = each(accounts, self.concurrency, &never, move |account: String| {
            let (api, count, shown) = (Arc::clone(&api), Arc::clone(&count), Arc::clone(&shown));
            async move {
                if api.delete_account(&account).await.is_err() {
                    *count.lock().unwrap_or_else(PoisonError::into_inner) += 1;
                }
                shown.step();
                Ok(())
            }
        });
        all.await.expect("no step fails and nothing stops it");
        progress.finish();
        *failed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A session that is open: `known` itself, or one of its account's, or one of a new account's.
    async fn revive(&self, known: Option<OpenSession>, meter: MeterEstimate) -> Result<OpenSession, ApiError> {
        let Some(known) = known else { return Ok(self.enlist().await?.0) };
        if self.is_alive(&known, meter).await? {
            return Ok(known);
        }
        match self.activate(known).await {
            Err(error) if error.is_refusal() => Ok(self.enlist().await?.0),
            other => Ok(other?.0),
        }
    }

    async fn enlist(&self) -> Result<(OpenSession, Welcome), ApiError> {
        let account = self.api.create_account(self.credit_s).await?;
        self.accounts.lock().unwrap_or_else(PoisonError::into_inner).push(account.account.clone());
        let activation = self.api.activate(&account.key).await?;
        let session =
            OpenSession { account: account.account, account_key: account.key, id: activation.id, key: activation.key };
        Ok((session, self.welcome(activation.meter_ms, activation.heartbeat)))
    }

    async fn activate(&self, known: OpenSession) -> Result<(OpenSession, Welcome), ApiError> {
        let activation = self.api.activate(&known.account_key).await?;
        let session = OpenSession { id: activation.id, key: activation.key, ..known };
        Ok((session, self.welcome(activation.meter_ms, activation.heartbeat)))
    }

    fn welcome(&self, meter_ms: u64, heartbeat: HeartbeatTerms) -> Welcome {
        Welcome { heartbeat, meter: MeterEstimate::new(MeterTime::from_ms(meter_ms), self.clock.now()) }
    }

    /// Beats once for a session. A beat that is refused means that the session's key is not known any more.
    async fn is_alive(&self, session: &OpenSession, meter: MeterEstimate) -> Result<bool, ApiError> {
        let mac = session.key.body_mac();
        let heartbeat = Heartbeat {
            kind: HeartbeatKind::Beat,
            state: StateBits::default(),
            seq: 0,
            session: session.id,
            clock: meter.at(self.clock.now()),
        };
        match self.api.beat(heartbeat.sign(&mac)).await {
            Ok(bytes) => Ok(Ack::verify(&bytes, &mac).is_ok_and(|ack| ack.verdict == WireVerdict::Valid)),
            Err(error) if error.is_refusal() => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Opening many sessions takes longer than the first of them live without a beat.
    async fn keep_alive(self, welcome: Welcome, open: Arc<Mutex<Vec<OpenSession>>>) {
        let apart = Duration::from_millis(welcome.heartbeat.interval_ms / 2).max(Duration::from_millis(50));
        loop {
            tokio::time::sleep(apart).await;
            let sessions = open.lock().unwrap_or_else(PoisonError::into_inner).clone();
            let mine = self.clone();
            let beats = each(sessions, KEEP_ALIVE_CONCURRENCY, &self.stop, move |session: OpenSession| {
                let mine = mine.clone();
                // A session that could not be kept alive shows in the run, as bad acks.
                async move { mine.is_alive(&session, welcome.meter).await.map(|_| ()).or(Ok(())) }
            });
            if beats.await.is_err() {
                return;
            }
        }
    }
}

const KEEP_ALIVE_CONCURRENCY: usize = 8;

/// Does `work` for each item, for at most `limit` at a time, until one fails or it is stopped.
async fn each<T, F, W>(
    items: impl IntoIterator<Item = T>,
    limit: usize,
    stop: &AtomicBool,
    work: W,
) -> Result<(), CrewError>
where
    F: Future<Output = Result<(), ApiError>> + Send + 'static,
    W: Fn(T) -> F,
{
    let mut items = items.into_iter();
    let mut tasks = JoinSet::new();
    let outcome = loop {
        if stop.load(Ordering::Relaxed) {
            break Err(CrewError::Stopped);
        }
        while tasks.len() < limit.max(1)
            && let Some(item) = items.next()
        {
            tasks.spawn(work(item));
        }
        match tokio::time::timeout(STOP_LATENCY, tasks.join_next()).await {
            Ok(None) => break Ok(()),
            Ok(Some(Ok(Ok(())))) | Err(_) => {}
            Ok(Some(Ok(Err(error)))) => break Err(error.into()),
            Ok(Some(Err(panic))) => std::panic::resume_unwind(panic.into_panic()),
        }
    };
    // What is under way may be making an account: it is to be known, or it could not be cleared away.
    let _ = tokio::time::timeout(PATIENCE, async { while tasks.join_next().await.is_some() {} }).await;
    outcome
}

/// How long to wait for what is under way when it is over.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long it may take until a stop is noticed.
const STOP_LATENCY: Duration = Duration::from_millis(200);
