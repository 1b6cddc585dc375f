//! Puts the fleets of a scenario together: sessions to those who beat, tokens to those who ask, connections to all.

use std::{sync::Arc, time::Duration};

use anyhow::Context;
use gastank::time::Millis;

use crate::{
    api::{self, EdgeCredentials},
    credentials::Credentials,
    fleet::{Conditions, Fleet, FleetPlan},
    opener::SessionOpener,
    record::Kind,
    scenario::Scenario,
    session::OpenSession,
    target::Target,
    terms::ServiceTerms,
    transport::Route,
    verify::Rules,
    works::{Activations, Beats, Flood, Renewals, StatusLists, Verdicts},
};

/// What it takes to put fleets together.
pub struct Setup<'a> {
    /// The service.
    pub target: &'a Target,
    /// Who makes calls.
    pub opener: &'a SessionOpener,
    /// What the service said of itself.
    pub service_terms: &'a ServiceTerms,
    /// What all fleets share.
    pub conditions: &'a Conditions,
    /// Whether tanks may grow meanwhile.
    pub credit_may_arrive: bool,
}

/// An edge that was registered for the run.
pub struct Edge {
    client_id: String,
    basic: Arc<str>,
}

impl Setup<'_> {
    /// The fleets of a scenario, connected, and the edge that was registered for them, if they ask for verdicts.
    ///
    /// # Errors
    ///
    /// A listener that the service does not have, a connection that cannot be opened, a call that fails.
    pub fn fleets(
        &self,
        scenario: &Scenario,
        mut opened: Vec<OpenSession>,
    ) -> anyhow::Result<(Vec<Fleet>, Option<Edge>)> {
        let beating: u32 =
            scenario.fleets.iter().filter(|plan| plan.kind == Kind::Beats).map(|plan| plan.sessions).sum();
        let credentials = Arc::new(Credentials::new(&opened));
        let activating = opened.split_off((beating as usize).min(opened.len()));
        let first = opened.first().or(activating.first()).context("there is always a session")?.id;
        let asks = scenario.fleets.iter().any(|plan| plan.kind == Kind::Verdicts);
        let edge = if asks { Some(self.register()?) } else { None };
        let (mut beats, mut acts) = (opened.as_slice(), activating.as_slice());
        let mut fleets = Vec::with_capacity(scenario.fleets.len());
        for plan in &scenario.fleets {
            let route = self.route(plan)?;
            let assembled = match plan.kind {
                Kind::Beats => {
                    let terms = &self.service_terms.heartbeat;
                    let rules = Rules {
                        interval: Millis::new(terms.interval_ms),
                        longest: Millis::new(terms.timeout_ms / 3),
                        credit_may_arrive: self.credit_may_arrive,
                    };
                    let (own, rest) = beats.split_at(plan.sessions as usize);
                    beats = rest;
                    self.assemble(plan, &route, |lane| Beats::new(lane, own, rules, self.service_terms.meter))
                }
                Kind::Activations => {
                    let (own, rest) = acts.split_at(plan.sessions as usize);
                    acts = rest;
                    let timeout = Duration::from_millis(self.service_terms.heartbeat.timeout_ms);
                    self.assemble(plan, &route, |lane| Activations::new(lane, own, timeout))
                }
                Kind::Forged | Kind::Replayed => self.assemble(plan, &route, |lane| Flood::new(lane, first.secret())),
                Kind::Verdicts => {
                    let basic = &edge.as_ref().context("an edge was registered")?.basic;
                    self.assemble(plan, &route, |lane| Verdicts::new(lane, Arc::clone(&credentials), Arc::clone(basic)))
                }
                Kind::Renewals => self.assemble(plan, &route, |lane| {
                    Renewals::new(lane, Arc::clone(&credentials), self.service_terms.meter)
                }),
                Kind::StatusLists => {
                    let lists = self.status_lists()?;
                    self.assemble(plan, &route, |lane| StatusLists::new(lane, lists.clone(), Arc::clone(&credentials)))
                }
            };
            match assembled {
                Ok(fleet) => fleets.push(fleet),
                Err(error) => {
                    remove_edge(self.opener, edge);
                    return Err(error);
                }
            }
        }
        Ok((fleets, edge))
    }

    fn assemble<W: crate::work::Work + Send + 'static>(
        &self,
        plan: &FleetPlan,
        route: &Route,
        work: impl FnMut(&[crate::session::SessionIndex]) -> W,
    ) -> anyhow::Result<Fleet> {
        Fleet::assemble(plan.clone(), route, self.conditions, work)
    }

    fn route(&self, plan: &FleetPlan) -> anyhow::Result<Route> {
        let route = self.target.route(plan.transport, &self.service_terms.heartbeat)?;
        Ok(Route { connections: usize::from(plan.connections), give_up: 2 * plan.timeout, ..route })
    }

    fn register(&self) -> anyhow::Result<Edge> {
        let audience = self.service_terms.audience.as_deref().unwrap_or("edge");
        let reply = self.opener.ask_operator(self.opener.api.add_edge(audience)).context("registering an edge")?;
        let credentials: EdgeCredentials = api::parse("POST /admin/edges", &reply.body)?;
        Ok(Edge { basic: credentials.basic(), client_id: credentials.client_id })
    }

    /// The paths of the status lists that there are.
    fn status_lists(&self) -> anyhow::Result<Vec<Arc<str>>> {
        let reply = self.opener.ask(api::get("/oauth/status".into())).context("asking for the status lists")?;
        let lists: api::StatusLists = api::parse("GET /oauth/status", &reply.body)?;
        let path = |address: &String| Some(url::Url::parse(address).ok()?.path().into());
        let paths: Vec<Arc<str>> = lists.status_lists.iter().filter_map(path).collect();
        anyhow::ensure!(!paths.is_empty(), "the service has no status lists");
        Ok(paths)
    }
}

/// Takes the edge of a run away again. One that stays does no harm: nobody knows its secret any more.
pub fn remove_edge(opener: &SessionOpener, edge: Option<Edge>) {
    if let Some(edge) = edge {
        let _ = opener.ask_operator(opener.api.remove_edge(&edge.client_id));
    }
}
