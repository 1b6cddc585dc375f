//! The other end: whom a client of ours trusts.

use std::sync::Arc;

use rustls::{
    ClientConfig, DigitallySignedStruct, Error, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime},
};
use rustls_platform_verifier::BuilderVerifierExt;
use sha2::{Digest, Sha256};

use super::CertHash;

/// TLS of a client that trusts the certificates with these hashes, as browsers do; where there are none, those that this
/// machine trusts. For these application protocols.
///
/// # Errors
///
/// [`Error`] when this machine's certificates cannot be read.
pub fn client(hashes: &[CertHash], protocols: &[&[u8]]) -> Result<ClientConfig, Error> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions()?;
    let mut config = if hashes.is_empty() {
        builder.with_platform_verifier()?.with_no_client_auth()
    } else {
        let pinned = Arc::new(Pinned { hashes: hashes.to_vec(), provider });
        builder.dangerous().with_custom_certificate_verifier(pinned).with_no_client_auth()
    };
    config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
    Ok(config)
}

/// Trusts certificates by their hashes, and nothing else about them: they are told over a channel that is trusted.
#[derive(Debug)]
struct Pinned {
    hashes: Vec<CertHash>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let shown = CertHash(Sha256::digest(end_entity).into());
        if self.hashes.contains(&shown) {
            Ok(ServerCertVerified::assertion())
        } else {
            Err(Error::General("the certificate is not one whose hash was told".to_owned()))
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signature, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
