//! What identity providers tell of people, and what becomes of it.
//!
//! Events come at least once, in any order, for days. So each is decided on what is kept of the person, one row that
//! only changes for who has read it, and takes effect by acts that may be repeated. The order is: what the event says is
//! written, then it takes effect, then it is written that it has been dealt with, and only then it is acknowledged. A crash
//! anywhere in between has it done again, to the same end.
//!
//! Of two events about the same thing, the one with the later time counts. A deletion has no time and nothing after it:
//! who is gone is gone for good, and a digest is all that remains of them.

use std::{
    hash::{BuildHasher, RandomState},
    sync::Arc,
};

use async_trait::async_trait;
use tokio::sync::Mutex as Gate;

use crate::{
    control::{
        acts::{ActError, Acts},
        audit::Deed,
        hooks::deposits::MOST_HELD,
    },
    engine::{AccountId, EntryKind, NewEntry, Refusal, Source},
    identity::{CapabilityCredit, Event, EventKind, ProviderEvents, SignedIn},
    store::{
        Actor, ActorKind, AuditAct, Capability, Identity, ProviderFacts, Removed, Replaced, SeenEvent, StoreError,
        Surface,
    },
    time::UnixMs,
};

/// People whose events are dealt with at the same time.
const TURNS: usize = 64;
/// How often a change is tried anew that others were faster than.
const ATTEMPTS: usize = 8;
/// Capabilities that are kept of a person.
const MOST_CAPABILITIES: usize = 64;
/// Events that are remembered of a person.
const MOST_SEEN: usize = 64;

/// What became of an event. All of it is durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventEffect {
    /// Sessions from before a change of the password are over.
    PasswordChanged,
    /// A profile changed, of which nothing is kept here.
    ProfileChanged,
    /// It is known what somebody has subscribed to.
    SubscriptionChanged,
    /// Somebody is gone.
    Deleted,
    /// It has no effect here.
    Ignored,
    /// It was dealt with before.
    Repeated,
    /// Something later about the same thing was told before.
    Stale,
    /// It is about somebody who is gone.
    Gone,
}

/// Whether somebody who shows a good token may come in.
#[must_use]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Admission {
    /// They may. What their provider has told of them.
    Admitted(ProviderFacts),
    /// The person is gone by their provider's word, for good.
    Gone,
    /// They have changed their password since the token was issued. With a newer one they may.
    Outdated,
}

/// Where people are signed in, beside the sessions of their tanks.
#[async_trait]
pub trait SignIns: Send + Sync + 'static {
    /// Ends all sign-ins of an account, also those that are being made. There are none of an account that is gone.
    ///
    /// # Errors
    ///
    /// [`StoreError`]: some may live.
    async fn end_all(&self, account: &AccountId, by: &Actor) -> Result<(), StoreError>;
}

/// Deals with what providers tell.
pub struct Events {
    acts: Arc<Acts>,
    sign_ins: Option<Arc<dyn SignIns>>,
    turns: Vec<Gate<()>>,
    turn: RandomState,
}

impl Events {
    /// Deals with events by these acts, for people who may be signed in there.
    pub fn new(acts: Arc<Acts>, sign_ins: Option<Arc<dyn SignIns>>) -> Self {
        Self {
            acts,
            sign_ins,
            turns: std::iter::repeat_with(Gate::default).take(TURNS).collect(),
            turn: RandomState::new(),
        }
    }

    /// Deals with all events of a token, one after the other.
    ///
    /// # Errors
    ///
    /// [`ActError::Store`] and [`ActError::Contended`]: it is to be told again.
    pub async fn hear(&self, told: &ProviderEvents) -> Result<Vec<EventEffect>, ActError> {
        let place = usize::try_from(self.turn.hash_one(&told.identity) % TURNS as u64).expect("it is below TURNS");
        let issuer = told.identity.issuer.clone();
        let acts = self.acts.by(Actor::named(ActorKind::Provider, issuer, Surface::Hooks));
        // The same event ten times at once is dealt with once, and nine times found to have been.
        let _turn = acts.in_time(async { Ok::<_, ActError>(self.turns[place].lock().await) }).await?;
        acts.all_in_time(async {
            let mut heard = Vec::with_capacity(told.events.len());
            for event in &told.events {
                heard.push(acts.hear(told, event, self.sign_ins.as_deref()).await?);
            }
            Ok(heard)
        })
        .await
    }
}

