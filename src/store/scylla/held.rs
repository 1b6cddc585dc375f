//! Credit that waits for an account: one partition for each identity, with how many it holds in a static column.

use scylla::SerializeRow;

use crate::{
    engine::Source,
    store::{Held, HeldCredit, Identity, Removed, Result, StoreError},
};

use super::{
    ScyllaStore,
    rows::{HeldRow, cell, entry_name, wall},
};

/// How often a decision starts anew because others changed what is held.
const TRIES: usize = 8;

/// What `count_held` writes.
#[derive(SerializeRow)]
struct CountHeld {
    identity: [u8; 32],
    held: i32,
    was: Option<i32>,
}

impl ScyllaStore {
    pub(super) async fn hold(&self, identity: &Identity, held: &HeldCredit, most: usize) -> Result<Held> {
        let statements = &self.cluster.statements;
        let HeldCredit { entry, at } = held;
        let (of, name) = (identity.digest(), entry_name(entry.source, &entry.external_id));
        let _turn = self.cluster.turn(&of).await;
        for _ in 0..TRIES {
            let known: Option<HeldRow> = self.cluster.row(&statements.held_named, (of, name)).await?;
            if let Some(known) = known {
                return Ok(Held::Repeated(known.held()?));
            }
            let was = self.held_count(of).await?;
            let count = was.unwrap_or(0);
            if usize::try_from(count).is_ok_and(|count| count >= most) {
                return Ok(Held::Full);
            }
            let values = (
                of,
                name,
                entry.kind.name(),
                entry.amount.as_ms(),
                entry.source.name(),
                entry.external_id.as_str(),
                cell(false, entry.reason.as_deref()),
                wall(*at)?,
            );
            let count = CountHeld { identity: of, held: count.saturating_add(1), was };
            let decision =
                vec![(&statements.count_held, Box::new(count) as _), (&statements.hold, Box::new(values) as _)];
            match self.cluster.decide_all(decision).await {
                Ok(true) => return Ok(Held::Kept),
                Ok(false) => {}
                Err(unanswered) if unanswered.maybe => {
                    let row: Option<HeldRow> = self.cluster.row(&statements.held_serially, (of, name)).await?;
                    return match row.map(HeldRow::held).transpose()? {
                        Some(kept) if kept == *held => Ok(Held::Kept),
                        Some(other) => Ok(Held::Repeated(other)),
                        None => Err(unanswered.error),
                    };
                }
                Err(unanswered) => return Err(unanswered.error),
            }
        }
        Err(contended())
    }

    pub(super) async fn read_held(&self, identity: &Identity, limit: usize) -> Result<Vec<HeldCredit>> {
        let rows: Vec<HeldRow> = self.cluster.rows(&self.cluster.statements.held, (identity.digest(),)).await?;
        let mut held: Vec<_> = rows.into_iter().filter(HeldRow::is_some).map(HeldRow::held).collect::<Result<_>>()?;
        let order = |held: &HeldCredit| (held.at, held.entry.source.name(), held.entry.external_id.clone());
        held.sort_by_cached_key(order);
        held.truncate(limit);
        Ok(held)
    }

    pub(super) async fn let_go_of(&self, identity: &Identity, source: Source, external_id: &str) -> Result<Removed> {
        self.release(identity.digest(), entry_name(source, external_id)).await
    }

    /// Lets go of credit by the hashes that stand for it.
    pub(super) async fn release(&self, identity: [u8; 32], name: [u8; 32]) -> Result<Removed> {
        let statements = &self.cluster.statements;
        let _turn = self.cluster.turn(&identity).await;
        for _ in 0..TRIES {
            let known: Option<HeldRow> = self.cluster.row(&statements.held_named, (identity, name)).await?;
            if known.is_none() {
                return Ok(Removed::NotThere);
            }
            let was = self.held_count(identity).await?;
            let count = CountHeld { identity, held: was.unwrap_or(0).saturating_sub(1).max(0), was };
            let decision = vec![
                (&statements.count_held, Box::new(count) as _),
                (&statements.release, Box::new((identity, name)) as _),
            ];
            match self.cluster.decide_all(decision).await {
                Ok(true) => return Ok(Removed::Done),
                Ok(false) => {}
                Err(unanswered) if unanswered.maybe => {
                    let row: Option<HeldRow> = self.cluster.row(&statements.held_serially, (identity, name)).await?;
                    return if row.is_none() { Ok(Removed::Done) } else { Err(unanswered.error) };
                }
                Err(unanswered) => return Err(unanswered.error),
            }
        }
        Err(contended())
    }

    async fn held_count(&self, identity: [u8; 32]) -> Result<Option<i32>> {
        let row: Option<(Vec<u8>, Option<i32>)> =
            self.cluster.row(&self.cluster.statements.held_count, (identity,)).await?;
        Ok(row.and_then(|(_, held)| held))
    }
}

fn contended() -> StoreError {
    StoreError::Unavailable("others kept changing what is held".to_owned())
}
