//! How a run went: for people as a table, for programs as JSON.

use std::{collections::BTreeMap, fmt, time::Duration};

use serde::Serialize;

use crate::{
    process::Usage,
    record::{Quantiles, Record},
};

/// How a run went.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The version of this form.
    pub format: u32,
    /// Whether every criterion is met.
    pub passed: bool,
    /// The criteria.
    pub criteria: Vec<Criterion>,
    /// What was asked for.
    pub plan: Plan,
    /// Whether it was stopped before the plan was carried out.
    pub stopped: bool,
    /// How long beats were sent, in seconds.
    pub elapsed_s: f64,
    /// Beats sent, a second.
    pub sent_per_s: f64,
    /// Good acks, a second.
    pub acked_per_s: f64,
    /// What became of the beats.
    pub beats: Beats,
    /// From when beats were due to their good acks, late ones included.
    pub latency_us: Quantiles,
    /// From when beats were sent to their good acks, late ones included.
    pub service_time_us: Quantiles,
    /// How late the generator itself sent them.
    pub send_lag_us: Quantiles,
    /// Acks that reached this machine and that the generator was too slow to read. They are among the lost.
    pub dropped_here: u64,
    /// The service's process, if it could be measured.
    pub server: Option<ProcessReport>,
    /// The generator's own.
    pub generator: Option<ProcessReport>,
}

/// What was asked for.
#[derive(Clone, Debug, Serialize)]
#[expect(missing_docs, reason = "the names are those of the command line")]
pub struct Plan {
    pub transport: &'static str,
    pub sessions: u32,
    pub rate: f64,
    pub duration_s: f64,
    pub timeout_s: f64,
    pub connections: u16,
    pub threads: u16,
    pub seed: u64,
    pub forged_percent: u8,
    pub accept_loss: f64,
}

/// What became of the beats. Each that was sent is one of on time, late, bad and lost.
#[derive(Clone, Debug, Serialize)]
#[expect(missing_docs, reason = "the names are those of `Record`")]
pub struct Beats {
    pub sent: u64,
    pub unsent: u64,
    pub on_time: u64,
    pub late: u64,
    pub bad: u64,
    pub lost: u64,
    /// `lost / sent`.
    pub loss: f64,
    pub bad_by_kind: BTreeMap<String, u64>,
    /// Among the lost.
    pub refused_by_status: BTreeMap<u16, u64>,
    /// Among the lost.
    pub failed: u64,
    pub duplicates: u64,
    pub strays: u64,
    pub forged: u64,
}

/// Something a run is judged by.
#[derive(Clone, Debug, Serialize)]
pub struct Criterion {
    /// What it is about.
    pub name: &'static str,
    /// Whether it is met.
    pub met: bool,
    /// The figures.
    pub detail: String,
}

/// What a process used during the run.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct ProcessReport {
    /// Its id.
    pub pid: u32,
    /// Processor time as a share of one core: 1.5 is one core and a half.
    pub cores: f64,
    /// Processor time for each beat that was sent, in microseconds.
    pub cpu_per_beat_us: f64,
    /// The most memory that was resident, in bytes.
    pub max_rss: u64,
    /// Datagrams its socket dropped because its queue was full, where that could be told.
    pub udp_drops: Option<u64>,
}

impl Report {
    /// Judges a run. `elapsed` is how long beats were sent.
    pub fn new(plan: Plan, record: &Record, elapsed: Duration, stopped: bool, dropped_here: u64) -> Self {
        let beats = Beats::new(record);
        let criteria = vec![
            Criterion {
                name: "loss",
                met: beats.sent > 0 && beats.loss <= plan.accept_loss,
                detail: format!("{} of {} lost, {:.4} % accepted", beats.lost, beats.sent, 100.0 * plan.accept_loss),
            },
            Criterion { name: "acks", met: beats.bad == 0, detail: format!("{} bad", beats.bad) },
            Criterion {
                name: "schedule",
                met: beats.unsent == 0,
                detail: format!("{} beats were due and not sent", beats.unsent),
            },
        ];
        let seconds = elapsed.as_secs_f64().max(f64::MIN_POSITIVE);
        Self {
            format: 1,
            passed: criteria.iter().all(|criterion| criterion.met),
            criteria,
            plan,
            stopped,
            elapsed_s: elapsed.as_secs_f64(),
            sent_per_s: beats.sent as f64 / seconds,
            acked_per_s: (beats.on_time + beats.late) as f64 / seconds,
            beats,
            latency_us: record.latency(),
            service_time_us: record.service_time(),
            send_lag_us: record.send_lag(),
            dropped_here,
            server: None,
            generator: None,
        }
    }
}

