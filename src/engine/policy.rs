//! The figures the rules work with.

use crate::{
    time::{MeterTime, Millis, UnixMs},
    wire::SessionId,
};

use super::Pressure;

/// The figures the rules work with; the same on every node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// How far apart heartbeats are asked for.
    pub interval: Millis,
    /// How far apart they are asked for when the service is pressed as hard as it can bear. Not more than a third of the
    /// time-out, so that two may be lost.
    pub longest_interval: Millis,
    /// How long after its last heartbeat a session is vouched for.
    pub timeout: Millis,
    /// The longest a token may live.
    pub max_ttl: Millis,
    /// How long before its expiry a client is asked to renew a token.
    pub renew_before: Millis,
    /// Below how much credit a client is told that little is left.
    pub low_credit: Millis,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            interval: Millis::from_secs(30),
            longest_interval: Millis::from_secs(30),
            timeout: Millis::from_secs(90),
            max_ttl: Millis::from_secs(24 * 60 * 60),
            renew_before: Millis::from_secs(15 * 60),
            low_credit: Millis::from_secs(5 * 60),
        }
    }
}

impl Policy {
    /// When a session is to beat next, from now, in units of 100 ms.
    ///
    /// The harder the service is pressed, the later, up to the longest interval. Up to a tenth early, so that clients which started together drift apart; the draw is a function of the session
    /// and the instant, so that it needs no randomness. A session about to run dry is asked for before that, in time to be
    /// given another token if credit has come, and then just after it, to be told so.
    pub(super) fn next_beat_100ms(
        &self,
        session: &SessionId,
        now: MeterTime,
        remaining: Millis,
        pressure: Pressure,
    ) -> u16 {
        let room = self.longest_interval.minus(self.interval).get();
        let interval = self.interval.get() + pressure.share_of(room);
        let early = interval / 10 * (u64::from(draw(session, now)) + 1) / (1 << 16);
        let dry = match remaining.get().checked_sub(BEFORE_DRY_MS) {
            Some(before) if before >= MIN_BEAT_MS => before,
            _ => remaining.get() + AFTER_DRY_MS,
        };
        let next = (interval - early).min(dry);
        u16::try_from(next.div_ceil(100).max(1)).unwrap_or(u16::MAX)
    }

    /// How long a token issued now may live, given how much there is to burn; to be rounded up to where a second begins.
    ///
    /// A little longer than the credit: a client that is asked for just after the tank has run dry, and has been given credit
    /// since the beat before, has the time to renew while its token is good. Verdicts do not wait for a token to expire.
    pub fn token_ttl(&self, remaining: Millis) -> Millis {
        self.max_ttl.min(Millis::new(remaining.get().saturating_add(OUTLIVES_CREDIT_MS)))
    }

    /// Whether a client is to ask for another token at `wall`, where the one it has is good until `expires`.
    ///
    /// Not before it is near its end, and only if another one would live noticeably longer; but in any case if it ends
    /// before the credit does.
    pub(super) fn is_renewal_due(&self, expires: UnixMs, wall: UnixMs, remaining: Millis) -> bool {
        let ends_first = if remaining <= self.max_ttl {
            expires < wall.plus(remaining)
        } else {
            wall.plus(self.max_ttl).since(expires) > RENEWAL_GAIN
        };
        ends_first && expires.since(wall) <= self.renew_before
    }
}

/// How long before its tank is empty a session is asked for: a second, and half of one for the way there and back.
const BEFORE_DRY_MS: u64 = 1500;
/// How long after that it is asked for to be told so.
const AFTER_DRY_MS: u64 = 200;
/// Sooner than that nobody is asked for before the tank is empty.
const MIN_BEAT_MS: u64 = 500;
/// By how much a token may outlive the credit.
const OUTLIVES_CREDIT_MS: u64 = 500;
/// By how much a new token must outlive one that does not end before the credit does.
const RENEWAL_GAIN: Millis = Millis::from_secs(2);

