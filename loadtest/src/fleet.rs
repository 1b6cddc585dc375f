//! A fleet: clients that do one kind of thing over one transport at one rate.

use std::{
    sync::{
        Arc,
        atomic::AtomicBool,
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use anyhow::Context;

use crate::{
    clock::Clock,
    lane::{Blend, Lane, Outcome, Terms},
    profile::{self, Pace, Phase, PhaseKind, Rate},
    record::{Kind, Live},
    schedule::Schedule,
    session::SessionIndex,
    transport::{self, Route, TransportKind},
    window::{MAX_WINDOW, Window},
    work::Work,
};

/// What a fleet is to do.
#[derive(Clone, Debug)]
pub struct FleetPlan {
    /// What it is called.
    pub name: String,
    /// What it does.
    pub kind: Kind,
    /// How its messages travel.
    pub transport: TransportKind,
    /// How many sessions take turns.
    pub sessions: u32,
    /// Operations a second, over all of them.
    pub rate: Rate,
    /// How many sockets or connections it has.
    pub connections: u16,
    /// How many threads share the work.
    pub threads: u16,
    /// After how long an answer is late.
    pub timeout: Duration,
    /// What is sent beside plain messages.
    pub blend: Blend,
    /// The names of the phases it takes part in; none: all of them.
    pub during: Vec<String>,
}

/// Why a plan cannot be carried out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// There are more threads than connections to share.
    #[error("{0}: threads must not be more than connections: each thread needs one")]
    Threads(String),
    /// Too many messages would wait for their answers at a time.
    #[error("{0}: rate times timeout is too much to remember: at most {MAX_WINDOW} messages may wait in a thread")]
    Window(String),
    /// There is no such phase.
    #[error("{0}: there is no phase {1} for it to take part in")]
    Phase(String, String),
    /// A transport that carries frames alone.
    #[error("{0}: {1} carries heartbeats alone")]
    FramesAlone(String, &'static str),
}

impl FleetPlan {
    /// How many messages a thread must remember at a time.
    ///
    /// # Errors
    ///
    /// Any [`PlanError`].
    pub fn check(&self, phases: &[Phase]) -> Result<usize, PlanError> {
        if self.threads > self.connections {
            return Err(PlanError::Threads(self.name.clone()));
        }
        if let Some(name) = self.during.iter().find(|name| phases.iter().all(|phase| phase.name != **name)) {
            return Err(PlanError::Phase(self.name.clone(), name.clone()));
        }
        let frames = matches!(self.kind, Kind::Beats | Kind::Forged | Kind::Replayed);
        if !frames && !self.transport.carries_calls() {
            return Err(PlanError::FramesAlone(self.name.clone(), self.transport.name()));
        }
        // An answer may come until it has been late for as long as it had to be on time; then there is some slack.
        let share = self.pace(phases).most_within(2 * self.timeout) / f64::from(self.threads);
        let messages = share * (1.0 + f64::from(self.blend.forged_percent) / 100.0) + 1024.0;
        if messages > MAX_WINDOW as f64 {
            return Err(PlanError::Window(self.name.clone()));
        }
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is positive and bounded above")]
        Ok(messages as usize)
    }

    /// When its operations are due.
    pub fn pace(&self, phases: &[Phase]) -> Pace {
        let takes_part = |phase: &Phase| self.during.is_empty() || self.during.contains(&phase.name);
        let mine = |phase: &Phase| match takes_part(phase) {
            true => phase.clone(),
            false => Phase { kind: PhaseKind::Steady, from: 0.0, to: 0.0, ..phase.clone() },
        };
        let phases: Vec<_> = phases.iter().map(mine).collect();
        Pace::new(&phases, self.rate, if matches!(self.kind, Kind::Beats) { self.sessions } else { 0 })
    }
}

/// What all fleets of a run share.
#[derive(Clone)]
pub struct Conditions {
    /// The program's clock.
    pub clock: Clock,
    /// The phases.
    pub phases: Arc<[Phase]>,
    /// What everything is drawn from.
    pub seed: u64,
    /// Set when the run is to end early.
    pub stop: Arc<AtomicBool>,
}

/// A fleet whose lanes are ready to start.
pub struct Fleet {
    /// What it is to do.
    pub plan: FleetPlan,
    /// What its lanes show while they run.
    pub shows: Vec<Arc<Live>>,
    lanes: Vec<LaneThread>,
}

struct LaneThread {
    ready: Receiver<anyhow::Result<()>>,
    go: SyncSender<Duration>,
    thread: JoinHandle<anyhow::Result<Outcome>>,
}

impl Fleet {
    /// Starts the threads of a fleet and connects; nothing is sent before [`Self::go`]. `work` makes the work of a lane's
    /// sessions.
    ///
    /// # Errors
    ///
    /// A plan that cannot be carried out, a thread that cannot be started, a connection that cannot be opened.
    pub fn assemble<W: Work + Send + 'static>(
        plan: FleetPlan,
        route: &Route,
        conditions: &Conditions,
        mut work: impl FnMut(&[SessionIndex]) -> W,
    ) -> anyhow::Result<Self> {
        let remember = plan.check(&conditions.phases)?;
        let schedule = Schedule::new(plan.sessions, plan.pace(&conditions.phases), conditions.seed);
        let lanes = usize::from(plan.threads);
        let shows: Vec<Arc<Live>> = (0..lanes).map(|_| Arc::default()).collect();
        let mut fleet = Self { plan, shows, lanes: Vec::with_capacity(lanes) };
        for number in 0..lanes {
            let all = usize::from(fleet.plan.connections);
            let route = Route { connections: all / lanes + usize::from(number < all % lanes), ..route.clone() };
            let part = schedule.lane(number, lanes);
            let work = work(part.sessions());
            let (terms, clock) = (fleet.terms(conditions), conditions.clock);
            let live = Arc::clone(&fleet.shows[number]);
            let (tell_ready, ready) = sync_channel(1);
            let (go, wait_for_go) = sync_channel(1);
            let body = move || {
                let opened = transport::open(clock, &route);
                let (transport, told) = match opened {
                    Ok(transport) => (Some(transport), Ok(())),
                    Err(error) => (None, Err(error)),
                };
                // Whoever waits may be gone, and then there is nothing to do.
                let _ = tell_ready.send(told);
                let (Some(transport), Ok(start)) = (transport, wait_for_go.recv()) else {
                    anyhow::bail!("not started")
                };
                let window = Window::new(remember, terms.timeout);
                let lane = Lane::new(Terms { start, ..terms }, part, work, transport, window, live);
                lane.run().context("a transport broke down")
            };
            let thread = thread::Builder::new().name(format!("{}-{number}", fleet.plan.name)).spawn(body)?;
            fleet.lanes.push(LaneThread { ready, go, thread });
        }
        for lane in &fleet.lanes {
            let told = lane.ready.recv().context("a lane panicked")?;
            told.with_context(|| format!("{}: cannot connect to {}", fleet.plan.name, route.server))?;
        }
        Ok(fleet)
    }

    /// Lets the lanes start at this time.
    pub fn go(&self, start: Duration) {
        // A lane that is not there to hear it has panicked: that shows when it is gathered.
        self.lanes.iter().for_each(|lane| {
            let _ = lane.go.send(start);
        });
    }

    /// Whether all lanes are done.
    pub fn is_done(&self) -> bool {
        self.lanes.iter().all(|lane| lane.thread.is_finished())
    }

    /// Waits for all lanes. Answers what came of them together.
    ///
    /// # Errors
    ///
    /// A transport that broke down, or a lane that panicked.
    pub fn gather(self) -> anyhow::Result<(FleetPlan, Outcome)> {
        let mut sum: Option<Outcome> = None;
        for lane in self.lanes {
            let Ok(outcome) = lane.thread.join() else { anyhow::bail!("a lane panicked") };
            let outcome = outcome?;
            match &mut sum {
                Some(sum) => sum.merge(outcome),
                None => sum = Some(outcome),
            }
        }
        Ok((self.plan, sum.context("a fleet without lanes")?))
    }

    fn terms(&self, conditions: &Conditions) -> Terms {
        Terms {
            clock: conditions.clock,
            start: Duration::ZERO,
            duration: profile::length(&conditions.phases),
            storms: profile::storms(&conditions.phases),
            timeout: self.plan.timeout,
            blend: self.plan.blend,
            stop: Arc::clone(&conditions.stop),
        }
    }
}
