//! Who watches: what nodes say, held against what is true, all the time; and the books, in the end.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

use gastank::{
    control::acts::Activation,
    engine::{AccountId, EntryKind, Source, TokenHash, Verdict, parse_session},
    store::roles::*,
    time::MeterTime,
    wire::{EndReason, SessionId, WireVerdict},
};
use parking_lot::Mutex;
use tokio::time::sleep;

use crate::{
    lists::{Listed, Served},
    truth::{SessionKey, Truth},
    world::World,
};

/// How often every node is asked about every token.
const PROBE: Duration = Duration::from_millis(150);
/// How long after the end of a token was committed a node in good order may vouch for it, in ms.
pub const BOUND: u64 = 1_600;
/// By how much meters may differ, in ms.
pub(crate) const SKEW: u64 = 900;
/// By how much they may for a moment: a machine that stood still for less than a glance does not notice before it sees the lease
/// of one that did not, and may be the only one that others see.
const UNNOTICED: u64 = 1_700;
/// By how much a session may be charged for more than the time that passed, in ms: the meters of two nodes, one of which
/// is about to find out that it has stood still.
const UNEQUAL: u64 = 3_500;
/// How long tokens that are dead are asked about.
const REMEMBERED: u64 = 25_000;

/// What was said, and what was promised.
#[derive(Default)]
pub(crate) struct Watch {
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    truth: Truth,
    accounts: Vec<AccountId>,
    /// Every token that was issued.
    tokens: Vec<Listed>,
    /// The status lists that nodes have served.
    served: Served,
    /// By session, the last instant of the meter at which a node vouched for it, and the first at which one called it dead.
    yes: HashMap<SessionKey, u64>,
    no: HashMap<SessionKey, u64>,
    /// Beats that were acknowledged: session, node, what they raise `last_seen` to, when.
    acked: Vec<(SessionId, usize, MeterTime, u64)>,
    /// When a node last took a frame for a session, in virtual time.
    touched: HashMap<SessionKey, u64>,
    stops: BTreeSet<(usize, SessionKey)>,
    promised: Vec<Promise>,
    meters: BTreeMap<usize, MeterTime>,
    /// When nodes in trouble were so, as seen by the probes.
    troubled: BTreeMap<usize, Vec<u64>>,
    late: Vec<u64>,
    noticed: BTreeSet<[u8; 16]>,
    violations: Vec<String>,
    counts: BTreeMap<&'static str, u64>,
}

enum Promise {
    Session(AccountId, SessionId),
    End(SessionId),
    Credit(AccountId, String, i64),
}

impl Watch {
    /// There is one more account.
    pub(crate) fn account(&self, id: AccountId) {
        self.inner.lock().accounts.push(id);
    }

    /// Counts something.
    pub(crate) fn count(&self, what: &'static str) {
        *self.inner.lock().counts.entry(what).or_default() += 1;
    }

