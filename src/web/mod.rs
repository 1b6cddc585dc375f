//! What every HTTP surface shares and that knows no domain: no account, session, edge or store.
//!
//! * [`peer`]: who is at the other end of a connection, also behind a proxy.
//! * [`admission`]: how many things of a kind may be open at a time, in all and from one network.
//! * [`limits`]: how many things of a kind may be done a second, for each key.
//! * [`problem`]: refusals, as callers see them (RFC 9457); [`openapi`]: how a description tells of them.
//! * [`authorization`], [`body`], [`params`], [`extract`]: what comes in, with its limits.
//! * [`conditional`], [`encoding`]: which form of an answer goes out, if any.
//! * [`cors`], [`origin`]: pages of other origins.
//! * [`stopwatch`]: the runtime's clock, for what decides nothing of a session.
//!
//! A leaf: it imports [`time`](crate::time) and no other room. `ingest` and `control` use it, and every surface to come.

pub mod admission;
pub mod authorization;
pub mod body;
pub mod conditional;
pub mod cors;
pub mod encoding;
pub mod extract;
pub mod limits;
pub mod openapi;
pub mod origin;
pub mod params;
pub mod peer;
pub mod problem;
pub mod stopwatch;
