//! Many calls over a few connections, as fast as the service answers: how sessions are opened and cleared away.
//!
//! Unlike a lane this is a closed loop: a bounded number of calls is under way, and a service that asks for patience gets
//! it.

use std::{
    collections::{HashMap, VecDeque},
    time::Duration,
};

use crate::{
    api::{self, ApiError},
    clock::Clock,
    transport::{Answer, Call, Http1Transport, HttpReply, Message, Reply, Route, SendError, Transport},
};

/// Calls that are under way, each for the sake of a `J`.
pub struct Bulk<J> {
    clock: Clock,
    server: std::net::SocketAddr,
    transport: Http1Transport,
    limit: usize,
    under_way: HashMap<u32, Pending<J>>,
    later: VecDeque<(Duration, Pending<J>)>,
    next: u32,
    answers: Vec<Answer>,
}

struct Pending<J> {
    job: J,
    call: Call,
    tries: u32,
}

/// What came of a call.
pub type Done<J> = (J, Result<HttpReply, ApiError>);

/// How often a call is tried while the service asks for patience.
const TRIES: u32 = 30;
/// How often a call is tried whose exchange fails.
const FAILED_TRIES: u32 = 4;
/// How long to wait at least when the service asks for patience.
const LEAST_WAIT: Duration = Duration::from_millis(100);
/// How long a service may ask us to wait.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

impl<J> Bulk<J> {
    /// At most `limit` calls at a time, each over a connection of its own.
    ///
    /// # Errors
    ///
    /// The service cannot be reached.
    pub fn new(clock: Clock, route: &Route, limit: usize) -> Result<Self, ApiError> {
        let limit = limit.max(1);
        let route = Route { connections: limit, give_up: Duration::from_secs(30), ..route.clone() };
        let transport = Http1Transport::new(clock, &route).map_err(|error| ApiError::Unreachable {
            call: "connecting".to_owned(),
            server: route.server,
            why: format!("{error:#}"),
        })?;
        let (under_way, later) = (HashMap::new(), VecDeque::new());
        Ok(Self { clock, server: route.server, transport, limit, under_way, later, next: 0, answers: Vec::new() })
    }

    /// Whether another call may be started.
    pub fn has_room(&self) -> bool {
        self.busy() < self.limit
    }

    /// How many calls are under way.
    pub fn busy(&self) -> usize {
        self.under_way.len() + self.later.len()
    }

    /// Starts a call; there must be room for it.
    pub fn start(&mut self, job: J, call: Call) {
        self.send(Pending { job, call, tries: 0 });
    }

    /// Lets calls get on for at most `wait`. Answers those that are done.
    ///
    /// # Errors
    ///
    /// The system's, when it cannot wait for sockets.
    pub fn turn(&mut self, wait: Duration) -> std::io::Result<Vec<Done<J>>> {
        let mut done = Vec::new();
        let now = self.clock.now();
        for _ in 0..self.later.len() {
            let Some((at, pending)) = self.later.pop_front() else { break };
            if at <= now { self.send(pending) } else { self.later.push_back((at, pending)) }
        }
        let mut answers = std::mem::take(&mut self.answers);
        self.transport.receive(wait, &mut answers)?;
        for answer in answers.drain(..) {
            let Some(pending) = answer.seq.and_then(|seq| self.under_way.remove(&seq)) else { continue };
            done.extend(self.take(pending, answer.reply));
        }
        self.answers = answers;
        Ok(done)
    }

    fn take(&mut self, mut pending: Pending<J>, reply: Reply) -> Option<Done<J>> {
        pending.tries += 1;
        let reply = match reply {
            Reply::Http(reply) => reply,
            Reply::Frame(frame) => HttpReply { status: 200, retry_after_s: None, body: frame.to_vec() },
            Reply::Odd | Reply::Failed if pending.tries < FAILED_TRIES => {
                self.later.push_back((self.clock.now() + backoff(pending.tries), pending));
                return None;
            }
            Reply::Odd | Reply::Failed => {
                let why = "the exchange failed".to_owned();
                let error = ApiError::Unreachable { call: api::name(&pending.call), server: self.server, why };
                return Some((pending.job, Err(error)));
            }
        };
        match reply.status {
            200..300 => Some((pending.job, Ok(reply))),
            429 | 503 if pending.tries < TRIES => {
                let asked = reply.retry_after_s.map(|seconds| Duration::from_secs(seconds.into()).min(LONGEST_WAIT));
                let wait = asked.map_or_else(|| backoff(pending.tries), |wait| wait.max(LEAST_WAIT));
                self.later.push_back((self.clock.now() + wait, pending));
                None
            }
            _ => {
                let error = ApiError::refused(&pending.call, &reply);
                Some((pending.job, Err(error)))
            }
        }
    }

    fn send(&mut self, pending: Pending<J>) {
        let seq = self.next;
        self.next = self.next.wrapping_add(1);
        let sent: Result<(), SendError> = self.transport.send(0, seq, &Message::Call(pending.call.clone()));
        match sent {
            Ok(()) => drop(self.under_way.insert(seq, pending)),
            // There is room for more calls than may be under way.
            Err(_) => self.later.push_back((self.clock.now() + LEAST_WAIT, pending)),
        }
    }
}

/// Makes one call and waits for its answer.
///
/// # Errors
///
/// Any [`ApiError`] but of the token.
pub fn ask(clock: Clock, route: &Route, call: Call) -> Result<HttpReply, ApiError> {
    let mut bulk = Bulk::new(clock, route, 1)?;
    bulk.start((), call);
    loop {
        let done = bulk.turn(Duration::from_millis(50)).map_err(|error| ApiError::Unreachable {
            call: "waiting".to_owned(),
            server: route.server,
            why: error.to_string(),
        })?;
        if let Some(((), reply)) = done.into_iter().next() {
            return reply;
        }
    }
}

fn backoff(tries: u32) -> Duration {
    Duration::from_millis(100) * 2u32.pow(tries.min(5))
}
