//! Opaque tokens: only the provider can tell whose they are. It is asked, and its answer kept for a short while.
//!
//! The way of Firefox Accounts: `POST {"token"}` is answered `{"user","client_id","scope"}`, or 400 with `errno` 108 (not
//! known) or 115 (expired). Anything else is the provider's trouble, and no reason to throw anybody out.

use std::{
    collections::{HashMap, VecDeque},
    num::NonZeroU32,
    sync::Arc,
};

use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use parking_lot::Mutex;
use reqwest::{StatusCode, Url};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tokio::sync::Semaphore;

use super::{
    fetch::Fetcher,
    scope::Required,
    verify::{Fault, is_subject},
};
use crate::time::{Clock, MeterTime, Millis};

/// How long a good answer is kept: as long as a token that was revoked still counts here.
const KEEP_GOOD: Millis = Millis::from_secs(60);
/// How long a refusal is kept.
const KEEP_BAD: Millis = Millis::from_secs(10);
/// Answers of either kind that are kept.
const MAX_KEPT: usize = 8192;
/// Questions that are under way at a time.
const AT_ONCE: usize = 64;
/// Questions a second on average, and at once.
const RATE: (NonZeroU32, NonZeroU32) =
    (NonZeroU32::new(50).expect("it is not zero"), NonZeroU32::new(200).expect("it is not zero"));
/// `errno` of a token that is not known, and of one that has expired.
const REFUSED: [u32; 2] = [108, 115];
/// Characters of an opaque token.
const MAX_OPAQUE: usize = 1024;

/// Why a token counts for nothing now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OpaqueError {
    /// It is not good.
    Refused(Fault),
    /// The provider cannot say now.
    Unavailable,
}

/// Asks a provider about opaque tokens.
pub(super) struct Opaque {
    url: Url,
    fetcher: Fetcher,
    scope: Required,
    clock: Arc<dyn Clock>,
    kept: Mutex<Kept>,
    room: Semaphore,
    rate: DefaultDirectRateLimiter,
}

/// A token's SHA-256: tokens themselves are not kept.
type TokenDigest = [u8; 32];

/// Good answers and refusals apart: a flood of the one does not push out the other.
#[derive(Default)]
struct Kept {
    good: Shelf<String>,
    bad: Shelf<Fault>,
}

/// A bounded map from which the oldest goes first.
struct Shelf<T> {
    answers: HashMap<TokenDigest, (T, MeterTime)>,
    order: VecDeque<TokenDigest>,
}

#[derive(Serialize)]
struct Question<'a> {
    token: &'a str,
}

#[derive(Deserialize)]
struct Answer {
    user: String,
    #[serde(default)]
    scope: Vec<String>,
}

#[derive(Deserialize)]
struct Refusal {
    errno: u32,
}

impl Opaque {
    pub(super) fn new(url: Url, fetcher: Fetcher, scope: Required, clock: Arc<dyn Clock>) -> Self {
        let rate = RateLimiter::direct(Quota::per_second(RATE.0).allow_burst(RATE.1));
        Self { url, fetcher, scope, clock, kept: Mutex::default(), room: Semaphore::new(AT_ONCE), rate }
    }

    /// Whose token it is.
    pub(super) async fn subject(&self, token: &str) -> Result<String, OpaqueError> {
        if !is_opaque(token) {
            return Err(OpaqueError::Refused(Fault::Malformed));
        }
        let digest = Sha256::digest(token.as_bytes()).into();
        if let Some(kept) = self.kept.lock().find(&digest, self.clock.now()) {
            return kept.map_err(OpaqueError::Refused);
        }
        let Ok(_place) = self.room.try_acquire() else { return Err(OpaqueError::Unavailable) };
        if self.rate.check().is_err() {
            return Err(OpaqueError::Unavailable);
        }
        let answer = self.ask(token).await?;
        let now = self.clock.now();
        let mut kept = self.kept.lock();
        match &answer {
            Ok(subject) => kept.good.keep(digest, subject.clone(), now.plus(KEEP_GOOD)),
            Err(fault) => kept.bad.keep(digest, *fault, now.plus(KEEP_BAD)),
        }
        answer.map_err(OpaqueError::Refused)
    }

