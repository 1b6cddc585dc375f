//! What an account has earned lately: the cooldowns that run, and how much it was paid on the latest day.
//!
//! It is a part of the account and changes only by the act that pays a reward. An act is committed on the version that it was
//! decided on, so of two rewards that are decided at once one is decided anew, and sees the cooldown of the other.

use sha2::{Digest, Sha256};

use crate::time::{Millis, UnixMs};

use super::Credit;

/// Cooldowns that one account remembers. Those that have passed are forgotten by the next reward.
const MOST_COOLDOWNS: usize = 512;
/// Bytes of a cooldown: its offer, and when it ends.
const COOLDOWN_BYTES: usize = 16;
/// Milliseconds of a day.
const DAY_MS: u64 = 86_400_000;

/// Names what rewards are paid for: a class and a distinguisher, as a digest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OfferId([u8; 8]);

/// What is paid for something, and how often.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offer {
    /// What for.
    pub id: OfferId,
    /// How much is paid.
    pub reward: Credit,
    /// How long after a reward there is no other.
    pub cooldown: Millis,
    /// How much one account may earn on a day (UTC) by all offers together. `None`: as much as it can.
    pub daily: Option<Millis>,
    /// How long a session of the account must have run lately. Zero: it needs none.
    pub session: Millis,
}

/// What an account has earned lately.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Earnings {
    /// The day of the latest reward, in days since 1970 (UTC).
    day: u32,
    /// What was paid on that day.
    paid: Millis,
    /// Offers that pay nothing before an instant.
    cooldowns: Vec<(OfferId, UnixMs)>,
}

/// Why an offer pays nothing now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unearned {
    /// It paid not long ago, and pays again at this instant.
    Cooldown(UnixMs),
    /// The account has earned as much as it may on a day; the next day begins at this instant.
    Daily(UnixMs),
    /// No session of the account has run for long enough lately.
    Inactive,
}

impl OfferId {
    /// Of this class and this distinguisher.
    pub fn of(class: &str, distinguisher: &str) -> Self {
        let mut sha = Sha256::new_with_prefix(b"gastank/offer/v1");
        // With its length before it, no class can be taken for part of a distinguisher.
        sha.update((class.len() as u64).to_be_bytes());
        sha.update(class);
        sha.update(distinguisher);
        let mut first = [0; 8];
        first.copy_from_slice(&sha.finalize()[..8]);
        Self(first)
    }
}

impl Earnings {
    /// Nothing was ever earned.
    pub const NONE: Self = Self { day: 0, paid: Millis::ZERO, cooldowns: Vec::new() };

    /// What is earned after an offer has paid at `wall`, or why it does not pay.
    ///
    /// # Errors
    ///
    /// [`Unearned::Cooldown`] and [`Unearned::Daily`].
    pub fn pay(&self, offer: &Offer, wall: UnixMs) -> Result<Self, Unearned> {
        let running: Vec<_> = self.cooldowns.iter().copied().filter(|(_, until)| *until > wall).collect();
        if let Some((_, until)) = running.iter().find(|(id, _)| *id == offer.id) {
            return Err(Unearned::Cooldown(*until));
        }
        if running.len() >= MOST_COOLDOWNS {
            let first = running.iter().map(|(_, until)| *until).min().unwrap_or(wall);
            return Err(Unearned::Cooldown(first));
        }
        let day = day_of(wall);
        // A wall clock that was set back does not begin a day anew.
        let before = if day > self.day { Millis::ZERO } else { self.paid };
        let paid = before.plus(offer.reward.fuel());
        if offer.daily.is_some_and(|most| paid > most) {
            return Err(Unearned::Daily(next_day(wall)));
        }
        let mut cooldowns = running;
        cooldowns.push((offer.id, wall.plus(offer.cooldown)));
        Ok(Self { day: day.max(self.day), paid, cooldowns })
    }

    /// As stores keep it; nothing where nothing was ever earned.
    pub fn to_bytes(&self) -> Vec<u8> {
        if *self == Self::default() {
            return Vec::new();
        }
        let mut bytes = Vec::with_capacity(12 + self.cooldowns.len() * COOLDOWN_BYTES);
        bytes.extend(self.day.to_be_bytes());
        bytes.extend(self.paid.get().to_be_bytes());
        for (id, until) in &self.cooldowns {
            bytes.extend(id.0);
            bytes.extend(until.as_ms().to_be_bytes());
        }
        bytes
    }

