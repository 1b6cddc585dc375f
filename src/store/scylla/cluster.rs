//! The CQL cluster as the rest of the store sees it: reads, plain writes and decisions.
//!
//! A *decision* is a lightweight transaction: conditions and what to write if they hold, in one partition. It is never
//! repeated by itself: when it is not answered, nobody knows whether it was made, and who asked has to read. Reads and
//! plain writes may be repeated, and the driver does so.

use std::{
    hash::{BuildHasher, Hash, RandomState},
    io,
    ops::ControlFlow,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use futures_util::{StreamExt, TryStreamExt};
use rustls::pki_types::{CertificateDer, pem::PemObject};
use scylla::{
    client::{execution_profile::ExecutionProfile, session::Session, session_builder::SessionBuilder},
    deserialize::row::{ColumnIterator, DeserializeRow},
    policies::{
        retry::{DefaultRetryPolicy, FallthroughRetryPolicy},
        speculative_execution::SimpleSpeculativeExecutionPolicy,
    },
    response::{
        PagingState,
        query_result::{QueryResult, QueryRowsResult},
    },
    serialize::row::SerializeRow,
    statement::{
        SerialConsistency,
        batch::{Batch, BatchType},
        prepared::PreparedStatement,
    },
};
use tokio::sync::{Mutex as Gate, MutexGuard};

use crate::store::{Result, StoreError, moving::Patience};

use super::{
    error::Unanswered,
    options::ScyllaOptions,
    statements::{MovingStatements, Statements},
};

/// How long the whole of it may take, and the servers may take to agree.
pub(super) const PATIENCE: Duration = Duration::from_secs(180);
/// How often a connection that has nothing to do is tried, and how long it may take: a server that hangs is left alone
/// when both have passed. What was asked of it by then and may not be asked of another is not answered in time.
const ALIVE: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(4));
/// What may be repeated is asked of another server when the first has not answered for this part of the time that it has.
const SECOND_OPINION: u32 = 4;

/// Decisions of this process on one partition wait for each other here: the cluster would make them collide.
const STRIPES: usize = 1024;

/// Rows of a page, where a whole table is read.
const SCANNED_AT_ONCE: i32 = 1000;

/// A row that does not borrow from the answer it came in.
pub(super) trait OwnedRow: for<'frame, 'metadata> DeserializeRow<'frame, 'metadata> {}
impl<R: for<'frame, 'metadata> DeserializeRow<'frame, 'metadata>> OwnedRow for R {}

/// The values of one statement of a batch.
pub(super) type Values<'a> = Box<dyn SerializeRow + Send + Sync + 'a>;

/// The session and what was prepared on it.
pub(super) struct Cluster {
    session: Session,
    /// Connections for leases alone. Whoever goes by them takes this node for dead when they are late, and on the way of
    /// acts and checkpoints they would wait behind them.
    leases: Session,
    pub(super) statements: Statements,
    serial: SerialConsistency,
    turns: Vec<Gate<()>>,
    stripe: RandomState,
    decisions: AtomicU64,
    reads: AtomicU64,
    closed: AtomicBool,
}

impl Cluster {
    pub(super) async fn new(session: Session, options: &ScyllaOptions) -> Result<Self> {
        let leases = connect(options).await?;
        leases.use_keyspace(&options.keyspace, true).await?;
        let statements = Box::pin(Statements::prepare(&session, options)).await?;
        let turns = std::iter::repeat_with(Gate::default).take(STRIPES).collect();
        let serial = options.consistency.serial();
        let (decisions, reads, closed) = (AtomicU64::new(0), AtomicU64::new(0), AtomicBool::new(false));
        Ok(Self { session, leases, statements, serial, turns, stripe: RandomState::new(), decisions, reads, closed })
    }

    /// How many decisions were asked for.
    pub(super) fn decisions(&self) -> u64 {
        self.decisions.load(Ordering::Relaxed)
    }

    /// How many times what is known to be short was read.
    pub(super) fn reads(&self) -> u64 {
        self.reads.load(Ordering::Relaxed)
    }

    /// Further calls are answered with [`StoreError::Unavailable`].
    pub(super) fn close(&self) {
        self.closed.store(true, Ordering::Release);
    }

    fn open(&self) -> Result<()> {
        if self.closed.load(Ordering::Acquire) {
            return Err(StoreError::Unavailable("the store is closed".to_owned()));
        }
        Ok(())
    }

