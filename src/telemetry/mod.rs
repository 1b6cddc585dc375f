//! What operators see: metrics, logs, health.
//!
//! Every metric is named in [`Metric`] and nowhere else, but for the standard `process_*` ones. Handles are those of the
//! `metrics` crate, and `metrics-exporter-prometheus` shows them. A [`Telemetry`] owns its own recorder and there is no
//! global state, so that several services can live in one process. All series exist from the start, at zero: an alert on
//! a rate works before the first event. Handles are resolved by indexing arrays with enums: no lookup by name, no
//! allocation. On the hot path counting is one atomic add, to a cell that is the thread's own.

mod cells;
mod health;
mod labels;
mod logs;
mod metric;
#[cfg(test)]
pub(crate) mod page;
mod registry;
mod seldom;
mod udp;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

pub use health::{Health, HealthReport, Phase};
pub use labels::{
    ActLimit, ActivationOutcome, Arrival, BeatOutcome, CertificateLoad, DatagramDrop, EventOutcome, Handshake,
    HistoryOutcome, Housekeeping, HttpListener, KeyFetch, Label, LogoutOutcome, PoolName, QuicProtocol, Refusal,
    RenewalOutcome, RewardOutcome, Route, ShopOutcome, SignIn, StatusClass, StoreFile, StoreOperation, StoreOutcome,
    Surface, Transport, UdpBuffer, UdpListener, ValidationOutcome, VerdictOutcome, WebTransportOutcome, WebhookOutcome,
};
pub use logs::{LogError, LogFormat, LogGuard, Redacted, check_filter, init, subscriber};
pub use metric::{Kind, LabelSpec, Metric, Spec, Unit};
pub use registry::Latency;
pub use seldom::Seldom;
pub use udp::udp_drops;

pub use ::metrics::{Counter, Gauge, Histogram};

use self::metric::Version;
use self::registry::{ByOne, ByTwo, Registry, TimeCounter};
use crate::{
    engine::{Act, Credit, EntryKind},
    time::UnixMs,
};
use crate::{
    time::{MeterTime, Millis},
    wire::{EndReason, FrameError},
};

/// The metrics of one service. Clones share them.
#[derive(Clone)]
pub struct Telemetry(Arc<Inner>);

struct Inner {
    registry: Registry,
    health: Health,
    heartbeats: [BeatCounters; Transport::ALL.len()],
    acks: ByOne<Counter, Transport>,
    sessions_live: Gauge,
    sessions_remembered: Gauge,
    sessions_ended: ByOne<Counter, EndReason>,
    activations: ByOne<Counter, ActivationOutcome>,
    renewals: ByOne<Counter, RenewalOutcome>,
    credit_in: ByOne<TimeCounter, EntryKind>,
    credit_out: ByOne<TimeCounter, EntryKind>,
    acts_limited: ByOne<Counter, ActLimit>,
    verdicts: ByOne<Counter, VerdictOutcome>,
    sign_ins: ByOne<Counter, SignIn>,
    key_fetches: ByOne<Counter, KeyFetch>,
    key_age: Gauge,
    keys_missing: Gauge,
    webhooks: ByOne<Counter, WebhookOutcome>,
    rewards: ByOne<Counter, RewardOutcome>,
    validations: ByOne<Counter, ValidationOutcome>,
    shop: ByOne<Counter, ShopOutcome>,
    account_events: ByOne<Counter, EventOutcome>,
    logouts: ByOne<Counter, LogoutOutcome>,
    checkpoint_lag: Gauge,
    checkpoint_rows: Counter,
    checkpoint_batch_rows: Histogram,
    checkpoint_failures: Counter,
    checkpoint_statements: Counter,
    history_rows: ByOne<Counter, HistoryOutcome>,
    store_operations: ByTwo<Latency, StoreOperation, StoreOutcome>,
    store_up: Gauge,
    store_files: ByOne<Gauge, StoreFile>,
    housekeeping: ByOne<Gauge, Housekeeping>,
    nodes: Gauge,
    era: Gauge,
    changes_lag: Gauge,
    clock_skew: Gauge,
    http_requests: ByTwo<Counter, Route, StatusClass>,
    http_latency: ByOne<Latency, Route>,
    http_connections: ByOne<Gauge, HttpListener>,
    certificate_expiry: Gauge,
    certificate_from_files: Gauge,
    certificate_loads: ByOne<Counter, CertificateLoad>,
    quic_arrivals: ByOne<Counter, Arrival>,
    quic_connections: ByOne<Gauge, QuicProtocol>,
    quic_handshakes: Gauge,
    datagrams_dropped: ByOne<Counter, DatagramDrop>,
    webtransport_sessions: Gauge,
    webtransport_asked: ByOne<Counter, WebTransportOutcome>,
    http_refused: ByTwo<Counter, HttpListener, Refusal>,
    handshakes: ByOne<Counter, Handshake>,
    http_shed: ByOne<Counter, Surface>,
    http_late: ByOne<Gauge, PoolName>,
    http_in_flight: ByOne<Gauge, Surface>,
    udp_drops: ByOne<Counter, UdpListener>,
    /// The port that each UDP listener is bound to; zero while it is not.
    udp_ports: [AtomicU32; UdpListener::ALL.len()],
    udp_threads: ByOne<Gauge, UdpListener>,
    udp_buffers: ByTwo<Gauge, UdpListener, UdpBuffer>,
    pressure: Gauge,
    meter_time: Gauge,
    ready: Gauge,
    log_lines_dropped: Counter,
    parts_restarted: Counter,
    panics: Counter,
}

