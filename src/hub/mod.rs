//! The hub: people sign in once, and sibling services trust it.
//!
//! A *hub session* is one sign-in of one browser; it is not a session of the tank. What is durable is in the store; what
//! is in memory ([`cache`]) is a copy of it, so a restart costs a read and never a session.

mod bus;
mod cache;
mod secret;
mod sessions;
#[cfg(test)]
mod tests;

pub use crate::store::{Authentication, DeviceText, HubSessionId, Profile};
pub use bus::{Alone, Bus, Unheard};
pub use secret::SessionSecret;
pub use sessions::{HubError, HubSession, HubSessions, Lifetimes, SignIn};
