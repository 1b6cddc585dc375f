//! Every metric there is: its name, type, unit, labels and meaning.

use super::labels::{
    ActLimit, ActivationOutcome, Arrival, BeatOutcome, CertificateLoad, DatagramDrop, EventOutcome, Handshake,
    HistoryOutcome, Housekeeping, HttpListener, KeyFetch, Label, LogoutOutcome, PoolName, QuicProtocol, Refusal,
    RenewalOutcome, RewardOutcome, Route, ShopOutcome, SignIn, StatusClass, StoreFile, StoreOperation, StoreOutcome,
    Surface, Transport, UdpBuffer, UdpListener, ValidationOutcome, VerdictOutcome, WebTransportOutcome, WebhookOutcome,
};
use crate::engine::EntryKind;
use crate::wire::EndReason;

/// Bounds of a latency histogram, in seconds.
///
/// A verdict or a beat is answered from memory in well under 100 µs, an act waits for a synced commit of one to some
/// twenty milliseconds, and the longest time limit is 10 s: three bounds a decade from the one to the other, so that a
/// quantile read from them is wrong by a factor of 2.5 at most.
const LATENCY: &[f64] =
    &[0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// Bounds of the sizes of batches, in rows: from one dirty session to a full sweep, by powers of four.
const ROWS: &[f64] = &[1.0, 4.0, 16.0, 64.0, 256.0, 1024.0, 4096.0, 16384.0, 65536.0];

/// What kind of thing a metric measures.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    /// Goes up, and back to zero at a restart.
    Counter,
    /// Goes up and down.
    Gauge,
    /// A distribution, with these upper bounds of its buckets.
    Histogram(&'static [f64]),
}

impl Kind {
    /// The type's name in the exposition.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram(_) => "histogram",
        }
    }
}

/// What a metric is measured in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Things that are counted.
    Count,
    /// Seconds.
    Seconds,
    /// Bytes.
    Bytes,
}

/// A label and every value it takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LabelSpec {
    /// Its name.
    pub name: &'static str,
    /// Its values.
    pub values: &'static [&'static str],
}

impl LabelSpec {
    const fn of<L: Label>() -> Self {
        Self { name: L::NAME, values: L::VALUES }
    }
}

/// What there is to know of a metric.
#[derive(Clone, Copy, Debug)]
pub struct Spec {
    /// The Prometheus name.
    pub name: &'static str,
    /// Its type.
    pub kind: Kind,
    /// Its unit; `Count` for things that are counted.
    pub unit: Unit,
    /// Its labels, in order. Every combination of values is a series from the start.
    pub labels: &'static [LabelSpec],
    /// One sentence that says what it tells.
    pub help: &'static str,
}

macro_rules! metrics {
    ($( $metric:ident: $kind:expr, $unit:ident, $name:literal, [$($label:ty),*], $help:literal; )+) => {
        /// Every metric of the service.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Metric {
            $( #[doc = $help] $metric, )+
        }

        impl Metric {
            /// Every metric, in the order of the documentation.
            pub const ALL: &'static [Self] = &[$(Self::$metric),+];

            /// What there is to know of this metric.
            pub const fn spec(self) -> Spec {
                match self {
                    $( Self::$metric => Spec {
                        name: $name,
                        kind: $kind,
                        unit: Unit::$unit,
                        labels: const { &[$(LabelSpec::of::<$label>()),*] },
                        help: $help,
                    }, )+
                }
            }
        }
    };
}

