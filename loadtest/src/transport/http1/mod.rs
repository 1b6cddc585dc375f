//! HTTP/1.1 over kept-alive connections, in one thread and without a runtime.
//!
//! Each connection carries one exchange at a time. A lane's messages wait in one queue for the first connection that is
//! free; a message that waits there is late, and its latency says so.

mod connection;
mod response;
mod target;

use std::{collections::VecDeque, io, sync::Arc, time::Duration};

use rustls::pki_types::ServerName;

use super::{
    Answer, FRAME_TYPE, HEARTBEAT_PATH, Message, Method, Reply, Route, SendError, Tally, Transport, poll::Poller,
    quic::host,
};
use crate::clock::Clock;
use connection::{Connection, Progress};
use target::{Target, write_head};

/// How many messages may wait for a free connection.
const QUEUE: usize = 1 << 16;
/// How often exchanges are looked for that take too long.
const SWEEP_APART: Duration = Duration::from_millis(20);
/// How long after a failure a connection is opened again.
const REST: Duration = Duration::from_millis(100);

/// A few HTTP/1.1 connections.
pub struct Http1Transport {
    clock: Clock,
    target: Target,
    give_up: Duration,
    poller: Poller,
    connections: Vec<Connection>,
    /// The one that has been idle for longest is the next to be used, so that none is idle for long.
    idle: VecDeque<usize>,
    queue: VecDeque<Waiting>,
    /// Answers to exchanges that failed while something else was done.
    failed: Vec<Answer>,
    next_sweep: Duration,
    ready: Vec<usize>,
    tally: Tally,
}

struct Waiting {
    seq: u32,
    since: Duration,
    message: Message,
}

impl Http1Transport {
    /// The connections of `route`, opened.
    ///
    /// # Errors
    ///
    /// A certificate store that cannot be used; a name that is none; a first connection that cannot be opened.
    pub fn new(clock: Clock, route: &Route) -> anyhow::Result<Self> {
        let tls = match &route.trust {
            Some(trust) => Some((Arc::new(trust.client(&[b"http/1.1"])?), ServerName::try_from(host(&route.name))?)),
            None => None,
        };
        let mut heartbeat = Vec::new();
        let frame = [0; gastank::wire::FRAME_LEN];
        write_head(&mut heartbeat, Method::Post, HEARTBEAT_PATH, &route.name, None, Some(FRAME_TYPE), &frame);
        let target = Target { server: route.server, tls, name: Arc::clone(&route.name), heartbeat };
        // One that must succeed, so that a wrong address is told at once and not as a million failures.
        drop(std::net::TcpStream::connect_timeout(&target.server, Duration::from_secs(10))?);
        let mut new = Self {
            clock,
            target,
            give_up: route.give_up,
            poller: Poller::new()?,
            connections: (0..route.connections.max(1)).map(|_| Connection::new()).collect(),
            idle: VecDeque::new(),
            queue: VecDeque::new(),
            failed: Vec::new(),
            next_sweep: Duration::ZERO,
            ready: Vec::new(),
            tally: Tally::default(),
        };
        for number in 0..new.connections.len() {
            new.open(number);
        }
        new.settle(Duration::from_secs(10))?;
        Ok(new)
    }

    /// Waits until all connections are open.
    fn settle(&mut self, patience: Duration) -> anyhow::Result<()> {
        let until = self.clock.now() + patience;
        while self.idle.len() < self.connections.len() {
            anyhow::ensure!(self.clock.now() < until, "connections could not be opened in time");
            self.turn(Duration::from_millis(20), &mut Vec::new())?;
        }
        Ok(())
    }

    fn open(&mut self, number: usize) {
        let now = self.clock.now();
        match self.connections[number].open(&self.target, &self.poller, number) {
            Ok(()) => self.tally.connects += 1,
            Err(_) => self.fail(number, now),
        }
    }

    /// Gives a connection up, and what was under way on it.
    fn fail(&mut self, number: usize, now: Duration) {
        self.tally.broken += 1;
        self.close(number, now, Some(now + REST));
    }

    fn close(&mut self, number: usize, now: Duration, open_again: Option<Duration>) {
        self.idle.retain(|idle| *idle != number);
        if let Some(seq) = self.connections[number].close(open_again) {
            self.failed.push(Answer { at: now, seq: Some(seq), reply: Reply::Failed });
        }
    }

    /// Hands waiting messages to idle connections.
    fn dispatch(&mut self) {
        while !self.queue.is_empty()
            && let Some(number) = self.idle.pop_front()
        {
            let now = self.clock.now();
            let waiting = self.queue.pop_front().expect("it is not empty");
            if now > waiting.since + self.give_up {
                self.failed.push(Answer { at: now, seq: Some(waiting.seq), reply: Reply::Failed });
                self.idle.push_front(number);
                continue;
            }
            let connection = &mut self.connections[number];
            if connection.request(&self.target, &self.poller, number, waiting.seq, now, &waiting.message).is_err() {
                self.fail(number, now);
            }
        }
    }

    /// One turn: waits, moves what can be moved, and gives up what takes too long.
    fn turn(&mut self, wait: Duration, answers: &mut Vec<Answer>) -> io::Result<()> {
        let mut ready = std::mem::take(&mut self.ready);
        self.poller.wait(wait, &mut ready)?;
        for number in ready.drain(..) {
            self.progress(number, answers);
        }
        self.ready = ready;
        self.dispatch();
        let now = self.clock.now();
        if now >= self.next_sweep {
            self.next_sweep = now + SWEEP_APART;
            self.sweep(now);
        }
        answers.append(&mut self.failed);
        Ok(())
    }

    fn progress(&mut self, number: usize, answers: &mut Vec<Answer>) {
        let progress = self.connections[number].progress(&self.poller, number);
        let now = self.clock.now();
        match progress {
            Ok(Progress::Nothing) => {}
            Ok(Progress::Open) => self.idle.push_back(number),
            Ok(Progress::Closed) => {
                self.close(number, now, None);
                self.open(number);
            }
            Ok(Progress::Answer { seq, reply, last }) => {
                answers.push(Answer { at: now, seq: Some(seq), reply: reply.sorted() });
                if last {
                    self.close(number, now, None);
                    self.open(number);
                } else {
                    self.idle.push_back(number);
                }
            }
            Err(_) => self.fail(number, now),
        }
    }

    fn sweep(&mut self, now: Duration) {
        for number in 0..self.connections.len() {
            let connection = &self.connections[number];
            if connection.opens_again(now) {
                self.open(number);
            } else if connection.is_stuck(now, self.give_up) {
                self.fail(number, now);
            }
        }
    }
}

impl Transport for Http1Transport {
    fn send(&mut self, _client: usize, seq: u32, message: &Message) -> Result<(), SendError> {
        if self.queue.len() >= QUEUE {
            return Err(SendError::Full);
        }
        self.queue.push_back(Waiting { seq, since: self.clock.now(), message: message.clone() });
        self.dispatch();
        Ok(())
    }

    fn receive(&mut self, wait: Duration, answers: &mut Vec<Answer>) -> io::Result<()> {
        let wait = if self.failed.is_empty() { wait.min(SWEEP_APART) } else { Duration::ZERO };
        self.turn(wait, answers)
    }

    fn reconnect(&mut self) {
        let now = self.clock.now();
        for number in 0..self.connections.len() {
            self.close(number, now, None);
        }
        for number in 0..self.connections.len() {
            self.open(number);
        }
    }

    fn tally(&self) -> Tally {
        self.tally
    }
}
