//! When which session's turn it is.
//!
//! Sessions take turns in an order drawn from the seed: every session has one turn in each round, so that at a steady rate
//! its own beats are evenly spaced too. Everything is a function of the seed and the turn's number.

use std::time::Duration;

use crate::{profile::Pace, session::SessionIndex};

/// The plan of a fleet.
#[derive(Clone, Debug)]
pub struct Schedule {
    pace: Pace,
    order: Vec<SessionIndex>,
    seed: u64,
}

/// A turn that is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Due {
    /// When, from the start.
    pub at: Duration,
    /// The place of the session among [`LaneSchedule::sessions`].
    pub place: usize,
    /// Drawn from the seed, for whatever else is left to chance.
    pub draw: u64,
}

impl Schedule {
    /// A plan for `sessions` sessions at this pace.
    pub fn new(sessions: u32, pace: Pace, seed: u64) -> Self {
        let mut order: Vec<_> = (0..sessions).map(SessionIndex).collect();
        for last in (1..order.len()).rev() {
            let other = mix(seed, last as u64) % (last as u64 + 1);
            order.swap(last, usize::try_from(other).expect("it is at most `last`"));
        }
        Self { pace, order, seed }
    }

    /// The part of the plan that lane number `lane` of `lanes` carries out: always the same sessions.
    pub fn lane(&self, lane: usize, lanes: usize) -> LaneSchedule {
        LaneSchedule {
            sessions: self.order.iter().copied().skip(lane).step_by(lanes).collect(),
            pace: self.pace.clone(),
            piece: 0,
            seed: self.seed,
            all: self.order.len() as u64,
            first: lane as u64,
            step: lanes as u64,
            round: 0,
            turn: 0,
        }
    }
}

/// One lane's part of a [`Schedule`]: an iterator over its turns in the order they are due.
#[derive(Clone, Debug)]
pub struct LaneSchedule {
    sessions: Vec<SessionIndex>,
    pace: Pace,
    piece: usize,
    seed: u64,
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
        if self.sessions.is_empty() {
            return None;
        }
        let place = self.turn;
        let number = self.round * self.all + self.first + self.step * place as u64;
        let at = self.pace.due(number, &mut self.piece)?;
        self.turn += 1;
        if self.turn == self.sessions.len() {
            self.turn = 0;
            self.round += 1;
        }
        Some(Due { at, place, draw: mix(!self.seed, number) })
    }
}

/// A well-mixed function of the seed and a number (SplitMix64).
pub fn mix(seed: u64, number: u64) -> u64 {
    let mut x = seed.wrapping_add(number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::profile::{Phase, Rate};

    fn plan(sessions: u32, rate: f64, seconds: u64, seed: u64) -> Schedule {
        let pace = Pace::new(&[Phase::steady(Duration::from_secs(seconds))], Rate::new(rate).unwrap(), 0);
        Schedule::new(sessions, pace, seed)
    }

    #[test]
    fn turns_are_evenly_spaced_and_as_many_as_rate_times_duration() {
        let turns: Vec<_> = plan(3, 100.0, 2, 7).lane(0, 1).collect();
        assert_eq!(turns.len(), 200);
        assert_eq!(turns[0].at, Duration::ZERO);
        for pair in turns.windows(2) {
            assert_eq!((pair[1].at - pair[0].at).as_micros().div_ceil(10), 1000);
        }
    }

    #[test]
    fn every_session_has_one_turn_in_each_round() {
        let turns: Vec<_> = plan(10, 10.0, 3, 7).lane(0, 1).collect();
        for round in turns.chunks(10) {
            let places: Vec<_> = round.iter().map(|due| due.place).collect();
            assert_eq!(places, (0..10).collect::<Vec<_>>());
        }
    }

    #[test]
    fn lanes_together_carry_out_the_plan_of_one_lane_and_share_no_session() {
        let plan = plan(10, 100.0, 5, 7);
        let turns = |lane, lanes| {
            let schedule = plan.lane(lane, lanes);
            let sessions = schedule.sessions().to_vec();
            schedule.map(move |due| (due.at, sessions[due.place], due.draw)).collect::<Vec<_>>()
        };
        let mut parts: Vec<_> = (0..3).flat_map(|lane| turns(lane, 3)).collect();
        parts.sort_by_key(|(at, ..)| *at);
        assert_eq!(parts, turns(0, 1));
        let mut owner = BTreeMap::new();
        for lane in 0..3 {
            for session in plan.lane(lane, 3).sessions() {
                assert_eq!(owner.insert(*session, lane), None);
            }
        }
        assert_eq!(owner.len(), 10);
    }

    #[test]
    fn a_lane_without_sessions_has_nothing_to_do() {
        assert_eq!(plan(2, 100.0, 1, 7).lane(2, 3).next(), None);
    }

    #[test]
    fn the_same_seed_gives_the_same_plan_and_another_seed_another() {
        let order = |seed| {
            let lane = plan(50, 50.0, 2, seed).lane(0, 1);
            (lane.sessions().to_vec(), lane.collect::<Vec<_>>())
        };
        assert_eq!(order(1), order(1));
        assert_ne!(order(1), order(2));
    }
}