metrics! {
    Heartbeats: Kind::Counter, Count, "gastank_heartbeats_total", [Transport, BeatOutcome],
        "Heartbeats received, by outcome.";
    Acks: Kind::Counter, Count, "gastank_acks_total", [Transport],
        "Acks sent.";
    SessionsLive: Kind::Gauge, Count, "gastank_sessions_live", [],
        "Open sessions in memory.";
    SessionsRemembered: Kind::Gauge, Count, "gastank_sessions_remembered", [],
        "Ended sessions kept in memory, so that their clients can be given the end reason.";
    SessionsEnded: Kind::Counter, Count, "gastank_sessions_ended_total", [EndReason],
        "Sessions ended.";
    Activations: Kind::Counter, Count, "gastank_activations_total", [ActivationOutcome],
        "Activation requests; `superseding` ones ended an older session of the account.";
    Renewals: Kind::Counter, Count, "gastank_renewals_total", [RenewalOutcome],
        "Token renewal requests.";
    CreditIn: Kind::Counter, Seconds, "gastank_credit_in_seconds_total", [EntryKind],
        "Time put into tanks.";
    CreditOut: Kind::Counter, Seconds, "gastank_credit_out_seconds_total", [EntryKind],
        "Time taken out of tanks; usage is counted when a session is settled.";
    ActsLimited: Kind::Counter, Count, "gastank_acts_limited_total", [ActLimit],
        "Acts refused because a limit was reached.";
    Verdicts: Kind::Counter, Count, "gastank_verdicts_total", [VerdictOutcome],
        "Verdicts given to edges.";
    SignIns: Kind::Counter, Count, "gastank_sign_ins_total", [SignIn],
        "Identity tokens presented, by outcome.";
    KeyFetches: Kind::Counter, Count, "gastank_identity_key_fetches_total", [KeyFetch],
        "Fetches of identity providers' keys.";
    KeyAge: Kind::Gauge, Seconds, "gastank_identity_key_age_seconds", [],
        "Age of the oldest identity provider key set in use; 0 while there is none.";
    KeysMissing: Kind::Gauge, Count, "gastank_identity_providers_without_keys", [],
        "Identity providers whose keys have not been fetched yet; sign-in with their tokens fails until then.";
    Webhooks: Kind::Counter, Count, "gastank_webhooks_total", [WebhookOutcome],
        "Credit webhooks answered, by outcome.";
    Rewards: Kind::Counter, Count, "gastank_rewards_total", [RewardOutcome],
        "Requests for rewards, by outcome.";
    Validations: Kind::Counter, Count, "gastank_earner_validations_total", [ValidationOutcome],
        "Validations of earner tokens, by outcome.";
    Shop: Kind::Counter, Count, "gastank_shop_lines_total", [ShopOutcome],
        "Lines of orders and refunds of shops, by outcome; webhooks that were not read count as one.";
    AccountEvents: Kind::Counter, Count, "gastank_account_events_total", [EventOutcome],
        "Account events received from identity providers, by outcome.";
    Logouts: Kind::Counter, Count, "gastank_backchannel_logouts_total", [LogoutOutcome],
        "Back-channel logouts sent to clients of the hub, by outcome of each try.";
    CheckpointLag: Kind::Gauge, Seconds, "gastank_checkpoint_lag_seconds", [],
        "Age of the oldest heartbeat that is not in the store yet.";
    CheckpointRows: Kind::Counter, Count, "gastank_checkpoint_rows_total", [],
        "Checkpoint rows written.";
    CheckpointBatchRows: Kind::Histogram(ROWS), Count, "gastank_checkpoint_batch_rows", [],
        "Rows of one checkpoint batch.";
    CheckpointFailures: Kind::Counter, Count, "gastank_checkpoint_failures_total", [],
        "Checkpoint batches that the store rejected; their rows are retried.";
    CheckpointStatements: Kind::Counter, Count, "gastank_checkpoint_statements_total", [],
        "CQL statements that wrote checkpoints; 0 when the store is a file.";
    HistoryRows: Kind::Counter, Count, "gastank_history_rows_total", [HistoryOutcome],
        "Heartbeat history rows, by outcome; dropped rows delay nothing else.";
    StoreOperations: Kind::Histogram(LATENCY), Seconds, "gastank_store_operation_seconds",
        [StoreOperation, StoreOutcome],
        "Duration of a store operation, including the time it waited.";
    StoreUp: Kind::Gauge, Count, "gastank_store_up", [],
        "1 while the store can be reached.";
    StoreFileSize: Kind::Gauge, Bytes, "gastank_store_file_bytes", [StoreFile],
        "Size of the data file and of its write-ahead log; 0 where the store is a CQL cluster.";
    HousekeepingAge: Kind::Gauge, Seconds, "gastank_housekeeping_age_seconds", [Housekeeping],
        "Time since this kind of housekeeping last did all there was to do; it runs once a minute.";
    Nodes: Kind::Gauge, Count, "gastank_nodes", [],
        "Live nodes that share the store, as known to this node and including it.";
    Era: Kind::Gauge, Count, "gastank_era", [],
        "Number of times the meter was resumed after all nodes were down; 0 when the store is not shared.";
    ChangesLag: Kind::Gauge, Seconds, "gastank_changes_lag_seconds", [],
        "Age of the newest point in time up to which all changes by other nodes are known; 0 when the store is not shared.";
    ClockSkew: Kind::Gauge, Seconds, "gastank_clock_skew_seconds", [],
        "Lead of this node's wall clock over the clocks of most other nodes that share the store; negative when it is behind.";
    HttpRequests: Kind::Counter, Count, "gastank_http_requests_total", [Route, StatusClass],
        "HTTP requests answered.";
    HttpLatency: Kind::Histogram(LATENCY), Seconds, "gastank_http_request_seconds", [Route],
        "Time from a request's head to its response's head.";
    HttpConnections: Kind::Gauge, Count, "gastank_http_connections_open", [HttpListener],
        "Connections that are open.";
    HttpRefused: Kind::Counter, Count, "gastank_http_connections_refused_total", [HttpListener, Refusal],
        "Connections closed on arrival because a limit on connections was reached.";
    CertificateExpiry: Kind::Gauge, Seconds, "gastank_certificate_expiry_timestamp_seconds", [],
        "Expiry of the served certificate, in seconds since the Unix epoch; 0 while there is none.";
    CertificateFromFiles: Kind::Gauge, Count, "gastank_certificate_from_files", [],
        "1 where the certificate that is shown was read from files; 0 where the service makes and replaces its own.";
    CertificateLoads: Kind::Counter, Count, "gastank_certificate_loads_total", [CertificateLoad],
        "Certificate loads, by outcome; after a refused one the previous certificate stays in use.";
    QuicArrivals: Kind::Counter, Count, "gastank_quic_arrivals_total", [Arrival],
        "Incoming QUIC connections, by outcome.";
    QuicConnections: Kind::Gauge, Count, "gastank_quic_connections_open", [QuicProtocol],
        "QUIC connections that are open.";
    QuicHandshakes: Kind::Gauge, Count, "gastank_quic_handshakes_open", [],
        "QUIC handshakes in progress.";
    DatagramsDropped: Kind::Counter, Count, "gastank_quic_datagrams_dropped_total", [DatagramDrop],
        "QUIC datagrams dropped before they were answered, and acks dropped before they were sent.";
    WebTransportSessions: Kind::Gauge, Count, "gastank_webtransport_sessions_open", [],
        "WebTransport sessions that are open.";
    WebTransportAsked: Kind::Counter, Count, "gastank_webtransport_sessions_total", [WebTransportOutcome],
        "WebTransport session requests, by outcome.";
    Handshakes: Kind::Counter, Count, "gastank_tls_handshakes_total", [Handshake],
        "TLS handshakes over TCP, by outcome.";
    HttpInFlight: Kind::Gauge, Count, "gastank_http_requests_in_flight", [Surface],
        "Requests waiting for the store or for a body; beats and verdicts that are answered from memory never wait.";
    HttpShed: Kind::Counter, Count, "gastank_http_requests_shed_total", [Surface],
        "Requests refused with 503 because the budget of their surface was used up.";
    HttpLate: Kind::Gauge, Seconds, "gastank_http_late_seconds", [PoolName],
        "Delay between a connection being ready and its thread handling it, of the slowest thread in the pool.";
    UdpDrops: Kind::Counter, Count, "gastank_udp_kernel_drops_total", [UdpListener],
        "Datagrams the kernel dropped because the listener's receive buffer was full.";
    UdpThreads: Kind::Gauge, Count, "gastank_udp_threads", [UdpListener],
        "Sockets that receive datagrams; each socket of the UDP listener has its own thread.";
    UdpBuffer: Kind::Gauge, Bytes, "gastank_udp_socket_buffer_bytes", [UdpListener, UdpBuffer],
        "Buffer size that the kernel granted to each socket, including kernel overhead.";
    Pressure: Kind::Gauge, Count, "gastank_pressure_ratio", [],
        "Load of the service, from 0 to 1; under higher load acks ask for longer heartbeat intervals.";
    MeterTime: Kind::Gauge, Seconds, "gastank_meter_time_seconds", [],
        "Meter time; it stands still while the service is down.";
    Ready: Kind::Gauge, Count, "gastank_ready", [],
        "1 while the service takes traffic; 0 while it starts, warms up or drains.";
    BuildInfo: Kind::Gauge, Count, "gastank_build_info", [Version],
        "Always 1; the label is the running version.";
    LogLinesDropped: Kind::Counter, Count, "gastank_log_lines_dropped_total", [],
        "Log lines dropped because the reader of standard error was too slow or gone.";
    PartsRestarted: Kind::Counter, Count, "gastank_parts_restarted_total", [],
        "Threads and tasks that panicked and were restarted.";
    Panics: Kind::Counter, Count, "gastank_panics_total", [],
        "Panics caught in the program; each one is a bug.";
}

