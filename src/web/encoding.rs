//! Which compressed form of an answer a client takes (RFC 9110, 12.5.3).

use hyper::{HeaderMap, header::ACCEPT_ENCODING};

/// A form that an answer is kept in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coding {
    /// As it is.
    Identity,
    /// `gzip`.
    Gzip,
    /// `br`.
    Brotli,
}

/// More codings than anybody names.
const MOST: usize = 32;

impl Coding {
    /// Best first, where a client does not mind.
    const ALL: [Self; 3] = [Self::Brotli, Self::Gzip, Self::Identity];

    /// The form that suits a client best. `identity` when none does: an answer that it can refuse is better than none.
    pub fn wanted(headers: &HeaderMap) -> Self {
        let mut named: [Option<u16>; 3] = [None; 3];
        let mut others = None;
        let lines = headers.get_all(ACCEPT_ENCODING).iter().filter_map(|line| line.to_str().ok());
        for item in lines.flat_map(|line| line.split(',')).take(MOST) {
            let (name, weight) =
                item.split_once(';').map_or((item, 1000), |(name, weight)| (name, thousandths(weight)));
            let name = name.trim();
            if name == "*" {
                others = Some(weight);
            } else if let Some(place) = Self::ALL.iter().position(|coding| coding.is_called(name)) {
                named[place] = Some(weight);
            }
        }
        let weight = |place: usize| named[place].or(others).unwrap_or(0);
        let best = (0..Self::ALL.len()).rev().max_by_key(|place| weight(*place)).filter(|place| weight(*place) > 0);
        best.map_or(Self::Identity, |place| Self::ALL[place])
    }

    /// Its name in `Content-Encoding`, which `identity` is not in.
    pub const fn name(self) -> Option<&'static str> {
        match self {
            Self::Identity => None,
            Self::Gzip => Some("gzip"),
            Self::Brotli => Some("br"),
        }
    }

    fn is_called(self, name: &str) -> bool {
        match self {
            Self::Identity => name.eq_ignore_ascii_case("identity"),
            Self::Gzip => name.eq_ignore_ascii_case("gzip") || name.eq_ignore_ascii_case("x-gzip"),
            Self::Brotli => name.eq_ignore_ascii_case("br"),
        }
    }
}

/// A weight `q=0.5`, in thousandths. What cannot be read weighs nothing.
fn thousandths(parameter: &str) -> u16 {
    let Some((name, value)) = parameter.trim().split_once('=') else { return 0 };
    let value = value.trim();
    let (whole, part) = value.split_once('.').unwrap_or((value, ""));
    if !name.trim().eq_ignore_ascii_case("q") || part.len() > 3 || !part.bytes().all(|byte| byte.is_ascii_digit()) {
        return 0;
    }
    let part = format!("{part:0<3}").parse().unwrap_or(0);
    match whole {
        "0" => part,
        "1" if part == 0 => 1000,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(lines: &[&str]) -> Coding {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(ACCEPT_ENCODING, line.parse().unwrap());
        }
        Coding::wanted(&headers)
    }

    #[test]
    fn the_heaviest_coding_wins_and_the_smallest_of_equals() {
        for (lines, coding) in [
            (&[][..], Coding::Identity),
            (&[""], Coding::Identity),
            (&["gzip"], Coding::Gzip),
            (&["x-gzip"], Coding::Gzip),
            (&["gzip, br"], Coding::Brotli),
            (&["BR;q=0.5, GZIP;q=0.8"], Coding::Gzip),
            (&["br;q=0.5 , gzip; q=0.500"], Coding::Brotli),
            (&["deflate, zstd"], Coding::Identity),
            (&["*"], Coding::Brotli),
            (&["*;q=0.5, br;q=0"], Coding::Gzip),
            (&["br;q=0, gzip;q=0"], Coding::Identity),
            (&["identity;q=1, gzip;q=0.1"], Coding::Identity),
            (&["identity;q=0.1, gzip"], Coding::Gzip),
            (&["gzip;q=0", "br;q=0.001"], Coding::Brotli),
            (&["gzip;q=2"], Coding::Identity),
            (&["gzip;q=0.1234"], Coding::Identity),
            (&["gzip;level=1"], Coding::Identity),
            (&["identity;q=0, *;q=0"], Coding::Identity),
        ] {
            assert_eq!(wanted(lines), coding, "{lines:?}");
        }
    }
}
