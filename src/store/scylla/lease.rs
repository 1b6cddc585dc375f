//! Who may work on a keyspace: one process at a time, for as long as it says so again.
//!
//! Nodes do not yet tell each other what they do, so a second one would go on vouching for sessions that the first has
//! ended. The lease is a row with a TTL. A process that was killed leaves it behind, and whoever comes next waits until it
//! has run out: by then the cluster has also finished with whatever that process had asked of it last.

use std::{sync::Arc, time::Duration};

use scylla::SerializeRow;
use tokio_util::sync::CancellationToken;

use crate::{
    entropy::{Entropy, draw},
    store::{Result, StoreError},
};

use super::cluster::Cluster;

/// How long a lease lasts, in seconds.
const LASTS: i32 = 10;
/// How often it is renewed.
const RENEWED: Duration = Duration::from_secs(3);
/// How often the lease of another is looked at.
const LOOKED_AT: Duration = Duration::from_millis(500);
/// How many looks it takes at most: until a lease that nobody renews has surely run out.
const LOOKS: u32 = 30;
/// The lease's name. There may be others one day.
const NAME: &str = "node";

/// A row of `holder, label, beat`.
type Claimed = (Option<Vec<u8>>, Option<String>, Option<i64>);

/// What `renew_claim` writes.
#[derive(SerializeRow)]
struct Renew<'a> {
    name: &'a str,
    holder: &'a [u8],
    label: &'a str,
    beat: i64,
    ttl: i32,
    was: &'a [u8],
}

/// A lease on a keyspace.
pub(super) struct Lease {
    holder: [u8; 16],
    label: String,
    stop: CancellationToken,
    lost: CancellationToken,
}

impl Lease {
    /// Takes the lease, and renews it until it is given back or lost.
    pub(super) async fn take(cluster: &Arc<Cluster>, label: &str, entropy: &dyn Entropy) -> Result<Self> {
        let lease = Self {
            holder: draw(entropy),
            label: label.to_owned(),
            stop: CancellationToken::new(),
            lost: CancellationToken::new(),
        };
        lease.wait_for(cluster).await?;
        let (cluster, stop, lost) = (Arc::clone(cluster), lease.stop.clone(), lease.lost.clone());
        let (holder, label) = (lease.holder, lease.label.clone());
        tokio::spawn(async move {
            let renewing = keep(&cluster, &holder, &label);
            tokio::select! {
                () = stop.cancelled() => {}
                () = renewing => {
                    cluster.close();
                    lost.cancel();
                }
            }
        });
        Ok(lease)
    }

    /// Is cancelled when another process has taken the lease.
    pub(super) fn lost(&self) -> CancellationToken {
        self.lost.clone()
    }

    /// Gives the lease back.
    pub(super) async fn give_back(&self, cluster: &Cluster) {
        if self.stop.is_cancelled() || self.lost.is_cancelled() {
            return;
        }
        self.stop.cancel();
        if let Err(unanswered) = cluster.decide(&cluster.statements.drop_claim, (NAME, self.holder)).await {
            tracing::debug!(error = %unanswered.error, "the lease was not given back, and runs out by itself");
        }
    }

    async fn wait_for(&self, cluster: &Cluster) -> Result<()> {
        let statements = &cluster.statements;
        let mut seen = None;
        for look in 0..LOOKS {
            let values = (NAME, self.holder, self.label.as_str(), 0_i64, LASTS);
            match cluster.decide(&statements.claim, values).await {
                Ok(true) => return Ok(()),
                Ok(false) => {}
                Err(unanswered) if unanswered.maybe => {}
                Err(unanswered) => return Err(unanswered.error),
            }
            let Some((holder, label, beat)) = claimed(cluster).await? else { continue };
            if holder.as_deref() == Some(&self.holder) {
                return Ok(());
            }
            let label = label.unwrap_or_default();
            if look == 0 {
                tracing::info!(holder = %label, "another process had this keyspace; waiting whether it is still there");
            }
            if seen.replace((holder.clone(), beat)).is_some_and(|before| before != (holder, beat)) {
                return Err(StoreError::Refused(format!(
                    "another process works on this keyspace ({label}): this version has one node for each keyspace; \
                     stop it first"
                )));
            }
            tokio::time::sleep(LOOKED_AT).await;
        }
        Err(StoreError::Unavailable("the keyspace's lease could not be taken".to_owned()))
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// Renews a lease until another has it.
async fn keep(cluster: &Cluster, holder: &[u8; 16], label: &str) {
    let statements = &cluster.statements;
    for beat in 1.. {
        tokio::time::sleep(RENEWED).await;
        let renew = Renew { name: NAME, holder, label, beat, ttl: LASTS, was: holder };
        match cluster.decide(&statements.renew_claim, renew).await {
            Ok(true) | Err(_) => continue,
            Ok(false) => {}
        }
        // It has run out while the cluster could not be reached. If nobody came, it is taken again.
        match cluster.decide(&statements.claim, (NAME, holder, label, beat, LASTS)).await {
            Ok(true) | Err(_) => continue,
            Ok(false) => {}
        }
        if let Ok(Some((Some(other), label, _))) = claimed(cluster).await
            && other != holder
        {
            tracing::error!(holder = %label.unwrap_or_default(), "another process has taken over this keyspace");
            return;
        }
    }
}

async fn claimed(cluster: &Cluster) -> Result<Option<Claimed>> {
    let row: Option<Claimed> = cluster.row(&cluster.statements.claimed, (NAME,)).await?;
    Ok(row.filter(|(holder, ..)| holder.is_some()))
}
