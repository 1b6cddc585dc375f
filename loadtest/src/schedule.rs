//! When which session beats.
//!
//! Beats are evenly spaced, and sessions take turns in an order drawn from the seed: every session beats once in each
//! round, so that its own beats are evenly spaced too. Everything is a function of the seed and the beat's number; the
//! answers have no say in it. That is what makes the loop open.

use std::time::Duration;

use crate::session::SessionIndex;

/// Beats a second, over all sessions.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub struct Rate(f64);

impl Rate {
    /// The slowest: one beat in 1000 seconds.
    pub const MIN: Self = Self(0.001);
    /// The fastest.
    pub const MAX: Self = Self(2_000_000.0);

    /// `per_second` beats a second, if that is within the bounds.
    pub fn new(per_second: f64) -> Option<Self> {
        (Self::MIN.0..=Self::MAX.0).contains(&per_second).then_some(Self(per_second))
    }

    /// Beats a second.
    pub const fn per_second(self) -> f64 {
        self.0
    }

    /// When the beat with this number is due, from the start.
    fn due(self, number: u64) -> Duration {
        Duration::from_secs_f64(number as f64 / self.0)
    }
}

/// The plan of a run.
#[derive(Clone, Debug)]
pub struct Schedule {
    rate: Rate,
    duration: Duration,
    order: Vec<SessionIndex>,
    seed: u64,
    forged_percent: u8,
}

/// A beat that is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Due {
    /// When, from the start.
    pub at: Duration,
    /// Whose turn it is.
    pub session: SessionIndex,
    /// Its place among [`LaneSchedule::sessions`].
    pub place: usize,
    /// Whether a forged copy is to be sent right after it, and which bit of its tag to flip.
    pub forgery: Option<u8>,
}

impl Schedule {
    /// A plan for `sessions` sessions. Beside every hundred beats go `forged_percent` forged frames.
    pub fn new(sessions: u32, rate: Rate, duration: Duration, seed: u64, forged_percent: u8) -> Self {
        let mut order: Vec<_> = (0..sessions).map(SessionIndex).collect();
        for last in (1..order.len()).rev() {
            let other = mix(seed, last as u64) % (last as u64 + 1);
            order.swap(last, usize::try_from(other).expect("it is at most `last`"));
        }
        Self { rate, duration, order, seed, forged_percent }
    }

    /// The part of the plan that lane number `lane` of `lanes` carries out: always the same sessions.
    pub fn lane(&self, lane: usize, lanes: usize) -> LaneSchedule {
        LaneSchedule {
            sessions: self.order.iter().copied().skip(lane).step_by(lanes).collect(),
            rate: self.rate,
            duration: self.duration,
            seed: self.seed,
            forged_percent: self.forged_percent,
            all: self.order.len() as u64,
            first: lane as u64,
            step: lanes as u64,
            round: 0,
            turn: 0,
        }
    }
}

/// One lane's part of a [`Schedule`]: an iterator over its beats in the order they are due.
#[derive(Clone, Debug)]
pub struct LaneSchedule {
    sessions: Vec<SessionIndex>,
    rate: Rate,
    duration: Duration,
    seed: u64,
    forged_percent: u8,
    all: u64,
    first: u64,
    step: u64,
    round: u64,
    turn: usize,
}

impl LaneSchedule {
    /// The sessions that are this lane's own.
    pub fn sessions(&self) -> &[SessionIndex] {
        &self.sessions
    }
}

impl Iterator for LaneSchedule {
    type Item = Due;

    fn next(&mut self) -> Option<Due> {
        let session = *self.sessions.get(self.turn)?;
        let number = self.round * self.all + self.first + self.step * self.turn as u64;
        let at = self.rate.due(number);
        if at >= self.duration {
            return None;
        }
        let place = self.turn;
        self.turn += 1;
        if self.turn == self.sessions.len() {
            self.turn = 0;
            self.round += 1;
        }
        let draw = mix(!self.seed, number);
        let forged = draw % 100 < u64::from(self.forged_percent);
        let forgery = forged.then(|| u8::try_from(draw >> 57).expect("seven bits are left"));
        Some(Due { at, session, place, forgery })
    }
}

