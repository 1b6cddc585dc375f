//! What a person reads when the service has started.

use std::{env, fmt::Write as _, path::Path};

use super::args::admin_url;
use crate::{
    config::{Config, ConfigArgs},
    service::Listening,
};

/// What to tell the person who started the service: where it listens, where its data are, and, when it is the `first_start`
/// on these data, the one line to try next. Several lines, the last one ended.
pub fn welcome(listening: &Listening, data_dir: &Path, first_start: bool) -> String {
    let program = env::args().next().unwrap_or_else(|| "gastank".to_owned());
    text(listening, data_dir, first_start, &program, usual().as_ref())
}

/// The configuration as another terminal sees it, which has none of our variables.
fn usual() -> Option<Config> {
    let shared = ["HOME", "XDG_DATA_HOME"];
    let env = shared.into_iter().filter_map(|name| Some((name.to_owned(), env::var(name).ok()?))).collect();
    Config::load(&ConfigArgs::default(), &env, |_| Ok(String::new())).ok()
}

fn text(listening: &Listening, data_dir: &Path, first_start: bool, program: &str, usual: Option<&Config>) -> String {
    let mut text = String::new();
    let mut line = |name: &str, value: &dyn std::fmt::Display| {
        let _ = writeln!(text, "  {name:<20}{value}");
    };
    line("clients and edges", &format_args!("http://{}", listening.http));
    if let Some(https) = listening.https {
        line("the same, encrypted", &format_args!("https://{https}"));
    }
    if let Some(udp) = listening.udp {
        line("heartbeats (UDP)", &udp);
    }
    if let Some(quic) = listening.quic {
        line("QUIC and HTTP/3", &quic);
    }
    line("operators", &format_args!("http://{}", listening.admin));
    line("data", &data_dir.display());
    if !first_start {
        return format!("gastank is up.\n{text}");
    }
    let mut command = format!("{} try", quoted(program));
    if usual.is_none_or(|usual| usual.admin.addr.get() != listening.admin) {
        let _ = write!(command, " --admin-url {}", admin_url(listening.admin).as_str().trim_end_matches('/'));
    }
    if usual.is_none_or(|usual| usual.data_dir != data_dir) {
        let _ = write!(command, " --data-dir {}", quoted(&data_dir.display().to_string()));
    }
    format!(
        "gastank is up, for the first time on these data.\n{text}\n\
         Nobody has a tank yet. See one drain; in a second terminal:\n\n  {command}\n\n"
    )
}

/// `text` as a shell takes it for one word.
fn quoted(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+=:@%,".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listening(admin: &str) -> Listening {
        let addr = |text: &str| text.parse().expect("is an address");
        Listening {
            http: addr("127.0.0.1:7080"),
            https: Some(addr("127.0.0.1:7444")),
            udp: Some(addr("127.0.0.1:7080")),
            quic: None,
            admin: addr(admin),
        }
    }

    fn usual() -> Config {
        Config::from_toml("data_dir = \"/data\"").expect("is a configuration")
    }

    #[test]
    fn a_first_start_says_where_things_are_and_what_to_try() {
        let here = listening("127.0.0.1:7090");
        let text = text(&here, Path::new("/data"), true, "target/release/gastank", Some(&usual()));
        for part in ["http://127.0.0.1:7080\n", "  data                /data\n", "\n  target/release/gastank try\n"] {
            assert!(text.contains(part), "{part:?} in {text}");
        }
        assert!(text.contains("heartbeats (UDP)    127.0.0.1:7080\n"), "{text}");
        assert!(text.contains("the same, encrypted https://127.0.0.1:7444\n"), "{text}");
    }

    #[test]
    fn the_line_to_try_names_what_is_not_the_default() {
        let text = text(&listening("0.0.0.0:9"), Path::new("/my data"), true, "gastank", Some(&usual()));
        assert!(text.contains("gastank try --admin-url http://127.0.0.1:9 --data-dir '/my data'\n"), "{text}");
    }

    #[test]
    fn later_starts_do_not_teach_again() {
        let text = text(&listening("127.0.0.1:7090"), Path::new("/data"), false, "gastank", None);
        assert!(text.contains("/data") && !text.contains("try"), "{text}");
    }
}
