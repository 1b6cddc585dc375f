//! Which store it is, opened as the configuration says.

use std::{process, sync::Arc, time::Duration};

use tokio_util::sync::CancellationToken;
use zeroize::Zeroizing;

use crate::{
    config::{Config, ScyllaUrl, StoreUrl},
    entropy::OsEntropy,
    store::{Credentials, Observed, ScyllaOptions, ScyllaStore, SqliteOptions, SqliteStore, Store, StoreError},
    telemetry::Telemetry,
};

use super::{
    ServiceError,
    home::{self, HomeError},
    instruments::Counting,
};

/// Why a store could not be worked on by a command.
#[derive(Debug, thiserror::Error)]
pub enum StoreCommandError {
    /// A file of the configuration cannot be used.
    #[error(transparent)]
    Home(#[from] HomeError),
    /// The store cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Opens the store of the service. What comes with it is cancelled when another process has taken the store.
pub(super) async fn open(
    config: &Config,
    telemetry: &Telemetry,
) -> Result<(Arc<dyn Store>, CancellationToken), ServiceError> {
    let counting = Counting(telemetry.clone());
    match &config.store {
        StoreUrl::Sqlite(path) => {
            let path = path.clone();
            let opening = tokio::task::spawn_blocking(move || SqliteStore::open(&path, &SqliteOptions::default()));
            let store = opening.await.expect("opening the store does not panic")?;
            Ok((Arc::new(Observed::new(store, counting)), CancellationToken::new()))
        }
        StoreUrl::Scylla(url) => {
            let store = Box::pin(ScyllaStore::open(&options(config, url)?, Arc::new(OsEntropy))).await?;
            let displaced = store.displaced();
            Ok((Arc::new(Observed::new(store, counting)), displaced))
        }
    }
}

/// Brings the store up to date, as a start of the service would, and closes it.
///
/// # Errors
///
/// [`StoreCommandError`].
pub async fn migrate(config: &Config) -> Result<(), StoreCommandError> {
    match &config.store {
        StoreUrl::Sqlite(path) => SqliteStore::open(path, &SqliteOptions::default())?.close().await?,
        // The service may be running: it is told by the tables alone.
        StoreUrl::Scylla(url) => {
            let options = ScyllaOptions { label: None, ..options(config, url)? };
            Box::pin(ScyllaStore::open(&options, Arc::new(OsEntropy))).await?.close().await?;
        }
    }
    Ok(())
}

fn options(config: &Config, url: &ScyllaUrl) -> Result<ScyllaOptions, HomeError> {
    let scylla = &config.scylla;
    let credentials = match (&scylla.username, &scylla.password_file) {
        (Some(username), Some(path)) => {
            let missing = || HomeError::Malformed { path: path.clone(), what: "there is no such file" };
            let password = home::read_secret(path)?.ok_or_else(missing)?;
            let password = Zeroizing::new(password.trim_end_matches(['\r', '\n']).to_owned());
            Some(Credentials { username: username.clone(), password })
        }
        _ => None,
    };
    Ok(ScyllaOptions {
        credentials,
        tls_ca: scylla.tls_ca_file.clone(),
        datacenter: scylla.datacenter.clone(),
        consistency: scylla.consistency,
        replication: (scylla.replication_factor > 0).then_some(scylla.replication_factor),
        request_timeout: Duration::from_millis(scylla.request_timeout_ms),
        connect_timeout: Duration::from_millis(scylla.connect_timeout_ms),
        audit_ttl: Duration::from_millis(config.audit.retention().get()),
        // Enough to find it by.
        label: Some(format!("process {} with http.addr {}", process::id(), config.http.addr)),
        ..ScyllaOptions::new(url.nodes.iter().map(ToString::to_string).collect(), url.keyspace.clone())
    })
}
