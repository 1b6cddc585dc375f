//! `gastank backup` and `gastank restore`: how far they are, and what came of it.

use std::{
    io::{self, IsTerminal, Write},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use clap::Args;
use indicatif::{HumanBytes, ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::{CliError, output::Output};
use crate::{
    config::ConfigArgs,
    service::backup::{Manifest, Restored},
};

/// How far apart plain lines are.
const LINES_APART: Duration = Duration::from_secs(5);

/// `gastank backup` and `gastank restore`
#[derive(Clone, Debug, Args)]
pub struct BackupArgs {
    /// Directory of the backup
    #[arg(value_name = "DIR")]
    pub dir: PathBuf,
    /// Configuration file, in TOML [default: none] [variable: GASTANK_CONFIG]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Data directory [default: that of `gastank serve`]
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<String>,
    /// Data file, as sqlite:PATH [default: gastank.db in the data directory]
    #[arg(long, value_name = "URL")]
    pub store: Option<String>,
}

impl BackupArgs {
    /// What configures the service whose data these are.
    pub fn configures(&self) -> ConfigArgs {
        let (config, data_dir, store) = (self.config.clone(), self.data_dir.clone(), self.store.clone());
        ConfigArgs { config, data_dir, store, ..ConfigArgs::default() }
    }
}

/// How far a backup is, on standard error: a bar for a person, a line now and then for a pipe.
#[derive(Default)]
pub struct BackupProgress {
    bar: Option<ProgressBar>,
    next: Option<Instant>,
}

impl BackupProgress {
    /// So many pages of so many are copied.
    #[expect(clippy::disallowed_methods, reason = "progress is shown by the real clock")]
    pub fn at(&mut self, done: u64, of: u64) {
        if io::stderr().is_terminal() {
            let bar = self.bar.get_or_insert_with(|| {
                let style = ProgressStyle::with_template("copying [{bar:30}] {percent:>3}%, {eta} left");
                let bar = ProgressBar::with_draw_target(Some(of), ProgressDrawTarget::stderr());
                bar.set_style(style.expect("the template is well-formed").progress_chars("=> "));
                bar
            });
            return bar.set_position(done);
        }
        let (now, next) = (Instant::now(), self.next);
        if next.is_some_and(|next| now < next) {
            return;
        }
        self.next = Some(now + LINES_APART);
        if next.is_some() {
            let percent = done.saturating_mul(100).checked_div(of).unwrap_or(100);
            // Where standard error has gone, there is nobody to tell.
            let _ = writeln!(io::stderr(), "copying: {percent} %");
        }
    }

    /// Takes the bar away.
    pub fn clear(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }
}

/// Says what is in a backup that was made.
///
/// # Errors
///
/// [`CliError::Output`].
pub fn backed_up(manifest: &Manifest, dir: &Path) -> Result<(), CliError> {
    let mut output = Output::stdout();
    let rows: Vec<Vec<String>> =
        manifest.files.iter().map(|file| vec![file.name.clone(), HumanBytes(file.bytes).to_string()]).collect();
    output.table(&["FILE", "SIZE"], &rows)?;
    let said = format!(
        "Backup made and checked: {} (data format {}). It holds secrets: keep it as safely as the data directory.\n\
         To put it back: gastank restore {}",
        dir.display(),
        manifest.data_format,
        dir.display()
    );
    writeln!(io::stderr(), "{said}").map_err(CliError::Output)
}

/// Says what was put back, and where.
///
/// # Errors
///
/// [`CliError::Output`].
pub fn restored(files: &[Restored]) -> Result<(), CliError> {
    let mut output = Output::stdout();
    let outcome = |file: &Restored| file.left.clone().unwrap_or_else(|| "restored".to_owned());
    let rows: Vec<Vec<String>> =
        files.iter().map(|file| vec![file.path.display().to_string(), outcome(file)]).collect();
    output.table(&["FILE", "OUTCOME"], &rows)?;
    let said = "Checked and restored. Make sure that the files belong to the user that runs gastank, then start it.";
    writeln!(io::stderr(), "{said}").map_err(CliError::Output)
}
