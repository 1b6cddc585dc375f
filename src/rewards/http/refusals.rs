//! What each call may be refused for, as the description has it.

use std::collections::BTreeMap;

use utoipa::{
    IntoResponses,
    openapi::{RefOr, response::Response},
};

use crate::web::{
    openapi::{PROBLEM, refusals},
    problem::Code as ErrorCode,
};

macro_rules! refusals {
    ($( $(#[$doc:meta])* $name:ident: $($code:ident),+; )+) => {
        $(
            $(#[$doc])*
            pub(super) struct $name;

            impl IntoResponses for $name {
                fn responses() -> BTreeMap<String, RefOr<Response>> {
                    refusals(PROBLEM, &[$(ErrorCode::$code),+])
                }
            }
        )+
    };
}

refusals! {
    /// Of a transaction.
    TransactionErrors: BadRequest, BadCredentials, ActivityRequired, NotFound, RewardNotDue, RateLimited, Internal, StoreUnavailable,
        Overloaded, WarmingUp;
    /// Of a validation.
    ValidateErrors: BadRequest, BadCredentials, NotFound, RateLimited, Internal, StoreUnavailable, Overloaded, WarmingUp;
    /// Of what the owner of an account does with earner tokens.
    EarnerErrors: BadRequest, BadCredentials, NotFound, LimitReached, RateLimited, Internal, StoreUnavailable, ProviderUnavailable,
        Overloaded, WarmingUp;
    /// Of a webhook of a shop.
    ShopErrors: BadRequest, BadSignature, NotFound, RequestTimeout, BodyTooLarge, Internal, StoreUnavailable, Overloaded, WarmingUp;
    /// Of a file.
    AssetErrors: NotFound;
    /// Of what operators ask.
    AdminErrors: BadRequest, BadCredentials, NotFound, RateLimited, Internal, StoreUnavailable, Overloaded, WarmingUp;
}