    /// How often what happened.
    pub(crate) fn counts(&self) -> BTreeMap<&'static str, u64> {
        self.inner.lock().counts.clone()
    }

    /// How late nodes in good order noticed deaths.
    pub(crate) fn late(&self) -> Vec<u64> {
        self.inner.lock().late.clone()
    }

    /// What should not have happened.
    pub(crate) fn violations(&self) -> Vec<String> {
        self.inner.lock().violations.clone()
    }

    /// Something happened that should not have.
    pub(crate) fn violation(&self, world: &World, what: String) {
        let at = world.at();
        world.note(&format!("VIOLATION: {what}"));
        let mut inner = self.inner.lock();
        if inner.violations.len() < 50 {
            inner.violations.push(format!("{at}: {what}"));
        }
    }

    /// A session's number.
    pub(crate) fn number(&self, session: &SessionId) -> usize {
        self.inner.lock().truth.number(session)
    }

    /// An activation was answered.
    pub(crate) fn activated(&self, world: &World, account: &AccountId, activation: &Activation) {
        self.catch_up(world);
        let mut inner = self.inner.lock();
        *inner.counts.entry("activations").or_default() += 1;
        inner.tokens.push(Listed::of(activation.session, &activation.token.text));
        inner.promised.push(Promise::Session(*account, activation.session));
    }

    /// A renewal was answered.
    pub(crate) fn renewed(&self, session: &SessionId, token: &str) {
        let mut inner = self.inner.lock();
        *inner.counts.entry("renewals").or_default() += 1;
        inner.tokens.push(Listed::of(*session, token));
    }

    /// A renewal was refused as if its credentials were wrong. They never are, unless the token is older than the one
    /// before the current one.
    pub(crate) fn refused_renewal(&self, world: &World, session: &SessionId, token: TokenHash) {
        self.catch_up(world);
        let current = self.inner.lock().truth.lives.get(session.as_bytes()).map(|life| (life.current, life.end));
        if let Some((current, None)) = current
            && current == token
        {
            self.violation(world, "a renewal with the current token was refused".to_owned());
        }
    }

    /// Every token that was issued.
    pub(crate) fn listed(&self) -> Vec<Listed> {
        self.inner.lock().tokens.clone()
    }

    /// When a token died, in virtual time. `None` while it is good.
    pub(crate) fn died(&self, world: &World, token: &Listed) -> Option<u64> {
        self.catch_up(world);
        self.inner.lock().truth.died(&token.hash)
    }

    /// Does `work` with the lists that nodes have served.
    pub(crate) fn served<T>(&self, work: impl FnOnce(&mut Served) -> T) -> T {
        work(&mut self.inner.lock().served)
    }

    /// A frame for a session gets to a node.
    pub(crate) fn touched(&self, world: &World, session: &SessionId) {
        self.inner.lock().touched.insert(*session.as_bytes(), world.at());
    }

    /// A stop is delivered to a node.
    pub(crate) fn stop_sent(&self, slot: usize, session: &SessionId) {
        self.inner.lock().stops.insert((slot, *session.as_bytes()));
    }

    /// Somebody was told that a session has ended.
    pub(crate) fn promised_end(&self, world: &World, _: AccountId, session: &SessionId) {
        self.catch_up(world);
        self.inner.lock().promised.push(Promise::End(*session));
    }

    /// Somebody was told that credit has been entered.
    pub(crate) fn promised_credit(&self, account: AccountId, name: String, amount: i64) {
        let mut inner = self.inner.lock();
        *inner.counts.entry("credit").or_default() += 1;
        inner.promised.push(Promise::Credit(account, name, amount));
    }

    /// A beat was answered.
    pub(crate) fn acked(
        &self,
        world: &World,
        slot: usize,
        session: &SessionId,
        verdict: WireVerdict,
        seen: MeterTime,
        meter: MeterTime,
    ) {
        self.catch_up(world);
        let at = world.at();
        match verdict {
            WireVerdict::Valid => {
                self.inner.lock().acked.push((*session, slot, seen, at));
                let end = self.inner.lock().truth.end(session);
                if let Some((_, ended)) = end {
                    self.vouched_late(world, slot, ended, &format!("session {} by an ack", self.number(session)));
                }
            }
            WireVerdict::Invalid(reason) => self.called_dead(world, slot, session, reason, meter),
            WireVerdict::Unknown => self.count("acks of unknown"),
        }
    }

    fn catch_up(&self, world: &World) {
        let mut inner = self.inner.lock();
        for applied in inner.truth.catch_up(&world.common.server.tables) {
            let act = &applied.act;
            let number = |session: &SessionId| inner.truth.number(session);
            let closes = act.closes.map(|(session, end)| {
                format!(
                    " ends session {}, {} at {}, last seen {}",
                    number(&session),
                    end.reason.name(),
                    end.at,
                    end.last_seen
                )
            });
            let opens = act
                .opens
                .as_ref()
                .map(|session| format!(" opens session {} at {}", number(&session.id), session.started));
            let entries: Vec<i64> = act.entries.iter().map(|entry| entry.amount.as_ms()).collect();
            let person = inner.accounts.iter().position(|account| *account == act.account).unwrap_or(usize::MAX);
            let renews = if act.renews.is_some() { " renews" } else { "" };
            let what = format!(
                "committed: person {person} version {}{}{}{renews} {entries:?}",
                act.expects + 1,
                closes.unwrap_or_default(),
                opens.unwrap_or_default()
            );
            world.trace.note(applied.at, &what);
        }
    }

    /// A node vouched for something that had died. Whether it may have.
    fn vouched_late(&self, world: &World, slot: usize, died: u64, what: &str) {
        let (now, troubled) = (world.at(), world.troubled_until(slot));
        if now > died + BOUND && now > troubled {
            self.violation(world, format!("node {slot} vouches for {what}, dead for {} ms", now - died));
        }
    }

    fn called_dead(&self, world: &World, slot: usize, session: &SessionId, reason: EndReason, meter: MeterTime) {
        let is_in_order = world.at() > world.troubled_until(slot);
        let mut inner = self.inner.lock();
        let number = inner.truth.number(session);
        if inner.truth.end(session).is_some() {
            // The meter of a machine that was suspended shows an hour long past until the next renewal.
            if !is_in_order {
                return;
            }
            let first = inner.no.entry(*session.as_bytes()).or_insert(u64::MAX);
            *first = (*first).min(meter.as_ms());
            return;
        }
        let is_stopped = inner.stops.contains(&(slot, *session.as_bytes())) && reason == EndReason::Deactivated;
        drop(inner);
        if !is_stopped {
            let what = format!("node {slot} calls session {number} {}, which nobody has ended", reason.name());
            self.violation(world, what);
        }
    }
}

