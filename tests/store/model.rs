//! The store as a few obvious lines, and random histories that a real one must answer like it.

use std::collections::BTreeMap;

use futures_util::TryStreamExt;
use gastank::{
    engine::{Account, AccountId, Act, Entry, bucket},
    store::{Commit, Created, Identity, METERS_DIFFER, Owned, SessionRecord},
    time::{ClockFact, MeterTime},
    wire::{EndReason, SessionId},
};
use proptest::prelude::*;

use super::*;

/// Something that is asked of both. Accounts and names are few, so that steps meet.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    Create { identity: u8 },
    Activate { account: u8, stale: bool },
    Renew { account: u8 },
    End { account: u8, reason: EndReason },
    Credit { account: u8, name: u8, ms: i64, stale: bool },
    Delete { account: u8, stale: bool },
    Again,
    Checkpoint { rows: Vec<(u8, u64)> },
    Clock { at: u64 },
}

pub(crate) fn history() -> impl Strategy<Value = Vec<Step>> {
    let account = || 0..6u8;
    let stale = || prop::bool::weighted(0.1);
    let reason = prop::sample::select(EndReason::ALL.to_vec());
    let step = prop_oneof![
        3 => (0..6u8).prop_map(|identity| Step::Create { identity }),
        4 => (account(), stale()).prop_map(|(account, stale)| Step::Activate { account, stale }),
        1 => account().prop_map(|account| Step::Renew { account }),
        2 => (account(), reason).prop_map(|(account, reason)| Step::End { account, reason }),
        4 => (account(), 0..20u8, -5_000..5_000i64, stale())
            .prop_map(|(account, name, ms, stale)| Step::Credit { account, name, ms, stale }),
        1 => (account(), stale()).prop_map(|(account, stale)| Step::Delete { account, stale }),
        1 => Just(Step::Again),
        // No node's meter is further ahead of where an end is decided.
        3 => prop::collection::vec((0..40u8, 0..METERS_DIFFER.get()), 0..6).prop_map(|rows| Step::Checkpoint { rows }),
        1 => (0..6_000u64).prop_map(|at| Step::Clock { at }),
    ];
    prop::collection::vec(step, 1..60)
}

/// All that a store holds.
#[derive(Default)]
pub(crate) struct Model {
    accounts: BTreeMap<AccountId, Owned>,
    entries: BTreeMap<AccountId, Vec<Entry>>,
    sessions: BTreeMap<SessionId, SessionRecord>,
    checkpoints: BTreeMap<SessionId, u64>,
    alive: Option<u64>,
}

impl Model {
    fn create(&mut self, id: AccountId, identity: &Identity, at: UnixMs) -> (Owned, Created) {
        if let Some(known) = self.accounts.values().find(|owned| owned.identity.as_ref() == Some(identity)) {
            return (known.clone(), Created::AlreadyThere);
        }
        let owned = Owned { account: Account::new(id), identity: Some(identity.clone()), created_at: at };
        self.accounts.insert(id, owned.clone());
        (owned, Created::New)
    }

    fn commit(&mut self, act: &Act) -> Commit {
        let Some(owned) = self.accounts.get_mut(&act.account) else { return Commit::Conflict };
        if owned.account.version != act.expects || owned.account.deleted {
            return Commit::Conflict;
        }
        let ledger = self.entries.entry(act.account).or_default();
        for entry in &act.entries {
            let same = |known: &&Entry| (known.source, &known.external_id) == (entry.source, &entry.external_id);
            if let Some(known) = ledger.iter().find(same) {
                return Commit::Repeated(known.clone());
            }
        }
        ledger.extend(act.entries.clone());
        owned.account = owned.account.clone().after(act);
        if let Some((session, end)) = act.closes {
            self.checkpoints.remove(&session);
            self.sessions.insert(session, SessionRecord { account: act.account, end: Some(end) });
            self.alive = self.alive.max(Some(end.at.as_ms()));
        }
        if let Some(session) = &act.opens {
            self.checkpoints.insert(session.id, session.started.as_ms());
            self.sessions.insert(session.id, SessionRecord { account: act.account, end: None });
            self.alive = self.alive.max(Some(session.started.as_ms()));
        }
        if act.deletes {
            owned.identity = None;
            ledger.clear();
        }
        Commit::Done(owned.account.clone())
    }

    fn checkpoint(&mut self, session: SessionId, at: u64) {
        if let Some(kept) = self.checkpoints.get_mut(&session)
            && at > *kept
        {
            *kept = at;
            self.alive = self.alive.max(Some(at));
        }
    }

