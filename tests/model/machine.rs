//! Generated histories, run on the real thing and on the reference, compared at every step; and the one invariant,
//! tallied from what the service said and nothing else.

use std::{collections::BTreeSet, sync::Arc};

use gastank::{
    control::{acts::ActError, tokens::claims_of},
    engine::{
        AccountId, ActivationName, BUCKETS, Policy, Refusal, SLICES, Source, StatusIndex, Verdict, bucket, session_text,
    },
    entropy::SeededEntropy,
    store::{SqliteStore, roles::*},
    time::{Clock, MeterTime, Millis, UnixMs},
    wire::{EndReason, FRAME_LEN, HeartbeatKind, WireVerdict},
};
use proptest::{prelude::*, sample::Index, test_runner::FileFailurePersistence};

use crate::{
    memory_store::MemoryStore,
    reference::{Life, Name, Reference, Refused, Word},
    rig::{Client, Rig, WALL, refund, status_of},
};

const TANKS: usize = 3;
/// Everything is small, so that histories of a minute have everything in them.
const TIMEOUT_MS: u64 = 3_000;
/// How far apart verdicts are sampled while time passes, besides every instant where one could change.
const SAMPLE_MS: u64 = 211;
const WEEK_MS: u64 = 7 * 24 * 3_600_000;
const HOUR_MS: u64 = 3_600_000;

#[derive(Clone, Debug)]
struct Step {
    wait: Wait,
    act: Do,
    /// Whether verdicts are asked for, while waiting and after. What nobody asks for is settled by whatever comes next.
    watched: bool,
}

#[derive(Clone, Debug)]
enum Wait {
    Span(u64),
    /// Until a session's time-out, give or take.
    Silence(usize, i64),
    /// Until a tank runs dry, give or take.
    Dry(usize, i64),
}

#[derive(Clone, Debug)]
enum Do {
    Nothing,
    Activate(usize),
    ActivateNamed { tank: usize, name: u8 },
    Credit { tank: usize, name: u8, amount: i64 },
    Refund { tank: usize, name: u8, amount: i64 },
    Beat { client: Index, clock: Says, held: bool },
    Replay(Index),
    Stop(Index),
    Renew { token: Index, clock: Says },
    RenewCurrent(usize),
    RepeatRenewal(Index),
    End(usize, EndReason),
    Revoke(Index),
    Delete(usize),
    Sweep { even: bool, odd: bool },
    KeepClock,
    Crash { outage: u64 },
    Restart { outage: u64 },
    StepWall { back: bool },
}

/// What a client's clock says.
#[derive(Clone, Debug)]
enum Says {
    Now,
    Past(u64),
    Future(u64),
    Zero,
    Max,
}

impl Says {
    fn at(&self, now: u64) -> u64 {
        match self {
            Self::Now => now,
            Self::Past(by) => now.saturating_sub(*by),
            Self::Future(by) => now + by,
            Self::Zero => 0,
            Self::Max => u64::MAX,
        }
    }
}

fn any_step() -> impl Strategy<Value = Step> {
    let act = prop_oneof![
        2 => Just(Do::Nothing),
        6 => (0..TANKS).prop_map(Do::Activate),
        6 => (0..TANKS, 0..12u8).prop_map(|(tank, name)| Do::ActivateNamed { tank, name }),
        6 => (0..TANKS, 0..8u8, 1i64..8_000).prop_map(|(tank, name, amount)| Do::Credit { tank, name, amount }),
        3 => (0..TANKS, 0..8u8, -6_000i64..=0).prop_map(|(tank, name, amount)| Do::Credit { tank, name, amount }),
        3 => (0..TANKS, 0..8u8, 1i64..9_000).prop_map(|(tank, name, amount)| Do::Refund { tank, name, amount }),
        10 => (any::<Index>(), any_says(), prop::bool::weighted(0.2))
            .prop_map(|(client, clock, held)| Do::Beat { client, clock, held }),
        6 => any::<Index>().prop_map(Do::Replay),
        2 => any::<Index>().prop_map(Do::Stop),
        4 => (any::<Index>(), any_says()).prop_map(|(token, clock)| Do::Renew { token, clock }),
        3 => (0..TANKS).prop_map(Do::RenewCurrent),
        3 => any::<Index>().prop_map(Do::RepeatRenewal),
        2 => (0..TANKS, any_reason()).prop_map(|(tank, reason)| Do::End(tank, reason)),
        1 => any::<Index>().prop_map(Do::Revoke),
        1 => (0..TANKS).prop_map(Do::Delete),
        3 => (any::<bool>(), any::<bool>()).prop_map(|(even, odd)| Do::Sweep { even, odd }),
        2 => Just(Do::KeepClock),
        2 => any_outage().prop_map(|outage| Do::Crash { outage }),
        1 => any_outage().prop_map(|outage| Do::Restart { outage }),
        1 => any::<bool>().prop_map(|back| Do::StepWall { back }),
    ];
    let wait = prop_oneof![
        4 => Just(Wait::Span(0)),
        4 => (0..50u64).prop_map(Wait::Span),
        5 => (0..TIMEOUT_MS).prop_map(Wait::Span),
        1 => (0..4 * TIMEOUT_MS).prop_map(Wait::Span),
        2 => (0..TANKS, -1i64..=1).prop_map(|(tank, by)| Wait::Silence(tank, by)),
        2 => (0..TANKS, -1i64..=1).prop_map(|(tank, by)| Wait::Dry(tank, by)),
    ];
    (wait, act, prop::bool::weighted(0.8)).prop_map(|(wait, act, watched)| Step { wait, act, watched })
}