impl World {
    /// Asks every node about every token, all the time.
    pub(crate) async fn watch_over(self: Arc<Self>) {
        loop {
            sleep(PROBE).await;
            self.watch.catch_up(&self);
            self.probe();
        }
    }

    fn probe(&self) {
        let now = self.at();
        let tokens: Vec<_> = {
            let inner = self.watch.inner.lock();
            let recent = |token: &TokenHash| inner.truth.died(token).is_none_or(|died| now < died + REMEMBERED);
            let known = inner.tokens.iter().map(|token| (token.session, token.hash));
            known.filter(|(_, token)| recent(token)).collect()
        };
        let mut calm_meters = Vec::new();
        for slot in 0..self.slots.len() {
            if self.troubled_until(slot) > now {
                self.watch.inner.lock().troubled.entry(slot).or_default().push(now);
            }
            let Some(node) = self.slots[slot].answers() else {
                self.watch.inner.lock().meters.remove(&slot);
                continue;
            };
            let meter = node.now();
            if self.troubled_until(slot) < now {
                calm_meters.push(meter);
            }
            let before = self.watch.inner.lock().meters.insert(slot, meter);
            let restarted = node.node.member.warmed_at() > before.unwrap_or_default();
            if before.is_some_and(|before| before > meter) && !restarted && self.troubled_until(slot) < now {
                self.watch.violation(self, format!("the meter of node {slot} goes back, from {before:?} to {meter}"));
            }
            let mut good: BTreeMap<AccountId, usize> = BTreeMap::new();
            for (session, token) in &tokens {
                match node.engine.verdict(session, token, meter) {
                    Verdict::Valid { .. } => self.is_vouched_for(slot, session, token, meter, &mut good),
                    Verdict::Invalid { reason } => {
                        let died = self.watch.inner.lock().truth.died(token);
                        let ended = self.watch.inner.lock().truth.end(session).is_some();
                        if died.is_none() || ended {
                            self.watch.called_dead(self, slot, session, reason, meter);
                        }
                    }
                    Verdict::Unknown => self.watch.count("probes of unknown"),
                }
            }
            if good.values().any(|count| *count > 1) {
                self.watch.violation(self, format!("node {slot} vouches for two tokens of one account"));
            }
        }
        let spread =
            calm_meters.iter().max().zip(calm_meters.iter().min()).map_or(0, |(max, min)| max.since(*min).get());
        if spread > UNNOTICED {
            self.watch.violation(self, format!("meters differ by {spread} ms"));
        }
    }

