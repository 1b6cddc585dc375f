//! A whole run, from the command line to the report.

use std::{
    collections::HashSet,
    fs,
    io::{self, Write},
    net::{SocketAddr, ToSocketAddrs},
    path::Path,
    sync::{
        Arc, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use anyhow::{Context, bail};
use gastank::wire::Millis;
use reqwest::Url;
use tokio::runtime::Runtime;

use crate::{
    api::Api,
    cli::{Args, ArgsError, Command, OutputArgs, PlainArgs},
    clock::Clock,
    conduct::{Gauges, conduct},
    crew::{Recruiter, Welcome},
    criteria::Criteria,
    fleet::{Conditions, Fleet, FleetPlan, PlanError},
    floor::floor,
    lane::Blend,
    process::{self, Pid},
    profile::Phase,
    record::Kind,
    report::{Heading, Report},
    session::{self, OpenSession},
    transport::{Route, TransportKind},
    verify::Rules,
    works::Beats,
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
        match error.downcast::<PlanError>() {
            Ok(error) => Self::Usage(error.to_string()),
            Err(error) => Self::Run(error),
        }
    }
}

impl From<ArgsError> for Failure {
    fn from(error: ArgsError) -> Self {
        Self::Usage(error.to_string())
    }
}

/// Does what was asked for, and reports.
///
/// # Errors
///
/// A [`Failure`] when it did not come to a verdict; a run that did is a [`Report`], good or bad.
pub fn run(args: &Args) -> Result<Report, Failure> {
    let clock = Clock::start();
    let runtime = Runtime::new().context("cannot start the runtime")?;
    let stop = Arc::new(AtomicBool::new(false));
    runtime.spawn(stop_on_interrupt(Arc::clone(&stop)));
    match &args.command {
        None => plain(&args.plain, &runtime, clock, stop),
        Some(Command::Floor(args)) => {
            let report = floor(args, clock, stop)?;
            publish(&args.output, &report).context("cannot write the report")?;
            Ok(report)
        }
    }
}

/// Opens sessions, beats, clears away, reports.
fn plain(args: &PlainArgs, runtime: &Runtime, clock: Clock, stop: Arc<AtomicBool>) -> Result<Report, Failure> {
    args.crew.check()?;
    let phases = [Phase::steady(args.load.duration)];
    plan(args).check(&phases).map_err(anyhow::Error::from)?;
    let (target, concurrency) = (&args.target, args.crew.setup_concurrency);
    let api = Api::new(target.http.clone(), target.admin_url.clone(), target.token_file()?, concurrency)
        .map_err(anyhow::Error::from)?;
    let recruiter = Recruiter {
        api: Arc::new(api),
        clock,
        credit_s: args.crew.credit_s,
        concurrency: usize::from(concurrency),
        stop: Arc::clone(&stop),
        accounts: Arc::default(),
    };
    let outcome = assemble_and_beat(args, runtime, &recruiter, &phases);
    let cleared = match &outcome {
        Ok(_) if args.crew.keep => Ok(()),
        Ok(_) => clear_away(runtime, &recruiter).and_then(|()| remove_sessions_file(args)),
        Err(_) => {
            spare_the_named(args, &recruiter);
            clear_away(runtime, &recruiter)
        }
    };
    let report = outcome?;
    publish(&args.output, &report).context("cannot write the report")?;
    cleared?;
    Ok(report)
}

fn assemble_and_beat(
    args: &PlainArgs,
    runtime: &Runtime,
    recruiter: &Recruiter,
    phases: &[Phase],
) -> Result<Report, Failure> {
    let mut known = match &args.crew.sessions_file {
        Some(path) => session::load(path).map_err(anyhow::Error::from)?,
        None => Vec::new(),
    };
    recruiter
        .accounts
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .extend(known.iter().map(|session| session.account.clone()));
    let wanted = args.sessions as usize;
    let spare = known.split_off(known.len().min(wanted));
    let (mut crew, welcome) = assemble(args, runtime, recruiter, known, wanted, phases)?;
    if let (Some(path), true) = (&args.crew.sessions_file, args.crew.keep) {
        crew.extend(spare);
        session::save(path, &crew).map_err(anyhow::Error::from)?;
        crew.truncate(wanted);
    }
    Ok(beat(args, &crew, &welcome, recruiter, phases)?)
}

fn assemble(
    args: &PlainArgs,
    runtime: &Runtime,
    recruiter: &Recruiter,
    mut known: Vec<OpenSession>,
    wanted: usize,
    phases: &[Phase],
) -> Result<(Vec<OpenSession>, Welcome), Failure> {
    let first = if known.is_empty() { None } else { Some(known.swap_remove(0)) };
    let (first, welcome) = runtime.block_on(recruiter.first(first)).context("opening the first session")?;
    keeps_pace(&plan(args), phases, &welcome)?;
    let missing = wanted - 1 - known.len();
    let crew = runtime.block_on(recruiter.rest(first, &welcome, known, missing)).context("opening sessions")?;
    Ok((crew, welcome))
}

/// A session that is slower to beat than its timeout dies in the middle of the run, and the fault is the plan's.
fn keeps_pace(plan: &FleetPlan, phases: &[Phase], welcome: &Welcome) -> Result<(), Failure> {
    let (interval, timeout) = (welcome.heartbeat.interval_ms, welcome.heartbeat.timeout_ms);
    let longest_s = timeout.saturating_sub(interval) as f64 / 1000.0;
    let apart_s = plan.pace(phases).longest_silence(plan.sessions).as_secs_f64();
    if apart_s <= longest_s {
        return Ok(());
    }
    Err(Failure::Usage(format!(
        "{} sessions at {} beats a second beat every {apart_s:.0} s each, and the service lets them die after {} s: \
         ask for a rate of at least {:.0}",
        plan.sessions,
        plan.rate.per_second(),
        timeout / 1000,
        (f64::from(plan.sessions) / longest_s).ceil()
    )))
}

fn plan(args: &PlainArgs) -> FleetPlan {
    let load = &args.load;
    FleetPlan {
        name: "beats".to_owned(),
        kind: Kind::Beats,
        transport: load.transport,
        sessions: args.sessions,
        rate: load.rate,
        connections: load.connections,
        threads: load.threads,
        timeout: load.timeout,
        blend: Blend {
            forged_percent: load.forged_percent,
            replayed_percent: load.replayed_percent,
            only_forged: false,
        },
    }
}

fn beat(
    args: &PlainArgs,
    crew: &[OpenSession],
    welcome: &Welcome,
    recruiter: &Recruiter,
    phases: &[Phase],
) -> anyhow::Result<Report> {
    let load = &args.load;
    let conditions = Conditions {
        clock: recruiter.clock,
        phases: phases.into(),
        seed: load.seed,
        stop: Arc::clone(&recruiter.stop),
    };
    let server_udp = udp_address(args, welcome);
    let server = if load.transport == TransportKind::Udp {
        *server_udp.as_ref().map_err(|error| anyhow::anyhow!("{error:#}"))?
    } else {
        resolve(&args.target.http)?
    };
    let route = Route {
        kind: load.transport,
        server,
        name: authority(&args.target.http).into(),
        path: "/v1/webtransport".into(),
        trust: None,
        connections: usize::from(load.connections),
        give_up: 2 * load.timeout,
    };
    let rules =
        Rules { interval: Millis::new(welcome.heartbeat.interval_ms), credit_may_arrive: args.credit_may_arrive };
    let fleet = Fleet::assemble(plan(args), &route, &conditions, |own| Beats::new(own, crew, rules, welcome.meter))?;
    let gauges = Gauges::new(server_pid(args), args.output.compare_pid.map(Pid));
    let drops = || {
        let server = server_udp.as_ref().ok().filter(|address| process::is_local(address.ip()))?;
        process::udp_drops(server.port())
    };
    let before = drops();
    let conducted = conduct(vec![fleet], &conditions, gauges)?;
    let udp_drops = before.zip(drops()).map(|(before, after)| after.saturating_sub(before));
    let criteria = Criteria { loss: Some(load.accept_loss), ..Criteria::default() };
    let heading = Heading { name: "beats".to_owned(), seed: load.seed, phases: phases.to_vec(), criteria, udp_drops };
    Ok(Report::new(&heading, conducted))
}

/// The service's process: the one that was named, or the one that listens where the service does.
fn server_pid(args: &PlainArgs) -> Option<Pid> {
    let found = || {
        let addresses = args.target.http.socket_addrs(|| None).ok()?;
        addresses.into_iter().filter(|address| process::is_local(address.ip())).find_map(process::listener)
    };
    args.output.pid.map(Pid).or_else(found)
}

fn resolve(url: &Url) -> anyhow::Result<SocketAddr> {
    let cannot = || format!("{url} cannot be resolved");
    url.socket_addrs(|| None).with_context(cannot)?.into_iter().next().with_context(cannot)
}

/// Host and port, as the `host` header has them.
fn authority(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

/// Where datagrams go. A service that says "any address" means the one it was reached at.
fn udp_address(args: &PlainArgs, welcome: &Welcome) -> anyhow::Result<SocketAddr> {
    if let Some(address) = args.target.udp {
        return Ok(address);
    }
    let named = welcome.heartbeat.udp.as_deref().context("the service names no UDP address: give --udp")?;
    let named = named.strip_prefix("udp://").unwrap_or(named);
    let cannot = || format!("the service names the UDP address {named}, which cannot be resolved: give --udp");
    let mut address = named.to_socket_addrs().with_context(cannot)?.next().with_context(cannot)?;
    if address.ip().is_unspecified() {
        let reached = args.target.http.socket_addrs(|| None).with_context(cannot)?;
        address.set_ip(reached.first().with_context(cannot)?.ip());
    }
    Ok(address)
}

fn clear_away(runtime: &Runtime, recruiter: &Recruiter) -> anyhow::Result<()> {
    match runtime.block_on(recruiter.clear_away()) {
        0 => Ok(()),
        failed => bail!("{failed} accounts could not be deleted"),
    }
}

/// A run that failed leaves alone what the sessions file names: it can be used again.
fn spare_the_named(args: &PlainArgs, recruiter: &Recruiter) {
    let Some(path) = &args.crew.sessions_file else { return };
    let named = session::load(path).unwrap_or_default();
    let named: HashSet<_> = named.into_iter().map(|session| session.account).collect();
    recruiter.accounts.lock().unwrap_or_else(PoisonError::into_inner).retain(|account| !named.contains(account));
}

fn remove_sessions_file(args: &PlainArgs) -> anyhow::Result<()> {
    match &args.crew.sessions_file {
        Some(path) if path.exists() => fs::remove_file(path).context("cannot remove the sessions file"),
        _ => Ok(()),
    }
}

fn publish(args: &OutputArgs, report: &Report) -> io::Result<()> {
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
