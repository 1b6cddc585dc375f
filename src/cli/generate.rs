//! What packages are made with: completions for shells, and manual pages, both from what may be typed.

use std::{
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
};

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use super::{Cli, CliError};

/// `gastank completions`
#[derive(Clone, Debug, Args)]
pub struct CompletionsArgs {
    /// The shell
    #[arg(value_name = "SHELL", value_enum)]
    pub shell: Shell,
}

/// `gastank man`
#[derive(Clone, Debug, Args)]
pub struct ManArgs {
    /// Where the pages go; it is made if it is not there
    #[arg(value_name = "DIR")]
    pub dir: PathBuf,
}

/// Writes the completions for a shell to standard output.
///
/// # Errors
///
/// [`CliError::Output`].
pub fn completions(args: &CompletionsArgs) -> Result<(), CliError> {
    io::stdout().write_all(&completions_for(args.shell)).map_err(CliError::Output)
}

fn completions_for(shell: Shell) -> Vec<u8> {
    let (mut command, mut script) = (Cli::command(), Vec::new());
    let name = command.get_name().to_owned();
    clap_complete::generate(shell, &mut command, name, &mut script);
    script
}

/// Writes a manual page for the program and each of its commands.
///
/// # Errors
///
/// [`CliError::System`].
pub fn man(args: &ManArgs) -> Result<(), CliError> {
    man_pages(&args.dir).map_err(|source| CliError::System { what: "cannot write the manual pages", source })
}

fn man_pages(dir: &Path) -> io::Result<()> {
    fs::create_dir_all(dir)?;
    clap_mangen::generate_to(Cli::command(), dir)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shell_knows_the_commands() {
        for shell in [Shell::Bash, Shell::Fish, Shell::Zsh, Shell::PowerShell, Shell::Elvish] {
            let script = String::from_utf8(completions_for(shell)).expect("it is text");
            assert!(script.contains("ledger") && script.contains("admin-url"), "{shell}");
        }
    }

    #[test]
    fn every_command_has_a_page() {
        let dir = tempfile::tempdir().expect("a directory");
        man_pages(&dir.path().join("man")).expect("they can be written");
        for page in ["gastank.1", "gastank-serve.1", "gastank-account.1", "gastank-account-ledger.1"] {
            let text = fs::read_to_string(dir.path().join("man").join(page)).expect("the page is there");
            assert!(text.contains(".SH NAME") && text.contains("gastank"), "{page}");
        }
    }
}
