//! The keyspace and its tables: made and brought up to date, by any number of nodes that start at once.
//!
//! Two coordinators that make the same table at the same time can leave a cluster at odds with itself. So all nodes send what
//! changes the schema to the same server, the one with the least id, which does one thing after the other; and one node
//! at a time does it, by a lease in the table that also has the version. Each statement can be repeated.

use std::{collections::HashMap, sync::Arc, time::Duration};

use scylla::{
    client::session::Session,
    errors::{DbError, ExecutionError, RequestAttemptError},
    policies::load_balancing::{LoadBalancingPolicy, NodeIdentifier, SingleTargetLoadBalancingPolicy},
    response::query_result::QueryResult,
    statement::Statement,
};

use crate::{
    entropy::{Entropy, draw},
    store::{Result, StoreError},
};

use super::{
    cluster::{PATIENCE, is_applied},
    datacenters::{REPLICAS, replicas},
    options::ScyllaOptions,
    rows::there,
};

/// How often a node looks for servers that the store's URL names and the cluster does not know: 20 s.
const ACQUAINTANCE: u32 = 100;
/// How long one statement may take.
const STATEMENT: Duration = Duration::from_secs(30);
/// How often a node looks whether another is done.
const LOOK: Duration = Duration::from_millis(200);
/// How often a node that was let down by the cluster tries.
const TRIES: u32 = 20;
/// How long a node that migrates has the right to itself, in seconds, before others think it is dead.
const LEASE: i32 = 60;

/// What leads from each version to the next.
const MIGRATIONS: [&str; 12] = [
    include_str!("schema.cql"),
    include_str!("schema-2.cql"),
    include_str!("schema-3.cql"),
    include_str!("schema-4.cql"),
    include_str!("schema-5.cql"),
    include_str!("schema-6.cql"),
    include_str!("schema-7.cql"),
    include_str!("schema-8.cql"),
    include_str!("schema-9.cql"),
    include_str!("schema-10.cql"),
    include_str!("schema-11.cql"),
    include_str!("schema-12.cql"),
];

const VERSIONS: &str = "CREATE TABLE IF NOT EXISTS schema_version (one tinyint PRIMARY KEY, version int, holder blob)";

/// Makes the keyspace if it is missing, and brings it up to date.
pub(super) async fn bring_up_to_date(session: &Session, options: &ScyllaOptions, entropy: &dyn Entropy) -> Result<()> {
    let work = Work { session, options, holder: draw(entropy), leader: leader(session)? };
    let ready = async {
        let mut tries = 1;
        loop {
            match work.run().await {
                // Servers may tell of a keyspace or a table before they let anybody use it.
                Err(StoreError::Unavailable(_)) if tries < TRIES => tries += 1,
                done => return done,
            }
            tokio::time::sleep(LOOK).await;
        }
    };
    match tokio::time::timeout(PATIENCE, ready).await {
        Ok(done) => done,
        Err(_) => Err(StoreError::Unavailable(format!("the schema was not ready in {} s", PATIENCE.as_secs()))),
    }
}

struct Work<'a> {
    session: &'a Session,
    options: &'a ScyllaOptions,
    holder: [u8; 16],
    leader: Arc<dyn LoadBalancingPolicy>,
}

