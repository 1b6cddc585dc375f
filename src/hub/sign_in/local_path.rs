//! Where a browser goes after it has signed in: a path of this host and never anything else.

/// Bytes of a path with its query: what the cookie of a sign-in has room for.
pub(super) const MAX: usize = 2200;

/// A path of this host, with its query: begins with one `/`, and no browser takes it for another host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::hub) struct LocalPath(String);

impl LocalPath {
    /// The path, if this is one.
    pub(in crate::hub) fn parse(text: &str) -> Option<Self> {
        let path = text.split('?').next().unwrap_or_default();
        let visible =
            text.len() <= MAX && text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\' && byte != b'"');
        let fits = |path: &[u8]| {
            path.first() == Some(&b'/')
                && !path.windows(2).any(|two| two == b"//")
                && path.iter().all(|byte| byte.is_ascii_graphic() && *byte != b'\\')
        };
        // As it stands, and as somebody may read it who decodes it once or twice.
        let once = decoded(path.as_bytes());
        (visible && !text.contains('#') && fits(path.as_bytes()) && fits(&once) && fits(&decoded(&once)))
            .then(|| Self(text.to_owned()))
    }

    /// The account's page.
    pub(in crate::hub) fn account() -> Self {
        Self("/account".to_owned())
    }

    /// The path.
    pub(in crate::hub) fn as_str(&self) -> &str {
        &self.0
    }
}

fn decoded(bytes: &[u8]) -> Vec<u8> {
    let digit = |byte: Option<&u8>| byte.and_then(|byte| char::from(*byte).to_digit(16));
    let (mut out, mut at) = (Vec::with_capacity(bytes.len()), 0);
    while let Some(byte) = bytes.get(at) {
        match (*byte, digit(bytes.get(at + 1)), digit(bytes.get(at + 2))) {
            (b'%', Some(high), Some(low)) => {
                out.push(u8::try_from(high * 16 + low).expect("two hexadecimal digits are a byte"));
                at += 3;
            }
            _ => {
                out.push(*byte);
                at += 1;
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn paths_of_this_host_are_taken() {
        for good in [
            "/account",
            "/account/ledger?before=12",
            "/oauth/authorize?redirect_uri=https%3A%2F%2Fapp.example%2Fcallback&scope=openid%20tank",
            "/",
        ] {
            assert_eq!(LocalPath::parse(good).unwrap().as_str(), good);
        }
    }

    #[test]
    fn other_hosts_in_every_spelling_are_refused() {
        for bad in [
            "//evil.example",
            "/\\evil.example",
            "\\\\evil.example",
            "/%2f%2fevil.example",
            "/%2Fevil.example",
            "%2f%2fevil.example",
            "/\tevil.example",
            "/\nevil.example",
            "/%09/evil.example",
            "/%0a/evil.example",
            "/%5cevil.example",
            "/%255cevil.example",
            "/%252fevil.example",
            "/.//evil.example",
            "https://evil.example",
            "https:evil.example",
            "javascript:alert(1)",
            "evil.example",
            "",
            " /account",
            "/account#//evil",
            "/ä",
        ] {
            assert_eq!(LocalPath::parse(bad), None, "{bad}");
        }
        assert_eq!(LocalPath::parse(&format!("/{}", "a".repeat(MAX))), None);
    }

    proptest! {
        #[test]
        fn what_is_taken_stays_on_this_host(text in "[/\\\\%2fFcC59a.:?#@\t\n ]{0,12}") {
            if let Some(path) = LocalPath::parse(&text) {
                let base = reqwest::Url::parse("https://tank.example/sign-in/callback").unwrap();
                let url = base.join(path.as_str()).unwrap();
                prop_assert_eq!(url.origin(), base.origin());
            }
        }
    }
}
