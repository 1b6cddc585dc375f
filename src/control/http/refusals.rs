//! What each call may be refused for, as the description has it.

use std::collections::BTreeMap;

use utoipa::{
    IntoResponses,
    openapi::{RefOr, response::Response},
};

use crate::web::{
    openapi::{OAUTH, PROBLEM, refusals},
    problem::Code as ErrorCode,
};

macro_rules! refusals {
    ($media:expr; $( $(#[$doc:meta])* $name:ident: $($code:ident),+; )+) => {
        $(
            $(#[$doc])*
            pub(super) struct $name;

            impl IntoResponses for $name {
                fn responses() -> BTreeMap<String, RefOr<Response>> {
                    refusals($media, &[$(ErrorCode::$code),+])
                }
            }
        )+
    };
}

refusals! { OAUTH;
    /// Of introspection.
    IntrospectErrors: BadRequest, BadCredentials, RequestTimeout, BodyTooLarge, UnsupportedMediaType, RateLimited, Internal,
        StoreUnavailable, WarmingUp;
    /// Of revocation.
    RevokeErrors: BadRequest, BadCredentials, RequestTimeout, BodyTooLarge, UnsupportedMediaType, RateLimited, Internal,
        StoreUnavailable, Overloaded, WarmingUp;
}

refusals! { PROBLEM;
    /// Of an activation.
    ActErrors: BadRequest, UnknownAudience, BadCredentials, TankEmpty, RequestTimeout, SessionEnded, StaleRenewal, IdReused,
        BodyTooLarge, UnsupportedMediaType, RateLimited, Internal, StoreUnavailable, ProviderUnavailable, Overloaded, WarmingUp;
    /// Of a renewal.
    RenewErrors: BadRequest, BadFrame, BadCredentials, SessionEnded, StaleRenewal, RequestTimeout, BodyTooLarge, UnsupportedMediaType,
        RateLimited, Internal, StoreUnavailable, Overloaded, WarmingUp;
    /// Of a deactivation.
    DeactivateErrors: BadRequest, BadCredentials, RequestTimeout, BodyTooLarge, UnsupportedMediaType, RateLimited, Internal,
        StoreUnavailable, ProviderUnavailable, Overloaded, WarmingUp;
    /// Of what else an account's owner asks.
    OwnerErrors: BadRequest, BadCredentials, RateLimited, Internal, StoreUnavailable, ProviderUnavailable, Overloaded,
        WarmingUp;
    /// Of a heartbeat.
    HeartbeatErrors: BadRequest, BadFrame, RequestTimeout, BodyTooLarge, UnsupportedMediaType, StoreUnavailable, WarmingUp;
    /// Of a credit webhook.
    HookErrors: BadRequest, BadSignature, NotFound, RequestTimeout, IdReused, LimitReached, BodyTooLarge,
        UnsupportedMediaType, Internal, StoreUnavailable, Overloaded, WarmingUp;
    /// Of an account event, but for what its own document says.
    EventErrors: BadCredentials, NotFound, RequestTimeout, BodyTooLarge, UnsupportedMediaType, Internal, StoreUnavailable,
        ProviderUnavailable, Overloaded, WarmingUp;
    /// Of making an account.
    CreateErrors: BadRequest, BadCredentials, NotFound, IdReused, LimitReached, PersonGone, RequestTimeout, BodyTooLarge,
        UnsupportedMediaType, RateLimited, Internal, StoreUnavailable, Overloaded, WarmingUp;
    /// Of a status list.
    StatusErrors: BadRequest, NotFound, Internal, NotImplemented, StoreUnavailable, WarmingUp;
    /// Of the status lists' addresses.
    AggregationErrors: WarmingUp;
    /// Of what operators ask without a body.
    AdminErrors: BadRequest, BadCredentials, NotFound, RateLimited, Internal, StoreUnavailable, Overloaded, WarmingUp;
    /// Of asking for the history of a session.
    HistoryErrors: BadRequest, BadCredentials, NotFound, HistoryOff, RateLimited, Internal, StoreUnavailable, Overloaded,
        WarmingUp;
    /// Of what operators ask with a body.
    AdminBodyErrors: BadRequest, BadCredentials, NotFound, LimitReached, RequestTimeout, BodyTooLarge, UnsupportedMediaType,
        RateLimited, Internal, StoreUnavailable, Overloaded, WarmingUp;
    /// Of entering credit.
    CreditErrors: BadRequest, IdempotencyKeyRequired, BadCredentials, NotFound, IdReused, RequestTimeout, BodyTooLarge,
        UnsupportedMediaType, RateLimited, Internal, StoreUnavailable, Overloaded, WarmingUp;
    /// Of rotating the signing keys.
    RotateErrors: BadRequest, BadCredentials, LimitReached, RateLimited, Internal, StoreUnavailable, WarmingUp;
    /// Of the page of an error.
    PageErrors: NotFound;
    /// Of asking whether traffic may come.
    ReadinessErrors: WarmingUp, ShuttingDown;
}
