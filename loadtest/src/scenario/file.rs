//! Scenarios as TOML.

use std::{fs, io, net::Ipv4Addr, path::Path, time::Duration};

use serde::Deserialize;
use toml::{Table, Value};

use super::Scenario;
use crate::{
    cli::duration,
    criteria::Criteria,
    fleet::FleetPlan,
    lane::Blend,
    profile::{Phase, PhaseKind, Rate},
    record::Kind,
    session::MAX_SESSIONS,
    siege::{AttackKind, AttackPlan},
    transport::TransportKind,
};

/// Why a text is no scenario.
#[derive(Debug, thiserror::Error)]
pub enum ScenarioFileError {
    /// It cannot be read.
    #[error("cannot read {0}: {1}")]
    Io(String, io::Error),
    /// It is longer than a scenario can be.
    #[error("{0} is too long for a scenario")]
    TooLong(String),
    /// It is not in the form of a scenario.
    #[error("{0}: {1}")]
    Form(String, String),
    /// A figure is out of its bounds.
    #[error("{0}: {1}")]
    Value(String, String),
    /// Something is to be set that is not there.
    #[error(
        "--set {0}: no such place: try something like fleet.beats.rate=100, phase.steady.for=30s or accept.p99_ms=5"
    )]
    Set(String),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FileForm {
    #[serde(default)]
    about: String,
    #[serde(default = "one")]
    seed: u64,
    #[serde(default, rename = "phase")]
    phases: Vec<PhaseForm>,
    #[serde(default, rename = "fleet")]
    fleets: Vec<FleetForm>,
    #[serde(default, rename = "attack")]
    attacks: Vec<AttackForm>,
    #[serde(default)]
    accept: Criteria,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PhaseForm {
    name: Option<String>,
    kind: PhaseKind,
    #[serde(rename = "for")]
    length: String,
    from: Option<f64>,
    to: Option<f64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FleetForm {
    name: Option<String>,
    kind: Kind,
    transport: Option<TransportKind>,
    sessions: u32,
    rate: f64,
    #[serde(default = "four")]
    connections: u16,
    #[serde(default = "one_thread")]
    threads: u16,
    timeout: Option<String>,
    #[serde(default)]
    forged_percent: u8,
    #[serde(default)]
    replayed_percent: u8,
    #[serde(default)]
    during: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AttackForm {
    kind: AttackKind,
    at_once: u16,
    from: Ipv4Addr,
}

const fn one() -> u64 {
    1
}

const fn one_thread() -> u16 {
    1
}

const fn four() -> u16 {
    4
}

/// How long a scenario may be, in bytes.
const MAX_FILE: u64 = 1 << 16;
/// How many phases and fleets it may have.
const MAX_PARTS: usize = 64;

impl Scenario {
    /// The scenario of a file; its name is the file's. `set`: figures to change, as `fleet.beats.rate=100`.
    ///
    /// # Errors
    ///
    /// Any [`ScenarioFileError`].
    pub fn read(path: &Path, set: &[String]) -> Result<Self, ScenarioFileError> {
        let shown = path.display().to_string();
        let cannot = |error| ScenarioFileError::Io(shown.clone(), error);
        if fs::metadata(path).map_err(cannot)?.len() > MAX_FILE {
            return Err(ScenarioFileError::TooLong(shown));
        }
        let text = fs::read_to_string(path).map_err(cannot)?;
        let name = path.file_stem().map_or_else(|| shown.clone(), |stem| stem.to_string_lossy().into_owned());
        Self::parse(&name, &text, set)
    }

    /// The scenario that a text describes.
    ///
    /// # Errors
    ///
    /// Any [`ScenarioFileError`] but those of files.
    pub fn parse(name: &str, text: &str, set: &[String]) -> Result<Self, ScenarioFileError> {
        let form =
            |error: toml::de::Error| ScenarioFileError::Form(name.to_owned(), error.to_string().trim().to_owned());
        let mut table: Table = text.parse().map_err(form)?;
        for change in set {
            apply(&mut table, change).ok_or_else(|| ScenarioFileError::Set(change.clone()))?;
        }
        let form: FileForm = table.try_into().map_err(form)?;
        let value = |what: String| ScenarioFileError::Value(name.to_owned(), what);
        if form.phases.len() > MAX_PARTS || form.fleets.len() > MAX_PARTS {
            return Err(value(format!("more than {MAX_PARTS} phases or fleets")));
        }
        Ok(Self {
            name: name.to_owned(),
            about: form.about,
            phases: form.phases.iter().map(phase).collect::<Result<_, _>>().map_err(value)?,
            fleets: form.fleets.iter().map(fleet).collect::<Result<_, _>>().map_err(value)?,
            attacks: form.attacks.iter().map(attack).collect::<Result<_, _>>().map_err(value)?,
            accept: form.accept,
            seed: form.seed,
        })
    }
}

/// The most that a phase may multiply rates with.
const MAX_FACTOR: f64 = 1000.0;

fn phase(form: &PhaseForm) -> Result<Phase, String> {
    let usual = match form.kind {
        PhaseKind::Ramp => (0.0, 1.0),
        PhaseKind::Steady | PhaseKind::Soak | PhaseKind::Storm => (1.0, 1.0),
        PhaseKind::Spike => (20.0, 20.0),
        PhaseKind::Burst => (0.0, 0.0),
    };
    let kind = format!("{:?}", form.kind).to_lowercase();
    let name = form.name.clone().unwrap_or(kind);
    let from = form.from.unwrap_or(usual.0);
    let to = form.to.unwrap_or(if form.kind == PhaseKind::Ramp { usual.1 } else { form.from.unwrap_or(usual.1) });
    if ![from, to].iter().all(|factor| (0.0..=MAX_FACTOR).contains(factor)) {
        return Err(format!("phase {name}: from and to are multiples of the fleets' rates, 0 to {MAX_FACTOR}"));
    }
    let length = time(&form.length, Duration::from_millis(100), Duration::from_hours(168));
    let length = length.ok_or_else(|| format!("phase {name}: `for` must be like 30s, from 100ms to 168h"))?;
    Ok(Phase { name, kind: form.kind, length, from, to })
}

fn fleet(form: &FleetForm) -> Result<FleetPlan, String> {
    let name = form.name.clone().unwrap_or_else(|| form.kind.name().to_owned());
    let bad = |what: &str| format!("fleet {name}: {what}");
    let frames = matches!(form.kind, Kind::Beats | Kind::Forged);
    let usual = if frames { TransportKind::Udp } else { TransportKind::Http1 };
    if form.kind == Kind::Replayed {
        return Err(bad("replayed frames go beside beats: give those replayed_percent"));
    }
    if !(1..=MAX_SESSIONS).contains(&form.sessions) {
        return Err(bad(&format!("sessions must be from 1 to {MAX_SESSIONS}")));
    }
    if !(1..=16384).contains(&form.connections) || !(1..=64).contains(&form.threads) {
        return Err(bad("connections must be from 1 to 16384, threads from 1 to 64"));
    }
    if form.forged_percent > 100 || form.replayed_percent > 100 {
        return Err(bad("percentages must be from 0 to 100"));
    }
    let timeout = match &form.timeout {
        None => Duration::from_secs(1),
        Some(text) => time(text, Duration::from_millis(1), Duration::from_secs(60))
            .ok_or_else(|| bad("timeout must be like 1s, from 1ms to 60s"))?,
    };
    Ok(FleetPlan {
        kind: form.kind,
        transport: form.transport.unwrap_or(usual),
        sessions: form.sessions,
        rate: Rate::new(form.rate).ok_or_else(|| bad("rate must be from 0.001 to 2000000 a second"))?,
        connections: form.connections,
        threads: form.threads,
        timeout,
        blend: Blend {
            forged_percent: form.forged_percent,
            replayed_percent: form.replayed_percent,
            only_forged: form.kind == Kind::Forged,
        },
        during: form.during.clone(),
        name,
    })
}

fn attack(form: &AttackForm) -> Result<AttackPlan, String> {
    let AttackForm { kind, at_once, from } = *form;
    if !(1..=4096).contains(&at_once) || !from.is_loopback() {
        return Err(format!("attack {}: at_once must be from 1 to 4096, from a loopback address", kind.name()));
    }
    Ok(AttackPlan { kind, at_once, from })
}

fn time(text: &str, least: Duration, most: Duration) -> Option<Duration> {
    duration(text).filter(|time| (least..=most).contains(time))
}

/// Changes a figure: `accept.p99_ms=5`, or `fleet.NAME.rate=100` with a name, a kind or a number from 0.
fn apply(table: &mut Table, change: &str) -> Option<()> {
    let (path, value) = change.split_once('=')?;
    // A value is TOML where it can be (`5`, `true`), else a string (`30s`).
    let value = format!("v = {value}")
        .parse::<Table>()
        .ok()
        .and_then(|mut parsed| parsed.remove("v"))
        .unwrap_or_else(|| Value::String(value.to_owned()));
    let mut keys: Vec<_> = path.split('.').collect();
    let last = keys.pop()?;
    let mut here = table;
    let mut keys = keys.into_iter();
    while let Some(key) = keys.next() {
        here = match here.entry(key.to_owned()).or_insert_with(|| Value::Table(Table::new())) {
            Value::Table(table) => table,
            Value::Array(parts) => chosen(parts, keys.next()?)?,
            _ => return None,
        };
    }
    here.insert(last.to_owned(), value);
    Some(())
}

/// The part of this name or kind, or with this number.
fn chosen<'a>(parts: &'a mut [Value], name: &str) -> Option<&'a mut Table> {
    let is = |part: &Value, key: &str| part.get(key).and_then(Value::as_str) == Some(name);
    let found = parts.iter().position(|part| is(part, "name"));
    let found = found.or_else(|| parts.iter().position(|part| is(part, "kind"))).or_else(|| name.parse().ok())?;
    parts.get_mut(found)?.as_table_mut()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{fleet::PlanError, scenario::Bounds};

    const TEXT: &str = r#"
        about = "For a test"
        [[phase]]
        kind = "ramp"
        for = "10s"
        [[phase]]
        name = "peak"
        kind = "spike"
        for = "2s"
        [[fleet]]
        kind = "beats"
        transport = "webtransport"
        sessions = 1000
        rate = 50
        replayed_percent = 3
        [[fleet]]
        name = "edge"
        kind = "verdicts"
        sessions = 10
        rate = 5
        timeout = "250ms"
        during = ["peak"]
        [accept]
        loss = 0.0
        p99_ms = 5.5
    "#;

    fn parse(text: &str, set: &[&str]) -> Result<Scenario, ScenarioFileError> {
        let set: Vec<_> = set.iter().map(|change| (*change).to_owned()).collect();
        Scenario::parse("test", text, &set)
    }

    #[test]
    fn a_scenario_is_what_its_text_says_and_what_is_usual() {
        let scenario = parse(TEXT, &[]).unwrap();
        assert_eq!((scenario.name.as_str(), scenario.about.as_str(), scenario.seed), ("test", "For a test", 1));
        let [ramp, peak] = scenario.phases.as_slice() else { panic!("two phases") };
        assert_eq!((ramp.name.as_str(), ramp.from, ramp.to), ("ramp", 0.0, 1.0));
        assert_eq!((peak.name.as_str(), peak.from, peak.to), ("peak", 20.0, 20.0));
        let [beats, edge] = scenario.fleets.as_slice() else { panic!("two fleets") };
        assert_eq!((beats.name.as_str(), beats.transport), ("beats", TransportKind::WebTransport));
        assert_eq!((beats.timeout, beats.blend.replayed_percent), (Duration::from_secs(1), 3));
        assert_eq!((edge.name.as_str(), edge.transport), ("edge", TransportKind::Http1));
        assert_eq!(edge.timeout, Duration::from_millis(250));
        assert_eq!(edge.pace(&scenario.phases).total(), 200, "the peak alone: 2 s at 20 times 5 a second");
        assert_eq!(beats.pace(&scenario.phases).total(), 2250);
        assert_eq!((scenario.accept.loss, scenario.accept.p99_ms), (Some(0.0), Some(5.5)));
    }

    #[test]
    fn figures_are_set_by_name_kind_or_number() {
        let set = [
            "fleet.edge.rate=7.5",
            "fleet.0.rate=9",
            "phase.peak.for=5s",
            "phase.ramp.to=2.0",
            "accept.bad=3",
            "seed=4",
        ];
        let scenario = parse(TEXT, &set).unwrap();
        let rates: Vec<_> = scenario.fleets.iter().map(|fleet| fleet.rate.per_second()).collect();
        assert_eq!(rates, [9.0, 7.5]);
        assert_eq!((scenario.phases[1].length, scenario.phases[0].to), (Duration::from_secs(5), 2.0));
        assert_eq!((scenario.accept.bad, scenario.seed), (3, 4));
        for wrong in ["fleet.nobody.rate=1", "fleet.9.rate=1", "rate", "about.more=1"] {
            assert!(matches!(parse(TEXT, &[wrong]), Err(ScenarioFileError::Set(_))), "{wrong}");
        }
    }

    #[test]
    fn what_is_misspelt_or_out_of_bounds_is_refused() {
        for wrong in [
            "fleet.edge.rat=7",
            "phase.peak.kind=splash",
            "phase.peak.for=9d",
            "phase.peak.from=1e9",
            "fleet.edge.kind=replayed",
            "fleet.edge.sessions=0",
            "fleet.edge.rate=-1",
            "fleet.edge.connections=0",
            "fleet.edge.threads=65",
            "fleet.edge.timeout=2h",
            "fleet.beats.forged_percent=101",
            "fleet.edge.during=7",
            "accept.p98_ms=1",
            "colour=blue",
        ] {
            assert!(parse(TEXT, &[wrong]).is_err(), "{wrong}");
        }
        assert!(parse("fleet = 3", &[]).is_err());
    }

    #[test]
    fn a_fleet_takes_part_only_in_phases_that_there_are() {
        let bounds = Bounds { rate: 1e6, time: Duration::from_hours(1) };
        let check = |set| parse(TEXT, &[set]).unwrap().check(&bounds);
        assert_eq!(check("fleet.edge.during=['ramp', 'peak']"), Ok(()));
        let wrong = PlanError::Phase("edge".to_owned(), "dusk".to_owned());
        assert_eq!(check("fleet.edge.during=['dusk']"), Err(wrong.into()));
    }
}
