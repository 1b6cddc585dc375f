//! What happens in the parts, told to telemetry.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use crate::{
    control::{
        acts::Witness,
        hooks::events::Heard,
        http::{Activated, Budget, ErrorCode, Hooked, Instruments, LimitedBy, Listened, Phase, Told},
    },
    engine::{Act, Engine},
    identity::Providers,
    ingest::http::WorkerPools,
    store::{Operation, StoreObserver},
    telemetry::{
        self, ActLimit, ActivationOutcome, EventOutcome, PoolName, RenewalOutcome, Route, StoreOperation, StoreOutcome,
        Surface, Telemetry, VerdictOutcome, WebhookOutcome,
    },
    time::Clock,
};

/// Tells telemetry, and answers what the surfaces ask of it.
pub(super) struct Dashboard {
    pub(super) telemetry: Telemetry,
    pub(super) engine: Arc<Engine>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) providers: Arc<Providers>,
    pub(super) pools: WorkerPools,
    pub(super) statements: Option<Arc<AtomicU64>>,
}

impl Instruments for Dashboard {
    fn phase(&self) -> Phase {
        match self.telemetry.health().phase() {
            telemetry::Phase::Starting | telemetry::Phase::WarmingUp => Phase::WarmingUp,
            telemetry::Phase::Ready => Phase::Ready,
            telemetry::Phase::Draining => Phase::Draining,
        }
    }

    fn store_reachable(&self) -> bool {
        self.telemetry.health().report().store_reachable
    }

    fn warmed(&self) -> (u64, u64) {
        let report = self.telemetry.health().report();
        (report.warmed, report.to_warm)
    }

    fn nodes(&self) -> Option<u64> {
        self.telemetry.health().report().nodes
    }

    fn exposition(&self, under_way: &[(Budget, usize)]) -> String {
        for (budget, requests) in under_way {
            self.telemetry.in_flight(surface(*budget)).set(*requests as f64);
        }
        self.telemetry.late(PoolName::Clients, self.pools.clients.late());
        self.telemetry.late(PoolName::Edges, self.pools.edges.as_ref().map_or(Duration::ZERO, |edges| edges.late()));
        self.telemetry.sessions(self.engine.live(), self.engine.remembered());
        self.telemetry.meter_time(self.clock.now());
        self.telemetry.pressure(self.engine.pressure().ratio());
        let keys = self.providers.key_ages();
        self.telemetry.identity_keys(keys.oldest, keys.missing);
        if let Some(statements) = &self.statements {
            self.telemetry.checkpoint_statements(statements.load(Ordering::Relaxed));
        }
        self.telemetry.render()
    }

    fn answered(&self, route: &str, status: u16, took: Duration) {
        self.telemetry.http_request(Route::of(route), status, took);
    }

    fn activated(&self, outcome: Activated) {
        let outcome = match outcome {
            Activated::Opened => ActivationOutcome::Opened,
            Activated::Superseding => ActivationOutcome::Superseding,
            Activated::Refused(ErrorCode::TankEmpty) => ActivationOutcome::TankEmpty,
            Activated::Refused(ErrorCode::UnknownAudience) => ActivationOutcome::UnknownAudience,
            Activated::Refused(ErrorCode::RateLimited) => ActivationOutcome::Limited,
            Activated::Refused(ErrorCode::SessionEnded | ErrorCode::StaleRenewal | ErrorCode::IdReused) => {
                ActivationOutcome::Stale
            }
            Activated::Refused(code) if code.status().is_server_error() => ActivationOutcome::Unavailable,
            Activated::Refused(_) => ActivationOutcome::BadCredentials,
        };
        self.telemetry.activations(outcome).increment(1);
    }

    fn renewed(&self, refused: Option<ErrorCode>) {
        let outcome = match refused {
            None => RenewalOutcome::Renewed,
            Some(ErrorCode::SessionEnded) => RenewalOutcome::SessionEnded,
            Some(ErrorCode::StaleRenewal) => RenewalOutcome::Stale,
            Some(ErrorCode::BadFrame) => RenewalOutcome::BadFrame,
            Some(ErrorCode::RateLimited) => RenewalOutcome::Limited,
            Some(code) if code.status().is_server_error() => RenewalOutcome::Unavailable,
            Some(_) => RenewalOutcome::BadCredentials,
        };
        self.telemetry.renewals(outcome).increment(1);
    }

    fn told(&self, told: Told) {
        let outcome = match told {
            Told::Active => VerdictOutcome::Active,
            Told::Inactive => VerdictOutcome::Inactive,
            Told::Unavailable => VerdictOutcome::Unavailable,
        };
        self.telemetry.verdicts(outcome).increment(1);
    }