/// The version that runs: a label with one value.
#[derive(Clone, Copy, Debug)]
pub(super) struct Version;

impl Label for Version {
    const NAME: &'static str = "version";
    const VALUES: &'static [&'static str] = &[env!("CARGO_PKG_VERSION")];

    fn index(self) -> usize {
        0
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn names_are_unique_and_in_the_services_namespace() {
        let names: HashSet<_> = Metric::ALL.iter().map(|metric| metric.spec().name).collect();
        assert_eq!(names.len(), Metric::ALL.len());
        for name in names {
            assert!(name.starts_with("gastank_"), "{name}");
            assert!(name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_'), "{name}");
            assert!(!name.contains("__"), "{name}");
        }
    }

    #[test]
    fn names_follow_the_rules_that_promtool_checks() {
        for metric in Metric::ALL {
            let Spec { name, kind, unit, labels, .. } = metric.spec();
            assert_eq!(name.ends_with("_total"), kind == Kind::Counter, "{name}");
            let base = name.trim_end_matches("_total");
            for reserved in ["_sum", "_count", "_bucket", "_info_total"] {
                assert!(!name.ends_with(reserved), "{name}");
            }
            for abbreviated in ["_ms", "_milliseconds", "_s", "_kb", "_mb", "_kib", "_minutes"] {
                assert!(!base.ends_with(abbreviated), "{name}");
            }
            match unit {
                Unit::Seconds => assert!(base.ends_with("_seconds"), "{name}"),
                Unit::Bytes => assert!(base.ends_with("_bytes"), "{name}"),
                _ => assert!(!base.ends_with("_seconds") && !base.ends_with("_bytes"), "{name}"),
            }
            for LabelSpec { name: label, values } in labels {
                assert!(!["le", "quantile", "job", "instance"].contains(label), "{name}");
                assert!(!label.starts_with("__") && !values.is_empty(), "{name}");
                assert_eq!(values.iter().collect::<HashSet<_>>().len(), values.len(), "{name} {label}");
            }
        }
    }

    #[test]
    fn every_metric_says_in_one_sentence_what_it_tells() {
        for metric in Metric::ALL {
            let help = metric.spec().help;
            assert!(help.len() > 8 && help.ends_with('.') && !help.contains('\n'), "{metric:?}");
        }
    }

    #[test]
    fn buckets_go_up() {
        for metric in Metric::ALL {
            if let Kind::Histogram(bounds) = metric.spec().kind {
                assert!(!bounds.is_empty() && bounds.is_sorted_by(|a, b| a < b), "{metric:?}");
            }
        }
    }
}
