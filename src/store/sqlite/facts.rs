//! What providers told of people, in the data file. One row for each identity, so that it is read as it was written.

use std::collections::BTreeMap;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use rusqlite::{Connection, Row, params};
use serde::{Deserialize, Serialize};

use crate::{
    engine::UnixMs,
    store::{Capability, Identity, ProviderFacts, Result, SeenEvent, StoreError},
};

use super::{
    read::first,
    rows::{int, unsigned, wall, wall_if_any},
};

/// A capability as it is written.
#[derive(Serialize, Deserialize)]
struct CapabilityRow {
    active: bool,
    changed_at: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    first_active_at: Option<u64>,
}

/// An event as it is written.
#[derive(Serialize, Deserialize)]
struct EventRow {
    digest: String,
    at: u64,
}

pub(super) fn read(conn: &Connection, identity: &Identity) -> Result<ProviderFacts> {
    const SQL: &str = "SELECT revision, gone_at, password_changed_at, capabilities, events FROM provider_facts \
                       WHERE identity = ?1";
    Ok(first(conn, SQL, [identity.digest()], facts)?.unwrap_or_default())
}

pub(super) fn put(conn: &Connection, identity: &Identity, facts: &ProviderFacts) -> Result<bool> {
    let sql = if facts.revision == 0 {
        "INSERT OR IGNORE INTO provider_facts (identity, revision, gone_at, password_changed_at, capabilities, events) \
         VALUES (?1, ?2 + 1, ?3, ?4, ?5, ?6)"
    } else {
        "UPDATE provider_facts SET revision = ?2 + 1, gone_at = ?3, password_changed_at = ?4, capabilities = ?5, \
         events = ?6 WHERE identity = ?1 AND revision = ?2"
    };
    let capabilities: BTreeMap<&str, CapabilityRow> =
        facts.capabilities.iter().map(|(name, capability)| (name.as_str(), capability.into())).collect();
    let events: Vec<EventRow> = facts.events.iter().map(Into::into).collect();
    let written = conn.prepare_cached(sql)?.execute(params![
        identity.digest(),
        int(facts.revision)?,
        facts.gone_at.map(wall).transpose()?,
        facts.password_changed_at.map(wall).transpose()?,
        json(&capabilities),
        json(&events),
    ])?;
    Ok(written > 0)
}

/// Forgets what was told of an identity, unless it is that it is gone.
pub(super) fn forget(conn: &Connection, identity: &Identity) -> Result<()> {
    conn.prepare_cached("DELETE FROM provider_facts WHERE identity = ?1 AND gone_at IS NULL")?
        .execute([identity.digest()])?;
    Ok(())
}

fn facts(row: &Row<'_>) -> Result<ProviderFacts> {
    let capabilities: BTreeMap<String, CapabilityRow> = parse(row, 3)?;
    let events: Vec<EventRow> = parse(row, 4)?;
    Ok(ProviderFacts {
        revision: unsigned(row, 0)?,
        gone_at: wall_if_any(row, 1)?,
        password_changed_at: wall_if_any(row, 2)?,
        capabilities: capabilities.into_iter().map(|(name, row)| (name, row.into())).collect(),
        events: events.iter().map(SeenEvent::try_from).collect::<Result<_>>()?,
    })
}

fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("names, numbers and text are always JSON")
}

fn parse<T: serde::de::DeserializeOwned>(row: &Row<'_>, column: usize) -> Result<T> {
    let text: String = row.get(column)?;
    serde_json::from_str(&text).map_err(|error| broken(&error.to_string()))
}

fn broken(what: &str) -> StoreError {
    StoreError::Damaged(format!("what a provider told cannot be read: {what}"))
}

impl From<&Capability> for CapabilityRow {
    fn from(capability: &Capability) -> Self {
        let Capability { active, changed_at, first_active_at } = *capability;
        Self { active, changed_at: changed_at.as_ms(), first_active_at: first_active_at.map(UnixMs::as_ms) }
    }
}

impl From<CapabilityRow> for Capability {
    fn from(row: CapabilityRow) -> Self {
        Self {
            active: row.active,
            changed_at: UnixMs::from_ms(row.changed_at),
            first_active_at: row.first_active_at.map(UnixMs::from_ms),
        }
    }
}

impl From<&SeenEvent> for EventRow {
    fn from(event: &SeenEvent) -> Self {
        Self { digest: URL_SAFE_NO_PAD.encode(event.digest), at: event.at.as_ms() }
    }
}

impl TryFrom<&EventRow> for SeenEvent {
    type Error = StoreError;

    fn try_from(row: &EventRow) -> Result<Self> {
        let digest = URL_SAFE_NO_PAD.decode(&row.digest).ok().and_then(|bytes| bytes.try_into().ok());
        Ok(Self { digest: digest.ok_or_else(|| broken("a digest"))?, at: UnixMs::from_ms(row.at) })
    }
}
