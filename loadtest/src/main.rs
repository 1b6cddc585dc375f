//! The `loadtest` program.

use std::process::ExitCode;

use clap::Parser;

use loadtest::{
    cli::Args,
    run::{Failure, run},
};

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(Some(report)) if !report.passed => ExitCode::from(1),
        Ok(_) => ExitCode::SUCCESS,
        Err(Failure::Usage(message)) => {
            eprintln!("error: {message}");
            ExitCode::from(2)
        }
        Err(Failure::Run(error)) => {
            eprintln!("error: {error:#}");
            ExitCode::from(1)
        }
    }
}
