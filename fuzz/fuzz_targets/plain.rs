//! Requests that are answered without hyper. One that is taken for whole must end where any reader of HTTP/1.1 sees it end:
//! after the first empty line and as many bytes as its only `Content-Length` says, with nothing that could say otherwise.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Some(length) = gastank::ingest::fuzz_plain(bytes) else { return };
    let head = bytes.windows(4).position(|four| four == b"\r\n\r\n").expect("a whole request has an empty line");
    let text: Vec<u8> = bytes[..head].to_vec();
    let lines: Vec<&[u8]> = text.split(|byte| *byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line)).collect();
    assert!(!text.windows(2).any(|two| two[1] == b'\n' && two[0] != b'\r'), "a bare line feed");
    let named = |name: &str| {
        let of = |line: &&&[u8]| line.len() >= name.len() && line[..name.len()].eq_ignore_ascii_case(name.as_bytes());
        lines[1..].iter().filter(of).collect::<Vec<_>>()
    };
    assert!(named("transfer-encoding").is_empty() && named("expect").is_empty() && named("upgrade").is_empty());
    assert!(lines[1..].iter().all(|line| !line.starts_with(b" ") && !line.starts_with(b"\t")), "a folded line");
    let [said] = named("content-length:")[..] else { panic!("not one content-length") };
    let said = std::str::from_utf8(&said["content-length:".len()..]).expect("digits").trim_matches([' ', '\t']);
    let said: usize = said.parse().expect("digits");
    assert_eq!(length, head + 4 + said);
    assert_eq!(named("host:").len(), 1);
});
