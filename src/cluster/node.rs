//! What a node does all the time as a member: renew its lease, follow changes, hear.

use std::{sync::Arc, time::Duration};

use tokio::{
    task::JoinSet,
    time::{Interval, MissedTickBehavior, interval},
};

use super::{ClusterError, ClusterSettings, Feed, Hearing, Member};

/// A node's part in the cluster.
#[derive(Clone)]
pub struct Node {
    /// Its membership.
    pub member: Arc<Member>,
    /// The changes of others.
    pub feed: Arc<Feed>,
    /// What it hears.
    pub hearing: Arc<Hearing>,
    /// How nodes deal with each other.
    pub settings: ClusterSettings,
}

impl Node {
    /// Does a node's part until it cannot go on as a member; answers why.
    pub async fn run(&self) -> ClusterError {
        // In a task of its own: what is read and heard takes time, and the others go by the lease.
        let (mut renewing, this) = (JoinSet::new(), self.clone());
        renewing.spawn(async move { this.renew().await });
        tokio::select! {
            biased;
            why = renewing.join_next() => why.expect("it was begun").expect("renewing does not panic"),
            why = self.tail() => why,
            why = self.hear() => why,
        }
    }

    async fn renew(&self) -> ClusterError {
        let mut pace = Pace::new(self.settings.renew_every, "the lease could not be renewed");
        loop {
            pace.ticks.tick().await;
            if let Some(why) = pace.heed(self.member.renew().await) {
                return why;
            }
        }
    }

    async fn tail(&self) -> ClusterError {
        let mut pace = Pace::new(self.settings.tail_every, "changes could not be read");
        loop {
            pace.ticks.tick().await;
            if let Some(why) = pace.heed(self.feed.tail().await) {
                return why;
            }
        }
    }

    async fn hear(&self) -> ClusterError {
        let mut pace = Pace::new(self.settings.hear_every, "sessions near their time-out could not be told of");
        loop {
            pace.ticks.tick().await;
            if let Some(why) = pace.heed(self.hearing.round().await.map_err(ClusterError::from)) {
                return why;
            }
        }
    }
}

/// Something that is done again and again, and what the log says when it fails.
struct Pace {
    ticks: Interval,
    failure: &'static str,
    failing: bool,
}

impl Pace {
    fn new(period: Duration, failure: &'static str) -> Self {
        let mut ticks = interval(period);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self { ticks, failure, failing: false }
    }

    /// Tells the log of a failure, once for each time that it begins. Answers why there is no point in going on, if so.
    fn heed(&mut self, done: Result<(), ClusterError>) -> Option<ClusterError> {
        match done {
            Ok(()) => self.failing = false,
            Err(ClusterError::Store(error)) => {
                if !std::mem::replace(&mut self.failing, true) {
                    tracing::warn!(%error, "{}; trying again", self.failure);
                }
            }
            Err(why) => return Some(why),
        }
        None
    }
}
