//! What providers told of people: one row for each identity, changed by who has read it.

use scylla::{DeserializeRow, SerializeRow};

use crate::store::{Identity, ProviderFacts, Replaced, Result, facts_json};

use super::{
    ScyllaStore,
    rows::{int, there, unsigned, wall, wall_from},
};

/// A row of `provider_facts`.
#[derive(DeserializeRow)]
pub(super) struct FactsRow {
    pub(super) revision: Option<i64>,
    pub(super) gone_at: Option<i64>,
    pub(super) password_changed_at: Option<i64>,
    pub(super) capabilities: Option<String>,
    pub(super) events: Option<String>,
}

/// What `add_facts` writes.
#[derive(SerializeRow)]
struct AddFacts<'a> {
    identity: [u8; 32],
    revision: i64,
    gone_at: Option<i64>,
    password_changed_at: Option<i64>,
    capabilities: &'a str,
    events: &'a str,
}

/// What `change_facts` writes.
#[derive(SerializeRow)]
struct ChangeFacts<'a> {
    identity: [u8; 32],
    was: i64,
    revision: i64,
    gone_at: Option<i64>,
    password_changed_at: Option<i64>,
    capabilities: &'a str,
    events: &'a str,
}

impl ScyllaStore {
    pub(super) async fn read_facts(&self, identity: &Identity) -> Result<ProviderFacts> {
        let row: Option<FactsRow> = self.cluster.row(&self.cluster.statements.facts, (identity.digest(),)).await?;
        row.map_or_else(|| Ok(ProviderFacts::default()), FactsRow::facts)
    }

    pub(super) async fn replace_facts(&self, identity: &Identity, facts: &ProviderFacts) -> Result<Replaced> {
        let statements = &self.cluster.statements;
        let (capabilities, events) = (&*facts_json::capabilities(facts), &*facts_json::events(facts));
        let (digest, was) = (identity.digest(), int(facts.revision)?);
        let revision = was.saturating_add(1);
        let gone_at = facts.gone_at.map(wall).transpose()?;
        let password_changed_at = facts.password_changed_at.map(wall).transpose()?;
        let _turn = self.cluster.turn(&digest).await;
        // Others may have had their turn meanwhile: asking is cheaper than deciding.
        if self.read_facts(identity).await?.revision != facts.revision {
            return Ok(Replaced::Outdated);
        }
        let answer = if was == 0 {
            let row = AddFacts { identity: digest, revision, gone_at, password_changed_at, capabilities, events };
            self.cluster.decide(&statements.add_facts, row).await
        } else {
            let row =
                ChangeFacts { identity: digest, was, revision, gone_at, password_changed_at, capabilities, events };
            self.cluster.decide(&statements.change_facts, row).await
        };
        match answer {
            Err(unanswered) if unanswered.maybe => {
                let row: Option<FactsRow> = self.cluster.row(&statements.facts_serially, (digest,)).await?;
                let now = row.map_or_else(|| Ok(ProviderFacts::default()), FactsRow::facts)?;
                let wanted = ProviderFacts { revision: facts.revision + 1, ..facts.clone() };
                if now == wanted { Ok(Replaced::Done) } else { Err(unanswered.error) }
            }
            answer => Ok(Replaced::when(answer?)),
        }
    }

    /// Forgets what was told of an identity, unless it is that it is gone.
    pub(super) async fn forget_facts(&self, digest: [u8; 32]) -> Result<()> {
        let _turn = self.cluster.turn(&digest).await;
        self.cluster.decide(&self.cluster.statements.forget_facts, (digest,)).await?;
        Ok(())
    }
}

impl FactsRow {
    pub(super) fn facts(self) -> Result<ProviderFacts> {
        let (capabilities, events) = facts_json::parse(&there(self.capabilities)?, &there(self.events)?)?;
        Ok(ProviderFacts {
            revision: unsigned(self.revision)?,
            gone_at: self.gone_at.map(|at| wall_from(Some(at))).transpose()?,
            password_changed_at: self.password_changed_at.map(|at| wall_from(Some(at))).transpose()?,
            capabilities,
            events,
        })
    }
}
