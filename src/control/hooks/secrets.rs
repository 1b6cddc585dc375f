//! The file with the secrets of the senders of webhooks. Read again when it changes, so that secrets rotate without a
//! restart.

use std::{
    fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use parking_lot::Mutex;
use zeroize::Zeroizing;

use crate::{
    exposure::is_exposed,
    time::{Millis, UnixMs},
};

use super::standard::{SecretError, Verifier};

/// Bytes of the file.
const MAX_FILE: u64 = 16 * 1024;

/// Why the file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum HookSecretsError {
    /// The system refused.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Everybody can read it.
    #[error("{path} can be read by other users; run: chmod o= {path}")]
    Exposed {
        /// The file.
        path: PathBuf,
    },
    /// It is not what it should be.
    #[error(
        "{path}: {what}; it has one secret a line, `whsec_…` or `whpk_…`, with the sender's name before it if it has one"
    )]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        what: SecretError,
    },
    /// It is far too long.
    #[error("{path}: it is longer than {MAX_FILE} bytes")]
    TooLong {
        /// The file.
        path: PathBuf,
    },
}

/// The secrets that are good now, by a file.
#[derive(Debug)]
pub struct HookSecrets {
    path: PathBuf,
    tolerance: Millis,
    kept: Mutex<Kept>,
}

#[derive(Debug)]
struct Kept {
    verifier: Arc<Verifier>,
    /// The file that the secrets were read from. `None` where there was none.
    stamp: Option<Stamp>,
    looked: UnixMs,
}

/// What tells one state of a file from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    changed: (i64, i64),
    inode: u64,
    len: u64,
    is_exposed: bool,
}

impl HookSecrets {
    /// How long what was read is good before the file is looked at again.
    pub const LOOK_AGAIN: Millis = Millis::from_secs(1);

    /// Reads the file at `path`. Where there is none, there are no secrets until there is one. Deliveries are good up to
    /// `tolerance` from the time they name.
    ///
    /// # Errors
    ///
    /// [`HookSecretsError`].
    pub fn open(path: PathBuf, tolerance: Millis, now: UnixMs) -> Result<Self, HookSecretsError> {
        let stamp = stamp(&path)?;
        let verifier = Arc::new(read(&path, stamp)?);
        Ok(Self { path, tolerance, kept: Mutex::new(Kept { verifier, stamp, looked: now }) })
    }

    /// The secrets that are good now. A file that has become unusable is reported and what was good before stays good; a
    /// file that is gone takes its secrets with it.
    pub fn current(&self, now: UnixMs) -> Arc<Verifier> {
        let mut kept = self.kept.lock();
        let since = now.since(kept.looked).max(kept.looked.since(now));
        if since >= Self::LOOK_AGAIN {
            kept.looked = now;
            self.look(&mut kept);
        }
        Arc::clone(&kept.verifier)
    }

    /// How far from now the time that a delivery names may be.
    pub const fn tolerance(&self) -> Millis {
        self.tolerance
    }

    fn look(&self, kept: &mut Kept) {
        let found = stamp(&self.path).and_then(|stamp| {
            if stamp == kept.stamp {
                return Ok(None);
            }
            // Also of a file that cannot be used: it is reported once, and read again when it has changed again.
            kept.stamp = stamp;
            read(&self.path, stamp).map(Some)
        });
        match found {
            Ok(None) => {}
            Ok(Some(verifier)) => {
                tracing::info!(secrets = verifier.len(), "the secrets of webhooks were read anew");
                kept.verifier = Arc::new(verifier);
            }
            Err(error) => tracing::error!(%error, "the secrets of webhooks stay as they were"),
        }
    }
}

fn stamp(path: &Path) -> Result<Option<Stamp>, HookSecretsError> {
    match fs::metadata(path) {
        Ok(found) => Ok(Some(Stamp {
            changed: (found.ctime(), found.ctime_nsec()),
            inode: found.ino(),
            len: found.len(),
            is_exposed: is_exposed(&found),
        })),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(HookSecretsError::Io { path: path.to_owned(), source }),
    }
}

fn read(path: &Path, stamp: Option<Stamp>) -> Result<Verifier, HookSecretsError> {
    let path = path.to_owned();
    let Some(stamp) = stamp else { return Ok(Verifier::default()) };
    if stamp.is_exposed {
        return Err(HookSecretsError::Exposed { path });
    }
    if stamp.len > MAX_FILE {
        return Err(HookSecretsError::TooLong { path });
    }
    match fs::read_to_string(&path).map(Zeroizing::new) {
        Ok(text) => Verifier::parse(&text).map_err(|what| HookSecretsError::Malformed { path, what }),
        Err(source) => Err(HookSecretsError::Io { path, source }),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    const START: UnixMs = UnixMs::from_ms(1_800_000_000_000);
    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n";

    fn write(path: &Path, text: &str, mode: u32) {
        fs::write(path, text).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn secrets_come_change_and_go_with_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("hooks.secrets");
        let secrets = HookSecrets::open(path.clone(), Millis::from_secs(300), START).unwrap();
        let at = |s: u64| secrets.current(START.plus(Millis::from_secs(s))).len();
        assert_eq!(at(0), 0);
        write(&path, SECRET, 0o600);
        assert_eq!(secrets.current(START.plus(Millis::new(999))).len(), 0, "looked at once a second");
        assert_eq!(at(1), 1);
        write(&path, &SECRET.repeat(2), 0o600);
        assert_eq!(at(2), 2);
        write(&path, "nonsense", 0o600);
        assert_eq!(at(3), 2, "what was good stays good");
        write(&path, &SECRET.repeat(3), 0o644);
        assert_eq!(at(4), 2);
        write(&path, &SECRET.repeat(3), 0o600);
        assert_eq!(at(0), 3, "the wall clock may step back");
        fs::remove_file(&path).unwrap();
        assert_eq!(at(6), 0);
    }

    #[test]
    fn a_file_that_others_can_read_is_refused_with_what_to_do() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("hooks.secrets");
        write(&path, SECRET, 0o644);
        let open = || HookSecrets::open(path.clone(), Millis::from_secs(300), START);
        assert!(open().unwrap_err().to_string().contains("chmod o="));
        // As it is mounted for a group.
        write(&path, SECRET, 0o640);
        assert_eq!(open().unwrap().current(START).len(), 1);
        write(&path, "whsec_hunter2!", 0o600);
        let error = open().unwrap_err().to_string();
        assert!(error.contains("line 1") && !error.contains("hunter2"), "{error}");
        write(&path, &"#\n".repeat(10_000), 0o600);
        assert!(matches!(open(), Err(HookSecretsError::TooLong { .. })));
    }
}
