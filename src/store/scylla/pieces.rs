//! Reads that a cluster may refuse for how much was deleted not long ago.
//!
//! A server passes what was deleted in the last hour or days on its way to what is there, and gives a read up that has to
//! pass too much (Cassandra: 100,000 rows). Where keys are hashes or drawn, they lie evenly between the least and the
//! greatest, so that a sixteenth of the keys has a sixteenth of what was deleted. A read that fails is done in sixteenths,
//! down to a 4096th.

use std::{future::Future, iter, ops::Range};

use crate::store::{Result, StoreError};

/// How many pieces a read is done in at the most.
const FINEST: u16 = 4096;
/// How many pieces one is cut into.
const CUT: u16 = 16;
/// Comes after every key.
const BEYOND: [u8; 33] = [u8::MAX; 33];

/// Reads all keys of a range that is open to both sides. `read` is given the key to begin at and the key to end before.
pub(super) async fn in_pieces<T, R>(read: impl Fn(Vec<u8>, Vec<u8>) -> R + Send) -> Result<Vec<T>>
where
    T: Send,
    R: Future<Output = Result<Vec<T>>> + Send,
{
    let mut found = Vec::new();
    // The next one last.
    let mut left: Vec<_> = iter::once(0..FINEST).collect();
    while let Some(piece) = left.pop() {
        match read(key(piece.start), key(piece.end)).await {
            Ok(rows) => found.extend(rows),
            // The cluster may also be away: then the first of the finest pieces fails.
            Err(StoreError::Unavailable(_)) if piece.len() > 1 => left.extend(cut(piece)),
            Err(error) => return Err(error),
        }
    }
    Ok(found)
}

fn cut(piece: Range<u16>) -> impl Iterator<Item = Range<u16>> {
    let width = (piece.end - piece.start) / CUT;
    (0..CUT).rev().map(move |n| piece.start + n * width..piece.start + (n + 1) * width)
}

/// Where a 4096th begins.
fn key(place: u16) -> Vec<u8> {
    match place {
        0 => Vec::new(),
        FINEST => BEYOND.to_vec(),
        place => (place << 4).to_be_bytes().to_vec(),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    /// 65,536 keys, of which a read may pass so many.
    async fn all(most: usize) -> (Result<Vec<u16>>, usize) {
        let reads = AtomicUsize::new(0);
        let read = |from: Vec<u8>, to: Vec<u8>| {
            reads.fetch_add(1, Ordering::Relaxed);
            let keys = 0..=u16::MAX;
            let within: Vec<u16> = keys
                .filter(|key| {
                    let key = key.to_be_bytes().to_vec();
                    from <= key && key < to
                })
                .collect();
            async move {
                let too_many = || StoreError::Unavailable("too many".to_owned());
                if within.len() > most { Err(too_many()) } else { Ok(within) }
            }
        };
        let found = in_pieces(read).await;
        (found, reads.into_inner())
    }

    #[tokio::test]
    async fn what_cannot_be_read_at_once_is_read_in_pieces_and_in_order() {
        let every = Ok((0..=u16::MAX).collect());
        assert_eq!(all(usize::MAX).await, (every.clone(), 1));
        assert_eq!(all(4096).await, (every.clone(), 17));
        assert_eq!(all(16).await, (every, 1 + 16 + 256 + 4096));
        let (failed, reads) = all(15).await;
        assert!(failed.is_err());
        assert_eq!(reads, 4, "who does not answer is not asked for ever");
    }
}
