//! How a cluster is used.

use std::{path::PathBuf, time::Duration};

use scylla::statement::{Consistency as Level, SerialConsistency};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

/// The longest that CQL lets a row live by itself, in seconds: twenty years.
pub(super) const MAX_TTL: i32 = 20 * 365 * 86_400;

/// How a cluster is used. The defaults are good where there is one datacenter.
#[derive(Clone, Debug)]
pub struct ScyllaOptions {
    /// `host:port` of servers to begin with; the others are learnt from them.
    pub nodes: Vec<String>,
    /// The keyspace. Made if it is missing.
    pub keyspace: String,
    /// Who to say we are, if the cluster asks.
    pub credentials: Option<Credentials>,
    /// Certificates to trust, in PEM. `None` is without TLS.
    pub tls_ca: Option<PathBuf>,
    /// The datacenter whose servers are asked. Needed where there are several and [`Consistency::Local`] decides.
    pub datacenter: Option<String>,
    /// Who has to agree.
    pub consistency: Consistency,
    /// Servers that a keyspace which is made has each row on. `None` is as many as are named or known, up to three.
    pub replication: Option<u32>,
    /// How long an answer may take. Longer than the cluster's own timeouts, or outcomes are unknown without need.
    pub request_timeout: Duration,
    /// How long a connection may take.
    pub connect_timeout: Duration,
    /// How long rows of the audit log stay.
    pub audit_ttl: Duration,
    /// How long rows of the heartbeat history stay.
    pub history_ttl: Duration,
}

/// A user of the cluster.
#[derive(Clone)]
pub struct Credentials {
    /// Their name.
    pub username: String,
    /// Their password.
    pub password: Zeroizing<String>,
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Credentials(…)")
    }
}

/// Whose majority agrees to what is read and written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Consistency {
    /// That of the datacenter: `LOCAL_QUORUM` and `LOCAL_SERIAL`.
    #[default]
    Local,
    /// That of all datacenters: `QUORUM` and `SERIAL`. Needed where gastank runs in more than one, or is to.
    Global,
}

impl ScyllaOptions {
    /// The defaults for a keyspace.
    pub const fn new(nodes: Vec<String>, keyspace: String) -> Self {
        Self {
            nodes,
            keyspace,
            credentials: None,
            tls_ca: None,
            datacenter: None,
            consistency: Consistency::Local,
            replication: None,
            request_timeout: Duration::from_secs(5),
            connect_timeout: Duration::from_secs(5),
            audit_ttl: Duration::from_secs(365 * 86_400),
            history_ttl: Duration::from_secs(30 * 86_400),
        }
    }
}

impl Consistency {
    /// For reads, plain writes, and how durable a decision is before it is answered.
    pub(super) const fn plain(self) -> Level {
        match self {
            Self::Local => Level::LocalQuorum,
            Self::Global => Level::Quorum,
        }
    }

    /// For decisions.
    pub(super) const fn serial(self) -> SerialConsistency {
        match self {
            Self::Local => SerialConsistency::LocalSerial,
            Self::Global => SerialConsistency::Serial,
        }
    }

    /// For reads that finish decisions first.
    pub(super) const fn serial_read(self) -> Level {
        match self {
            Self::Local => Level::LocalSerial,
            Self::Global => Level::Serial,
        }
    }
}
