//! What goes wrong in acts, as problems. The one place where errors of the inside become codes.

use crate::{
    control::{
        account_keys::AccountKeyError, acts::ActError, client_secrets::SecretError, keyring::KeyringError,
        keys::KeyError, registry::RegistryError, secrets::SecretsError, status_token::PublicationError,
    },
    engine::Refusal,
    store::StoreError,
    telemetry::Seldom,
    web::problem::{Code as ErrorCode, Problem},
};

static REFUSED: Seldom = Seldom::new();
static FAILED: Seldom = Seldom::new();

/// As callers see it that have proved who they are by an account that is gone.
pub fn for_owner(error: ActError) -> Problem {
    let problem = Problem::from(error);
    if matches!(problem.code(), ErrorCode::NotFound | ErrorCode::PersonGone) {
        Problem::bad_credentials()
    } else {
        problem
    }
}

impl From<ActError> for Problem {
    fn from(error: ActError) -> Self {
        match error {
            ActError::Refused(refusal) => refusal.into(),
            ActError::NotFound(what) => Self::not_found(what),
            ActError::BadCredentials => Self::bad_credentials(),
            ActError::BadFrame(_) => {
                Self::because(ErrorCode::BadFrame, "the body is not a renewal's frame of this session")
            }
            ActError::IdReused => {
                Self::because(ErrorCode::IdReused, "this name was used before, for another amount or another account")
            }
            ActError::Gone => {
                Self::because(ErrorCode::PersonGone, "the identity provider has told that this person is gone for good")
            }
            ActError::HeldFull => {
                Self::because(ErrorCode::LimitReached, "too much is held for this person, who has no account yet")
            }
            ActError::Store(error) | ActError::Unknown(error) => error.into(),
            ActError::Late(_) => {
                Self::because(ErrorCode::Overloaded, "this could not be done in time, and is not done any more")
            }
            ActError::Untold => {
                Self::because(ErrorCode::Overloaded, "what other nodes have heard of the session is not known yet")
            }
            ActError::Contended => Self::because(ErrorCode::Overloaded, "too much happens on this account at once"),
            ActError::Signing(error) => internal(&error),
        }
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::TankEmpty => Self::because(ErrorCode::TankEmpty, "there is less than a second of credit"),
            Refusal::Deleted => Self::not_found("account"),
            Refusal::SessionEnded(reason) => {
                let detail = format!("the session has ended: {}", reason.name());
                Self::because(ErrorCode::SessionEnded, detail).reason(reason.name())
            }
            Refusal::WrongToken => Self::bad_credentials(),
            Refusal::StaleRenewal { now } => {
                let detail =
                    "this renewal is not later than the last one that was done; sign another frame, by this meter time";
                Self::because(ErrorCode::StaleRenewal, detail).meter(now)
            }
            Refusal::NameReused => {
                Self::because(ErrorCode::IdReused, "an activation for another audience has this Idempotency-Key")
            }
            Refusal::StaleActivation => Self::because(
                ErrorCode::SessionEnded,
                "the session that this activation opened is over, and others have followed it",
            ),
        }
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Unavailable(_) => {
                if let Some(unsaid) = REFUSED.speak() {
                    tracing::warn!(%error, unsaid, "an act was refused");
                }
                let detail = "the store failed or did not answer in time: what was asked may have been done or not, and can \
                              be asked again; the meter and the verdicts go on";
                Self::because(ErrorCode::StoreUnavailable, detail)
            }
            StoreError::Damaged(_) | StoreError::Refused(_) => internal(&error),
        }
    }
}

impl From<KeyError> for Problem {
    fn from(error: KeyError) -> Self {
        internal(&error)
    }
}

impl From<PublicationError> for Problem {
    fn from(error: PublicationError) -> Self {
        match error {
            PublicationError::Key(error) => error.into(),
            PublicationError::Store(error) => error.into(),
        }
    }
}

impl From<KeyringError> for Problem {
    fn from(error: KeyringError) -> Self {
        match error {
            KeyringError::Store(error) => error.into(),
            KeyringError::Full => Self::because(ErrorCode::LimitReached, error.to_string()),
            KeyringError::Key(_) | KeyringError::Sealed { .. } => internal(&error),
        }
    }
}

impl From<SecretsError> for Problem {
    fn from(error: SecretsError) -> Self {
        match error {
            SecretsError::Full => Self::because(ErrorCode::LimitReached, error.to_string()),
            SecretsError::Taken => Self::because(ErrorCode::Overloaded, error.to_string()),
            SecretsError::Store(error) => error.into(),
            SecretsError::Keys(error) => error.into(),
            SecretsError::File(_) => internal(&error),
        }
    }
}

impl From<RegistryError> for Problem {
    fn from(error: RegistryError) -> Self {
        match error {
            RegistryError::Full(_) => Self::because(ErrorCode::LimitReached, error.to_string()),
            RegistryError::Unknown(what) => Self::not_found(what),
            RegistryError::Public(_) => Self::bad_request(error.to_string()),
            RegistryError::Secret(error) => error.into(),
            RegistryError::Store(error) => error.into(),
        }
    }
}

impl From<SecretError> for Problem {
    fn from(error: SecretError) -> Self {
        match error {
            SecretError::Full | SecretError::Last => Self::because(ErrorCode::LimitReached, error.to_string()),
            SecretError::NoSuchSecret => Self::not_found("secret"),
        }
    }
}

impl From<AccountKeyError> for Problem {
    fn from(error: AccountKeyError) -> Self {
        match error {
            AccountKeyError::Full => Self::because(ErrorCode::LimitReached, error.to_string()),
            AccountKeyError::NoSuchAccount => Self::not_found("account"),
            AccountKeyError::NoSuchKey => Self::not_found("key"),
            AccountKeyError::Store(error) => error.into(),
        }
    }
}

/// For operators, what happened; for the caller, that it did.
fn internal(error: &dyn std::error::Error) -> Problem {
    if let Some(unsaid) = FAILED.speak() {
        tracing::error!(error = %error, unsaid, "a request failed");
    }
    Problem::because(ErrorCode::Internal, "the service failed; its log says why")
}
