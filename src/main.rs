//! The `gastank` program.

use std::process::ExitCode;

use clap::Parser;

use gastank::{
    cli::{self, Cli, Command},
    config::{Config, ConfigArgs},
};

/// The exit code for what was typed or configured wrongly; clap's, too.
const USAGE: u8 = 2;

fn main() -> ExitCode {
    match Cli::parse().into_command() {
        Command::Serve(args) => serve(&args),
        Command::Client(command) => match cli::run(command) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => fail(&error, error.exit_code()),
        },
    }
}

fn serve(args: &ConfigArgs) -> ExitCode {
    let config = match Config::load_here(args) {
        Ok(config) => config,
        Err(error) => return fail(&error, USAGE),
    };
    if args.check {
        for warning in config.warnings() {
            eprintln!("warning: {warning}");
        }
        eprintln!("the configuration is valid");
        return ExitCode::SUCCESS;
    }
    ExitCode::SUCCESS
}

fn fail(error: &dyn std::error::Error, code: u8) -> ExitCode {
    eprintln!("error: {error}");
    ExitCode::from(code)
}
