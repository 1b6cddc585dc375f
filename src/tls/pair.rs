//! A certificate and its key, read and looked at before anybody is shown them.

use std::{
    fs::{self, File},
    io::{self, Read},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use rustls::{
    crypto::CryptoProvider,
    pki_types::{CertificateDer, PrivateKeyDer, pem, pem::PemObject},
    sign::CertifiedKey,
};
use x509_parser::{certificate::X509Certificate, prelude::FromDer};
use zeroize::Zeroizing;

use crate::{exposure::is_exposed, time::UnixMs};

/// Bytes of a file with a chain or a key.
const MAX_FILE: u64 = 1 << 20;

/// Why a certificate and its key cannot be used. No message has anything of the key.
#[derive(Debug, thiserror::Error)]
pub enum PairError {
    /// The system refused.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file that the configuration names cannot be read.
    #[error("cannot read {}, which tls.cert_file or tls.key_file names: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Everybody can read the key.
    #[error("{} can be read by other users; run: chmod o= {}", path.display(), path.display())]
    Exposed {
        /// The file.
        path: PathBuf,
    },
    /// It is far too long.
    #[error("{}: it is longer than {MAX_FILE} bytes", path.display())]
    TooLong {
        /// The file.
        path: PathBuf,
    },
    /// A certificate cannot be read.
    #[error("{}: it has no certificate in PEM that can be read", path.display())]
    Chain {
        /// The file.
        path: PathBuf,
    },
    /// The key cannot be read.
    #[error("{}: it has no private key in PEM that can be read", path.display())]
    Key {
        /// The file.
        path: PathBuf,
    },
    /// They do not belong together, or the key's kind is not known.
    #[error("{}: the certificate and the key of {} cannot be used together: {source}", chain.display(), key.display())]
    Mismatch {
        /// The file with the certificate.
        chain: PathBuf,
        /// The file with the key.
        key: PathBuf,
        /// Why.
        source: rustls::Error,
    },
    /// It is over.
    #[error("{}: the certificate has expired", path.display())]
    Expired {
        /// The file.
        path: PathBuf,
    },
    /// It has not begun.
    #[error("{}: the certificate is not valid yet", path.display())]
    NotYet {
        /// The file.
        path: PathBuf,
    },
    /// One of our own could not be made.
    #[error("a certificate could not be made: {0}")]
    Make(#[from] rcgen::Error),
}

/// A certificate and its key that may be shown.
pub(super) struct Pair {
    pub(super) key: Arc<CertifiedKey>,
    pub(super) begins: UnixMs,
    pub(super) expires: UnixMs,
}

impl Pair {
    /// Reads a chain and a key. They are good at `now`, and belong together.
    pub(super) fn read(
        chain_file: &Path,
        key_file: &Path,
        provider: &CryptoProvider,
        now: UnixMs,
    ) -> Result<Self, PairError> {
        let path = || chain_file.to_owned();
        let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(&read(chain_file)?)
            .collect::<Result<_, pem::Error>>()
            .map_err(|_| PairError::Chain { path: path() })?;
        let key = read_key(key_file)?;
        let own = chain.first().ok_or_else(|| PairError::Chain { path: path() })?;
        let (begins, expires) = validity(own).ok_or_else(|| PairError::Chain { path: path() })?;
        if expires <= now {
            return Err(PairError::Expired { path: path() });
        }
        if begins > now {
            return Err(PairError::NotYet { path: path() });
        }
        let key = CertifiedKey::from_der(chain, key, provider).map_err(|source| PairError::Mismatch {
            chain: path(),
            key: key_file.to_owned(),
            source,
        })?;
        Ok(Self { key: Arc::new(key), begins, expires })
    }
}

/// What tells one state of a file from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    changed: (i64, i64),
    inode: u64,
    len: u64,
}

impl Stamp {
    /// The state of a file, if it is there. Links are followed: tools that renew certificates replace those.
    pub(super) fn of(path: &Path) -> Option<Self> {
        let found = fs::metadata(path).ok()?;
        Some(Self { changed: (found.ctime(), found.ctime_nsec()), inode: found.ino(), len: found.len() })
    }
}

/// Reads a key that not everybody can read.
fn read_key(path: &Path) -> Result<PrivateKeyDer<'static>, PairError> {
    let found = fs::metadata(path).map_err(|source| PairError::Unreadable { path: path.to_owned(), source })?;
    let key = PrivateKeyDer::from_pem_slice(&read(path)?).map_err(|_| PairError::Key { path: path.to_owned() })?;
    if is_exposed(&found) { Err(PairError::Exposed { path: path.to_owned() }) } else { Ok(key) }
}

fn read(path: &Path) -> Result<Zeroizing<Vec<u8>>, PairError> {
    let at = |source| PairError::Unreadable { path: path.to_owned(), source };
    let file = File::open(path).map_err(at)?;
    let mut bytes = Zeroizing::new(Vec::new());
    file.take(MAX_FILE + 1).read_to_end(&mut bytes).map_err(at)?;
    if bytes.len() as u64 > MAX_FILE {
        return Err(PairError::TooLong { path: path.to_owned() });
    }
    Ok(bytes)
}

/// From when and until when a certificate is good.
fn validity(certificate: &CertificateDer<'_>) -> Option<(UnixMs, UnixMs)> {
    let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
    let at = |seconds: i64| u64::try_from(seconds).unwrap_or(0).saturating_mul(1000);
    let validity = parsed.validity();
    Some((UnixMs::from_ms(at(validity.not_before.timestamp())), UnixMs::from_ms(at(validity.not_after.timestamp()))))
}
