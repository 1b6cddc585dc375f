//! Parameters of a request, by query or form: what is given twice is refused, and what is empty is not given (RFC 6749, 3.1).

use std::{borrow::Cow, collections::BTreeMap};

/// Bytes of all parameters together.
const MAX_BYTES: usize = 12 * 1024;

/// Parameters by their names.
pub(super) struct Params<'a>(BTreeMap<Cow<'a, str>, Cow<'a, str>>);

/// Why parameters are not looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum BadParams {
    /// Nobody can say which of them counts.
    #[error("a parameter is given twice")]
    Twice,
    /// More than anybody has to say.
    #[error("the parameters are longer than 12 KiB")]
    TooLong,
}

impl<'a> Params<'a> {
    pub(super) fn parse(encoded: &'a [u8]) -> Result<Self, BadParams> {
        if encoded.len() > MAX_BYTES {
            return Err(BadParams::TooLong);
        }
        let mut known = BTreeMap::new();
        for (name, value) in form_urlencoded::parse(encoded) {
            if !value.is_empty() && known.insert(name, value).is_some() {
                return Err(BadParams::Twice);
            }
        }
        Ok(Self(known))
    }

    pub(super) fn find(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(|value| &**value)
    }

    /// All of them but these, encoded.
    pub(super) fn without(&self, names: &[&str]) -> String {
        let mut text = form_urlencoded::Serializer::new(String::new());
        for (name, value) in self.0.iter().filter(|(name, _)| !names.contains(&&***name)) {
            text.append_pair(name, value);
        }
        text.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_given_twice_is_refused_and_what_is_empty_is_not_given() {
        let params = Params::parse(b"a=1&b=&c=%2F+x&b=2").unwrap();
        assert_eq!((params.find("a"), params.find("b"), params.find("c")), (Some("1"), Some("2"), Some("/ x")));
        assert_eq!(params.without(&["a"]), "b=2&c=%2F+x");
        assert_eq!(Params::parse(b"a=1&a=1").err(), Some(BadParams::Twice));
        assert_eq!(Params::parse(&vec![b'a'; MAX_BYTES + 1]).err(), Some(BadParams::TooLong));
    }
}
