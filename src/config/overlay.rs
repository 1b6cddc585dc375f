//! The environment and the flags, laid over the file.

use serde::Deserialize;
use toml::{Table, Value};

use super::sections::{File, KeyDoc, SECTIONS, SectionDoc};
use super::{
    args::{CONFIG_VARIABLE, ConfigArgs, Env, NAMESPACE},
    error::ConfigError,
    foreign,
};

/// A file's table that later sources are laid over.
pub(super) struct Overlay {
    table: Table,
    defaults: Table,
}

impl Overlay {
    pub(super) fn new(table: Table) -> Self {
        Self { table, defaults: defaults() }
    }

    /// Applies every variable of our namespace that is not empty.
    pub(super) fn apply_environment(&mut self, env: &Env) -> Result<(), ConfigError> {
        let ours = env.range(NAMESPACE.to_owned()..).take_while(|(name, _)| name.starts_with(NAMESPACE));
        for (name, value) in ours.filter(|(name, value)| *name != CONFIG_VARIABLE && !value.is_empty()) {
            match keys().find(|(section, key)| variable(section, key) == *name) {
                Some((section, key)) => self.set(name, section.name, key.name, value)?,
                None if foreign::is_service_link(name, value) => {}
                None => return Err(ConfigError::UnknownVariable { name: name.clone(), nearest: nearest(name) }),
            }
        }
        Ok(())
    }

    /// Applies every flag that was given.
    pub(super) fn apply_flags(&mut self, args: &ConfigArgs) -> Result<(), ConfigError> {
        let flags = [
            ("--data-dir", "", "data_dir", &args.data_dir),
            ("--store", "", "store", &args.store),
            ("--http", "http", "addr", &args.http),
            ("--https", "https", "addr", &args.https),
            ("--udp", "udp", "addr", &args.udp),
            ("--quic", "quic", "addr", &args.quic),
            ("--admin", "admin", "addr", &args.admin),
        ];
        for (flag, section, key, value) in flags {
            if let Some(value) = value {
                self.set(flag, section, key, value)?;
            }
        }
        Ok(())
    }

    pub(super) fn into_table(self) -> Table {
        self.table
    }

    /// Sets one key from a text, which is read as the type that the key's default has. Of the keys without one, those
    /// whose names end in a unit are numbers, and those that count by address.
    fn set(&mut self, origin: &str, section: &str, key: &str, text: &str) -> Result<(), ConfigError> {
        let wrong = |why: String| ConfigError::Value { origin: origin.to_owned(), why };
        let default = default_of(&self.defaults, section, key);
        let is_number = match default {
            Some(default) => default.is_integer(),
            None => ["_s", "_ms", "_bytes", "_per_address"].iter().any(|unit| key.ends_with(unit)),
        };
        let value = if default.is_some_and(Value::is_bool) {
            Value::Boolean(text.parse().map_err(|_| wrong(format!("`{text}` is neither `true` nor `false`")))?)
        } else if is_number {
            Value::Integer(text.parse().map_err(|_| wrong(format!("`{text}` is not a whole number")))?)
        } else {
            Value::String(text.to_owned())
        };
        // Alone, so that a fault is known to be this one's.
        let mut alone = Table::new();
        insert(&mut alone, section, key, value.clone());
        File::deserialize(alone).map_err(|error| wrong(error.message().to_owned()))?;
        insert(&mut self.table, section, key, value);
        Ok(())
    }
}

/// Every key with its section.
pub(super) fn keys() -> impl Iterator<Item = (&'static SectionDoc, &'static KeyDoc)> {
    SECTIONS.iter().flat_map(|section| section.keys.iter().map(move |key| (section, key)))
}

/// The variable of a key: `[heartbeat] timeout_ms` is `GASTANK_HEARTBEAT_TIMEOUT_MS`.
pub(super) fn variable(section: &SectionDoc, key: &KeyDoc) -> String {
    let joined = if section.name.is_empty() { key.name.to_owned() } else { format!("{}_{}", section.name, key.name) };
    format!("{NAMESPACE}{}", joined.to_ascii_uppercase())
}

/// All defaults that are values, as a file would hold them.
pub(super) fn defaults() -> Table {
    Table::try_from(File::default()).expect("defaults are plain values")
}

/// The default of a key, if it is a value.
pub(super) fn default_of<'a>(defaults: &'a Table, section: &str, key: &str) -> Option<&'a Value> {
    if section.is_empty() { defaults.get(key) } else { defaults.get(section)?.get(key) }
}

fn insert(table: &mut Table, section: &str, key: &str, value: Value) {
    if section.is_empty() {
        table.insert(key.to_owned(), value);
        return;
    }
    let section = table.entry(section).or_insert_with(|| Value::Table(Table::new()));
    section.as_table_mut().expect("the file was read: sections are tables").insert(key.to_owned(), value);
}

/// The known variable that takes the fewest edits to make of `name`.
fn nearest(name: &str) -> String {
    let known = keys().map(|(section, key)| variable(section, key)).chain([CONFIG_VARIABLE.to_owned()]);
    // An over-long name is cut, which changes no choice.
    let name: String = name.chars().take(128).collect();
    known.min_by_key(|known| strsim::levenshtein(known, &name)).expect("there are keys")
}
