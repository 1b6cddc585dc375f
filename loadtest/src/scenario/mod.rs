//! Scenarios: what to do, for how long, and what it is judged by. From a TOML file, from the set that comes with the
//! program, or from the command line.

mod file;
mod library;

use std::time::Duration;

use crate::{
    criteria::Criteria,
    fleet::{FleetPlan, PlanError},
    profile::{self, Phase},
    record::Kind,
    session::MAX_SESSIONS,
    siege::AttackPlan,
};

pub use file::ScenarioFileError;
pub use library::{LIBRARY, find};

/// What to do, for how long, and what it is judged by.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// What it is called.
    pub name: String,
    /// What it is for, in a sentence.
    pub about: String,
    /// Its phases.
    pub phases: Vec<Phase>,
    /// Who does what.
    pub fleets: Vec<FleetPlan>,
    /// Who attacks meanwhile.
    pub attacks: Vec<AttackPlan>,
    /// What it is judged by.
    pub accept: Criteria,
    /// What everything is drawn from.
    pub seed: u64,
}

/// What a run may take at most: a mistyped figure is not to become an attack, nor a run without an end.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bounds {
    /// Operations a second, over all fleets, at any time.
    pub rate: f64,
    /// How long all phases take together.
    pub time: Duration,
}

/// Why a scenario cannot be run.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum ScenarioError {
    /// A fleet's plan makes no sense.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// There is nothing to do.
    #[error("a scenario needs a phase and a fleet")]
    Empty,
    /// Two fleets of the same name.
    #[error("two fleets are called {0}")]
    Twice(String),
    /// Faster than is allowed.
    #[error("up to {asked:.0} operations a second, and --max-rate allows {allowed:.0}")]
    TooFast {
        /// Operations a second.
        asked: f64,
        /// How many are allowed.
        allowed: f64,
    },
    /// Longer than is allowed.
    #[error("{asked:.0?} long, and --max-time allows {allowed:.0?}")]
    TooLong {
        /// How long.
        asked: Duration,
        /// How long is allowed.
        allowed: Duration,
    },
    /// More sessions than a run can have.
    #[error("more than {MAX_SESSIONS} sessions")]
    TooMany,
    /// Tokens are asked about that nobody keeps alive.
    #[error("{0}: tokens of {1} sessions, but only {2} sessions beat")]
    NobodyBeats(String, u32, u32),
}

impl Scenario {
    /// Whether it can be run within these bounds.
    ///
    /// # Errors
    ///
    /// Any [`ScenarioError`].
    pub fn check(&self, bounds: &Bounds) -> Result<(), ScenarioError> {
        if self.phases.is_empty() || self.fleets.is_empty() {
            return Err(ScenarioError::Empty);
        }
        for (number, fleet) in self.fleets.iter().enumerate() {
            fleet.check(&self.phases)?;
            if self.fleets[..number].iter().any(|other| other.name == fleet.name) {
                return Err(ScenarioError::Twice(fleet.name.clone()));
            }
        }
        let time = profile::length(&self.phases);
        if time > bounds.time {
            return Err(ScenarioError::TooLong { asked: time, allowed: bounds.time });
        }
        let second = Duration::from_secs(1);
        let asked: f64 = self.fleets.iter().map(|fleet| fleet.pace(&self.phases).most_within(second)).sum();
        if asked > bounds.rate {
            return Err(ScenarioError::TooFast { asked, allowed: bounds.rate });
        }
        if self.sessions() > u64::from(MAX_SESSIONS) {
            return Err(ScenarioError::TooMany);
        }
        let beating = self.beating();
        match self.fleets.iter().find(|fleet| uses_tokens(fleet.kind) && fleet.sessions > beating) {
            Some(fleet) => Err(ScenarioError::NobodyBeats(fleet.name.clone(), fleet.sessions, beating)),
            None => Ok(()),
        }
    }

    /// How many sessions have to be opened for it.
    pub fn sessions(&self) -> u64 {
        self.fleets.iter().filter(|fleet| has_sessions(fleet.kind)).map(|fleet| u64::from(fleet.sessions)).sum()
    }

    /// How many sessions are needed with their tokens: the first so many that beat.
    pub fn tokens(&self) -> u32 {
        self.fleets.iter().filter(|fleet| uses_tokens(fleet.kind)).map(|fleet| fleet.sessions).max().unwrap_or_default()
    }

    fn beating(&self) -> u32 {
        self.fleets.iter().filter(|fleet| fleet.kind == Kind::Beats).map(|fleet| fleet.sessions).sum()
    }
}

/// Whether fleets of this kind have sessions of their own.
pub const fn has_sessions(kind: Kind) -> bool {
    matches!(kind, Kind::Beats | Kind::Activations)
}

/// Whether fleets of this kind use the tokens of sessions that others keep alive.
pub const fn uses_tokens(kind: Kind) -> bool {
    matches!(kind, Kind::Verdicts | Kind::Renewals)
}
