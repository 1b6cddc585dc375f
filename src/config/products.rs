//! What a shop sells: the value of `rewards.products`.

use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::values::ValueError;
use crate::time::Millis;

/// Products by their SKUs, with the time that one unit of each is worth: written as `SKU=SECONDS` in a list, or in one text with
/// spaces or commas between them, where no SKU has any.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Products(BTreeMap<String, u64>);

impl Products {
    const MOST: usize = 256;
    const MAX_SKU: usize = 255;
    /// Ten years.
    const MAX_SECONDS: u64 = 10 * 366 * 86_400;

    /// Each of them.
    pub fn iter(&self) -> impl Iterator<Item = (String, Millis)> {
        self.0.iter().map(|(sku, seconds)| (sku.clone(), Millis::from_secs(*seconds)))
    }

    fn read<'a>(texts: impl Iterator<Item = &'a str>) -> Result<Self, ValueError> {
        let mut all = BTreeMap::new();
        for text in texts {
            let read = || {
                let (sku, seconds) = text.rsplit_once('=')?;
                let seconds = seconds.parse().ok().filter(|seconds| (1..=Self::MAX_SECONDS).contains(seconds))?;
                let fits = (1..=Self::MAX_SKU).contains(&sku.len()) && !sku.chars().any(char::is_control);
                fits.then(|| (sku.to_owned(), seconds))
            };
            let (sku, seconds) = read().ok_or_else(|| {
                ValueError::new(&format!("`{text}` is not such as `TIME-1H=3600`: a SKU and the seconds of one unit"))
            })?;
            if all.insert(sku, seconds).is_some() || all.len() > Self::MOST {
                return Err(ValueError::new(&format!(
                    "each SKU stands here once, and there are {} at most",
                    Self::MOST
                )));
            }
        }
        Ok(Self(all))
    }
}

impl fmt::Display for Products {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, (sku, seconds)) in self.0.iter().enumerate() {
            write!(f, "{}{sku}={seconds}", if at == 0 { "" } else { " " })?;
        }
        Ok(())
    }
}

impl Serialize for Products {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// What becomes of test orders.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TestOrders {
    /// They give nothing.
    #[default]
    Ignore,
    /// They are credited as others are.
    Credit,
}

/// Several values, as one text or as a list.
#[derive(Deserialize)]
#[serde(untagged)]
enum Written {
    Text(String),
    List(Vec<String>),
}

impl<'de> Deserialize<'de> for Products {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let products = match Written::deserialize(deserializer)? {
            Written::Text(text) => Self::read(text.split([' ', ',']).filter(|one| !one.is_empty())),
            Written::List(list) => Self::read(list.iter().map(String::as_str)),
        };
        products.map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn products_are_read_and_shown() {
        let read = |texts: &[&str]| Products::read(texts.iter().copied()).map(|products| products.to_string());
        assert_eq!(read(&["TIME-1H=3600", "A=B=60"]).as_deref(), Ok("A=B=60 TIME-1H=3600"));
        for texts in [&["TIME"][..], &["=1"], &["T=0"], &["T=-1"], &["T=x"], &["T=1", "T=2"], &["T=999999999"]] {
            assert!(read(texts).is_err(), "{texts:?}");
        }
    }
}