    /// Asserts that a store holds this and nothing else.
    pub(crate) async fn is_held_by(&self, store: &Subject) {
        let listed = store.accounts(None, 1_000).await.expect("works");
        let alive_ones: Vec<_> = self.accounts.values().filter(|owned| !owned.account.deleted).cloned().collect();
        assert_eq!(listed, alive_ones);
        for (id, owned) in &self.accounts {
            assert_eq!(store.account(id).await.expect("works").as_ref(), Some(owned));
            let ledger = self.entries.get(id).map_or(&[][..], Vec::as_slice);
            assert_eq!(store.entries(id, 0, 1_000).await.expect("works"), ledger);
            for entry in ledger {
                let found = store.entry(id, entry.source, &entry.external_id).await.expect("works");
                assert_eq!(found.as_ref(), Some(entry));
            }
            if let Some(identity) = &owned.identity {
                assert_eq!(store.account_of(identity).await.expect("works"), Some(*id));
            }
        }
        for (id, record) in &self.sessions {
            assert_eq!(store.session(id).await.expect("works").as_ref(), Some(record));
        }
        let mut open = BTreeMap::new();
        for found in store.recover().try_concat().await.expect("works") {
            let session = found.account.open().expect("recovered sessions are open").id;
            assert_eq!(self.accounts[&found.account.id].account, found.account);
            assert_eq!(open.insert(session, found.last_seen.as_ms()), None);
        }
        assert_eq!(open, self.checkpoints);
        assert_eq!(alive(store).await, self.alive);
    }
}

/// Asks each step of the store and of the model; they must answer the same and hold the same in the end.
pub(crate) async fn agree(store: &Subject, steps: &[Step]) -> Model {
    let mut model = Model::default();
    let mut ids = 0;
    let mut sessions = 0;
    let mut latest_act = None;
    for (step, at) in steps.iter().zip((100..).step_by(100)) {
        let act = match step {
            Step::Create { identity: who } => {
                let answer = model.create(account_id(ids), &identity(*who), wall(at));
                let asked = store.create_account(account_id(ids), &identity(*who), wall(at)).await;
                assert_eq!(asked.expect("works"), answer);
                ids += 1;
                None
            }
            Step::Checkpoint { rows } => {
                for of in 0..4 {
                    let rows: Vec<_> = rows
                        .iter()
                        .map(|(n, at)| row(known_or_never(*n, sessions), *at))
                        .filter(|row| bucket(&row.session) == of)
                        .collect();
                    store.checkpoint(of, &rows).await.expect("works");
                    for row in rows {
                        model.checkpoint(row.session, row.last_seen.as_ms());
                    }
                }
                None
            }
            Step::Clock { at } => {
                let fact = ClockFact { last_alive: MeterTime::from_ms(*at), wall: wall(*at) };
                store.keep_clock(fact).await.expect("works");
                model.alive = model.alive.max(Some(*at));
                None
            }
            Step::Again => latest_act.clone(),
            Step::Activate { account, stale } => model.account(*account).map(|account| {
                let opened = session(numbered(sessions), at);
                sessions += 1;
                let mut act = match account.open() {
                    Some(_) => closing(account, EndReason::Superseded, at),
                    None => account.nothing(),
                };
                act.opens = Some(opened);
                aged(act, *stale)
            }),
            Step::Renew { account } => model
                .account(*account)
                .filter(|account| account.open().is_some())
                .map(|account| Act { renews: Some(tokens(at, true)), ..account.nothing() }),
            Step::End { account, reason } => model
                .account(*account)
                .filter(|account| account.open().is_some())
                .map(|account| closing(account, *reason, at)),
            Step::Credit { account, name, ms, stale } => {
                model.account(*account).map(|account| aged(granting(account, *ms, &format!("name-{name}")), *stale))
            }
            Step::Delete { account, stale } => model.account(*account).map(|account| {
                let act = match account.open() {
                    Some(_) => closing(account, EndReason::AccountDeleted, at),
                    None => account.nothing(),
                };
                aged(Act { deletes: true, ..act }, *stale)
            }),
        };
        if let Some(act) = act {
            assert_eq!(store.commit(&act, None).await.expect("works"), model.commit(&act), "{step:?}");
            latest_act = Some(act);
        }
    }
    model.is_held_by(store).await;
    model
}

impl Model {
    fn account(&self, n: u8) -> Option<&Account> {
        self.accounts.get(&account_id(n)).map(|owned| &owned.account)
    }
}

/// Session number `n`, if it has been opened; else one that never is. No node has heard of a session that is yet to open.
fn known_or_never(n: u8, opened: u8) -> SessionId {
    numbered(if n < opened { n } else { 200 + n })
}

fn numbered(n: u8) -> SessionId {
    session_id(n, n % 4)
}

fn aged(act: Act, stale: bool) -> Act {
    Act { expects: act.expects + u64::from(stale), ..act }
}
