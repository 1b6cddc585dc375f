//! What the development provider has given out: codes and access tokens, each good once and for a minute.

use std::collections::{HashMap, VecDeque};

use parking_lot::Mutex;
use sha2::{Digest, Sha256};

use crate::time::{MeterTime, Millis};

/// How long one is good.
const LIFE: Millis = Millis::from_secs(60);
/// How many are kept.
const MOST: usize = 1024;

/// Somebody who has typed a name, and what for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Grant {
    pub(super) subject: String,
    pub(super) name: String,
    pub(super) nonce: Option<String>,
    pub(super) challenge: String,
}

/// Grants by the digest of what was given out for them.
pub(super) struct Codes(Mutex<Kept>);

#[derive(Default)]
struct Kept {
    grants: HashMap<[u8; 32], (Grant, MeterTime)>,
    order: VecDeque<[u8; 32]>,
}

impl Codes {
    pub(super) fn new() -> Self {
        Self(Mutex::default())
    }

    /// Keeps a grant for whoever shows `code`.
    pub(super) fn keep(&self, code: &str, grant: Grant, now: MeterTime) {
        let digest = Sha256::digest(code).into();
        let mut kept = self.0.lock();
        kept.grants.insert(digest, (grant, now.plus(LIFE)));
        kept.order.push_back(digest);
        if kept.order.len() > MOST
            && let Some(oldest) = kept.order.pop_front()
        {
            kept.grants.remove(&oldest);
        }
    }

    /// The grant of this code. It is good no more.
    pub(super) fn take(&self, code: &str, now: MeterTime) -> Option<Grant> {
        let digest: [u8; 32] = Sha256::digest(code).into();
        let (grant, until) = self.0.lock().grants.remove(&digest)?;
        (now < until).then_some(grant)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const T: fn(u64) -> MeterTime = MeterTime::from_ms;

    fn grant() -> Grant {
        Grant { subject: "ada".into(), name: "Ada".into(), nonce: None, challenge: "c".into() }
    }

    #[test]
    fn a_code_is_good_once_and_for_a_minute_and_few_are_kept() {
        let codes = Codes::new();
        codes.keep("one", grant(), T(0));
        assert_eq!(codes.take("two", T(0)), None);
        assert_eq!(codes.take("one", T(59_999)), Some(grant()));
        assert_eq!(codes.take("one", T(59_999)), None);
        codes.keep("late", grant(), T(0));
        assert_eq!(codes.take("late", T(60_000)), None);
        for n in 0..2 * MOST {
            codes.keep(&n.to_string(), grant(), T(0));
        }
        let kept = codes.0.lock();
        assert!(kept.grants.len() <= MOST && kept.order.len() <= MOST, "{}", kept.grants.len());
    }
}