/// Sixteen well-mixed bits of a session and an instant (the finaliser of SplitMix64).
fn draw(session: &SessionId, now: MeterTime) -> u16 {
    let mut seed = [0; 8];
    seed.copy_from_slice(&session.as_bytes()[8..]);
    let mut x = u64::from_le_bytes(seed) ^ now.as_ms();
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^= x >> 31;
    u16::try_from(x >> 48).expect("sixteen bits are left")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PLENTY: Millis = Millis::from_secs(1_000_000);

    proptest! {
        #[test]
        fn the_next_beat_is_never_asked_for_later_than_the_interval_nor_under_pressure_than_the_longest(
            session: [u8; 16], now: u64, remaining: u64, interval in 100u64..=6_553_500, longer in 0..100_000u64, part: u8,
        ) {
            let longest_interval = Millis::new((interval + longer).min(6_553_500));
            let policy = Policy { interval: Millis::new(interval), longest_interval, ..Policy::default() };
            let (session, now, remaining) =
                (SessionId::from_bytes(session), MeterTime::from_ms(now), Millis::new(remaining));
            let next = |pressure| policy.next_beat_100ms(&session, now, remaining, pressure);
            let (calm, pressed, full) =
                (next(Pressure::NONE), next(Pressure::of(part.into(), 255)), next(Pressure::FULL));
            prop_assert!(calm >= 1);
            prop_assert!(u64::from(calm) * 100 < interval + 100);
            prop_assert!(calm <= pressed && pressed <= full);
            prop_assert!(u64::from(full) * 100 < longest_interval.get() + 100);
        }
    }

    #[test]
    fn sessions_that_start_together_are_spread_over_a_tenth_of_the_interval() {
        let policy = Policy::default();
        let draws: std::collections::BTreeSet<u16> = (0..=255u8)
            .map(|n| policy.next_beat_100ms(&SessionId::from_bytes([n; 16]), MeterTime::ZERO, PLENTY, Pressure::NONE))
            .collect();
        assert!(draws.len() > 20, "{draws:?}");
        assert!(draws.iter().all(|next| (270..=300).contains(next)), "{draws:?}");
    }

    #[test]
    fn a_session_about_to_run_dry_is_asked_for_in_time_before_and_just_after() {
        let policy = Policy { longest_interval: Millis::from_secs(60), ..Policy::default() };
        for pressure in [Pressure::NONE, Pressure::FULL] {
            let next = |remaining_ms| {
                let session = SessionId::from_bytes([1; 16]);
                policy.next_beat_100ms(&session, MeterTime::ZERO, Millis::new(remaining_ms), pressure)
            };
            let asked = [5_000, 2_000, 1_999, 1_500, 100, 0].map(next);
            assert_eq!(asked, [35, 5, 22, 17, 3, 2]);
        }
    }

    #[test]
    fn a_token_that_ends_before_the_credit_is_renewed_and_no_other_before_its_time() {
        let policy = Policy::default();
        let wall = UnixMs::from_ms(1_800_000_000_000);
        let due = |expires_in_ms: i64, remaining_ms| {
            let expires = UnixMs::from_ms(wall.as_ms().saturating_add_signed(expires_in_ms));
            policy.is_renewal_due(expires, wall, Millis::new(remaining_ms))
        };
        assert!(!due(2_500, 2_000) && !due(2_000, 2_000), "it was issued for all there is");
        assert!(due(2_500, 2_501), "a top-up, however small");
        assert!(!due(901_000, 7_200_000) && due(900_000, 7_200_000), "a top-up, in time");
        let plenty = 10 * 86_400_000;
        assert!(!due(86_400_000, plenty) && due(900_000, plenty));
        assert!(due(-1, plenty) && due(-86_400_000, 5_000), "the wall clock has stepped forward");
        assert!(!due(2 * 86_400_000, plenty), "and back");
    }
}
