//! What can go wrong on the command line, in one clear line that says what to do.

use std::{io, path::PathBuf};

use super::span::Seconds;

/// Why a command did not do as asked. The text is for the person who typed it.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    /// The command cannot be carried out as it was given.
    #[error("{0}")]
    Usage(String),
    /// The admin token cannot be read.
    #[error(
        "cannot read the admin token at {}: {source}. The service makes it on its first start (`gastank`); if its data \
         are elsewhere, say where with --data-dir or --token-file", path.display()
    )]
    TokenFile {
        /// Where it should be.
        path: PathBuf,
        /// What went wrong.
        source: io::Error,
    },
    /// Nobody answers there.
    #[error(
        "no answer from {url}: {why}. Is the service running? Start it with `gastank`, or pass its address with --admin-url"
    )]
    Unreachable {
        /// Where.
        url: String,
        /// What went wrong.
        why: String,
    },
    /// The service refused, with a problem document.
    #[error("{}", problem_line(.0))]
    Refused(Problem),
    /// What answers there is not this service.
    #[error("unexpected response from {url}: {what}. Is --admin-url right?")]
    Strange {
        /// Where.
        url: String,
        /// What was strange.
        what: String,
    },
    /// The service did not do as it should.
    #[error("{0}")]
    NotAsExpected(String),
    /// Standard output cannot be written.
    #[error("cannot write the output: {0}")]
    Output(io::Error),
    /// The operating system refused.
    #[error("{what}: {source}")]
    System {
        /// What was tried.
        what: &'static str,
        /// What went wrong.
        source: io::Error,
    },
    /// The person stopped it.
    #[error("stopped")]
    Interrupted,
}

/// A refusal, as the service words it (RFC 9457).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Problem {
    /// The HTTP status.
    pub status: u16,
    /// The stable code; empty where there is none.
    pub code: String,
    /// What it is, in general.
    pub title: String,
    /// What it is, in this case; may be empty.
    pub detail: String,
    /// Seconds to wait before trying again.
    pub retry_after: Option<i64>,
    /// Whether it was asked with the admin token.
    pub operator: bool,
}

impl CliError {
    /// The exit code of the process: 2 for what was typed wrongly, 1 for all else.
    pub const fn exit_code(&self) -> u8 {
        match self {
            Self::Usage(_) => 2,
            _ => 1,
        }
    }

    pub(super) fn strange(url: &str, what: impl Into<String>) -> Self {
        Self::Strange { url: url.to_owned(), what: what.into() }
    }
}

fn problem_line(problem: &Problem) -> String {
    let Problem { status, code, title, detail, retry_after, operator } = problem;
    let what = match (title.as_str(), detail.as_str()) {
        ("", "") => "no reason given",
        (title, "") => title,
        (_, detail) => detail,
    };
    let name = if code.is_empty() { format!("HTTP {status}") } else { format!("{code}, HTTP {status}") };
    let mut line = format!("the service refused: {} ({name})", what.trim_end_matches('.'));
    if let Some(advice) = advice(*status, code, *operator) {
        line.push_str(". ");
        line.push_str(advice);
    }
    if let Some(seconds) = retry_after {
        line.push_str(&format!(". Try again in {}", Seconds::new(*seconds)));
    }
    line
}

fn advice(status: u16, code: &str, operator: bool) -> Option<&'static str> {
    match (code, status) {
        (_, 401) if operator => {
            Some("The admin token does not belong to this service; pass the right one with --data-dir or --token-file")
        }
        ("tank_empty", _) => Some("Fill the tank with `gastank account credit`"),
        ("store_unavailable", _) => Some("See the service's log for the reason"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(status: u16, code: &str, title: &str, detail: &str, retry_after: Option<i64>) -> String {
        CliError::Refused(Problem {
            status,
            code: code.to_owned(),
            title: title.to_owned(),
            detail: detail.to_owned(),
            retry_after,
            operator: true,
        })
        .to_string()
    }

    #[test]
    fn a_problem_is_one_line_with_its_code_and_what_to_do() {
        assert_eq!(
            problem(404, "not_found", "Not found", "there is no such account", None),
            "the service refused: there is no such account (not_found, HTTP 404)"
        );
        assert_eq!(
            problem(503, "overloaded", "Too busy.", "", Some(90)),
            "the service refused: Too busy (overloaded, HTTP 503). Try again in 1 min 30 s"
        );
        assert_eq!(problem(500, "", "", "", None), "the service refused: no reason given (HTTP 500)");
        assert!(problem(401, "bad_credentials", "x", "", None).contains("--token-file"));
    }

    #[test]
    fn only_what_was_typed_wrongly_exits_with_2() {
        assert_eq!(CliError::Usage(String::new()).exit_code(), 2);
        assert_eq!(CliError::Interrupted.exit_code(), 1);
    }
}
