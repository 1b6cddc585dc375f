//! Whom to trust at the other end of a TLS or QUIC connection.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use aws_lc_rs::digest::{SHA256, digest};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error as TlsError, RootCertStore, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime, pem, pem::PemObject},
};

/// Whom to trust.
#[derive(Clone, Debug)]
pub enum Trust {
    /// Whom this machine trusts.
    System,
    /// Whom the certificates of this file vouch for.
    Authorities(PathBuf),
    /// Certificates whose SHA-256 is one of these, whatever name and date they bear.
    Hashes(Vec<[u8; 32]>),
    /// Anyone. Dangerous: whoever sits in between can read account keys and change verdicts.
    Anyone,
}

/// Why nobody can be trusted.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// The file of certificates cannot be used.
    #[error("cannot use the certificates in {0}: {1}")]
    File(PathBuf, pem::Error),
    /// The file has none.
    #[error("no certificate in {0}")]
    Empty(PathBuf),
    /// This machine trusts nobody.
    #[error("this machine has no certificates of authorities: give --ca FILE or --insecure")]
    NoSystem,
    /// rustls refuses.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

impl From<TrustError> for io::Error {
    fn from(error: TrustError) -> Self {
        Self::other(error)
    }
}

impl Trust {
    /// A client's side of TLS that trusts so, and speaks these protocols.
    ///
    /// # Errors
    ///
    /// Any [`TrustError`].
    pub fn client(&self, alpn: &[&[u8]]) -> Result<ClientConfig, TrustError> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder =
            ClientConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions()?;
        let accept = |hashes| Arc::new(Accept { provider, hashes });
        let mut config = match self {
            Self::System => builder.with_root_certificates(system_roots()?),
            Self::Authorities(path) => builder.with_root_certificates(roots_of(path)?),
            Self::Hashes(hashes) => builder.dangerous().with_custom_certificate_verifier(accept(Some(hashes.clone()))),
            Self::Anyone => builder.dangerous().with_custom_certificate_verifier(accept(None)),
        }
        .with_no_client_auth();
        config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
        Ok(config)
    }
}

fn system_roots() -> Result<RootCertStore, TrustError> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() { Err(TrustError::NoSystem) } else { Ok(roots) }
}

fn roots_of(path: &Path) -> Result<RootCertStore, TrustError> {
    let cannot = |error| TrustError::File(path.to_owned(), error);
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(path).map_err(cannot)? {
        roots.add(certificate.map_err(cannot)?)?;
    }
    if roots.is_empty() { Err(TrustError::Empty(path.to_owned())) } else { Ok(roots) }
}

/// Goes by a certificate's hash, or by nothing; the server still has to prove that it holds the key.
#[derive(Debug)]
struct Accept {
    provider: Arc<CryptoProvider>,
    hashes: Option<Vec<[u8; 32]>>,
}

impl ServerCertVerifier for Accept {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, TlsError> {
        let Some(hashes) = &self.hashes else { return Ok(ServerCertVerified::assertion()) };
        let hash = digest(&SHA256, certificate);
        if hashes.iter().any(|known| known == hash.as_ref()) {
            Ok(ServerCertVerified::assertion())
        } else {
            Err(CertificateError::UnknownIssuer.into())
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        verify_tls12_signature(message, certificate, signed, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        verify_tls13_signature(message, certificate, signed, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
