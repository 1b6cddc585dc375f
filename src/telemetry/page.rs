//! Pages of the documentation that are made from the code: a test holds them against it.

use std::path::PathBuf;
use std::{env, fs};

const BEGIN: &str = "<!-- generated from the code: begin -->\n";
const END: &str = "<!-- generated from the code: end -->\n";

/// Panics when the generated part of `docs/<page>` is not `expected`; with `UPDATE_DOCS=1` in the environment it writes
/// it instead. What stands around the markers is written by hand.
pub(crate) fn assert_page_is_fresh(page: &str, expected: &str) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("docs").join(page);
    let text = fs::read_to_string(&path).expect("the page exists");
    let (before, rest) = text.split_once(BEGIN).expect("the page has the marker of the beginning");
    let (generated, after) = rest.split_once(END).expect("the page has the marker of the end");
    if generated == expected {
        return;
    }
    if env::var_os("UPDATE_DOCS").is_some() {
        fs::write(&path, format!("{before}{BEGIN}{expected}{END}{after}")).expect("the page can be written");
        return;
    }
    panic!("docs/{page} is stale. To make it anew: UPDATE_DOCS=1 cargo test --lib page_");
}