impl Acts {
    async fn hear(
        &self,
        told: &ProviderEvents,
        event: &Event,
        sign_ins: Option<&dyn SignIns>,
    ) -> Result<EventEffect, ActError> {
        let identity = &told.identity;
        if event.kind == EventKind::Deleted {
            return self.is_gone(identity).await;
        }
        let facts = self.store.facts(identity).await?;
        if facts.gone_at.is_some() {
            return Ok(EventEffect::Gone);
        }
        if facts.events.iter().any(|seen| seen.digest == event.digest) {
            return Ok(EventEffect::Repeated);
        }
        let account = self.store.account_of(identity).await?;
        let (heard, act, detail) = match &event.kind {
            EventKind::PasswordChanged { at } => {
                let Some(facts) = self.change(identity, |facts| facts.password_changed(*at)).await? else {
                    return Ok(EventEffect::Gone);
                };
                let stale = facts.password_changed_at > Some(*at);
                if let (Some(account), false) = (&account, stale) {
                    self.log_out(account, *at).await?;
                    if let Some(sign_ins) = sign_ins {
                        sign_ins.end_all(account, self.actor()).await?;
                    }
                }
                let heard = if stale { EventEffect::Stale } else { EventEffect::PasswordChanged };
                (heard, AuditAct::PasswordChanged, stale.then_some("stale"))
            }
            EventKind::SubscriptionChanged { capabilities, active, at } => {
                let mut stale = false;
                let changed = self.change(identity, |facts| {
                    let noted = |name: &String| facts.subscribed(name, *active, *at, &told.gives);
                    let noted: Vec<_> = capabilities.iter().map(noted).collect();
                    stale = !noted.is_empty() && noted.iter().all(|noted| *noted == Noted::Older);
                    noted.contains(&Noted::Newer)
                });
                let Some(facts) = changed.await? else { return Ok(EventEffect::Gone) };
                if let Some(account) = &account {
                    self.give_what_is_due(account, &facts, &told.gives).await?;
                }
                let heard = if stale { EventEffect::Stale } else { EventEffect::SubscriptionChanged };
                let detail = if stale {
                    "stale"
                } else if *active {
                    "active"
                } else {
                    "inactive"
                };
                (heard, AuditAct::SubscriptionChanged, Some(detail))
            }
            EventKind::ProfileChanged => (EventEffect::ProfileChanged, AuditAct::ProfileChanged, None),
            EventKind::Deleted | EventKind::Other => (EventEffect::Ignored, AuditAct::EventNoted, None),
        };
        tracing::info!(?heard, ?account, "an identity provider told of a person");
        self.write_down(Deed { account, detail: detail.map(str::to_owned), ..Deed::new(act) }).await?;
        let seen = SeenEvent { digest: event.digest, at: self.clock.wall() };
        self.change(identity, |facts| facts.dealt_with(seen)).await?;
        Ok(heard)
    }

    /// Changes what is kept of a person, as far as they are not gone. Answers what is kept then; `None` of who is gone.
    async fn change(
        &self,
        identity: &Identity,
        mut change: impl FnMut(&mut ProviderFacts) -> bool,
    ) -> Result<Option<ProviderFacts>, ActError> {
        for _ in 0..ATTEMPTS {
            let mut facts = self.store.facts(identity).await?;
            if facts.gone_at.is_some() {
                return Ok(None);
            }
            if !change(&mut facts) || self.store.put_facts(identity, &facts).await? == Replaced::Done {
                return Ok(Some(facts));
            }
        }
        Err(ActError::Contended)
    }

    /// Somebody is gone: their session ends, and everything that is known of them goes. Can be told again.
    async fn is_gone(&self, identity: &Identity) -> Result<EventEffect, ActError> {
        // First of all, so that whoever signs in with an old token meanwhile finds it.
        let now = self.clock.wall();
        let forgotten = |facts: &mut ProviderFacts| {
            *facts = ProviderFacts { revision: facts.revision, gone_at: Some(now), ..ProviderFacts::default() };
            true
        };
        let first = self.change(identity, forgotten).await?.is_some();
        let account = self.delete_gone(identity).await?;
        if first && account.is_none() {
            self.write_down(Deed::new(AuditAct::PersonDeleted)).await?;
        }
        self.let_go_of_all(identity).await?;
        tracing::info!(?account, first, "an identity provider told that a person is gone");
        Ok(if first || account.is_some() { EventEffect::Deleted } else { EventEffect::Repeated })
    }

