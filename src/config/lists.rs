//! Values that are lists: one text with spaces or commas between the elements, or a TOML list.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use ipnet::IpNet;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::values::ValueError;
use crate::engine::Credit;
use crate::identity::{
    self, CapabilityCredit,
    verify::{Algorithm, TokenType},
};
use crate::time::Millis;

/// Some of a closed set of names, at least one: written as one text with spaces or commas between them, or as a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Names<T>(Vec<T>);

/// The types whose names can stand in [`Names`].
pub trait Named: Copy + PartialEq + fmt::Display + FromStr + 'static {
    /// Every value.
    const ALL: &'static [Self];
}

impl Named for Algorithm {
    const ALL: &'static [Self] = &Self::ALL;
}

impl Named for TokenType {
    const ALL: &'static [Self] = &Self::ALL;
}

impl<T: Named> Names<T> {
    /// All there are.
    pub fn all() -> Self {
        Self(T::ALL.to_vec())
    }

    /// The values, in the order in which they were written.
    pub fn as_slice(&self) -> &[T] {
        &self.0
    }

    fn read<'a>(names: impl Iterator<Item = &'a str>) -> Result<Self, ValueError> {
        let known = || T::ALL.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
        let read = |name: &str| name.parse().map_err(|_| ValueError(format!("`{name}` is none of {}", known())));
        let names = names.map(read).collect::<Result<Vec<T>, _>>()?;
        if names.is_empty() { Err(ValueError(format!("name at least one of {}", known()))) } else { Ok(Self(names)) }
    }
}

/// Several values, as one text or as a list.
#[derive(Deserialize)]
#[serde(untagged)]
enum Written {
    Text(String),
    List(Vec<String>),
}

impl<T: Named> fmt::Display for Names<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, name) in self.0.iter().enumerate() {
            write!(f, "{}{name}", if at == 0 { "" } else { " " })?;
        }
        Ok(())
    }
}

impl<T: Named> Serialize for Names<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de, T: Named> Deserialize<'de> for Names<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let names = match Written::deserialize(deserializer)? {
            Written::Text(text) => Self::read(text.split([' ', ',']).filter(|name| !name.is_empty())),
            Written::List(list) => Self::read(list.iter().map(String::as_str)),
        };
        names.map_err(de::Error::custom)
    }
}

/// What subscriptions give: `capability=seconds/days`, several of them with spaces or commas between, or as a list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CapabilityCredits(Vec<CapabilityCredit>);

impl CapabilityCredits {
    /// Subscriptions that give something.
    const MOST: usize = 16;
    /// The most that one gives for a period, and the longest period.
    const MAX_SECONDS: i64 = 10 * 366 * 86_400;
    const MAX_DAYS: u64 = 3660;

    /// Each of them.
    pub fn as_slice(&self) -> &[CapabilityCredit] {
        &self.0
    }

    fn read<'a>(texts: impl Iterator<Item = &'a str>) -> Result<Self, ValueError> {
        let all = texts.map(Self::read_one).collect::<Result<Vec<_>, _>>()?;
        let twice =
            all.iter().enumerate().any(|(n, one)| all[..n].iter().any(|other| other.capability == one.capability));
        if all.len() > Self::MOST || twice {
            let why = format!("each capability stands here once, and there are {} at most", Self::MOST);
            return Err(ValueError(why));
        }
        Ok(Self(all))
    }

    fn read_one(text: &str) -> Result<CapabilityCredit, ValueError> {
        let read = || {
            let (capability, gives) = text.rsplit_once('=')?;
            let (seconds, days) = gives.split_once('/')?;
            let seconds = seconds.parse().ok().filter(|seconds| (1..=Self::MAX_SECONDS).contains(seconds))?;
            let days = days.parse().ok().filter(|days| (1..=Self::MAX_DAYS).contains(days))?;
            let named = (1..=identity::MAX_CAPABILITY).contains(&capability.len());
            named.then(|| CapabilityCredit {
                capability: capability.to_owned(),
                credit: Credit::from_secs(seconds),
                period: Millis::from_secs(days * 86_400),
            })
        };
        read().ok_or_else(|| {
            ValueError(format!(
                "`{text}` is not such as `pro=36000/30`: a capability, seconds and the days they are for"
            ))
        })
    }
}

