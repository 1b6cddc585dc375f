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
    thread::{self, JoinHandle},
    time::Duration,
};

use anyhow::{Context, bail};
use gastank::wire::Millis;
use tokio::runtime::Runtime;

use crate::{
    api::Api,
    cli::{Args, ArgsError, TransportKind},
    clock::Clock,
    crew::{Recruiter, Welcome},
    lane::{Lane, Terms},
    process::{self, Pid, Usage},
    progress::Progress,
    record::{Live, Record},
    report::{Plan, ProcessReport, Report},
    schedule::Schedule,
    session::{self, OpenSession},
    transport::{HttpTransport, Transport, UdpTransport},
    verify::Rules,
    window::Window,
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

/// Opens sessions, beats, clears away, reports.
///
/// # Errors
///
/// A [`Failure`] when it did not come to a verdict; a run that did is a [`Report`], good or bad.
pub fn run(args: &Args) -> Result<Report, Failure> {
    let window = args.check()?;
    let clock = Clock::start();
    let runtime = Runtime::new().context("cannot start the runtime")?;
    let stop = Arc::new(AtomicBool::new(false));
    runtime.spawn(stop_on_interrupt(Arc::clone(&stop)));
    let api = Api::new(args.http.clone(), args.admin_url.clone(), &args.admin_token_file, args.setup_concurrency)
        .map_err(anyhow::Error::from)?;
    let recruiter = Recruiter {
        api: Arc::new(api),
        clock,
        credit_s: args.credit_s,
        concurrency: usize::from(args.setup_concurrency),
        stop: Arc::clone(&stop),
        accounts: Arc::default(),
    };
    let outcome = assemble_and_beat(args, &runtime, &recruiter, window);
    let cleared = match &outcome {
        Ok(_) if args.keep => Ok(()),
        Ok(_) => clear_away(&runtime, &recruiter).and_then(|()| remove_sessions_file(args)),
        Err(_) => {
            spare_the_named(args, &recruiter);
            clear_away(&runtime, &recruiter)
        }
    };
    let report = outcome?;
    publish(args, &report).context("cannot write the report")?;
    cleared?;
    Ok(report)
}

fn assemble_and_beat(args: &Args, runtime: &Runtime, recruiter: &Recruiter, window: usize) -> Result<Report, Failure> {
    let mut known = match &args.sessions_file {
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
    let (mut crew, welcome) = assemble(args, runtime, recruiter, known, wanted)?;
    if let (Some(path), true) = (&args.sessions_file, args.keep) {
        crew.extend(spare);
        session::save(path, &crew).map_err(anyhow::Error::from)?;
        crew.truncate(wanted);
    }
    Ok(beat(args, runtime, &crew, &welcome, recruiter, window)?)
}

fn assemble(
    args: &Args,
    runtime: &Runtime,
    recruiter: &Recruiter,
    mut known: Vec<OpenSession>,
    wanted: usize,
) -> Result<(Vec<OpenSession>, Welcome), Failure> {
    let first = if known.is_empty() { None } else { Some(known.swap_remove(0)) };
    let (first, welcome) = runtime.block_on(recruiter.first(first)).context("opening the first session")?;
    keeps_pace(args, &welcome)?;
    let missing = wanted - 1 - known.len();
    let crew = runtime.block_on(recruiter.rest(first, &welcome, known, missing)).context("opening sessions")?;
    Ok((crew, welcome))
}

/// A session that is slower to beat than its timeout dies in the middle of the run, and the fault is the plan's.
fn keeps_pace(args: &Args, welcome: &Welcome) -> Result<(), Failure> {
    let (interval, timeout) = (welcome.heartbeat.interval_ms, welcome.heartbeat.timeout_ms);
    let longest_s = timeout.saturating_sub(interval) as f64 / 1000.0;
    let apart_s = (f64::from(args.sessions) / args.rate.per_second()).min(args.duration.as_secs_f64());
    if apart_s <= longest_s {
        return Ok(());
    }
    Err(Failure::Usage(format!(
        "{} sessions at {} beats a second beat every {apart_s:.0} s each, and the service lets them die after {} s: \
         ask for a rate of at least {:.0}",
        args.sessions,
        args.rate.per_second(),
        timeout / 1000,
        (f64::from(args.sessions) / longest_s).ceil()
    )))
}

fn beat(
    args: &Args,
    runtime: &Runtime,
    crew: &[OpenSession],
    welcome: &Welcome,
    recruiter: &Recruiter,
    window: usize,
) -> anyhow::Result<Report> {
    let clock = recruiter.clock;
    let schedule = Schedule::new(args.sessions, args.rate, args.duration, args.seed, args.forged_percent);
    let lanes = usize::from(args.threads);
    let shows: Vec<Arc<Live>> = (0..lanes).map(|_| Arc::default()).collect();
    let server_udp = udp_address(args, welcome);
    let terms = Terms {
        clock,
        start: clock.now() + HEAD_START,
        duration: args.duration,
        timeout: args.timeout,
        rules: Rules {
            interval: Millis::new(welcome.heartbeat.interval_ms),
            credit_may_arrive: args.credit_may_arrive,
        },
        stop: Arc::clone(&recruiter.stop),
    };
    let build = |number: usize| -> anyhow::Result<Box<dyn Transport>> {
        let all = usize::from(args.connections);
        let connections = all / lanes + usize::from(number < all % lanes);
        Ok(match args.transport {
            TransportKind::Udp => {
                let server = server_udp.as_ref().map_err(|error| anyhow::anyhow!("{error:#}"))?;
                Box::new(UdpTransport::new(clock, *server, connections).context("cannot make a socket")?)
            }
            TransportKind::Http => {
                let give_up = 2 * args.timeout;
                Box::new(HttpTransport::new(clock, runtime.handle(), &args.http, connections, give_up)?)
            }
        })
    };
    let transports = (0..lanes).map(build).collect::<anyhow::Result<Vec<_>>>()?;
    let mut server = server_gauge(args);
    let mut generator = Gauge::new(Pid(std::process::id()));
    let drops_before = server_drops(&server_udp);
    let threads: Vec<_> = transports
        .into_iter()
        .enumerate()
        .map(|(number, transport)| {
            let window = Window::new(window, args.timeout);
            let (part, live) = (schedule.lane(number, lanes), Arc::clone(&shows[number]));
            let lane = Lane::new(terms.clone(), part, crew, transport, window, welcome.meter, live);
            thread::Builder::new().name(format!("lane-{number}")).spawn(move || lane.run())
        })
        .collect::<io::Result<_>>()?;
    watch(&terms, &threads, &shows, |_| {
        server.iter_mut().for_each(Gauge::look);
        generator.iter_mut().for_each(Gauge::look);
    });
    let until = clock.now();
    let (record, dropped_here) = gather(threads)?;
    let stopped = terms.stop.load(Ordering::Relaxed);
    let planned = if stopped { Duration::ZERO } else { args.duration };
    let elapsed = record.last_sent.saturating_sub(terms.start).max(planned);
    let mut report = Report::new(plan(args), &record, elapsed, stopped, dropped_here);
    let watched = until.saturating_sub(terms.start);
    report.server = server.map(|gauge| gauge.report(watched, record.sent));
    report.generator = generator.map(|gauge| gauge.report(watched, record.sent));
    if let (Some(server), Some(before), Some(after)) = (&mut report.server, drops_before, server_drops(&server_udp)) {
        server.udp_drops = Some(after.saturating_sub(before));
    }
    Ok(report)
}

/// From when the threads are made to when the first beat is due.
const HEAD_START: Duration = Duration::from_millis(50);
/// How often progress is shown and processes are measured.
const LOOK_APART: Duration = Duration::from_millis(200);

type LaneThread = JoinHandle<io::Result<(Record, u64)>>;

/// Shows how it goes until all lanes are done.
fn watch(terms: &Terms, threads: &[LaneThread], shows: &[Arc<Live>], mut look: impl FnMut(Duration)) {
    let total = u64::try_from(terms.duration.as_millis()).unwrap_or(u64::MAX);
    let progress = Progress::new("beating", total, terms.clock);
    let (mut before, mut then) = (0, terms.start);
    while threads.iter().any(|thread| !thread.is_finished()) {
        thread::sleep(LOOK_APART);
        let now = terms.clock.now();
        let glance = Live::sum(shows.iter().map(AsRef::as_ref));
        let rate = (glance.sent - before) as f64 / now.saturating_sub(then).as_secs_f64().max(0.001);
        (before, then) = (glance.sent, now);
        let done = u64::try_from(now.saturating_sub(terms.start).as_millis()).unwrap_or(u64::MAX);
        progress.at(done, || {
            let (sent, acked, overdue, bad) = (glance.sent, glance.acked, glance.overdue, glance.bad);
            format!("{rate:.0}/s, {sent} sent, {acked} acked, {overdue} overdue, {bad} bad")
        });
        look(now);
    }
    progress.finish();
}

fn gather(threads: Vec<LaneThread>) -> anyhow::Result<(Record, u64)> {
    let mut sum = (Record::default(), 0);
    for thread in threads {
        let Ok(outcome) = thread.join() else { bail!("a lane panicked") };
        let (record, dropped) = outcome.context("a transport broke down")?;
        sum.0.merge(&record);
        sum.1 += dropped;
    }
    Ok(sum)
}

/// Looks at a process now and then.
struct Gauge {
    pid: Pid,
    first: Usage,
    last: Usage,
    max_rss: u64,
}

impl Gauge {
    fn new(pid: Pid) -> Option<Self> {
        let usage = process::usage(pid)?;
        Some(Self { pid, first: usage, last: usage, max_rss: usage.rss })
    }

    fn look(&mut self) {
        if let Some(usage) = process::usage(self.pid) {
            self.last = usage;
            self.max_rss = self.max_rss.max(usage.rss);
        }
    }

    fn report(mut self, elapsed: Duration, beats: u64) -> ProcessReport {
        self.look();
        ProcessReport::new(self.pid.0, self.first, self.last, self.max_rss, elapsed, beats)
    }
}

/// The service's process: the one that was named, or the one that listens where the service does.
fn server_gauge(args: &Args) -> Option<Gauge> {
    let found = || {
        let addresses = args.http.socket_addrs(|| None).ok()?;
        addresses.into_iter().filter(|address| process::is_local(address.ip())).find_map(process::listener)
    };
    Gauge::new(args.pid.map(Pid).or_else(found)?)
}

fn server_drops(server: &anyhow::Result<SocketAddr>) -> Option<u64> {
    let server = server.as_ref().ok().filter(|address| process::is_local(address.ip()))?;
    process::udp_drops(server.port())
}

/// Where datagrams go. A service that says "any address" means the one it was reached at.
fn udp_address(args: &Args, welcome: &Welcome) -> anyhow::Result<SocketAddr> {
    if let Some(address) = args.udp {
        return Ok(address);
    }
    let named = welcome.heartbeat.udp.as_deref().context("the service names no UDP address: give --udp")?;
    let named = named.strip_prefix("udp://").unwrap_or(named);
    let cannot = || format!("the service names the UDP address {named}, which cannot be resolved: give --udp");
    let mut address = named.to_socket_addrs().with_context(cannot)?.next().with_context(cannot)?;
    if address.ip().is_unspecified() {
        let reached = args.http.socket_addrs(|| None).with_context(cannot)?;
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
fn spare_the_named(args: &Args, recruiter: &Recruiter) {
    let Some(path) = &args.sessions_file else { return };
    let named = session::load(path).unwrap_or_default();
    let named: HashSet<_> = named.into_iter().map(|session| session.account).collect();
    recruiter.accounts.lock().unwrap_or_else(PoisonError::into_inner).retain(|account| !named.contains(account));
}

fn remove_sessions_file(args: &Args) -> anyhow::Result<()> {
    match &args.sessions_file {
        Some(path) if path.exists() => fs::remove_file(path).context("cannot remove the sessions file"),
        _ => Ok(()),
    }
}

fn plan(args: &Args) -> Plan {
    Plan {
        transport: args.transport.name(),
        sessions: args.sessions,
        rate: args.rate.per_second(),
        duration_s: args.duration.as_secs_f64(),
        timeout_s: args.timeout.as_secs_f64(),
        connections: args.connections,
        threads: args.threads,
        seed: args.seed,
        forged_percent: args.forged_percent,
        accept_loss: args.accept_loss,
    }
}

fn publish(args: &Args, report: &Report) -> io::Result<()> {
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
