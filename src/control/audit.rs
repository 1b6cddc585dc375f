//! What is written down of acts: the rows of the audit log.
//!
//! A row of an act on an account is made from the act itself, and committed with it. What else is done, to keys and edges,
//! is written down when it is durable and before it is answered: a crash in between leaves a change that nobody was told
//! of, and never a row about something that was not done.

use crate::{
    engine::{Account, AccountId, Act, EntryKind, Source, session_text},
    store::{Actor, ActorKind, AuditAct, AuditKey, AuditRecord, Surface},
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
