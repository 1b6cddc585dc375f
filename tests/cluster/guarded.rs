//! A cluster that wants TLS and a password.

use std::{fs, os::unix::fs::PermissionsExt, path::Path};

use crate::{
    cassandra::{Guard, Server},
    support,
};

fn migrate(server: &Server, password: &Path, certificate: &Path) -> (Option<i32>, String) {
    let store = format!("scylla://{}/guarded", server.addr());
    let output = support::gastank()
        .args(["store", "migrate", "--store", &store])
        .env("GASTANK_SCYLLA_USERNAME", "cassandra")
        .env("GASTANK_SCYLLA_PASSWORD_FILE", password)
        .env("GASTANK_SCYLLA_TLS_CA_FILE", certificate)
        .output()
        .unwrap();
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn a_cluster_is_reached_by_tls_with_a_password_and_not_without() {
    let server = Server::start_with(Guard::TlsAndPassword);
    let dir = tempfile::tempdir().unwrap();
    let (good, wrong, stranger) = (dir.path().join("good"), dir.path().join("wrong"), dir.path().join("stranger.pem"));
    for (path, password) in [(&good, "cassandra\n"), (&wrong, "not-the-passphrase\n")] {
        fs::write(path, password).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
    }
    // The first user is made shortly after the start.
    let mut told = (None, String::new());
    for _ in 0..60 {
        told = migrate(&server, &good, &server.certificate());
        if told.0 == Some(0) {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(500));
    }
    assert_eq!(told.0, Some(0), "{}", told.1);

    let (code, said) = migrate(&server, &wrong, &server.certificate());
    assert_eq!(code, Some(1), "{said}");
    assert!(!said.contains("not-the-passphrase"), "{said}");

    // Another certificate of the same name.
    let other = tempfile::tempdir().unwrap();
    crate::cassandra::make_certificate(other.path(), server.addr().ip());
    fs::copy(other.path().join("server.pem"), &stranger).unwrap();
    assert_eq!(migrate(&server, &good, &stranger).0, Some(1));

    fs::set_permissions(&good, fs::Permissions::from_mode(0o644)).unwrap();
    let (code, said) = migrate(&server, &good, &server.certificate());
    assert_eq!(code, Some(1));
    assert!(said.contains("chmod o="), "{said}");
}
