//! Rows of the audit log: who did which act on which account, when, and over which surface.
//!
//! A row names accounts, sessions, keys and edges by their ids, and people not at all: what is known of a deleted person
//! is nowhere in here. It has no secret, no token and no text that a caller made up, but for names that are ids.

use std::fmt;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};

use crate::{
    engine::AccountId,
    time::{Millis, UnixMs},
};

/// One row of the audit log. Never changed; dropped when its time has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditRecord {
    /// Its place in the log.
    pub key: AuditKey,
    /// Who did it.
    pub actor: Actor,
    /// What.
    pub act: AuditAct,
    /// On which account. `None` of acts that are on none, or on somebody who has none.
    pub account: Option<AccountId>,
    /// The id of the session, key, edge or entry in question.
    pub target: Option<String>,
    /// What came of it, in a word or two of the program's own.
    pub detail: Option<String>,
}

/// A row's place in the log: rows are in the order of their instants, and of an instant, in the order of their ids. A row
/// with this key is written once; writing it again changes nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AuditKey {
    /// When it was done, on the wall clock.
    pub at: UnixMs,
    /// Which of that instant.
    pub id: [u8; 8],
}

/// A day of the audit log, in UTC: its rows can be read one after the other, and dropped together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AuditDay(u32);

/// Who did something, and over which surface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Actor {
    /// What kind of caller.
    pub kind: ActorKind,
    /// Which of them, by an id: an account key's, an edge's, a message's, an issuer. `None` where the kind or the account
    /// says it all.
    pub name: Option<String>,
    /// Where they called.
    pub surface: Surface,
}

macro_rules! named {
    ($(#[doc = $about:literal])+ $name:ident { $( $(#[doc = $meaning:literal])+ $variant:ident = $text:literal, )+ }) => {
        $(#[doc = $about])+
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name {
            $( $(#[doc = $meaning])+ $variant, )+
        }

        impl $name {
            /// Every one, in the order of their meaning.
            pub const ALL: &'static [Self] = &[$( Self::$variant ),+];

            /// The name that the HTTP interface and the store use.
            pub const fn name(self) -> &'static str {
                match self { $( Self::$variant => $text ),+ }
            }

            /// The one with this name.
            pub fn parse(name: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|known| known.name() == name)
            }
        }
    };
}

named! {
    /// A kind of caller.
    ActorKind {
        /// Who has the administration's token.
        Operator = "operator",
        /// The owner of an account, by one of its keys; named by the key's id.
        AccountKey = "account_key",
        /// The owner of an account, by a token of their identity provider; named by its issuer.
        IdentityToken = "identity_token",
        /// The owner of an account, by a hub session; named by its id.
        HubSession = "hub_session",
        /// The owner of an account, by an earner token; named by the token's id.
        EarnerToken = "earner_token",
        /// A shop, by a webhook; named by the shop's domain.
        Shop = "shop",
        /// A client of the hub, by a handle or a code; named by its id.
        HubClient = "hub_client",
        /// The client of a session, by its token or a signed frame.
        Session = "session",
        /// An edge; named by its client id.
        Edge = "edge",
        /// A sender of webhooks; named by the message's id.
        Webhook = "webhook",
        /// An identity provider, by an account event; named by its issuer.
        Provider = "provider",
        /// The service itself.
        System = "system",
    }
}

named! {
    /// Where a caller called.
    Surface {
        /// The public HTTP listener.
        Http = "http",
        /// The listener for operators.
        Admin = "admin",
        /// A heartbeat, over whichever transport.
        Heartbeat = "heartbeat",
        /// The hooks of the public HTTP listener.
        Hooks = "hooks",
        /// Nowhere: the service did it by itself.
        Service = "service",
    }
}

named! {
    /// What was done.
    AuditAct {
        /// An account was made.
        AccountCreated = "account_created",
        /// An account was deleted.
        AccountDeleted = "account_deleted",
        /// A session was opened, in place of the one that was open. The target is the session.
        SessionOpened = "session_opened",
        /// A session was given another token. The target is the session.
        SessionRenewed = "session_renewed",
        /// A session ended. The target is the session, the detail its end reason.
        SessionEnded = "session_ended",
        /// Credit was entered. The target is the entry's number, the detail its kind and its seconds.
        CreditEntered = "credit_entered",
        /// Credit is held for somebody who has no account.
        CreditHeld = "credit_held",
        /// An account key was made. The target is the key.
        AccountKeyAdded = "account_key_added",
        /// An account key was removed. The target is the key.
        AccountKeyRemoved = "account_key_removed",
        /// A person signed in at the hub. The target is the hub session.
        HubSignedIn = "hub_signed_in",
        /// A hub session was ended. The target is the hub session.
        HubSignedOut = "hub_signed_out",
        /// All hub sessions of a person were ended.
        HubSignedOutEverywhere = "hub_signed_out_everywhere",
        /// An earner token was made. The target is the token's id.
        EarnerTokenAdded = "earner_token_added",
        /// An earner token was removed. The target is the token's id.
        EarnerTokenRemoved = "earner_token_removed",
        /// A line of an order that was paid cannot be credited, and is kept for a refund. The target is the line.
        PurchaseKept = "purchase_kept",
        /// A line that was kept for a refund has been seen to by an operator. The target is the line.
        PurchaseSeenTo = "purchase_seen_to",
        /// A client was given a handle for a hub session. The target is the hub session.
        HandleIssued = "handle_issued",
        /// A client of the hub was registered. The target is the client.
        ClientAdded = "client_added",
        /// A client of the hub was removed. The target is the client.
        ClientRemoved = "client_removed",
        /// A secret was added to a client of the hub. The target is the client.
        ClientSecretAdded = "client_secret_added",
        /// A secret of a client of the hub was removed. The target is the client.
        ClientSecretRemoved = "client_secret_removed",
        /// An edge was registered. The target is the edge.
        EdgeAdded = "edge_added",
        /// An edge was removed. The target is the edge.
        EdgeRemoved = "edge_removed",
        /// A client secret was added. The target is the edge.
        EdgeSecretAdded = "edge_secret_added",
        /// A client secret was removed. The target is the edge.
        EdgeSecretRemoved = "edge_secret_removed",
        /// A signing key was made and published.
        SigningKeyRotated = "signing_key_rotated",
        /// A cluster secret was made.
        ClusterSecretRotated = "cluster_secret_rotated",
        /// A person changed their password at the provider.
        PasswordChanged = "password_changed",
        /// A person changed their profile at the provider.
        ProfileChanged = "profile_changed",
        /// A subscription of a person began or ended. The detail is what came of it.
        SubscriptionChanged = "subscription_changed",
        /// A person deleted themselves at the provider.
        PersonDeleted = "person_deleted",
        /// The provider told something that has no effect here.
        EventNoted = "event_noted",
    }
}

impl Actor {
    /// The service itself.
    pub const fn system() -> Self {
        Self { kind: ActorKind::System, name: None, surface: Surface::Service }
    }

    /// An operator.
    pub const fn operator() -> Self {
        Self { kind: ActorKind::Operator, name: None, surface: Surface::Admin }
    }

    /// The client of a session, by its token.
    pub const fn session() -> Self {
        Self { kind: ActorKind::Session, name: None, surface: Surface::Http }
    }

    /// Somebody who goes by an id.
    pub fn named(kind: ActorKind, name: impl Into<String>, surface: Surface) -> Self {
        Self { kind, name: Some(name.into()), surface }
    }
}

impl AuditKey {
    /// Reads a key as [`fmt::Display`] writes it.
    pub fn parse(text: &str) -> Option<Self> {
        if text.len() != 22 {
            return None;
        }
        let bytes: [u8; 16] = URL_SAFE_NO_PAD.decode(text).ok()?.try_into().ok()?;
        let (at, id) = bytes.split_first_chunk::<8>()?;
        let at = u64::from_be_bytes(*at);
        // What the store cannot hold is no key of its.
        i64::try_from(at).ok()?;
        Some(Self { at: UnixMs::from_ms(at), id: id.try_into().ok()? })
    }

    /// The day it is in.
    pub fn day(&self) -> AuditDay {
        AuditDay::of(self.at)
    }
}

impl fmt::Display for AuditKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&self.at.as_ms().to_be_bytes());
        bytes[8..].copy_from_slice(&self.id);
        f.write_str(&URL_SAFE_NO_PAD.encode(bytes))
    }
}

