//! The JSON that stores keep of what providers told of people.

use std::collections::BTreeMap;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};

use crate::time::UnixMs;

use super::{Capability, ProviderFacts, Result, SeenEvent, StoreError};

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

/// `{"name":{"active":true,"changed_at":ms,"first_active_at":ms}}`
pub(super) fn capabilities(facts: &ProviderFacts) -> String {
    let rows: BTreeMap<&str, CapabilityRow> =
        facts.capabilities.iter().map(|(name, capability)| (name.as_str(), capability.into())).collect();
    json(&rows)
}

/// `[{"digest":"base64url","at":ms}]`
pub(super) fn events(facts: &ProviderFacts) -> String {
    json(&facts.events.iter().map(Into::into).collect::<Vec<EventRow>>())
}

/// Reads both back.
pub(super) fn parse(capabilities: &str, events: &str) -> Result<(BTreeMap<String, Capability>, Vec<SeenEvent>)> {
    fn read<T: serde::de::DeserializeOwned>(text: &str) -> Result<T> {
        serde_json::from_str(text).map_err(|error| broken(&error.to_string()))
    }
    let capabilities: BTreeMap<String, CapabilityRow> = read(capabilities)?;
    let events: Vec<EventRow> = read(events)?;
    Ok((
        capabilities.into_iter().map(|(name, row)| (name, row.into())).collect(),
        events.iter().map(SeenEvent::try_from).collect::<Result<_>>()?,
    ))
}

fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("names, numbers and text are always JSON")
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
