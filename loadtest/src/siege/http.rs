//! What attackers say in HTTP.

use base64::{Engine as _, engine::general_purpose::STANDARD, engine::general_purpose::URL_SAFE_NO_PAD};

/// The head of an activation whose body does not come.
pub(super) const HALF_ACTIVATION: &[u8] = b"POST /v1/activate HTTP/1.1\r\nhost: x\r\nauthorization: Bearer gtk_x\r\n\
    content-type: application/json\r\ncontent-length: 48\r\n\r\n{";
/// How a connection of HTTP/2 begins: the preface, and settings that change nothing.
pub(super) const HTTP_2: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
/// An acknowledgement of settings.
pub(super) const SETTINGS_ACK: &[u8] = b"\0\0\0\x04\x01\0\0\0\0";

/// The head of a revocation on a stream of HTTP/2, without its body.
pub(super) fn revocation_without_body(stream: u32) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", "/oauth/revoke"),
        (":authority", "x"),
        ("content-type", "application/x-www-form-urlencoded"),
    ] {
        block.push(0);
        for text in [name, value] {
            block.push(u8::try_from(text.len()).expect("they are short"));
            block.extend_from_slice(text.as_bytes());
        }
    }
    let length = u32::try_from(block.len()).expect("it is short").to_be_bytes();
    [&length[1..], &[1, 4], &stream.to_be_bytes(), &block].concat()
}

/// Bytes that differ from one number to the next.
pub(super) fn noise(number: u64, length: usize) -> Vec<u8> {
    let mut state = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut next = || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        (mixed ^ (mixed >> 27)).to_le_bytes()[0]
    };
    (0..length).map(|_| next()).collect()
}

/// A webhook of now that nobody signed. `now_s`: seconds since 1970.
pub(super) fn forged_hook(number: u64, now_s: u64) -> Vec<u8> {
    let body = r#"{"type":"credit.granted","data":{"account":"AAAAAAAAAAAAAAAAAAAAAA","seconds":3600}}"#;
    let signature = STANDARD.encode(noise(number, 64));
    format!(
        "POST /hooks/credit HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\nwebhook-id: siege-{number}\r\n\
         webhook-timestamp: {now_s}\r\nwebhook-signature: v1a,{signature}\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

/// An account event that nobody signed.
pub(super) fn forged_event(number: u64, now_s: u64) -> Vec<u8> {
    let encode = |text: &str| URL_SAFE_NO_PAD.encode(text);
    let header = encode(r#"{"alg":"ES256","typ":"secevent+jwt","kid":"x"}"#);
    let claims = encode(&format!(
        r#"{{"iss":"http://127.0.0.1:9","aud":"siege","sub":"s","iat":{now_s},"jti":"{number}","events":{{"x":{{}}}}}}"#
    ));
    let signature = URL_SAFE_NO_PAD.encode(noise(number, 64));
    format!(
        "POST /hooks/account-events HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {header}.{claims}.{signature}\r\n\
         content-length: 0\r\n\r\n"
    )
    .into_bytes()
}

/// An activation with a key that there is not.
pub(super) fn wrong_key(number: u64, _now_s: u64) -> Vec<u8> {
    let key = URL_SAFE_NO_PAD.encode(noise(number, 32));
    format!("POST /v1/activate HTTP/1.1\r\nhost: x\r\nauthorization: Bearer gtk_{key}\r\ncontent-length: 0\r\n\r\n")
        .into_bytes()
}

/// An introspection with a secret that is wrong.
pub(super) fn wrong_secret(number: u64, _now_s: u64) -> Vec<u8> {
    let basic = STANDARD.encode(format!("edge:{}", URL_SAFE_NO_PAD.encode(noise(number, 32))));
    format!(
        "POST /oauth/introspect HTTP/1.1\r\nhost: x\r\nauthorization: Basic {basic}\r\n\
         content-type: application/x-www-form-urlencoded\r\ncontent-length: 7\r\n\r\ntoken=x"
    )
    .into_bytes()
}

/// What a newcomer asks for.
pub(super) const DOCUMENT: &[u8] =
    b"GET /.well-known/jwks.json HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
