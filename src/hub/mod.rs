//! The hub: people sign in once, and sibling services trust it.
//!
//! A *hub session* is one sign-in of one browser; it is not a session of the tank. What is durable is in the store; what
//! is in memory ([`cache`]) is a copy of it, so a restart costs a read and never a session.
//!
//! People sign in at their identity provider ([`sign_in`]) and see their tank on [`pages`]; [`mount`] has the routes of both.

mod backchannel;
mod bus;
mod cache;
mod development;
#[cfg(fuzzing)]
pub mod fuzzing;
mod handles;
mod leaving;
mod limits;
mod outbox;
mod pages;
mod provider;
mod secret;
mod sessions;
mod sign_in;
mod site;
mod state;
#[cfg(test)]
mod tests;

pub use crate::store::{Authentication, DeviceText, HubSessionId, Profile};
pub use bus::{Alone, Bus, Unheard};
pub use development::Development;
pub use handles::LiveHandle;
pub use limits::AddressLimits;
pub use outbox::{Delivery, DeliveryObserver, Outbox};
pub use provider::{OpenIdProvider, ProviderParts};
pub use secret::{Handle, SessionSecret};
pub use sessions::{HubError, HubSession, HubSessions, Lifetimes, SignIn};
pub use site::mount;
pub use state::{Links, Parts};
