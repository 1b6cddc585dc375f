//! h2spec: whether HTTP/2 is spoken as RFC 9113 and RFC 7541 say, mistakes of the other side included.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use crate::support::{Home, Service};

/// How cases begin in which h2spec makes its mistake on a request that may have been answered by then, and the answer comes
/// first. It counts that as a failure; the RFC does not (8.1: a server may answer before the request is complete).
const ANSWERED_BEFORE: [&str; 6] = [
    "http2/5.1: closed: ",
    "http2/5.1: half closed (remote): ",
    "http2/8.1.2.1: Sends a HEADERS frame that contains a pseudo-header field as trailers",
    "http2/6.9.1: Sends multiple WINDOW_UPDATE frames increasing the flow control window to above 2^31-1 on a stream",
    "http2/8.1: Sends a second HEADERS frame without the END_STREAM flag",
    "http2/8.1.2.6: Sends a HEADERS frame with the \"content-length\" header field which does not equal ",
];

#[test]
fn http_2_is_spoken_as_the_standard_says_with_tls_and_without() {
    let home = Home::new();
    let service = Service::start_with(&home, &[("GASTANK_HTTPS_ADDR", "127.0.0.1:0")]);
    for (listener, options) in [("http", &[][..]), ("https", &["--tls", "--insecure"])] {
        let (host, port) = service.listener(listener).rsplit_once(':').unwrap();
        let report = home.log().with_extension(listener);
        let output = Command::new(h2spec())
            .args(["--strict", "--timeout", "3", "--path", "/.well-known/jwks.json", "--host", host, "--port", port])
            .args(options)
            .args(["--junit-report", &report.display().to_string()])
            .output()
            .expect("h2spec is missing: run tests/setup.sh");
        let report = fs::read_to_string(&report)
            .unwrap_or_else(|_| panic!("no report: {}", String::from_utf8_lossy(&output.stdout)));
        let (cases, failed) = outcome(&report);
        assert!(cases > 140, "only {cases} cases were run");
        let unexpected: Vec<_> =
            failed.iter().filter(|case| !ANSWERED_BEFORE.iter().any(|known| case.starts_with(known))).collect();
        assert!(unexpected.is_empty(), "{listener}: {unexpected:#?}\n{}", String::from_utf8_lossy(&output.stdout));
        println!("{listener}: {cases} cases, {} of them answered before the mistake", failed.len());
    }
}

/// How many cases a report has, and which failed.
fn outcome(report: &str) -> (usize, Vec<String>) {
    let mut cases = 0;
    let mut failed = Vec::new();
    for case in report.split("<testcase ").skip(1) {
        let attribute = |name: &str| {
            let value = case.split_once(&format!("{name}=\"")).and_then(|(_, rest)| rest.split_once('"')).unwrap().0;
            value.replace("&#34;", "\"").replace("&quot;", "\"")
        };
        cases += 1;
        if case.contains("<error") || case.contains("<failure") {
            failed.push(format!("{}: {}", attribute("package"), attribute("classname")));
        }
    }
    (cases, failed)
}

fn h2spec() -> PathBuf {
    let ours = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/tools/bin/h2spec");
    if ours.exists() { ours } else { "h2spec".into() }
}