    fn is_vouched_for(
        &self,
        slot: usize,
        session: &SessionId,
        token: &TokenHash,
        meter: MeterTime,
        good: &mut BTreeMap<AccountId, usize>,
    ) {
        let (died, account, number) = {
            let mut inner = self.watch.inner.lock();
            let last = inner.yes.entry(*session.as_bytes()).or_default();
            *last = (*last).max(meter.as_ms());
            let account = inner.truth.lives.get(session.as_bytes()).map(|life| life.account);
            (inner.truth.died(token), account, inner.truth.number(session))
        };
        if let Some(account) = account {
            *good.entry(account).or_default() += 1;
        }
        if let Some(died) = died {
            self.watch.vouched_late(self, slot, died, &format!("a token of session {number}"));
            if self.at() > self.troubled_until(slot) {
                let late = self.at() - died;
                let mut inner = self.watch.inner.lock();
                if inner.noticed.insert(*token.as_bytes()) {
                    inner.late.push(late);
                } else if let Some(last) = inner.late.last_mut() {
                    *last = (*last).max(late);
                }
            }
        }
    }

    /// Goes through the books, when all has been quiet for a while.
    pub(crate) async fn audit(&self) {
        self.watch.catch_up(self);
        self.audit_accounts().await;
        self.audit_promises().await;
        self.audit_sessions();
        self.audit_time();
        for slot in &self.slots {
            let Some(node) = slot.answers() else {
                self.watch.violation(self, format!("node {} is not back", slot.number));
                continue;
            };
            if node.engine.live() > 0 {
                let what = format!("node {} still holds {} sessions", slot.number, node.engine.live());
                self.watch.violation(self, what);
            }
        }
    }

    async fn audit_accounts(&self) {
        let serial = &self.common.server.tables.serial;
        let accounts = self.watch.inner.lock().accounts.clone();
        for (person, id) in accounts.iter().enumerate() {
            let account = serial.account(id).await.expect("a table").expect("it was made").account;
            let ledger = serial.entries(id, 0, usize::MAX).await.expect("a table");
            let sum: i64 = ledger.iter().map(|entry| entry.amount.as_ms()).sum();
            let owed: i64 = ledger.iter().map(|entry| entry.owed.as_ms()).sum();
            if (sum, owed) != (account.balance.as_ms(), account.debt.as_ms()) {
                self.watch.violation(self, format!("the ledger of person {person} does not add up"));
            }
            if account.balance.as_ms() < 0 {
                self.watch.violation(self, format!("the tank of person {person} is overdrawn: {sum}"));
            }
            if account.open().is_some() {
                self.watch.violation(self, format!("a session of person {person} was never settled"));
            }
            let usage = ledger.iter().filter(|entry| entry.kind == EntryKind::Usage);
            for entry in usage {
                let session = parse_session(&entry.external_id).expect("usage is named by its session");
                let inner = self.watch.inner.lock();
                let life = inner.truth.lives.get(session.as_bytes()).expect("it was opened");
                let cost = life.end.map(|(end, _)| life.cost(&end).get());
                let number = inner.truth.number(&session);
                drop(inner);
                if cost.map(|cost| -i64::try_from(cost).expect("a short session")) != Some(entry.amount.as_ms()) {
                    self.watch
                        .violation(self, format!("session {number} cost {}, but ran {cost:?}", entry.amount.as_ms()));
                }
            }
        }
    }

    async fn audit_promises(&self) {
        let serial = &self.common.server.tables.serial;
        let promised = std::mem::take(&mut self.watch.inner.lock().promised);
        for promise in promised {
            match promise {
                Promise::Session(account, session) => {
                    let record = serial.session(&session).await.expect("a table");
                    if record.map(|record| record.account) != Some(account) {
                        self.watch.violation(self, "an activation that was acknowledged is lost".to_owned());
                    }
                }
                Promise::End(session) => {
                    let end = serial.session(&session).await.expect("a table").and_then(|record| record.end);
                    if end.is_none() {
                        self.watch.violation(self, "an end that was acknowledged is lost".to_owned());
                    }
                }
                Promise::Credit(account, name, amount) => {
                    let entry = serial.entry(&account, Source::Admin, &name).await.expect("a table");
                    if entry.map(|entry| entry.amount.as_ms()) != Some(amount) {
                        self.watch.violation(self, format!("credit of {amount} that was acknowledged is lost"));
                    }
                }
            }
        }
    }