impl Telemetry {
    /// The metrics of a service whose health is `health`.
    pub fn new(health: Health) -> Self {
        let mut registry = Registry::new();
        registry.gauges_by(Metric::BuildInfo).of(Version).set(1.0);
        let heartbeats = Arc::new(registry.hot_counters_by_two(Metric::Heartbeats));
        let nodes = registry.gauge(Metric::Nodes);
        nodes.set(1.0);
        Self(Arc::new(Inner {
            health,
            heartbeats: std::array::from_fn(|at| BeatCounters {
                transport: Transport::ALL[at],
                counters: Arc::clone(&heartbeats),
            }),
            acks: registry.hot_counters_by(Metric::Acks),
            sessions_live: registry.gauge(Metric::SessionsLive),
            sessions_remembered: registry.gauge(Metric::SessionsRemembered),
            sessions_ended: registry.counters_by(Metric::SessionsEnded),
            activations: registry.counters_by(Metric::Activations),
            renewals: registry.counters_by(Metric::Renewals),
            credit_in: registry.times_by(Metric::CreditIn),
            credit_out: registry.times_by(Metric::CreditOut),
            acts_limited: registry.counters_by(Metric::ActsLimited),
            verdicts: registry.hot_counters_by(Metric::Verdicts),
            sign_ins: registry.counters_by(Metric::SignIns),
            key_fetches: registry.counters_by(Metric::KeyFetches),
            key_age: registry.gauge(Metric::KeyAge),
            keys_missing: registry.gauge(Metric::KeysMissing),
            webhooks: registry.counters_by(Metric::Webhooks),
            rewards: registry.counters_by(Metric::Rewards),
            validations: registry.counters_by(Metric::Validations),
            shop: registry.counters_by(Metric::Shop),
            account_events: registry.counters_by(Metric::AccountEvents),
            logouts: registry.counters_by(Metric::Logouts),
            checkpoint_lag: registry.gauge(Metric::CheckpointLag),
            checkpoint_rows: registry.counter(Metric::CheckpointRows),
            checkpoint_batch_rows: registry.histogram(Metric::CheckpointBatchRows),
            checkpoint_failures: registry.counter(Metric::CheckpointFailures),
            checkpoint_statements: registry.counter(Metric::CheckpointStatements),
            history_rows: registry.counters_by(Metric::HistoryRows),
            store_operations: registry.latencies_by_two(Metric::StoreOperations),
            store_up: registry.gauge(Metric::StoreUp),
            store_files: registry.gauges_by(Metric::StoreFileSize),
            housekeeping: registry.gauges_by(Metric::HousekeepingAge),
            nodes,
            era: registry.gauge(Metric::Era),
            changes_lag: registry.gauge(Metric::ChangesLag),
            clock_skew: registry.gauge(Metric::ClockSkew),
            http_requests: registry.hot_counters_by_two(Metric::HttpRequests),
            http_latency: registry.hot_latencies_by(Metric::HttpLatency),
            http_connections: registry.gauges_by(Metric::HttpConnections),
            certificate_expiry: registry.gauge(Metric::CertificateExpiry),
            certificate_from_files: registry.gauge(Metric::CertificateFromFiles),
            certificate_loads: registry.counters_by(Metric::CertificateLoads),
            quic_arrivals: registry.counters_by(Metric::QuicArrivals),
            quic_connections: registry.gauges_by(Metric::QuicConnections),
            quic_handshakes: registry.gauge(Metric::QuicHandshakes),
            datagrams_dropped: registry.counters_by(Metric::DatagramsDropped),
            webtransport_sessions: registry.gauge(Metric::WebTransportSessions),
            webtransport_asked: registry.counters_by(Metric::WebTransportAsked),
            http_refused: registry.counters_by_two(Metric::HttpRefused),
            handshakes: registry.counters_by(Metric::Handshakes),
            http_shed: registry.counters_by(Metric::HttpShed),
            http_late: registry.gauges_by(Metric::HttpLate),
            http_in_flight: registry.gauges_by(Metric::HttpInFlight),
            udp_drops: registry.counters_by(Metric::UdpDrops),
            udp_ports: [const { AtomicU32::new(0) }; UdpListener::ALL.len()],
            udp_threads: registry.gauges_by(Metric::UdpThreads),
            udp_buffers: registry.gauges_by_two(Metric::UdpBuffer),
            pressure: registry.gauge(Metric::Pressure),
            meter_time: registry.gauge(Metric::MeterTime),
            ready: registry.gauge(Metric::Ready),
            log_lines_dropped: registry.counter(Metric::LogLinesDropped),
            parts_restarted: registry.counter(Metric::PartsRestarted),
            panics: registry.counter(Metric::Panics),
            registry,
        }))
    }

