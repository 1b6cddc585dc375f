//! Phases, and when the operations of a fleet are due under them.
//!
//! Everything is a pure function of the plan: the answers have no say in it. That is what makes the loop open.

use std::time::Duration;

/// What a phase is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PhaseKind {
    /// The rate grows, or falls.
    Ramp,
    /// The rate stays.
    Steady,
    /// A rate far above the usual.
    Spike,
    /// Every connection is dropped and opened again at the start.
    Storm,
    /// Every session beats once at the start, all in the same instant.
    Burst,
    /// As steady, for long.
    Soak,
}

/// A part of a run.
#[derive(Clone, Debug, PartialEq)]
pub struct Phase {
    /// What it is called.
    pub name: String,
    /// What it is for.
    pub kind: PhaseKind,
    /// How long it takes.
    pub length: Duration,
    /// The rate at its start, as a multiple of each fleet's.
    pub from: f64,
    /// The rate at its end.
    pub to: f64,
}

impl Phase {
    /// A phase of one rate, each fleet's own.
    pub fn steady(length: Duration) -> Self {
        Self { name: "steady".to_owned(), kind: PhaseKind::Steady, length, from: 1.0, to: 1.0 }
    }
}

/// How long all phases take together.
pub fn length(phases: &[Phase]) -> Duration {
    phases.iter().map(|phase| phase.length).sum()
}

/// When connections are dropped and opened again, from the start.
pub fn storms(phases: &[Phase]) -> Vec<Duration> {
    let mut at = Duration::ZERO;
    let mut storms = Vec::new();
    for phase in phases {
        if phase.kind == PhaseKind::Storm {
            storms.push(at);
        }
        at += phase.length;
    }
    storms
}

/// Operations a second, over all sessions of a fleet.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub struct Rate(f64);

impl Rate {
    /// The slowest: one in 1000 seconds.
    pub const MIN: Self = Self(0.001);
    /// The fastest.
    pub const MAX: Self = Self(2_000_000.0);

    /// `per_second` operations a second, if that is within the bounds.
    pub fn new(per_second: f64) -> Option<Self> {
        (Self::MIN.0..=Self::MAX.0).contains(&per_second).then_some(Self(per_second))
    }

    /// Operations a second.
    pub const fn per_second(self) -> f64 {
        self.0
    }
}

/// When operation number *n* of a fleet is due, for every *n*.
#[derive(Clone, Debug)]
pub struct Pace {
    pieces: Vec<Piece>,
}

/// A phase, as one fleet sees it.
#[derive(Clone, Debug)]
struct Piece {
    starts_s: f64,
    length_s: f64,
    /// Operations that are due before it.
    before: f64,
    /// Operations that are due at its first instant.
    at_once: f64,
    from: f64,
    to: f64,
}

impl Piece {
    fn end(&self) -> f64 {
        self.before + self.at_once + (self.from + self.to) / 2.0 * self.length_s
    }

    fn due_s(&self, number: f64) -> f64 {
        let x = (number - self.before - self.at_once).max(0.0);
        if x == 0.0 {
            return self.starts_s;
        }
        // From `from * t + slope / 2 * t * t = x`, in the form that does not cancel.
        let slope = (self.to - self.from) / self.length_s;
        let root = (self.from * self.from + 2.0 * slope * x).max(0.0).sqrt();
        self.starts_s + (2.0 * x / (self.from + root)).min(self.length_s)
    }
}

impl Pace {
    /// A fleet of this rate under these phases. In a burst `at_once` operations are due in the same instant.
    pub fn new(phases: &[Phase], rate: Rate, at_once: u32) -> Self {
        let (mut starts_s, mut before) = (0.0, 0.0);
        let mut pieces = Vec::with_capacity(phases.len());
        for phase in phases {
            let at_once = if phase.kind == PhaseKind::Burst { f64::from(at_once) } else { 0.0 };
            let length_s = phase.length.as_secs_f64();
            let piece = Piece { starts_s, length_s, before, at_once, from: phase.from * rate.0, to: phase.to * rate.0 };
            starts_s += length_s;
            before = piece.end();
            pieces.push(piece);
        }
        Self { pieces }
    }

    /// When operation `number` is due, from the start; `None` after the end. `piece` remembers where the last one was
    /// found: numbers must not become smaller from call to call.
    pub fn due(&self, number: u64, piece: &mut usize) -> Option<Duration> {
        let number = number as f64;
        loop {
            let here = self.pieces.get(*piece)?;
            if number < here.end() {
                return Some(Duration::from_secs_f64(here.due_s(number)));
            }
            *piece += 1;
        }
    }

