use clap::{CommandFactory, Parser, error::ErrorKind};

use super::*;

fn parse(line: &str) -> Result<Command, clap::Error> {
    Cli::try_parse_from(words(line)).map(Cli::into_command)
}

/// Splits as a shell does, as far as the examples need it.
fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    for (i, part) in line.split('"').enumerate() {
        if i % 2 == 1 {
            words.push(part.to_owned());
        } else {
            words.extend(part.split_whitespace().map(str::to_owned));
        }
    }
    words
}

/// Every example in the help of `command` and of those below it.
fn examples(command: &clap::Command) -> Vec<String> {
    let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
    let mut lines: Vec<String> = help
        .lines()
        .filter(|line| line.starts_with("  gastank"))
        .map(|line| {
            let line = line.trim();
            // A remark stands to the right, after some spaces; a pipe is the shell's.
            let end = ["   ", " | ", " > "].into_iter().filter_map(|mark| line.find(mark)).min().unwrap_or(line.len());
            line[..end].to_owned()
        })
        .collect();
    lines.extend(command.get_subcommands().flat_map(examples));
    lines
}

#[test]
fn the_command_line_is_consistent() {
    Cli::command().debug_assert();
}

#[test]
fn every_example_in_the_help_can_be_typed() {
    let examples = examples(&Cli::command());
    assert!(examples.len() > 30, "{examples:#?}");
    for example in examples {
        if let Err(error) = parse(&example) {
            panic!("{example}: {error}");
        }
    }
}

#[test]
fn without_a_command_the_service_runs_with_the_same_flags() {
    for line in ["gastank --http 127.0.0.1:0 --check", "gastank serve --http 127.0.0.1:0 --check"] {
        let Ok(Command::Serve(args)) = parse(line) else { panic!("{line}") };
        assert_eq!((args.http.as_deref(), args.check), (Some("127.0.0.1:0"), true));
    }
}

#[test]
fn credit_that_takes_away_is_not_taken_for_a_flag() {
    for (line, seconds, json) in [
        ("gastank account credit ID -90", -90, false),
        ("gastank account credit ID -15m --json", -900, true),
        ("gastank account credit --json ID 2h --reason thanks", 7_200, true),
        ("gastank account --json credit -ID 1d", 86_400, true),
    ] {
        let Ok(Command::Client(ClientCommand::Account { remote, command })) = parse(line) else { panic!("{line}") };
        let AccountCommand::Credit { seconds: read, .. } = command else { panic!("{line}") };
        assert_eq!((read.get(), remote.json), (seconds, json), "{line}");
    }
}

#[test]
fn what_cannot_be_meant_is_refused_as_wrong_usage() {
    for line in [
        "gastank account credit ID 0",
        "gastank account credit ID soon",
        "gastank account create --credit -5",
        "gastank try --seconds 0",
        "gastank try --seconds 2h",
        "gastank try --interval-ms 1",
        "gastank try --transport pigeon",
        "gastank status --admin-url 127.0.0.1:7090",
        "gastank account list --limit 0",
        "gastank account",
        "gastank store copy --from sqlite:a.db",
        "gastank store copy --from sqlite:a.db --to sqlite:b.db",
        "gastank store copy --from scylla://h:1/k --to scylla://h:1/l",
        "gastank store copy --from scylla://h:1/k --to sqlite:a.db",
        "gastank store copy --from a.db --to scylla://h:1/k",
        "gastank drain",
        "gastank --http 127.0.0.1:1 status",
    ] {
        let Err(error) = parse(line) else { panic!("{line} was accepted") };
        assert_eq!(error.exit_code(), 2, "{line}");
    }
}

#[test]
fn where_the_service_is_may_be_said_before_or_after() {
    for line in [
        "gastank account --admin-url http://h:1 key list ID",
        "gastank account key list ID --admin-url http://h:1",
        "gastank account key list --admin-url http://h:1 ID",
    ] {
        let Ok(Command::Client(ClientCommand::Account { remote, .. })) = parse(line) else { panic!("{line}") };
        assert_eq!(remote.reach.admin_url.expect("given").as_str(), "http://h:1/", "{line}");
    }
}

#[test]
fn help_and_version_are_no_failures() {
    for (line, kind) in [("gastank --help", ErrorKind::DisplayHelp), ("gastank --version", ErrorKind::DisplayVersion)] {
        let Err(error) = parse(line) else { panic!("{line}") };
        assert_eq!((error.kind(), error.exit_code()), (kind, 0));
    }
}
