//! The kinds of operations.

mod activations;
mod beats;
mod echo;
mod flood;
mod renewals;
mod status_lists;
mod verdicts;

pub use activations::Activations;
pub use beats::Beats;
pub use echo::{Echo, FLOOR_KEY};
pub use flood::Flood;
pub use renewals::Renewals;
pub use status_lists::StatusLists;
pub use verdicts::Verdicts;