    fn hooked(&self, outcome: Hooked) {
        let outcome = match outcome {
            Hooked::Credited => WebhookOutcome::Credited,
            Hooked::Refunded => WebhookOutcome::Refunded,
            Hooked::Repeated => WebhookOutcome::Repeated,
            Hooked::Held => WebhookOutcome::Held,
            Hooked::Ignored => WebhookOutcome::Ignored,
            Hooked::Undeliverable => WebhookOutcome::Undeliverable,
            Hooked::Refused(ErrorCode::BadSignature) => WebhookOutcome::BadSignature,
            Hooked::Refused(code) if code.status().is_server_error() => WebhookOutcome::Unavailable,
            Hooked::Refused(_) => WebhookOutcome::Refused,
        };
        self.telemetry.webhooks(outcome).increment(1);
    }

    fn heard(&self, outcome: Listened) {
        let outcome = match outcome {
            Listened::Heard(Heard::PasswordChanged) => EventOutcome::PasswordChanged,
            Listened::Heard(Heard::ProfileChanged) => EventOutcome::ProfileChanged,
            Listened::Heard(Heard::SubscriptionChanged) => EventOutcome::SubscriptionChanged,
            Listened::Heard(Heard::Deleted) => EventOutcome::Deleted,
            Listened::Heard(Heard::Ignored) => EventOutcome::Ignored,
            Listened::Heard(Heard::Repeated) => EventOutcome::Repeated,
            Listened::Heard(Heard::Stale) => EventOutcome::Stale,
            Listened::Heard(Heard::Gone) => EventOutcome::Gone,
            Listened::Refused => EventOutcome::Refused,
            Listened::Unavailable => EventOutcome::Unavailable,
        };
        self.telemetry.account_events(outcome).increment(1);
    }

    fn limited(&self, by: LimitedBy) {
        let by = match by {
            LimitedBy::Account => ActLimit::Account,
            LimitedBy::Address => ActLimit::Address,
            LimitedBy::Hooks => ActLimit::Hooks,
        };
        self.telemetry.acts_limited(by).increment(1);
    }

    fn shed(&self, budget: Budget) {
        self.telemetry.shed(surface(budget)).increment(1);
    }
}

const fn surface(budget: Budget) -> Surface {
    match budget {
        Budget::Verdicts => Surface::Verdicts,
        Budget::Acts => Surface::Acts,
        Budget::Hooks => Surface::Hooks,
        Budget::Documents => Surface::Documents,
        Budget::Admin => Surface::Admin,
    }
}

/// Counts what acts bring about.
pub(super) struct Counting(pub(super) Telemetry);

impl Witness for Counting {
    fn committed(&self, act: &Act) {
        self.0.committed(act);
    }
}

impl StoreObserver for Counting {
    fn done(&self, operation: Operation, took: Duration, ok: bool) {
        let operation = match operation {
            Operation::Account
            | Operation::AccountOf
            | Operation::AccountByKey
            | Operation::Session
            | Operation::Facts => StoreOperation::ReadAccount,
            Operation::Commit
            | Operation::CreateAccount
            | Operation::HoldCredit
            | Operation::ReleaseCredit
            | Operation::PutFacts
            | Operation::AppendAudit => StoreOperation::CommitAct,
            Operation::Accounts
            | Operation::Entry
            | Operation::Entries
            | Operation::HeldCredit
            | Operation::AuditOfDay
            | Operation::AuditOfAccount
            | Operation::History => StoreOperation::ReadList,
            Operation::AppendHistory => StoreOperation::WriteHistory,
            Operation::Checkpoint => StoreOperation::WriteCheckpoints,
            Operation::Recover => StoreOperation::Recover,
            Operation::Clock | Operation::KeepClock => StoreOperation::WriteMeter,
            Operation::AddAccountKey
            | Operation::AccountKeys
            | Operation::RemoveAccountKey
            | Operation::PutEdge
            | Operation::Edges
            | Operation::RemoveEdge
            | Operation::SigningKeys
            | Operation::PutSigningKey
            | Operation::RemoveSigningKey
            | Operation::LeaseStatusList
            | Operation::GrantStatus
            | Operation::RetireStatusList
            | Operation::StatusLists
            | Operation::RemoveStatusList
            | Operation::ListOwners
            | Operation::OwnList
            | Operation::DisownList
            | Operation::PutListCopy
            | Operation::ListCopy
            | Operation::ClearLeftovers
            | Operation::PruneAudit
            | Operation::PruneHistory
            | Operation::Close => StoreOperation::Settings,
            Operation::PutNode | Operation::Nodes | Operation::RemoveNode | Operation::Era | Operation::BeginEra => {
                StoreOperation::Membership
            }
            Operation::Announce => StoreOperation::AnnounceChange,
            Operation::Changes => StoreOperation::ReadChanges,
            Operation::Heard => StoreOperation::ReadCheckpoints,
        };
        let outcome = if ok { StoreOutcome::Ok } else { StoreOutcome::Error };
        self.0.store_operation(operation, outcome, took);
    }
}
