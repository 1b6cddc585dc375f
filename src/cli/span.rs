//! Spans of time as people write and read them.

use std::{fmt, str::FromStr};

/// A whole number of seconds, given on the command line as `90`, `15m`, `2h`, `1d`, `1h30m`; negative with a `-` in front.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seconds(i64);

impl Seconds {
    /// `seconds` seconds.
    pub const fn new(seconds: i64) -> Self {
        Self(seconds)
    }

    /// How many.
    pub const fn get(self) -> i64 {
        self.0
    }
}

impl FromStr for Seconds {
    type Err = NotASpan;

    fn from_str(text: &str) -> Result<Self, NotASpan> {
        let (sign, mut rest) = match text.strip_prefix('-') {
            Some(rest) => (-1, rest),
            None => (1, text.strip_prefix('+').unwrap_or(text)),
        };
        let mut sum = 0_i64;
        let mut unit_before = i64::MAX;
        while !rest.is_empty() {
            let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
            let (number, after) = rest.split_at(digits);
            let (unit, after) = match after.chars().next() {
                None if unit_before == i64::MAX => (1, after),
                Some('s') => (1, &after[1..]),
                Some('m') => (60, &after[1..]),
                Some('h') => (3_600, &after[1..]),
                Some('d') => (86_400, &after[1..]),
                _ => return Err(NotASpan),
            };
            // Larger units come first, so that `30m1h` and `5m5m`, which are slips, are not taken for spans.
            if unit >= unit_before {
                return Err(NotASpan);
            }
            unit_before = unit;
            let part = number.parse::<i64>().ok().and_then(|number| number.checked_mul(unit)).ok_or(NotASpan)?;
            sum = sum.checked_add(part).ok_or(NotASpan)?;
            rest = after;
        }
        if unit_before == i64::MAX { Err(NotASpan) } else { Ok(Self(sign * sum)) }
    }
}

impl fmt::Display for Seconds {
    /// The two largest units: `42 s`, `15 min`, `1 h 02 min`, `3 d 04 h`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let total = self.0.unsigned_abs();
        if self.0 < 0 {
            f.write_str("-")?;
        }
        let (large, name, small, small_name) = match total {
            0..60 => return write!(f, "{total} s"),
            60..3_600 => (total / 60, "min", total % 60, "s"),
            3_600..86_400 => (total / 3_600, "h", total % 3_600 / 60, "min"),
            86_400.. => (total / 86_400, "d", total % 86_400 / 3_600, "h"),
        };
        if small == 0 { write!(f, "{large} {name}") } else { write!(f, "{large} {name} {small:02} {small_name}") }
    }
}

/// Why a text is not a span of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid duration; write seconds (90) or units (15m, 2h, 1d, 1h30m)")]
pub struct NotASpan;

/// An amount of credit to the millisecond: `+60.000 s`, `-10.132 s`.
pub(super) fn exact(ms: i64) -> String {
    let sign = if ms < 0 { '-' } else { '+' };
    let ms = ms.unsigned_abs();
    format!("{sign}{}.{:03} s", ms / 1000, ms % 1000)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(text: &str) -> Result<i64, NotASpan> {
        text.parse().map(Seconds::get)
    }

    #[test]
    fn spans_are_read_as_people_write_them() {
        for (text, seconds) in [
            ("0", 0),
            ("90", 90),
            ("90s", 90),
            ("15m", 900),
            ("2h", 7_200),
            ("1d", 86_400),
            ("1h30m", 5_400),
            ("1d1h1m1s", 90_061),
            ("-90", -90),
            ("-15m", -900),
            ("+60", 60),
        ] {
            assert_eq!(read(text), Ok(seconds), "{text}");
        }
    }

    #[test]
    fn anything_else_is_refused() {
        for text in ["", "-", "m", "1.5h", "1w", "5m5m", "30m1h", "1h30", "--5", "9223372036854775807d", "é", "1é"] {
            assert_eq!(read(text), Err(NotASpan), "{text}");
        }
    }

    #[test]
    fn spans_are_shown_in_their_two_largest_units() {
        for (seconds, text) in [
            (0, "0 s"),
            (42, "42 s"),
            (60, "1 min"),
            (63, "1 min 03 s"),
            (900, "15 min"),
            (3_720, "1 h 02 min"),
            (7_200, "2 h"),
            (273_600, "3 d 04 h"),
            (-90, "-1 min 30 s"),
        ] {
            assert_eq!(Seconds::new(seconds).to_string(), text);
        }
    }

    #[test]
    fn amounts_are_shown_to_the_millisecond_with_their_sign() {
        assert_eq!(exact(60_000), "+60.000 s");
        assert_eq!(exact(-10_132), "-10.132 s");
        assert_eq!(exact(-5), "-0.005 s");
    }

    proptest! {
        #[test]
        fn no_text_makes_the_reader_panic(text in "\\PC{0,20}|[-+]?([0-9]{0,20}[smhd]?){0,4}") {
            let _ = read(&text);
        }

        #[test]
        fn a_plain_number_is_seconds(seconds in -1_000_000_000_000_i64..1_000_000_000_000) {
            prop_assert_eq!(read(&seconds.to_string()), Ok(seconds));
        }
    }
}