    /// Lets go of all credit that is held for somebody.
    pub(super) async fn let_go_of_all(&self, identity: &Identity) -> Result<(), ActError> {
        for held in self.store.held_credit(identity, MOST_HELD).await? {
            match self.store.release_credit(identity, held.entry.source, &held.entry.external_id).await? {
                // Gone is gone, whoever did it.
                Removed::Done | Removed::NotThere => {}
            }
        }
        Ok(())
    }

    /// Whether the token that somebody shows still counts, by all that their provider has told until now.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub async fn admit(&self, somebody: &SignedIn) -> Result<Admission, StoreError> {
        let facts = self.store.facts(&somebody.identity).await?;
        if facts.gone_at.is_some() {
            return Ok(Admission::Gone);
        }
        let issued_before = |changed| somebody.issued_before.is_some_and(|end| end <= changed);
        let outdated = facts.password_changed_at.is_some_and(issued_before);
        Ok(if outdated { Admission::Outdated } else { Admission::Admitted(facts) })
    }

    /// Enters what a person's subscriptions give for the period that it is, once. Nothing, unless it is configured.
    ///
    /// # Errors
    ///
    /// Those of [`Acts::credit`].
    pub async fn give_what_is_due(
        &self,
        account: &AccountId,
        facts: &ProviderFacts,
        gives: &[CapabilityCredit],
    ) -> Result<(), ActError> {
        let now = self.clock.wall();
        for gift in gives {
            let Some(name) = facts.due(gift, now) else { continue };
            if self.store.entry(account, Source::Subscription, &name).await?.is_some() {
                continue;
            }
            let new = NewEntry {
                kind: EntryKind::Grant,
                amount: gift.credit,
                source: Source::Subscription,
                external_id: name,
                reason: None,
            };
            match self.credit(account, new).await {
                // Configured otherwise when it was given: once a period it is.
                Ok(_) | Err(ActError::IdReused | ActError::Refused(Refusal::Deleted) | ActError::NotFound(_)) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// What became of a capability that was told of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Noted {
    Newer,
    Same,
    Older,
}

impl ProviderFacts {
    /// The password was changed. Whether that is news.
    fn password_changed(&mut self, at: UnixMs) -> bool {
        let news = self.password_changed_at < Some(at);
        if news {
            self.password_changed_at = Some(at);
        }
        news
    }

    /// A subscription began or ended.
    ///
    /// Of capabilities that give credit none is ever forgotten: the configuration has room for fewer of them than are kept.
    fn subscribed(&mut self, name: &str, active: bool, at: UnixMs, gives: &[CapabilityCredit]) -> Noted {
        let gives = |name: &str| gives.iter().any(|gift| gift.capability == name);
        let known = self.capabilities.get(name).copied();
        match known.map(|known| known.changed_at.cmp(&at)) {
            Some(std::cmp::Ordering::Equal) => return Noted::Same,
            Some(std::cmp::Ordering::Greater) => return Noted::Older,
            None if self.capabilities.len() >= MOST_CAPABILITIES => {
                // What gives nothing and is not had gives way, the longest unchanged first; to one that gives, also what
                // gives nothing and is had.
                let idle = self.capabilities.iter().filter(|(known, _)| !gives(known));
                let idle = idle.filter(|(_, capability)| !capability.active || gives(name));
                let least = idle.min_by_key(|(_, capability)| (capability.active, capability.changed_at));
                let Some(least) = least.map(|(known, _)| known.clone()) else {
                    tracing::warn!(most = MOST_CAPABILITIES, "a person has subscribed to more than is kept");
                    return Noted::Same;
                };
                self.capabilities.remove(&least);
            }
            Some(std::cmp::Ordering::Less) | None => {}
        }
        // Periods go on from the first time, or whoever cancels and comes back would begin another one.
        let first_active_at = known.and_then(|known| known.first_active_at).or(active.then_some(at));
        self.capabilities.insert(name.to_owned(), Capability { active, changed_at: at, first_active_at });
        Noted::Newer
    }

    /// An event has been dealt with. Whether that is news.
    fn dealt_with(&mut self, seen: SeenEvent) -> bool {
        if self.events.iter().any(|known| known.digest == seen.digest) {
            return false;
        }
        self.events.push(seen);
        let excess = self.events.len().saturating_sub(MOST_SEEN);
        self.events.drain(..excess);
        true
    }

    /// The name of the entry that a subscription gives for the period `now` is in. `None` where it gives none.
    fn due(&self, gift: &CapabilityCredit, now: UnixMs) -> Option<String> {
        let capability = self.capabilities.get(&gift.capability).filter(|capability| capability.active)?;
        let period = now.since(capability.first_active_at?).get() / gift.period.get().max(1);
        Some(format!("{}/{}/{period}", gift.capability, gift.period.as_secs()))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use crate::{engine::Credit, time::Millis};

    use super::*;

    const fn at(ms: u64) -> UnixMs {
        UnixMs::from_ms(1_700_000_000_000 + ms)
    }

    proptest! {
        #[test]
        fn whatever_the_order_the_latest_word_on_each_capability_counts(
            events in prop::collection::vec(("[abc]", any::<bool>(), 0..50_u64), 1..40),
            order: Vec<prop::sample::Index>,
        ) {
            let mut facts = ProviderFacts::default();
            for index in &order {
                let (name, active, ms) = index.get(&events);
                facts.subscribed(name, *active, at(*ms), &[]);
            }
            for (name, capability) in &facts.capabilities {
                let told = order.iter().map(|index| index.get(&events)).filter(|event| event.0 == *name);
                prop_assert_eq!(Some(capability.changed_at), told.clone().map(|event| at(event.2)).max());
                // Of several words on one instant, the first counts.
                let first = told.clone().find(|event| at(event.2) == capability.changed_at);
                prop_assert_eq!(Some(capability.active), first.map(|event| event.1));
            }
        }

        #[test]
        fn cancelling_and_coming_back_never_gives_more_than_once_a_period(
            changes in prop::collection::vec((any::<bool>(), 1..2_000_u64), 1..40),
        ) {
            let gift = CapabilityCredit {
                capability: "a".to_owned(), credit: Credit::from_secs(60), period: Millis::new(1_000),
            };
            let (mut facts, mut now, mut names) = (ProviderFacts::default(), 0, std::collections::BTreeSet::new());
            let mut first = None;
            for (active, pause) in changes {
                now += pause;
                facts.subscribed("a", active, at(now), std::slice::from_ref(&gift));
                if active { first.get_or_insert(now); }
                names.extend(facts.due(&gift, at(now)));
                prop_assert!(active || facts.due(&gift, at(now)).is_none());
            }
            let periods = first.map_or(0, |first| (now - first) / 1_000 + 1);
            prop_assert!(names.len() as u64 <= periods);
        }
    }

    #[test]
    fn what_is_kept_of_a_person_is_bounded() {
        let mut facts = ProviderFacts::default();
        for n in 0..200_u8 {
            facts.subscribed(&n.to_string(), true, at(1), &[]);
            facts.dealt_with(SeenEvent { digest: [n; 16], at: at(n.into()) });
        }
        assert_eq!((facts.capabilities.len(), facts.events.len()), (MOST_CAPABILITIES, MOST_SEEN));
        assert_eq!(facts.events.last().map(|seen| seen.digest), Some([199; 16]));
        assert_eq!(facts.subscribed("0", false, at(2), &[]), Noted::Newer, "what is known can still change");
    }

    #[test]
    fn there_is_always_room_for_a_capability_that_gives_credit() {
        let gift =
            CapabilityCredit { capability: "pro".into(), credit: Credit::from_secs(60), period: Millis::new(1_000) };
        let gives = std::slice::from_ref(&gift);
        let mut facts = ProviderFacts::default();
        for n in 0..MOST_CAPABILITIES {
            facts.subscribed(&format!("other {n}"), true, at(1), gives);
        }
        assert_eq!(facts.subscribed("pro", true, at(2), gives), Noted::Newer);
        assert!(facts.due(&gift, at(2)).is_some());
        for n in 0..MOST_CAPABILITIES {
            facts.subscribed(&format!("more {n}"), true, at(3), gives);
            facts.subscribed(&format!("other {n}"), false, at(4), gives);
        }
        assert_eq!(facts.capabilities.len(), MOST_CAPABILITIES);
        assert!(facts.due(&gift, at(5)).is_some(), "and nothing that gives none takes it");
    }
}
