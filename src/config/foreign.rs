//! Variables in our namespace that somebody else sets.
//!
//! Kubernetes gives every container variables for each Service of its namespace, named after the Service. One that is named
//! `gastank`, or `gastank-admin`, makes variables that begin as ours do: `GASTANK_PORT=tcp://10.0.0.1:7080`.

use std::net::IpAddr;

use super::args::NAMESPACE;

const PROTOCOLS: [&str; 3] = ["TCP", "UDP", "SCTP"];

/// Whether a variable of our namespace is one that Kubernetes makes for a Service. Its value is such a variable's too, so
/// that a setting whose name was mistyped is still an error.
pub(super) fn is_service_link(name: &str, value: &str) -> bool {
    // Of `gastank-admin`, the part before is `ADMIN_`; of `gastank`, it is empty.
    let Some(name) = name.strip_prefix(NAMESPACE) else { return false };
    let ends = |ending: &str| name == ending || name.ends_with(&format!("_{ending}"));
    let has = |part: &str| name.starts_with(part) || name.contains(&format!("_{part}"));
    let is_port = value.parse::<u16>().is_ok();
    let is_url = PROTOCOLS
        .iter()
        .any(|protocol| value.strip_prefix(&protocol.to_ascii_lowercase()).is_some_and(|rest| rest.starts_with("://")));
    if ends("SERVICE_HOST") {
        return value.parse::<IpAddr>().is_ok();
    }
    if ends("SERVICE_PORT") || has("SERVICE_PORT_") {
        return is_port;
    }
    if ends("PORT") && is_url {
        return true;
    }
    match of_a_port(name) {
        Some("") => is_url,
        Some("_PROTO") => PROTOCOLS.iter().any(|protocol| protocol.eq_ignore_ascii_case(value)),
        Some("_PORT") => is_port,
        Some("_ADDR") => value.parse::<IpAddr>().is_ok(),
        _ => false,
    }
}

/// What follows `PORT_7080_TCP` in a name.
fn of_a_port(name: &str) -> Option<&str> {
    let at = name.rfind("_PORT_").map_or(0, |before| before + 1);
    let (number, rest) = name[at..].strip_prefix("PORT_")?.split_once('_')?;
    number.parse::<u16>().ok()?;
    PROTOCOLS.iter().find_map(|protocol| rest.strip_prefix(protocol))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::overlay::{keys, variable};

    #[test]
    fn what_kubernetes_makes_for_a_service_is_known() {
        for service in ["", "ADMIN_", "UDP_7_", "PORT_"] {
            for (name, value) in [
                ("SERVICE_HOST", "10.96.0.17"),
                ("SERVICE_HOST", "fd00::17"),
                ("SERVICE_PORT", "7080"),
                ("SERVICE_PORT_HTTP", "7080"),
                ("PORT", "tcp://10.96.0.17:7080"),
                ("PORT", "udp://[fd00::17]:7080"),
                ("PORT_7080_TCP", "tcp://10.96.0.17:7080"),
                ("PORT_7080_TCP_PROTO", "tcp"),
                ("PORT_7080_UDP_PORT", "7080"),
                ("PORT_7080_SCTP_ADDR", "10.96.0.17"),
            ] {
                assert!(is_service_link(&format!("GASTANK_{service}{name}"), value), "{service}{name}={value}");
            }
        }
    }

    #[test]
    fn what_only_looks_like_it_is_not() {
        for (name, value) in [
            ("GASTANK_PORT", "7080"),
            ("GASTANK_HTTP_PORT", "7080"),
            ("GASTANK_SERVICE_HOST", "example.org"),
            ("GASTANK_SERVICE_PORT", "http"),
            ("GASTANK_REPORT", "tcp://10.96.0.17:7080"),
            ("GASTANK_PORT_X_TCP", "tcp://10.96.0.17:7080"),
            ("GASTANK_PORT_7080_TCP_ADDR", "here"),
            ("GASTANK_PORT_7080_TCP_WHAT", "here"),
            ("GASTANK_HTTP_ADDR", "127.0.0.1:7080"),
            ("OTHER_PORT", "tcp://10.96.0.17:7080"),
        ] {
            assert!(!is_service_link(name, value), "{name}={value}");
        }
    }

    #[test]
    fn no_key_of_ours_has_such_a_name() {
        for name in keys().map(|(section, key)| variable(section, key)) {
            for value in ["10.96.0.17", "7080", "tcp://10.96.0.17:7080", "tcp"] {
                assert!(!is_service_link(&name, value), "{name}={value}");
            }
        }
    }
}
