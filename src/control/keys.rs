//! Signing keys: made at first start, kept sealed in the store, published without their private half.

use aws_lc_rs::{
    encoding::AsDer,
    rand::SystemRandom,
    rsa::{KeyPair as RsaKeyPair, KeySize},
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::DecodingKey;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

/// The JWS algorithms that tokens can be signed with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Algorithm {
    /// ECDSA over P-256 with SHA-256: small and fast.
    #[default]
    ES256,
    /// RSASSA-PKCS1-v1_5 with SHA-256: what every verifier has.
    RS256,
    /// Ed25519.
    EdDSA,
}

impl Algorithm {
    /// Every algorithm.
    pub const ALL: [Self; 3] = [Self::ES256, Self::RS256, Self::EdDSA];

    /// The name in JOSE (RFC 7518, RFC 8037).
    pub const fn name(self) -> &'static str {
        match self {
            Self::ES256 => "ES256",
            Self::RS256 => "RS256",
            Self::EdDSA => "EdDSA",
        }
    }

    /// The algorithm as the JWT library names it.
    pub const fn jose(self) -> jsonwebtoken::Algorithm {
        match self {
            Self::ES256 => jsonwebtoken::Algorithm::ES256,
            Self::RS256 => jsonwebtoken::Algorithm::RS256,
            Self::EdDSA => jsonwebtoken::Algorithm::EdDSA,
        }
    }

    /// The algorithm with this name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|algorithm| algorithm.name() == name)
    }
}

/// Why a key cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// The bytes are not a private key of that algorithm.
    #[error("the signing key {0} is not a private key of its algorithm")]
    Malformed(String),
    /// The key could not be made, or did not sign.
    #[error("the cryptographic library refused: {0}")]
    Refused(&'static str),
}

/// A signing key, ready to sign.
pub struct SigningKey {
    kid: String,
    pair: Pair,
    verifier: DecodingKey,
}

enum Pair {
    Ecdsa(EcdsaKeyPair),
    Rsa(Box<RsaKeyPair>),
    Ed25519(Ed25519KeyPair),
}

/// The public half of a key, as a JWK (RFC 7517).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PublicKey {
    kty: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    crv: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    x: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    y: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    n: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    e: Option<String>,
    #[serde(rename = "use")]
    usage: &'static str,
    alg: &'static str,
    kid: String,
}

impl SigningKey {
    /// Makes a key; answers it with its private half in PKCS #8.
    ///
    /// # Errors
    ///
    /// [`KeyError::Refused`].
    #[expect(clippy::disallowed_methods, reason = "the library makes keys from randomness of its own")]
    pub fn generate(algorithm: Algorithm) -> Result<(Self, Zeroizing<Vec<u8>>), KeyError> {
        let refused = |_| KeyError::Refused("a key could not be made");
        let pkcs8 = match algorithm {
            Algorithm::ES256 => EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING)
                .and_then(|pair| pair.to_pkcs8v1())
                .map(|document| document.as_ref().to_vec()),
            Algorithm::EdDSA => {
                Ed25519KeyPair::generate().and_then(|pair| pair.to_pkcs8v1()).map(|document| document.as_ref().to_vec())
            }
            Algorithm::RS256 => RsaKeyPair::generate(KeySize::Rsa2048)
                .and_then(|pair| AsDer::<aws_lc_rs::encoding::Pkcs8V1Der<'static>>::as_der(&pair))
                .map(|document| document.as_ref().to_vec()),
        };
        let pkcs8 = Zeroizing::new(pkcs8.map_err(refused)?);
        Ok((Self::from_pkcs8(algorithm, &pkcs8)?, pkcs8))
    }

    /// Reads a private key in PKCS #8.
    ///
    /// # Errors
    ///
    /// [`KeyError::Malformed`].
    pub fn from_pkcs8(algorithm: Algorithm, pkcs8: &[u8]) -> Result<Self, KeyError> {
        let malformed = |_| KeyError::Malformed(algorithm.name().to_owned());
        let pair = match algorithm {
            Algorithm::ES256 => {
                Pair::Ecdsa(EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8).map_err(malformed)?)
            }
            Algorithm::RS256 => Pair::Rsa(Box::new(RsaKeyPair::from_pkcs8(pkcs8).map_err(malformed)?)),
            Algorithm::EdDSA => Pair::Ed25519(Ed25519KeyPair::from_pkcs8(pkcs8).map_err(malformed)?),
        };
        let verifier = pair.verifier();
        let mut key = Self { kid: String::new(), pair, verifier };
        key.kid = thumbprint(&key.public());
        Ok(key)
    }

    /// The key's id: its JWK thumbprint (RFC 7638).
    pub fn kid(&self) -> &str {
        &self.kid
    }

    /// What it signs with.
    pub const fn algorithm(&self) -> Algorithm {
        match self.pair {
            Pair::Ecdsa(_) => Algorithm::ES256,
            Pair::Rsa(_) => Algorithm::RS256,
            Pair::Ed25519(_) => Algorithm::EdDSA,
        }
    }

    /// The public half.
    pub fn public(&self) -> PublicKey {
        let encode = |bytes: &[u8]| Some(URL_SAFE_NO_PAD.encode(bytes));
        let blank = PublicKey {
            kty: "EC",
            crv: None,
            x: None,
            y: None,
            n: None,
            e: None,
            usage: "sig",
            alg: self.algorithm().name(),
            kid: self.kid.clone(),
        };
        match &self.pair {
            Pair::Ecdsa(pair) => {
                // An uncompressed point: 4, then x and y of 32 bytes each (SEC 1, 2.3.3).
                let point = pair.public_key().as_ref();
                PublicKey { crv: Some("P-256"), x: encode(&point[1..33]), y: encode(&point[33..65]), ..blank }
            }
            Pair::Rsa(pair) => {
                let public = pair.public_key();
                let n = public.modulus().big_endian_without_leading_zero().to_vec();
                let e = public.exponent().big_endian_without_leading_zero().to_vec();
                PublicKey { kty: "RSA", n: encode(&n), e: encode(&e), ..blank }
            }
            Pair::Ed25519(pair) => {
                PublicKey { kty: "OKP", crv: Some("Ed25519"), x: encode(pair.public_key().as_ref()), ..blank }
            }
        }
    }

    /// Signs, in the form JWS wants.
    ///
    /// # Errors
    ///
    /// [`KeyError::Refused`].
    pub fn sign(&self, message: &[u8]) -> Result<Vec<u8>, KeyError> {
        let refused = |_| KeyError::Refused("a signature could not be made");
        #[expect(clippy::disallowed_methods, reason = "the library ignores the argument and draws nonces by itself")]
        let random = SystemRandom::new();
        match &self.pair {
            Pair::Ecdsa(pair) => Ok(pair.sign(&random, message).map_err(refused)?.as_ref().to_vec()),
            Pair::Ed25519(pair) => Ok(pair.sign(message).as_ref().to_vec()),
            Pair::Rsa(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(&RSA_PKCS1_SHA256, &random, message, &mut signature).map_err(refused)?;
                Ok(signature)
            }
        }
    }
}

