use std::{
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt},
};

use rcgen::{CertificateParams, KeyPair};
use tempfile::TempDir;

use super::*;
use crate::telemetry::Health;

const NOW: UnixMs = UnixMs::from_ms(1_800_000_000_000);
const DAY: Millis = Millis::from_secs(24 * 3600);

/// A certificate for `localhost` that is good from `begins` for a day, and its key.
pub(crate) fn issued(begins: UnixMs) -> (String, String) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(["localhost".to_owned()]).unwrap();
    let since_1970 = |at: UnixMs| rcgen::date_time_ymd(1970, 1, 1) + Duration::from_secs(at.as_secs());
    (params.not_before, params.not_after) = (since_1970(begins), since_1970(begins.plus(DAY)));
    (params.self_signed(&key).unwrap().pem(), key.serialize_pem())
}

fn before(at: UnixMs, span: Millis) -> UnixMs {
    UnixMs::from_ms(at.as_ms() - span.get())
}

fn telemetry() -> Telemetry {
    Telemetry::new(Health::new())
}

/// Files in a directory, and the certificates read from them.
struct Shop {
    dir: TempDir,
    telemetry: Telemetry,
}

impl Shop {
    fn new((chain, key): (String, String)) -> Self {
        let shop = Self { dir: tempfile::tempdir().unwrap(), telemetry: telemetry() };
        shop.put("cert.pem", &chain);
        shop.put("key.pem", &key);
        shop
    }

    fn put(&self, name: &str, text: &str) {
        fs::write(self.dir.path().join(name), text).unwrap();
        self.allow(name, 0o600);
    }

    fn allow(&self, name: &str, mode: u32) {
        fs::set_permissions(self.dir.path().join(name), fs::Permissions::from_mode(mode)).unwrap();
    }

    fn open(&self) -> Result<Arc<Certificates>, PairError> {
        let source =
            CertificateSource::Files { chain: self.dir.path().join("cert.pem"), key: self.dir.path().join("key.pem") };
        Certificates::open(source, self.telemetry.clone(), NOW)
    }

    fn refusals(&self) -> String {
        let page = self.telemetry.render();
        let line = page.lines().find(|line| line.starts_with("gastank_certificate_loads_total{outcome=\"refused\"}"));
        line.unwrap().rsplit_once(' ').unwrap().1.to_owned()
    }
}

fn shown(certificates: &Certificates) -> CertHash {
    hash(&certificates.shown.read().key)
}

#[test]
fn a_pair_from_files_is_shown_and_no_hash_of_it_is_told() {
    let certificates = Shop::new(issued(NOW)).open().unwrap();
    assert_eq!(certificates.expires(), NOW.plus(DAY));
    assert!(certificates.hashes().is_empty());
}

#[test]
fn a_service_does_not_start_with_a_pair_that_cannot_be_used() {
    let (good, other) = (issued(NOW), issued(NOW));
    let is = |pair: (&str, &str)| Shop::new((pair.0.to_owned(), pair.1.to_owned())).open().unwrap_err();
    assert!(matches!(is(("garbage", &good.1)), PairError::Chain { .. }));
    assert!(matches!(is((&good.0, "garbage")), PairError::Key { .. }));
    assert!(matches!(is((&good.0, &other.1)), PairError::Mismatch { .. }));
    let cut = good.0.replace("MII", "");
    assert!(matches!(is((&cut, &good.1)), PairError::Chain { .. }));
    let over = issued(before(NOW, DAY));
    assert!(matches!(is((&over.0, &over.1)), PairError::Expired { .. }));
    let early = issued(NOW.plus(DAY));
    assert!(matches!(is((&early.0, &early.1)), PairError::NotYet { .. }));
    let long = "x".repeat((1 << 20) + 1);
    assert!(matches!(is((&long, &good.1)), PairError::TooLong { .. }));
    let shop = Shop::new(good);
    fs::remove_file(shop.dir.path().join("key.pem")).unwrap();
    assert!(matches!(shop.open().unwrap_err(), PairError::Unreadable { .. }));
}

#[test]
fn a_key_that_everybody_can_read_is_refused_and_the_certificate_may_be_read_by_all() {
    let shop = Shop::new(issued(NOW));
    shop.allow("cert.pem", 0o644);
    for mode in [0o400, 0o640] {
        shop.allow("key.pem", mode);
        assert!(shop.open().is_ok(), "{mode:o}");
    }
    let certificates = shop.open().unwrap();
    shop.allow("key.pem", 0o644);
    let error = shop.open().unwrap_err();
    assert!(matches!(error, PairError::Exposed { .. }) && error.to_string().contains("chmod o="), "{error}");
    certificates.look(NOW, false);
    assert_eq!(shop.refusals(), "1", "a replacement is held to the same");
}

