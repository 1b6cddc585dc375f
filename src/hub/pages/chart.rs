//! The balance over time as an SVG that the service makes itself.

use std::fmt::Write as _;

use super::{
    format::{Instant, span},
    text::Text,
};
use crate::time::UnixMs;

const WIDTH: i32 = 960;
const HEIGHT: i32 = 240;
/// Room for the line itself, above the highest point and below the lowest.
const MARGIN: i32 = 2;

/// The balance at an instant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Point {
    pub(super) at: UnixMs,
    pub(super) ms: i64,
    /// Whether it went down to this evenly, since time was used.
    pub(super) is_use: bool,
}

/// A chart: paths and texts of an SVG of `width` by `height`.
pub(super) struct Chart {
    pub(super) width: i32,
    pub(super) height: i32,
    pub(super) line: String,
    pub(super) area: String,
    /// Where lines across are: at the most, at half of it, and at nothing.
    pub(super) rules: [i32; 3],
    /// The highest balance.
    pub(super) most: String,
    pub(super) from: Instant,
    pub(super) until: Instant,
    pub(super) description: String,
}

impl Chart {
    /// Of these points, oldest first. `None` where there is no time between them.
    pub(super) fn of(points: &[Point], text: &Text) -> Option<Self> {
        let (first, last) = (points.first()?, points.last()?);
        let time = last.at.since(first.at).get();
        if time == 0 {
            return None;
        }
        let most = points.iter().map(|point| point.ms).max().unwrap_or(0).max(1);
        let least = points.iter().map(|point| point.ms).min().unwrap_or(0);
        let bottom = HEIGHT - MARGIN;
        let x = |point: &Point| scaled(point.at.since(first.at).get(), time, WIDTH);
        let height = |ms: i64| scaled(ms.max(0).unsigned_abs(), most.unsigned_abs(), bottom - MARGIN);
        let mut line = String::new();
        let mut is_first = true;
        for point in points {
            let (x, y) = (x(point), bottom - height(point.ms));
            // What is used goes evenly; all else comes and goes at once.
            let written = match std::mem::take(&mut is_first) {
                true => write!(line, "M{x} {y}"),
                false if point.is_use => write!(line, "L{x} {y}"),
                false => write!(line, "H{x}V{y}"),
            };
            written.expect("a String takes everything");
        }
        let area = format!("{line}V{bottom}H0Z");
        let rules = [most, most / 2, 0].map(|ms| bottom - height(ms));
        let (from, until) = (Instant::of(first.at, text), Instant::of(last.at, text));
        let of = |ms: i64| span(ms.max(0).unsigned_abs(), text);
        let description = format!(
            "{}: {}. {}: {}. ↑ {}, ↓ {}.",
            from.people,
            of(first.ms),
            until.people,
            of(last.ms),
            of(most),
            of(least)
        );
        Some(Self { width: WIDTH, height: HEIGHT, line, area, rules, most: of(most), from, until, description })
    }
}

/// `part` of `whole`, of a length.
fn scaled(part: u64, whole: u64, length: i32) -> i32 {
    let scaled = u128::from(part) * u128::from(length.unsigned_abs()) / u128::from(whole.max(1));
    i32::try_from(scaled).unwrap_or(length).min(length)
}

#[cfg(test)]
mod tests {
    use super::{super::text::ENGLISH, *};

    fn point(s: u64, ms: i64) -> Point {
        Point { at: UnixMs::from_ms(1_700_000_000_000 + s * 1000), ms, is_use: false }
    }

    #[test]
    fn use_slopes_and_all_else_jumps() {
        let used = Point { is_use: true, ..point(50, 50_000) };
        let points = [point(0, 0), point(0, 100_000), used, point(75, 0), point(100, 100_000)];
        let chart = Chart::of(&points, &ENGLISH).unwrap();
        assert_eq!(chart.line, "M0 238H0V2L480 120H720V238H960V2");
        assert_eq!((chart.rules, chart.most.as_str()), ([2, 120, 238], "1 min 40 s"));
        assert!(chart.description.contains("1 min 40 s"), "{}", chart.description);
    }

    #[test]
    fn without_time_there_is_no_chart_and_no_figure_is_too_large() {
        assert!(Chart::of(&[], &ENGLISH).is_none());
        assert!(Chart::of(&[point(5, 1), point(5, 2)], &ENGLISH).is_none());
        let chart = Chart::of(&[point(0, -5), point(u64::MAX / 2_000_000_000, i64::MAX)], &ENGLISH).unwrap();
        assert_eq!(chart.line, "M0 238H960V2");
    }
}
