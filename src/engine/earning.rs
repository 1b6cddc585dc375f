//! The rule of rewards: a reward is credit that is entered only together with its cooldown.

use crate::time::Millis;

use super::{Account, Act, Moment, NewEntry, Offer, Policy, Refusal, Unearned};

/// How long ago a session may have ended that makes its account an active one.
const LATELY: Millis = Millis::from_secs(86_400);

impl Account {
    /// Pays what `offer` offers, entered as `new`, or says why it does not.
    ///
    /// # Errors
    ///
    /// [`Refusal::Deleted`].
    pub fn earn(
        &self,
        moment: &Moment,
        policy: &Policy,
        offer: &Offer,
        new: NewEntry,
    ) -> Result<Result<Act, Unearned>, Refusal> {
        let mut act = self.credit(moment, policy, new)?;
        if !self.was_active(moment, offer.session) {
            return Ok(Err(Unearned::Inactive));
        }
        Ok(self.earnings.pay(offer, moment.wall).map(|earnings| {
            act.earns = Some(earnings);
            act
        }))
    }

    /// Whether its latest session has run for so long, and goes on or has ended lately.
    fn was_active(&self, moment: &Moment, least: Millis) -> bool {
        let Some(session) = &self.session else { return least == Millis::ZERO };
        let (ran, ended) = match session.end {
            Some(end) => (end.last_seen.since(session.started), moment.wall.since(end.at_wall)),
            None => {
                let heard = moment.sighting.map_or(session.started, |sighting| sighting.last_seen);
                (heard.since(session.started), Millis::ZERO)
            }
        };
        least == Millis::ZERO || (ran >= least && ended <= LATELY)
    }
}