    /// Nobody is charged for more time than passed: while the session was open, nor from when it was opened until the time-out
    /// after the last frame that got to any node. This knows nothing of meters, eras, nodes and what they decided.
    fn audit_time(&self) {
        let timeout = self.common.policy.timeout.get();
        let wrong: Vec<String> = {
            let inner = self.watch.inner.lock();
            let charged = inner.truth.lives.iter().filter_map(|(key, life)| Some((key, life, life.end?)));
            let over = charged.filter_map(|(key, life, (end, ended))| {
                let charged = life.cost(&end).get();
                let touched = inner.touched.get(key).copied().unwrap_or(0).max(life.opened_at);
                let passed = (ended - life.opened_at).min(touched - life.opened_at + timeout);
                let number = inner.truth.number(&SessionId::from_bytes(*key));
                let what = || format!("session {number} is charged for {charged} ms, of which {passed} ms passed");
                (charged > passed + UNEQUAL).then(what)
            });
            over.collect()
        };
        wrong.into_iter().for_each(|what| self.watch.violation(self, what));
    }

    /// A second is charged if and only if the service vouched for the token in that second.
    fn audit_sessions(&self) {
        let inner = self.watch.inner.lock();
        let timeout = self.common.policy.timeout;
        let mut wrong = Vec::new();
        for (key, life) in &inner.truth.lives {
            let number = inner.truth.number(&SessionId::from_bytes(*key));
            let Some((end, ended)) = life.end else { continue };
            let silent = end.last_seen.plus(timeout);
            let over = life.expires.map_or(silent, |expires| silent.min(expires.max(life.started)));
            if end.reason == EndReason::TimedOut && end.at != over {
                wrong.push(format!("session {number} timed out at {} but was last seen at {}", end.at, end.last_seen));
            }
            if let Some(no) = inner.no.get(key)
                && no + SKEW < end.at.as_ms()
            {
                wrong.push(format!("session {number} was called dead at {no} and charged until {}", end.at));
            }
            let troubled = |slot: usize, from: u64, until: u64| {
                let troubles = inner.troubled.get(&slot).into_iter().flatten();
                troubles.into_iter().any(|at| (from.saturating_sub(200)..=until).contains(at))
            };
            let calm_until = |until: u64| (0..self.slots.len()).all(|slot| !troubled(slot, life.opened_at, until));
            let all_calm = calm_until(ended + 200);
            // Edges let a token pass until it expires, whatever becomes of its session.
            let yes = inner.yes.get(key).copied().unwrap_or(life.started.as_ms());
            let yes = life.expires.map_or(yes, |expires| yes.min(expires.as_ms().max(life.started.as_ms())));
            if all_calm && yes + SKEW < end.at.as_ms() {
                wrong.push(format!("session {number} was vouched for until {yes} only and charged until {}", end.at));
            }
            // Who gets into trouble before it is to know of the end may come to know of it late.
            if calm_until(ended + BOUND) && yes > end.at.as_ms() + BOUND + SKEW {
                wrong.push(format!("session {number} was vouched for until {yes} and charged until {} only", end.at));
            }
            for (session, slot, seen, at) in &inner.acked {
                let lost = session.as_bytes() == key && *at < ended && *seen > end.last_seen;
                if lost && end.reason == EndReason::TimedOut && !troubled(*slot, *at, ended + 200) {
                    wrong.push(format!(
                        "a beat of session {number} at {seen} was acknowledged by node {slot} and is lost"
                    ));
                }
            }
        }
        drop(inner);
        for what in wrong {
            self.watch.violation(self, what);
        }
    }
}
