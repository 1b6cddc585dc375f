//! The scenarios that come with the program: the files of `loadtest/scenarios/`.

macro_rules! scenario {
    ($name:literal) => {
        ($name, include_str!(concat!("../../scenarios/", $name, ".toml")))
    };
}

/// Their names and texts.
pub const LIBRARY: &[(&str, &str)] = &[
    scenario!("smoke"),
    scenario!("udp-100k"),
    scenario!("udp-1m"),
    scenario!("udp-spike"),
    scenario!("burst"),
    scenario!("quic"),
    scenario!("webtransport"),
    scenario!("http1"),
    scenario!("http2"),
    scenario!("http3"),
    scenario!("introspection"),
    scenario!("forged-flood"),
    scenario!("reconnect-storm"),
    scenario!("soak"),
    scenario!("siege"),
];

/// The text of the scenario of this name.
pub fn find(name: &str) -> Option<&'static str> {
    LIBRARY.iter().find(|(known, _)| *known == name).map(|(_, text)| *text)
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, fs, time::Duration};

    use super::*;
    use crate::scenario::{Bounds, Scenario};

    #[test]
    fn every_scenario_that_comes_along_can_be_run_and_says_what_it_is_for() {
        let bounds = Bounds { rate: 500_000.0, time: Duration::from_hours(1) };
        for (name, text) in LIBRARY {
            let scenario = Scenario::parse(name, text, &[]).unwrap();
            scenario.check(&bounds).unwrap_or_else(|error| panic!("{name}: {error}"));
            assert!(scenario.about.ends_with('.'), "{name}");
            assert!(scenario.accept.loss.is_some(), "{name}: a scenario without a bound on loss proves little");
        }
    }

    #[test]
    fn every_file_of_the_folder_comes_along() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/scenarios");
        let stem = |entry: std::io::Result<fs::DirEntry>| {
            entry.unwrap().path().file_stem().unwrap().to_str().unwrap().to_owned()
        };
        let files: BTreeSet<_> = fs::read_dir(folder).unwrap().map(stem).collect();
        assert_eq!(files, LIBRARY.iter().map(|(name, _)| (*name).to_owned()).collect());
    }
}
