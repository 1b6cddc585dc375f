//! How the tour is told: to a person, with marks, a bar and a word of explanation; in a pipe, one plain fact a line.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::{
    cli::{
        CliError,
        output::{Look, Output},
    },
    time::Millis,
};

const NAME_WIDTH: usize = 9;
const REDRAW_HZ: u8 = 20;

/// Tells the tour.
pub(super) struct Teller<'a> {
    output: &'a mut Output,
}

impl<'a> Teller<'a> {
    pub(super) fn new(output: &'a mut Output) -> Self {
        Self { output }
    }

    /// Begins a part of the tour. Only to a person.
    pub(super) fn part(&mut self, title: &str) -> Result<(), CliError> {
        if !self.output.is_terminal() {
            return Ok(());
        }
        let title = self.output.look(Look::Bold, title);
        self.output.line(&format!("\n{title}\n"))
    }

    /// A fact that was checked.
    pub(super) fn fact(&mut self, name: &str, fact: &str) -> Result<(), CliError> {
        if !self.output.is_terminal() {
            return self.output.line(&format!("{name}: {fact}"));
        }
        let mark = self.output.look(Look::Good, "✓");
        let name = self.output.look(Look::Bold, &format!("{name:<NAME_WIDTH$}"));
        self.output.line(&format!("  {mark} {name} {fact}"))
    }

    /// Explains the words of the fact before. Only to a person.
    pub(super) fn teach(&mut self, lines: &[&str]) -> Result<(), CliError> {
        if !self.output.is_terminal() {
            return Ok(());
        }
        for line in lines {
            let line = self.output.look(Look::Dim, line);
            self.output.line(&format!("    {:NAME_WIDTH$} {line}", ""))?;
        }
        Ok(())
    }

    /// A line that marks what went wrong. Only to a person: a pipe has the message on standard error.
    pub(super) fn failed(&mut self) -> Result<(), CliError> {
        if !self.output.is_terminal() {
            return Ok(());
        }
        let mark = self.output.look(Look::Bad, "✗");
        self.output.line(&format!("  {mark} the tour ends here"))
    }

    /// The tank, to be watched while it drains.
    pub(super) fn gauge(&self, full: Millis) -> Gauge {
        if !self.output.is_terminal() {
            return Gauge { bar: None, told: None };
        }
        let bar = ProgressBar::with_draw_target(Some(full.get()), ProgressDrawTarget::stdout_with_hz(REDRAW_HZ));
        let template = if self.output.has_colours() {
            "  ◔ tank      {bar:28.cyan/black.bright} {msg}"
        } else {
            "  ◔ tank      {bar:28} {msg}"
        };
        let style = ProgressStyle::with_template(template).expect("the template is well-formed");
        bar.set_style(style.progress_chars("█▉▊▋▌▍▎▏·"));
        bar.set_position(full.get());
        Gauge { bar: Some(bar), told: None }
    }
}

/// The tank while it drains. On a terminal a bar, which goes when this does; else a line for each second.
pub(super) struct Gauge {
    bar: Option<ProgressBar>,
    told: Option<u32>,
}

impl Gauge {
    /// How long to wait between two looks at the tank.
    pub(super) fn pause(&self) -> Duration {
        if self.bar.is_some() { Duration::from_millis(1000 / u64::from(REDRAW_HZ)) } else { Duration::MAX }
    }

    /// What is left in the tank now.
    pub(super) fn level(&self, left: Millis) {
        if let Some(bar) = &self.bar {
            bar.set_position(left.get());
        }
    }

    /// An ack has been heard, and verified.
    pub(super) fn acked(
        &mut self,
        teller: &mut Teller<'_>,
        remaining_s: u32,
        beats: u32,
        rtt: Duration,
    ) -> Result<(), CliError> {
        let rtt = rtt.as_secs_f64() * 1000.0;
        if let Some(bar) = &self.bar {
            bar.set_message(format!("{remaining_s} s left, beat {beats}, ack {rtt:.2} ms"));
            return Ok(());
        }
        if self.told == Some(remaining_s) {
            return Ok(());
        }
        self.told = Some(remaining_s);
        teller.fact("draining", &format!("{remaining_s} s left, beat {beats} acked in {rtt:.2} ms"))
    }
}

impl Drop for Gauge {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
