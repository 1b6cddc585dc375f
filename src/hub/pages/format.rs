//! Spans and instants as people read them.

use jiff::{Timestamp, tz::TimeZone};

use super::text::Text;
use crate::time::UnixMs;

/// An instant: for people and for the script of the page.
pub(super) struct Instant {
    /// In RFC 3339.
    pub(super) machine: String,
    /// `30 Nov 2026, 21:40 UTC`.
    pub(super) people: String,
}

impl Instant {
    pub(super) fn of(at: UnixMs, text: &Text) -> Self {
        let ms = i64::try_from(at.as_ms()).unwrap_or(i64::MAX);
        let at = Timestamp::from_millisecond(ms).unwrap_or(Timestamp::MAX);
        let date = at.to_zoned(TimeZone::UTC);
        let month = usize::try_from(date.month() - 1).ok().and_then(|month| text.months.get(month));
        let day = if text.lang == "de" { format!("{}.", date.day()) } else { date.day().to_string() };
        let people = format!(
            "{day} {} {}, {:02}:{:02} UTC",
            month.copied().unwrap_or_default(),
            date.year(),
            date.hour(),
            date.minute()
        );
        Self { machine: format!("{at:.0}"), people }
    }
}

/// A gauge's reading: `41:38`, `1:02:03`. Whole seconds, rounded down.
pub(super) fn reading(ms: u64) -> String {
    let s = ms / 1000;
    let (h, m, s) = (s / 3600, s / 60 % 60, s % 60);
    if h > 0 { format!("{h}:{m:02}:{s:02}") } else { format!("{m}:{s:02}") }
}

/// A span in its two greatest units: `1 h 02 min`, `41 min 38 s`, `0.4 s`; in one where the other is nothing.
pub(super) fn span(ms: u64, text: &Text) -> String {
    let (s, rest) = (ms / 1000, ms % 1000);
    let (d, h, m) = (s / 86_400, s / 3600 % 24, s / 60 % 60);
    let Text { day, hour, minute, second, .. } = text;
    let two = |great: u64, of: &str, small: u64, rest: &str| match small {
        0 => format!("{great} {of}"),
        _ => format!("{great} {of} {small:02} {rest}"),
    };
    match (d, h, m, s) {
        (0, 0, 0, 0) if rest > 0 => {
            let point = if text.lang == "de" { ',' } else { '.' };
            format!("0{point}{} {second}", (rest / 100).max(1))
        }
        (0, 0, 0, s) => format!("{s} {second}"),
        (0, 0, m, s) => two(m, minute, s % 60, second),
        (0, h, m, _) => two(h, hour, m, minute),
        (d, h, _, _) => two(d, day, h, hour),
    }
}

/// An amount with its sign.
pub(super) fn amount(ms: i64, text: &Text) -> String {
    let sign = if ms < 0 { '−' } else { '+' };
    format!("{sign}{}", span(ms.unsigned_abs(), text))
}

#[cfg(test)]
mod tests {
    use super::{
        super::text::{ENGLISH, GERMAN},
        *,
    };

    #[test]
    fn spans_are_in_their_two_greatest_units() {
        for (ms, english, german) in [
            (0, "0 s", "0 s"),
            (40, "0.1 s", "0,1 s"),
            (9_900, "9 s", "9 s"),
            (61_000, "1 min 01 s", "1 Min. 01 s"),
            (900_000, "15 min", "15 Min."),
            (3_720_000, "1 h 02 min", "1 Std. 02 Min."),
            (90_000_000, "1 d 01 h", "1 T 01 Std."),
        ] {
            assert_eq!((span(ms, &ENGLISH), span(ms, &GERMAN)), (english.to_owned(), german.to_owned()));
        }
        assert_eq!(amount(-10_000, &ENGLISH), "−10 s");
        assert_eq!([59_999, 3_599_000, 3_600_000].map(reading), ["0:59", "59:59", "1:00:00"]);
    }

    #[test]
    fn instants_are_dated_in_each_language() {
        let at = UnixMs::from_ms(1_700_000_000_042);
        let english = Instant::of(at, &ENGLISH);
        assert_eq!(
            (english.machine.as_str(), english.people.as_str()),
            ("2023-11-14T22:13:20Z", "14 Nov 2023, 22:13 UTC")
        );
        assert_eq!(Instant::of(at, &GERMAN).people, "14. Nov. 2023, 22:13 UTC");
    }
}