    /// Everything in the Prometheus text format, version 0.0.4. Asks the kernel for the process's own figures.
    pub fn render(&self) -> String {
        let this = &*self.0;
        let health = this.health.report();
        this.ready.set(f64::from(u8::from(health.phase == Phase::Ready)));
        this.store_up.set(f64::from(u8::from(health.store_reachable)));
        for listener in UdpListener::ALL {
            let port = this.udp_ports[listener.index()].load(Ordering::Relaxed);
            let drops = u16::try_from(port).ok().filter(|port| *port != 0).and_then(udp_drops);
            this.udp_drops.of(*listener).absolute(drops.unwrap_or(0));
        }
        this.log_lines_dropped.absolute(logs::dropped_lines());
        this.panics.absolute(logs::panics());
        this.registry.render()
    }

    /// Takes in what was recorded since the last scrape. To be called every few seconds, or histograms grow while nobody
    /// scrapes.
    pub fn upkeep(&self) {
        self.0.registry.upkeep();
    }

    /// The counters of heartbeats that came this way.
    pub fn heartbeats(&self, transport: Transport) -> &BeatCounters {
        &self.0.heartbeats[transport.index()]
    }

    /// A permanent thread or task panicked and begins anew.
    pub fn part_restarted(&self) {
        self.0.parts_restarted.increment(1);
    }

    /// Acks sent this way.
    pub fn acks(&self, transport: Transport) -> &Counter {
        self.0.acks.of(transport)
    }

    /// Tells how many sessions memory holds: open ones, and ended ones still remembered.
    pub fn sessions(&self, live: usize, remembered: usize) {
        self.0.sessions_live.set(live as f64);
        self.0.sessions_remembered.set(remembered as f64);
    }

    /// Sessions that ended for this reason.
    pub fn sessions_ended(&self, reason: EndReason) -> &Counter {
        self.0.sessions_ended.of(reason)
    }

