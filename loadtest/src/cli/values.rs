//! Values on the command line, each with its bounds.

use std::time::Duration;

use url::Url;

use crate::profile::Rate;

pub(super) fn base_url(text: &str) -> Result<Url, String> {
    let url: Url = text.parse().map_err(|error| format!("{error}"))?;
    match (url.scheme(), url.host_str(), url.path()) {
        ("http" | "https", Some(_), "/") => Ok(url),
        _ => Err("must look like http://host:port".to_owned()),
    }
}

pub(super) fn rate(text: &str) -> Result<Rate, String> {
    let number = text.parse().map_err(|_| "not a number".to_owned())?;
    Rate::new(number)
        .ok_or_else(|| format!("must be from {} to {} a second", Rate::MIN.per_second(), Rate::MAX.per_second()))
}

pub(super) fn share(text: &str) -> Result<f64, String> {
    text.parse().ok().filter(|share| (0.0..=1.0).contains(share)).ok_or_else(|| "must be from 0 to 1".to_owned())
}

pub(super) fn run_time(text: &str) -> Result<Duration, String> {
    within(text, Duration::from_millis(100), Duration::from_hours(168), "100ms to 168h")
}

pub(super) fn timeout(text: &str) -> Result<Duration, String> {
    within(text, Duration::from_millis(1), Duration::from_secs(60), "1ms to 60s")
}

fn within(text: &str, least: Duration, most: Duration, bounds: &str) -> Result<Duration, String> {
    let time = duration(text).ok_or_else(|| "must be a whole number and ms, s, m or h, like 30s".to_owned())?;
    if (least..=most).contains(&time) { Ok(time) } else { Err(format!("must be from {bounds}")) }
}

/// A number and a unit, like `30s`.
pub(crate) fn duration(text: &str) -> Option<Duration> {
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let number: u64 = text[..digits].parse().ok()?;
    let unit_ms = match &text[digits..] {
        "ms" => 1,
        "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return None,
    };
    Some(Duration::from_millis(number.checked_mul(unit_ms)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_a_number_and_a_unit() {
        for (text, ms) in [("100ms", 100), ("30s", 30_000), ("5m", 300_000), ("2h", 7_200_000)] {
            assert_eq!(duration(text), Some(Duration::from_millis(ms)));
        }
        for text in ["", "s", "5", "5d", "-5s", "1.5s", "99999999999999999999s", "18446744073709551615h"] {
            assert_eq!(duration(text), None, "{text}");
        }
    }
}
