//! `gastank store copy`: how far it is, and what came of it.

use std::{
    io::{self, IsTerminal, Write},
    sync::Mutex,
    time::{Duration, Instant},
};

use indicatif::{HumanCount, ProgressBar, ProgressDrawTarget, ProgressStyle};
use jiff::Timestamp;

use super::{CliError, output::Output};
use crate::{
    config::{ScyllaUrl, StoreUrl},
    store::moving::{Copied, Step, Watch},
};

/// How far apart plain lines are.
const LINES_APART: Duration = Duration::from_secs(5);
/// Rows between two looks at the clock, or at the bar.
const ROWS_APART: u64 = 256;

/// How far a copy is, on standard error: a bar for a person, a line now and then for a pipe.
#[derive(Default)]
pub struct CopyProgress(Mutex<Shown>);

#[derive(Default)]
struct Shown {
    step: Option<Step>,
    bar: Option<ProgressBar>,
    next: Option<Instant>,
}

impl CopyProgress {
    /// Takes the bar away.
    pub fn clear(&self) {
        if let Some(bar) = self.0.lock().expect("nobody panics in here").bar.take() {
            bar.finish_and_clear();
        }
    }
}

impl Watch for CopyProgress {
    fn at(&self, step: Step, done: u64, of: Option<u64>) {
        let mut shown = self.0.lock().expect("nobody panics in here");
        let begins = shown.step != Some(step);
        if !begins && !done.is_multiple_of(ROWS_APART) && of != Some(done) && step != Step::Copying {
            return;
        }
        if begins {
            if let Some(bar) = shown.bar.take() {
                bar.finish_and_clear();
            }
            shown.step = Some(step);
            shown.next = Some(now() + LINES_APART);
            shown.bar = io::stderr().is_terminal().then(|| bar(step, of));
        }
        if let Some(bar) = &shown.bar {
            bar.set_position(done);
            return;
        }
        if shown.next.is_some_and(|next| now() >= next) {
            shown.next = Some(now() + LINES_APART);
            // Where standard error has gone, there is nobody to tell.
            let _ = writeln!(io::stderr(), "{}", line(step, done, of));
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "progress is shown by the real clock")]
fn now() -> Instant {
    Instant::now()
}

fn bar(step: Step, of: Option<u64>) -> ProgressBar {
    let template = match of {
        Some(_) => "{prefix:9} [{bar:30}] {percent:>3}% {human_pos} of {human_len} rows, {per_sec}, {eta} left",
        None => "{prefix:9} {spinner} {human_pos} rows",
    };
    let style = ProgressStyle::with_template(template).expect("the template is well-formed").progress_chars("=> ");
    let bar = ProgressBar::with_draw_target(of, ProgressDrawTarget::stderr());
    bar.set_style(style);
    bar.set_prefix(step.name());
    bar
}

fn line(step: Step, done: u64, of: Option<u64>) -> String {
    let name = step.name();
    match of {
        Some(of) => {
            format!("{name}: {done} of {of} rows, {} %", done.saturating_mul(100).checked_div(of).unwrap_or(100))
        }
        None => format!("{name}: {done} rows"),
    }
}

/// Says what was copied, and what is to be done now.
///
/// # Errors
///
/// [`CliError::Output`].
pub fn copied(copied: &Copied, from: &str, to: &ScyllaUrl) -> Result<(), CliError> {
    let mut output = Output::stdout();
    let rows: Vec<Vec<String>> =
        copied.rows.iter().map(|(table, rows)| vec![table.name().to_owned(), HumanCount(*rows).to_string()]).collect();
    output.table(&["WHAT", "ROWS"], &rows)?;
    let to = StoreUrl::Scylla(to.clone());
    let done = match copied.since {
        Some(since) => {
            let since = i64::try_from(since.as_ms()).ok().and_then(|ms| Timestamp::from_millisecond(ms).ok());
            let since = since.map_or_else(String::new, |at| format!(" since {at:.0}"));
            format!("The copy to {to} was already complete{since}; nothing was copied or compared again.")
        }
        None => "The copy is complete and identical, row by row.".to_owned(),
    };
    let next = format!(
        "{done}\n\
         Now start gastank with --store {to}, in the same data directory or in one with copies of its secret files:\n\
         without cluster.secret nobody can open the signing keys, and no client's heartbeat is known.\n\
         Do not start it on {from} again: the two would go on apart, and each would charge for itself."
    );
    writeln!(io::stderr(), "{next}").map_err(CliError::Output)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_how_far_it_is_as_well_as_that_is_known() {
        assert_eq!(line(Step::Reading, 7, None), "reading: 7 rows");
        assert_eq!(line(Step::Copying, 1, Some(3)), "copying: 1 of 3 rows, 33 %");
        assert_eq!(line(Step::Comparing, 0, Some(0)), "comparing: 0 of 0 rows, 100 %");
    }
}
