//! Keys and tags.

use core::fmt;

use hmac::{Hmac, KeyInit, Mac};
use sha2::{Sha256, block_api::compress256};
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, ZeroizeOnDrop};

use super::{BODY_LEN, SessionId, TAG_LEN};

const SESSION_KEY_LABEL: &[u8] = b"gastank/heartbeat/v1";

/// The secret that all nodes share and from which every other key is derived.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct ClusterSecret([u8; 32]);

impl ClusterSecret {
    /// Wraps 32 secret bytes.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The secret bytes. Dangerous: for the file that keeps them, and for nothing else.
    pub const fn expose_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The heartbeat key of a session.
    pub fn session_key(&self, session: &SessionId) -> SessionKey {
        SessionKey(self.derive(SESSION_KEY_LABEL, session.as_bytes()))
    }

    /// `HMAC-SHA256(secret, label || context)`: a key for one purpose. Labels must not be prefixes of each other.
    pub fn derive(&self, label: &[u8], context: &[u8]) -> [u8; 32] {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.0).expect("HMAC takes keys of any length");
        mac.update(label);
        mac.update(context);
        mac.finalize().into_bytes().into()
    }
}

impl fmt::Debug for ClusterSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClusterSecret(…)")
    }
}

/// The key that signs one session's frames, both ways.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct SessionKey([u8; 32]);

impl SessionKey {
    /// Wraps the 32 bytes a client was given at activation.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The key's bytes, for the client it belongs to. Dangerous: never log or store them.
    pub const fn expose_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Prepares this key for signing frame bodies.
    pub fn body_mac(&self) -> BodyMac {
        BodyMac::new(&self.0)
    }
}

impl fmt::Debug for SessionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SessionKey(…)")
    }
}

/// The first 16 bytes of an HMAC-SHA256.
#[derive(Clone, Copy, Debug)]
pub struct Tag([u8; TAG_LEN]);

impl Tag {
    /// Wraps the bytes a frame carries.
    pub const fn from_bytes(bytes: [u8; TAG_LEN]) -> Self {
        Self(bytes)
    }

    /// The bytes a frame carries.
    pub const fn as_bytes(&self) -> &[u8; TAG_LEN] {
        &self.0
    }

    /// Compares in constant time.
    pub fn matches(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

/// A session key's two keyed SHA-256 midstates: 64 bytes that save half of every HMAC, and as secret as the key.
///
/// A body is 32 bytes, so that with the padding each of HMAC's two hashes is one more block: signing costs exactly two
/// compressions, and the padding is known when this is compiled. A test holds it against the `hmac` crate.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct BodyMac {
    inner: [u32; 8],
    outer: [u32; 8],
}

/// SHA-256's initial state (FIPS 180-4, 5.3.3).
const INITIAL: [u32; 8] =
    [0x6a09_e667, 0xbb67_ae85, 0x3c6e_f372, 0xa54f_f53a, 0x510e_527f, 0x9b05_688c, 0x1f83_d9ab, 0x5be0_cd19];

/// The block that follows the key block: 32 bytes of message, then SHA-256's padding for a message of 64 + 32 bytes.
const PADDED: [u8; 64] = {
    let mut block = [0; 64];
    block[BODY_LEN] = 0x80;
    let bits = ((64 + BODY_LEN) * 8).to_be_bytes();
    let mut i = 0;
    while i < bits.len() {
        block[64 - bits.len() + i] = bits[i];
        i += 1;
    }
    block
};

impl BodyMac {
    fn new(key: &[u8; 32]) -> Self {
        let keyed = |pad: u8| {
            let mut block = [pad; 64];
            for (byte, key) in block.iter_mut().zip(key) {
                *byte ^= key;
            }
            let mut state = INITIAL;
            compress256(&mut state, &[block]);
            block.zeroize();
            state
        };
        Self { inner: keyed(0x36), outer: keyed(0x5c) }
    }

    /// Reads both ends, so that the processor has fetched it when it is needed. Says nothing of it.
    pub fn touch(&self) {
        core::hint::black_box((self.inner[0], self.outer[7]));
    }

