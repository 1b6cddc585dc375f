//! Certificates: which one is shown to who connects by TLS or QUIC.
//!
//! A pair comes from the files that are configured, or is one of our own, see [`development`]. Either may be replaced
//! while the service runs. A replacement that cannot be used is refused, and what was good stays: a listener never
//! loses a working certificate to a broken one.

mod development;
mod pair;
mod pinned;
#[cfg(test)]
pub(crate) mod tests;

use std::{
    fmt, iter,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use parking_lot::{Mutex, RwLock};
use rustls::{
    ServerConfig,
    crypto::{CryptoProvider, aws_lc_rs},
    server::{ClientHello, NoServerSessionStorage, ResolvesServerCert, ServerSessionMemoryCache},
    sign::CertifiedKey,
    version::TLS13,
};
use sha2::{Digest, Sha256};
use tokio_util::sync::CancellationToken;

use crate::{
    telemetry::{CertificateLoad, Telemetry},
    time::{Clock, Millis, UnixMs},
};

use development::Development;
use pair::{Pair, Stamp};

pub use pair::PairError;
pub use pinned::client;

/// How often the files are looked at.
const LOOK: Duration = Duration::from_secs(2);
/// How long a refused replacement is left alone while its files do not change: some faults are not in the files.
const TRY_AGAIN: Millis = Millis::from_secs(60);
/// Sessions of TLS that may be resumed over QUIC, some 300 bytes each. Those of TCP are in the clients' tickets.
const RESUMABLE: usize = 16_384;

/// Where the certificate comes from.
#[derive(Clone, Debug)]
pub enum CertificateSource {
    /// These files, in PEM. The chain begins with the service's own certificate.
    Files {
        /// The certificate and those that vouch for it.
        chain: PathBuf,
        /// Its private key.
        key: PathBuf,
    },
    /// One of our own, kept in this directory.
    Development {
        /// The data directory.
        dir: PathBuf,
    },
}

/// The SHA-256 of a certificate, by which a browser may be told to trust it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CertHash(pub [u8; 32]);

/// The certificate that is shown now, and how it is replaced.
pub struct Certificates {
    source: CertificateSource,
    provider: Arc<CryptoProvider>,
    shown: RwLock<Shown>,
    /// What was looked at last. Also keeps two reloads from running at once.
    looked: Mutex<Looked>,
    telemetry: Telemetry,
}

struct Shown {
    key: Arc<CertifiedKey>,
    begins: UnixMs,
    expires: UnixMs,
    /// The one that will be shown next, where it is known.
    next: Option<CertHash>,
}

#[derive(Default)]
struct Looked {
    stamps: Vec<Option<Stamp>>,
    refused_at: Option<UnixMs>,
}

impl Certificates {
    /// Reads the pair, or makes one.
    ///
    /// # Errors
    ///
    /// [`PairError`] when there is none that can be used at `now`.
    pub fn open(source: CertificateSource, telemetry: Telemetry, now: UnixMs) -> Result<Arc<Self>, PairError> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        // The state from before reading: what is written meanwhile is seen at the next look.
        let before = source.stamps();
        let shown = source.load(&provider, now)?;
        let looked = Looked { stamps: source.stamps_after(before), refused_at: None };
        telemetry.certificate(CertificateLoad::Loaded, shown.expires);
        telemetry.certificate_from_files(matches!(source, CertificateSource::Files { .. }));
        let this = Self { source, provider, shown: RwLock::new(shown), looked: Mutex::new(looked), telemetry };
        Ok(Arc::new(this))
    }

    /// TLS 1.2 and 1.3 over TCP, for these application protocols. Shows whatever certificate is current.
    pub fn for_tcp(self: &Arc<Self>, protocols: &[&[u8]]) -> ServerConfig {
        let builder = ServerConfig::builder_with_provider(Arc::clone(&self.provider));
        let builder = builder.with_safe_default_protocol_versions().expect("the provider has suites for both versions");
        let resolver = Arc::<Self>::clone(self) as Arc<dyn ResolvesServerCert>;
        let mut config = builder.with_no_client_auth().with_cert_resolver(resolver);
        config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
        // What a client needs to come back is in its ticket: nothing is kept here.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        match aws_lc_rs::Ticketer::new() {
            Ok(ticketer) => config.ticketer = ticketer,
            Err(error) => {
                tracing::warn!(%error, "cannot issue TLS session tickets; every connection needs a full handshake")
            }
        }
        config
    }

    /// TLS 1.3 for QUIC, for these application protocols. Accepts early data: see where it is read.
    pub fn for_quic(self: &Arc<Self>, protocols: &[&[u8]]) -> ServerConfig {
        let builder = ServerConfig::builder_with_provider(Arc::clone(&self.provider));
        let builder = builder.with_protocol_versions(&[&TLS13]).expect("the provider has suites for TLS 1.3");
        let resolver = Arc::<Self>::clone(self) as Arc<dyn ResolvesServerCert>;
        let mut config = builder.with_no_client_auth().with_cert_resolver(resolver);
        config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
        // Early data needs sessions that are kept here and resumed once; QUIC knows only all or none of it.
        config.session_storage = ServerSessionMemoryCache::new(RESUMABLE);
        config.max_early_data_size = u32::MAX;
        config
    }

    /// The hashes that browsers are told to trust: of our own certificate, and of the one that takes over from it. None
    /// where the certificate comes from files.
    pub fn hashes(&self) -> Vec<CertHash> {
        if matches!(self.source, CertificateSource::Files { .. }) {
            return Vec::new();
        }
        let shown = self.shown.read();
        iter::once(hash(&shown.key)).chain(shown.next).collect()
    }

    /// When the certificate that is shown expires.
    pub fn expires(&self) -> UnixMs {
        self.shown.read().expires
    }

    /// Looks at the files every few seconds and at each SIGHUP, until told to stop.
    pub async fn watch(self: Arc<Self>, clock: Arc<dyn Clock>, stop: CancellationToken) {
        let mut hangup = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::hangup())
            .inspect_err(|error| tracing::warn!(%error, "cannot listen for SIGHUP; changed certificates are still detected by polling"))
            .ok();
        loop {
            let told = async {
                match &mut hangup {
                    Some(hangup) => drop(hangup.recv().await),
                    None => std::future::pending().await,
                }
            };
            let asked = tokio::select! {
                () = stop.cancelled() => return,
                () = told => true,
                () = tokio::time::sleep(LOOK) => false,
            };
            let (this, now) = (Arc::clone(&self), clock.wall());
            let looking = tokio::task::spawn_blocking(move || this.look(now, asked));
            looking.await.expect("looking at certificates does not panic");
        }
    }

    /// Takes over what has changed. With `asked`, also what has not.
    fn look(&self, now: UnixMs, asked: bool) {
        let mut looked = self.looked.lock();
        let stamps = self.source.stamps();
        let due = match &self.source {
            CertificateSource::Files { .. } => looked.refused_at.is_some_and(|at| now.since(at) >= TRY_AGAIN),
            CertificateSource::Development { .. } => {
                let shown = self.shown.read();
                Development::is_due(shown.begins, shown.expires, shown.next.is_some(), now)
            }
        };
        let changed = stamps != looked.stamps;
        if !(asked || changed || due) {
            return;
        }
        looked.stamps = stamps;
        match self.source.load(&self.provider, now) {
            Ok(shown) => {
                looked.refused_at = None;
                looked.stamps = self.source.stamps_after(std::mem::take(&mut looked.stamps));
                self.telemetry.certificate(CertificateLoad::Loaded, shown.expires);
                tracing::info!(expires_at_s = shown.expires.as_secs(), "certificate reloaded");
                *self.shown.write() = shown;
            }
            Err(error) => {
                looked.refused_at = Some(now);
                self.telemetry.certificate(CertificateLoad::Refused, self.expires());
                tracing::error!(%error, "cannot use the new certificate; the previous one stays in use");
            }
        }
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.shown.read().key))
    }
}

