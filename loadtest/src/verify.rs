//! What an ack must say.
//!
//! Acks may overtake each other on the way, so "before" means *known when the beat was sent*: what a session's acks said
//! up to that moment binds the answer, whatever arrived in between does not.

use gastank::{
    time::{MeterTime, Millis},
    wire::{Ack, BodyMac, EndReason, FRAME_LEN, FrameError, WireVerdict},
};

/// Why an answer is bad.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Bad {
    /// It is not 48 bytes long.
    Length,
    /// Its version is not 1.
    Version,
    /// It is not an ack.
    Kind,
    /// Its tag is not that of the session's key.
    Tag,
    /// It carries a value that the format does not have.
    Value,
    /// It answers another `seq`.
    SeqEcho,
    /// It echoes another clock.
    ClockEcho,
    /// It says that the session is over.
    Invalid(EndReason),
    /// It says that the session is not known.
    Unknown,
    /// Meter time went backwards.
    MeterWentBack,
    /// There is more credit than before.
    TankGrew,
    /// The tank does not drain as meter time passes: what is left and the meter do not add up.
    TankOffPace,
    /// The next beat is asked for sooner than half the interval, or later than the longest one.
    NextBeat,
    /// Flags that the format does not have.
    Flags,
    /// A forged frame was answered.
    ForgedAnswered,
    /// The HTTP answer is not what the interface promises.
    Shape,
    /// A token that is good was said not to be.
    NotActive,
    /// A token that is dead was said to be good.
    StillActive,
    /// The answer is about something else than what was asked.
    Other,
    /// An activation that ended a session did not say so.
    NotSuperseded,
    /// Something that must be new is not.
    NotNew,
    /// A status list says of a live token that it is not good.
    StatusSet,
}

impl Bad {
    /// The name that the report uses.
    pub fn name(self) -> String {
        let name = match self {
            Self::Length => "length",
            Self::Version => "version",
            Self::Kind => "kind",
            Self::Tag => "tag",
            Self::Value => "value",
            Self::SeqEcho => "seq_echo",
            Self::ClockEcho => "clock_echo",
            Self::Invalid(reason) => return format!("invalid_{}", reason.name()),
            Self::Unknown => "unknown",
            Self::MeterWentBack => "meter_went_back",
            Self::TankGrew => "tank_grew",
            Self::TankOffPace => "tank_off_pace",
            Self::NextBeat => "next_beat",
            Self::Flags => "flags",
            Self::ForgedAnswered => "forged_answered",
            Self::Shape => "shape",
            Self::NotActive => "not_active",
            Self::StillActive => "still_active",
            Self::Other => "other",
            Self::NotSuperseded => "not_superseded",
            Self::NotNew => "not_new",
            Self::StatusSet => "status_set",
        };
        name.to_owned()
    }
}

impl From<FrameError> for Bad {
    fn from(error: FrameError) -> Self {
        match error {
            FrameError::Length => Self::Length,
            FrameError::Version => Self::Version,
            FrameError::Kind => Self::Kind,
            FrameError::Tag => Self::Tag,
            FrameError::Value => Self::Value,
        }
    }
}

/// What every ack of a run is held against.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// The heartbeat interval that the activation named.
    pub interval: Millis,
    /// The longest that a service under pressure may ask for: a third of the timeout, where that is more.
    pub longest: Millis,
    /// Whether credit may arrive during the run: then the tank may grow.
    pub credit_may_arrive: bool,
}

/// What was known of a session when a beat was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Known {
    /// The greatest meter time that its acks had said.
    pub meter: MeterTime,
    /// The least credit that its acks had said.
    pub remaining_s: u32,
}

/// The beat that an ack answers.
#[derive(Clone, Copy, Debug)]
pub struct SentBeat {
    /// Its `seq`.
    pub seq: u32,
    /// Its clock.
    pub clock: MeterTime,
    /// What was known when it was sent.
    pub known: Known,
}

/// A session, as its acks have described it so far.
#[derive(Clone, Debug)]
pub struct Track {
    mac: BodyMac,
    known: Known,
    /// Least and greatest of "meter time + what is left", in ms: when the tank runs dry, give or take a second.
    dry: Option<(u64, u64)>,
}

impl Track {
    /// A session of which no ack has come yet.
    pub const fn new(mac: BodyMac) -> Self {
        Self { mac, known: Known { meter: MeterTime::ZERO, remaining_s: u32::MAX }, dry: None }
    }

    /// What signs its frames.
    pub const fn mac(&self) -> &BodyMac {
        &self.mac
    }

    /// What is known of it now.
    pub const fn known(&self) -> Known {
        self.known
    }

