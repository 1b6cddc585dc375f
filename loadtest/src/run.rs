//! A whole run, from a scenario to the report.

use std::{
    collections::HashSet,
    fs,
    io::{self, Write},
    iter,
    path::Path,
    sync::{
        Arc, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use anyhow::{Context, bail};
use tokio::runtime::Runtime;

use crate::{
    api::Api,
    cli::{Args, ArgsError, Command, OutputArgs, RunArgs, SessionArgs, TargetArgs},
    clock::Clock,
    conduct::{Gauges, conduct},
    fleet::{Conditions, FleetPlan},
    floor::floor,
    opener::SessionOpener,
    process::{self, Pid},
    profile::Phase,
    record::Kind,
    report::{Heading, Report, page},
    scenario::{LIBRARY, Scenario, ScenarioError, ScenarioFileError, find},
    session::{self, OpenSession},
    setup::{self, Setup},
    siege::Siege,
    target::Target,
    terms::ServiceTerms,
};

/// Why there is no report.
#[derive(Debug)]
pub enum Failure {
    /// What was asked for makes no sense.
    Usage(String),
    /// Something went wrong.
    Run(anyhow::Error),
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self::Run(error)
    }
}

impl From<ArgsError> for Failure {
    fn from(error: ArgsError) -> Self {
        Self::Usage(error.to_string())
    }
}

impl From<ScenarioError> for Failure {
    fn from(error: ScenarioError) -> Self {
        Self::Usage(error.to_string())
    }
}

impl From<ScenarioFileError> for Failure {
    fn from(error: ScenarioFileError) -> Self {
        Self::Usage(error.to_string())
    }
}

/// Does what was asked for. Answers the report, where that was to make one.
///
/// # Errors
///
/// A [`Failure`] when it did not come to a verdict; a run that did is a [`Report`], good or bad.
pub fn run(args: &Args) -> Result<Option<Report>, Failure> {
    let clock = Clock::start();
    let runtime = Runtime::new().context("cannot start the runtime")?;
    let stop = Arc::new(AtomicBool::new(false));
    runtime.spawn(stop_on_interrupt(Arc::clone(&stop)));
    let report = match &args.command {
        None => {
            let plain = &args.plain;
            let terms = Terms {
                session_args: &plain.session_args,
                output: &plain.output,
                credit_may_arrive: plain.credit_may_arrive,
            };
            execute(&plain.scenario(), &plain.target, &terms, clock, stop)?
        }
        Some(Command::Run(args)) => {
            let scenario = chosen(args)?;
            let terms = Terms { session_args: &args.session_args, output: &args.output, credit_may_arrive: false };
            execute(&scenario, &args.target, &terms, clock, stop)?
        }
        Some(Command::List) => {
            list().context("cannot write the list")?;
            return Ok(None);
        }
        Some(Command::Floor(args)) => {
            let report = floor(args, clock, stop)?;
            publish(&args.output, &report).context("cannot write the report")?;
            report
        }
    };
    Ok(Some(report))
}

/// How a scenario is to be run.
struct Terms<'a> {
    session_args: &'a SessionArgs,
    output: &'a OutputArgs,
    credit_may_arrive: bool,
}

/// The scenario of this name, or of this file.
fn chosen(args: &RunArgs) -> Result<Scenario, Failure> {
    let mut scenario = match find(&args.scenario) {
        Some(text) => Scenario::parse(&args.scenario, text, &args.set)?,
        None if Path::new(&args.scenario).exists() => Scenario::read(Path::new(&args.scenario), &args.set)?,
        None => {
            let what = &args.scenario;
            return Err(Failure::Usage(format!("{what} is neither a file nor a scenario that `loadtest list` names")));
        }
    };
    if let Some(seed) = args.seed {
        scenario.seed = seed;
    }
    Ok(scenario)
}

fn list() -> io::Result<()> {
    let mut out = io::stdout().lock();
    for (name, text) in LIBRARY {
        let about = Scenario::parse(name, text, &[]).map_or_else(|error| error.to_string(), |scenario| scenario.about);
        writeln!(out, "{name:<16} {about}")?;
    }
    Ok(())
}

