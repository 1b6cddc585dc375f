//! HTTP datagrams and capsules (RFC 9297), as far as WebTransport needs them: which session bytes belong to, and when its
//! peer closes it.

use quinn_proto::{VarInt, coding::Codec};

/// The capsule that closes a WebTransport session.
const CLOSE_SESSION: u64 = 0x2843;
/// What it begins with: an error code.
const CLOSE_CODE: u64 = 4;
/// Bytes that it may say as a reason.
const CLOSE_REASON: u64 = 1024;
/// Bytes of the two integers that a capsule begins with.
const MAX_HEAD: usize = 16;

/// A datagram: what goes before an answer to it, the session it is for, and what it says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SessionDatagram<'a> {
    pub(super) prefix: &'a [u8],
    /// The number of the stream that opened the session.
    pub(super) session: u64,
    pub(super) payload: &'a [u8],
}

impl<'a> SessionDatagram<'a> {
    /// Takes a datagram apart. `None` if it names no stream that there could be.
    pub(super) fn parse(datagram: &'a [u8]) -> Option<Self> {
        let (quarter, length) = read_integer(datagram)?;
        let (prefix, payload) = datagram.split_at(length);
        // Streams that clients open in both directions have every fourth number.
        let session = quarter.checked_mul(4).filter(|number| *number < 1 << 62)?;
        Some(Self { prefix, session, payload })
    }
}

/// A capsule that closes a session without an error.
pub(super) const CLOSE: [u8; 7] = [0x68, 0x43, 4, 0, 0, 0, 0];

/// The result of reading capsules from a session's stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CapsuleEvent {
    /// Nothing that matters.
    Nothing,
    /// The peer closes the session.
    Closed,
    /// A capsule that violates the protocol.
    Nonsense,
}

/// Reads capsules as their bytes come. Keeps no more of them than their heads.
#[derive(Debug, Default)]
pub(super) struct Capsules {
    head: [u8; MAX_HEAD],
    filled: usize,
    /// Bytes that belong to a capsule which does not matter.
    skip: u64,
}

impl Capsules {
    /// Reads on. What follows a close is not looked at.
    pub(super) fn read(&mut self, mut bytes: &[u8]) -> CapsuleEvent {
        while !bytes.is_empty() {
            if self.skip > 0 {
                let skipped = usize::try_from(self.skip).unwrap_or(usize::MAX).min(bytes.len());
                self.skip -= skipped as u64;
                bytes = &bytes[skipped..];
                continue;
            }
            self.head[self.filled] = bytes[0];
            self.filled += 1;
            bytes = &bytes[1..];
            let Some((kind, length)) = capsule_head(&self.head[..self.filled]) else { continue };
            if kind == CLOSE_SESSION {
                let fits = (CLOSE_CODE..=CLOSE_CODE + CLOSE_REASON).contains(&length);
                return if fits { CapsuleEvent::Closed } else { CapsuleEvent::Nonsense };
            }
            (self.filled, self.skip) = (0, length);
        }
        CapsuleEvent::Nothing
    }
}

fn capsule_head(bytes: &[u8]) -> Option<(u64, u64)> {
    let (kind, length) = read_integer(bytes)?;
    let (value_length, _) = read_integer(&bytes[length..])?;
    Some((kind, value_length))
}

/// Reads a variable-length integer (RFC 9000, 16). Returns its value and its length in bytes.
fn read_integer(bytes: &[u8]) -> Option<(u64, usize)> {
    let mut rest = bytes;
    let value = VarInt::decode(&mut rest).ok()?;
    Some((value.into_inner(), bytes.len() - rest.len()))
}

