//! The ledger: entries that never change, each with a name that counts once.

use crate::time::UnixMs;

use super::Credit;

/// One immutable row of the ledger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its place in the account's ledger, from 1.
    pub number: u64,
    /// What it stands for.
    pub kind: EntryKind,
    /// How much it adds, or takes away.
    pub amount: Credit,
    /// How much it adds to the account's debt, or pays of it. Of a refund, what the tank did not have.
    pub owed: Credit,
    /// Who names it.
    pub source: Source,
    /// Its name there. `(source, external_id)` is unique within the account.
    pub external_id: String,
    /// A note for people.
    pub reason: Option<String>,
    /// When it was written, on the wall clock.
    pub at: UnixMs,
}

/// What a credit entry stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EntryKind {
    /// Time that was bought.
    Purchase,
    /// Time that was earned.
    Reward,
    /// Time an operator gave.
    Grant,
    /// Time a session burned.
    Usage,
    /// Time taken back.
    Refund,
    /// Time that became void.
    Expiry,
    /// Time that paid the debt of refunds.
    Repayment,
}

impl EntryKind {
    /// Every kind.
    pub const ALL: [Self; 7] =
        [Self::Purchase, Self::Reward, Self::Grant, Self::Usage, Self::Refund, Self::Expiry, Self::Repayment];

    /// The name that the HTTP interface, the metrics and the store use.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Purchase => "purchase",
            Self::Reward => "reward",
            Self::Grant => "grant",
            Self::Usage => "usage",
            Self::Refund => "refund",
            Self::Expiry => "expiry",
            Self::Repayment => "repayment",
        }
    }

    /// The kind with this name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

/// Who names a credit entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Source {
    /// A session's settlement; named by the session's id.
    Session,
    /// The administration; named by the `Idempotency-Key`.
    Admin,
    /// A credit webhook; named by the `webhook-id`.
    Webhook,
    /// A debt that is paid; named by the number of the entry whose credit pays it.
    Debt,
    /// A subscription that gives credit; named by what was subscribed to and the period.
    Subscription,
    /// A reward; named by what it was paid for and when.
    Reward,
    /// A shop; named by the shop and the line of the order.
    Shop,
}

impl Source {
    /// Every source.
    pub const ALL: [Self; 7] =
        [Self::Session, Self::Admin, Self::Webhook, Self::Debt, Self::Subscription, Self::Reward, Self::Shop];

    /// The name that the HTTP interface and the store use.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Session => "session",
            Self::Admin => "admin",
            Self::Webhook => "webhook",
            Self::Debt => "debt",
            Self::Subscription => "subscription",
            Self::Reward => "reward",
            Self::Shop => "shop",
        }
    }

    /// The source with this name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|source| source.name() == name)
    }
}

/// Credit to be entered into an account's ledger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewEntry {
    /// What it stands for.
    pub kind: EntryKind,
    /// How much to add; or to take away, as far as the tank has it.
    pub amount: Credit,
    /// Who names it.
    pub source: Source,
    /// Its name there.
    pub external_id: String,
    /// A note for people.
    pub reason: Option<String>,
}
