use std::collections::HashSet;
use std::fmt::Write;

use clap::{Args as _, FromArgMatches as _};
use proptest::prelude::*;

use super::*;
use crate::control::keys::Algorithm;
use crate::engine::{Credit, Policy};
use crate::identity::verify::{Algorithm as IdentityAlgorithm, TokenType};
use crate::telemetry::{LogFormat, page};
use crate::tls::CertificateSource;

fn env(pairs: &[(&str, &str)]) -> Env {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn flags(flags: &[&str]) -> ConfigArgs {
    let command = ConfigArgs::augment_args(clap::Command::new("gastank"));
    let matches = command.try_get_matches_from([&["gastank"], flags].concat()).expect("the flags are good");
    ConfigArgs::from_arg_matches(&matches).expect("the flags are good")
}

/// The configuration of this file, environment and flags.
fn load(file: &str, pairs: &[(&str, &str)], given: &[&str]) -> Result<Config, ConfigError> {
    let args = flags(&[&["--config", "g.toml"], given].concat());
    Config::load(&args, &env(pairs), |path| {
        assert_eq!(path, Path::new("g.toml"));
        Ok(file.to_owned())
    })
}

fn refusal(result: Result<Config, ConfigError>) -> String {
    result.expect_err("is refused").to_string()
}

#[test]
fn without_anything_every_value_is_the_documented_default() {
    let none = |_: &Path| -> io::Result<String> { panic!("no file is read") };
    let config = Config::load(&ConfigArgs::default(), &env(&[("HOME", "/home/ada")]), none).expect("defaults are good");
    assert_eq!(config.data_dir, Path::new("/home/ada/.local/share/gastank-data"));
    assert_eq!(config.store.to_string(), "sqlite:/home/ada/.local/share/gastank-data/gastank.db");
    assert_eq!(config.http.addr.to_string(), "127.0.0.1:7080");
    assert_eq!(config.udp.addr.to_string(), "127.0.0.1:7080");
    assert_eq!(config.admin.addr.to_string(), "127.0.0.1:7090");
    assert_eq!(config.quic.addr.get().expect("is on").port(), 7443);
    assert_eq!((config.heartbeat.interval_ms, config.heartbeat.timeout_ms), (30_000, 90_000));
    assert_eq!(config.heartbeat.low_credit().as_secs(), 300);
    assert_eq!(config.checkpoint.interval().get(), 30_000);
    assert_eq!(config.token.max_ttl().as_secs(), 24 * 3600);
    assert_eq!(config.token.algorithm, Algorithm::ES256);
    assert_eq!(config.udp.receive_buffer_bytes, 4 << 20);
    assert!(config.warnings().is_empty());
    assert_eq!(config.policy(), Policy::default());
}

#[test]
fn an_empty_text_is_all_defaults() {
    let config = Config::from_toml("").expect("defaults are good");
    assert_eq!(config.data_dir, Path::new("gastank-data"));
}

#[test]
fn the_data_directory_follows_xdg() {
    let dir = |pairs: &[(&str, &str)]| load("", pairs, &[]).expect("is good").data_dir;
    assert_eq!(dir(&[("XDG_DATA_HOME", "/data"), ("HOME", "/home/ada")]), Path::new("/data/gastank-data"));
    assert_eq!(dir(&[("XDG_DATA_HOME", "relative"), ("HOME", "/h")]), Path::new("/h/.local/share/gastank-data"));
    assert_eq!(dir(&[("XDG_DATA_HOME", ""), ("HOME", "")]), Path::new("gastank-data"));
    assert_eq!(
        load("", &[], &["--data-dir", "/srv/x"]).expect("is good").store.to_string(),
        "sqlite:/srv/x/gastank.db"
    );
}

#[test]
fn the_environment_wins_over_the_file_and_a_flag_over_both() {
    let file = "[http]\naddr = \"127.0.0.1:1\"\nmax_connections = 5\n[heartbeat]\ntimeout_ms = 80000\n";
    let variables = [("GASTANK_HTTP_ADDR", "127.0.0.1:2"), ("GASTANK_HEARTBEAT_TIMEOUT_MS", "70000")];
    let port = |config: Config| config.http.addr.get().port();
    assert_eq!(port(load(file, &[], &[]).expect("is good")), 1);
    assert_eq!(port(load(file, &variables, &[]).expect("is good")), 2);
    let config = load(file, &variables, &["--http", "127.0.0.1:3"]).expect("is good");
    assert_eq!((config.heartbeat.timeout_ms, config.http.max_connections), (70_000, 5));
    assert_eq!(port(config), 3);
}

#[test]
fn the_file_can_be_named_by_a_variable_and_the_flag_wins() {
    let read = |path: &Path| Ok(format!("data_dir = \"/from/{}\"", path.display()));
    let variables = env(&[("GASTANK_CONFIG", "a.toml")]);
    let config = Config::load(&ConfigArgs::default(), &variables, read).expect("is good");
    assert_eq!(config.data_dir, Path::new("/from/a.toml"));
    let config = Config::load(&flags(&["--config", "b.toml"]), &variables, read).expect("is good");
    assert_eq!(config.data_dir, Path::new("/from/b.toml"));
}

#[test]
fn every_key_has_a_variable_of_its_own_that_sets_it() {
    let defaults = overlay::defaults();
    let mut names = HashSet::new();
    for (section, key) in overlay::keys() {
        let name = overlay::variable(section, key);
        assert!(names.insert(name.clone()), "{name} twice");
        let value = match (overlay::default_of(&defaults, section.name, key.name), key.name) {
            (Some(toml::Value::Integer(default)), _) => default.to_string(),
            (Some(toml::Value::String(default)), _) => default.clone(),
            (Some(toml::Value::Boolean(default)), _) => default.to_string(),
            (
                None,
                "data_dir"
                | "secrets_file"
                | "shops_file"
                | "cert_file"
                | "key_file"
                | "password_file"
                | "tls_ca_file"
                | "hub_client_secret_file",
            ) => "/x".to_owned(),
            (None, "store") => "sqlite:/x".to_owned(),
            (None, "public_url" | "issuer" | "event_issuer" | "jwks_uri" | "verify_url" | "proxy") => {
                "https://a".to_owned()
            }
            (None, "shop_url" | "earn_url" | "account_url") => "https://a".to_owned(),
            (None, "event_client_id" | "sign_in_client_id" | "hub_client_id" | "display_name") => {
                "5882386c6d801776".to_owned()
            }
            (None, "username" | "datacenter" | "name") => "tank".to_owned(),
            (None, "public_addr") => "a:1".to_owned(),
            (None, "renew_before_s") => "60".to_owned(),
            (None, "idle_timeout_ms" | "first_frame_timeout_ms") => "60000".to_owned(),
            (None, name) if name.ends_with("_per_address") => "100".to_owned(),
            other => panic!("{name} has a default of another type: {other:?}"),
        };
        // A key without a certificate is of no use, nor is a user without a password.
        let beside = match key.name {
            "key_file" => "[tls]\ncert_file = \"/x\"\n",
            "username" => "[scylla]\npassword_file = \"/x\"\n",
            "password_file" => "[scylla]\nusername = \"tank\"\n",
            _ => "",
        };
        load(beside, &[(&name, &value)], &[]).unwrap_or_else(|error| panic!("{error}"));
        let anything = [
            "data_dir",
            "audience",
            "client_id",
            "event_client_id",
            "sign_in_client_id",
            "hub_client_id",
            "hub_scope",
            "hub_client_secret_file",
            "display_name",
            "scope",
            "secrets_file",
            "shops_file",
            "cert_file",
            "key_file",
            "tls_ca_file",
            "datacenter",
            "name",
        ]
        .contains(&key.name);
        if !anything {
            let error = refusal(load("", &[(&name, "!=")], &[]));
            assert!(error.contains(&name) || error.contains(&format!("{}.{}", section.name, key.name)), "{error}");
        }
    }
}

#[test]
fn a_private_key_alone_is_refused_and_a_certificate_alone_brings_its_own() {
    let error = refusal(load("[tls]\nkey_file = \"/k\"\n", &[], &[]));
    assert!(error.starts_with("invalid tls.key_file = /k: "), "{error}");
    let config = load("[tls]\ncert_file = \"/both\"\n", &[], &[]).expect("is good");
    let CertificateSource::Files { chain, key } = config.tls.source(&config.data_dir) else { panic!("is from a file") };
    assert_eq!((chain, key), ("/both".into(), "/both".into()));
}

#[test]
fn an_unknown_variable_of_ours_is_refused_with_the_nearest_name() {
    let error = refusal(load("", &[("GASTANK_HEARTBEAT_TIMEOUT", "1")], &[]));
    assert_eq!(error, "unknown variable GASTANK_HEARTBEAT_TIMEOUT; did you mean GASTANK_HEARTBEAT_TIMEOUT_MS?");
    assert!(refusal(load("", &[("GASTANK_STOR", "1")], &[])).contains("GASTANK_STORE?"));
    assert!(refusal(load("", &[("GASTANK_PORT", "7080")], &[])).contains("unknown variable GASTANK_PORT"));
    assert!(load("", &[("GASTANKER", "1"), ("GAS", "1"), ("PATH", "/bin")], &[]).is_ok());
}

#[test]
fn an_empty_variable_is_an_unset_one_whatever_its_key() {
    let names = overlay::keys().map(|(section, key)| overlay::variable(section, key));
    let names: Vec<_> = names.chain(["GASTANK_CONFIG", "GASTANK_UNKNOWN"].map(str::to_owned)).collect();
    let empty: Env = names.into_iter().map(|name| (name, String::new())).collect();
    let none = |_: &Path| -> io::Result<String> { panic!("no file is read") };
    let config = Config::load(&ConfigArgs::default(), &empty, none).expect("is as if there were none");
    assert_eq!(config, Config::load(&ConfigArgs::default(), &Env::new(), none).expect("defaults are good"));
}

#[test]
fn variables_that_kubernetes_makes_for_a_service_are_not_settings() {
    let links = [
        ("GASTANK_SERVICE_HOST", "10.96.0.17"),
        ("GASTANK_SERVICE_PORT", "7080"),
        ("GASTANK_SERVICE_PORT_HTTP", "7080"),
        ("GASTANK_PORT", "tcp://10.96.0.17:7080"),
        ("GASTANK_PORT_7080_TCP", "tcp://10.96.0.17:7080"),
        ("GASTANK_PORT_7080_TCP_PROTO", "tcp"),
        ("GASTANK_PORT_7080_TCP_PORT", "7080"),
        ("GASTANK_PORT_7080_TCP_ADDR", "10.96.0.17"),
    ];
    assert_eq!(load("", &links, &[]).expect("they are left alone"), load("", &[], &[]).expect("defaults are good"));
}

#[test]
fn an_unknown_key_or_section_is_refused_with_its_line() {
    let error = refusal(load("[heartbeat]\ntimeout = 1\n", &[], &[]));
    assert!(error.contains("g.toml") && error.contains("line 2") && error.contains("timeout_ms"), "{error}");
    for text in
        ["[hearts]\n", "x = 1\n", "[http.tls]\n", "[http]\naddr = 7080\n", "[heartbeat]\ninterval_ms = -1\n", "["]
    {
        assert!(matches!(Config::from_toml(text), Err(ConfigError::File { .. })), "{text}");
    }
}

#[test]
fn a_wrong_value_names_where_it_comes_from() {
    let error = refusal(load("", &[("GASTANK_UDP_ADDR", "localhost")], &[]));
    assert!(error.starts_with("GASTANK_UDP_ADDR: `localhost` is not an address and port"), "{error}");
    let error = refusal(load("", &[("GASTANK_HTTP_MAX_BODY_BYTES", "64k")], &[]));
    assert_eq!(error, "GASTANK_HTTP_MAX_BODY_BYTES: `64k` is not a whole number");
    let error = refusal(load("", &[], &["--admin", "off"]));
    assert!(error.starts_with("--admin: `off` is not"), "{error}");
}

#[test]
fn a_timeout_that_a_restart_could_reach_is_refused() {
    let text = "[heartbeat]\ninterval_ms = 30000\ntimeout_ms = 60000\n[checkpoint]\ninterval_ms = 30000\n";
    let error = refusal(Config::from_toml(text));
    assert!(error.starts_with("invalid heartbeat.timeout_ms = 60000: must be greater than"), "{error}");
    assert!(Config::from_toml(&text.replace("60000", "60001")).is_ok());
}

#[test]
fn values_that_cannot_work_are_refused_by_name() {
    for (text, key) in [
        ("[heartbeat]\ninterval_ms = 0", "heartbeat.interval_ms"),
        ("[heartbeat]\ninterval_ms = 6553501\ntimeout_ms = 9000000", "heartbeat.interval_ms"),
        ("[heartbeat]\ntimeout_ms = 86400001", "heartbeat.timeout_ms"),
        ("[checkpoint]\ninterval_ms = 0", "checkpoint.interval_ms"),
        ("[http]\nidle_timeout_ms = 0", "http.idle_timeout_ms"),
        ("[http]\nmax_connections = 0", "http.max_connections"),
        ("[http]\nmax_body_bytes = 47", "http.max_body_bytes"),
        ("[udp]\nreceive_buffer_bytes = 0", "udp.receive_buffer_bytes"),
        ("[token]\nmax_ttl_s = 0", "token.max_ttl_s"),
        ("[token]\nmax_ttl_s = 600\nrenew_before_s = 600", "token.renew_before_s"),
        ("[token]\naudience = \"\"", "token.audience"),
        ("[limits]\nacts_per_account_burst = 0", "limits.acts_per_account_burst"),
        ("[log]\nfilter = \"gastank=loud\"", "log.filter"),
        ("[log]\nfilter = \"inf\"", "log.filter"),
        ("[log]\nfilter = \"info,hyper\"", "log.filter"),
        ("[log]\nfilter = \"warning\"", "log.filter"),
        ("[quic]\naddr = \"127.0.0.1:7080\"", "quic.addr"),
        ("[quic]\nidle_timeout_ms = 30000", "quic.idle_timeout_ms"),
        ("[webtransport]\npublic_url = \"http://a\"", "webtransport.public_url"),
        ("[admin]\naddr = \"127.0.0.1:7080\"", "admin.addr"),
        ("[scylla]\nusername = \"tank\"", "scylla.username"),
        ("[scylla]\npassword_file = \"pw\"", "scylla.password_file"),
        ("[scylla]\nrequest_timeout_ms = 0", "scylla.request_timeout_ms"),
        ("data_dir = \"\"", "data_dir"),
    ] {
        let error = refusal(Config::from_toml(text));
        assert!(error.starts_with(&format!("invalid {key} = ")), "{text}: {error}");
    }
}

#[test]
fn limits_can_be_turned_off_and_ports_can_be_free_ones() {
    let text = "[limits]\nacts_per_account_per_s = 0\nacts_per_account_burst = 0\n[http]\naddr = \"127.0.0.1:0\"\n\
                [admin]\naddr = \"127.0.0.1:0\"\n[udp]\naddr = \"off\"\n[quic]\naddr = \"off\"\n";
    let config = Config::from_toml(text).expect("is good");
    assert_eq!(config.limits.per_account(), None);
    assert_eq!(config.limits.per_address().map(|rate| (rate.per_s.get(), rate.burst.get())), Some((100, 1000)));
    assert_eq!(config.udp.addr.get(), None);
}

#[test]
fn identity_providers_are_read_from_keys_variables_and_lists() {
    assert_eq!(Config::from_toml("").expect("is good").identity_providers().count(), 0);
    let file = "[identity]\nissuer = \"https://id.example/\"\nscope = \"tank\"\nalgorithms = [\"RS256\", \"EdDSA\"]\n\
                verify_url = \"https://id.example/v1/verify\"\n\
                [[identity_provider]]\nissuer = \"http://127.0.0.1:1\"\naudience = \"two\"\n";
    let variables = [("GASTANK_IDENTITY_CLOCK_LEEWAY_S", "5"), ("GASTANK_IDENTITY_TOKEN_TYPES", "at+jwt,JWT")];
    let config = load(file, &variables, &[]).expect("is good");
    let [first, second] = config.identity_providers().collect::<Vec<_>>().try_into().expect("there are two");
    assert_eq!(first.issuer, "https://id.example/", "kept to the letter");
    assert_eq!(first.algorithms, [IdentityAlgorithm::RS256, IdentityAlgorithm::EdDSA]);
    assert_eq!(first.types, [TokenType::AccessToken, TokenType::Jwt]);
    assert_eq!((first.leeway.as_secs(), first.starting_credit), (5, Credit::ZERO));
    assert_eq!((second.audience.as_str(), second.algorithms.len()), ("two", 4));
}

#[test]
fn identity_providers_that_cannot_work_are_refused_by_name() {
    let one = "[identity]\nissuer = \"https://a.example\"\n";
    let more = "[[identity_provider]]\n";
    for (text, key) in [
        (format!("{one}audience = \"\""), "identity.audience"),
        (format!("{one}clock_leeway_s = 601"), "identity.clock_leeway_s"),
        (format!("{one}starting_credit_s = 400000000"), "identity.starting_credit_s"),
        (format!("{one}scope = \"a\\tb\""), "identity.scope"),
        (format!("{one}verify_url = \"https://a.example/v\""), "identity.verify_url"),
        (format!("{one}{more}issuer = \"https://a.example\""), "identity.issuer"),
        (format!("{one}{more}audience = \"x\""), "identity_provider.issuer"),
    ] {
        let error = refusal(Config::from_toml(&text));
        assert!(error.starts_with(&format!("invalid {key} = ")), "{text}: {error}");
    }
    for value in [
        "issuer = \"http://a.example\"",
        "issuer = \"a.example\"",
        "issuer = \"https://u:p@a.example\"",
        "jwks_uri = \"http://127.0.0.1.example/\"",
        "algorithms = \"HS256\"",
        "algorithms = \"none\"",
        "algorithms = []",
        "token_types = \"\"",
    ] {
        assert!(matches!(Config::from_toml(&format!("[identity]\n{value}")), Err(ConfigError::File { .. })), "{value}");
    }
    let idle = Config::from_toml("[identity]\nscope = \"tank\"").expect("is allowed");
    assert!(idle.warnings()[0].contains("identity.issuer"));
}

#[test]
fn an_admin_listener_that_others_can_reach_is_allowed_but_warned_of() {
    let config = Config::from_toml("[admin]\naddr = \"0.0.0.0:7090\"").expect("is allowed");
    assert!(config.warnings()[0].contains("admin.addr"));
    let others = "[udp]\naddr = \"off\"\n[quic]\naddr = \"off\"";
    let text = &format!("[http]\naddr = \"0.0.0.0:80\"\npublic_url = \"https://t.example\"\n{others}");
    assert!(Config::from_toml(text).expect("is good").warnings().is_empty());
}

#[test]
fn a_file_that_cannot_be_read_or_is_too_long_is_refused() {
    let missing = |_: &Path| Err(io::Error::from(io::ErrorKind::NotFound));
    let error = refusal(Config::load(&flags(&["--config", "no.toml"]), &Env::new(), missing));
    assert!(error.contains("no.toml"), "{error}");
    assert!(matches!(Config::from_toml(&"#".repeat(MAX_FILE_BYTES + 1)), Err(ConfigError::TooLong)));
}

#[test]
fn deep_nesting_is_refused_and_does_not_exhaust_the_stack() {
    for text in
        ["x = ".to_owned() + &"[".repeat(100_000), "x = ".to_owned() + &"{a=".repeat(100_000), "a.".repeat(100_000)]
    {
        assert!(matches!(Config::from_toml(&text), Err(ConfigError::File { .. })));
    }
}

#[test]
fn log_formats_and_algorithms_are_read_by_their_usual_names() {
    let config = Config::from_toml("[log]\nformat = \"json\"\n[token]\nalgorithm = \"EdDSA\"").expect("is good");
    assert_eq!((config.log.format, config.token.algorithm), (LogFormat::Json, Algorithm::EdDSA));
}

#[test]
fn the_help_of_the_flags_tells_the_defaults() {
    let defaults = Config::from_toml("").expect("is good");
    let mut command = ConfigArgs::augment_args(clap::Command::new("gastank"));
    let help = command.render_long_help().to_string();
    for (flag, value) in [("http", defaults.http.addr.to_string()), ("udp", defaults.udp.addr.to_string())]
        .into_iter()
        .chain([("quic", defaults.quic.addr.to_string()), ("admin", defaults.admin.addr.to_string())])
    {
        let after = help.split_once(&format!("--{flag} <ADDR>")).expect("the flag is there").1;
        assert!(after.split("--").next().expect("has text").contains(&format!("[default: {value}]")), "{flag}");
    }
}

#[test]
fn filters_of_levels_and_of_our_modules_are_taken() {
    for filter in ["info", "INFO", "debug,hyper=warn", "gastank::store", "off", "3", "info,gastank[{x}]=debug"] {
        assert!(Config::from_toml(&format!("[log]\nfilter = \"{filter}\"")).is_ok(), "{filter}");
    }
}

#[test]
fn clients_elsewhere_are_not_told_of_addresses_that_are_only_here_and_that_is_warned_of() {
    let public = "[http]\npublic_url = \"https://tank.example.org\"\ntrusted_proxies = \"127.0.0.1\"\n";
    let told = |config: &Config| {
        let bound = |addr: OptionalListenAddr| addr.get().expect("it is on");
        let udp = config.udp.addr.get().and_then(|addr| config.told(config.udp.public_addr.as_ref(), addr));
        let quic = config.told(config.quic.public_addr.as_ref(), bound(config.quic.addr));
        (udp, quic, config.told_h3(bound(config.quic.addr)), config.warnings().len())
    };
    let some = |text: &str| Some(text.to_owned());
    for (text, wanted) in [
        ("", (None, None, None, 2)),
        ("[udp]\naddr = \"0.0.0.0:7080\"\n[quic]\naddr = \"[::]:7443\"", (None, None, some(":7443"), 2)),
        (
            "[udp]\npublic_addr = \"tank.example.org:7080\"\n[quic]\naddr = \"192.0.2.1:7443\"",
            (some("tank.example.org:7080"), some("192.0.2.1:7443"), some(":7443"), 0),
        ),
        (
            "[udp]\naddr = \"[::ffff:127.0.0.1]:7080\"\n[quic]\npublic_addr = \"tank.example.org:443\"",
            (None, some("tank.example.org:443"), some(":443"), 1),
        ),
        (
            "[udp]\naddr = \"off\"\n[quic]\npublic_addr = \"quic.example.org:443\"",
            (None, some("quic.example.org:443"), some("quic.example.org:443"), 0),
        ),
    ] {
        let config = Config::from_toml(&format!("{public}{text}")).expect("is good");
        assert_eq!(told(&config), wanted, "{text}: {:?}", config.warnings());
    }
    let local = Config::from_toml("").expect("is good");
    assert_eq!(told(&local), (some("127.0.0.1:7080"), some("127.0.0.1:7443"), some(":7443"), 0));
    let proxied = Config::from_toml("[http]\npublic_url = \"https://tank.example.org\"").expect("is good");
    assert!(proxied.warnings().iter().any(|warning| warning.contains("trusted_proxies")));
}

#[test]
fn page_of_the_configuration_is_fresh() {
    let defaults = overlay::defaults();
    let mut out = String::new();
    for section in SECTIONS {
        let title = if section.name.is_empty() { "Top level".to_owned() } else { format!("`[{}]`", section.name) };
        writeln!(
            out,
            "## {title}\n\n{}\n\n| key | default | meaning | variable |\n|---|---|---|---|",
            section.about.trim()
        )
        .expect("a String takes text");
        for key in section.keys {
            let default = match overlay::default_of(&defaults, section.name, key.name) {
                Some(value) => format!("`{value}`"),
                None => "see meaning".to_owned(),
            };
            let (meaning, variable) = (key.meaning.trim(), overlay::variable(section, key));
            assert!(default != "see meaning" || meaning.contains("Default: "), "{variable} does not tell its default");
            writeln!(out, "| `{}` | {default} | {meaning} | `{variable}` |", key.name).expect("a String takes text");
        }
        out.push('\n');
    }
    page::assert_page_is_fresh("configuration.md", &out);
}

proptest! {
    #[test]
    fn no_text_makes_reading_panic(text in "\\PC{0,200}") {
        let _ = Config::from_toml(&text);
    }

    #[test]
    fn no_lines_of_likely_keys_make_reading_panic(
        lines in proptest::collection::vec(("(\\[[a-z]{1,10}\\]\n)?[a-z_]{1,20}", "-?[0-9]{1,20}|\"[a-z0-9:./]{0,20}\"|true|\\[\\]"), 0..8),
    ) {
        let text: String = lines.iter().map(|(key, value)| format!("{key} = {value}\n")).collect();
        let _ = Config::from_toml(&text);
    }

    #[test]
    fn no_variable_makes_reading_panic(name in "GASTANK_[A-Z_]{0,30}", value in "\\PC{0,40}") {
        let _ = load("", &[(&name, &value)], &[]);
    }

    #[test]
    fn the_last_source_that_names_a_key_decides(file: Option<u16>, variable: Option<u16>, flag: Option<u16>) {
        let text = file.map_or_else(String::new, |port| format!("[udp]\naddr = \"127.0.0.1:{port}\"\n"));
        let variable_value = variable.map(|port| format!("127.0.0.1:{port}"));
        let pairs: Vec<_> = variable_value.iter().map(|value| ("GASTANK_UDP_ADDR", value.as_str())).collect();
        let flag_value = flag.map(|port| format!("127.0.0.1:{port}"));
        let given: Vec<&str> = flag_value.iter().flat_map(|value| ["--udp", value.as_str()]).collect();
        let config = load(&text, &pairs, &given).expect("is good");
        let expected = flag.or(variable).or(file).unwrap_or(7080);
        prop_assert_eq!(config.udp.addr.get().map(|addr| addr.port()), Some(expected));
    }

    #[test]
    fn an_accepted_configuration_never_times_out_a_client_over_a_restart(
        interval in 0..200_000_u64, checkpoint in 0..200_000_u64, timeout in 0..400_000_u64,
    ) {
        let text = format!(
            "[heartbeat]\ninterval_ms = {interval}\ntimeout_ms = {timeout}\n[checkpoint]\ninterval_ms = {checkpoint}\n"
        );
        if let Ok(config) = Config::from_toml(&text) {
            let worst = config.heartbeat.interval().plus(config.checkpoint.interval());
            prop_assert!(worst < config.heartbeat.timeout());
        }
    }
}

#[test]
fn the_development_provider_exists_only_where_nobody_else_can_reach_it() {
    let with = |more: &str| load(&format!("{more}[hub]\ndevelopment_provider = true\n"), &[], &[]);
    assert!(with("").is_ok() && with("[http]\npublic_url = \"http://localhost:7080\"\n").is_ok());
    for (more, named) in [
        ("[http]\naddr = \"0.0.0.0:7080\"\n", "http.addr"),
        ("[http]\naddr = \"192.0.2.1:7080\"\n", "http.addr"),
        ("[http]\npublic_url = \"https://tank.example.org\"\n", "http.public_url"),
        ("[http]\ntrusted_proxies = \"127.0.0.1\"\n", "http.trusted_proxies"),
        ("[https]\naddr = \"[::]:7443\"\n", "https.addr"),
        ("[udp]\naddr = \"0.0.0.0:7081\"\n", "udp.addr"),
        ("[quic]\naddr = \"0.0.0.0:7082\"\n", "quic.addr"),
        ("[admin]\naddr = \"192.0.2.1:7090\"\n", "admin.addr"),
        ("[identity]\nissuer = \"https://id.example.org\"\n", "https://id.example.org"),
    ] {
        let error = refusal(with(more));
        assert!(error.contains("hub.development_provider") && error.contains(named), "{more}: {error}");
    }
}
