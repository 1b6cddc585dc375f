//! A browser with our page, driven by `drive.mjs`.

use std::{
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
};

use serde_json::{Value, json};

/// A running browser. It ends when the driver's standard input does.
pub(crate) struct Browser {
    child: Child,
    calls: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
    origin: String,
}

impl Browser {
    /// Opens our page in `chromium` or `firefox`.
    pub(crate) fn open(name: &str) -> Self {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/browsers");
        assert!(dir.join("node_modules/puppeteer-core").exists(), "run tests/setup.sh: it installs the Node modules");
        let mut command = Command::new("node");
        command.current_dir(dir).args(["drive.mjs", name]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("node can be started");
        let (calls, answers) = (child.stdin.take(), BufReader::new(child.stdout.take().expect("it is piped")));
        let mut browser = Self { child, calls, answers, origin: String::new() };
        let said = browser.answer();
        browser.origin = said["origin"].as_str().expect("it says which origin the page has").to_owned();
        browser
    }

    /// The origin of our page.
    pub(crate) fn origin(&self) -> &str {
        &self.origin
    }

    /// Calls what the page's script exports.
    #[track_caller]
    pub(crate) fn call(&mut self, name: &str, with: Value) -> Value {
        let calls = self.calls.as_mut().expect("open until dropped");
        writeln!(calls, "{}", json!({ "call": name, "with": with })).expect("the driver reads");
        let answer = self.answer();
        answer.get("ok").unwrap_or_else(|| panic!("{name}: {answer}")).clone()
    }

    #[track_caller]
    fn answer(&mut self) -> Value {
        let mut line = String::new();
        self.answers.read_line(&mut line).expect("a line");
        serde_json::from_str(&line).unwrap_or_else(|_| panic!("the driver ended; is the browser installed? {line:?}"))
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        drop(self.calls.take());
        let _ = self.child.wait();
    }
}