impl AuditDay {
    /// How long a day is.
    const LENGTH: Millis = Millis::from_secs(86_400);

    /// The day that an instant is in.
    pub fn of(at: UnixMs) -> Self {
        Self(u32::try_from(at.as_ms() / Self::LENGTH.get()).unwrap_or(u32::MAX))
    }

    /// The day with this number, counted from 1970.
    pub const fn from_number(number: u32) -> Self {
        Self(number)
    }

    /// Its number, counted from 1970.
    pub const fn number(self) -> u32 {
        self.0
    }

    /// Its first instant.
    pub fn begins(self) -> UnixMs {
        UnixMs::from_ms(u64::from(self.0) * Self::LENGTH.get())
    }

    /// The first instant after it.
    pub fn ends(self) -> UnixMs {
        self.begins().plus(Self::LENGTH)
    }

    /// The day after it.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_are_their_own_and_read_back() {
        let names: BTreeSet<_> = AuditAct::ALL.iter().map(|act| act.name()).collect();
        assert_eq!(names.len(), AuditAct::ALL.len());
        assert!(AuditAct::ALL.iter().all(|act| AuditAct::parse(act.name()) == Some(*act)));
        assert!(ActorKind::ALL.iter().all(|kind| ActorKind::parse(kind.name()) == Some(*kind)));
        assert!(Surface::ALL.iter().all(|surface| Surface::parse(surface.name()) == Some(*surface)));
        assert_eq!(AuditAct::parse("Account_created"), None);
    }

    proptest! {
        #[test]
        fn keys_read_back_and_lie_within_their_day(ms in 0..i64::MAX.cast_unsigned(), id: [u8; 8]) {
            let key = AuditKey { at: UnixMs::from_ms(ms), id };
            prop_assert_eq!(AuditKey::parse(&key.to_string()), Some(key));
            if ms < u64::from(u32::MAX) * 86_400_000 {
                prop_assert!(key.day().begins() <= key.at && key.at < key.day().ends());
                prop_assert_eq!(key.day().next().begins(), key.day().ends());
            }
        }

        #[test]
        fn text_that_is_no_key_is_refused(text: String) {
            if let Some(key) = AuditKey::parse(&text) {
                prop_assert_eq!(key.to_string(), text);
            }
        }
    }
}
