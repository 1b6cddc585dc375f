//! Keeps sessions alive while others are still being opened: that takes longer than the first of them live without a beat.

use std::{
    collections::VecDeque,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::{Receiver, SyncSender, TryRecvError, sync_channel},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use gastank::wire::{Heartbeat, HeartbeatKind, SessionId, SessionKey, StateBits};

use crate::{
    clock::{Clock, MeterEstimate},
    session::OpenSession,
    terms::ServiceTerms,
    transport::{Http1Transport, Message, Route, Transport, UdpTransport},
};

/// Beats for the sessions it is told of. It believes no answer, and looks at none: a session that it could not keep alive
/// shows in the run.
pub struct Keeper {
    tell: SyncSender<Kept>,
    thread: JoinHandle<()>,
}

struct Kept {
    last: Duration,
    session: SessionId,
    key: SessionKey,
}

/// How many sessions may wait to be taken note of.
const QUEUE: usize = 4096;
/// How many beats are sent in a turn, so that a service which is busy opening sessions does not drop them.
const BURST: usize = 64;
/// How long a turn takes at least.
const TURN: Duration = Duration::from_millis(1);

impl Keeper {
    /// Starts beating, by datagrams to `udp` if there is such a listener, else over HTTP.
    ///
    /// # Errors
    ///
    /// The system's, when there is no socket or thread to be had.
    pub fn start(
        clock: Clock,
        service_terms: &ServiceTerms,
        udp: Option<SocketAddr>,
        public: Route,
        stop: Arc<AtomicBool>,
    ) -> std::io::Result<Self> {
        let (tell, told) = sync_channel(QUEUE);
        let apart = Duration::from_millis(service_terms.heartbeat.interval_ms * 3 / 4).max(Duration::from_millis(50));
        let meter = service_terms.meter;
        let body = move || {
            let transport: Box<dyn Transport> = match udp {
                Some(server) => match UdpTransport::new(clock, server, 1) {
                    Ok(transport) => Box::new(transport),
                    Err(_) => return drain(&told),
                },
                None => match Http1Transport::new(clock, &Route { connections: HTTP_CONNECTIONS, ..public }) {
                    Ok(transport) => Box::new(transport),
                    Err(_) => return drain(&told),
                },
            };
            keep(clock, apart, meter, transport, &told, &stop);
        };
        Ok(Self { tell, thread: thread::Builder::new().name("keeper".into()).spawn(body)? })
    }

    /// Keeps this session alive from now on.
    pub fn keep(&self, session: &OpenSession) {
        // A keeper that is gone keeps nothing alive, which the run will tell.
        let _ = self.tell.send(Kept { last: Duration::ZERO, session: session.id, key: session.key.clone() });
    }

    /// Stops: from now on the sessions beat by themselves.
    pub fn finish(self) {
        drop(self.tell);
        let _ = self.thread.join();
    }
}

const HTTP_CONNECTIONS: usize = 8;

fn keep(
    clock: Clock,
    apart: Duration,
    meter: MeterEstimate,
    mut transport: Box<dyn Transport>,
    told: &Receiver<Kept>,
    stop: &AtomicBool,
) {
    let mut kept: VecDeque<Kept> = VecDeque::new();
    let (mut seq, mut answers) = (0u32, Vec::new());
    while !stop.load(Ordering::Relaxed) {
        let now = clock.now();
        loop {
            match told.try_recv() {
                Ok(session) => kept.push_back(Kept { last: now, ..session }),
                Err(TryRecvError::Empty) => break,
                Err(TryRecvError::Disconnected) => return,
            }
        }
        for _ in 0..BURST {
            if kept.front().is_none_or(|first| now < first.last + apart) {
                break;
            }
            let Some(mut first) = kept.pop_front() else { break };
            let heartbeat = Heartbeat {
                kind: HeartbeatKind::Beat,
                state: StateBits::default(),
                seq,
                session: first.session,
                clock: meter.at(now),
            };
            seq = seq.wrapping_add(1);
            // What could not be sent is sent again in the next turn but `apart`.
            let _ = transport.send(0, seq, &Message::Frame(heartbeat.sign(&first.key.body_mac())));
            first.last = now;
            kept.push_back(first);
        }
        transport.flush();
        if transport.receive(TURN, &mut answers).is_err() {
            return drain(told);
        }
        answers.clear();
        let passed = clock.now().saturating_sub(now);
        if passed < TURN {
            thread::sleep(TURN - passed);
        }
    }
    drain(told);
}

/// Takes note of nothing until there is nothing more.
fn drain(told: &Receiver<Kept>) {
    while told.recv().is_ok() {}
}
