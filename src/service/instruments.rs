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
        hooks::events::EventEffect,
        http::{
            Activated, Answered, Budget, ErrorCode, EventResult, Instruments, IntrospectionOutcome, LimitedBy, Phase,
            WebhookResult,
        },
    },
    engine::{Act, Engine},
    hub::{Delivery, DeliveryObserver, HubSessions},
    identity::Providers,
    ingest::http::WorkerPools,
    store::{Operation, StoreObserver},
    telemetry::{
        self, ActLimit, ActivationOutcome, EventOutcome, LogoutOutcome, PoolName, RenewalOutcome, Route, StatusClass,
        StoreOperation, StoreOutcome, Surface, Telemetry, VerdictOutcome, WebhookOutcome,
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
        let now = self.clock.now();
        self.telemetry.checkpoint_lag(self.engine.checkpoint_lag(now));
        self.telemetry.meter_time(now);
        self.telemetry.pressure(self.engine.pressure().ratio());
        let keys = self.providers.key_ages();
        self.telemetry.identity_keys(keys.oldest, keys.missing);
        if let Some(statements) = &self.statements {
            self.telemetry.checkpoint_statements(statements.load(Ordering::Relaxed));
        }
        self.telemetry.render()
    }

    fn answered(&self, route: &str, answered: Answered, took: Duration) {
        let class = match answered {
            Answered::Status(status) => StatusClass::of(status),
            Answered::Shed => StatusClass::Shed,
        };
        self.telemetry.http_answer(Route::of(route), class, took);
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

    fn told(&self, told: IntrospectionOutcome) {
        let outcome = match told {
            IntrospectionOutcome::Active => VerdictOutcome::Active,
            IntrospectionOutcome::Inactive => VerdictOutcome::Inactive,
            IntrospectionOutcome::Unavailable => VerdictOutcome::Unavailable,
        };
        self.telemetry.verdicts(outcome).increment(1);
    }

    fn hooked(&self, outcome: WebhookResult) {
        let outcome = match outcome {
            WebhookResult::Credited => WebhookOutcome::Credited,
            WebhookResult::Refunded => WebhookOutcome::Refunded,
            WebhookResult::Repeated => WebhookOutcome::Repeated,
            WebhookResult::Held => WebhookOutcome::Held,
            WebhookResult::Ignored => WebhookOutcome::Ignored,
            WebhookResult::Undeliverable => WebhookOutcome::Undeliverable,
            WebhookResult::Refused(ErrorCode::BadSignature) => WebhookOutcome::BadSignature,
            WebhookResult::Refused(code) if code.status().is_server_error() => WebhookOutcome::Unavailable,
            WebhookResult::Refused(_) => WebhookOutcome::Refused,
        };
        self.telemetry.webhooks(outcome).increment(1);
    }

    fn heard(&self, outcome: EventResult) {
        let outcome = match outcome {
            EventResult::Handled(EventEffect::PasswordChanged) => EventOutcome::PasswordChanged,
            EventResult::Handled(EventEffect::ProfileChanged) => EventOutcome::ProfileChanged,
            EventResult::Handled(EventEffect::SubscriptionChanged) => EventOutcome::SubscriptionChanged,
            EventResult::Handled(EventEffect::Deleted) => EventOutcome::Deleted,
            EventResult::Handled(EventEffect::Ignored) => EventOutcome::Ignored,
            EventResult::Handled(EventEffect::Repeated) => EventOutcome::Repeated,
            EventResult::Handled(EventEffect::Stale) => EventOutcome::Stale,
            EventResult::Handled(EventEffect::Gone) => EventOutcome::Gone,
            EventResult::Refused => EventOutcome::Refused,
            EventResult::Unavailable => EventOutcome::Unavailable,
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

/// Who is told of acts: telemetry, and of accounts that are deleted, the hub.
pub(super) struct Witnesses {
    pub(super) counting: Counting,
    pub(super) hub_sessions: HubSessions,
}

impl Witness for Witnesses {
    fn committed(&self, act: &Act) {
        self.counting.committed(act);
        if act.deletes {
            self.hub_sessions.forget(&act.account);
        }
    }
}

impl DeliveryObserver for Counting {
    fn tried(&self, delivery: Delivery) {
        let outcome = match delivery {
            Delivery::Delivered => LogoutOutcome::Delivered,
            Delivery::Failed => LogoutOutcome::Failed,
            Delivery::GivenUp => LogoutOutcome::GivenUp,
        };
        self.0.logouts(outcome).increment(1);
    }
}

impl StoreObserver for Counting {
    fn done(&self, operation: Operation, took: Duration, ok: bool) {
        let operation = match operation {
            Operation::Account
            | Operation::AccountOf
            | Operation::AccountByKey
            | Operation::Session
            | Operation::RewardRecord
            | Operation::Facts
            | Operation::Person
            | Operation::HubSession
            | Operation::IsRedeemed
            | Operation::Handle => StoreOperation::ReadAccount,
            Operation::Commit
            | Operation::CreateAccount
            | Operation::HoldCredit
            | Operation::ReleaseCredit
            | Operation::PutFacts
            | Operation::PutRewardRecord
            | Operation::RemoveRewardRecord
            | Operation::AppendAudit
            | Operation::PutProfile
            | Operation::RaiseEpoch
            | Operation::AddHubSession
            | Operation::RemoveHubSession
            | Operation::RedeemCode
            | Operation::AddHandle
            | Operation::RemoveHandle
            | Operation::AddParticipant => StoreOperation::CommitAct,
            Operation::Accounts
            | Operation::Entry
            | Operation::Entries
            | Operation::HeldCredit
            | Operation::RewardRecords
            | Operation::AuditOfDay
            | Operation::AuditOfAccount
            | Operation::History
            | Operation::HubSessions
            | Operation::HubSessionsOfProvider
            | Operation::Handles => StoreOperation::ReadList,
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
            | Operation::SeeHubSessions
            | Operation::PutHubClient
            | Operation::HubClients
            | Operation::RemoveHubClient
            | Operation::PruneHubSessions
            | Operation::DueLogouts
            | Operation::PostponeLogout
            | Operation::RemoveLogout
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
