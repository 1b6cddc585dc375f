//! What is written down of acts: the rows of the audit log.
//!
//! A row of an act on an account is made from the act itself, and committed with it. What else is done, to keys and edges,
//! is written down when it is durable and before it is answered: a crash in between leaves a change that nobody was told
//! of, and never a row about something that was not done.

use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};

use crate::{
    engine::{Account, AccountId, Act, EntryKind, Source, session_text},
    entropy::{Entropy, draw},
    store::{Actor, ActorKind, AuditAct, AuditKey, AuditRecord, Store, StoreError, Surface},
    time::Clock,
    wire::EndReason,
};

/// What is to be written down beside who and when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deed {
    /// What was done.
    pub act: AuditAct,
    /// On which account.
    pub account: Option<AccountId>,
    /// The id of what else it is about.
    pub target: Option<String>,
    /// What came of it, in a word or two of the program's own.
    pub detail: Option<String>,
}

impl Deed {
    /// Something was done.
    pub const fn new(act: AuditAct) -> Self {
        Self { act, account: None, target: None, detail: None }
    }

    /// Something was done to what has this id.
    pub fn to(act: AuditAct, target: impl Into<String>) -> Self {
        Self { target: Some(target.into()), ..Self::new(act) }
    }

    /// It is about this account.
    #[must_use]
    pub fn on(self, account: AccountId) -> Self {
        Self { account: Some(account), ..self }
    }

    /// Its row.
    pub(super) fn record(self, actor: Actor, key: AuditKey) -> AuditRecord {
        let Self { act, account, target, detail } = self;
        AuditRecord { key, actor, act, account, target, detail }
    }
}

/// The audit log, as this process appends to it.
pub struct AuditLog {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    /// Rows so far.
    written: AtomicU32,
}

impl AuditLog {
    /// The log of this store.
    pub fn new(store: Arc<dyn Store>, clock: Arc<dyn Clock>, entropy: Arc<dyn Entropy>) -> Self {
        Self { store, clock, entropy, written: AtomicU32::new(0) }
    }

    /// Writes down what `actor` has done. To be called when it is durable and before it is answered.
    ///
    /// # Errors
    ///
    /// [`StoreError`]: it has been done, and its caller is not to be told so.
    pub async fn write(&self, actor: &Actor, deed: Deed) -> Result<(), StoreError> {
        let record = deed.record(actor.clone(), self.next_key());
        self.store.append_audit(&[record]).await
    }

    /// The place in the log of what is done now.
    pub(super) fn next_key(&self) -> AuditKey {
        let mut id = draw::<8>(&*self.entropy);
        // Of one millisecond, this process's rows are in their order; the random half tells them from other processes'.
        id[..4].copy_from_slice(&self.written.fetch_add(1, Ordering::Relaxed).to_be_bytes());
        AuditKey { at: self.clock.wall(), id }
    }
}

/// The row of an act on `before` that `actor` brought about.
pub(super) fn record(before: &Account, act: &Act, actor: &Actor, key: AuditKey) -> AuditRecord {
    let (actor, deed) = describe(before, act, actor);
    deed.on(act.account).record(actor, key)
}

fn describe(before: &Account, act: &Act, actor: &Actor) -> (Actor, Deed) {
    if act.deletes {
        return (actor.clone(), Deed::new(AuditAct::AccountDeleted));
    }
    if let Some(session) = &act.opens {
        let detail = act.closes.map(|(_, end)| format!("after {}", end.reason.name()));
        let deed = Deed::to(AuditAct::SessionOpened, session_text(&session.id));
        return (actor.clone(), Deed { detail, ..deed });
    }
    let entered = act.entries.iter().find(|entry| !matches!(entry.source, Source::Session | Source::Debt));
    if let Some(entry) = entered {
        let owed = if entry.kind == EntryKind::Refund { entry.owed.negated() } else { entry.owed };
        let detail = Some(format!("{} {} s", entry.kind.name(), seconds(entry.amount.plus(owed).as_ms())));
        return (actor.clone(), Deed { detail, ..Deed::to(AuditAct::CreditEntered, entry.number.to_string()) });
    }
    if let Some((session, end)) = &act.closes {
        let detail = Some(end.reason.name().to_owned());
        let deed = Deed { detail, ..Deed::to(AuditAct::SessionEnded, session_text(session)) };
        return (ender(end.reason, actor), deed);
    }
    let target = before.open().map(|session| session_text(&session.id));
    (actor.clone(), Deed { target, ..Deed::new(AuditAct::SessionRenewed) })
}

/// Who ended a session for this reason. Whoever came upon a session that was over by itself did not end it; and one that
/// its client stopped by a heartbeat is settled by the service.
fn ender(reason: EndReason, actor: &Actor) -> Actor {
    match reason {
        EndReason::TimedOut | EndReason::Exhausted | EndReason::Expired => Actor::system(),
        EndReason::Deactivated if actor.kind == ActorKind::System => {
            Actor { surface: Surface::Heartbeat, ..Actor::session() }
        }
        _ => actor.clone(),
    }
}

/// Milliseconds as seconds, with a fraction only where there is one.
fn seconds(ms: i64) -> String {
    let (sign, ms) = (if ms < 0 { "-" } else { "" }, ms.unsigned_abs());
    match ms % 1000 {
        0 => format!("{sign}{}", ms / 1000),
        rest => format!("{sign}{}.{rest:03}", ms / 1000),
    }
}