impl Beats {
    fn new(record: &Record) -> Self {
        let lost = record.lost();
        Self {
            sent: record.sent,
            unsent: record.unsent,
            on_time: record.on_time,
            late: record.late,
            bad: record.bad_acks(),
            lost,
            loss: if record.sent == 0 { 0.0 } else { lost as f64 / record.sent as f64 },
            bad_by_kind: record.bad.iter().map(|(bad, count)| (bad.name(), *count)).collect(),
            refused_by_status: record.refused.clone(),
            failed: record.failed,
            duplicates: record.duplicates,
            strays: record.strays,
            forged: record.forged,
        }
    }
}

impl ProcessReport {
    /// What a process used between two looks at it that lie `elapsed` apart.
    pub fn new(pid: u32, before: Usage, after: Usage, max_rss: u64, elapsed: Duration, beats: u64) -> Self {
        let cpu = after.cpu.saturating_sub(before.cpu).as_secs_f64();
        Self {
            pid,
            cores: cpu / elapsed.as_secs_f64().max(f64::MIN_POSITIVE),
            cpu_per_beat_us: if beats == 0 { 0.0 } else { cpu * 1e6 / beats as f64 },
            max_rss,
            udp_drops: None,
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (plan, beats) = (&self.plan, &self.beats);
        writeln!(
            f,
            "{} sessions over {}, {} connections, {} threads, {:.1} s{}",
            plan.sessions,
            plan.transport,
            plan.connections,
            plan.threads,
            self.elapsed_s,
            if self.stopped { " (stopped)" } else { "" }
        )?;
        writeln!(f)?;
        let mut row = |name: &str, value: String| writeln!(f, "  {name:<12} {value}");
        row(
            "rate",
            format!("{:.1}/s sent, {:.1}/s acked, {} asked for", self.sent_per_s, self.acked_per_s, plan.rate),
        )?;
        row("beats", format!("{} sent, {} on time, {} late", beats.sent, beats.on_time, beats.late))?;
        row("lost", format!("{} ({:.4} %){}", beats.lost, 100.0 * beats.loss, self.why_lost()))?;
        row("bad acks", format!("{}{}", beats.bad, list(&beats.bad_by_kind)))?;
        if beats.forged > 0 {
            row("forged", format!("{} sent", beats.forged))?;
        }
        if beats.duplicates + beats.strays + beats.unsent > 0 {
            let (duplicates, strays, unsent) = (beats.duplicates, beats.strays, beats.unsent);
            row("odd", format!("{duplicates} answered twice, {strays} answers to nothing, {unsent} not sent"))?;
        }
        writeln!(f)?;
        writeln!(f, "  {:<12} {:>9} {:>9} {:>9} {:>9} {:>9} {:>9}", "ms", "mean", "p50", "p90", "p99", "p99.9", "max")?;
        for (name, q) in
            [("latency", self.latency_us), ("service time", self.service_time_us), ("send lag", self.send_lag_us)]
        {
            let [mean, p50, p90, p99, p999, max] = [q.mean, q.p50, q.p90, q.p99, q.p999, q.max].map(|us| us / 1000.0);
            writeln!(f, "  {name:<12} {mean:>9.3} {p50:>9.3} {p90:>9.3} {p99:>9.3} {p999:>9.3} {max:>9.3}")?;
        }
        writeln!(f)?;
        for (name, process) in [("server", &self.server), ("generator", &self.generator)] {
            let Some(process) = process else { continue };
            let drops = process.udp_drops.map(|drops| format!(", {drops} datagrams dropped")).unwrap_or_default();
            let (cores, cost, rss) = (process.cores, process.cpu_per_beat_us, process.max_rss as f64 / 1e6);
            writeln!(f, "  {name:<12} {cores:.2} cores, {cost:.2} us a beat, {rss:.1} MB{drops}")?;
        }
        for criterion in &self.criteria {
            let word = if criterion.met { "met" } else { "NOT MET" };
            writeln!(f, "  {word:<12} {}: {}", criterion.name, criterion.detail)?;
        }
        Ok(())
    }
}

impl Report {
    fn why_lost(&self) -> String {
        let mut parts: Vec<_> =
            self.beats.refused_by_status.iter().map(|(status, count)| format!("{count} answered {status}")).collect();
        parts.extend((self.beats.failed > 0).then(|| format!("{} exchanges failed", self.beats.failed)));
        parts.extend((self.dropped_here > 0).then(|| format!("{} dropped on this machine", self.dropped_here)));
        if parts.is_empty() { String::new() } else { format!(": {}", parts.join(", ")) }
    }
}

fn list(counts: &BTreeMap<String, u64>) -> String {
    let parts: Vec<_> = counts.iter().map(|(name, count)| format!("{count} {name}")).collect();
    if parts.is_empty() { String::new() } else { format!(": {}", parts.join(", ")) }
}
