//! The pages: templates that work without a script, in English and German, light and dark.

pub(super) mod account;
pub(super) mod assets;
mod chart;
pub(super) mod failure;
mod format;
pub(super) mod forms;
pub(super) mod frame;
pub(super) mod keys;
pub(super) mod ledger;
pub(super) mod sessions;
pub(super) mod text;
