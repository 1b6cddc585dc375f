//! Why a store does not do as asked.

/// Why the store did not do as asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// It cannot be reached or cannot write now; trying again later may help. The text is for operators.
    #[error("the store is unavailable: {0}")]
    Unavailable(String),
    /// What it holds cannot be read as what it should be. Trying again does not help.
    #[error("the store is damaged: {0}")]
    Damaged(String),
    /// It cannot be opened as configured. The text says what to do.
    #[error("{0}")]
    Refused(String),
}

/// What a store answers.
pub type Result<T> = std::result::Result<T, StoreError>;
