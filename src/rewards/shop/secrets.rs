//! The secrets that shops sign their webhooks with, each bound to the domain of its shop.

use std::{
    collections::HashMap,
    fs::File,
    io::{self, Read as _},
    path::{Path, PathBuf},
};

use aws_lc_rs::hmac;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use subtle::{Choice, ConstantTimeEq};
use zeroize::Zeroizing;

use crate::exposure::is_exposed;

/// Bytes of the file.
const MAX_FILE: u64 = 64 * 1024;
/// Secrets of one shop: more than one while they rotate.
const MOST_SECRETS: usize = 2;
/// Characters of a domain.
const MAX_DOMAIN: usize = 253;

/// Why the file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ShopSecretsError {
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
        "{path}: line {line}: {why}; a line has a shop's domain, a space and a secret, and a shop has {MOST_SECRETS} at most"
    )]
    Malformed {
        /// The file.
        path: PathBuf,
        /// Which line, from 1.
        line: usize,
        /// What is wrong.
        why: &'static str,
    },
}

/// The secrets of all shops. Read once, at the start.
#[derive(Default)]
pub struct ShopSecrets(HashMap<String, Vec<hmac::Key>>);

impl ShopSecrets {
    /// Reads the file. Where there is none, no shop has a secret.
    ///
    /// # Errors
    ///
    /// [`ShopSecretsError`].
    pub fn open(path: &Path) -> Result<Self, ShopSecretsError> {
        let wrong = |source| ShopSecretsError::Io { path: path.to_owned(), source };
        let file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(source) => return Err(wrong(source)),
        };
        if is_exposed(&file.metadata().map_err(wrong)?) {
            return Err(ShopSecretsError::Exposed { path: path.to_owned() });
        }
        let mut text = Zeroizing::new(String::new());
        file.take(MAX_FILE + 1).read_to_string(&mut text).map_err(wrong)?;
        if text.len() as u64 > MAX_FILE {
            return Err(ShopSecretsError::Malformed { path: path.to_owned(), line: 1, why: "the file is too long" });
        }
        Self::parse(&text).map_err(|(line, why)| ShopSecretsError::Malformed { path: path.to_owned(), line, why })
    }

    fn parse(text: &str) -> Result<Self, (usize, &'static str)> {
        let mut secrets: HashMap<String, Vec<hmac::Key>> = HashMap::new();
        for (number, line) in text.trim_start_matches('\u{feff}').lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let wrong = |why| (number + 1, why);
            let (domain, secret) = line.split_once(char::is_whitespace).ok_or_else(|| wrong("there is no space"))?;
            let (domain, secret) = (domain.to_ascii_lowercase(), secret.trim_start());
            if !is_domain(&domain) {
                return Err(wrong("the domain is not one"));
            }
            if secret.len() < 16 || !secret.bytes().all(|byte| byte.is_ascii_graphic()) {
                return Err(wrong("the secret has fewer than 16 visible ASCII characters"));
            }
            let known = secrets.entry(domain).or_default();
            if known.len() >= MOST_SECRETS {
                return Err(wrong("the shop has more secrets than it may have"));
            }
            known.push(hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes()));
        }
        Ok(Self(secrets))
    }

    /// Whether there are none: nothing can be accepted.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether a shop has a secret.
    pub fn knows(&self, domain: &str) -> bool {
        self.0.contains_key(domain)
    }

    /// Whether one of the shop's secrets signed these bytes. A secret of another shop does not count.
    pub fn accepts(&self, domain: &str, signature: &str, body: &[u8]) -> bool {
        let (Some(keys), Some(signature)) = (self.0.get(domain), read_signature(signature)) else { return false };
        let fits = |key: &hmac::Key| hmac::sign(key, body).as_ref().ct_eq(&signature);
        keys.iter().map(fits).fold(Choice::from(0), |any, fits| any | fits).into()
    }
}

impl std::fmt::Debug for ShopSecrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ShopSecrets({} shops)", self.0.len())
    }
}

/// The HMAC-SHA256 that a header has in base64.
pub(in crate::rewards) fn read_signature(text: &str) -> Option<[u8; 32]> {
    STANDARD.decode(text).ok()?.try_into().ok()
}

/// Whether a text can be a shop's domain, in small letters.
fn is_domain(text: &str) -> bool {
    (1..=MAX_DOMAIN).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-' || byte == b'.')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sign(secret: &str, body: &[u8]) -> String {
        STANDARD.encode(hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes()), body))
    }

    #[test]
    fn two_secrets_of_a_shop_are_good_and_none_of_another() {
        let [old, new, other] = ["the-old-secret-of-a", "the-new-secret-of-a", "the-secret-of-b-----"];
        let text = format!("# shops\nA.example {old}\n a.example\t{new}\r\nb.example {other}\n");
        let secrets = ShopSecrets::parse(&text).unwrap();
        for secret in [old, new] {
            assert!(secrets.accepts("a.example", &sign(secret, b"x"), b"x"));
            assert!(!secrets.accepts("a.example", &sign(secret, b"x"), b"y"));
            assert!(!secrets.accepts("b.example", &sign(secret, b"x"), b"x"), "bound to its shop");
        }
        for signature in ["", "AAAA", "not base64", &sign(old, b"x")[1..]] {
            assert!(!secrets.accepts("a.example", signature, b"x"), "{signature}");
        }
        assert!(!secrets.accepts("c.example", &sign(old, b"x"), b"x"));
    }

    #[test]
    fn lines_that_cannot_be_are_named_and_not_repeated() {
        for (text, line) in [
            ("a.example", 1),
            ("\na.example short", 2),
            ("https://a.example the-secret-of-a-shop", 1),
            ("a 0123456789abcdef\na 0123456789abcdef\na 0123456789abcdef", 3),
        ] {
            assert_eq!(ShopSecrets::parse(text).unwrap_err().0, line, "{text}");
        }
        assert!(ShopSecrets::parse("").unwrap().is_empty());
    }
}
