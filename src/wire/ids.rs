//! Session ids.

use core::fmt;

/// One of the cluster secrets that may be live at the same time: 0 to 15.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SecretId(u8);

impl SecretId {
    /// How many ids there are.
    pub const COUNT: usize = 16;

    /// The id with this number, if it is below [`Self::COUNT`].
    pub const fn new(number: u8) -> Option<Self> {
        if (number as usize) < Self::COUNT { Some(Self(number)) } else { None }
    }

    /// The number of this id.
    pub const fn get(self) -> u8 {
        self.0
    }

    /// The secret that follows this one when secrets rotate.
    #[must_use]
    pub const fn next(self) -> Self {
        Self((self.0 + 1) & 0x0f)
    }
}

/// A session's id: 4 bits that say which cluster secret keys it, then 124 random bits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId([u8; 16]);

impl SessionId {
    /// The id that `secret` keys and that is otherwise `random`.
    pub const fn new(secret: SecretId, random: [u8; 16]) -> Self {
        let mut bytes = random;
        bytes[0] = (secret.0 << 4) | (bytes[0] & 0x0f);
        Self(bytes)
    }

    /// The id with these bytes, as a frame or a token carries it.
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The bytes, as a frame or a token carries them.
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }

    /// Which cluster secret keys this session.
    pub const fn secret(&self) -> SecretId {
        SecretId(self.0[0] >> 4)
    }
}

impl fmt::Debug for SessionId {
    /// Only the first four bytes: enough to follow a session through a log, too little to be one.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "session:{:02x}{:02x}{:02x}{:02x}…", self.0[0], self.0[1], self.0[2], self.0[3])
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn an_id_says_its_secret_and_keeps_its_124_random_bits(number in 0_u8..16, random: [u8; 16]) {
            let id = SessionId::new(SecretId::new(number).unwrap(), random);
            prop_assert_eq!(id.secret().get(), number);
            prop_assert_eq!(id.as_bytes()[0] & 0x0f, random[0] & 0x0f);
            prop_assert_eq!(&id.as_bytes()[1..], &random[1..]);
            prop_assert_eq!(SessionId::from_bytes(*id.as_bytes()), id);
        }
    }

    #[test]
    fn there_are_sixteen_secret_ids_and_they_go_round() {
        for number in 0..=u8::MAX {
            assert_eq!(SecretId::new(number).is_some(), number < 16, "{number}");
        }
        let mut id = SecretId::default();
        for expected in (1..16).chain([0]) {
            id = id.next();
            assert_eq!(id.get(), expected);
        }
    }

    #[test]
    fn debug_output_shows_a_quarter_of_an_id() {
        assert_eq!(format!("{:?}", SessionId::from_bytes([0xab; 16])), "session:abababab…");
    }
}
