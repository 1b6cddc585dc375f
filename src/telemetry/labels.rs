//! The labels of the metrics: closed sets of values, so that every series exists from the start and no caller can create
//! one. This file has the labels of acts, sessions and the store; [`network`] those of listeners and requests.

use crate::engine::EntryKind;
use crate::wire::{EndReason, FrameError};

/// A label whose values are known beforehand.
pub trait Label: Copy + 'static {
    /// The label's name in the exposition.
    const NAME: &'static str;
    /// Every value, in the order of [`Label::index`].
    const VALUES: &'static [&'static str];

    /// Where this value stands in [`Label::VALUES`].
    fn index(self) -> usize;
}

macro_rules! labels {
    ($( $(#[$doc:meta])* $type:ident($name:literal) { $( $(#[$value_doc:meta])* $value:ident = $text:literal, )+ } )+) => {
        $(
            $(#[$doc])*
            #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
            pub enum $type {
                $( $(#[$value_doc])* $value, )+
            }

            impl $type {
                /// Every value, in order.
                pub const ALL: &'static [Self] = &[$(Self::$value),+];
            }

            impl Label for $type {
                const NAME: &'static str = $name;
                const VALUES: &'static [&'static str] = &[$($text),+];

                fn index(self) -> usize {
                    self as usize
                }
            }
        )+
    };
}

mod network;

pub use network::{
    Arrival, CertificateLoad, DatagramDrop, Handshake, HttpListener, PoolName, QuicProtocol, Refusal, Route,
    StatusClass, Surface, Transport, UdpBuffer, UdpListener, WebTransportOutcome,
};

labels! {
    /// How an activation went.
    ActivationOutcome("outcome") {
        /// A session was opened; none was open before.
        Opened = "opened",
        /// A session was opened and took the place of an older one.
        Superseding = "superseding",
        /// The caller is not known.
        BadCredentials = "bad_credentials",
        /// The tank is empty.
        TankEmpty = "tank_empty",
        /// The audience asked for is not known.
        UnknownAudience = "unknown_audience",
        /// It was repeated under its name, and may not be answered again.
        Stale = "stale",
        /// A limit on acts was reached.
        Limited = "limited",
        /// The service could not decide: store down, overloaded or warming up.
        Unavailable = "unavailable",
    }

    /// How a renewal went.
    RenewalOutcome("outcome") {
        /// A fresh token was issued.
        Renewed = "renewed",
        /// The session is over.
        SessionEnded = "session_ended",
        /// It was late or came twice.
        Stale = "stale",
        /// The token is not one of the session's.
        BadCredentials = "bad_credentials",
        /// The frame is malformed or forged.
        BadFrame = "bad_frame",
        /// A limit on acts was reached.
        Limited = "limited",
        /// The service could not decide: store down, overloaded or warming up.
        Unavailable = "unavailable",
    }

    /// What the store was asked to do.
    StoreOperation("operation") {
        /// Read an account.
        ReadAccount = "read_account",
        /// Commit an act on an account.
        CommitAct = "commit_act",
        /// Read a page of the ledger or another listing.
        ReadList = "read_list",
        /// Write a batch of checkpoints.
        WriteCheckpoints = "write_checkpoints",
        /// Read open sessions and checkpoints at start.
        Recover = "recover",
        /// Write the meter's durable fact.
        WriteMeter = "write_meter",
        /// Read or write keys, edges and other small rows.
        Settings = "settings",
        /// Renew this node's lease, or read those of the others.
        Membership = "membership",
        /// Tell other nodes that an account is about to change.
        AnnounceChange = "announce_change",
        /// Read what other nodes are about to change.
        ReadChanges = "read_changes",
        /// Read when other nodes heard of sessions.
        ReadCheckpoints = "read_checkpoints",
        /// Append to the heartbeat history.
        WriteHistory = "write_history",
    }

    /// What became of a row of the heartbeat history.
    HistoryOutcome("outcome") {
        /// It is in the store.
        Kept = "kept",
        /// The store did not take it in time; nobody waits for it.
        Dropped = "dropped",
    }

    /// How an operation of the store went.
    StoreOutcome("outcome") {
        /// It was done.
        Ok = "ok",
        /// The store failed.
        Error = "error",
    }

    /// What an edge was told of a token.
    VerdictOutcome("outcome") {
        /// The token is good.
        Active = "active",
        /// The token is not good.
        Inactive = "inactive",
        /// The service could not say: 503.
        Unavailable = "unavailable",
    }

    /// A kind of housekeeping.
    Housekeeping("task") {
        /// Makes and drops what has a date: signing keys, status lists, rows of the audit log and the heartbeat history.
        Dates = "dates",
        /// Clears away what acts that were cut off left behind.
        Leftovers = "leftovers",
    }

    /// A file of the store.
    StoreFile("file") {
        /// The data file.
        Data = "data",
        /// Its write-ahead log.
        Log = "log",
    }

    /// What a credit webhook came to.
    WebhookOutcome("outcome") {
        /// Time was bought.
        Credited = "credited",
        /// Time was taken back.
        Refunded = "refunded",
        /// It had come before.
        Repeated = "repeated",
        /// It waits until the person has an account.
        Held = "held",
        /// It is about something else.
        Ignored = "ignored",
        /// It is for an account that has been deleted.
        Undeliverable = "undeliverable",
        /// Nobody known signed it, or not lately.
        BadSignature = "bad_signature",
        /// It cannot be read, or cannot be.
        Refused = "refused",
        /// The service could not decide: store down, overloaded or warming up.
        Unavailable = "unavailable",
    }

    /// What a request for a reward came to.
    RewardOutcome("outcome") {
        /// It was paid.
        Paid = "paid",
        /// It was paid not long ago.
        Cooldown = "cooldown",
        /// The account has earned as much as it may on a day.
        AccountDaily = "account_daily",
        /// The address has had as many rewards as it may on a day.
        AddressDaily = "address_daily",
        /// The budget of the day is used up.
        Budget = "budget",
        /// The account has not been active lately.
        Inactive = "inactive",
        /// The earner tokens are not valid.
        BadToken = "bad_token",
        /// It cannot be read, nothing is paid for this, or too much is asked.
        Refused = "refused",
        /// The service could not decide: store down, overloaded or warming up.
        Unavailable = "unavailable",
    }

    /// What a line of a shop's order or refund came to, or a webhook that was not read.
    ShopOutcome("outcome") {
        /// Time was bought.
        Credited = "credited",
        /// Time was taken back, or will be when the order comes.
        Refunded = "refunded",
        /// It had come before.
        Repeated = "repeated",
        /// It cannot be credited, and is kept for a refund.
        Kept = "kept",
        /// It is no time, of a test, or of another topic.
        Ignored = "ignored",
        /// No secret of the shop signed the webhook.
        BadSignature = "bad_signature",
        /// The webhook cannot be read, or too much is asked.
        Refused = "refused",
        /// The service could not decide: store down, overloaded or warming up.
        Unavailable = "unavailable",
    }

    /// What a validation of earner tokens came to.
    ValidationOutcome("outcome") {
        /// One of them is valid at least.
        Valid = "valid",
        /// None of them is valid.
        Invalid = "invalid",
        /// It cannot be read, or too much is asked.
        Refused = "refused",
        /// The service could not decide: store down, overloaded or warming up.
        Unavailable = "unavailable",
    }

    /// How a try to tell a client that hub sessions have ended went.
    LogoutOutcome("outcome") {
        /// The client has answered with 2xx.
        Delivered = "delivered",
        /// It has not, and is tried again.
        Failed = "failed",
        /// It has been tried for long enough.
        GivenUp = "given_up",
    }

    /// What an account event came to.
    EventOutcome("outcome") {
        /// Sessions from before a change of the password are over.
        PasswordChanged = "password_changed",
        /// A profile changed.
        ProfileChanged = "profile_changed",
        /// It is known what somebody has subscribed to.
        SubscriptionChanged = "subscription_changed",
        /// Somebody is gone.
        Deleted = "deleted",
        /// It has no effect here.
        Ignored = "ignored",
        /// It was dealt with before.
        Repeated = "repeated",
        /// Something later about the same thing was told before.
        Stale = "stale",
        /// It is about somebody who is gone.
        Gone = "gone",
        /// It is not the provider's, or cannot be read.
        Refused = "refused",
        /// The service could not decide: store or provider down, overloaded or warming up.
        Unavailable = "unavailable",
    }

    /// Which limit on acts was reached.
    ActLimit("by") {
        /// Acts of one account.
        Account = "account",
        /// Acts from one address.
        Address = "address",
        /// Webhooks and account events from one address.
        Hooks = "hooks",
    }

    /// How signing in with a token of an identity provider went. Everything after the first two is a refusal.
    SignIn("outcome") {
        /// The token is good.
        Accepted = "accepted",
        /// The provider was needed to tell, and could not.
        Unavailable = "unavailable",
        /// It names a key that nobody knows, and the provider was asked for its keys only seconds ago.
        Undecided = "undecided",
        /// It is no token.
        Malformed = "malformed",
        /// Its algorithm is not allowed.
        Algorithm = "algorithm",
        /// Its type is not allowed.
        Type = "type",
        /// It is another issuer's.
        Issuer = "issuer",
        /// It is for another audience.
        Audience = "audience",
        /// It lacks a scope.
        Scope = "scope",
        /// It is over.
        Expired = "expired",
        /// It has not begun.
        NotYet = "not_yet",
        /// It names nobody.
        Subject = "subject",
        /// The provider has no such key, or does not know the opaque token.
        Key = "key",
        /// It was not signed by that key.
        Signature = "signature",
    }

    /// How fetching an identity provider's keys went.
    KeyFetch("outcome") {
        /// The keys are here.
        Ok = "ok",
        /// The provider could not be asked.
        Failed = "failed",
        /// Its answer could not be used.
        Malformed = "malformed",
    }
}

impl Label for EndReason {
    const NAME: &'static str = "reason";
    const VALUES: &'static [&'static str] = &END_REASONS;

    fn index(self) -> usize {
        self as usize - 1
    }
}

const END_REASONS: [&str; EndReason::ALL.len()] = {
    let mut names = [""; EndReason::ALL.len()];
    let mut i = 0;
    while i < names.len() {
        names[i] = EndReason::ALL[i].name();
        i += 1;
    }
    names
};

impl Label for EntryKind {
    const NAME: &'static str = "kind";
    const VALUES: &'static [&'static str] = &ENTRY_KINDS;

    fn index(self) -> usize {
        self as usize
    }
}

const ENTRY_KINDS: [&str; EntryKind::ALL.len()] = {
    let mut names = [""; EntryKind::ALL.len()];
    let mut i = 0;
    while i < names.len() {
        names[i] = EntryKind::ALL[i].name();
        i += 1;
    }
    names
};

/// What became of a heartbeat. The exposition names every end reason beside `invalid`, as `invalid_timed_out`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BeatOutcome {
    /// The session is open and was seen.
    Valid,
    /// The frame is good but nobody knows its session.
    Unknown,
    /// The session was ended by this frame.
    Stop,
    /// The frame was met with silence, and why.
    Bad(FrameError),
    /// The session is over, and why.
    Invalid(EndReason),
}

impl Label for BeatOutcome {
    const NAME: &'static str = "outcome";
    const VALUES: &'static [&'static str] = &[
        "valid",
        "unknown",
        "stop",
        "bad_length",
        "bad_version",
        "bad_kind",
        "forged",
        "bad_value",
        "invalid_superseded",
        "invalid_exhausted",
        "invalid_timed_out",
        "invalid_deactivated",
        "invalid_revoked",
        "invalid_logged_out",
        "invalid_account_deleted",
        "invalid_expired",
    ];

    fn index(self) -> usize {
        match self {
            Self::Valid => 0,
            Self::Unknown => 1,
            Self::Stop => 2,
            Self::Bad(FrameError::Length) => 3,
            Self::Bad(FrameError::Version) => 4,
            Self::Bad(FrameError::Kind) => 5,
            Self::Bad(FrameError::Tag) => 6,
            Self::Bad(FrameError::Value) => 7,
            Self::Invalid(reason) => 8 + reason.index(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_end_reason_has_its_own_outcome_of_a_heartbeat() {
        for reason in EndReason::ALL {
            let outcome = BeatOutcome::VALUES[BeatOutcome::Invalid(reason).index()];
            assert_eq!(outcome, format!("invalid_{}", reason.name()));
            assert_eq!(EndReason::VALUES[reason.index()], reason.name());
        }
        assert_eq!(BeatOutcome::VALUES.len(), 8 + EndReason::ALL.len());
    }

    #[test]
    fn every_kind_of_entry_is_found_under_its_name() {
        for kind in EntryKind::ALL {
            assert_eq!(EntryKind::VALUES[kind.index()], kind.name());
        }
    }
}