    /// Judges the answer to a beat, and learns from it if it is good.
    ///
    /// # Errors
    ///
    /// The first [`Bad`] that applies; nothing is learned from a bad ack.
    pub fn judge(&mut self, rules: &Rules, asked: &SentBeat, bytes: &[u8]) -> Result<Ack, Bad> {
        let ack = Ack::verify(bytes, &self.mac)?;
        if ack.seq != asked.seq {
            return Err(Bad::SeqEcho);
        }
        if ack.echo != asked.clock {
            return Err(Bad::ClockEcho);
        }
        match ack.verdict {
            WireVerdict::Valid => {}
            WireVerdict::Invalid(reason) => return Err(Bad::Invalid(reason)),
            WireVerdict::Unknown => return Err(Bad::Unknown),
        }
        if ack.now < asked.known.meter {
            return Err(Bad::MeterWentBack);
        }
        let dry = self.drains(rules, asked, &ack)?;
        next_beat_is_fair(rules, &ack)?;
        if ack.flags.0 & !KNOWN_FLAGS != 0 {
            return Err(Bad::Flags);
        }
        self.dry = dry;
        self.known.meter = self.known.meter.max(ack.now);
        self.known.remaining_s = self.known.remaining_s.min(ack.remaining_s);
        Ok(ack)
    }

    /// The tank must lose a second for every second of meter time: the instant it runs dry stands still.
    fn drains(&self, rules: &Rules, asked: &SentBeat, ack: &Ack) -> Result<Option<(u64, u64)>, Bad> {
        if rules.credit_may_arrive || ack.remaining_s == u32::MAX {
            return Ok(None);
        }
        if ack.remaining_s > asked.known.remaining_s {
            return Err(Bad::TankGrew);
        }
        let dry = ack.now.plus(Millis::from_secs(u64::from(ack.remaining_s))).as_ms();
        let (least, greatest) = self.dry.map_or((dry, dry), |(least, greatest)| (least.min(dry), greatest.max(dry)));
        // What is left comes in whole seconds, rounded down.
        if greatest - least < 1000 { Ok(Some((least, greatest))) } else { Err(Bad::TankOffPace) }
    }
}

const KNOWN_FLAGS: u16 = gastank::wire::AckFlags::RENEW | gastank::wire::AckFlags::LOW_CREDIT;

fn next_beat_is_fair(rules: &Rules, ack: &Ack) -> Result<(), Bad> {
    let next_ms = u64::from(ack.next_beat_100ms) * 100;
    let latest = rules.interval.max(rules.longest).get().div_ceil(100) * 100;
    // A session about to run dry is asked for when it does.
    let earliest =
        if u64::from(ack.remaining_s) * 1000 < rules.interval.get() { 100 } else { rules.interval.get() / 2 };
    if (earliest..=latest).contains(&next_ms) { Ok(()) } else { Err(Bad::NextBeat) }
}

/// The `seq` of an ack that came as a datagram, not yet to be believed: it tells which beat to check it against.
pub fn claimed_seq(bytes: &[u8]) -> Option<u32> {
    (bytes.len() == FRAME_LEN).then(|| u32::from_le_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]))
}

#[cfg(test)]
mod tests {
    use gastank::wire::{AckFlags, SessionKey};

    use super::*;

    const RULES: Rules =
        Rules { interval: Millis::from_secs(30), longest: Millis::from_secs(30), credit_may_arrive: false };

    fn mac() -> BodyMac {
        SessionKey::from_bytes([9; 32]).body_mac()
    }

    fn asked() -> SentBeat {
        let known = Known { meter: MeterTime::from_ms(4000), remaining_s: 3600 };
        SentBeat { seq: 5, clock: MeterTime::from_ms(4500), known }
    }

    fn good() -> Ack {
        Ack {
            verdict: WireVerdict::Valid,
            seq: 5,
            now: MeterTime::from_ms(5000),
            echo: MeterTime::from_ms(4500),
            remaining_s: 3599,
            next_beat_100ms: 290,
            flags: AckFlags(0),
        }
    }

    fn judged(ack: Ack) -> Result<Ack, Bad> {
        Track::new(mac()).judge(&RULES, &asked(), ack.sign(&mac()).as_bytes())
    }

    #[test]
    fn a_good_ack_passes_and_is_learned_from() {
        let mut track = Track::new(mac());
        assert_eq!(track.judge(&RULES, &asked(), good().sign(&mac()).as_bytes()), Ok(good()));
        assert_eq!(track.known(), Known { meter: MeterTime::from_ms(5000), remaining_s: 3599 });
    }

    #[test]
    fn a_flipped_bit_anywhere_in_an_ack_is_caught() {
        for bit in 0..FRAME_LEN * 8 {
            let mut frame = *good().sign(&mac()).as_bytes();
            frame[bit / 8] ^= 1 << (bit % 8);
            let bad = Track::new(mac()).judge(&RULES, &asked(), &frame).unwrap_err();
            let expected = match bit / 8 {
                0 => Bad::Version,
                1 => Bad::Kind,
                _ => Bad::Tag,
            };
            assert_eq!(bad, expected, "bit {bit}");
        }
    }

    #[test]
    fn an_ack_under_another_sessions_key_is_caught() {
        let other = SessionKey::from_bytes([8; 32]).body_mac();
        let bad = Track::new(mac()).judge(&RULES, &asked(), good().sign(&other).as_bytes());
        assert_eq!(bad, Err(Bad::Tag));
    }