fn any_says() -> impl Strategy<Value = Says> {
    prop_oneof![
        6 => Just(Says::Now),
        3 => (0..2 * TIMEOUT_MS).prop_map(Says::Past),
        1 => (1..1_000_000u64).prop_map(Says::Future),
        1 => Just(Says::Zero),
        1 => Just(Says::Max),
    ]
}

fn any_reason() -> impl Strategy<Value = EndReason> {
    prop::sample::select(vec![EndReason::Deactivated, EndReason::LoggedOut, EndReason::Revoked])
}

fn any_outage() -> impl Strategy<Value = u64> {
    prop::sample::select(vec![0, 1, HOUR_MS, WEEK_MS])
}

/// Both worlds, and what was said.
struct World {
    rig: Rig,
    reference: Reference,
    accounts: Vec<AccountId>,
    /// By session.
    clients: Vec<Client>,
    /// Every token ever issued, and the session it is of.
    tokens: Vec<(usize, String)>,
    /// Every frame ever signed, and what is in it.
    frames: Vec<(usize, HeartbeatKind, u64, [u8; FRAME_LEN])>,
    /// Every renewal ever asked for: with which token, by which frame.
    renewals: Vec<(usize, u64, [u8; FRAME_LEN])>,
    /// By session.
    tallies: Vec<Tally>,
    /// Every place in a status list that a token was given.
    places: BTreeSet<StatusIndex>,
    /// The latest that it was when status lists were last tidied up.
    tidied: UnixMs,
}

/// What the service said of a session's current token.
struct Tally {
    /// The last instant it was vouched for.
    yes: Option<u64>,
    /// The first instant it was called dead, since the service last started.
    no: Option<u64>,
    /// Whether it was asked for at every instant where the answer could change.
    complete: bool,
    /// What may have been vouched for but not charged: what crashes lost.
    lost: u64,
}

impl World {
    async fn new(store: Arc<dyn Store>) -> Self {
        let ms = Millis::new;
        let policy = Policy { interval: ms(1_000), timeout: ms(TIMEOUT_MS), low_credit: ms(500), ..Policy::default() };
        let rig = Rig::start(store, Arc::new(SeededEntropy::new(7)), policy, WALL).await;
        let mut accounts = Vec::new();
        for _ in 0..TANKS {
            accounts.push(rig.account(0).await);
        }
        let reference = Reference::new(TANKS, TIMEOUT_MS);
        let (clients, tokens, frames, renewals, tallies, places, tidied) = Default::default();
        Self { rig, reference, accounts, clients, tokens, frames, renewals, tallies, places, tidied }
    }

    async fn step(&mut self, step: &Step) {
        self.wait(&step.wait, step.watched);
        self.act(&step.act).await;
        if step.watched {
            self.watch();
        } else {
            self.tallies.iter_mut().for_each(|tally| tally.complete = false);
        }
        self.compare_ledgers().await;
    }

