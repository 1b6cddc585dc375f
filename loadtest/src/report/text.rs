//! The report as a table.

use std::{collections::BTreeMap, fmt};

use super::{Operation, Report};
use crate::record::Kind;

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let stopped = if self.stopped { " (stopped)" } else { "" };
        writeln!(f, "{}: {} sent in {:.1} s{stopped}", self.name, self.total.sent, self.elapsed_s)?;
        for operation in &self.operations {
            writeln!(f)?;
            write!(f, "{operation}")?;
        }
        writeln!(f)?;
        for (name, process) in [("server", &self.server), ("compare", &self.compare), ("generator", &self.generator)] {
            let Some(process) = process else { continue };
            let drops = process.udp_drops.map(|drops| format!(", {drops} datagrams dropped")).unwrap_or_default();
            let (cores, cost, rss) = (process.cores, process.cpu_per_op_us, process.max_rss as f64 / 1e6);
            writeln!(f, "  {name:<12} {cores:.2} cores, {cost:.2} us an operation, {rss:.1} MB{drops}")?;
        }
        for (fleet, links) in self.links.iter().filter(|(_, links)| links.broken + links.dropped_here > 0) {
            let (broken, dropped) = (links.broken, links.dropped_here);
            writeln!(f, "  {fleet:<12} {broken} connections broke, {dropped} answers dropped on this machine")?;
        }
        for attack in &self.attacks {
            let (kind, at_once, from) = (attack.kind.name(), attack.at_once, attack.from);
            let (begun, refused) = (attack.begun, attack.refused);
            writeln!(f, "  {kind:<20} {at_once} at once from {from}: {begun} begun, {refused} refused or ended")?;
        }
        for criterion in &self.criteria {
            let word = if criterion.met { "met" } else { "NOT MET" };
            writeln!(f, "  {word:<12} {}: {}", criterion.name, criterion.detail)?;
        }
        Ok(())
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (fleet, kind, transport, sessions) = (&self.fleet, self.kind.name(), self.transport, self.sessions);
        let title = if fleet == kind { fleet.clone() } else { format!("{fleet}: {kind}") };
        let (connections, threads) = (self.connections, self.threads);
        writeln!(f, "{title}, {transport}, {sessions} sessions, {connections} connections, {threads} threads")?;
        let mut row = |name: &str, value: String| writeln!(f, "  {name:<12} {value}");
        let (sent_per_s, answered_per_s) = (self.sent_per_s, self.answered_per_s);
        if self.kind == Kind::Forged {
            row("rate", format!("{sent_per_s:.1}/s sent"))?;
            return row("sent", format!("{}, {} answered{}", self.sent, self.bad, list(&self.bad_by_kind)));
        }
        row("rate", format!("{sent_per_s:.1}/s sent, {answered_per_s:.1}/s answered, {} asked for", self.rate))?;
        row("sent", format!("{}, {} answered on time, {} late", self.sent, self.on_time, self.late))?;
        row("lost", format!("{} ({:.4} %){}", self.lost, 100.0 * self.loss, self.why_lost()))?;
        row("bad", format!("{}{}", self.bad, list(&self.bad_by_kind)))?;
        if self.duplicates + self.strays + self.unsent > 0 {
            let (duplicates, strays, unsent) = (self.duplicates, self.strays, self.unsent);
            row("odd", format!("{duplicates} answered twice, {strays} answers to nothing, {unsent} not sent"))?;
        }
        writeln!(f, "  {:<12} {:>9} {:>9} {:>9} {:>9} {:>9} {:>9}", "ms", "mean", "p50", "p90", "p99", "p99.9", "max")?;
        for (name, q) in
            [("latency", self.latency_us), ("service time", self.service_time_us), ("send lag", self.send_lag_us)]
        {
            let [mean, p50, p90, p99, p999, max] = [q.mean, q.p50, q.p90, q.p99, q.p999, q.max].map(|us| us / 1000.0);
            writeln!(f, "  {name:<12} {mean:>9.3} {p50:>9.3} {p90:>9.3} {p99:>9.3} {p999:>9.3} {max:>9.3}")?;
        }
        Ok(())
    }
}

impl Operation {
    fn why_lost(&self) -> String {
        let mut parts: Vec<_> =
            self.refused_by_status.iter().map(|(status, count)| format!("{count} answered {status}")).collect();
        parts.extend((self.failed > 0).then(|| format!("{} exchanges failed", self.failed)));
        if parts.is_empty() { String::new() } else { format!(": {}", parts.join(", ")) }
    }
}

fn list(counts: &BTreeMap<String, u64>) -> String {
    let parts: Vec<_> = counts.iter().map(|(name, count)| format!("{count} {name}")).collect();
    if parts.is_empty() { String::new() } else { format!(": {}", parts.join(", ")) }
}