/// Opens sessions, lets the fleets run, clears away, reports.
fn execute(
    scenario: &Scenario,
    to: &TargetArgs,
    terms: &Terms<'_>,
    clock: Clock,
    stop: Arc<AtomicBool>,
) -> Result<Report, Failure> {
    terms.session_args.check()?;
    let target = Target::new(to);
    scenario.check(&to.bounds(target.is_local()))?;
    let concurrency = usize::from(terms.session_args.setup_concurrency);
    let opener = SessionOpener {
        api: Api::new(to.token_file()?).map_err(anyhow::Error::from)?,
        public: target.http(&to.http)?,
        admin: target.http(&to.admin_url)?,
        clock,
        credit_s: terms.session_args.credit_s,
        concurrency,
        stop,
        accounts: Arc::default(),
    };
    let outcome = assemble_and_conduct(scenario, &target, terms, &opener);
    let cleared = match &outcome {
        Ok(_) if terms.session_args.keep || terms.session_args.abandon => Ok(()),
        Ok(_) if terms.session_args.believe => clear_away(&opener),
        Ok(_) => clear_away(&opener).and_then(|()| remove_sessions_file(terms.session_args)),
        Err(_) => {
            spare_the_named(terms.session_args, &opener);
            clear_away(&opener)
        }
    };
    let report = outcome?;
    publish(terms.output, &report).context("cannot write the report")?;
    cleared?;
    Ok(report)
}

fn assemble_and_conduct(
    scenario: &Scenario,
    target: &Target,
    terms: &Terms<'_>,
    opener: &SessionOpener,
) -> Result<Report, Failure> {
    let mut known = match &terms.session_args.sessions_file {
        Some(path) => session::load(path).map_err(anyhow::Error::from)?,
        None => Vec::new(),
    };
    if !terms.session_args.believe {
        opener
            .accounts
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .extend(known.iter().map(|session| session.account.clone()));
    }
    // Floods need an id to forge: at least one session is opened whatever is done with it.
    let wanted = usize::try_from(scenario.sessions()).context("too many sessions")?.max(1);
    let spare = known.split_off(known.len().min(wanted));
    let (mut opened, service_terms) = open(scenario, target, opener, known, wanted, terms.session_args.believe)?;
    if let (Some(path), true) = (&terms.session_args.sessions_file, terms.session_args.keep) {
        opened.extend(spare);
        session::save(path, &opened).map_err(anyhow::Error::from)?;
        opened.truncate(wanted);
    }
    Ok(conduct_all(scenario, target, terms, opener, opened, &service_terms)?)
}

fn open(
    scenario: &Scenario,
    target: &Target,
    opener: &SessionOpener,
    mut known: Vec<OpenSession>,
    wanted: usize,
    believe: bool,
) -> Result<(Vec<OpenSession>, ServiceTerms), Failure> {
    let first = if known.is_empty() || believe { None } else { Some(known.swap_remove(0)) };
    let (first, service_terms) = opener.first(first).context("opening the first session")?;
    for fleet in scenario.fleets.iter().filter(|fleet| fleet.kind == Kind::Beats) {
        keeps_pace(fleet, &scenario.phases, &service_terms)?;
    }
    if believe {
        // One that was opened beside them has said how to beat.
        known.truncate(wanted - 1);
        let opened: Vec<_> = iter::once(first).chain(known).collect();
        return if opened.len() == wanted {
            Ok((opened, service_terms))
        } else {
            Err(Failure::Usage(TOO_FEW.to_owned()))
        };
    }
    let missing = wanted - 1 - known.len();
    let tokens = scenario.tokens() as usize;
    let udp = target.udp(&service_terms.heartbeat).ok();
    let opened = opener.rest(first, &service_terms, udp, known, missing, tokens).context("opening sessions")?;
    Ok((opened, service_terms))
}

const TOO_FEW: &str = "the sessions file has fewer sessions than are wanted, and --believe opens none";

/// A session that is slower to beat than its timeout dies in the middle of the run, and the fault is the plan's.
fn keeps_pace(plan: &FleetPlan, phases: &[Phase], service_terms: &ServiceTerms) -> Result<(), Failure> {
    let (interval, timeout) = (service_terms.heartbeat.interval_ms, service_terms.heartbeat.timeout_ms);
    let longest_s = timeout.saturating_sub(interval) as f64 / 1000.0;
    let apart_s = plan.pace(phases).longest_silence(plan.sessions).as_secs_f64();
    if apart_s <= longest_s {
        return Ok(());
    }
    Err(Failure::Usage(format!(
        "{}: {} sessions at {} beats a second are silent for up to {apart_s:.0} s each, and the service lets them die \
         after {} s: ask for a rate of at least {:.0}",
        plan.name,
        plan.sessions,
        plan.rate.per_second(),
        timeout / 1000,
        (f64::from(plan.sessions) / longest_s).ceil()
    )))
}

