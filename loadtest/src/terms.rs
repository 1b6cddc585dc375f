//! What the service said of itself when the first session was opened.

use crate::{api::HeartbeatTerms, clock::MeterEstimate};

/// What the service said of itself when the first session was opened.
#[derive(Clone, Debug)]
pub struct ServiceTerms {
    /// How sessions are to beat.
    pub heartbeat: HeartbeatTerms,
    /// What meter time is.
    pub meter: MeterEstimate,
    /// Whom the first session's token is for.
    pub audience: Option<String>,
}