#[test]
fn a_replacement_is_taken_over_only_when_it_is_whole() {
    let shop = Shop::new(issued(NOW));
    let certificates = shop.open().unwrap();
    let first = shown(&certificates);
    certificates.look(NOW, false);
    assert_eq!(shown(&certificates), first);

    let (chain, key) = issued(NOW);
    shop.put("cert.pem", "garbage");
    certificates.look(NOW, false);
    assert_eq!((shown(&certificates), shop.refusals().as_str()), (first, "1"));
    // What is refused is refused once, not every few seconds.
    certificates.look(NOW.plus(Millis::from_secs(2)), false);
    assert_eq!(shop.refusals(), "1");

    shop.put("cert.pem", &chain);
    certificates.look(NOW, false);
    assert_eq!((shown(&certificates), shop.refusals().as_str()), (first, "2"), "its key is not here yet");
    fs::remove_file(shop.dir.path().join("key.pem")).unwrap();
    certificates.look(NOW, false);
    assert_eq!((shown(&certificates), shop.refusals().as_str()), (first, "3"));
    shop.put("key.pem", &key);
    certificates.look(NOW, false);
    assert_ne!(shown(&certificates), first);
    assert_eq!(shop.refusals(), "3");
}

#[test]
fn a_replacement_from_the_future_is_taken_over_when_its_time_has_come() {
    let shop = Shop::new(issued(NOW));
    let certificates = shop.open().unwrap();
    let first = shown(&certificates);
    let hour = Millis::from_secs(3600);
    let (chain, key) = issued(NOW.plus(hour));
    shop.put("cert.pem", &chain);
    shop.put("key.pem", &key);
    certificates.look(NOW, false);
    assert_eq!(shown(&certificates), first);
    certificates.look(NOW.plus(hour), false);
    assert_ne!(shown(&certificates), first);
}

fn own(dir: &TempDir, now: UnixMs) -> Arc<Certificates> {
    Certificates::open(CertificateSource::Development { dir: dir.path().to_owned() }, telemetry(), now).unwrap()
}

#[test]
fn a_certificate_of_our_own_is_made_once_for_its_owner_alone_and_lives_less_than_14_days() {
    let dir = tempfile::tempdir().unwrap();
    let first = own(&dir, NOW);
    assert_eq!(first.hashes().len(), 1);
    let loads = || first.telemetry.render().lines().any(|line| line.ends_with("{outcome=\"loaded\"} 1"));
    first.look(NOW, false);
    assert!(loads(), "it is not read again for having been written");
    assert_eq!(own(&dir, NOW.plus(DAY)).hashes(), first.hashes());
    let mode = fs::metadata(dir.path().join("development.pem")).unwrap().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert!(first.expires().since(NOW) < Millis::from_secs(14 * 24 * 3600 - 3600));
}

#[test]
fn the_next_certificate_of_our_own_is_told_of_days_before_it_is_shown() {
    let dir = tempfile::tempdir().unwrap();
    let certificates = own(&dir, NOW);
    let first = shown(&certificates);
    let mut told = Vec::new();
    let mut day = 0;
    while shown(&certificates) == first {
        told = certificates.hashes();
        assert_eq!(told[0], first);
        day += 1;
        assert!(day < 13, "it was never replaced");
        certificates.look(NOW.plus(Millis::from_secs(day * 24 * 3600)), false);
        assert_eq!(own(&dir, NOW.plus(Millis::from_secs(day * 24 * 3600))).hashes(), certificates.hashes());
    }
    assert_eq!(told[1..], [shown(&certificates)], "the one that is shown now was told of");
    assert!((10..12).contains(&day), "{day}");
    assert!(certificates.expires().since(NOW) > Millis::from_secs(14 * 24 * 3600));
}

#[test]
fn a_certificate_of_our_own_that_has_not_begun_is_made_anew_while_it_is_shown() {
    let dir = tempfile::tempdir().unwrap();
    let certificates = own(&dir, NOW);
    let first = shown(&certificates);
    // It begins an hour before it was made.
    for back in [0, 1800, 3599] {
        certificates.look(before(NOW, Millis::from_secs(back)), false);
        assert_eq!(shown(&certificates), first);
    }
    let yesterday = before(NOW, DAY);
    certificates.look(yesterday, false);
    assert_ne!(shown(&certificates), first);
    assert!(certificates.expires() > yesterday && certificates.expires() < NOW.plus(Millis::from_secs(13 * 24 * 3600)));
    let second = shown(&certificates);
    certificates.look(yesterday, false);
    assert_eq!(shown(&certificates), second);
    certificates.look(NOW, false);
    assert_eq!(shown(&certificates), second, "it is good still when the clock is back");
}

#[test]
fn a_certificate_of_our_own_that_is_over_or_broken_is_made_anew() {
    let dir = tempfile::tempdir().unwrap();
    let first = own(&dir, NOW).hashes();
    let later = own(&dir, NOW.plus(Millis::from_secs(30 * 24 * 3600))).hashes();
    assert_ne!(later, first);
    fs::write(dir.path().join("development.pem"), "garbage").unwrap();
    assert_ne!(own(&dir, NOW.plus(Millis::from_secs(30 * 24 * 3600))).hashes(), later);
}