impl Work<'_> {
    async fn run(&self) -> Result<()> {
        self.make_keyspace().await?;
        self.session.use_keyspace(&self.options.keyspace, true).await?;
        self.count_replicas().await?;
        if !self
            .is_there(
                "SELECT table_name FROM system_schema.tables WHERE keyspace_name = ? AND table_name = 'schema_version'",
            )
            .await?
        {
            self.change(VERSIONS).await?;
            self.session.await_schema_agreement().await?;
        }
        loop {
            let version = self.version().await?;
            match MIGRATIONS.len().checked_sub(version) {
                None => {
                    return Err(StoreError::Refused(format!(
                        "a newer version of this program wrote the keyspace (version {version}); this one knows {}",
                        MIGRATIONS.len()
                    )));
                }
                Some(0) => return Ok(()),
                Some(_) if self.take_lease().await? => {
                    // Another may have been here before us.
                    let done = if self.version().await? == version { self.migrate(version).await } else { Ok(()) };
                    self.drop_lease().await?;
                    done?;
                }
                Some(_) => tokio::time::sleep(LOOK).await,
            }
        }
    }

    async fn make_keyspace(&self) -> Result<()> {
        let keyspace = &self.options.keyspace;
        if self.is_there("SELECT keyspace_name FROM system_schema.keyspaces WHERE keyspace_name = ?").await? {
            return Ok(());
        }
        let known = self.known_servers().await?;
        let servers = known.max(self.options.nodes.len()).min(REPLICAS);
        let replicas = self.options.replication.map_or(servers, |replicas| replicas as usize);
        let make = format!(
            "CREATE KEYSPACE IF NOT EXISTS \"{keyspace}\" WITH replication = \
             {{'class': 'NetworkTopologyStrategy', 'replication_factor': {replicas}}}"
        );
        // ScyllaDB knows tablets, and decisions do not go with them on all of its versions.
        let is_scylla = "SELECT table_name FROM system_schema.tables WHERE keyspace_name = 'system_schema' \
                         AND table_name = 'scylla_keyspaces'";
        let scylla = !self.ask(Statement::new(is_scylla), ()).await?.into_rows_result()?.rows_num().eq(&0);
        let without_tablets = format!("{make} AND tablets = {{'enabled': false}}");
        let made = self.try_change(if scylla { &without_tablets } else { &make }).await;
        match made {
            // Only where the option is not known. One that failed otherwise may have been done, or is tried again.
            Err(error) if scylla && is_not_understood(&error) => self.change(&make).await?,
            made => made?,
        }
        self.session.await_schema_agreement().await?;
        // So that the driver knows who has which rows.
        self.session.refresh_metadata().await.map_err(|error| StoreError::Unavailable(error.to_string()))?;
        tracing::info!(keyspace, replicas, "the keyspace was made");
        Ok(())
    }

    /// Warns of a keyspace that does not outlive a server, whoever made it.
    async fn count_replicas(&self) -> Result<()> {
        let replication = "SELECT replication FROM system_schema.keyspaces WHERE keyspace_name = ?";
        let rows =
            self.ask(Statement::new(replication), (self.options.keyspace.as_str(),)).await?.into_rows_result()?;
        // Servers may come to say it in other ways: then nothing is known.
        let Ok(Some((replication,))) = rows.maybe_first_row::<(HashMap<String, String>,)>() else { return Ok(()) };
        let few = replicas(&replication, self.options.datacenter.as_deref()).filter(|replicas| *replicas < REPLICAS);
        if let Some(replicas) = few {
            tracing::warn!(replicas, "with fewer than three replicas, nothing works while one server is away");
        }
        Ok(())
    }

    /// How many servers know each other. Those that have just started may not yet; whoever runs them named them. A table
    /// that is made before is not told to who is met later: that server asks for it, a minute later.
    async fn known_servers(&self) -> Result<usize> {
        let mut looks = 0;
        loop {
            self.session.refresh_metadata().await.map_err(|error| StoreError::Unavailable(error.to_string()))?;
            let known = self.session.get_cluster_state().get_nodes_info().len();
            let named = self.options.nodes.len();
            if known >= named || looks >= ACQUAINTANCE {
                if known < named {
                    tracing::warn!(known, named, "the cluster has fewer servers than the store's URL names");
                }
                return Ok(known);
            }
            looks += 1;
            tokio::time::sleep(LOOK).await;
        }
    }

    async fn migrate(&self, from: usize) -> Result<()> {
        for (version, migration) in (1_i32..).zip(MIGRATIONS).skip(from) {
            for statement in statements(migration) {
                self.keep_lease().await?;
                if !self.is_column_there(&statement).await? {
                    self.change(&statement).await?;
                }
            }
            self.keep_lease().await?;
            self.session.await_schema_agreement().await?;
            let set = "UPDATE schema_version SET version = ? WHERE one = 1 IF holder = ?";
            if !self.decided(set, (version, self.holder)).await? {
                return Err(lost());
            }
            tracing::info!(version, "the keyspace was brought up to date");
        }
        Ok(())
    }

    async fn version(&self) -> Result<usize> {
        let mut read = Statement::new("SELECT version FROM schema_version WHERE one = 1");
        read.set_consistency(self.options.consistency.serial_read());
        let rows = self.ask(read, ()).await?.into_rows_result()?;
        let version = rows.rows::<(Option<i32>,)>()?.next().transpose()?.and_then(|(version,)| version);
        Ok(usize::try_from(version.unwrap_or(0)).unwrap_or(usize::MAX))
    }

    async fn take_lease(&self) -> Result<bool> {
        let take = format!("UPDATE schema_version USING TTL {LEASE} SET holder = ? WHERE one = 1 IF holder = null");
        self.decided(&take, (self.holder,)).await
    }

    /// A statement may take half as long as the lease lasts.
    async fn keep_lease(&self) -> Result<()> {
        let keep = format!("UPDATE schema_version USING TTL {LEASE} SET holder = ? WHERE one = 1 IF holder = ?");
        if self.decided(&keep, (self.holder, self.holder)).await? { Ok(()) } else { Err(lost()) }
    }

    async fn drop_lease(&self) -> Result<()> {
        let give_back = "UPDATE schema_version SET holder = null WHERE one = 1 IF holder = ?";
        self.decided(give_back, (self.holder,)).await?;
        Ok(())
    }

    async fn decided(&self, cql: &str, values: impl scylla::serialize::row::SerializeRow) -> Result<bool> {
        let rows = self.ask(Statement::new(cql), values).await?.into_rows_result()?;
        is_applied(&rows)
    }

    async fn is_there(&self, cql: &str) -> Result<bool> {
        let found = self.ask(Statement::new(cql), (self.options.keyspace.as_str(),)).await?;
        Ok(found.into_rows_result()?.rows_num() > 0)
    }

    async fn ask(
        &self,
        statement: Statement,
        values: impl scylla::serialize::row::SerializeRow,
    ) -> Result<QueryResult> {
        Ok(self.session.query_unpaged(statement, values).await?)
    }

    /// Whether a statement adds a column that is there already: who began the migration before did not come to its end.
    async fn is_column_there(&self, cql: &str) -> Result<bool> {
        let Some((table, column)) = added_column(cql) else { return Ok(false) };
        let mut look = Statement::new(
            "SELECT column_name FROM system_schema.columns WHERE keyspace_name = ? AND table_name = ? AND column_name = ?",
        );
        look.set_load_balancing_policy(Some(Arc::clone(&self.leader)));
        let found = self.ask(look, (self.options.keyspace.as_str(), table, column)).await?;
        Ok(found.into_rows_result()?.rows_num() > 0)
    }

    /// Changes the schema, by the one server that all nodes change it by.
    async fn change(&self, cql: &str) -> Result<()> {
        Ok(self.try_change(cql).await?)
    }

    async fn try_change(&self, cql: &str) -> std::result::Result<(), ExecutionError> {
        let mut statement = Statement::new(cql);
        statement.set_load_balancing_policy(Some(Arc::clone(&self.leader)));
        statement.set_request_timeout(Some(STATEMENT));
        statement.set_is_idempotent(true);
        self.session.query_unpaged(statement, ()).await?;
        Ok(())
    }
}