impl fmt::Display for CapabilityCredits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, CapabilityCredit { capability, credit, period }) in self.0.iter().enumerate() {
            let (seconds, days) = (credit.as_ms() / 1000, period.as_secs() / 86_400);
            write!(f, "{}{capability}={seconds}/{days}", if at == 0 { "" } else { " " })?;
        }
        Ok(())
    }
}

impl Serialize for CapabilityCredits {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for CapabilityCredits {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let credits = match Written::deserialize(deserializer)? {
            Written::Text(text) => Self::read(text.split([' ', ',']).filter(|one| !one.is_empty())),
            Written::List(list) => Self::read(list.iter().map(String::as_str)),
        };
        credits.map_err(de::Error::custom)
    }
}

/// Addresses and networks of proxies: written as one text with spaces or commas between them, or as a list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TrustedProxies(Vec<IpNet>);

impl TrustedProxies {
    /// More are a mistake.
    const MOST: usize = 256;

    /// The networks; an address is one of its own.
    pub fn as_slice(&self) -> &[IpNet] {
        &self.0
    }

    fn read<'a>(texts: impl Iterator<Item = &'a str>) -> Result<Self, ValueError> {
        let all = texts.map(Self::read_one).collect::<Result<Vec<_>, _>>()?;
        if all.len() > Self::MOST {
            return Err(ValueError(format!("there are {} at most", Self::MOST)));
        }
        Ok(Self(all))
    }

    fn read_one(text: &str) -> Result<IpNet, ValueError> {
        let network = text.parse::<IpNet>().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
        let network = network
            .map_err(|_| ValueError(format!("`{text}` is no address or network such as 10.0.0.1 or 10.0.0.0/8")))?;
        if network.prefix_len() == 0 {
            return Err(ValueError(format!("`{text}` is everybody: anyone could say to be any address")));
        }
        Ok(network)
    }
}

impl fmt::Display for TrustedProxies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, network) in self.0.iter().enumerate() {
            write!(f, "{}{network}", if at == 0 { "" } else { " " })?;
        }
        Ok(())
    }
}

impl Serialize for TrustedProxies {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for TrustedProxies {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let proxies = match Written::deserialize(deserializer)? {
            Written::Text(text) => Self::read(text.split([' ', ',']).filter(|one| !one.is_empty())),
            Written::List(list) => Self::read(list.iter().map(String::as_str)),
        };
        proxies.map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_subscriptions_give_is_read_and_shown() {
        let read = |text: &str| CapabilityCredits::read(text.split(' ')).map(|credits| credits.to_string());
        assert_eq!(read("pro=36000/30").as_deref(), Ok("pro=36000/30"));
        assert_eq!(read("a=b=1/1 https://a/x=2/7").as_deref(), Ok("a=b=1/1 https://a/x=2/7"));
        for text in ["pro", "pro=1", "=1/1", "pro=0/1", "pro=1/0", "pro=-1/1", "pro=1/9999", "pro=1/1/1", "a=1/1 a=2/2"]
        {
            assert!(read(text).is_err(), "{text}");
        }
    }

    #[test]
    fn proxies_are_addresses_and_networks_but_not_everybody() {
        let read = |text: &str| TrustedProxies::read(text.split(' ')).map(|proxies| proxies.to_string());
        assert_eq!(read("10.0.0.1 192.168.0.0/16 ::1").as_deref(), Ok("10.0.0.1/32 192.168.0.0/16 ::1/128"));
        for text in ["proxy", "10.0.0.0/33", "0.0.0.0/0", "::/0", "10.0.0.1:80"] {
            assert!(read(text).is_err(), "{text}");
        }
    }
}