    fn wait(&mut self, wait: &Wait, watched: bool) {
        let now = self.reference.now;
        let until = match *wait {
            Wait::Span(span) => now + span,
            Wait::Silence(tank, by) => self.silent_at(tank).map_or(now, |at| at.saturating_add_signed(by)),
            Wait::Dry(tank, by) => self.dry_at(tank).map_or(now, |at| at.saturating_add_signed(by)),
        };
        let mut stops = BTreeSet::from([until]);
        if watched {
            stops.extend((now..until).step_by(usize::try_from(SAMPLE_MS).unwrap()));
            let expires = |tank| self.reference.open(tank).map(|life| self.reference.lives[life].expires);
            let ends = (0..TANKS).flat_map(|tank| [self.silent_at(tank), self.dry_at(tank), expires(tank)]);
            stops.extend(ends.flatten().flat_map(|at| [at.saturating_sub(1), at, at + 1]));
        }
        for stop in stops.range(now..=until.max(now)).copied().collect::<Vec<_>>() {
            self.rig.advance(stop - self.reference.now);
            while self.reference.now < stop {
                self.reference.tick();
            }
            if watched {
                self.watch();
            }
        }
    }

    fn silent_at(&self, tank: usize) -> Option<u64> {
        self.reference.open(tank).map(|life| self.reference.lives[life].last_seen + TIMEOUT_MS)
    }

    fn dry_at(&self, tank: usize) -> Option<u64> {
        let left = u64::try_from(self.reference.left(tank)).unwrap();
        self.reference.open(tank).map(|_| self.reference.now + left)
    }

    async fn act(&mut self, act: &Do) {
        match act {
            Do::Nothing => {}
            Do::Activate(tank) => self.activate(*tank, None).await,
            Do::ActivateNamed { tank, name } => self.activate(*tank, Some(*name)).await,
            Do::Credit { tank, name, amount } => self.credit(*tank, *name, *amount).await,
            Do::Refund { tank, name, amount } => self.refund(*tank, *name, *amount).await,
            Do::Beat { client, clock, held } if !self.clients.is_empty() => {
                let life = client.index(self.clients.len());
                let frame = self.frame(life, HeartbeatKind::Beat, clock.at(self.reference.now));
                if !held {
                    self.deliver(frame).await;
                }
            }
            Do::Replay(frame) if !self.frames.is_empty() => self.deliver(frame.index(self.frames.len())).await,
            Do::Stop(client) if !self.clients.is_empty() => {
                let life = client.index(self.clients.len());
                let frame = self.frame(life, HeartbeatKind::Stop, self.reference.now);
                self.deliver(frame).await;
            }
            Do::Renew { token, clock } if !self.tokens.is_empty() => {
                self.renew(token.index(self.tokens.len()), clock.at(self.reference.now)).await;
            }
            Do::RenewCurrent(tank) => {
                if let Some(life) = self.reference.open(*tank) {
                    self.renew(self.reference.lives[life].current, self.reference.now).await;
                }
            }
            Do::RepeatRenewal(renewal) if !self.renewals.is_empty() => {
                let (token, clock, frame) = self.renewals[renewal.index(self.renewals.len())];
                self.renew_by(token, clock, frame).await;
            }
            Do::End(tank, reason) => {
                self.reference.end(*tank, *reason);
                let left = self.rig.acts.end(&self.accounts[*tank], *reason).await.unwrap();
                assert_eq!(as_left(left), self.reference.left(*tank));
            }
            Do::Revoke(client) if !self.clients.is_empty() => {
                let life = client.index(self.clients.len());
                let tank = self.reference.lives[life].tank;
                if self.reference.tanks[tank].unsettled == Some(life) {
                    self.reference.end(tank, EndReason::Revoked);
                }
                let left = self.rig.acts.revoke(&self.clients[life].session).await.unwrap();
                assert_eq!(as_left(left), self.reference.left(tank));
            }
            Do::Delete(tank) => {
                self.reference.delete(*tank);
                self.rig.acts.delete(&self.accounts[*tank]).await.unwrap();
            }
            Do::Sweep { even, odd } => self.sweep(|slice| if slice % 2 == 0 { *even } else { *odd }).await,
            Do::KeepClock => {
                self.reference.keep_clock();
                self.rig.keep_clock().await;
            }
            Do::Crash { outage } => self.crash(*outage).await,
            Do::Restart { outage } => {
                self.sweep(|_| true).await;
                self.reference.keep_clock();
                self.rig.keep_clock().await;
                self.crash(*outage).await;
            }
            Do::StepWall { back } => {
                let wall = self.rig.clock.wall().as_ms();
                let to = if *back { wall - HOUR_MS } else { wall + HOUR_MS };
                self.rig.clock.step_wall(UnixMs::from_ms(to));
            }
            Do::Beat { .. } | Do::Replay(_) | Do::Stop(_) | Do::Renew { .. } | Do::RepeatRenewal(_) | Do::Revoke(_) => {
            }
        }
    }

