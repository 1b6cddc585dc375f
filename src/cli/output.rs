//! What is written to standard output: tables, key: value lines, JSON; colours only for a terminal that wants them.

use std::{
    env,
    io::{self, IsTerminal, Write},
};

use serde_json::Value;

use super::CliError;

/// Standard output, and what may be written to it.
pub(super) struct Output {
    out: Box<dyn Write>,
    terminal: bool,
    colours: bool,
}

/// How a piece of text looks on a terminal.
#[derive(Clone, Copy, Debug)]
pub(super) enum Look {
    Bold,
    Dim,
    Good,
    Bad,
}

impl Output {
    /// Standard output as it is.
    pub(super) fn stdout() -> Self {
        let out = io::stdout();
        let terminal = out.is_terminal();
        let wanted = env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        Self {
            out: Box::new(out),
            terminal,
            colours: terminal && wanted && env::var_os("TERM").is_none_or(|t| t != "dumb"),
        }
    }

    /// Whether a person is watching.
    pub(super) fn is_terminal(&self) -> bool {
        self.terminal
    }

    /// Whether colours may be used.
    pub(super) fn has_colours(&self) -> bool {
        self.colours
    }

    /// `text` as it is to look, where colours may be used.
    pub(super) fn look(&self, look: Look, text: &str) -> String {
        if !self.colours {
            return text.to_owned();
        }
        let code = match look {
            Look::Bold => "1",
            Look::Dim => "2",
            Look::Good => "32",
            Look::Bad => "31",
        };
        format!("\x1b[{code}m{text}\x1b[0m")
    }

    /// Writes a line.
    ///
    /// # Errors
    ///
    /// [`CliError::Output`]: the reader of the pipe has gone, or the disk is full.
    pub(super) fn line(&mut self, text: &str) -> Result<(), CliError> {
        writeln!(self.out, "{text}").and_then(|()| self.out.flush()).map_err(CliError::Output)
    }

    /// Writes JSON for machines.
    pub(super) fn json(&mut self, value: &Value) -> Result<(), CliError> {
        self.line(&format!("{value:#}"))
    }

    /// Writes `key: value` lines, the values aligned.
    pub(super) fn pairs(&mut self, pairs: &[(&str, String)]) -> Result<(), CliError> {
        for line in aligned_pairs(pairs) {
            self.line(&line)?;
        }
        Ok(())
    }

    /// Writes a table with a head.
    pub(super) fn table(&mut self, head: &[&str], rows: &[Vec<String>]) -> Result<(), CliError> {
        let mut lines = aligned(head, rows).into_iter();
        if let Some(head) = lines.next() {
            let head = self.look(Look::Bold, &head);
            self.line(&head)?;
        }
        for line in lines {
            self.line(&line)?;
        }
        Ok(())
    }
}

fn aligned_pairs(pairs: &[(&str, String)]) -> Vec<String> {
    let width = pairs.iter().map(|(key, _)| key.chars().count()).max().unwrap_or(0) + 1;
    pairs.iter().map(|(key, value)| format!("{:<width$}  {value}", format!("{key}:"))).collect()
}

/// The head and the rows, each column as wide as its widest cell, two spaces between.
fn aligned(head: &[&str], rows: &[Vec<String>]) -> Vec<String> {
    let mut widths: Vec<usize> = head.iter().map(|cell| cell.chars().count()).collect();
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let line = |cells: &mut dyn Iterator<Item = &str>| {
        let padded: Vec<String> = cells.zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        padded.join("  ").trim_end().to_owned()
    };
    let mut lines = vec![line(&mut head.iter().copied())];
    lines.extend(rows.iter().map(|row| line(&mut row.iter().map(String::as_str))));
    lines
}

/// Text from elsewhere, without the characters that would move a terminal's cursor.
pub(super) fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

/// The items of a list's answer.
pub(super) fn rows(answer: &mut Value, name: &str) -> Vec<Value> {
    let list = if answer.is_array() { answer.take() } else { answer[name].take() };
    match list {
        Value::Array(items) => items,
        _ => Vec::new(),
    }
}

/// A remark beside the answer, on standard error.
pub(super) fn note(text: &str) -> Result<(), CliError> {
    writeln!(io::stderr(), "{text}").map_err(CliError::Output)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = [vec!["a".to_owned(), "1 min".to_owned()], vec!["längere".to_owned(), String::new()]];
        assert_eq!(aligned(&["ID", "LEFT"], &rows), ["ID       LEFT", "a        1 min", "längere"]);
    }

    #[test]
    fn values_start_in_one_column() {
        let pairs = [("account", "x".to_owned()), ("left", "1 min".to_owned())];
        assert_eq!(aligned_pairs(&pairs), ["account:  x", "left:     1 min"]);
    }

    #[test]
    fn what_others_wrote_cannot_steer_the_terminal() {
        assert_eq!(printable("a\x1b[31mb\n"), "a\u{fffd}[31mb\u{fffd}");
    }
}
