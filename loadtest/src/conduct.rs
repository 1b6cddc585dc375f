//! Lets fleets run together, and watches.

use std::{sync::atomic::Ordering, thread, time::Duration};

use crate::{
    fleet::{Conditions, Fleet, FleetPlan},
    gauge::Gauge,
    lane::Outcome,
    process::Pid,
    profile,
    progress::Progress,
    record::Live,
};

/// The processes that are measured while fleets run.
#[derive(Default)]
pub struct Gauges {
    /// The service.
    pub server: Option<Gauge>,
    /// Another process.
    pub compare: Option<Gauge>,
    /// This program.
    pub generator: Option<Gauge>,
}

impl Gauges {
    /// Looks at these processes, and this one.
    pub fn new(server: Option<Pid>, compare: Option<Pid>) -> Self {
        let own = Pid(std::process::id());
        Self { server: server.and_then(Gauge::new), compare: compare.and_then(Gauge::new), generator: Gauge::new(own) }
    }

    fn look(&mut self, at: Duration, since: Duration) {
        for gauge in [&mut self.server, &mut self.compare, &mut self.generator] {
            gauge.iter_mut().for_each(|gauge| gauge.look(at, since));
        }
    }
}

/// What came of a run.
pub struct Conducted {
    /// Of each fleet.
    pub fleets: Vec<(FleetPlan, Outcome)>,
    /// The processes.
    pub gauges: Gauges,
    /// When it started, on the program's clock.
    pub start: Duration,
    /// Whether it was stopped before the plan was carried out.
    pub stopped: bool,
}

/// From when all are ready to when the first operation is due.
const HEAD_START: Duration = Duration::from_millis(50);
/// How often progress is shown.
const SHOW_APART: Duration = Duration::from_millis(200);
/// How often processes are measured.
const LOOK_APART: Duration = Duration::from_secs(1);

/// Lets the fleets run until the last is done.
///
/// # Errors
///
/// A transport that broke down, or a lane that panicked.
pub fn conduct(fleets: Vec<Fleet>, conditions: &Conditions, mut gauges: Gauges) -> anyhow::Result<Conducted> {
    let start = conditions.clock.now() + HEAD_START;
    fleets.iter().for_each(|fleet| fleet.go(start));
    watch(&fleets, conditions, &mut gauges, start);
    let stopped = conditions.stop.load(Ordering::Relaxed);
    let fleets = fleets.into_iter().map(Fleet::gather).collect::<anyhow::Result<_>>()?;
    Ok(Conducted { fleets, gauges, start, stopped })
}

fn watch(fleets: &[Fleet], conditions: &Conditions, gauges: &mut Gauges, start: Duration) {
    let length = profile::length(&conditions.phases);
    let total = u64::try_from(length.as_millis()).unwrap_or(u64::MAX);
    let progress = Progress::new("running", total, conditions.clock);
    let (mut sent_before, mut shown) = (0, start);
    let mut looked = conditions.clock.now();
    while !fleets.iter().all(Fleet::is_done) {
        thread::sleep(SHOW_APART);
        let now = conditions.clock.now();
        let glance = Live::sum(fleets.iter().flat_map(|fleet| &fleet.shows).map(AsRef::as_ref));
        let rate = (glance.sent - sent_before) as f64 / now.saturating_sub(shown).as_secs_f64().max(0.001);
        (sent_before, shown) = (glance.sent, now);
        let done = now.saturating_sub(start);
        progress.at(u64::try_from(done.as_millis()).unwrap_or(u64::MAX), || {
            let phase = phase_at(conditions, done);
            let server = gauges.server.as_ref().and_then(Gauge::cores_now);
            let cores = server.map(|cores| format!(", server {:.0} %", 100.0 * cores)).unwrap_or_default();
            let (good, overdue, bad) = (glance.good, glance.overdue, glance.bad);
            format!("{phase}: {rate:.0}/s, {good} answered, {overdue} overdue, {bad} bad{cores}")
        });
        if now >= looked + LOOK_APART {
            gauges.look(done, now - looked);
            looked = now;
        }
    }
    let now = conditions.clock.now();
    gauges.look(now.saturating_sub(start), now.saturating_sub(looked));
    progress.finish();
}

fn phase_at(conditions: &Conditions, done: Duration) -> &str {
    let mut end = Duration::ZERO;
    let phase = conditions.phases.iter().find(|phase| {
        end += phase.length;
        done < end
    });
    phase.map_or("waiting for answers", |phase| &phase.name)
}
