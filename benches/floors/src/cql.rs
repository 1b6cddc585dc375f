//! CQL servers for services that are measured with them.

use tokio::signal::unix::{SignalKind, signal};

use crate::{
    cassandra::{Cluster, Purpose},
    ready,
};

/// Starts them, says where they are, and ends them when this process is told to end.
pub(crate) fn serve(servers: u8) -> anyhow::Result<()> {
    let cluster = Cluster::start(servers, Purpose::Use);
    ready::announce(cluster.nodes().join(","))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    runtime.block_on(async {
        signal(SignalKind::terminate())?.recv().await;
        anyhow::Ok(())
    })
}
