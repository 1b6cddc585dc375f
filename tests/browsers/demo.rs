//! A person with `gastank demo` in a real browser: they earn, buy, have it back, and see the tank of the running session follow.

use std::{
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
};

use serde_json::{Value, json};

use super::support::gastank;

#[test]
fn a_person_in_chromium_earns_and_buys_and_sees_the_tank_grow() {
    let seen = walked("chromium");
    assert_eq!(seen["violations"], json!([]), "what axe-core finds");
    assert_eq!(seen["wide"], json!([]), "nothing is wider than the window");
}

#[test]
fn a_person_in_firefox_earns_and_buys_and_sees_the_tank_grow() {
    walked("firefox");
}

/// What `demo.mjs` has seen in a browser.
fn walked(browser: &str) -> Value {
    let (demo, [news, shop]) = begin();
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/browsers");
    assert!(dir.join("node_modules/axe-core").exists(), "run tests/setup.sh: it installs the Node modules");
    let output = Command::new("node").current_dir(dir).args(["demo.mjs", browser, &news, &shop]).output();
    drop(demo);
    let output = output.expect("node can be run");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let seen: Value = serde_json::from_slice(&output.stdout).expect("it prints a JSON document");
    assert_eq!(seen["errors"], json!([]), "what the browser complains about");
    assert_eq!(seen["changes"], json!(["+10 min", "+5 min", "+4 h", "−4 h"]));
    assert_eq!((&seen["connected"], &seen["shop"]), (&json!("The app is connected"), &json!(true)));
    assert!(
        !seen["address"].as_str().is_some_and(|url| url.contains("psicash")),
        "the package is out of the address: {seen}"
    );
    seen
}

/// A demo that runs, until this is dropped.
struct Demo(Child);

impl Drop for Demo {
    fn drop(&mut self) {
        // In order, so that nothing is left of it.
        let _told = Command::new("kill").args(["-INT", &self.0.id().to_string()]).status();
        let _over = self.0.wait();
    }
}

/// Starts the demo, and answers its links to the landing page and the shop once its client beats.
fn begin() -> (Demo, [String; 2]) {
    let mut command = gastank();
    command.args(["demo", "--no-open"]).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut demo = Demo(command.spawn().expect("the built program can be started"));
    let mut lines = BufReader::new(demo.0.stdout.take().expect("it is piped")).lines().map_while(Result::ok);
    let links = ["/app/open/news", "/app/open/shop"].map(|path| {
        let line = lines.find(|line| line.contains(path)).expect("it says where its pages are");
        line.split_whitespace().find(|word| word.contains(path)).expect("it is a word").to_owned()
    });
    assert!(lines.any(|line| line.contains("has activated")), "its client beats");
    // What it says from now on is not read.
    std::thread::spawn(move || lines.for_each(drop));
    (demo, links)
}