fn conduct_all(
    scenario: &Scenario,
    target: &Target,
    terms: &Terms<'_>,
    opener: &SessionOpener,
    opened: Vec<OpenSession>,
    service_terms: &ServiceTerms,
) -> anyhow::Result<Report> {
    let conditions = Conditions {
        clock: opener.clock,
        phases: scenario.phases.clone().into(),
        seed: scenario.seed,
        stop: Arc::clone(&opener.stop),
    };
    let setup =
        Setup { target, opener, service_terms, conditions: &conditions, credit_may_arrive: terms.credit_may_arrive };
    let (fleets, edge) = setup.fleets(scenario, opened)?;
    let gauges = Gauges::new(server_pid(target, terms.output), terms.output.compare_pid.map(Pid));
    let udp = target.udp(&service_terms.heartbeat).ok().filter(|address| process::is_local(address.ip()));
    let drops = || process::udp_drops(udp?.port());
    let before = drops();
    let siege = match scenario.attacks.as_slice() {
        [] => None,
        attacks => Some(Siege::begin(attacks, target.besieged(&service_terms.heartbeat)?)?),
    };
    let conducted = conduct(fleets, &conditions, gauges);
    let attacks = siege.map(Siege::end).unwrap_or_default();
    let udp_drops = before.zip(drops()).map(|(before, after)| after.saturating_sub(before));
    setup::remove_edge(opener, edge);
    let heading = Heading {
        name: scenario.name.clone(),
        about: scenario.about.clone(),
        seed: scenario.seed,
        phases: scenario.phases.clone(),
        criteria: scenario.accept.clone(),
        udp_drops,
    };
    Ok(Report::new(&heading, conducted?).besieged(attacks, &heading.criteria))
}

/// The service's process: the one that was named, or the one that listens where the service does.
fn server_pid(target: &Target, output: &OutputArgs) -> Option<Pid> {
    let found = || process::listener(target.public_address().ok().filter(|address| process::is_local(address.ip()))?);
    output.pid.map(Pid).or_else(found)
}

fn clear_away(opener: &SessionOpener) -> anyhow::Result<()> {
    match opener.clear_away() {
        0 => Ok(()),
        failed => bail!("{failed} accounts could not be deleted"),
    }
}

/// A run that failed leaves alone what the sessions file names: it can be used again.
fn spare_the_named(session_args: &SessionArgs, opener: &SessionOpener) {
    let Some(path) = &session_args.sessions_file else { return };
    let named = session::load(path).unwrap_or_default();
    let named: HashSet<_> = named.into_iter().map(|session| session.account).collect();
    opener.accounts.lock().unwrap_or_else(PoisonError::into_inner).retain(|account| !named.contains(account));
}

fn remove_sessions_file(session_args: &SessionArgs) -> anyhow::Result<()> {
    match &session_args.sessions_file {
        Some(path) if path.exists() => fs::remove_file(path).context("cannot remove the sessions file"),
        _ => Ok(()),
    }
}

fn publish(args: &OutputArgs, report: &Report) -> io::Result<()> {
    if let Some(path) = &args.html {
        fs::write(path, page(report).map_err(io::Error::from)?)?;
    }
    let json = || serde_json::to_string_pretty(report).map(|text| text + "\n").map_err(io::Error::from);
    match &args.json {
        Some(path) if path == Path::new("-") => return io::stdout().write_all(json()?.as_bytes()),
        Some(path) => fs::write(path, json()?)?,
        None => {}
    }
    write!(io::stdout(), "{report}")
}

/// The first interrupt ends the run and clears away; the second ends the program.
async fn stop_on_interrupt(stop: Arc<AtomicBool>) {
    while tokio::signal::ctrl_c().await.is_ok() {
        if stop.swap(true, Ordering::Relaxed) {
            std::process::exit(130);
        }
    }
}