    /// What [`Self::to_bytes`] has written.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        if bytes.is_empty() {
            return Some(Self::default());
        }
        let (day, rest) = bytes.split_first_chunk::<4>()?;
        let (paid, rest) = rest.split_first_chunk::<8>()?;
        let (cooldowns, odd) = rest.as_chunks::<COOLDOWN_BYTES>();
        if !odd.is_empty() || cooldowns.len() > MOST_COOLDOWNS {
            return None;
        }
        let cooldown = |bytes: &[u8; COOLDOWN_BYTES]| {
            let (id, until) = bytes.split_first_chunk::<8>()?;
            let until = u64::from_be_bytes(until.try_into().ok()?);
            Some((OfferId(*id), UnixMs::from_ms(until)))
        };
        Some(Self {
            day: u32::from_be_bytes(*day),
            paid: Millis::new(u64::from_be_bytes(*paid)),
            cooldowns: cooldowns.iter().map(cooldown).collect::<Option<_>>()?,
        })
    }
}

/// The day that an instant is in, in days since 1970 (UTC).
pub fn day_of(wall: UnixMs) -> u32 {
    u32::try_from(wall.as_ms() / DAY_MS).unwrap_or(u32::MAX)
}

/// When the next day begins (UTC).
pub fn next_day(wall: UnixMs) -> UnixMs {
    UnixMs::from_ms((wall.as_ms() / DAY_MS + 1).saturating_mul(DAY_MS))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn offer(n: u8, reward_s: i64, cooldown_s: u64, daily_s: Option<u64>) -> Offer {
        Offer {
            id: OfferId::of("click", &n.to_string()),
            reward: Credit::from_secs(reward_s),
            cooldown: Millis::from_secs(cooldown_s),
            daily: daily_s.map(Millis::from_secs),
            session: Millis::ZERO,
        }
    }

    #[test]
    fn a_reward_is_paid_again_when_its_cooldown_has_passed_to_the_millisecond() {
        let (offer, other) = (offer(1, 60, 10, None), offer(2, 60, 10, None));
        let at = UnixMs::from_ms;
        let paid = Earnings::default().pay(&offer, at(1_000)).unwrap();
        assert_eq!(paid.pay(&offer, at(10_999)), Err(Unearned::Cooldown(at(11_000))));
        assert!(paid.pay(&offer, at(11_000)).is_ok());
        assert!(paid.pay(&other, at(1_000)).is_ok(), "another distinguisher has its own");
        assert_eq!(paid.pay(&offer, at(0)), Err(Unearned::Cooldown(at(11_000))), "a clock that was set back");
    }

    #[test]
    fn a_day_pays_so_much_and_the_next_one_begins_at_midnight() {
        let offers: Vec<_> = (0..3).map(|n| offer(n, 60, 1, Some(120))).collect();
        let late = UnixMs::from_ms(10 * DAY_MS - 1);
        let paid = Earnings::default().pay(&offers[0], late).unwrap().pay(&offers[1], late).unwrap();
        assert_eq!(paid.pay(&offers[2], late), Err(Unearned::Daily(UnixMs::from_ms(10 * DAY_MS))));
        assert!(paid.pay(&offers[2], UnixMs::from_ms(10 * DAY_MS)).is_ok());
    }

    #[test]
    fn the_parts_of_an_offer_are_told_apart() {
        assert_ne!(OfferId::of("ab", "c"), OfferId::of("a", "bc"));
    }

    proptest! {
        /// Against a reference that keeps every payment and looks back through all of them.
        #[test]
        fn no_order_of_attempts_pays_twice_within_a_cooldown_or_beyond_the_cap(
            cooldowns in prop::collection::vec(1..200_000_u64, 4),
            daily_s in prop::option::of(60..600_u64),
            attempts in prop::collection::vec((0..4_u8, 0..100_000_u64), 1..120),
        ) {
            let mut earnings = Earnings::default();
            let mut wall = UnixMs::from_ms(19_000 * DAY_MS + 80_000_000);
            let mut all: Vec<(u8, UnixMs)> = Vec::new();
            for (n, later_s) in attempts {
                wall = wall.plus(Millis::from_secs(later_s / 10));
                let offer = offer(n, 60, cooldowns[usize::from(n)], daily_s);
                let cools = all.iter().any(|(of, at)| *of == n && wall.since(*at) < offer.cooldown);
                let today = all.iter().filter(|(_, at)| day_of(*at) == day_of(wall)).count() as u64;
                let fits = daily_s.is_none_or(|most| (today + 1) * 60 <= most);
                let paid = earnings.pay(&offer, wall);
                prop_assert_eq!(paid.is_ok(), !cools && fits);
                if let Ok(paid) = paid {
                    prop_assert_eq!(Earnings::from_bytes(&paid.to_bytes()), Some(paid.clone()));
                    earnings = paid;
                    all.push((n, wall));
                }
            }
        }

        #[test]
        fn bytes_of_others_are_read_or_refused(bytes: Vec<u8>) {
            if let Some(read) = Earnings::from_bytes(&bytes) {
                prop_assert_eq!(Earnings::from_bytes(&read.to_bytes()), Some(read));
            }
        }
    }
}
