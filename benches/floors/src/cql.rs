//! A CQL server for services that are measured with one.

use tokio::signal::unix::{SignalKind, signal};

use crate::{cassandra::Server, ready};

/// Starts it, says where it is, and ends it when this process is told to end.
pub(crate) fn serve() -> anyhow::Result<()> {
    let server = Server::start();
    ready::announce(server.addr())?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    runtime.block_on(async {
        signal(SignalKind::terminate())?.recv().await;
        anyhow::Ok(())
    })
}
