//! What every HTTP surface shares and that knows no domain: no account, session, edge or store.
//!
//! * [`peer`]: who is at the other end of a connection, also behind a proxy.
//! * [`admission`]: how many things of a kind may be open at a time, in all and from one network.
//! * [`problem`]: refusals, as callers see them (RFC 9457).
//!
//! A leaf: it imports [`time`](crate::time) and no other room. `ingest` and `control` use it, and every surface to come.

pub mod admission;
pub mod peer;
pub mod problem;
