//! Time that people buy in a shop: webhooks of paid orders and of refunds, from a line of an order to the ledger.
//!
//! A line is credited once, by its id, whoever sends the order and however often. What becomes of it stands in one record of the
//! store, replaced by conditions: the account that it was bought for, and the refunds of it, which may come before the order. The
//! ledger follows from the record, so what a crash left undone is done by the next delivery.

mod lines;
mod order;
mod secrets;

pub use lines::{KeptLine, LineOutcome, Shop, Why};
pub use order::{Delivery, NoOrder, PaidLine, RefundedLine};
pub(in crate::rewards) use secrets::read_signature;
pub use secrets::{ShopSecrets, ShopSecretsError};
