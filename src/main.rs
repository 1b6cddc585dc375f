//! The `gastank` program.

use std::{
    error::Error,
    io::{self, Write},
    panic::{self, AssertUnwindSafe},
    process::ExitCode,
    sync::mpsc,
    thread,
    time::Duration,
};

use clap::Parser;

use gastank::{
    cli::{self, BackupArgs, BackupProgress, Cli, CliError, Command, CopyArgs, CopyProgress, DemoArgs, StoreCommand},
    config::{Config, ConfigArgs},
    service,
    telemetry::{self, LogFormat},
};

/// The exit code for what was typed or configured wrongly; clap's, too.
const USAGE: u8 = 2;
const FAILURE: u8 = 1;
/// How long whoever reads standard error is waited for.
const SAYING: Duration = Duration::from_secs(1);

fn main() -> ExitCode {
    match Cli::parse().into_command() {
        Command::Serve(args) => serve(&args),
        Command::Store { command } => store(command),
        Command::Backup(args) => backup(&args),
        Command::Restore(args) => restore(&args),
        Command::Completions(args) => told(cli::completions(&args)),
        Command::Man(args) => told(cli::man(&args)),
        Command::Demo(args) => demo(&args),
        Command::Client(command) => match cli::run(command) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => failed(&error, error.exit_code()),
        },
    }
}

fn serve(args: &ConfigArgs) -> ExitCode {
    let config = match Config::load_here(args) {
        Ok(config) => config,
        Err(error) => return failed(&error, USAGE),
    };
    if args.check {
        let found = match service::check(&config) {
            Ok(found) => found,
            Err(error) => return failed(&error, USAGE),
        };
        for warning in config.warnings().into_iter().map(str::to_owned).chain(found) {
            say(format!("warning: {warning}\n"));
        }
        say("the configuration is valid\n".to_owned());
        return ExitCode::SUCCESS;
    }
    let log = match telemetry::init(config.log.format, &config.log.filter) {
        Ok(log) => log,
        Err(error) => return failed(&error, USAGE),
    };
    // A panic is in the log by then.
    let done = panic::catch_unwind(AssertUnwindSafe(|| run(config)));
    drop(log);
    match done.unwrap_or_else(|_| Err("the service panicked; the log says where. Please report it".into())) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failed(&*error, FAILURE),
    }
}

fn demo(args: &DemoArgs) -> ExitCode {
    let _log = match telemetry::init(LogFormat::Text, "warn") {
        Ok(log) => log,
        Err(error) => return failed(&error, USAGE),
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return failed(&error, FAILURE),
    };
    told(runtime.block_on(cli::demo(args)))
}

fn backup(args: &BackupArgs) -> ExitCode {
    let config = match Config::load_here(&args.configures()) {
        Ok(config) => config,
        Err(error) => return failed(&error, USAGE),
    };
    let mut progress = BackupProgress::default();
    let made = service::backup::backup(&config, &args.dir, &mut |done, of| progress.at(done, of));
    progress.clear();
    match made {
        Ok(manifest) => told(cli::backed_up(&manifest, &args.dir)),
        Err(error) => failed(&error, FAILURE),
    }
}

fn restore(args: &BackupArgs) -> ExitCode {
    let config = match Config::load_here(&args.configures()) {
        Ok(config) => config,
        Err(error) => return failed(&error, USAGE),
    };
    match service::backup::restore(&config, &args.dir) {
        Ok(files) => told(cli::restored(&files)),
        Err(error) => failed(&error, FAILURE),
    }
}

/// What was done is done, also where the reader of the output is gone.
fn told(said: Result<(), CliError>) -> ExitCode {
    match said {
        Err(CliError::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failed(&error, error.exit_code()),
    }
}

fn store(command: StoreCommand) -> ExitCode {
    let args = match &command {
        StoreCommand::Migrate(args) => args.clone(),
        StoreCommand::Copy(CopyArgs { config, .. }) => ConfigArgs { config: config.clone(), ..ConfigArgs::default() },
    };
    let config = match Config::load_here(&args) {
        Ok(config) => config,
        Err(error) => return failed(&error, USAGE),
    };
    let _log = match telemetry::init(config.log.format, &config.log.filter) {
        Ok(log) => log,
        Err(error) => return failed(&error, USAGE),
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return failed(&error, FAILURE),
    };
    match command {
        StoreCommand::Migrate(_) => match runtime.block_on(service::migrate(&config)) {
            Ok(()) => {
                say("the store is up to date\n".to_owned());
                ExitCode::SUCCESS
            }
            Err(error) => failed(&error, FAILURE),
        },
        StoreCommand::Copy(CopyArgs { from, to, .. }) => {
            let progress = CopyProgress::default();
            let copied = runtime.block_on(service::copy(&config, &from, &to, &progress));
            progress.clear();
            let told = match copied {
                Ok(copied) => cli::copied(&copied, &service::file_name(&from), &to),
                Err(error) => return failed(&error, FAILURE),
            };
            match told {
                Ok(()) => ExitCode::SUCCESS,
                Err(error) => failed(&error, error.exit_code()),
            }
        }
    }
}

fn run(config: Config) -> Result<(), Box<dyn Error>> {
    let data_dir = config.data_dir.clone();
    let for_people = config.log.format == LogFormat::Text;
    let welcome = |listening: &service::Listening, first_start| {
        // For systemd's Type=notify. Without NOTIFY_SOCKET this does nothing.
        if let Err(error) = sd_notify::notify(false, &[sd_notify::NotifyState::Ready]) {
            tracing::warn!(%error, "cannot notify the service manager");
        }
        // A machine that reads the log expects nothing but events.
        if for_people {
            say(cli::welcome(listening, &data_dir, first_start));
        }
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    Ok(runtime.block_on(service::run(config, welcome))?)
}

fn failed(error: &dyn Error, code: u8) -> ExitCode {
    say(format!("error: {error}\n"));
    ExitCode::from(code)
}

/// Writes to standard error. A reader that has stalled or is gone does not hold up the program.
fn say(text: String) {
    let (done, waiting) = mpsc::sync_channel(1);
    let saying = move || {
        drop(io::stderr().write_all(text.as_bytes()));
        drop(done);
    };
    if thread::Builder::new().name("say".to_owned()).spawn(saying).is_ok() {
        // The sender sends nothing: it is gone when all is said.
        let _: Result<(), _> = waiting.recv_timeout(SAYING);
    }
}