    #[test]
    fn an_ack_of_another_length_is_caught() {
        let frame = *good().sign(&mac()).as_bytes();
        assert_eq!(Track::new(mac()).judge(&RULES, &asked(), &frame[..47]), Err(Bad::Length));
    }

    #[test]
    fn values_that_the_format_does_not_have_are_caught() {
        let mut body = good().body();
        body[2] = 3;
        let frame: Vec<u8> = body.iter().chain(mac().tag(&body).as_bytes()).copied().collect();
        assert_eq!(Track::new(mac()).judge(&RULES, &asked(), &frame), Err(Bad::Value));
    }

    #[test]
    fn wrong_echoes_are_caught() {
        assert_eq!(judged(Ack { seq: 6, ..good() }), Err(Bad::SeqEcho));
        assert_eq!(judged(Ack { echo: MeterTime::from_ms(4501), ..good() }), Err(Bad::ClockEcho));
    }

    #[test]
    fn verdicts_other_than_valid_are_caught() {
        for reason in EndReason::ALL {
            assert_eq!(judged(Ack { verdict: WireVerdict::Invalid(reason), ..good() }), Err(Bad::Invalid(reason)));
        }
        assert_eq!(judged(Ack { verdict: WireVerdict::Unknown, ..good() }), Err(Bad::Unknown));
    }

    #[test]
    fn a_meter_that_goes_back_is_caught() {
        assert_eq!(judged(Ack { now: MeterTime::from_ms(3999), ..good() }), Err(Bad::MeterWentBack));
        assert!(judged(Ack { now: MeterTime::from_ms(4000), ..good() }).is_ok());
    }

    #[test]
    fn an_ack_that_was_overtaken_by_a_later_one_is_not_bad() {
        let mut track = Track::new(mac());
        let before = SentBeat { known: track.known(), ..asked() };
        let later = Ack { seq: 6, now: MeterTime::from_ms(7000), remaining_s: 3597, ..good() };
        let later_asked = SentBeat { seq: 6, ..before };
        assert!(track.judge(&RULES, &later_asked, later.sign(&mac()).as_bytes()).is_ok());
        assert!(track.judge(&RULES, &before, good().sign(&mac()).as_bytes()).is_ok());
        assert_eq!(track.known(), Known { meter: MeterTime::from_ms(7000), remaining_s: 3597 });
    }

    #[test]
    fn a_tank_that_grows_is_caught_unless_credit_may_arrive() {
        let grown = Ack { remaining_s: 3601, ..good() };
        assert_eq!(judged(grown), Err(Bad::TankGrew));
        let rules = Rules { credit_may_arrive: true, ..RULES };
        assert!(Track::new(mac()).judge(&rules, &asked(), grown.sign(&mac()).as_bytes()).is_ok());
    }

    #[test]
    fn a_tank_that_drains_faster_or_slower_than_the_meter_is_caught() {
        let after = |now, remaining_s| {
            let mut track = Track::new(mac());
            track.judge(&RULES, &asked(), good().sign(&mac()).as_bytes()).unwrap();
            let asked = SentBeat { known: track.known(), ..asked() };
            let ack = Ack { now: MeterTime::from_ms(now), remaining_s, ..good() };
            track.judge(&RULES, &asked, ack.sign(&mac()).as_bytes()).map(|_| ())
        };
        assert_eq!(after(15_000, 3589), Ok(()));
        assert_eq!(after(15_999, 3589), Ok(()), "rounded down, 999 ms may be hidden");
        assert_eq!(after(16_000, 3589), Err(Bad::TankOffPace));
        assert_eq!(after(15_000, 3588), Err(Bad::TankOffPace));
        assert_eq!(after(15_000, 3590), Err(Bad::TankOffPace));
    }

    #[test]
    fn a_next_beat_out_of_bounds_is_caught() {
        for (next, fair) in [(0, false), (1, false), (149, false), (150, true), (300, true), (301, false)] {
            let result = judged(Ack { next_beat_100ms: next, ..good() }).map(|_| ());
            assert_eq!(result, if fair { Ok(()) } else { Err(Bad::NextBeat) }, "{next}");
        }
        assert!(judged(Ack { next_beat_100ms: 42, remaining_s: 4, ..good() }).is_ok());
        let patient = Rules { longest: Millis::from_secs(40), ..RULES };
        for (next, fair) in [(150, true), (400, true), (401, false)] {
            assert_eq!(next_beat_is_fair(&patient, &Ack { next_beat_100ms: next, ..good() }).is_ok(), fair, "{next}");
        }
    }

    #[test]
    fn flags_that_the_format_does_not_have_are_caught() {
        assert!(judged(Ack { flags: AckFlags(3), ..good() }).is_ok());
        assert_eq!(judged(Ack { flags: AckFlags(4), ..good() }), Err(Bad::Flags));
    }
}