    async fn activate(&mut self, tank: usize, name: Option<u8>) {
        let told = self.reference.activate(tank, name, self.tokens.len(), self.rig.clock.wall().as_ms());
        let named = name.map(|name| ActivationName::of(&name.to_string()));
        let got = self.rig.acts.activate_named(&self.accounts[tank], "edge", named).await;
        assert_eq!(
            got.as_ref().map(|activation| activation.superseded).map_err(refused),
            told.map(|told| told.superseded)
        );
        if let (Ok(activation), Ok(told)) = (got, told) {
            assert_eq!(as_left(activation.remaining), self.reference.left(tank));
            let expires_in = self.reference.lives[told.life].expires - self.reference.now;
            assert_eq!(activation.token.expires_in.get(), expires_in);
            self.issued(told.life, &activation.token.text);
            if told.life == self.clients.len() {
                self.clients.push(Client::from(activation));
                self.tallies.push(Tally { yes: None, no: None, complete: true, lost: 0 });
            } else {
                assert_eq!(activation.session, self.clients[told.life].session);
            }
        }
    }

    async fn credit(&mut self, tank: usize, name: u8, amount: i64) {
        let told = self.reference.credit(tank, name, amount);
        let got = self.rig.credit(&self.accounts[tank], amount, &name.to_string()).await;
        assert_eq!(got.as_ref().map(|credited| credited.repeated).map_err(refused), told);
        if let Ok(credited) = got {
            assert_eq!(as_left(credited.remaining), self.reference.left(tank));
        }
    }

    async fn refund(&mut self, tank: usize, name: u8, amount: i64) {
        let told = self.reference.refund(tank, name, amount);
        let got = self.rig.acts.refund(&self.accounts[tank], refund(amount, &name.to_string())).await;
        assert_eq!(got.as_ref().map(|credited| credited.repeated).map_err(refused), told);
        if let Ok(credited) = got {
            assert_eq!(as_left(credited.remaining), self.reference.left(tank));
        }
    }

    async fn renew(&mut self, token: usize, clock: u64) {
        let (life, _) = self.tokens[token];
        let frame = self.clients[life].frame(HeartbeatKind::Renew, MeterTime::from_ms(clock));
        self.renewals.push((token, clock, frame));
        self.renew_by(token, clock, frame).await;
    }

    async fn renew_by(&mut self, token: usize, clock: u64, frame: [u8; FRAME_LEN]) {
        let (life, text) = self.tokens[token].clone();
        let seq = u32::from_le_bytes(*frame[4..].first_chunk().unwrap());
        let wall = self.rig.clock.wall().as_ms();
        let told = self.reference.renew(life, (clock, seq), token, self.tokens.len(), wall);
        let got = self.rig.acts.renew(&text, &frame).await;
        assert_eq!(got.as_ref().map(drop).map_err(refused), told);
        if let Ok(renewal) = got {
            assert_eq!(as_left(renewal.remaining), self.reference.left(self.reference.lives[life].tank));
            self.issued(life, &renewal.token.text);
        }
    }

    fn issued(&mut self, life: usize, token: &str) {
        assert!(self.places.insert(status_of(token)), "no two tokens have the same place in a status list");
        self.tokens.push((life, token.to_owned()));
    }

    fn frame(&mut self, life: usize, kind: HeartbeatKind, clock: u64) -> usize {
        let bytes = self.clients[life].frame(kind, MeterTime::from_ms(clock));
        self.frames.push((life, kind, clock, bytes));
        self.frames.len() - 1
    }

    async fn deliver(&mut self, frame: usize) {
        let (life, kind, clock, bytes) = self.frames[frame];
        let grave = self.reference.lives[life].grave;
        let told = match kind {
            HeartbeatKind::Stop => self.reference.stop(life),
            HeartbeatKind::Beat | HeartbeatKind::Renew => self.reference.beat(life, clock),
        };
        let ack = self.rig.deliver(&self.clients[life], &bytes).await;
        let left = self.reference.left_if_burned(life);
        let left_s = match told {
            Word::Valid(left) => left / 1000,
            Word::Invalid(_) => grave.map_or(left / 1000, i64::from),
            Word::Unknown => 0,
        };
        let verdict = match told {
            Word::Valid(_) => WireVerdict::Valid,
            Word::Invalid(reason) => WireVerdict::Invalid(reason),
            Word::Unknown => WireVerdict::Unknown,
        };
        assert_eq!(ack.verdict, verdict);
        assert_eq!((ack.now, ack.echo), (self.rig.now(), MeterTime::from_ms(clock)));
        assert_eq!(i64::from(ack.remaining_s), left_s);
    }