    /// Waits for this process's turn to decide on what `key` names.
    pub(super) async fn turn(&self, key: &(impl Hash + ?Sized)) -> MutexGuard<'_, ()> {
        let stripe = self.stripe.hash_one(key) % STRIPES as u64;
        self.turns[usize::try_from(stripe).expect("it is below STRIPES")].lock().await
    }

    /// Rows of an answer that is known to be short.
    pub(super) async fn rows<R: OwnedRow>(
        &self,
        statement: &PreparedStatement,
        values: impl SerializeRow,
    ) -> Result<Vec<R>> {
        self.open()?;
        self.reads.fetch_add(1, Ordering::Relaxed);
        let answer = self.session.execute_unpaged(statement, values).await?.into_rows_result()?;
        answer.rows::<R>()?.map(|row| Ok(row?)).collect()
    }

    /// The one row of an answer, if there is one.
    pub(super) async fn row<R: OwnedRow>(
        &self,
        statement: &PreparedStatement,
        values: impl SerializeRow,
    ) -> Result<Option<R>> {
        Ok(self.rows(statement, values).await?.pop())
    }

    /// Rows of an answer that may be long, page after page, at most `limit`.
    pub(super) async fn pages<R: OwnedRow + Unpin + 'static>(
        &self,
        statement: &PreparedStatement,
        values: impl SerializeRow,
        limit: usize,
    ) -> Result<Vec<R>> {
        self.open()?;
        let pager = self.session.execute_iter(statement.clone(), values).await?;
        Ok(pager.rows_stream::<R>()?.take(limit).try_collect().await?)
    }

    /// A page of an answer that may be long, and where the next one begins.
    pub(super) async fn page<R: OwnedRow>(
        &self,
        statement: &PreparedStatement,
        values: impl SerializeRow,
        place: PagingState,
        size: i32,
    ) -> Result<(Vec<R>, Option<PagingState>)> {
        self.open()?;
        let mut statement = statement.clone();
        statement.set_page_size(size);
        let (answer, next) = self.session.execute_single_page(&statement, values, place).await?;
        let rows = answer.into_rows_result()?.rows::<R>()?.map(|row| Ok(row?)).collect::<Result<_>>()?;
        Ok((rows, next.into_paging_control_flow().continue_value()))
    }

    /// Where on the ring an account is.
    pub(super) fn token(&self, account: &[u8]) -> Result<i64> {
        let odd = || StoreError::Damaged("a server that does not tell what accounts are partitioned by".to_owned());
        let token = self.statements.account.calculate_token(&(account,)).map_err(|_| odd())?;
        Ok(token.ok_or_else(odd)?.value())
    }

    /// Every row of a table, page after page; each is asked for until it can be had.
    pub(super) async fn each<R: OwnedRow>(
        &self,
        statement: &PreparedStatement,
        mut see: impl FnMut(R) -> Result<()> + Send,
    ) -> Result<()> {
        self.open()?;
        let mut statement = statement.clone();
        statement.set_page_size(SCANNED_AT_ONCE);
        let mut place = PagingState::start();
        loop {
            let mut patience = Patience::default();
            let (answer, next) = loop {
                match self.session.execute_single_page(&statement, (), place.clone()).await {
                    Ok(page) => break page,
                    Err(error) => patience.after(error.into()).await?,
                }
            };
            for row in answer.into_rows_result()?.rows::<R>()? {
                see(row?)?;
            }
            match next.into_paging_control_flow() {
                ControlFlow::Continue(next) => place = next,
                ControlFlow::Break(()) => return Ok(()),
            }
        }
    }

    /// The one row of an answer about leases, if there is one.
    pub(super) async fn lease_row<R: OwnedRow>(&self, statement: &PreparedStatement) -> Result<Option<R>> {
        self.open()?;
        let answer = self.leases.execute_unpaged(statement, ()).await?.into_rows_result()?;
        answer.rows::<R>()?.next().transpose().map_err(Into::into)
    }

    /// All rows of an answer about leases.
    pub(super) async fn lease_rows<R: OwnedRow + Unpin + 'static>(
        &self,
        statement: &PreparedStatement,
    ) -> Result<Vec<R>> {
        self.open()?;
        let pager = self.leases.execute_iter(statement.clone(), ()).await?;
        Ok(pager.rows_stream::<R>()?.try_collect().await?)
    }

    /// Writes a lease.
    pub(super) async fn write_lease(&self, statement: &PreparedStatement, values: impl SerializeRow) -> Result<()> {
        self.open()?;
        self.leases.execute_unpaged(statement, values).await?;
        Ok(())
    }

    /// Whether a table has any row.
    pub(super) async fn has_rows(&self, table: &str) -> Result<bool> {
        self.open()?;
        let answer = self.session.query_unpaged(format!("SELECT * FROM {table} LIMIT 1"), ()).await?;
        Ok(answer.into_rows_result()?.rows_num() > 0)
    }

    /// What who moves in says.
    pub(super) async fn moving_statements(&self, options: &ScyllaOptions) -> Result<MovingStatements> {
        Box::pin(MovingStatements::prepare(&self.session, options)).await
    }

    /// Writes without conditions.
    pub(super) async fn write(&self, statement: &PreparedStatement, values: impl SerializeRow) -> Result<()> {
        self.open()?;
        self.session.execute_unpaged(statement, values).await?;
        Ok(())
    }

    /// Runs a statement once for each of `rows` as one batch, without conditions. All are of one partition.
    pub(super) async fn write_all<V: SerializeRow>(&self, statement: &PreparedStatement, rows: &[V]) -> Result<()> {
        self.open()?;
        let mut batch = Batch::new(BatchType::Unlogged);
        for _ in rows {
            batch.append_statement(statement.clone());
        }
        batch.set_is_idempotent(true);
        self.session.batch(&batch, rows).await?;
        Ok(())
    }

    /// Writes several rows of one partition as one batch, without conditions.
    pub(super) async fn write_together(&self, statements: Vec<(&PreparedStatement, Values<'_>)>) -> Result<()> {
        self.open()?;
        let mut batch = Batch::new(BatchType::Unlogged);
        batch.set_is_idempotent(true);
        let mut rows = Vec::with_capacity(statements.len());
        for (statement, values) in statements {
            batch.append_statement(statement.clone());
            rows.push(values);
        }
        self.session.batch(&batch, rows).await?;
        Ok(())
    }

    /// Makes a decision; `false` if its conditions do not hold.
    pub(super) async fn decide(
        &self,
        statement: &PreparedStatement,
        values: impl SerializeRow,
    ) -> std::result::Result<bool, Unanswered> {
        self.open()?;
        self.decisions.fetch_add(1, Ordering::Relaxed);
        applied(self.session.execute_unpaged(statement, values).await?)
    }

    /// Makes one decision of several statements, all of one partition and table.
    pub(super) async fn decide_all(
        &self,
        statements: Vec<(&PreparedStatement, Values<'_>)>,
    ) -> std::result::Result<bool, Unanswered> {
        self.open()?;
        self.decisions.fetch_add(1, Ordering::Relaxed);
        let mut batch = Batch::new(BatchType::Unlogged);
        batch.set_serial_consistency(Some(self.serial));
        batch.set_retry_policy(Some(Arc::new(FallthroughRetryPolicy)));
        let mut rows = Vec::with_capacity(statements.len());
        for (statement, values) in statements {
            batch.append_statement(statement.clone());
            rows.push(values);
        }
        applied(self.session.batch(&batch, rows).await?)
    }
}

/// Whether a decision was made.
fn applied(answer: QueryResult) -> std::result::Result<bool, Unanswered> {
    let odd = |error: StoreError| Unanswered { error, maybe: true };
    let rows = answer.into_rows_result().map_err(|error| odd(error.into()))?;
    is_applied(&rows).map_err(odd)
}

/// What the answer to a decision says. Servers differ in how many rows and columns they answer with; the first column of
/// each row is whether it was made.
pub(super) fn is_applied(answer: &QueryRowsResult) -> Result<bool> {
    let odd = || StoreError::Damaged("an answer that does not say whether it was applied".to_owned());
    let mut columns: ColumnIterator<'_, '_> = answer.rows()?.next().ok_or_else(odd)??;
    let first = columns.next().ok_or_else(odd)??;
    match first.slice.map(|slice| slice.as_slice()) {
        Some([applied]) if first.spec.name() == "[applied]" => Ok(*applied != 0),
        _ => Err(odd()),
    }
}

/// Connects to a cluster.
pub(super) async fn connect(options: &ScyllaOptions) -> Result<Session> {
    let profile = ExecutionProfile::builder()
        .consistency(options.consistency.plain())
        .serial_consistency(Some(options.consistency.serial()))
        .request_timeout(Some(options.request_timeout))
        .speculative_execution_policy(Some(Arc::new(SimpleSpeculativeExecutionPolicy {
            max_retry_count: 1,
            retry_interval: options.request_timeout / SECOND_OPINION,
        })))
        .retry_policy(Arc::new(DefaultRetryPolicy::new()))
        .build();
    let mut builder = SessionBuilder::new()
        .known_nodes(&options.nodes)
        .default_execution_profile_handle(profile.into_handle())
        .connection_timeout(options.connect_timeout)
        .keepalive_interval(ALIVE.0)
        .keepalive_timeout(ALIVE.1)
        .hostname_resolution_timeout(Some(options.connect_timeout))
        .schema_agreement_timeout(PATIENCE)
        .auto_await_schema_agreement(false)
        .fetch_schema_metadata(true)
        .tcp_nodelay(true);
    if let Some(datacenter) = &options.datacenter {
        builder = builder.prefer_datacenter(datacenter.clone());
    }
    if let Some(credentials) = &options.credentials {
        builder = builder.user(&credentials.username, credentials.password.as_str());
    }
    if let Some(ca) = &options.tls_ca {
        let unusable = |error: &dyn std::fmt::Display| {
            StoreError::Refused(format!("{} cannot be used as certificates to trust: {error}", ca.display()))
        };
        let pem = tokio::fs::read(ca).await.map_err(|error: io::Error| unusable(&error))?;
        let mut roots = rustls::RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(&pem) {
            roots.add(certificate.map_err(|error| unusable(&error))?).map_err(|error| unusable(&error))?;
        }
        if roots.is_empty() {
            return Err(unusable(&"there are none in it"));
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let tls = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| unusable(&error))?
            .with_root_certificates(roots)
            .with_no_client_auth();
        builder = builder.tls_context(Some(Arc::new(tls)));
    }
    Ok(Box::pin(builder.build()).await?)
}
