//! Beats at a bare server.

use std::{
    net::SocketAddr,
    sync::{Arc, atomic::AtomicBool},
};

use crate::{
    cli::FloorArgs,
    clock::Clock,
    conduct::{Gauges, conduct},
    criteria::Criteria,
    fleet::{Conditions, Fleet, FleetPlan},
    lane::Blend,
    process::{self, Pid},
    profile::Phase,
    record::Kind,
    report::{Heading, Report},
    transport::{Route, TransportKind, Trust},
    works::Echo,
};

/// Beats at a bare server, and tells how it went.
///
/// # Errors
///
/// A plan that cannot be carried out, a server that cannot be reached, a transport that broke down.
pub fn floor(args: &FloorArgs, clock: Clock, stop: Arc<AtomicBool>) -> anyhow::Result<Report> {
    let load = &args.load;
    let kind = if args.only_forged { Kind::Forged } else { Kind::Beats };
    let plan = FleetPlan {
        name: "floor".to_owned(),
        kind,
        transport: load.transport,
        sessions: args.sessions,
        rate: load.rate,
        connections: load.connections,
        threads: load.threads,
        timeout: load.timeout,
        blend: Blend {
            forged_percent: load.forged_percent,
            replayed_percent: load.replayed_percent,
            only_forged: args.only_forged,
        },
        during: Vec::new(),
    };
    let phases = vec![Phase::steady(load.duration)];
    let conditions = Conditions { clock, phases: phases.clone().into(), seed: load.seed, stop };
    let tls = args.tls || load.transport.always_has_tls();
    let route = Route {
        kind: load.transport,
        server: args.addr,
        name: args.addr.to_string().into(),
        path: "/v1/webtransport".into(),
        trust: tls.then(|| Arc::new(Trust::Anyone)),
        connections: usize::from(load.connections),
        give_up: 2 * load.timeout,
    };
    let fleet = Fleet::assemble(plan, &route, &conditions, |own| Echo::new(own, kind))?;
    let pid = args.output.pid.map(Pid).or_else(|| server_of(load.transport, args.addr));
    let gauges = Gauges::new(pid, args.output.compare_pid.map(Pid));
    let drops = || process::is_local(args.addr.ip()).then(|| process::udp_drops(args.addr.port())).flatten();
    let before = drops();
    let conducted = conduct(vec![fleet], &conditions, gauges)?;
    let udp_drops = before.zip(drops()).map(|(before, after)| after.saturating_sub(before));
    let criteria = Criteria { loss: Some(load.accept_loss), ..Criteria::default() };
    let about = format!("A bare server at {}.", args.addr);
    let heading = Heading { name: "floor".to_owned(), about, seed: load.seed, phases, criteria, udp_drops };
    Ok(Report::new(&heading, conducted))
}

/// The process that listens there, if it runs on this machine.
fn server_of(transport: TransportKind, address: SocketAddr) -> Option<Pid> {
    if !process::is_local(address.ip()) {
        None
    } else if transport.is_datagrams() {
        process::udp_listener(address)
    } else {
        process::listener(address)
    }
}
