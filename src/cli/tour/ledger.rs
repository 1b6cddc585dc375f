//! The ledger, as the tour reads it back and adds it up.

use serde::Deserialize;

use crate::cli::{CliError, api::Api, output::printable, span::exact};

/// Entries asked for. The tour makes a handful.
const LIMIT: &str = "100";

/// An account's ledger and what the service says is left.
pub(super) struct Ledger {
    pub(super) entries: Vec<Entry>,
    remaining_s: i64,
}

/// One row.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Entry {
    kind: String,
    amount_ms: i64,
    reason: Option<String>,
}

#[derive(Deserialize)]
struct Entries {
    entries: Vec<Entry>,
}

#[derive(Deserialize)]
struct Account {
    remaining_s: i64,
}

impl Ledger {
    /// Reads the ledger of the account that `client` is.
    pub(super) async fn read(client: &Api) -> Result<Self, CliError> {
        let strange = |error: serde_json::Error| CliError::strange(client.base(), error.to_string());
        let account = client.get(&["v1", "account"]).await?;
        let Account { remaining_s } = serde_json::from_value(account).map_err(strange)?;
        let entries = client.get_with(&["v1", "account", "entries"], &[("limit", LIMIT)]).await?;
        let Entries { entries } = serde_json::from_value(entries).map_err(strange)?;
        Ok(Self { entries, remaining_s })
    }

    /// What the entries sum to, in milliseconds: exactly what the service says is left, in whole seconds.
    pub(super) fn sum(&self) -> Result<i64, CliError> {
        let sum: i64 = self.entries.iter().map(|entry| entry.amount_ms).sum();
        if sum.div_euclid(1000) == self.remaining_s {
            return Ok(sum);
        }
        let (sum, left) = (exact(sum), self.remaining_s);
        Err(CliError::NotAsExpected(format!(
            "the ledger does not add up: its entries sum to {sum}, but {left} s are left"
        )))
    }

    /// What each session used, in milliseconds, in order.
    pub(super) fn used_ms(&self) -> Vec<i64> {
        self.entries.iter().filter(|entry| entry.kind == "usage").map(|entry| -entry.amount_ms).collect()
    }
}

impl Entry {
    /// The row for people.
    pub(super) fn line(&self) -> String {
        let kind = printable(&self.kind);
        let amount = exact(self.amount_ms);
        match &self.reason {
            Some(reason) => format!("{kind:<9} {amount:>12}  {}", printable(reason)),
            None => format!("{kind:<9} {amount:>12}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ledger(amounts: &[(&str, i64)], remaining_s: i64) -> Ledger {
        let entry =
            |(kind, amount_ms): &(&str, i64)| Entry { kind: (*kind).to_owned(), amount_ms: *amount_ms, reason: None };
        Ledger { entries: amounts.iter().map(entry).collect(), remaining_s }
    }

    #[test]
    fn a_ledger_adds_up_to_the_whole_seconds_that_are_left() {
        let entries = [("grant", 60_000), ("usage", -10_132)];
        assert_eq!(ledger(&entries, 49).sum().expect("adds up"), 49_868);
        assert_eq!(ledger(&entries, 49).used_ms(), [10_132]);
        for wrong in [48, 50] {
            let error = ledger(&entries, wrong).sum().expect_err("does not add up");
            assert!(error.to_string().contains("+49.868 s"), "{error}");
        }
    }

    #[test]
    fn rows_are_shown_with_their_amount_and_note() {
        let entry = Entry { kind: "grant".to_owned(), amount_ms: 60_000, reason: Some("the tour".to_owned()) };
        assert_eq!(entry.line(), "grant        +60.000 s  the tour");
    }
}