    /// How many operations there are.
    pub fn total(&self) -> u64 {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "bounds on rate and time keep it small"
        )]
        self.pieces.last().map_or(0, |last| last.end().ceil() as u64)
    }

    /// The most operations that can be due within any `span`.
    pub fn most_within(&self, span: Duration) -> f64 {
        let fastest = self.pieces.iter().map(|piece| piece.from.max(piece.to)).fold(0.0, f64::max);
        let at_once: f64 = self.pieces.iter().map(|piece| piece.at_once).sum();
        fastest * span.as_secs_f64() + at_once
    }

    /// The longest time between two beats of a session, where `sessions` take turns: the start and the end count as
    /// beats, for a session has to live through both.
    pub fn longest_silence(&self, sessions: u32) -> Duration {
        let total = self.total();
        let sessions = u64::from(sessions);
        let end = self.pieces.last().map_or(0.0, |last| last.starts_s + last.length_s);
        let when = |number: u64| self.due(number, &mut 0).map_or(end, |due| due.as_secs_f64());
        // Silence is longest around the corners of the pace: look at every piece's ends, and along the way.
        let corners = self.pieces.iter().flat_map(|piece| {
            let (first, last) = (piece.before, piece.end());
            (0..=64u8).map(move |step| first + (last - first) * f64::from(step) / 64.0)
        });
        let mut longest = when(sessions.min(total));
        for corner in corners {
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "it is between 0 and the total"
            )]
            let corner = corner as u64;
            for number in [corner, corner.saturating_sub(sessions)] {
                longest = longest.max(when(number + sessions) - when(number.min(total)));
            }
        }
        Duration::from_secs_f64(longest.max(0.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn phase(kind: PhaseKind, seconds: u64, from: f64, to: f64) -> Phase {
        Phase { name: String::new(), kind, length: Duration::from_secs(seconds), from, to }
    }

    fn dues(phases: &[Phase], rate: f64, at_once: u32) -> Vec<f64> {
        let pace = Pace::new(phases, Rate::new(rate).unwrap(), at_once);
        let mut piece = 0;
        let dues: Vec<_> =
            (0..).map_while(|number| pace.due(number, &mut piece)).map(|due| due.as_secs_f64()).collect();
        assert_eq!(dues.len() as u64, pace.total());
        dues
    }

    #[test]
    fn a_ramp_has_half_as_many_operations_as_its_end_would_have() {
        let dues = dues(&[phase(PhaseKind::Ramp, 10, 0.0, 1.0)], 100.0, 0);
        assert_eq!(dues.len(), 500);
        let in_second = |n: f64| dues.iter().filter(|due| (n..n + 1.0).contains(*due)).count();
        assert_eq!((in_second(0.0), in_second(9.0)), (5, 95));
        assert!(dues.is_sorted());
    }

    #[test]
    fn a_falling_ramp_mirrors_a_rising_one() {
        let dues = dues(&[phase(PhaseKind::Ramp, 10, 1.0, 0.0)], 100.0, 0);
        assert_eq!(dues.len(), 500);
        assert_eq!(dues.iter().filter(|due| **due < 5.0).count(), 375);
    }

    #[test]
    fn phases_follow_each_other_without_a_gap() {
        let phases = [phase(PhaseKind::Steady, 2, 1.0, 1.0), phase(PhaseKind::Spike, 1, 20.0, 20.0)];
        let dues = dues(&phases, 10.0, 0);
        assert_eq!(dues.len(), 220);
        assert!((dues[19] - 1.9).abs() < 1e-9 && (dues[20] - 2.0).abs() < 1e-9 && (dues[21] - 2.005).abs() < 1e-9);
    }

    #[test]
    fn in_a_burst_every_session_beats_in_the_same_instant() {
        let phases = [phase(PhaseKind::Steady, 1, 1.0, 1.0), phase(PhaseKind::Burst, 3, 0.0, 0.0)];
        let dues = dues(&phases, 10.0, 50);
        assert_eq!(dues.len(), 60);
        assert!(dues[10..].iter().all(|due| (due - 1.0).abs() < 1e-9));
    }

    #[test]
    fn a_pause_has_no_operations() {
        let phases = [phase(PhaseKind::Steady, 1, 0.0, 0.0), phase(PhaseKind::Steady, 1, 1.0, 1.0)];
        assert_eq!(dues(&phases, 4.0, 0), [1.0, 1.25, 1.5, 1.75]);
    }

    #[test]
    fn the_longest_silence_is_that_of_the_slowest_stretch() {
        let pace = |phases: &[Phase]| Pace::new(phases, Rate::new(10.0).unwrap(), 100);
        let steady = pace(&[phase(PhaseKind::Steady, 60, 1.0, 1.0)]);
        assert_eq!(steady.longest_silence(100).as_secs(), 10);
        assert_eq!(steady.longest_silence(10_000).as_secs(), 60, "never more than the run");
        let paused = pace(&[
            phase(PhaseKind::Steady, 20, 1.0, 1.0),
            phase(PhaseKind::Steady, 30, 0.0, 0.0),
            phase(PhaseKind::Steady, 20, 1.0, 1.0),
        ]);
        assert_eq!(paused.longest_silence(100).as_secs(), 40);
        let bursts = pace(&[phase(PhaseKind::Burst, 30, 0.0, 0.0), phase(PhaseKind::Burst, 5, 0.0, 0.0)]);
        assert_eq!(bursts.longest_silence(100).as_secs(), 30);
    }

    #[test]
    fn storms_are_at_the_start_of_their_phases() {
        let phases = [
            phase(PhaseKind::Steady, 2, 1.0, 1.0),
            phase(PhaseKind::Storm, 3, 1.0, 1.0),
            phase(PhaseKind::Storm, 1, 1.0, 1.0),
        ];
        assert_eq!(storms(&phases), [Duration::from_secs(2), Duration::from_secs(5)]);
        assert_eq!(length(&phases), Duration::from_secs(6));
    }

    #[test]
    fn rates_out_of_bounds_are_refused() {
        for rate in [0.0, -1.0, 0.0001, 2_000_001.0, f64::NAN, f64::INFINITY] {
            assert_eq!(Rate::new(rate), None, "{rate}");
        }
    }
}
