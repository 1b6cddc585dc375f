//! The service: everything put together, started, and stopped in order.

mod home;
mod upkeep;
mod warm;