impl fmt::Debug for Certificates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificates").field("source", &self.source).finish_non_exhaustive()
    }
}

impl CertificateSource {
    fn files(&self) -> [PathBuf; 2] {
        match self {
            Self::Files { chain, key } => [chain.clone(), key.clone()],
            Self::Development { dir } => Development::files(dir),
        }
    }

    fn stamps(&self) -> Vec<Option<Stamp>> {
        self.files().iter().map(|path| Stamp::of(path)).collect()
    }

    /// The state that has been read, where it was `before` reading. Reading our own may have written them.
    fn stamps_after(&self, before: Vec<Option<Stamp>>) -> Vec<Option<Stamp>> {
        match self {
            Self::Files { .. } => before,
            Self::Development { .. } => self.stamps(),
        }
    }

    fn load(&self, provider: &CryptoProvider, now: UnixMs) -> Result<Shown, PairError> {
        let (pair, next) = match self {
            Self::Files { chain, key } => (Pair::read(chain, key, provider, now)?, None),
            Self::Development { dir } => {
                let Development { current, next } = Development::open(Path::new(dir), provider, now)?;
                (current, next.map(|next| hash(&next.key)))
            }
        };
        Ok(Shown { key: pair.key, begins: pair.begins, expires: pair.expires, next })
    }
}

fn hash(key: &CertifiedKey) -> CertHash {
    let own = key.cert.first().expect("a pair has a certificate");
    CertHash(Sha256::digest(own).into())
}