    /// Activations that went this way.
    pub fn activations(&self, outcome: ActivationOutcome) -> &Counter {
        self.0.activations.of(outcome)
    }

    /// Renewals that went this way.
    pub fn renewals(&self, outcome: RenewalOutcome) -> &Counter {
        self.0.renewals.of(outcome)
    }

    /// Counts an entry of the ledger: time put into a tank, or taken out of it.
    pub fn credit(&self, kind: EntryKind, amount: Credit) {
        let counters = if amount >= Credit::ZERO { &self.0.credit_in } else { &self.0.credit_out };
        counters.of(kind).add_ms(amount.as_ms().unsigned_abs());
    }

    /// Counts what an act wrote, once it is committed: the end of a session and entries of the ledger.
    pub fn committed(&self, act: &Act) {
        if let Some((_, end)) = act.closes {
            self.sessions_ended(end.reason).increment(1);
        }
        for entry in &act.entries {
            self.credit(entry.kind, entry.amount);
        }
    }

    /// Acts refused by this limit.
    pub fn acts_limited(&self, by: ActLimit) -> &Counter {
        self.0.acts_limited.of(by)
    }

    /// Verdicts of this kind given to edges.
    pub fn verdicts(&self, outcome: VerdictOutcome) -> &Counter {
        self.0.verdicts.of(outcome)
    }

    /// Tokens of identity providers with which this happened.
    pub fn sign_ins(&self, outcome: SignIn) -> &Counter {
        self.0.sign_ins.of(outcome)
    }

    /// Fetches of identity providers' keys that went this way.
    pub fn key_fetches(&self, outcome: KeyFetch) -> &Counter {
        self.0.key_fetches.of(outcome)
    }

    /// Tells how old the oldest set of an identity provider's keys is, and how many providers have none.
    pub fn identity_keys(&self, oldest: Millis, missing: usize) {
        self.0.key_age.set(oldest.get() as f64 / 1000.0);
        self.0.keys_missing.set(missing as f64);
    }

    /// Account events that came to this.
    pub fn account_events(&self, outcome: EventOutcome) -> &Counter {
        self.0.account_events.of(outcome)
    }

    /// Tries to tell clients of logouts that came to this.
    pub fn logouts(&self, outcome: LogoutOutcome) -> &Counter {
        self.0.logouts.of(outcome)
    }

    /// Requests for rewards that came to this.
    pub fn rewards(&self, outcome: RewardOutcome) -> &Counter {
        self.0.rewards.of(outcome)
    }

    /// Validations of earner tokens that came to this.
    pub fn validations(&self, outcome: ValidationOutcome) -> &Counter {
        self.0.validations.of(outcome)
    }

    /// Lines of orders and refunds of shops that came to this.
    pub fn shop(&self, outcome: ShopOutcome) -> &Counter {
        self.0.shop.of(outcome)
    }

    /// Credit webhooks that came to this.
    pub fn webhooks(&self, outcome: WebhookOutcome) -> &Counter {
        self.0.webhooks.of(outcome)
    }

    /// Tells the age of the oldest heartbeat that is not in the store yet.
    pub fn checkpoint_lag(&self, age: Millis) {
        self.0.checkpoint_lag.set(age.get() as f64 / 1000.0);
    }

    /// Counts a batch of checkpoints that was written.
    pub fn checkpoint_written(&self, rows: usize) {
        self.0.checkpoint_rows.increment(rows as u64);
        self.0.checkpoint_batch_rows.record(rows as f64);
    }

    /// Batches of checkpoints that the store refused.
    pub fn checkpoint_failures(&self) -> &Counter {
        &self.0.checkpoint_failures
    }

    /// Rows of the heartbeat history that came to this.
    pub fn history_rows(&self, outcome: HistoryOutcome) -> &Counter {
        self.0.history_rows.of(outcome)
    }

    /// Records how long an operation of the store took.
    pub fn store_operation(&self, operation: StoreOperation, outcome: StoreOutcome, took: Duration) {
        self.0.store_operations.of(operation, outcome).observe(took);
    }

