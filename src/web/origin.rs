//! Which pages may open WebTransport sessions.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// Rules, at most. More are a mistake.
const MOST: usize = 256;

/// The origins whose pages may open sessions. Who sends no origin is no browser, and may.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Origins(Vec<Rule>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Rule {
    /// Every origin.
    Any,
    /// Every origin of this scheme; `://` included.
    Scheme(String),
    /// This origin.
    Exact(String),
}

/// Why a text is no list of origins. The message says what would be one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is no origin such as https://app.example.org, chrome-extension://ID, moz-extension://* or *; there may be \
     {MOST}, with spaces between them"
)]
pub struct OriginsError(String);

impl Origins {
    /// The extensions of browsers, whose ids differ from one installation to another.
    pub fn extensions() -> Self {
        let scheme = |name: &str| Rule::Scheme(format!("{name}-extension://"));
        Self(vec![scheme("chrome"), scheme("moz")])
    }

    /// No origin at all.
    pub const fn none() -> Self {
        Self(Vec::new())
    }

    /// Whether there is none.
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether a page of this origin may open sessions.
    pub fn allow(&self, origin: &[u8]) -> bool {
        self.0.iter().any(|rule| match rule {
            Rule::Any => true,
            Rule::Scheme(prefix) => origin.starts_with(prefix.as_bytes()),
            Rule::Exact(exact) => origin == exact.as_bytes(),
        })
    }
}

impl FromStr for Origins {
    type Err = OriginsError;

    fn from_str(text: &str) -> Result<Self, OriginsError> {
        let rules = text.split_ascii_whitespace().map(Rule::parse).collect::<Result<Vec<_>, _>>()?;
        if rules.len() > MOST { Err(OriginsError(text.chars().take(60).collect())) } else { Ok(Self(rules)) }
    }
}

impl TryFrom<String> for Origins {
    type Error = OriginsError;

    fn try_from(text: String) -> Result<Self, OriginsError> {
        text.parse()
    }
}

impl From<Origins> for String {
    fn from(origins: Origins) -> Self {
        origins.to_string()
    }
}

impl fmt::Display for Origins {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, rule) in self.0.iter().enumerate() {
            let gap = if at == 0 { "" } else { " " };
            match rule {
                Rule::Any => write!(f, "{gap}*")?,
                Rule::Scheme(prefix) => write!(f, "{gap}{prefix}*")?,
                Rule::Exact(exact) => write!(f, "{gap}{exact}")?,
            }
        }
        Ok(())
    }
}

impl Rule {
    fn parse(text: &str) -> Result<Self, OriginsError> {
        let wrong = || OriginsError(text.chars().take(60).collect());
        if text == "*" {
            return Ok(Self::Any);
        }
        let (scheme, host) = text.split_once("://").ok_or_else(wrong)?;
        let legal = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"+-.".contains(&b);
        if scheme.is_empty() || !scheme.bytes().all(legal) {
            return Err(wrong());
        }
        match host {
            "*" => Ok(Self::Scheme(format!("{scheme}://"))),
            host if !host.is_empty() && host.bytes().all(|b| legal(b) || b":[]_".contains(&b)) => {
                Ok(Self::Exact(text.to_owned()))
            }
            _ => Err(wrong()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origins(text: &str) -> Origins {
        text.parse().unwrap()
    }

    #[test]
    fn an_origin_is_allowed_as_a_whole_or_not_at_all() {
        let origins = origins("https://app.example.org http://localhost:8000");
        assert!(origins.allow(b"https://app.example.org") && origins.allow(b"http://localhost:8000"));
        for origin in
            ["https://app.example.org.evil.org", "https://app.example.org:444", "http://app.example.org", "null", ""]
        {
            assert!(!origins.allow(origin.as_bytes()), "{origin}");
        }
    }

    #[test]
    fn a_scheme_stands_for_all_its_origins() {
        let origins = Origins::extensions();
        assert!(origins.allow(b"moz-extension://2c127fa4-62c7-7e4f-90e5-472b45eecfdc"));
        assert!(origins.allow(b"chrome-extension://aaaabbbbccccddddeeeeffffgggghhhh"));
        assert!(!origins.allow(b"https://chrome-extension.example"));
        assert!("*".parse::<Origins>().unwrap().allow(b"null"));
        assert!(!"".parse::<Origins>().unwrap().allow(b"null"));
    }

    #[test]
    fn what_is_no_origin_is_refused_when_it_is_configured() {
        for text in
            ["example.org", "https://", "https://a/b", "https://A", "://a", "https://*.example.org", "https://a?b"]
        {
            assert!(text.parse::<Origins>().is_err(), "{text}");
        }
        assert!("*".repeat(300).parse::<Origins>().is_err());
        assert_eq!(Origins::extensions().to_string().parse(), Ok(Origins::extensions()));
    }
}
