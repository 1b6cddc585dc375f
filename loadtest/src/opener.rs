//! Opens the sessions of a run, keeps them alive until it starts, and clears them away.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
        mpsc::{Receiver, RecvTimeoutError, SyncSender, TryRecvError, sync_channel},
    },
    thread,
    time::Duration,
};

use gastank::{
    time::MeterTime,
    wire::{Ack, Heartbeat, HeartbeatKind, StateBits, WireVerdict},
};

use crate::{
    api::{self, Api, ApiError, NewAccount},
    bulk::{Bulk, ask},
    clock::{Clock, MeterEstimate},
    keeper::Keeper,
    progress::Progress,
    session::{AccountKey, OpenSession},
    terms::ServiceTerms,
    transport::{Call, FRAME_TYPE, HEARTBEAT_PATH, HttpReply, Method, Route},
};

/// What it takes to open sessions.
#[derive(Clone)]
pub struct SessionOpener {
    /// The calls.
    pub api: Api,
    /// The service's public listener.
    pub public: Route,
    /// The service's admin listener.
    pub admin: Route,
    /// The program's clock.
    pub clock: Clock,
    /// Credit of each new account, in seconds.
    pub credit_s: u32,
    /// How many calls may be under way at a time.
    pub concurrency: usize,
    /// Set when everything is to end.
    pub stop: Arc<AtomicBool>,
    /// Every account that has been made or taken over, so that it can be cleared away whatever happens.
    pub accounts: Arc<Mutex<Vec<Box<str>>>>,
}

