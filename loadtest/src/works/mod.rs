//! The kinds of operations.

mod beats;
mod echo;

pub use beats::Beats;
pub use echo::{Echo, FLOOR_KEY};
