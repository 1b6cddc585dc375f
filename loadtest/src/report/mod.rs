//! How a run went: for programs as JSON, for people as a table and as a page.

mod figures;
mod page;
mod text;

use std::{collections::BTreeMap, time::Duration};

use serde::Serialize;

use crate::{
    conduct::{Conducted, Gauges},
    criteria::{Criteria, Criterion},
    fleet::FleetPlan,
    gauge::Gauge,
    lane::Outcome,
    machine::Machine,
    profile::{self, Phase, PhaseKind},
    record::{Kind, Quantiles},
    siege::AttackReport,
};

pub use figures::{Operation, ProcessReport, Row, Total};
pub use page::page;

/// How a run went. Names are stable; a change that takes one away or gives it another meaning raises `format`.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The version of this form.
    pub format: u32,
    /// The scenario's name.
    pub name: String,
    /// What it is for.
    pub about: String,
    /// Whether every criterion is met.
    pub passed: bool,
    /// Whether it was stopped before the plan was carried out.
    pub stopped: bool,
    /// The criteria.
    pub criteria: Vec<Criterion>,
    /// How long operations were sent, in seconds.
    pub elapsed_s: f64,
    /// What everything was drawn from.
    pub seed: u64,
    /// The phases.
    pub phases: Vec<PhaseReport>,
    /// Each kind of operation of each fleet.
    pub operations: Vec<Operation>,
    /// All operations together.
    pub total: Total,
    /// The first of the operations, without its series.
    pub beats: Option<Operation>,
    /// Its latencies.
    pub latency_us: Quantiles,
    /// The service's process, if it could be measured.
    pub server: Option<ProcessReport>,
    /// The other process that was to be measured.
    pub compare: Option<ProcessReport>,
    /// The generator's own.
    pub generator: Option<ProcessReport>,
    /// Connections and datagrams, by fleet.
    pub links: BTreeMap<String, Links>,
    /// Who attacked meanwhile.
    pub attacks: Vec<AttackReport>,
    /// What it was made on.
    pub machine: Machine,
}

/// A phase, in seconds from the start.
#[derive(Clone, Debug, Serialize)]
#[expect(missing_docs, reason = "the names are those of `Phase`")]
pub struct PhaseReport {
    pub name: String,
    pub kind: PhaseKind,
    pub from_s: f64,
    pub to_s: f64,
    pub rate_from: f64,
    pub rate_to: f64,
}

/// What a fleet's transport counted.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Links {
    /// Connections that were opened, those of the start included.
    pub connects: u64,
    /// Connections that broke.
    pub broken: u64,
    /// Answers that this machine received and dropped before the generator read them. They are among the lost.
    pub dropped_here: u64,
}

/// What a report is made of, beside what was counted.
#[derive(Clone, Debug)]
pub struct Heading {
    /// The scenario's name.
    pub name: String,
    /// What it is for.
    pub about: String,
    /// What everything was drawn from.
    pub seed: u64,
    /// The phases.
    pub phases: Vec<Phase>,
    /// What it is judged by.
    pub criteria: Criteria,
    /// Datagrams that the service's socket dropped, where that could be told.
    pub udp_drops: Option<u64>,
}

impl Report {
    /// Judges a run.
    pub fn new(heading: &Heading, conducted: Conducted) -> Self {
        let Conducted { fleets, gauges, start, stopped } = conducted;
        let planned = if stopped { Duration::ZERO } else { profile::length(&heading.phases) };
        let records = || fleets.iter().flat_map(|(_, outcome)| &outcome.records).map(|(_, record)| record);
        let last_sent = records().map(|record| record.last_sent.saturating_sub(start)).max().unwrap_or_default();
        let elapsed = last_sent.max(planned);
        let operations: Vec<_> = fleets.iter().flat_map(|(plan, outcome)| operations(plan, outcome, elapsed)).collect();
        let total = Total::of(&operations, elapsed);
        let beats = operations.first().map(|first| Operation { series: Vec::new(), ..first.clone() });
        let criteria = heading.criteria.judge(&operations, &total);
        let links = fleets.iter().map(|(plan, outcome)| (plan.name.clone(), Links::of(outcome))).collect();
        let Gauges { server, compare, generator } = gauges;
        let used = |gauge: Option<Gauge>| gauge.map(|gauge| ProcessReport::new(&gauge, total.sent));
        let mut report = Self {
            format: 2,
            name: heading.name.clone(),
            about: heading.about.clone(),
            passed: false,
            stopped,
            criteria,
            elapsed_s: elapsed.as_secs_f64(),
            seed: heading.seed,
            phases: phases(&heading.phases),
            latency_us: beats.as_ref().map(|beats| beats.latency_us).unwrap_or_default(),
            beats,
            operations,
            total,
            server: used(server),
            compare: used(compare),
            generator: used(generator),
            links,
            attacks: Vec::new(),
            machine: Machine::here(),
        };
        if let Some(server) = &mut report.server {
            server.udp_drops = heading.udp_drops;
        }
        report.criteria.extend(heading.criteria.judge_server(report.server.as_ref()));
        report.passed = report.criteria.iter().all(|criterion| criterion.met);
        report
    }

    /// The same run, with what became of those who attacked meanwhile.
    #[must_use]
    pub fn besieged(mut self, attacks: Vec<AttackReport>, criteria: &Criteria) -> Self {
        self.criteria.extend(criteria.judge_attacks(&attacks));
        self.passed = self.criteria.iter().all(|criterion| criterion.met);
        self.attacks = attacks;
        self
    }

    /// The operation of this kind, of the first fleet that has it.
    pub fn operation(&self, kind: Kind) -> Option<&Operation> {
        self.operations.iter().find(|operation| operation.kind == kind)
    }
}

fn operations(plan: &FleetPlan, outcome: &Outcome, elapsed: Duration) -> Vec<Operation> {
    outcome.records.iter().map(|(kind, record)| Operation::new(plan, *kind, record, elapsed)).collect()
}

fn phases(phases: &[Phase]) -> Vec<PhaseReport> {
    let mut at = Duration::ZERO;
    let report = |phase: &Phase| {
        let from = at;
        at += phase.length;
        PhaseReport {
            name: phase.name.clone(),
            kind: phase.kind,
            from_s: from.as_secs_f64(),
            to_s: at.as_secs_f64(),
            rate_from: phase.from,
            rate_to: phase.to,
        }
    };
    phases.iter().map(report).collect()
}

impl Links {
    const fn of(outcome: &Outcome) -> Self {
        let tally = &outcome.tally;
        Self { connects: tally.connects, broken: tally.broken, dropped_here: tally.dropped }
    }
}