/// Why no opened could be put together.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// A call failed.
    #[error(transparent)]
    Api(#[from] ApiError),
    /// The system refused.
    #[error(transparent)]
    Io(#[from] std::io::Error),
    /// It was stopped.
    #[error("stopped")]
    Stopped,
}

/// A session that is being opened.
enum Job {
    /// One of the file: is it still alive?
    Revive(OpenSession),
    /// Activate this account.
    Activate { account: Box<str>, key: AccountKey },
}

impl SessionOpener {
    /// Opens the first session: from `known` if its account is still there, else from a new account.
    ///
    /// # Errors
    ///
    /// Any [`OpenError`].
    pub fn first(&self, known: Option<OpenSession>) -> Result<(OpenSession, ServiceTerms), OpenError> {
        let activated = match known {
            Some(known) => match self.ask(api::activate(&known.account_key)) {
                Err(error) if error.is_refusal() => None,
                other => Some((known.account, known.account_key, other?)),
            },
            None => None,
        };
        let (account, account_key, reply) = match activated {
            Some(activated) => activated,
            None => {
                let NewAccount { account, key } = self.new_account()?;
                let reply = self.ask(api::activate(&key))?;
                (account, key, reply)
            }
        };
        let activation = api::activation(&reply.body)?;
        let service_terms = ServiceTerms {
            meter: MeterEstimate::new(MeterTime::from_ms(activation.meter_ms), self.clock.now()),
            heartbeat: activation.heartbeat,
            audience: api::claims(&activation.token).and_then(|claims| audience(&claims)),
        };
        let token = Some(activation.token);
        Ok((OpenSession { account, account_key, id: activation.id, key: activation.key, token }, service_terms))
    }

    /// Opens the other sessions: what is left of `known`, and `missing` new ones. Keeps them alive meanwhile, by
    /// datagrams to `udp` where there is such a listener. The first `tokens` sessions come with their tokens.
    ///
    /// # Errors
    ///
    /// The first [`OpenError`]; what has been opened by then is in [`Self::accounts`].
    pub fn rest(
        &self,
        first: OpenSession,
        service_terms: &ServiceTerms,
        udp: Option<std::net::SocketAddr>,
        known: Vec<OpenSession>,
        missing: usize,
        tokens: usize,
    ) -> Result<Vec<OpenSession>, OpenError> {
        let total = known.len() + missing;
        let progress = Progress::new("opening sessions", total as u64, self.clock);
        let keeper = Keeper::start(self.clock, service_terms, udp, self.public.clone(), Arc::clone(&self.stop))?;
        keeper.keep(&first);
        let mut opened = Vec::with_capacity(total + 1);
        opened.push(first);
        let (made, makes) = sync_channel(2 * self.concurrency);
        let mine = self.clone();
        let maker = thread::Builder::new().name("accounts".into()).spawn(move || mine.make_accounts(missing, &made))?;
        let outcome = self.open(known, &makes, total, tokens, service_terms.meter, &mut opened, &keeper, &progress);
        // The maker stops when nobody takes what it makes.
        drop(makes);
        let made = maker.join().unwrap_or(Err(OpenError::Stopped));
        keeper.finish();
        progress.finish();
        outcome?;
        made?;
        Ok(opened)
    }

    /// Deletes every account of the run. Answers how many could not be.
    pub fn clear_away(&self) -> usize {
        let accounts = std::mem::take(&mut *self.accounts.lock().unwrap_or_else(PoisonError::into_inner));
        if accounts.is_empty() {
            return 0;
        }
        let progress = Progress::new("clearing away", accounts.len() as u64, self.clock);
        let Ok(mut bulk) = Bulk::new(self.clock, &self.admin, self.concurrency.min(accounts.len())) else {
            return accounts.len();
        };
        let (mut left, mut failed) = (accounts.into_iter(), 0);
        loop {
            // Not to be stopped: that is what a person who stops a run wants done.
            while bulk.has_room()
                && let Some(account) = left.next()
            {
                bulk.start((), self.api.delete_account(&account));
            }
            if bulk.busy() == 0 {
                break;
            }
            let Ok(done) = bulk.turn(Duration::from_millis(50)) else { return failed + bulk.busy() + left.len() };
            for ((), reply) in done {
                progress.step();
                match reply {
                    Ok(_) | Err(ApiError::Refused { status: 404 | 410, .. }) => {}
                    Err(_) => failed += 1,
                }
            }
        }
        progress.finish();
        failed
    }

    /// Makes one call to the public listener.
    ///
    /// # Errors
    ///
    /// Any [`ApiError`] but of the token.
    pub fn ask(&self, call: Call) -> Result<HttpReply, ApiError> {
        ask(self.clock, &self.public, call)
    }

    /// Makes one call to the admin listener.
    ///
    /// # Errors
    ///
    /// Any [`ApiError`] but of the token.
    pub fn ask_operator(&self, call: Call) -> Result<HttpReply, ApiError> {
        ask(self.clock, &self.admin, call)
    }

    fn new_account(&self) -> Result<NewAccount, ApiError> {
        let reply = self.ask_operator(self.api.create_account(self.credit_s))?;
        self.note_account(&reply)
    }

    fn note_account(&self, reply: &HttpReply) -> Result<NewAccount, ApiError> {
        let account: NewAccount = api::parse("POST /admin/accounts", &reply.body)?;
        self.accounts.lock().unwrap_or_else(PoisonError::into_inner).push(account.account.clone());
        Ok(account)
    }

    /// Makes accounts and hands them over, until there are enough or nobody takes them.
    fn make_accounts(&self, missing: usize, made: &SyncSender<NewAccount>) -> Result<(), OpenError> {
        if missing == 0 {
            return Ok(());
        }
        let mut bulk = Bulk::new(self.clock, &self.admin, self.concurrency.min(missing))?;
        let mut left = missing;
        let mut wanted = true;
        loop {
            wanted = wanted && !self.stop.load(Ordering::Relaxed);
            while wanted && left > 0 && bulk.has_room() {
                left -= 1;
                bulk.start((), self.api.create_account(self.credit_s));
            }
            if bulk.busy() == 0 {
                return if wanted { Ok(()) } else { Err(OpenError::Stopped) };
            }
            // What is under way is waited for in any case: it is to be known, or it could not be cleared away.
            for ((), reply) in bulk.turn(STOP_LATENCY)? {
                let account = self.note_account(&reply?)?;
                wanted = wanted && made.send(account).is_ok();
            }
        }
    }

    #[expect(clippy::too_many_arguments, reason = "it is the body of `rest`, which has them all")]
    fn open(
        &self,
        known: Vec<OpenSession>,
        makes: &Receiver<NewAccount>,
        total: usize,
        tokens: usize,
        meter: MeterEstimate,
        opened: &mut Vec<OpenSession>,
        keeper: &Keeper,
        progress: &Progress,
    ) -> Result<(), OpenError> {
        if total == 0 {
            return Ok(());
        }
        let mut bulk = Bulk::new(self.clock, &self.public, self.concurrency.min(total))?;
        let mut known = known.into_iter();
        let (mut with_token, mut more) = (opened.len(), true);
        while opened.len() <= total {
            if self.stop.load(Ordering::Relaxed) {
                return Err(OpenError::Stopped);
            }
            while bulk.has_room()
                && let Some(session) = known.next()
            {
                if with_token < tokens {
                    with_token += 1;
                    let call = api::activate(&session.account_key);
                    bulk.start(Job::Activate { account: session.account, key: session.account_key }, call);
                } else {
                    let call = alive(&session, meter, self.clock.now());
                    bulk.start(Job::Revive(session), call);
                }
            }
            while bulk.has_room() && more {
                match next(makes, bulk.busy() == 0) {
                    Next::Account(NewAccount { account, key }) => {
                        let call = api::activate(&key);
                        bulk.start(Job::Activate { account, key }, call);
                    }
                    Next::Later => break,
                    Next::None => more = false,
                }
            }
            if bulk.busy() == 0 && !more {
                // Fewer than there were to be: the maker has failed, and says why.
                return Ok(());
            }
            for (job, reply) in bulk.turn(if more { QUICKLY } else { STOP_LATENCY })? {
                if let Some(session) = self.advance(&mut bulk, job, reply, opened.len() < tokens)? {
                    keeper.keep(&session);
                    opened.push(session);
                    progress.step();
                }
            }
        }
        Ok(())
    }

    /// Takes a job a step further. Answers the session, once it is open.
    fn advance(
        &self,
        bulk: &mut Bulk<Job>,
        job: Job,
        reply: Result<HttpReply, ApiError>,
        token: bool,
    ) -> Result<Option<OpenSession>, OpenError> {
        match job {
            Job::Revive(session) => {
                let mac = session.key.body_mac();
                let is_alive = match reply {
                    Ok(reply) => Ack::verify(&reply.body, &mac).is_ok_and(|ack| ack.verdict == WireVerdict::Valid),
                    // A beat that is refused means that the session's key is not known any more.
                    Err(error) if error.is_refusal() => false,
                    Err(error) => return Err(error.into()),
                };
                if is_alive {
                    return Ok(Some(session));
                }
                let call = api::activate(&session.account_key);
                bulk.start(Job::Activate { account: session.account, key: session.account_key }, call);
                Ok(None)
            }
            Job::Activate { account, key } => match reply {
                Ok(reply) => {
                    let activation = api::activation(&reply.body)?;
                    let token = token.then_some(activation.token);
                    let (id, session_key) = (activation.id, activation.key);
                    Ok(Some(OpenSession { account, account_key: key, id, key: session_key, token }))
                }
                // The account of the file is gone: another takes its place.
                Err(error) if error.is_refusal() => {
                    let NewAccount { account, key } = self.new_account()?;
                    let call = api::activate(&key);
                    bulk.start(Job::Activate { account, key }, call);
                    Ok(None)
                }
                Err(error) => Err(error.into()),
            },
        }
    }
}

enum Next {
    Account(NewAccount),
    Later,
    None,
}

/// The next account that has been made; waits a little for it if there is nothing else to do.
fn next(makes: &Receiver<NewAccount>, idle: bool) -> Next {
    if idle {
        match makes.recv_timeout(STOP_LATENCY) {
            Ok(account) => Next::Account(account),
            Err(RecvTimeoutError::Timeout) => Next::Later,
            Err(RecvTimeoutError::Disconnected) => Next::None,
        }
    } else {
        match makes.try_recv() {
            Ok(account) => Next::Account(account),
            Err(TryRecvError::Empty) => Next::Later,
            Err(TryRecvError::Disconnected) => Next::None,
        }
    }
}

/// Beats once for a session, to see whether it lives.
fn alive(session: &OpenSession, meter: MeterEstimate, now: Duration) -> Call {
    let heartbeat = Heartbeat {
        kind: HeartbeatKind::Beat,
        state: StateBits::default(),
        seq: 0,
        session: session.id,
        clock: meter.at(now),
    };
    Call {
        method: Method::Post,
        path: HEARTBEAT_PATH.into(),
        authorization: None,
        content_type: Some(FRAME_TYPE),
        body: heartbeat.sign(&session.key.body_mac()).to_vec(),
    }
}

fn audience(claims: &serde_json::Value) -> Option<String> {
    let audience = claims.get("aud")?;
    let first = audience.as_array().and_then(|all| all.first()).unwrap_or(audience);
    Some(first.as_str()?.to_owned())
}

/// How long it may take until a stop is noticed.
const STOP_LATENCY: Duration = Duration::from_millis(200);
/// How long to wait for answers while accounts may come at any time.
const QUICKLY: Duration = Duration::from_millis(2);
