//! What the driver's errors mean to the callers of a store.

use scylla::errors::{
    ExecutionError, IntoRowsResultError, NewSessionError, NextRowError, PagerExecutionError, PrepareError, RowsError,
    UseKeyspaceError,
};
use scylla::{
    deserialize::{DeserializationError, TypeCheckError},
    errors::SchemaAgreementError,
};

use crate::store::StoreError;

/// Trouble of the cluster and on the way to it may pass.
macro_rules! may_pass {
    ($($error:ty),+ $(,)?) => {
        $(
            impl From<$error> for StoreError {
                fn from(error: $error) -> Self {
                    Self::Unavailable(error.to_string())
                }
            }
        )+
    };
}

/// What cannot be read is not what this program wrote.
macro_rules! stays {
    ($($error:ty),+ $(,)?) => {
        $(
            impl From<$error> for StoreError {
                fn from(error: $error) -> Self {
                    Self::Damaged(error.to_string())
                }
            }
        )+
    };
}

may_pass!(
    ExecutionError,
    PagerExecutionError,
    PrepareError,
    NewSessionError,
    NextRowError,
    UseKeyspaceError,
    SchemaAgreementError
);
stays!(IntoRowsResultError, RowsError, DeserializationError, TypeCheckError);

/// A decision was not answered.
#[derive(Debug)]
pub(super) struct Unanswered {
    /// What happened.
    pub(super) error: StoreError,
    /// Whether it may have been made all the same.
    pub(super) maybe: bool,
}

impl From<ExecutionError> for Unanswered {
    fn from(error: ExecutionError) -> Self {
        let unsent = matches!(
            error,
            ExecutionError::EmptyPlan
                | ExecutionError::ConnectionPoolError(_)
                | ExecutionError::BadQuery(_)
                | ExecutionError::PrepareError(_)
        );
        Self { maybe: !unsent, error: error.into() }
    }
}

impl From<StoreError> for Unanswered {
    /// Nothing was sent.
    fn from(error: StoreError) -> Self {
        Self { error, maybe: false }
    }
}

impl From<Unanswered> for StoreError {
    fn from(unanswered: Unanswered) -> Self {
        unanswered.error
    }
}