/// For the fuzzer: reads bytes as a datagram and as capsules, in two pieces.
#[cfg(fuzzing)]
pub(super) fn fuzz(bytes: &[u8]) -> bool {
    if let Some(SessionDatagram { prefix, session, payload }) = SessionDatagram::parse(bytes) {
        assert_eq!([prefix, payload].concat(), bytes);
        assert!(session % 4 == 0);
    }
    let whole = Capsules::default().read(bytes);
    let (first, rest) = bytes.split_at(bytes.len() / 2);
    let mut pieces = Capsules::default();
    let said = match pieces.read(first) {
        CapsuleEvent::Nothing => pieces.read(rest),
        said => said,
    };
    assert_eq!(said, whole);
    said == CapsuleEvent::Closed
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Writes an integer in the fewest bytes.
    fn integer(value: u64) -> Vec<u8> {
        let (length, mark) = match value {
            0..64 => (1, 0),
            64..16_384 => (2, 0x40),
            16_384..1_073_741_824 => (4, 0x80),
            _ => (8, 0xc0),
        };
        let mut bytes = value.to_be_bytes()[8 - length..].to_vec();
        bytes[0] |= mark;
        bytes
    }

    fn capsule(kind: u64, value: &[u8]) -> Vec<u8> {
        [integer(kind), integer(value.len() as u64), value.to_vec()].concat()
    }

    #[test]
    fn integers_are_those_of_the_standards_examples() {
        let cases: [(&[u8], u64); 4] = [
            (&[0xc2, 0x19, 0x7c, 0x5e, 0xff, 0x14, 0xe8, 0x8c], 151_288_809_941_952_652),
            (&[0x9d, 0x7f, 0x3e, 0x7d], 494_878_333),
            (&[0x7b, 0xbd], 15_293),
            (&[0x25], 37),
        ];
        for (bytes, value) in cases {
            assert_eq!(read_integer(bytes), Some((value, bytes.len())));
            assert_eq!(read_integer(&bytes[..bytes.len() - 1]), None);
        }
    }

    #[test]
    fn a_datagram_names_its_session_in_any_length_of_integer() {
        for prefix in [&[2][..], &[0x40, 2], &[0x80, 0, 0, 2], &[0xc0, 0, 0, 0, 0, 0, 0, 2]] {
            let datagram = [prefix, b"frame"].concat();
            let parsed = SessionDatagram { prefix, session: 8, payload: b"frame" };
            assert_eq!(SessionDatagram::parse(&datagram), Some(parsed));
        }
        assert_eq!(SessionDatagram::parse(&[]), None);
        assert_eq!(SessionDatagram::parse(&[0x40]), None);
        assert_eq!(SessionDatagram::parse(&[0xff; 8]), None, "there is no such stream");
    }

    #[test]
    fn our_own_close_is_a_close() {
        assert_eq!(CLOSE.to_vec(), capsule(CLOSE_SESSION, &[0; 4]));
        assert_eq!(Capsules::default().read(&CLOSE), CapsuleEvent::Closed);
    }

    #[test]
    fn a_close_without_a_code_or_with_a_novel_is_nonsense() {
        assert_eq!(Capsules::default().read(&capsule(CLOSE_SESSION, &[0; 3])), CapsuleEvent::Nonsense);
        assert_eq!(Capsules::default().read(&capsule(CLOSE_SESSION, &[0; 1029])), CapsuleEvent::Nonsense);
        assert_eq!(Capsules::default().read(&capsule(CLOSE_SESSION, &[0; 1028])), CapsuleEvent::Closed);
    }

    proptest! {
        #[test]
        fn integers_are_read_as_they_were_written(value in 0u64..1 << 62, rest: [u8; 3]) {
            let bytes = integer(value);
            prop_assert_eq!(read_integer(&[&bytes[..], &rest].concat()), Some((value, bytes.len())));
        }

        #[test]
        fn capsules_that_do_not_matter_are_passed_over_however_they_are_cut(
            others in prop::collection::vec((0u64..0x2843, prop::collection::vec(any::<u8>(), 0..80)), 0..5),
            close: bool,
            cuts in prop::collection::vec(1usize..9, 1..20),
        ) {
            let mut bytes: Vec<u8> = others.iter().flat_map(|(kind, value)| capsule(*kind, value)).collect();
            if close {
                bytes.extend(CLOSE);
            }
            let mut capsules = Capsules::default();
            let mut said = CapsuleEvent::Nothing;
            let mut rest = &bytes[..];
            for cut in cuts.iter().cycle() {
                let piece;
                (piece, rest) = rest.split_at((*cut).min(rest.len()));
                said = capsules.read(piece);
                if rest.is_empty() || said != CapsuleEvent::Nothing {
                    break;
                }
            }
            prop_assert_eq!(said == CapsuleEvent::Closed, close);
        }
    }
}
