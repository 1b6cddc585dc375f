//! The command line: what may be typed, and the commands that talk to a running service.
//!
//! `gastank serve`, the default, is carried out by the caller; everything else is a client of the service's listeners and
//! uses nothing of the service's own code but the wire format.

mod api;
mod args;
mod audit;
mod backup;
mod commands;
mod error;
mod generate;
mod history;
mod ledger;
mod moving;
mod output;
mod span;
mod tour;
mod welcome;

use std::io;

use clap::{Parser, Subcommand};

pub use args::{
    AccountCommand, AuditArgs, ClientCommand, CopyArgs, DemoArgs, EdgeCommand, HubClientCommand, KeyCommand,
    KeysCommand, Reach, Remote, RewardCommand, SecretCommand, SessionCommand, StoreCommand, Transport, TryArgs,
};
pub use backup::{BackupArgs, BackupProgress, backed_up, restored};
pub use error::{CliError, Problem};
pub use generate::{CompletionsArgs, ManArgs, completions, man};
pub use moving::{CopyProgress, copied};
pub use span::{NotASpan, Seconds};
pub use welcome::welcome;

use self::output::Output;
use crate::config::ConfigArgs;

/// Time credit for connected services.
///
/// A person owns a tank of seconds, which drains only while a client's heartbeats arrive. Without a command, gastank runs
/// the service.
#[derive(Clone, Debug, Parser)]
#[command(
    name = "gastank",
    version,
    args_conflicts_with_subcommands = true,
    after_help = "\
Examples:
  gastank                                    run the service on this machine
  gastank serve --data-dir ./data --http 127.0.0.1:8080
  gastank serve --config gastank.toml --check
  gastank demo                               see everything in your browser; Ctrl-C leaves nothing behind
  gastank try                                take the tour, in another terminal
  gastank account create --credit 2h --key   an account with two hours in its tank

Exit codes: 0 success, 1 failure, 2 wrong usage or configuration."
)]
pub struct Cli {
    #[command(flatten)]
    serve: ConfigArgs,
    #[command(subcommand)]
    command: Option<Command>,
}

/// What is asked for.
#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// Run the service; the default if no command is given
    #[command(after_help = "\
Examples:
  gastank serve
  gastank serve --data-dir ./data --http 127.0.0.1:8080 --udp off
  gastank serve --http 127.0.0.1:0 --udp 127.0.0.1:0 --admin 127.0.0.1:0
  gastank serve --config gastank.toml --check

Every key of the file is also a variable: `[heartbeat] timeout_ms` is GASTANK_HEARTBEAT_TIMEOUT_MS.
When all listeners are up, the service prints one line with their addresses: ready http=... udp=... admin=...")]
    Serve(ConfigArgs),
    /// Show everything: a service in a temporary directory, its pages in your browser, a tank that drains
    ///
    /// The service listens on the loopback interface only, and its development provider signs anybody in by the name they
    /// type. A client drains a tank while you watch. Ctrl-C ends it, and nothing is left of it.
    #[command(after_help = "\
Examples:
  gastank demo
  gastank demo --http 127.0.0.1:7080 --no-open")]
    Demo(DemoArgs),
    /// Migrate or copy the store
    #[command(after_help = "\
Examples:
  gastank store migrate --store scylla://10.0.0.1:9042,10.0.0.2:9042/gastank
  gastank store copy --from sqlite:./data/gastank.db --to scylla://10.0.0.1:9042/gastank")]
    Store {
        /// The command to run
        #[command(subcommand)]
        command: StoreCommand,
    },
    /// Back up the data and secrets of a running service
    ///
    /// The backup has a consistent snapshot of the data file, the cluster secret, the admin token, the webhook secrets,
    /// certificates and keys, and a manifest with the SHA-256 of each file. The command reads and checks the whole copy.
    /// Protect the backup like the originals: it contains all secrets.
    #[command(after_help = "\
Examples:
  gastank backup /backup/2026-03-01
  gastank backup --data-dir /var/lib/gastank /backup/2026-03-01
  gastank backup --config /etc/gastank/gastank.toml /backup/2026-03-01

Run it with the configuration of the service and as its user. The directory must be empty or must not exist.")]
    Backup(BackupArgs),
    /// Check a backup and restore it into an empty data directory
    ///
    /// The command compares every file with the manifest and reads the whole data file before it writes anything. It refuses
    /// a data directory that is not empty or that a service uses.
    #[command(after_help = "\
Examples:
  gastank restore /backup/2026-03-01
  gastank restore --data-dir /var/lib/gastank /backup/2026-03-01

Run it with the configuration of the service and as its user. Then start the service.")]
    Restore(BackupArgs),
    /// Write completions for a shell to standard output
    #[command(after_help = "\
Examples:
  gastank completions bash > /usr/share/bash-completion/completions/gastank
  gastank completions zsh > /usr/share/zsh/vendor-completions/_gastank
  gastank completions fish > ~/.config/fish/completions/gastank.fish")]
    Completions(CompletionsArgs),
    /// Write the manual pages into a directory
    #[command(after_help = "\
Examples:
  gastank man /usr/local/share/man/man1")]
    Man(ManArgs),
    /// Talk to a running service
    #[command(flatten)]
    Client(ClientCommand),
}

impl Cli {
    /// What is asked for.
    pub fn into_command(self) -> Command {
        self.command.unwrap_or(Command::Serve(self.serve))
    }
}

/// Carries out `gastank demo`, in a runtime with threads: it has a service.
///
/// # Errors
///
/// Any [`CliError`].
pub async fn demo(args: &DemoArgs) -> Result<(), CliError> {
    tour::demo(args, &mut Output::stdout()).await
}

/// Carries out a command that talks to a running service.
///
/// # Errors
///
/// Any [`CliError`]; its text is one line for the person who typed the command.
pub fn run(command: ClientCommand) -> Result<(), CliError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|source| CliError::System { what: "cannot start", source })?;
    let done = runtime.block_on(async {
        let mut output = Output::stdout();
        match command {
            ClientCommand::Try(args) => tour::run(&args, &mut output).await,
            ClientCommand::Account { remote, command } => commands::account(&remote, command, &mut output).await,
            ClientCommand::Edge { remote, command } => commands::edge(&remote, command, &mut output).await,
            ClientCommand::Client { remote, command } => commands::client(&remote, command, &mut output).await,
            ClientCommand::Session { remote, command } => commands::session(&remote, command, &mut output).await,
            ClientCommand::Keys { remote, command } => commands::keys(&remote, command, &mut output).await,
            ClientCommand::Reward { remote, command } => commands::reward(&remote, command, &mut output).await,
            ClientCommand::Audit { remote, args } => audit::audit(&remote, &args, &mut output).await,
            ClientCommand::Status { remote } => commands::status(&remote, &mut output).await,
        }
    });
    match done {
        // As of `gastank account list | head -1`: the reader has what it wanted.
        Err(CliError::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        done => done,
    }
}

#[cfg(test)]
mod tests;
