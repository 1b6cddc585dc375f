//! Earner tokens as they are shown: which of them are valid, and whose.

use std::{collections::HashMap, sync::Arc};

use parking_lot::Mutex;
use sha2::{Digest, Sha256};

use crate::{
    control::credentials::EARNER_TOKEN_PREFIX,
    engine::AccountId,
    store::{KeyScope, Store, StoreError},
    time::{Clock, MeterTime, Millis},
};

/// Tokens that may be shown at once.
const MOST_SHOWN: usize = 8;
/// Characters of all of them.
const MAX_SHOWN: usize = 1024;
/// Characters of a token after its prefix: 256 bits in base64url.
const TOKEN_CHARS: usize = 43;
/// How long a valid token is remembered. One that another node revokes is told to be valid for so long; it earns nothing.
const REMEMBERED: Millis = Millis::from_secs(60);
/// Tokens that are remembered.
const MOST_REMEMBERED: usize = 65_536;

/// A token that is valid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Earner {
    /// Names the token.
    pub(super) id: String,
    /// Whose it is.
    pub(super) account: AccountId,
}

/// What was shown: one to eight texts, most of them earner tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Shown(Vec<String>);

/// Knows earner tokens by their hashes.
pub(super) struct Earners {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    remembered: Mutex<HashMap<[u8; 32], (AccountId, MeterTime)>>,
}

impl Shown {
    /// Tokens with commas between them. `None` where there are none, too many or too long ones.
    pub(super) fn read(text: &str) -> Option<Self> {
        if text.len() > MAX_SHOWN {
            return None;
        }
        let tokens: Vec<_> = text.split(',').map(str::trim).filter(|token| !token.is_empty()).collect();
        let fits = (1..=MOST_SHOWN).contains(&tokens.len());
        fits.then(|| Self(tokens.into_iter().map(ToOwned::to_owned).collect()))
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }
}

impl Earners {
    pub(super) fn new(store: Arc<dyn Store>, clock: Arc<dyn Clock>) -> Self {
        Self { store, clock, remembered: Mutex::default() }
    }

    /// Whose the tokens are, by the store. `None` where none is valid, or where they are of several people.
    pub(super) async fn owner(&self, shown: &Shown) -> Result<Option<Earner>, StoreError> {
        let mut owner: Option<Earner> = None;
        for token in shown.iter() {
            let Some(found) = self.find(token).await? else { continue };
            match &owner {
                Some(known) if known.account != found.account => return Ok(None),
                Some(_) => {}
                None => owner = Some(found),
            }
        }
        Ok(owner)
    }

    /// Which of the tokens are valid, from memory as far as it goes. `None` where they are of several people.
    pub(super) async fn validate(&self, shown: &Shown) -> Result<Option<Vec<(String, bool)>>, StoreError> {
        let mut owner = None;
        let mut all = Vec::with_capacity(shown.0.len());
        for token in shown.iter() {
            let of = match self.recall(token) {
                Some(account) => Some(account),
                None => self.find(token).await?.map(|earner| earner.account),
            };
            if let Some(account) = of
                && *owner.get_or_insert(account) != account
            {
                return Ok(None);
            }
            all.push((token.to_owned(), of.is_some()));
        }
        Ok(Some(all))
    }

    /// Forgets what is remembered: a token has been revoked.
    pub(super) fn forget(&self, account: &AccountId) {
        self.remembered.lock().retain(|_, (of, _)| of != account);
    }

    fn recall(&self, token: &str) -> Option<AccountId> {
        let (account, until) = *self.remembered.lock().get(&hash_of(token))?;
        (self.clock.now() < until).then_some(account)
    }

    async fn find(&self, token: &str) -> Result<Option<Earner>, StoreError> {
        if !is_token(token) {
            return Ok(None);
        }
        let hash = hash_of(token);
        let key = self.store.account_by_key(&hash).await?.filter(|key| key.scope == KeyScope::Earning);
        let mut remembered = self.remembered.lock();
        let Some(key) = key else {
            remembered.remove(&hash);
            return Ok(None);
        };
        let now = self.clock.now();
        if remembered.len() >= MOST_REMEMBERED {
            remembered.retain(|_, (_, until)| now < *until);
        }
        if remembered.len() < MOST_REMEMBERED {
            remembered.insert(hash, (key.account, now.plus(REMEMBERED)));
        }
        Ok(Some(Earner { id: key.key_id, account: key.account }))
    }
}

fn hash_of(token: &str) -> [u8; 32] {
    Sha256::digest(token.as_bytes()).into()
}

/// Whether a text has the form of an earner token. Nothing else is looked up.
fn is_token(text: &str) -> bool {
    text.strip_prefix(EARNER_TOKEN_PREFIX).is_some_and(|rest| {
        rest.len() == TOKEN_CHARS
            && rest.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn tokens_are_separated_by_commas_and_are_one_to_eight() {
        let read = |text: &str| Shown::read(text).map(|shown| shown.0);
        assert_eq!(read("a"), Some(vec!["a".to_owned()]));
        assert_eq!(read(" a , ,b"), Some(vec!["a".to_owned(), "b".to_owned()]));
        for text in ["", ",", " , ", "1,2,3,4,5,6,7,8,9", &"t".repeat(MAX_SHOWN + 1)] {
            assert_eq!(read(text), None, "{text:.20}");
        }
    }

    proptest! {
        #[test]
        fn no_text_does_any_harm(text: String) {
            if let Some(shown) = Shown::read(&text) {
                prop_assert!(shown.iter().all(|token| !token.is_empty()));
            }
        }
    }
}
