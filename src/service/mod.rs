//! The service: everything put together, started, and stopped in order.
//!
//! Start ([`Service::start`]): the store, keys, sockets, the engine and what does acts, threads, listeners, warm-up, housekeeping,
//! datagrams. The HTTP listeners answer from the moment they are bound, with 503 until the service is warm; datagrams wait in the
//! socket's buffer until then. A stage that fails has those before it undone. Stop: no new work, what is under way finishes, what
//! memory knows better than the store is written, the store is closed.

pub mod backup;
mod check;
mod dates;
mod descriptors;
mod error;
pub mod history;
mod home;
mod instruments;
mod listeners;
mod listening;
mod nodes;
mod parts;
pub mod rounds;
mod run;
mod running;
mod start;
mod store;
pub mod supervisor;
mod surfaces;
pub mod upkeep;
pub mod warm;

pub use check::check;
pub use error::ServiceError;
pub use listening::Listening;
pub use run::run;
pub use running::Service;
pub use store::{StoreCommandError, copy, file_name, migrate};
