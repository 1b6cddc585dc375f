//! The HTTP surfaces: what clients and edges ask on the public listener, and operators on the administrative one.
//!
//! [`Surface::public`] answers everything but heartbeats. `POST /oauth/introspect` is answered first, from memory, without a
//! router; everything else goes through one ([`openapi`]). A handler takes the parts that it works with ([`state`]) and, where only
//! some may ask, who asks ([`callers`]). Every refusal is a problem document, see [`ErrorCode`].

mod admin;
mod at_once;
mod budgets;
mod callers;
mod checks;
mod client_document;
mod clients;
mod documents;
mod edge;
mod edge_request;
mod events;
mod form;
#[cfg(fuzzing)]
pub mod fuzzing;
mod handles;
mod hooks;
mod instruments;
mod introspection;
mod limits;
mod lookups;
mod named;
mod openapi;
mod paths;
mod problem;
mod receive;
mod refusals;
mod shapes;
mod state;
mod status;
mod surface;
#[cfg(test)]
mod tests;
mod under_way;

pub use crate::{
    control::credentials::AdminToken,
    web::{limits::Rate, problem::Code as ErrorCode},
};
pub use at_once::Caller;
pub use budgets::Budget;
pub use callers::{Operator, Owner};
pub use checks::Checks;
pub use client_document::{ClientDocument, ClientProxy, SignIn};
pub use documents::ServerMetadata;
pub use handles::{HandleOutcome, HandleOwner, Handles};
pub use instruments::{Activated, Answered, EventResult, Instruments, IntrospectionOutcome, Phase, WebhookResult};
pub use limits::LimitedBy;
pub use named::AccountPath;
pub use openapi::Mounted;
pub use paths::{AUTHORIZE, LOGOUT, TOKEN, USERINFO};
pub use problem::for_owner;
pub use shapes::time as rfc3339;
pub use state::{ApiState, BodyCheck, ExpectedBody, Parts, Settings};
pub use surface::Surface;

/// The body of every answer.
pub type Body = axum::body::Body;
