//! The data directory and the secrets in it, made at the first start.

use std::{
    fs::{self, DirBuilder, OpenOptions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use zeroize::Zeroizing;

use crate::{
    control::secrets::SecretFile,
    engine::SecretRing,
    entropy::{Entropy, draw},
    exposure::is_exposed,
    wire::{ClusterSecret, SecretId},
};

const CLUSTER_SECRET: &str = "cluster.secret";
const ADMIN_TOKEN: &str = "admin.token";
/// The data file while `gastank restore` writes it.
pub(super) const RESTORING: &str = "gastank.restoring";
/// What these files hold is far shorter.
const MAX_FILE: u64 = 4096;

/// Why the data directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum HomeError {
    /// The system refused.
    #[error("{path}: {source}")]
    Io {
        /// What it refused.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The directory cannot be made or is none.
    #[error("data_dir {path} cannot be used: {source}; name a directory that this user may make and write to")]
    DataDir {
        /// The directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file is not what it should be.
    #[error("{path}: {what}")]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong and what to do.
        what: &'static str,
    },
    /// Everybody can read a secret.
    #[error("{path} can be read by other users; run: chmod o= {path}")]
    Exposed {
        /// The file.
        path: PathBuf,
    },
}

/// The data directory.
pub(super) struct Home {
    path: PathBuf,
}

impl Home {
    /// Opens the directory; makes it, for its owner alone, if it is not there.
    ///
    /// # Errors
    ///
    /// [`HomeError::DataDir`].
    pub(super) fn open(path: &Path) -> Result<Self, HomeError> {
        let unusable = |source| HomeError::DataDir { path: path.to_owned(), source };
        DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(unusable)?;
        let unfinished = path.join(RESTORING);
        if unfinished.exists() {
            let what =
                "a restore was interrupted and nothing can be started here; empty the directory and restore again";
            return Err(HomeError::Malformed { path: unfinished, what });
        }
        Ok(Self { path: path.to_owned() })
    }

    /// Looks at what [`open`](Self::open), [`secrets`](Self::secrets) and [`admin_token`](Self::admin_token) would use, and leaves
    /// nothing behind. Answers whether there is a cluster secret.
    ///
    /// # Errors
    ///
    /// What these would answer.
    pub(super) fn look(path: &Path, entropy: &dyn Entropy) -> Result<bool, HomeError> {
        let missing = path.ancestors().take_while(|part| !part.as_os_str().is_empty() && !part.exists()).last();
        let home = Self::open(path)?;
        if let Some(made) = missing {
            // Only directories that are empty go.
            for part in path.ancestors().take_while(|part| part.starts_with(made)) {
                let _ = fs::remove_dir(part);
            }
            return Ok(false);
        }
        if path.join(ADMIN_TOKEN).exists() {
            home.admin_token(entropy)?;
        }
        let has_secret = home.has_secret();
        if has_secret {
            home.secrets(entropy)?;
        }
        Ok(has_secret)
    }

    /// Where the cluster secret is.
    pub(super) fn secret_path(&self) -> PathBuf {
        self.path.join(CLUSTER_SECRET)
    }

    /// Where the cluster secrets are kept when they rotate.
    pub(super) fn secret_lines(&self) -> SecretLines {
        SecretLines(self.secret_path())
    }

    /// Whether the cluster secret has been made.
    pub(super) fn has_secret(&self) -> bool {
        self.secret_path().exists()
    }

    /// The cluster secrets: a line each, its number and 32 bytes in base64url; the last is the current one.
    ///
    /// # Errors
    ///
    /// [`HomeError`].
    pub(super) fn secrets(&self, entropy: &dyn Entropy) -> Result<SecretRing, HomeError> {
        let path = self.secret_path();
        let text = read_or_make(&path, || {
            Zeroizing::new(format!("0 {}\n", URL_SAFE_NO_PAD.encode(Zeroizing::new(draw::<32>(entropy)))))
        })?;
        let malformed = || HomeError::Malformed {
            path: path.clone(),
            what: "it should have lines of a number from 0 to 15 and 32 bytes in base64url; restore it from a backup",
        };
        let mut ring: Option<SecretRing> = None;
        for line in text.lines().filter(|line| !line.trim().is_empty()) {
            let (id, secret) = parse_secret(line).ok_or_else(malformed)?;
            ring = Some(match ring {
                None => SecretRing::new(id, secret),
                Some(ring) => ring.with_current(id, secret),
            });
        }
        ring.ok_or_else(malformed)
    }

    /// The token of the administration.
    ///
    /// # Errors
    ///
    /// [`HomeError`].
    pub(super) fn admin_token(&self, entropy: &dyn Entropy) -> Result<Zeroizing<String>, HomeError> {
        let path = self.path.join(ADMIN_TOKEN);
        let text = read_or_make(&path, || {
            Zeroizing::new(format!("gta_{}\n", URL_SAFE_NO_PAD.encode(Zeroizing::new(draw::<32>(entropy)))))
        })?;
        let token = Zeroizing::new(text.trim().to_owned());
        if token.len() < 16 {
            let what = "the token is shorter than 16 characters; delete the file to have one made";
            return Err(HomeError::Malformed { path, what });
        }
        Ok(token)
    }
}

/// Lines of [`Home::secrets`], kept when secrets rotate.
pub(super) struct SecretLines(PathBuf);

impl SecretFile for SecretLines {
    fn keep(&self, ring: &SecretRing) -> io::Result<()> {
        let mut text = Zeroizing::new(String::with_capacity(SecretId::COUNT * 64));
        for (id, secret) in ring.iter() {
            text.push_str(&id.get().to_string());
            text.push(' ');
            URL_SAFE_NO_PAD.encode_string(secret.expose_bytes(), &mut text);
            text.push('\n');
        }
        write_whole(&self.0, &text)
    }
}

fn parse_secret(line: &str) -> Option<(SecretId, ClusterSecret)> {
    let (number, secret) = line.trim().split_once(' ')?;
    let id = SecretId::new(number.parse().ok()?)?;
    let secret = Zeroizing::new(URL_SAFE_NO_PAD.decode(secret.trim()).ok()?);
    Some((id, ClusterSecret::from_bytes(secret.as_slice().try_into().ok()?)))
}

/// What may stand before the first character of a text.
const BYTE_ORDER_MARK: char = '\u{feff}';

/// Reads a secret file. Makes it if it is not there: written whole, then put in its place.
fn read_or_make(path: &Path, make: impl FnOnce() -> Zeroizing<String>) -> Result<Zeroizing<String>, HomeError> {
    if let Some(text) = read_secret(path)? {
        return Ok(text);
    }
    let text = make();
    write_whole(path, &text).map_err(at(path))?;
    Ok(text)
}

/// Reads a secret file, if it is there.
///
/// # Errors
///
/// [`HomeError`].
pub(super) fn read_secret(path: &Path) -> Result<Option<Zeroizing<String>>, HomeError> {
    match fs::metadata(path) {
        Ok(found) if is_exposed(&found) => Err(HomeError::Exposed { path: path.to_owned() }),
        Ok(found) if found.len() > MAX_FILE => {
            Err(HomeError::Malformed { path: path.to_owned(), what: "it is far too long" })
        }
        Ok(_) => {
            let mut text = fs::read_to_string(path).map(Zeroizing::new).map_err(at(path))?;
            // Some editors put a byte order mark before what they save.
            if text.starts_with(BYTE_ORDER_MARK) {
                text.drain(..BYTE_ORDER_MARK.len_utf8());
            }
            Ok(Some(text))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(at(path)(error)),
    }
}

/// Writes a secret file whole, for its owner alone, then puts it in its place.
fn write_whole(path: &Path, text: &str) -> io::Result<()> {
    let draft = path.with_extension("new");
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&draft)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&draft, path)?;
    // The new name is durable once its directory is.
    fs::File::open(path.parent().unwrap_or(Path::new(".")))?.sync_all()
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> HomeError {
    let path = path.to_owned();
    move |source| HomeError::Io { path, source }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt, PermissionsExt};

    use super::*;
    use crate::entropy::SeededEntropy;

    #[test]
    fn a_byte_order_mark_is_no_part_of_a_secret() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("secret");
        fs::write(&path, "\u{feff}a secret").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        assert_eq!(read_secret(&path).unwrap().as_deref().map(String::as_str), Some("a secret"));
    }

    #[test]
    fn secrets_are_made_once_for_their_owner_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("deep/data");
        let home = Home::open(&path).unwrap();
        assert!(!home.has_secret());
        let token = home.admin_token(&SeededEntropy::new(1)).unwrap();
        let ring = home.secrets(&SeededEntropy::new(2)).unwrap();
        assert!(home.has_secret());
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o700);
        for file in [CLUSTER_SECRET, ADMIN_TOKEN] {
            assert_eq!(fs::metadata(path.join(file)).unwrap().mode() & 0o777, 0o600, "{file}");
        }
        assert_eq!(home.admin_token(&SeededEntropy::new(3)).unwrap(), token);
        let again = home.secrets(&SeededEntropy::new(4)).unwrap();
        assert_eq!(again.current().0, ring.current().0);
        assert_eq!(again.current().1.expose_bytes(), ring.current().1.expose_bytes());
    }

    #[test]
    fn a_secret_that_others_can_read_is_refused_with_what_to_do() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::open(dir.path()).unwrap();
        home.admin_token(&SeededEntropy::new(1)).unwrap();
        let path = dir.path().join(ADMIN_TOKEN);
        for mode in [0o644, 0o604, 0o602] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            let error = home.admin_token(&SeededEntropy::new(1)).unwrap_err().to_string();
            assert!(error.contains("chmod o="), "{error}");
        }
    }

    #[test]
    fn a_group_may_read_secrets_as_whoever_mounts_them_has_it() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::open(dir.path()).unwrap();
        let token = home.admin_token(&SeededEntropy::new(1)).unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o2770)).unwrap();
        for mode in [0o640, 0o660, 0o440] {
            fs::set_permissions(dir.path().join(ADMIN_TOKEN), fs::Permissions::from_mode(mode)).unwrap();
            assert_eq!(home.admin_token(&SeededEntropy::new(2)).unwrap(), token, "{mode:o}");
        }
    }

    #[test]
    fn the_last_secret_is_the_current_one_and_the_others_stay_live() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::open(dir.path()).unwrap();
        let line = |id: u8, byte: u8| format!("{id} {}\n", URL_SAFE_NO_PAD.encode([byte; 32]));
        let path = dir.path().join(CLUSTER_SECRET);
        fs::write(&path, line(4, 1) + &line(5, 2)).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        let ring = home.secrets(&SeededEntropy::new(1)).unwrap();
        assert_eq!(ring.current().0.get(), 5);
        assert_eq!(ring.find(SecretId::new(4).unwrap()).unwrap().expose_bytes(), &[1; 32]);
        for garbage in ["", "x", "16 AAAA", "1 AAAA", "\u{0}"] {
            fs::write(&path, garbage).unwrap();
            assert!(matches!(home.secrets(&SeededEntropy::new(1)), Err(HomeError::Malformed { .. })), "{garbage}");
        }
    }
}