/// A well-mixed function of the seed and a number (SplitMix64).
fn mix(seed: u64, number: u64) -> u64 {
    let mut x = seed.wrapping_add(number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn plan(sessions: u32, rate: f64, seconds: u64) -> Schedule {
        Schedule::new(sessions, Rate::new(rate).unwrap(), Duration::from_secs(seconds), 7, 0)
    }

    #[test]
    fn beats_are_evenly_spaced_and_as_many_as_rate_times_duration() {
        let beats: Vec<_> = plan(3, 100.0, 2).lane(0, 1).collect();
        assert_eq!(beats.len(), 200);
        assert_eq!(beats[0].at, Duration::ZERO);
        for pair in beats.windows(2) {
            assert_eq!((pair[1].at - pair[0].at).as_micros().div_ceil(10), 1000);
        }
    }

    #[test]
    fn every_session_beats_once_in_each_round() {
        let beats: Vec<_> = plan(10, 10.0, 3).lane(0, 1).collect();
        for round in beats.chunks(10) {
            let mut sessions: Vec<_> = round.iter().map(|due| due.session).collect();
            sessions.sort_unstable();
            assert_eq!(sessions, (0..10).map(SessionIndex).collect::<Vec<_>>());
        }
    }

    #[test]
    fn lanes_together_carry_out_the_plan_of_one_lane_and_share_no_session() {
        let plan = plan(10, 100.0, 5);
        let what = |due: Due| (due.at, due.session);
        let whole: Vec<_> = plan.lane(0, 1).map(what).collect();
        let mut parts: Vec<_> = (0..3).flat_map(|lane| plan.lane(lane, 3)).map(what).collect();
        parts.sort_by_key(|(at, _)| *at);
        assert_eq!(parts, whole);
        let mut owner = BTreeMap::new();
        for lane in 0..3 {
            for session in plan.lane(lane, 3).sessions() {
                assert_eq!(owner.insert(*session, lane), None);
            }
        }
        assert_eq!(owner.len(), 10);
    }

    #[test]
    fn a_beats_place_is_that_of_its_session_in_the_lane() {
        let lane = plan(10, 100.0, 1).lane(1, 3);
        let sessions = lane.sessions().to_vec();
        assert!(lane.into_iter().all(|due| sessions[due.place] == due.session));
    }

    #[test]
    fn a_lane_without_sessions_has_nothing_to_do() {
        assert_eq!(plan(2, 100.0, 1).lane(2, 3).next(), None);
    }

    #[test]
    fn the_same_seed_gives_the_same_plan_and_another_seed_another() {
        let order = |seed| {
            let plan = Schedule::new(50, Rate::new(50.0).unwrap(), Duration::from_secs(2), seed, 30);
            plan.lane(0, 1).collect::<Vec<_>>()
        };
        assert_eq!(order(1), order(1));
        assert_ne!(order(1), order(2));
    }

    #[test]
    fn about_as_many_frames_are_forged_as_asked_for() {
        let plan = Schedule::new(5, Rate::new(10_000.0).unwrap(), Duration::from_secs(1), 3, 20);
        let forged = plan.lane(0, 1).filter(|due| due.forgery.is_some()).count();
        assert!((1800..2200).contains(&forged), "{forged}");
        assert!(plan.lane(0, 1).filter_map(|due| due.forgery).all(|bit| bit < 128));
    }

    #[test]
    fn rates_out_of_bounds_are_refused() {
        for rate in [0.0, -1.0, 0.0001, 2_000_001.0, f64::NAN, f64::INFINITY] {
            assert_eq!(Rate::new(rate), None, "{rate}");
        }
    }
}
