//! Control: acts, tokens and keys, and the HTTP surfaces for clients, edges and operators.

pub mod account_keys;
pub mod acts;
pub mod audit;
mod claims;
pub mod client_secrets;
mod commits;
pub mod credentials;
pub mod edges;
pub mod hooks;
pub mod http;
pub mod hub_clients;
pub mod keyring;
pub mod keys;
pub mod peers;
pub mod redirects;
pub mod registry;
pub mod seal;
pub mod secrets;
pub mod status;
pub mod status_token;
pub mod tokens;
mod turns;
