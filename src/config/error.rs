//! Why a configuration cannot be used.

use std::{io, path::PathBuf};

/// The most bytes that a configuration file may have.
pub(super) const MAX_FILE_BYTES: usize = 1 << 20;

/// Why a configuration cannot be used. Each message says where the fault is and what would be right.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the configuration file {}: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file is too long to be a configuration.
    #[error("the configuration file is longer than {MAX_FILE_BYTES} bytes")]
    TooLong,
    /// The file is not TOML, has an unknown key or a value of another type.
    #[error("{}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Where and what.
        source: Box<toml::de::Error>,
    },
    /// A variable of our namespace that no key has.
    #[error("unknown variable {name}; did you mean {nearest}?")]
    UnknownVariable {
        /// The variable.
        name: String,
        /// The known variable with the most similar name.
        nearest: String,
    },
    /// A variable of our namespace whose value is not text.
    #[error("the variable {name} is not UTF-8")]
    NotText {
        /// The variable.
        name: String,
    },
    /// A variable or a flag has a value of another type.
    #[error("{origin}: {why}")]
    Value {
        /// The variable or the flag.
        origin: String,
        /// What is wrong with its value.
        why: String,
    },
    /// A value cannot work, alone or beside another.
    #[error("invalid {key} = {value}: {why}")]
    Invalid {
        /// The key, as `section.key`.
        key: &'static str,
        /// Its value.
        value: String,
        /// What is wrong, and what to do.
        why: String,
    },
}