    async fn sweep(&mut self, wanted: impl Fn(usize) -> bool) {
        for tank in 0..TANKS {
            let Some(life) = self.reference.tanks[tank].unsettled else { continue };
            if wanted(usize::from(bucket(&self.clients[life].session)) * SLICES / BUCKETS) {
                self.reference.sweep(tank);
            }
        }
        self.rig.sweep((0..SLICES).filter(|slice| wanted(*slice))).await;
        self.tidied = self.tidied.max(self.rig.clock.wall());
        self.rig.keeper.tidy().await.unwrap();
    }

    async fn crash(&mut self, outage: u64) {
        let kept = self.rig.store.clock().await.unwrap().unwrap().last_alive.as_ms();
        assert!(
            (self.reference.durable..=self.reference.now).contains(&kept),
            "the meter resumes after all that is durable"
        );
        for (life, tally) in self.reference.lives.iter().zip(&mut self.tallies) {
            if !life.settled {
                tally.lost += (self.reference.now - kept).max(life.last_seen - life.checkpoint);
            }
            tally.no = None;
        }
        self.reference.durable = kept;
        self.reference.crash();
        self.rig.crash(Millis::new(outage)).await;
        assert_eq!(self.rig.now().as_ms(), self.reference.now);
    }

    /// Asks for the verdict of every token ever issued.
    fn watch(&mut self) {
        let mut valid = [0; TANKS];
        // What a list says is settled by who builds it, or by who has asked for a verdict before.
        let by_builder = self.reference.now.is_multiple_of(2);
        if by_builder {
            self.rig.engine.settle(self.rig.now());
        }
        for (life, text) in &self.tokens {
            if !by_builder {
                self.rig.verdict(text);
            }
            match self.rig.is_listed_valid(text) {
                Some(listed) => assert_eq!(listed, self.rig.is_valid(text), "the bit of a token of session {life}"),
                None => assert!(claims_of(text).unwrap().exp <= self.tidied.as_secs(), "a list went too early"),
            }
        }
        for (token, (life, text)) in self.tokens.iter().enumerate() {
            let verdict = self.rig.verdict(text);
            let got = match verdict {
                Verdict::Valid { remaining } => Word::Valid(as_left(remaining)),
                Verdict::Invalid { reason } => Word::Invalid(reason),
                Verdict::Unknown => Word::Unknown,
            };
            assert_eq!(got, self.reference.word(*life, token), "token {token} of session {life}");
            let (it, tally, now) = (&self.reference.lives[*life], &mut self.tallies[*life], self.reference.now);
            match verdict {
                Verdict::Valid { .. } => {
                    valid[it.tank] += 1;
                    // Nobody vouches for a token that has expired.
                    tally.yes = tally.yes.max(Some(now).filter(|now| *now <= it.expires));
                    assert_eq!(tally.no, None, "session {life} came back to life");
                }
                Verdict::Invalid { .. } if it.current == token => tally.no = tally.no.or(Some(now)),
                _ => {}
            }
        }
        assert!(valid.iter().all(|count| *count <= 1), "an account has at most one valid token: {valid:?}");
    }

    async fn compare_ledgers(&mut self) {
        let mut open = [0; TANKS];
        for (life, client) in self.clients.iter().enumerate() {
            let it = &self.reference.lives[life];
            let record = self.rig.store.session(&client.session).await.unwrap().unwrap();
            open[it.tank] += usize::from(record.end.is_none());
            let end = record.end.map(|end| (end.at.as_ms(), end.reason));
            assert_eq!(end, self.reference.end_of(life).filter(|_| it.settled), "the end of session {life}");
        }
        assert!(open.iter().all(|count| *count <= 1), "an account has at most one open session: {open:?}");
        for (tank, id) in self.accounts.iter().enumerate() {
            let owned = self.rig.store.account(id).await.unwrap().unwrap();
            assert_eq!(as_left(self.rig.remaining(id).await), self.reference.left(tank), "what tank {tank} has left");
            if owned.account.deleted {
                continue;
            }
            let entries = self.rig.store.entries(id, 0, usize::MAX).await.unwrap();
            let names = entries
                .iter()
                .map(|entry| (entry.source, entry.external_id.clone(), entry.amount.as_ms(), entry.owed.as_ms()));
            let told = self.reference.tanks[tank].ledger.iter().map(|(name, amount, owed)| match name {
                Name::Credit(name) => (Source::Admin, name.to_string(), *amount, *owed),
                Name::Usage(life) => (Source::Session, session_text(&self.clients[*life].session), *amount, *owed),
                Name::Refund(name) => (Source::Webhook, name.to_string(), *amount, *owed),
                Name::Repayment(row) => (Source::Debt, row.to_string(), *amount, *owed),
            });
            assert_eq!(names.collect::<Vec<_>>(), told.collect::<Vec<_>>(), "the ledger of tank {tank}");
            assert!(entries.iter().zip(1..).all(|(entry, number)| entry.number == number));
            assert_eq!(entries.iter().map(|entry| entry.amount.as_ms()).sum::<i64>(), owned.account.balance.as_ms());
            assert_eq!(entries.iter().map(|entry| entry.owed.as_ms()).sum::<i64>(), owned.account.debt.as_ms());
            assert_eq!(owned.account.debt.as_ms(), self.reference.debt(tank));
        }
    }

