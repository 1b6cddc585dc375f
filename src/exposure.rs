//! Who may read a file with a secret.

use std::{fs::Metadata, os::unix::fs::MetadataExt};

/// Whether everybody on the machine may do anything with a file. Its group may: whoever mounts secrets for a service
/// (systemd, Kubernetes with `fsGroup`) gives them to a group that is that service's alone, and sets the mode anew at each
/// start.
pub(crate) fn is_exposed(found: &Metadata) -> bool {
    found.mode() & 0o007 != 0
}
