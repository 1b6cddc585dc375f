//! Records of rewards and shops: one row each, changed by who has read it.

use scylla::SerializeRow;

use crate::store::{Removed, Replaced, Result, RewardKey, RewardRecord};

use super::{
    ScyllaStore,
    rows::{at_most, int, there, unsigned},
};

/// A row of `name, revision, content`.
type RecordRow = (String, Option<i64>, Option<String>);

/// What `add_reward_record` writes.
#[derive(SerializeRow)]
struct AddRecord<'a> {
    part: &'a str,
    name: &'a str,
    revision: i64,
    content: &'a str,
}

/// What `change_reward_record` writes.
#[derive(SerializeRow)]
struct ChangeRecord<'a> {
    part: &'a str,
    name: &'a str,
    was: i64,
    revision: i64,
    content: &'a str,
}

fn record((name, revision, content): RecordRow, part: &str) -> Result<(RewardKey, RewardRecord)> {
    Ok((RewardKey::new(part, name), RewardRecord { revision: unsigned(revision)?, content: there(content)? }))
}

impl ScyllaStore {
    pub(super) async fn read_reward_record(&self, key: &RewardKey) -> Result<RewardRecord> {
        let values = (key.part.as_str(), key.name.as_str());
        let row: Option<RecordRow> = self.cluster.row(&self.cluster.statements.reward_record, values).await?;
        row.map_or_else(|| Ok(RewardRecord::default()), |row| Ok(record(row, &key.part)?.1))
    }

    pub(super) async fn replace_reward_record(&self, key: &RewardKey, new: &RewardRecord) -> Result<Replaced> {
        let statements = &self.cluster.statements;
        let RewardKey { part, name } = key;
        let (was, content) = (int(new.revision)?, new.content.as_str());
        let revision = was.saturating_add(1);
        let turn = format!("{part}\n{name}");
        let _turn = self.cluster.turn(turn.as_str()).await;
        // Others may have had their turn meanwhile: asking is cheaper than deciding.
        if self.read_reward_record(key).await?.revision != new.revision {
            return Ok(Replaced::Outdated);
        }
        let answer = if was == 0 {
            self.cluster.decide(&statements.add_reward_record, AddRecord { part, name, revision, content }).await
        } else {
            let row = ChangeRecord { part, name, was, revision, content };
            self.cluster.decide(&statements.change_reward_record, row).await
        };
        match answer {
            Err(unanswered) if unanswered.maybe => {
                let values = (part.as_str(), name.as_str());
                let row: Option<RecordRow> = self.cluster.row(&statements.reward_record_serially, values).await?;
                let now = row.map(|row| record(row, part)).transpose()?.map(|(_, record)| record);
                let wanted = RewardRecord { revision: new.revision + 1, ..new.clone() };
                if now == Some(wanted) { Ok(Replaced::Done) } else { Err(unanswered.error) }
            }
            answer => Ok(Replaced::when(answer?)),
        }
    }

    pub(super) async fn read_reward_records(
        &self,
        part: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<(RewardKey, RewardRecord)>> {
        let statements = &self.cluster.statements;
        let most = at_most(limit);
        let rows: Vec<RecordRow> = match after {
            Some(after) => self.cluster.rows(&statements.reward_records, (part, after, most)).await?,
            None => self.cluster.rows(&statements.first_reward_records, (part, most)).await?,
        };
        rows.into_iter().map(|row| record(row, part)).collect()
    }

    pub(super) async fn drop_reward_record(&self, key: &RewardKey) -> Result<Removed> {
        let turn = format!("{}\n{}", key.part, key.name);
        let _turn = self.cluster.turn(turn.as_str()).await;
        let values = (key.part.as_str(), key.name.as_str());
        Ok(Removed::when(self.cluster.decide(&self.cluster.statements.drop_reward_record, values).await?))
    }
}