fn lost() -> StoreError {
    StoreError::Unavailable("migrating took too long, and another node goes on".to_owned())
}

/// Whether a server took a statement for one that it does not know, so that nothing was done.
const fn is_not_understood(error: &ExecutionError) -> bool {
    use DbError::{ConfigError, Invalid, SyntaxError};
    matches!(
        error,
        ExecutionError::LastAttemptError(RequestAttemptError::DbError(ConfigError | Invalid | SyntaxError, _))
    )
}

/// The server that schema changes go to.
fn leader(session: &Session) -> Result<Arc<dyn LoadBalancingPolicy>> {
    let state = session.get_cluster_state();
    let nodes = state.get_nodes_info();
    let up = nodes.iter().filter(|node| node.is_connected()).map(|node| node.host_id).min();
    let least = there(up.or_else(|| nodes.iter().map(|node| node.host_id).min()))?;
    Ok(SingleTargetLoadBalancingPolicy::new(NodeIdentifier::HostId(least), None))
}

/// The table and the column that a statement adds, if that is what it does.
fn added_column(cql: &str) -> Option<(&str, &str)> {
    let mut words = cql.strip_prefix("ALTER TABLE ")?.split_whitespace();
    let table = words.next()?;
    words.next().filter(|word| *word == "ADD")?;
    Some((table, words.next()?))
}

/// The statements of a file, without its comments.
fn statements(file: &str) -> Vec<String> {
    let lines: Vec<_> = file.lines().filter(|line| !line.trim_start().starts_with("--")).collect();
    let statements = lines.join("\n") + "\n";
    statements.split(";\n").map(str::trim).filter(|text| !text.is_empty()).map(ToOwned::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_keyspace_is_made_with_tablets_only_where_there_is_no_such_option() {
        let said = |error: DbError| RequestAttemptError::DbError(error, "why".to_owned()).into();
        assert!(is_not_understood(&said(DbError::SyntaxError)));
        assert!(is_not_understood(&said(DbError::ConfigError)));
        // It may have been made, or not yet.
        assert!(!is_not_understood(&said(DbError::Overloaded)));
        assert!(!is_not_understood(&said(DbError::ServerError)));
        assert!(!is_not_understood(&ExecutionError::RequestTimeout(STATEMENT)));
        assert!(!is_not_understood(&ExecutionError::EmptyPlan));
    }

    #[test]
    fn a_file_is_cut_into_statements_that_can_be_repeated() {
        for file in MIGRATIONS {
            let statements = statements(file);
            assert_eq!(statements.len(), file.matches("CREATE TABLE").count() + file.matches("ALTER TABLE").count());
            let repeats =
                |text: &String| text.starts_with("CREATE TABLE IF NOT EXISTS ") || added_column(text).is_some();
            assert!(statements.iter().all(|text| repeats(text) && !text.contains("--")));
        }
    }
}
