//! Why a provider cannot be used as it is configured.

use std::{io, path::PathBuf};

/// Why a provider cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ProviderError {
    /// A URL is none, or not HTTPS.
    #[error("{0} of an identity provider must be an HTTPS URL, or an HTTP one on this machine")]
    Url(&'static str),
    /// A client secret cannot be read.
    #[error("the client secret in {path}: {source}")]
    Secret {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// There is no HTTP client.
    #[error("no HTTP client for an identity provider: {0}")]
    Client(#[from] reqwest::Error),
}
