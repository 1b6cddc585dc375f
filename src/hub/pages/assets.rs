//! Style, script and icon: part of the program, served as they are in the source, under names that change with them.

use std::{fmt::Write as _, sync::LazyLock};

use axum::{
    extract::Path,
    http::{HeaderName, HeaderValue, StatusCode},
    response::{IntoResponse, Response},
};
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};
use sha2::{Digest, Sha256};

/// An asset.
struct Asset {
    stem: &'static str,
    extension: &'static str,
    media: &'static str,
    content: &'static [u8],
}

const STYLE: Asset = Asset {
    stem: "style",
    extension: "css",
    media: "text/css; charset=utf-8",
    content: include_bytes!("assets/style.css"),
};
const SCRIPT: Asset = Asset {
    stem: "tank",
    extension: "js",
    media: "text/javascript; charset=utf-8",
    content: include_bytes!("assets/tank.js"),
};
const ICON: Asset =
    Asset { stem: "icon", extension: "svg", media: "image/svg+xml", content: include_bytes!("assets/icon.svg") };

/// How the paths of all of them begin.
const PREFIX: &str = "/assets/";

/// The paths that pages name.
pub(in crate::hub) struct Paths {
    pub(in crate::hub) style: String,
    pub(in crate::hub) script: String,
    pub(in crate::hub) icon: String,
}

/// The paths of this build's assets.
pub(super) static PATHS: LazyLock<Paths> = LazyLock::new(|| {
    let path = |asset: &Asset| format!("{PREFIX}{}", asset.name());
    Paths { style: path(&STYLE), script: path(&SCRIPT), icon: path(&ICON) }
});

impl Asset {
    /// Its name with the beginning of its SHA-256.
    fn name(&self) -> String {
        let mut name = format!("{}-", self.stem);
        for byte in &Sha256::digest(self.content)[..6] {
            write!(name, "{byte:02x}").expect("a String takes everything");
        }
        format!("{name}.{}", self.extension)
    }
}

/// An asset of this build. What a page of another build names is not here: that build's node has it.
pub(in crate::hub) async fn asset(Path(name): Path<String>) -> Response {
    const FOR_GOOD: HeaderValue = HeaderValue::from_static("public, max-age=31536000, immutable");
    const NO_SNIFFING: (HeaderName, HeaderValue) = (X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    let known = [(&PATHS.style, &STYLE), (&PATHS.script, &SCRIPT), (&PATHS.icon, &ICON)];
    match known.into_iter().find(|(path, _)| path.strip_prefix(PREFIX) == Some(name.as_str())) {
        Some((_, asset)) => {
            let media = HeaderValue::from_static(asset.media);
            ([(CONTENT_TYPE, media), (CACHE_CONTROL, FOR_GOOD), NO_SNIFFING], asset.content).into_response()
        }
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_script_is_small() {
        assert!(SCRIPT.content.len() < 8 * 1024, "{}", SCRIPT.content.len());
    }
}