    /// Tells how large a file of the store is.
    pub fn store_file(&self, file: StoreFile, bytes: u64) {
        self.0.store_files.of(file).set(bytes as f64);
    }

    /// Tells how long ago this kind of housekeeping last did all there was to do.
    pub fn housekeeping(&self, task: Housekeeping, age: Millis) {
        self.0.housekeeping.of(task).set(age.get() as f64 / 1000.0);
    }

    /// Counts an HTTP request that was answered with this status, and how long it took.
    pub fn http_request(&self, route: Route, status: u16, took: Duration) {
        self.http_answer(route, StatusClass::of(status), took);
    }

    /// Counts an HTTP request that was answered so, and how long it took.
    pub fn http_answer(&self, route: Route, class: StatusClass, took: Duration) {
        self.0.http_requests.of(route, class).increment(1);
        self.0.http_latency.of(route).observe(took);
    }

    /// Counts a connection as open until the answer is dropped.
    #[must_use = "the connection counts as closed when this is dropped"]
    pub fn connection_opened(&self, listener: HttpListener) -> OpenConnection {
        OpenConnection::count(self.0.http_connections.of(listener))
    }

    /// Connections that were closed at once, for this reason.
    pub fn connections_refused(&self, listener: HttpListener, why: Refusal) -> &Counter {
        self.0.http_refused.of(listener, why)
    }

    /// TLS handshakes that went this way.
    pub fn handshakes(&self, outcome: Handshake) -> &Counter {
        self.0.handshakes.of(outcome)
    }

    /// Requests of this surface that were refused at once because there was too much to do.
    pub fn shed(&self, surface: Surface) -> &Counter {
        self.0.http_shed.of(surface)
    }

    /// Requests of this surface that are being answered.
    pub fn in_flight(&self, surface: Surface) -> &Gauge {
        self.0.http_in_flight.of(surface)
    }

    /// Sets the lateness of a worker pool.
    pub fn late(&self, pool: PoolName, by: Duration) {
        self.0.http_late.of(pool).set(by.as_secs_f64());
    }

    /// Counts a certificate that was read, and tells when the one that is shown expires.
    pub fn certificate(&self, load: CertificateLoad, expires: UnixMs) {
        self.0.certificate_loads.of(load).increment(1);
        self.0.certificate_expiry.set(expires.as_ms() as f64 / 1000.0);
    }

    /// Tells whether the certificate is read from files.
    pub fn certificate_from_files(&self, from_files: bool) {
        self.0.certificate_from_files.set(f64::from(u8::from(from_files)));
    }

    /// QUIC connections asked for with which this happened.
    pub fn quic_arrivals(&self, arrival: Arrival) -> &Counter {
        self.0.quic_arrivals.of(arrival)
    }

    /// Counts a QUIC handshake as under way until the answer is dropped.
    #[must_use = "the handshake counts as over when this is dropped"]
    pub fn quic_handshake_begun(&self) -> OpenConnection {
        OpenConnection::count(&self.0.quic_handshakes)
    }

    /// Counts a QUIC connection as open until the answer is dropped.
    #[must_use = "the connection counts as closed when this is dropped"]
    pub fn quic_opened(&self, protocol: QuicProtocol) -> OpenConnection {
        OpenConnection::count(self.0.quic_connections.of(protocol))
    }

    /// QUIC datagrams dropped for this reason.
    pub fn datagrams_dropped(&self, why: DatagramDrop) -> &Counter {
        self.0.datagrams_dropped.of(why)
    }

    /// Counts a WebTransport session as open until the answer is dropped.
    #[must_use = "the session counts as closed when this is dropped"]
    pub fn webtransport_opened(&self) -> OpenConnection {
        OpenConnection::count(&self.0.webtransport_sessions)
    }

    /// WebTransport sessions asked for with which this happened.
    pub fn webtransport_sessions(&self, outcome: WebTransportOutcome) -> &Counter {
        self.0.webtransport_asked.of(outcome)
    }

