//! The scripts of landing pages and shops, and the widget's frame, as they are served: built from `clients/rewards`, and a part of
//! the program.
//!
//! Each file has its stable name, which pages load and which may change with the program, and one with a digest of its content,
//! which never changes.

use axum::response::{IntoResponse, Response};
use brotli::enc::BrotliEncoderParams;
use bytes::Bytes;
use flate2::{Compression, write::GzEncoder};
use hyper::{
    HeaderMap, StatusCode,
    header::{
        ACCESS_CONTROL_ALLOW_ORIGIN, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG,
        HeaderName, HeaderValue, VARY, X_CONTENT_TYPE_OPTIONS,
    },
};
use sha2::{Digest, Sha256};

use crate::web::{conditional::is_known, encoding::Coding, origin::Origins};

/// The script of a shop, as themes load it.
pub(super) const SHOP_SCRIPT: &str = "shopify-psicash.js";
/// The files, with the type of each.
const FILES: [(&str, &[u8], &str); 4] = [
    ("psicash.js", include_bytes!("../../../clients/rewards/dist/psicash.js"), SCRIPT),
    (SHOP_SCRIPT, include_bytes!("../../../clients/rewards/dist/shopify-psicash.js"), SCRIPT),
    ("iframe.html", include_bytes!("../../../clients/rewards/dist/iframe.html"), PAGE),
    ("iframe.debug.html", include_bytes!("../../../clients/rewards/dist/iframe.debug.html"), PAGE),
];
const SCRIPT: &str = "text/javascript; charset=utf-8";
const PAGE: &str = "text/html; charset=utf-8";
/// A stable name: a page that is loaded again five minutes later asks whether it has changed.
const STABLE: HeaderValue = HeaderValue::from_static("public, max-age=300");
const FOREVER: HeaderValue = HeaderValue::from_static("public, max-age=31536000, immutable");
/// Hexadecimal digits of a digest in a name.
const DIGITS: usize = 16;

/// The files as they are served.
pub struct Assets {
    files: Vec<Asset>,
    /// What the widget's frame may do, and which pages may show it.
    policy: HeaderValue,
}

struct Asset {
    name: &'static str,
    hashed_name: String,
    tag: String,
    kind: &'static str,
    plain: Bytes,
    gzip: Bytes,
    brotli: Bytes,
}

impl Assets {
    /// The files. Pages of `landing_pages` may show the widget's frame.
    pub fn new(landing_pages: &Origins) -> Self {
        let ancestors = if landing_pages.is_empty() { "'none'".to_owned() } else { landing_pages.to_string() };
        let policy = format!(
            "default-src 'none'; script-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; \
             frame-ancestors {ancestors}"
        );
        let policy = HeaderValue::from_str(&policy).expect("origins are visible ASCII characters");
        let file = |(name, content, kind): (&'static str, &'static [u8], &'static str)| {
            let digest: String =
                Sha256::digest(content).iter().map(|byte| format!("{byte:02x}")).take(DIGITS / 2).collect();
            let (stem, ending) = name.rsplit_once('.').expect("every file has an ending");
            Asset {
                name,
                hashed_name: format!("{stem}.{digest}.{ending}"),
                tag: digest,
                kind,
                plain: Bytes::from_static(content),
                gzip: gzip(content),
                brotli: brotli(content),
            }
        };
        Self { files: FILES.into_iter().map(file).collect(), policy }
    }

    /// The file of this name.
    pub(super) fn answer(&self, name: &str, headers: &HeaderMap) -> Option<Response> {
        let file = self.files.iter().find(|file| file.name == name || file.hashed_name == name)?;
        let (body, suffix) = match Coding::wanted(headers) {
            Coding::Identity => (&file.plain, ""),
            Coding::Gzip => (&file.gzip, "-gz"),
            Coding::Brotli => (&file.brotli, "-br"),
        };
        let tag = format!("\"{}{suffix}\"", file.tag);
        let mut answer = if is_known(&tag, headers) {
            StatusCode::NOT_MODIFIED.into_response()
        } else {
            let mut answer = body.clone().into_response();
            answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(file.kind));
            if let Some(coding) = Coding::wanted(headers).name() {
                answer.headers_mut().insert(CONTENT_ENCODING, HeaderValue::from_static(coding));
            }
            answer
        };
        let told = answer.headers_mut();
        told.insert(CACHE_CONTROL, if name == file.name { STABLE } else { FOREVER });
        told.insert(ETAG, HeaderValue::from_str(&tag).expect("digits and letters"));
        told.insert(VARY, HeaderValue::from_static("accept-encoding"));
        told.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        if file.kind == PAGE {
            told.insert(CONTENT_SECURITY_POLICY, self.policy.clone());
        } else {
            // Any page may load a script, also with `integrity`.
            told.insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
            told.insert(CROSS_ORIGIN_RESOURCE_POLICY, HeaderValue::from_static("cross-origin"));
        }
        Some(answer)
    }
}

const CROSS_ORIGIN_RESOURCE_POLICY: HeaderName = HeaderName::from_static("cross-origin-resource-policy");

const IN_MEMORY: &str = "writing to memory cannot fail";

fn gzip(content: &[u8]) -> Bytes {
    let mut encoder = GzEncoder::new(Vec::with_capacity(content.len()), Compression::best());
    std::io::Write::write_all(&mut encoder, content).expect(IN_MEMORY);
    encoder.finish().expect(IN_MEMORY).into()
}

fn brotli(content: &[u8]) -> Bytes {
    let mut compressed = Vec::with_capacity(content.len());
    let params = BrotliEncoderParams { quality: 9, ..BrotliEncoderParams::default() };
    brotli::BrotliCompress(&mut &*content, &mut compressed, &params).expect(IN_MEMORY);
    compressed.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap())).collect()
    }

    #[test]
    fn a_name_with_a_digest_never_changes_and_a_stable_one_is_asked_for_again() {
        let assets = Assets::new(&"https://news.example https://*".parse().unwrap());
        let of = |name: &str| assets.answer(name, &HeaderMap::new()).unwrap();
        for file in &assets.files {
            let (stable, hashed) = (of(file.name), of(&file.hashed_name));
            assert_eq!(stable.headers()[CACHE_CONTROL], "public, max-age=300");
            assert_eq!(hashed.headers()[CACHE_CONTROL], "public, max-age=31536000, immutable");
            assert_eq!(stable.headers()[ETAG], hashed.headers()[ETAG]);
            let tag = stable.headers()[ETAG].to_str().unwrap().to_owned();
            let again = assets.answer(file.name, &headers(&[("if-none-match", &tag)])).unwrap();
            assert_eq!(again.status(), StatusCode::NOT_MODIFIED);
            let short = assets.answer(file.name, &headers(&[("accept-encoding", "br")])).unwrap();
            assert_ne!(short.headers()[ETAG], tag, "another form has another tag");
        }
        assert!(assets.answer("psicash.0000000000000000.js", &HeaderMap::new()).is_none());
        assert!(assets.answer("../Cargo.toml", &HeaderMap::new()).is_none());
    }

    #[test]
    fn the_frame_is_shown_on_landing_pages_alone() {
        let policy = |origins: &str| {
            let assets = Assets::new(&origins.parse().unwrap());
            assets.answer("iframe.html", &HeaderMap::new()).unwrap().headers()[CONTENT_SECURITY_POLICY]
                .to_str()
                .unwrap()
                .to_owned()
        };
        assert!(policy("").ends_with("; frame-ancestors 'none'"));
        assert!(
            policy("https://a.example http://localhost:8000")
                .ends_with("; frame-ancestors https://a.example http://localhost:8000")
        );
    }
}
