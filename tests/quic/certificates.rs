//! Certificates that are replaced while the service runs.

use std::{fs, os::unix::fs::PermissionsExt, path::Path, process::Command, time::Duration};

use gastank::{
    tls::CertHash,
    wire::{HeartbeatKind, WireVerdict},
};
use quinn::{Endpoint, crypto::rustls::HandshakeData};
use rcgen::{CertificateParams, KeyPair};
use rustls::pki_types::CertificateDer;
use sha2::{Digest, Sha256};
use tokio::time::timeout;

use crate::{
    client::Api,
    peer::{self, PATIENCE, Told, beat, endpoint, open, until},
    support::{Home, Service},
};

const FRAMES: &[u8] = b"gastank/1";

/// Writes a new pair, and tells its hash.
fn issue(dir: &Path) -> CertHash {
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(["localhost".to_owned()]).unwrap().self_signed(&key).unwrap();
    fs::write(dir.join("key.pem"), key.serialize_pem()).unwrap();
    fs::set_permissions(dir.join("key.pem"), fs::Permissions::from_mode(0o600)).unwrap();
    fs::write(dir.join("cert.pem"), certificate.pem()).unwrap();
    CertHash(Sha256::digest(certificate.der()).into())
}

/// The hash of the certificate that the service shows to who connects now.
async fn shown(endpoint: &Endpoint, told: &Told) -> Option<CertHash> {
    let connecting = endpoint.connect_with(told.config(FRAMES), told.addr, "localhost").unwrap();
    let connection = timeout(PATIENCE, connecting).await.unwrap().ok()?;
    let chain = connection.peer_identity()?.downcast::<Vec<CertificateDer<'static>>>().ok()?;
    assert!(connection.handshake_data()?.downcast::<HandshakeData>().is_ok());
    Some(CertHash(Sha256::digest(&chain[0]).into()))
}

#[tokio::test]
async fn garbage_does_not_replace_a_certificate_and_a_good_one_does() {
    let home = Home::new();
    let files = tempfile::tempdir().unwrap();
    let first = issue(files.path());
    let (cert, key) = (files.path().join("cert.pem"), files.path().join("key.pem"));
    let settings = [("GASTANK_TLS_CERT_FILE", cert.to_str().unwrap()), ("GASTANK_TLS_KEY_FILE", key.to_str().unwrap())];
    let service = Service::start_with(&home, &settings);
    let api = Api::new(&service, &home);
    let owner = api.owner(100).await;
    let answer = api.activate(&owner).await.unwrap().must_be(200).json();
    assert!(answer["heartbeat"].get("cert_hashes").is_none(), "browsers know whom to trust");
    let mut session = crate::client::Session::of(&answer);
    let trusting = |hashes: &[CertHash]| Told { addr: peer::addr(&service), hashes: hashes.to_vec() };
    let endpoint = endpoint();
    assert_eq!(shown(&endpoint, &trusting(&[first])).await, Some(first));
    let before = trusting(&[first]).connect(&endpoint, FRAMES).await;

    assert!((api.metric("gastank_certificate_from_files", "").await - 1.0).abs() < f64::EPSILON);
    fs::write(&cert, "garbage").unwrap();
    hang_up(&service);
    until("it is refused", async || api.metric("gastank_certificate_loads_total", "refused").await >= 1.0).await;
    assert_eq!(shown(&endpoint, &trusting(&[first])).await, Some(first));
    let log = home.said_once("cannot use the new certificate");
    assert!(log.contains("cert.pem"), "{log}");
    fs::remove_file(&key).unwrap();
    hang_up(&service);
    until("it is refused", async || api.metric("gastank_certificate_loads_total", "refused").await >= 2.0).await;

    // Without being told, too: the files are looked at every few seconds.
    let second = issue(files.path());
    until("it is taken over", async || shown(&endpoint, &trusting(&[first, second])).await == Some(second)).await;
    let ack = beat(&before, &mut session, HeartbeatKind::Beat).await;
    assert_eq!(ack.verdict, WireVerdict::Valid, "who was connected goes on");
    assert_eq!(shown(&endpoint, &trusting(&[first])).await, None, "the old one is gone");
    let log = fs::read_to_string(home.log()).unwrap();
    assert!(!log.contains("PRIVATE"), "a key is in the log");
    assert!(service.stop().success(), "SIGHUP does not end it");
}

#[tokio::test]
async fn a_service_without_a_certificate_of_others_makes_one_that_clients_pin() {
    let home = Home::new();
    let service = Service::start(&home);
    let api = Api::new(&service, &home);
    let (mut session, told) = open(&api, &api.owner(100).await).await;
    assert_eq!(told.hashes.len(), 1);
    let endpoint = endpoint();
    assert_eq!(shown(&endpoint, &told).await, Some(told.hashes[0]));
    let wrong = Told { addr: told.addr, hashes: vec![CertHash([0; 32])] };
    assert_eq!(shown(&endpoint, &wrong).await, None);
    let expires = api.metric("gastank_certificate_expiry_timestamp_seconds", "").await;
    assert!(expires > 1.7e9);
    assert!(api.metric("gastank_certificate_from_files", "").await < 1.0);
    assert!(service.stop().success());
    let service = Service::start(&home);
    let again = Told { addr: peer::addr(&service), hashes: told.hashes };
    let connection = again.connect(&endpoint, FRAMES).await;
    beat(&connection, &mut session, HeartbeatKind::Beat).await;
}

#[test]
fn a_certificate_that_cannot_be_used_keeps_the_service_from_starting() {
    let home = Home::new();
    let files = tempfile::tempdir().unwrap();
    issue(files.path());
    let cert = files.path().join("cert.pem");
    let run = |variables: &[(&str, &str)]| {
        let mut command = Service::command(&home, &["127.0.0.1:0"; 3].map(str::to_owned), variables);
        command.spawn().unwrap().wait().unwrap().code()
    };
    assert_eq!(run(&[("GASTANK_TLS_CERT_FILE", cert.to_str().unwrap())]), Some(1), "there is no key in it");
    let log = fs::read_to_string(home.log()).unwrap();
    assert!(log.contains("no private key in PEM"), "{log}");
    assert_eq!(run(&[("GASTANK_TLS_KEY_FILE", "/nowhere")]), Some(2));
}

fn hang_up(service: &Service) {
    assert!(Command::new("kill").args(["-HUP", &service.id().to_string()]).status().unwrap().success());
    std::thread::sleep(Duration::from_millis(20));
}
