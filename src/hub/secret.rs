//! What is shown once and known by its SHA-256 afterwards: the secret of a hub session, and a handle.

use std::fmt;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use zeroize::Zeroizing;

use crate::{
    entropy::{Entropy, draw},
    store::SecretDigest,
};

macro_rules! secrets {
    ($( $(#[doc = $about:literal])+ $name:ident = $prefix:literal; )+) => { $(
        $(#[doc = $about])+
        #[derive(Clone)]
        pub struct $name(Zeroizing<String>);

        impl $name {
            /// Draws one.
            pub(super) fn new(entropy: &dyn Entropy) -> Self {
                Self(Zeroizing::new(format!("{}{}", $prefix, URL_SAFE_NO_PAD.encode(draw::<32>(entropy)))))
            }

            /// Reads one as it was given out. `None` of what cannot be one, and nothing needs to be asked about it.
            pub fn parse(text: &str) -> Option<Self> {
                is_whole(text.strip_prefix($prefix)?).then(|| Self(Zeroizing::new(text.to_owned())))
            }

            /// The secret itself, for whoever it is made for.
            pub fn expose(&self) -> &str {
                &self.0
            }

            /// What it is known by.
            pub(super) fn digest(&self) -> SecretDigest {
                SecretDigest::of(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(concat!(stringify!($name), "(…)"))
            }
        }
    )+ };
}

secrets! {
    /// What proves a hub session: `gts_1_` and 256 random bits in base64url. It is in the person's cookie and nowhere else; the
    /// store and the cache know its SHA-256.
    SessionSecret = "gts_1_";
    /// What a client has for a hub session: `gth_1_` and 256 random bits in base64url. The store and the cache know its SHA-256.
    Handle = "gth_1_";
}

/// Whether this is 256 bits in base64url.
fn is_whole(bits: &str) -> bool {
    bits.len() == 43 && URL_SAFE_NO_PAD.decode(bits).is_ok_and(|bytes| bytes.len() == 32)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entropy::SeededEntropy;

    #[test]
    fn a_secret_reads_back_and_nothing_else_does() {
        let secret = SessionSecret::new(&SeededEntropy::new(1));
        let text = secret.expose().to_owned();
        assert_eq!((text.len(), SessionSecret::parse(&text).unwrap().digest()), (49, secret.digest()));
        assert_eq!(format!("{secret:?}"), "SessionSecret(…)");
        let evil = ["", "gts_1_", &text[1..], &text[..48], &format!("{text}A"), &text.replace("gts_1_", "gth_1_")];
        for text in evil {
            assert!(SessionSecret::parse(text).is_none(), "{text}");
        }
        // The last character has two bits that mean nothing: they are to be zero.
        assert!(SessionSecret::parse(&format!("gts_1_{}B", "A".repeat(42))).is_none());
        assert!(SessionSecret::parse(&format!("gts_1_{}A", "A".repeat(42))).is_some());
    }
}