    /// From now on the kernel's drop count of this listener's port is read at every scrape.
    pub fn watch_udp(&self, listener: UdpListener, port: u16) {
        self.0.udp_ports[listener.index()].store(u32::from(port), Ordering::Relaxed);
    }

    /// Tells how many sockets a listener has, and the bytes of buffer that each was granted.
    pub fn udp_sockets(&self, listener: UdpListener, sockets: usize, receive: usize, send: usize) {
        self.0.udp_threads.of(listener).set(sockets as f64);
        self.0.udp_buffers.of(listener, UdpBuffer::Receive).set(receive as f64);
        self.0.udp_buffers.of(listener, UdpBuffer::Send).set(send as f64);
    }

    /// Tells how hard the service is pressed, from 0 to 1.
    pub fn pressure(&self, ratio: f64) {
        self.0.pressure.set(ratio);
    }

    /// Tells how many statements checkpoints were written to a CQL cluster by, since the start.
    pub fn checkpoint_statements(&self, all: u64) {
        self.0.checkpoint_statements.absolute(all);
    }

    /// Tells how this node does among others: the era it lives in, how many others live, and how long ago all that they
    /// were about to change was known.
    pub fn node(&self, era: u64, others: usize, lag: Millis) {
        let nodes = others as u64 + 1;
        self.0.health.nodes(nodes);
        self.0.nodes.set(nodes as f64);
        self.0.era.set(era as f64);
        self.0.changes_lag.set(lag.get() as f64 / 1000.0);
    }

    /// Tells by how many milliseconds this node's wall clock is ahead of the others'.
    pub fn clock_skew(&self, ahead_ms: i64) {
        self.0.clock_skew.set(ahead_ms as f64 / 1000.0);
    }

    /// Tells what meter time it is.
    pub fn meter_time(&self, now: MeterTime) {
        self.0.meter_time.set(now.as_ms() as f64 / 1000.0);
    }

    /// The health that this exposition shows.
    pub fn health(&self) -> &Health {
        &self.0.health
    }
}

/// What became of the heartbeats of one transport.
#[derive(Debug)]
pub struct BeatCounters {
    transport: Transport,
    counters: Arc<ByTwo<Counter, Transport, BeatOutcome>>,
}

impl BeatCounters {
    /// Heartbeats with this outcome.
    pub fn of(&self, outcome: BeatOutcome) -> &Counter {
        self.counters.of(self.transport, outcome)
    }

    /// Counts what was tallied.
    pub fn add(&self, tally: &BeatTally) {
        for (index, count) in tally.0.iter().enumerate().filter(|(_, count)| **count > 0) {
            self.counters.at(self.transport, index).increment(u64::from(*count));
        }
    }

    /// Heartbeats of open sessions.
    pub fn valid(&self) -> &Counter {
        self.of(BeatOutcome::Valid)
    }

    /// Heartbeats of sessions that are over.
    pub fn invalid(&self, reason: EndReason) -> &Counter {
        self.of(BeatOutcome::Invalid(reason))
    }

    /// Good frames of sessions nobody knows.
    pub fn unknown(&self) -> &Counter {
        self.of(BeatOutcome::Unknown)
    }

    /// Frames that ended their session.
    pub fn stop(&self) -> &Counter {
        self.of(BeatOutcome::Stop)
    }

    /// Frames met with silence.
    pub fn bad(&self, error: FrameError) -> &Counter {
        self.of(BeatOutcome::Bad(error))
    }
}

/// What the beats of a batch came to: most often all to the same, which is then one addition for all of them.
#[derive(Clone, Copy, Debug, Default)]
pub struct BeatTally([u32; BeatOutcome::VALUES.len()]);

impl BeatTally {
    /// Counts one beat.
    pub fn count(&mut self, outcome: BeatOutcome) {
        self.0[outcome.index()] += 1;
    }
}

/// A connection that is open; dropping it closes it in the figures.
#[derive(Debug)]
pub struct OpenConnection(Gauge);

impl OpenConnection {
    fn count(open: &Gauge) -> Self {
        open.increment(1.0);
        Self(open.clone())
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.0.decrement(1.0);
    }
}

#[cfg(test)]
mod tests;
