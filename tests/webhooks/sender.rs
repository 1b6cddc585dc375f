//! The sender: the `standardwebhooks` package under Node.

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::Path,
    process::{Child, ChildStdout, Command, Stdio},
};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::support::{Home, Service};

pub(crate) const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
pub(crate) const OLD: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";
pub(crate) const OTHER: &str = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
/// An Ed25519 key made for these tests, and used for nothing else.
pub(crate) const PRIVATE_KEY: &str = "whsk_FM3YS/OBQtPIZSEaI7uqZjeONjoEsqF0Z/E9TwEDjfY=";
pub(crate) const PUBLIC_KEY: &str = "whpk_+utD6lnE/4SCRdGDYgScG5wRg9vrrmVsJUVg7QyVFvI=";

/// A message, and how it is to be sent.
#[derive(Clone, Serialize)]
pub(crate) struct Delivery {
    pub(crate) id: String,
    pub(crate) payload: String,
    /// What is sent instead of what was signed.
    pub(crate) body: Option<String>,
    /// How far from now it says it was sent.
    pub(crate) offset_s: i64,
}

impl Delivery {
    pub(crate) fn new(id: &str, message: &Value) -> Self {
        Self { id: id.to_owned(), payload: message.to_string(), body: None, offset_s: 0 }
    }
}

/// What a sender was answered. Status 0: the connection broke.
#[derive(Debug, Deserialize)]
pub(crate) struct Answered {
    pub(crate) status: u16,
    pub(crate) problem: Option<String>,
    pub(crate) attempts: u32,
}

/// A sender of webhooks. Ends when dropped.
pub(crate) struct Sender {
    child: Child,
    answers: BufReader<ChildStdout>,
    url: String,
    pub(crate) secrets: Vec<String>,
    pub(crate) private_key: Option<String>,
}

impl Sender {
    pub(crate) fn start(service: &Service) -> Self {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/webhooks");
        let installed = dir.join("node_modules/standardwebhooks").exists();
        assert!(installed, "run tests/setup.sh: it installs the Node modules");
        let mut command = Command::new("node");
        command.arg("sender.mjs").current_dir(dir).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("node can be started");
        let answers = BufReader::new(child.stdout.take().expect("it is piped"));
        let url = format!("{}/hooks/credit", service.http());
        Self { child, answers, url, secrets: vec![SECRET.to_owned()], private_key: None }
    }

    /// Sends a message; answers the status.
    pub(crate) fn send(&mut self, id: &str, message: &Value) -> u16 {
        self.deliver(vec![Delivery::new(id, message)])[0].status
    }

    /// Sends these at once, each one time.
    pub(crate) fn deliver(&mut self, deliveries: Vec<Delivery>) -> Vec<Answered> {
        self.begin(&deliveries, false);
        self.finish()
    }

    /// Begins to send these at once, each again and again until it is accepted.
    pub(crate) fn begin(&mut self, deliveries: &[Delivery], until_accepted: bool) {
        let command = json!({
            "url": self.url, "secrets": self.secrets, "privateKey": self.private_key,
            "deliveries": deliveries, "until_accepted": until_accepted,
        });
        let input = self.child.stdin.as_mut().expect("it is piped");
        writeln!(input, "{command}").expect("the sender reads");
    }

    /// Waits for what was [begun](Self::begin).
    pub(crate) fn finish(&mut self) -> Vec<Answered> {
        let mut line = String::new();
        self.answers.read_line(&mut line).expect("the sender answers");
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"))
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Writes the file of secrets, for its owner alone, in one go.
pub(crate) fn write_secrets(home: &Home, lines: &[&str]) {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(home.data_dir()).expect("the directory can be made");
    let (draft, path) = (home.data_dir().join("hooks.new"), home.data_dir().join("hooks.secrets"));
    let mut options = fs::OpenOptions::new();
    let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&draft).expect("it can be made");
    file.write_all(lines.join("\n").as_bytes()).expect("it can be written");
    fs::rename(&draft, &path).expect("it can be put in its place");
}

pub(crate) fn granted(account: &str, seconds: i64) -> Value {
    json!({"type": "credit.granted", "data": {"account": account, "seconds": seconds, "reason": "an order"}})
}

pub(crate) fn granted_to(subject: &str, seconds: i64) -> Value {
    json!({"type": "credit.granted", "data": {"issuer": "https://id.example", "subject": subject, "seconds": seconds}})
}

pub(crate) fn refunded(account: &str, seconds: i64) -> Value {
    json!({"type": "credit.refunded", "data": {"account": account, "seconds": seconds}})
}
