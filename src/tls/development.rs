//! A certificate of our own, for development: signed by itself, good for less than 14 days and renewed before that.
//!
//! Browsers trust such a certificate by its hash (`serverCertificateHashes`), if it is ECDSA and lives for at most 14
//! days. A client learns the hash when it activates. So the next certificate is made, and its hash told, days before it
//! is shown: who activated in between knows both.

use std::{
    fs::{self, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    time::Duration,
};

use rcgen::{CertificateParams, DnType, ExtendedKeyUsagePurpose, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256};
use rustls::crypto::CryptoProvider;
use zeroize::Zeroizing;

use crate::time::{Millis, UnixMs};

use super::pair::{Pair, PairError};

const DAY: u64 = 24 * 3600;
/// How long one lives. An hour of it lies in the past, for clients whose clocks are late.
const LIFE: Millis = Millis::from_secs(13 * DAY);
const PAST: Millis = Millis::from_secs(3600);
/// With so much left, the next one is made and told of.
const PREPARE: Millis = Millis::from_secs(5 * DAY);
/// With so much left, the next one is shown.
const REPLACE: Millis = Millis::from_secs(2 * DAY);
/// Whom it is for. Who pins the hash does not look at names.
const NAMES: [&str; 3] = ["localhost", "127.0.0.1", "::1"];

/// The certificate of our own, and the one that takes over from it, once there is one.
pub(super) struct Development {
    pub(super) current: Pair,
    pub(super) next: Option<Pair>,
}

impl Development {
    /// The files in a directory: certificate and key in each.
    pub(super) fn files(dir: &Path) -> [PathBuf; 2] {
        [dir.join("development.pem"), dir.join("development-next.pem")]
    }

    /// Whether the next one is to be made, or to be shown. One that has not begun is of no use: the clock has been set back.
    pub(super) fn is_due(begins: UnixMs, expires: UnixMs, has_next: bool, now: UnixMs) -> bool {
        now < begins || expires.since(now) <= if has_next { REPLACE } else { PREPARE }
    }

    /// Reads what is there, and makes what is missing or due.
    pub(super) fn open(dir: &Path, provider: &CryptoProvider, now: UnixMs) -> Result<Self, PairError> {
        let [current_file, next_file] = Self::files(dir);
        let read = |path: &Path| Pair::read(path, path, provider, now).ok();
        let (mut current, mut next) = (read(&current_file), read(&next_file));
        if current.as_ref().is_none_or(|pair| pair.expires.since(now) <= REPLACE) && next.is_some() {
            fs::rename(&next_file, &current_file).map_err(at(&current_file))?;
            current = next.take();
        }
        let current = match current {
            Some(current) if current.expires > now => current,
            _ => make(&current_file, provider, now)?,
        };
        if next.is_none() && current.expires.since(now) <= PREPARE {
            next = Some(make(&next_file, provider, now)?);
        }
        Ok(Self { current, next })
    }
}

/// Makes one and writes it to its file, for its owner alone.
fn make(path: &Path, provider: &CryptoProvider, now: UnixMs) -> Result<Pair, PairError> {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
    let mut params = CertificateParams::new(NAMES.map(str::to_owned))?;
    params.distinguished_name.push(DnType::CommonName, "gastank development");
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let begins = UnixMs::from_ms(now.as_ms().saturating_sub(PAST.get()));
    let since_1970 = |at: UnixMs| rcgen::date_time_ymd(1970, 1, 1) + Duration::from_secs(at.as_secs());
    (params.not_before, params.not_after) = (since_1970(begins), since_1970(begins.plus(LIFE)));
    let certificate = params.self_signed(&key)?;
    let text = Zeroizing::new(certificate.pem() + &Zeroizing::new(key.serialize_pem()));
    write(path, &text).map_err(at(path))?;
    Pair::read(path, path, provider, now)
}

/// Writes a file whole, then puts it in its place.
fn write(path: &Path, text: &str) -> io::Result<()> {
    let draft = path.with_extension("new");
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&draft)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&draft, path)
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> PairError {
    let path = path.to_owned();
    move |source| PairError::Io { path, source }
}
