//! Whether an act can have been decided on an account.

use crate::engine::{Account, Act};

/// An act is decided by pure functions on the very account it is committed on, so one that does not fit is a defect
/// of the program, and the ledger is not to pay for it.
pub(super) fn fits(account: &Account, act: &Act) -> Result<(), &'static str> {
    let open = account.open().map(|session| session.id);
    let closes = act.closes.map(|(session, _)| session);
    let stays_open = open.filter(|_| closes.is_none());
    if closes.is_some() && closes != open {
        return Err("an act that closes a session which is not open");
    }
    if (act.opens.is_some() || act.deletes) && stays_open.is_some() {
        return Err("an act that leaves a session behind");
    }
    if act.renews.is_some() && stays_open.is_none() {
        return Err("an act that renews where nothing is open");
    }
    let numbers = account.entries + 1..=account.entries + act.entries.len() as u64;
    if !act.entries.iter().map(|entry| entry.number).eq(numbers) {
        return Err("an act whose entries do not follow the ledger");
    }
    Ok(())
}