    /// A second is charged if and only if the service vouched for the token in that second.
    async fn audit(&self) {
        for (life, (client, tally)) in self.clients.iter().zip(&self.tallies).enumerate() {
            let Life { started, tank, uncharged, .. } = self.reference.lives[life];
            let Some(end) = self.rig.store.session(&client.session).await.unwrap().unwrap().end else { continue };
            let name = session_text(&client.session);
            if let Some(usage) = self.rig.store.entry(&self.accounts[tank], Source::Session, &name).await.unwrap() {
                let ran = i64::try_from(end.at.as_ms() - started).unwrap();
                assert_eq!(-usage.amount.as_ms(), (ran - uncharged).max(0));
            }
            let charged_until = end.at.as_ms();
            let yes = tally.yes.unwrap_or(started);
            assert!(yes <= charged_until + tally.lost, "session {life} was vouched for at {yes}: {end:?}");
            assert!(tally.no.is_none_or(|no| no >= charged_until), "session {life} was called dead before {end:?}");
            if tally.complete {
                assert!(charged_until <= yes, "session {life} was vouched for until {yes} only: {end:?}");
            }
        }
    }
}

fn as_left(left: Millis) -> i64 {
    i64::try_from(left.get()).unwrap()
}

fn refused(error: &ActError) -> Refused {
    match error {
        ActError::Refused(Refusal::TankEmpty) => Refused::Empty,
        ActError::Refused(Refusal::Deleted) => Refused::Deleted,
        ActError::Refused(Refusal::SessionEnded(reason)) => Refused::Ended(*reason),
        ActError::Refused(Refusal::StaleRenewal { .. }) => Refused::Stale,
        ActError::Refused(Refusal::StaleActivation) => Refused::LongOver,
        ActError::BadCredentials => Refused::WrongToken,
        ActError::IdReused => Refused::IdReused,
        other => panic!("{other}"),
    }
}

fn live_through(store: Arc<dyn Store>, history: &[Step]) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(async {
        let mut world = World::new(store).await;
        for tank in 0..TANKS {
            world.credit(tank, u8::MAX, 10_000).await;
        }
        for step in history {
            world.step(step).await;
        }
        // All that is still open ends by itself, so that it can be audited.
        world.wait(&Wait::Span(TIMEOUT_MS + 1), true);
        world.sweep(|_| true).await;
        world.watch();
        world.compare_ledgers().await;
        world.audit().await;
    });
}

fn config(share: u32) -> ProptestConfig {
    let config = ProptestConfig::default();
    ProptestConfig {
        cases: (config.cases * 4 / share).max(1),
        failure_persistence: Some(Box::new(FileFailurePersistence::Direct("tests/model/regressions.txt"))),
        max_shrink_iters: 4_000,
        ..config
    }
}

fn any_history() -> impl Strategy<Value = Vec<Step>> {
    prop::collection::vec(any_step(), 1..100)
}

proptest! {
    #![proptest_config(config(1))]

    #[test]
    fn the_service_does_what_the_reference_does_whatever_happens(history in any_history()) {
        live_through(Arc::new(MemoryStore::default()), &history);
    }
}

proptest! {
    #![proptest_config(config(16))]

    #[test]
    fn on_the_embedded_store_too_the_service_does_what_the_reference_does(history in any_history()) {
        live_through(Arc::new(SqliteStore::open_in_memory().unwrap()), &history);
    }
}