impl SigningKey {
    /// Whether this key made a signature, which is in base64url as in a JWS.
    pub fn verifies(&self, message: &[u8], signature: &str) -> bool {
        let algorithm = self.algorithm().jose();
        jsonwebtoken::crypto::verify(signature, message, &self.verifier, algorithm).unwrap_or(false)
    }
}

impl Pair {
    fn verifier(&self) -> DecodingKey {
        match self {
            Self::Ecdsa(pair) => DecodingKey::from_ec_der(pair.public_key().as_ref()),
            Self::Ed25519(pair) => DecodingKey::from_ed_der(pair.public_key().as_ref()),
            Self::Rsa(pair) => DecodingKey::from_rsa_der(pair.public_key().as_ref()),
        }
    }
}

/// RFC 7638: SHA-256 over the required members in order of name.
fn thumbprint(key: &PublicKey) -> String {
    let text = |member: &Option<String>| member.clone().unwrap_or_default();
    let canonical = match (key.kty, key.crv) {
        ("RSA", _) => format!(r#"{{"e":"{}","kty":"RSA","n":"{}"}}"#, text(&key.e), text(&key.n)),
        ("OKP", Some(crv)) => format!(r#"{{"crv":"{crv}","kty":"OKP","x":"{}"}}"#, text(&key.x)),
        (kty, crv) => format!(
            r#"{{"crv":"{}","kty":"{kty}","x":"{}","y":"{}"}}"#,
            crv.unwrap_or_default(),
            text(&key.x),
            text(&key.y)
        ),
    };
    URL_SAFE_NO_PAD.encode(Sha256::digest(canonical))
}

#[cfg(test)]
mod tests {
    use jsonwebtoken::{DecodingKey, jwk::Jwk};

    use super::*;

    #[test]
    fn what_a_key_signs_another_library_verifies_with_its_public_half() {
        for algorithm in Algorithm::ALL {
            let (key, pkcs8) = SigningKey::generate(algorithm).unwrap();
            let again = SigningKey::from_pkcs8(algorithm, &pkcs8).unwrap();
            assert_eq!(key.public(), again.public());
            assert_eq!(again.algorithm(), algorithm);

            let jwk: Jwk = serde_json::from_value(serde_json::to_value(key.public()).unwrap()).unwrap();
            let signature = URL_SAFE_NO_PAD.encode(again.sign(b"message").unwrap());
            let verify = |message: &[u8]| {
                let alg = algorithm.name().parse().unwrap();
                jsonwebtoken::crypto::verify(&signature, message, &DecodingKey::from_jwk(&jwk).unwrap(), alg).unwrap()
            };
            assert!(verify(b"message"), "{algorithm:?}");
            let signature = URL_SAFE_NO_PAD.encode(key.sign(b"message").unwrap());
            assert!(again.verifies(b"message", &signature) && !again.verifies(b"massage", &signature));
            assert!(!again.verifies(b"message", &signature[4..]) && !again.verifies(b"message", ""));
            assert!(!again.verifies(b"message", &format!("{signature}=")));
            assert!(!verify(b"massage"), "{algorithm:?}");
        }
    }

    #[test]
    fn the_public_half_has_no_private_members() {
        for algorithm in Algorithm::ALL {
            let (key, _) = SigningKey::generate(algorithm).unwrap();
            let json = serde_json::to_value(key.public()).unwrap();
            for private in ["d", "p", "q", "dp", "dq", "qi", "k", "oth"] {
                assert!(json.get(private).is_none(), "{algorithm:?} {private}");
            }
        }
    }

    #[test]
    fn a_key_of_another_algorithm_is_refused() {
        let (_, pkcs8) = SigningKey::generate(Algorithm::EdDSA).unwrap();
        assert!(matches!(SigningKey::from_pkcs8(Algorithm::ES256, &pkcs8), Err(KeyError::Malformed(_))));
        assert!(matches!(SigningKey::from_pkcs8(Algorithm::RS256, b"garbage"), Err(KeyError::Malformed(_))));
    }
}
