//! Which store it is, opened as the configuration says.

use std::{
    path::Path,
    sync::{Arc, atomic::AtomicU64},
    time::Duration,
};

use tokio_util::sync::CancellationToken;
use zeroize::Zeroizing;

use crate::{
    config::{Config, ScyllaUrl, StoreUrl},
    entropy::OsEntropy,
    store::{
        ClusterStore, Credentials, Observed, ScyllaOptions, ScyllaStore, ScyllaTarget, SqliteOptions, SqliteStore,
        StoreError,
        moving::{self, Copied, MoveError, Watch},
        roles::*,
    },
    telemetry::Telemetry,
    time::{MonotonicTicks, Ticks},
};

use super::{
    error::ServiceError,
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
    /// A store was not copied.
    #[error(transparent)]
    Move(#[from] MoveError),
}

/// The store of the service.
pub(super) struct Opened {
    pub(super) store: Arc<dyn Store>,
    /// The same, if other nodes may share it.
    pub(super) shared: Option<Arc<dyn ClusterStore>>,
    /// How many statements it has written checkpoints by, if it is a cluster.
    pub(super) statements: Option<Arc<AtomicU64>>,
    /// Cancelled when the thread that writes ends, if it has one.
    pub(super) writer_ended: Option<CancellationToken>,
}

/// Opens the store of the service.
pub(super) async fn open(config: &Config, telemetry: &Telemetry) -> Result<Opened, ServiceError> {
    let counting = Counting(telemetry.clone());
    match &config.store {
        StoreUrl::Sqlite(path) => {
            let path = path.clone();
            let opening = tokio::task::spawn_blocking(move || SqliteStore::open(&path, &SqliteOptions::default()));
            let store = opening.await.expect("opening the store does not panic")?;
            let writer_ended = Some(store.writer_ended());
            Ok(Opened { store: Arc::new(Observed::new(store, counting)), shared: None, statements: None, writer_ended })
        }
        StoreUrl::Scylla(url) => {
            let store = Box::pin(ScyllaStore::open(&options(config, url)?, Arc::new(OsEntropy))).await?;
            let statements = Some(store.checkpoint_batch_counter());
            let shared: Arc<dyn ClusterStore> = Arc::new(Observed::new(store, counting));
            let store = Arc::<dyn ClusterStore>::clone(&shared);
            Ok(Opened { store, shared: Some(shared), statements, writer_ended: None })
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
        // The service may be running, and others may be migrating.
        StoreUrl::Scylla(url) => {
            Box::pin(ScyllaStore::open(&options(config, url)?, Arc::new(OsEntropy))).await?.close().await?;
        }
    }
    Ok(())
}

/// What a data file is called, to people.
pub fn file_name(path: &Path) -> String {
    let path = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    StoreUrl::Sqlite(path).to_string()
}

/// Copies everything from a data file into a keyspace, and compares both.
///
/// # Errors
///
/// [`StoreCommandError`].
pub async fn copy(
    config: &Config,
    from: &Path,
    to: &ScyllaUrl,
    watch: &dyn Watch,
) -> Result<Copied, StoreCommandError> {
    // Opening it would make it.
    if !from.is_file() {
        return Err(StoreError::Refused(format!("there is no data file at {}", from.display())).into());
    }
    let name = file_name(from);
    let path = from.to_owned();
    let opening = tokio::task::spawn_blocking(move || SqliteStore::open(&path, &SqliteOptions::default()));
    let source = opening.await.expect("opening the store does not panic")?;
    let clocks = MonotonicTicks::start();
    let target = Box::pin(ScyllaTarget::open(&options(config, to)?, Arc::new(OsEntropy), clocks.wall())).await?;
    let copied = moving::copy(&source, &target, &name, &|| clocks.wall(), watch).await;
    source.close().await?;
    Ok(copied?)
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
    let usual = ScyllaOptions::new(url.nodes.iter().map(ToString::to_string).collect(), url.keyspace.clone());
    Ok(ScyllaOptions {
        credentials,
        tls_ca: scylla.tls_ca_file.clone(),
        datacenter: scylla.datacenter.clone(),
        consistency: scylla.consistency,
        replication: (scylla.replication_factor > 0).then_some(scylla.replication_factor),
        request_timeout: Duration::from_millis(scylla.request_timeout_ms),
        connect_timeout: Duration::from_millis(scylla.connect_timeout_ms),
        audit_ttl: Duration::from_millis(config.audit.retention().get()),
        history_ttl: config.history.keep().map_or(usual.history_ttl, |keep| Duration::from_millis(keep.get())),
        ..usual
    })
}