    /// The tag of a frame's body.
    pub fn tag(&self, body: &[u8; BODY_LEN]) -> Tag {
        let digest = finish(self.inner, body);
        let digest = finish(self.outer, &digest);
        let mut tag = [0; TAG_LEN];
        tag.copy_from_slice(&digest[..TAG_LEN]);
        Tag(tag)
    }
}

impl fmt::Debug for BodyMac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BodyMac(…)")
    }
}

/// Ends a SHA-256 of one keyed block and `message`.
fn finish(mut state: [u32; 8], message: &[u8; 32]) -> [u8; 32] {
    let mut block = PADDED;
    block[..32].copy_from_slice(message);
    compress256(&mut state, &[block]);
    let mut digest = [0; 32];
    for (bytes, word) in digest.chunks_exact_mut(4).zip(state) {
        bytes.copy_from_slice(&word.to_be_bytes());
    }
    digest
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_two_block_mac_is_the_hmac_of_the_hmac_crate(key: [u8; 32], body: [u8; BODY_LEN]) {
            let mut mac = Hmac::<Sha256>::new_from_slice(&key).unwrap();
            mac.update(&body);
            let expected: [u8; 32] = mac.finalize().into_bytes().into();
            let tag = SessionKey::from_bytes(key).body_mac().tag(&body);
            prop_assert_eq!(tag.as_bytes(), &expected[..TAG_LEN]);
        }
    }

    #[test]
    fn a_tag_with_any_bit_flipped_does_not_match() {
        let tag = SessionKey::from_bytes([7; 32]).body_mac().tag(&[1; BODY_LEN]);
        assert!(tag.matches(&tag));
        for bit in 0..TAG_LEN * 8 {
            let mut bytes = *tag.as_bytes();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(!tag.matches(&Tag::from_bytes(bytes)), "bit {bit}");
        }
    }

    #[test]
    fn the_session_key_is_the_hmac_of_label_and_session_id() {
        let secret = ClusterSecret::from_bytes([3; 32]);
        let mut message = b"gastank/heartbeat/v1".to_vec();
        message.extend([4; 16]);
        let mut mac = Hmac::<Sha256>::new_from_slice(&[3; 32]).unwrap();
        mac.update(&message);
        let expected: [u8; 32] = mac.finalize().into_bytes().into();
        assert_eq!(secret.session_key(&SessionId::from_bytes([4; 16])).expose_bytes(), &expected);
        assert_eq!(secret.derive(b"gastank/heartbeat/v1", &[4; 16]), expected);
    }

    #[test]
    fn hmac_sha256_gives_what_rfc_4231_says() {
        // Test case 2: a key shorter than 32 bytes, which padding with zeros does not change.
        let mut key = [0; 32];
        key[..4].copy_from_slice(b"Jefe");
        let mac = ClusterSecret::from_bytes(key).derive(b"what do ya want ", b"for nothing?");
        assert_eq!(mac[..8], [0x5b, 0xdc, 0xc1, 0x46, 0xbf, 0x60, 0x75, 0x4e]);
        assert_eq!(mac[24..], [0x9d, 0xec, 0x58, 0xb9, 0x64, 0xec, 0x38, 0x43]);
    }

    #[test]
    fn sessions_secrets_and_labels_each_give_another_key() {
        let (secret, other) = (ClusterSecret::from_bytes([1; 32]), ClusterSecret::from_bytes([2; 32]));
        let (session, neighbour) = (SessionId::from_bytes([1; 16]), SessionId::from_bytes([2; 16]));
        let key = *secret.session_key(&session).expose_bytes();
        assert_ne!(&key, secret.session_key(&neighbour).expose_bytes());
        assert_ne!(&key, other.session_key(&session).expose_bytes());
        assert_ne!(key, secret.derive(b"gastank/other/v1", session.as_bytes()));
    }

    #[test]
    fn secrets_and_keys_do_not_show_in_debug_output() {
        let secret = ClusterSecret::from_bytes([0xab; 32]);
        let key = secret.session_key(&SessionId::from_bytes([1; 16]));
        for text in [format!("{secret:?}"), format!("{key:?}"), format!("{:?}", key.body_mac())] {
            assert!(text.ends_with("(…)"), "{text}");
        }
    }
}