    async fn ask(&self, token: &str) -> Result<Result<String, Fault>, OpaqueError> {
        let (status, body) =
            self.fetcher.post(&self.url, &Question { token }).await.map_err(|_| OpaqueError::Unavailable)?;
        match status {
            StatusCode::OK => {
                let answer: Answer = serde_json::from_slice(&body).map_err(|_| OpaqueError::Unavailable)?;
                if !is_subject(&answer.user) {
                    return Err(OpaqueError::Unavailable);
                }
                let enough = self.scope.met_by(answer.scope.iter().flat_map(|scope| scope.split(' ')));
                Ok(if enough { Ok(answer.user) } else { Err(Fault::Scope) })
            }
            StatusCode::BAD_REQUEST => match serde_json::from_slice::<Refusal>(&body) {
                Ok(refusal) if refusal.errno == REFUSED[0] => Ok(Err(Fault::Key)),
                Ok(refusal) if refusal.errno == REFUSED[1] => Ok(Err(Fault::Expired)),
                _ => Err(OpaqueError::Unavailable),
            },
            _ => Err(OpaqueError::Unavailable),
        }
    }
}

/// `b64token` (RFC 6750, 2.1), of a length that a token has.
fn is_opaque(token: &str) -> bool {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~+/=".contains(&byte);
    (16..=MAX_OPAQUE).contains(&token.len()) && token.bytes().all(legal)
}

impl Kept {
    fn find(&self, digest: &TokenDigest, now: MeterTime) -> Option<Result<String, Fault>> {
        let good = self.good.find(digest, now).cloned().map(Ok);
        good.or_else(|| self.bad.find(digest, now).copied().map(Err))
    }
}

impl<T> Default for Shelf<T> {
    fn default() -> Self {
        Self { answers: HashMap::new(), order: VecDeque::new() }
    }
}

impl<T> Shelf<T> {
    fn find(&self, digest: &TokenDigest, now: MeterTime) -> Option<&T> {
        self.answers.get(digest).filter(|(_, until)| now < *until).map(|(answer, _)| answer)
    }

    fn keep(&mut self, digest: TokenDigest, answer: T, until: MeterTime) {
        if self.answers.insert(digest, (answer, until)).is_none() {
            self.order.push_back(digest);
        }
        if self.order.len() > MAX_KEPT
            && let Some(oldest) = self.order.pop_front()
        {
            self.answers.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const T: fn(u64) -> MeterTime = MeterTime::from_ms;

    fn digest(n: usize) -> TokenDigest {
        Sha256::digest(n.to_le_bytes()).into()
    }

    #[test]
    fn what_is_kept_is_bounded_and_over_in_time() {
        let mut shelf = Shelf::default();
        for n in 0..MAX_KEPT + 10 {
            shelf.keep(digest(n), n, T(100));
            shelf.keep(digest(n), n, T(100));
        }
        assert_eq!((shelf.answers.len(), shelf.order.len()), (MAX_KEPT, MAX_KEPT));
        assert_eq!(shelf.find(&digest(9), T(0)), None, "the oldest went first");
        assert_eq!(shelf.find(&digest(10), T(99)), Some(&10));
        assert_eq!(shelf.find(&digest(10), T(100)), None);
    }

    #[test]
    fn what_cannot_be_a_token_is_not_asked_about() {
        assert!(is_opaque("0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"));
        for bad in ["", "short", "with a space in its middle", "ünïcödé-ünïcödé-ünïcödé", "\"0123456789abcdef\""]
        {
            assert!(!is_opaque(bad), "{bad}");
        }
        assert!(!is_opaque(&"a".repeat(MAX_OPAQUE + 1)));
    }
}
