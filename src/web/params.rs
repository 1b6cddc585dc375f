//! Parameters of OAuth's requests, by query or form: what is given twice is refused, and what is empty is not given (RFC 6749, 3.1).

use std::{borrow::Cow, collections::BTreeMap};

/// Bytes of all parameters together.
const MAX_BYTES: usize = 12 * 1024;

/// Parameters by their names.
pub struct Params<'a>(BTreeMap<Cow<'a, str>, Cow<'a, str>>);

/// Why parameters are not looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadParams {
    /// Nobody can say which of them counts.
    #[error("a parameter is given twice")]
    Twice,
    /// More than anybody has to say.
    #[error("the parameters are longer than 12 KiB")]
    TooLong,
}

impl<'a> Params<'a> {
    /// Reads parameters.
    ///
    /// # Errors
    ///
    /// [`BadParams`].
    pub fn parse(encoded: &'a [u8]) -> Result<Self, BadParams> {
        if encoded.len() > MAX_BYTES {
            return Err(BadParams::TooLong);
        }
        let mut known = BTreeMap::new();
        each(encoded, |name, value| {
            let is_first = value.is_empty() || known.insert(name, value).is_none();
            if is_first { Ok(()) } else { Err(BadParams::Twice) }
        })?;
        Ok(Self(known))
    }

    /// The one with this name.
    pub fn find(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(|value| &**value)
    }

    /// All of them but these, encoded.
    pub fn without(&self, names: &[&str]) -> String {
        let mut text = form_urlencoded::Serializer::new(String::new());
        for (name, value) in self.0.iter().filter(|(name, _)| !names.contains(&&***name)) {
            text.append_pair(name, value);
        }
        text.finish()
    }
}

/// Hands over each name and value of a query or form, decoded, in their order.
///
/// # Errors
///
/// Those of `take`.
pub fn each<'a, E>(
    encoded: &'a [u8],
    mut take: impl FnMut(Cow<'a, str>, Cow<'a, str>) -> Result<(), E>,
) -> Result<(), E> {
    match std::str::from_utf8(encoded) {
        // Tokens need no escapes, and what has none need not be decoded.
        Ok(text) if memchr::memchr2(b'%', b'+', encoded).is_none() => {
            text.split('&').filter(|pair| !pair.is_empty()).try_for_each(|pair| {
                let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
                take(Cow::Borrowed(name), Cow::Borrowed(value))
            })
        }
        _ => form_urlencoded::parse(encoded).try_for_each(|(name, value)| take(name, value)),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_has_no_escapes_is_read_as_what_has_some_is(text in "[a-z&=_.]{0,40}|(&?(token|client_id|x)=?[a-zé.=]{0,5}){0,4}") {
            let mut read = Vec::new();
            each(text.as_bytes(), |name, value| -> Result<(), ()> { read.push((name, value)); Ok(()) }).unwrap();
            prop_assert_eq!(read, form_urlencoded::parse(text.as_bytes()).collect::<Vec<_>>());
        }
    }

    #[test]
    fn what_is_given_twice_is_refused_and_what_is_empty_is_not_given() {
        let params = Params::parse(b"a=1&b=&c=%2F+x&b=2").unwrap();
        assert_eq!((params.find("a"), params.find("b"), params.find("c")), (Some("1"), Some("2"), Some("/ x")));
        assert_eq!(params.without(&["a"]), "b=2&c=%2F+x");
        assert_eq!(Params::parse(b"a=1&a=1").err(), Some(BadParams::Twice));
        assert_eq!(Params::parse(&vec![b'a'; MAX_BYTES + 1]).err(), Some(BadParams::TooLong));
    }
}
