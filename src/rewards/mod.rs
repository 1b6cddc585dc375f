//! Rewards: people earn time on landing pages, and buy it in a shop.
//!
//! A page shows an *earner token*, which can do nothing but earn and be validated ([`earners`]). What is paid for is configured:
//! a class, a distinguisher, a reward and a cooldown ([`catalogue`]). A reward is entered by `control`'s acts, in one act with its
//! cooldown, so that two requests at once pay once; the rule is the engine's. Beside that there are limits that belong to no
//! account: how much a distinguisher pays on a day ([`budgets`]), and how many rewards one address gets ([`addresses`]).
//!
//! A shop tells of paid orders and refunds by webhooks ([`shop`]). The scripts of pages and shops are parts of the program.
//!
//! Security considerations. Earner tokens travel through pages and shops, so they are worth little: whoever has one can put time
//! into its owner's tank. They are kept as hashes, revoked one by one, and never logged; neither are the addresses of pages.

mod addresses;
mod budgets;
mod catalogue;
mod delivery;
mod earners;
mod http;
mod package;
mod payment;
mod shop;

pub use catalogue::{Catalogue, Reward};
pub use http::{Assets, RewardsSurface, mount};
pub use package::Package;
pub use payment::{Payment, Rewards, RewardsParts, Unpaid};
pub use shop::{
    Delivery, KeptLine, LineOutcome, NoOrder, PaidLine, RefundedLine, Shop, ShopSecrets, ShopSecretsError, Why,
};
