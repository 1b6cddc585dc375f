//! Names that stand for one thing for good, beyond the ledger of one account.
//!
//! The ledger takes each name once, but only within one account, and keeps what was entered, not what was asked for: a debit
//! takes what there is. So a name that comes from outside is *claimed* for what was asked before it is entered. Claimed again
//! for the same it changes nothing, whatever became of it; for anything else it is refused.
//!
//! A claim is a row like those of what providers tell of people, and as they do it goes by a digest: it tells neither names
//! nor people, and stays for good.

use sha2::{Digest, Sha256};

use crate::store::{Identity, Replaced, SeenEvent};

use super::acts::{ActError, Acts};

/// How often a claim is tried anew that others were faster than.
const ATTEMPTS: usize = 8;
/// How the issuers of the rows begin. No provider has such a name.
const ISSUER: &str = "gastank:claim/";

/// What became of a claim.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Claim {
    /// The name was free. It is durable that it stands for this now.
    First,
    /// It stood for this before.
    Same,
    /// It stands for something else.
    Other,
}

/// What a name stands for, as a digest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Meaning([u8; 16]);

impl Meaning {
    /// Of these parts, in this order.
    pub(super) fn of(parts: &[&[u8]]) -> Self {
        let mut sha = Sha256::new_with_prefix(b"gastank/claim/v1");
        for part in parts {
            // With its length before it, no part can be taken for a piece of another.
            sha.update((part.len() as u64).to_be_bytes());
            sha.update(part);
        }
        let mut first = [0; 16];
        first.copy_from_slice(&sha.finalize()[..16]);
        Self(first)
    }
}

impl Acts {
    /// Claims `name` among those of `namespace` for `meaning`; or finds it claimed for that, or for what `also` says is the
    /// same.
    pub(super) async fn claim(
        &self,
        namespace: &str,
        name: &str,
        meaning: Meaning,
        also: Option<Meaning>,
    ) -> Result<Claim, ActError> {
        let row = Identity { issuer: format!("{ISSUER}{namespace}"), subject: name.to_owned() };
        for _ in 0..ATTEMPTS {
            let mut claimed = self.store.facts(&row).await?;
            if let Some(known) = claimed.events.first() {
                let same = [Some(meaning), also].contains(&Some(Meaning(known.digest)));
                return Ok(if same { Claim::Same } else { Claim::Other });
            }
            claimed.events.push(SeenEvent { digest: meaning.0, at: self.clock.wall() });
            if self.store.put_facts(&row, &claimed).await? == Replaced::Done {
                return Ok(Claim::First);
            }
        }
        Err(ActError::Contended)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_cut_otherwise_means_something_else() {
        assert_ne!(Meaning::of(&[b"ab", b"c"]), Meaning::of(&[b"a", b"bc"]));
        assert_ne!(Meaning::of(&[b"a"]), Meaning::of(&[b"a", b""]));
    }
}
