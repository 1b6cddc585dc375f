//! What the surface tells the rest of the program, and asks of it.

use std::time::Duration;

use hyper::Response;

use crate::{
    control::hooks::events::EventEffect,
    web::problem::{Code as ErrorCode, Shed},
};

use super::{budgets::Budget, limits::LimitedBy};

/// Where the service is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// It does not know all sessions yet: a verdict now would be a guess.
    WarmingUp,
    /// It takes traffic.
    Ready,
    /// It finishes what it began and takes nothing new.
    Draining,
}

impl Phase {
    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::WarmingUp => "warming_up",
            Self::Ready => "ready",
            Self::Draining => "draining",
        }
    }
}

/// What an activation came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activated {
    /// A session was opened; none was open before.
    Opened,
    /// A session was opened in place of another.
    Superseding,
    /// It was refused.
    Refused(ErrorCode),
}

/// How a request was answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answered {
    /// With this status.
    Status(u16),
    /// It was refused unread, with 503: there was more to do than could be done.
    Shed,
}

impl Answered {
    /// How a response answers.
    pub fn by<B>(response: &Response<B>) -> Self {
        let is_shed = response.extensions().get::<Shed>().is_some();
        if is_shed { Self::Shed } else { Self::Status(response.status().as_u16()) }
    }
}

/// What an edge was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IntrospectionOutcome {
    /// The token is good.
    Active,
    /// The token is not good.
    Inactive,
    /// Nothing can be said now.
    Unavailable,
}

/// What a credit webhook came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WebhookResult {
    /// Time was bought.
    Credited,
    /// Time was taken back.
    Refunded,
    /// It had come before.
    Repeated,
    /// It waits until the person has an account.
    Held,
    /// It is about something else.
    Ignored,
    /// It is for an account that has been deleted.
    Undeliverable,
    /// It was refused.
    Refused(ErrorCode),
}

/// What an account event came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventResult {
    /// It was dealt with.
    Handled(EventEffect),
    /// It is not the provider's, or cannot be read.
    Refused,
    /// It could not be dealt with now.
    Unavailable,
}

/// The health and the figures of the service.
pub trait Instruments: Send + Sync + 'static {
    /// Where the service is in its life.
    fn phase(&self) -> Phase;

    /// Whether the store can be reached.
    fn store_reachable(&self) -> bool;

    /// How many parts of the open sessions have been read while warming up, and of how many.
    fn warmed(&self) -> (u64, u64);

    /// How many nodes live and share the store, this one counted; `None` where it is not shared.
    fn nodes(&self) -> Option<u64>;

    /// Every figure in the Prometheus text format. `under_way` is how many requests are.
    fn exposition(&self, under_way: &[(Budget, usize)]) -> String;

    /// A request was answered. `route` is the template of its path, or the path of one that no router has seen.
    fn answered(&self, route: &str, answered: Answered, took: Duration);

    /// An activation was decided.
    fn activated(&self, outcome: Activated);

    /// A renewal was decided; `Some` is why it was refused.
    fn renewed(&self, refused: Option<ErrorCode>);

    /// An edge was answered.
    fn told(&self, told: IntrospectionOutcome);

    /// A credit webhook was answered.
    fn hooked(&self, outcome: WebhookResult);

    /// An account event was answered.
    fn heard(&self, outcome: EventResult);

    /// A limit was reached.
    fn limited(&self, by: LimitedBy);

    /// A request was refused because its budget is used up.
    fn shed(&self, budget: Budget);
}
