//! The wire format: frames, ids and keys. Pure functions over bytes; no I/O, no allocation, `core` only.
//!
//! A heartbeat and its ack are 48 bytes each, so that an ack never amplifies a spoofed request. The last 16 bytes are
//! a truncated HMAC-SHA256 over the 32 before them. [`SignedHeartbeat`] is what arrived and has the right shape;
//! only [`SignedHeartbeat::verify`] turns it into a [`Heartbeat`] that may be acted on, so a forged frame cannot be
//! mistaken for a real one by construction.
//!
//! ## Security considerations
//!
//! * The session key is derived from the cluster secret and the session id: nothing is stored per session, and any node
//!   can tell a forged frame without a lookup.
//! * Tags are compared in constant time.
//! * Frames carry no nonce and need no replay window: the clock field feeds a max-register, so a replayed frame says
//!   nothing that was not already known. `seq` is for loss figures and must never be used for security.
//! * The kind byte is signed, so an ack reflected to the service is not a heartbeat.

mod ack;
mod heartbeat;
mod ids;
mod key;

pub use ack::{ACK_KIND, Ack, AckFlags, EndReason, SignedAck, WireVerdict};
pub use heartbeat::{FrameError, Heartbeat, HeartbeatKind, SignedHeartbeat, StateBits};
pub use ids::{SecretId, SessionId};
pub use key::{BodyMac, ClusterSecret, SessionKey, Tag};

/// Bytes of a heartbeat and of an ack.
pub const FRAME_LEN: usize = 48;
/// Bytes of a frame that the tag covers.
pub const BODY_LEN: usize = 32;
/// Bytes of a tag.
pub const TAG_LEN: usize = 16;
/// The only version of the frame format there is.
pub const VERSION: u8 = 1;

/// Copies `N` bytes out of a frame. The offsets are constants of the layout, so the compiler drops the bounds checks.
const fn field<const N: usize>(frame: &[u8; FRAME_LEN], at: usize) -> [u8; N] {
    let mut out = [0; N];
    let mut i = 0;
    while i < N {
        out[i] = frame[at + i];
        i += 1;
    }
    out
}
