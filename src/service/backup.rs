//! A complete copy of what a service is: its data file and every secret file, made while it runs, and put back.
//!
//! A backup is a directory with the files and `manifest.json`, which names each with its SHA-256. The manifest is written
//! last: a directory without one is no backup. Nothing is put back that the manifest does not vouch for, and nothing is put
//! in place of something else.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::{
    config::{Config, StoreUrl},
    identity::ProviderSettings,
    store::{
        StoreError,
        sqlite::{copy_online, is_in_use, verify},
    },
};

const MANIFEST: &str = "manifest.json";
/// The form of the manifest and of the directory around it.
const BACKUP_FORMAT: u32 = 1;
/// The name of the data file in a backup, whatever it is called where it is used.
const DATA_FILE: &str = "gastank.db";
/// Files of the data directory besides the data file. The first must be there.
const OWN_FILES: [&str; 6] =
    ["cluster.secret", "admin.token", "hooks.secrets", "shops.secrets", "development.pem", "development-next.pem"];
/// How the names of client secrets of identity providers begin in a backup; the beginning of the SHA-256 of the issuer follows.
const CLIENT_SECRET: &str = "hub_client_secret_file-";
/// Bytes of a file that is not the data file.
const MAX_FILE: u64 = 1 << 20;
/// How often secrets may change while the data file is copied.
const TRIES: usize = 3;

/// Why a backup was not made or not put back.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// The system refused.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The data file cannot be copied, or a copy is not good.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// There is something where nothing may be.
    #[error("{} is not empty: {remedy}", path.display())]
    Occupied {
        /// Where.
        path: PathBuf,
        /// What to do.
        remedy: &'static str,
    },
    /// It cannot be done with this configuration, or with this backup.
    #[error("{0}")]
    Refused(String),
    /// A file of the backup is not what was put there.
    #[error("{} is not what the manifest says: its SHA-256 is {found}, not {wanted}; use another backup", path.display())]
    Altered {
        /// The file.
        path: PathBuf,
        /// What it is.
        found: String,
        /// What it should be.
        wanted: String,
    },
}

/// What is in a backup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// The form of the backup: 1.
    pub backup_format: u32,
    /// The version of the program that made it.
    pub gastank: String,
    /// The format of the data file.
    pub data_format: i64,
    /// The files.
    pub files: Vec<BackedUp>,
}

/// A file of a backup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BackedUp {
    /// Its name in the backup.
    pub name: String,
    /// Its length.
    pub bytes: u64,
    /// Its SHA-256, in hexadecimal.
    pub sha256: String,
    /// The key of the configuration that names where it is used, if that is not the data directory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub setting: Option<String>,
}

/// What became of a file of a backup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Restored {
    /// Where it is.
    pub path: PathBuf,
    /// It is there already, or no setting says where it belongs: it was left in the backup. The reason.
    pub left: Option<String>,
}

/// A file outside the data directory, and which setting names it.
struct Elsewhere {
    name: String,
    setting: String,
    path: PathBuf,
}

/// Makes a complete copy in `into`, which must be empty or not there, and checks it. The service may be running. Blocks.
///
/// # Errors
///
/// [`BackupError`]. There is no manifest then.
pub fn backup(config: &Config, into: &Path, watch: &mut dyn FnMut(u64, u64)) -> Result<Manifest, BackupError> {
    let data = data_file(config)?;
    if !data.is_file() {
        let text = format!("there is no data file at {}: say where it is with --data-dir or --store", data.display());
        return Err(BackupError::Refused(text));
    }
    make_empty(into, "a backup is made in a directory of its own; name another")?;
    let mut before = secrets(config)?;
    let copy = into.join(DATA_FILE);
    for tries in 1.. {
        copy_online(&data, &copy, watch)?;
        let after = secrets(config)?;
        if after == before {
            break;
        }
        // The secrets must be those of the same time as the data.
        if tries == TRIES {
            let text = "the secrets changed again and again while the data were copied; try again".to_owned();
            return Err(BackupError::Refused(text));
        }
        fs::remove_file(&copy).map_err(at(&copy))?;
        before = after;
    }
    restrict(&copy)?;
    let data_format = verify(&copy)?;
    let (bytes, sha256) = digest(&copy)?;
    let mut files = vec![BackedUp { name: DATA_FILE.to_owned(), bytes, sha256, setting: None }];
    for Secret { name, setting, content } in &before {
        write_new(&into.join(name), content)?;
        let (bytes, sha256) = digest(&into.join(name))?;
        files.push(BackedUp { name: name.clone(), bytes, sha256, setting: setting.clone() });
    }
    let gastank = env!("CARGO_PKG_VERSION").to_owned();
    let manifest = Manifest { backup_format: BACKUP_FORMAT, gastank, data_format, files };
    let text = serde_json::to_vec_pretty(&manifest).map_err(|error| at(into)(error.into()))?;
    write_new(&into.join(MANIFEST), &text)?;
    sync(into)?;
    Ok(manifest)
}

/// Puts a backup back: into a data directory that is empty or not there, and to where the settings say. Blocks.
///
/// # Errors
///
/// [`BackupError`]. Everything is looked at before anything is written.
pub fn restore(config: &Config, from: &Path) -> Result<Vec<Restored>, BackupError> {
    let data = data_file(config)?;
    let manifest = check(from)?;
    if is_in_use(&data) {
        let text = format!("a gastank is running on {}: stop it, or choose another --data-dir", data.display());
        return Err(BackupError::Refused(text));
    }
    let dir = &config.data_dir;
    const AWAY: &str = "move away what is in it, or choose another --data-dir; nothing was changed";
    if data.exists() {
        return Err(BackupError::Occupied { path: data, remedy: AWAY });
    }
    make_empty(dir, AWAY)?;
    let elsewhere = elsewhere(config);
    let mut done = Vec::new();
    // The data first, under their name only when they are whole. What is interrupted leaves no data, or data without
    // the secret that they need: neither starts as an empty service.
    let mut files: Vec<&BackedUp> = manifest.files.iter().collect();
    files.sort_by_key(|file| file.name != DATA_FILE);
    let mut undo = Undo::default();
    for file in files {
        let source = from.join(&file.name);
        let target = match &file.setting {
            None if file.name == DATA_FILE => data.clone(),
            None => dir.join(&file.name),
            Some(setting) => match elsewhere.iter().find(|known| known.name == file.name) {
                Some(known) => known.path.clone(),
                None => {
                    let left = Some(format!("{setting} is not set; it was left where it is"));
                    done.push(Restored { path: source, left });
                    continue;
                }
            },
        };
        if file.setting.is_some() && target.exists() {
            let left = Some(format!("it is there already, and stays as it is; the backup has {}", source.display()));
            done.push(Restored { path: target, left });
            continue;
        }
        let draft = target.with_extension("restoring");
        undo.made.push(draft.clone());
        copy_new(&source, &draft)?;
        fs::rename(&draft, &target).map_err(at(&target))?;
        undo.made.push(target.clone());
        done.push(Restored { path: target, left: None });
    }
    sync(dir)?;
    undo.made.clear();
    Ok(done)
}

/// What a restore has made so far. Removed when it fails, so that it can be tried again.
#[derive(Default)]
struct Undo {
    made: Vec<PathBuf>,
}

impl Drop for Undo {
    fn drop(&mut self) {
        for path in self.made.drain(..).rev() {
            let _ = fs::remove_file(path);
        }
    }
}

/// Reads all of a backup: whether every file is what was put there, and the data are whole.
///
/// # Errors
///
/// [`BackupError`].
pub fn check(from: &Path) -> Result<Manifest, BackupError> {
    let path = from.join(MANIFEST);
    let text = match read_small(&path)? {
        Some(text) => text,
        None => {
            let text = format!(
                "there is no {MANIFEST} in {}: it is no backup, or it was interrupted; name the directory that \
                 `gastank backup` made",
                from.display()
            );
            return Err(BackupError::Refused(text));
        }
    };
    let wrong = |why: String| BackupError::Refused(format!("{}: {why}", path.display()));
    let manifest: Manifest = serde_json::from_slice(&text).map_err(|error| wrong(error.to_string()))?;
    if manifest.backup_format != BACKUP_FORMAT {
        let (found, known) = (manifest.backup_format, BACKUP_FORMAT);
        return Err(wrong(format!(
            "it has backup format {found}, and this gastank knows {known}; use a newer gastank"
        )));
    }
    let is_hex = |text: &str| text.len() == 16 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    let is_known = |name: &str| {
        name == DATA_FILE
            || OWN_FILES.contains(&name)
            || SETTINGS.contains(&name)
            || name.strip_prefix(CLIENT_SECRET).is_some_and(is_hex)
    };
    if let Some(file) = manifest.files.iter().find(|file| !is_known(&file.name)) {
        return Err(wrong(format!("it names `{}`, which is no file of a backup", file.name.escape_debug())));
    }
    for needed in [DATA_FILE, OWN_FILES[0]] {
        if !manifest.files.iter().any(|file| file.name == needed) {
            return Err(wrong(format!("it does not name {needed}, without which nothing can be restored")));
        }
    }
    for file in &manifest.files {
        let path = from.join(&file.name);
        let (_, found) = digest(&path)?;
        if found != file.sha256 {
            return Err(BackupError::Altered { path, found, wanted: file.sha256.clone() });
        }
    }
    verify(&from.join(DATA_FILE))?;
    Ok(manifest)
}

/// Files outside the data directory: the settings that name them, which are their names in a backup. Client secrets of identity
/// providers are others.
const SETTINGS: [&str; 4] = ["hooks.secrets_file", "rewards.shops_file", "tls.cert_file", "tls.key_file"];

fn elsewhere(config: &Config) -> Vec<Elsewhere> {
    let paths = [&config.hooks.secrets_file, &config.rewards.shops_file, &config.tls.cert_file, &config.tls.key_file];
    let named = SETTINGS.iter().zip(paths).filter_map(|(name, path)| {
        Some(Elsewhere { name: (*name).into(), setting: (*name).into(), path: path.clone()? })
    });
    let of_provider = |provider: ProviderSettings| {
        let path = provider.relying?.client_secret_file?;
        let digest = Sha256::digest(provider.issuer.as_bytes());
        let digits: String = digest[..8].iter().map(|byte| format!("{byte:02x}")).collect();
        let setting = format!("hub_client_secret_file of {}", provider.issuer);
        Some(Elsewhere { name: format!("{CLIENT_SECRET}{digits}"), setting, path })
    };
    named.chain(config.identity_providers().filter_map(of_provider)).collect()
}

#[derive(PartialEq, Eq)]
struct Secret {
    name: String,
    setting: Option<String>,
    content: Zeroizing<Vec<u8>>,
}

/// Every file besides the data file, as it is now.
fn secrets(config: &Config) -> Result<Vec<Secret>, BackupError> {
    let mut found = Vec::new();
    for name in OWN_FILES {
        let path = config.data_dir.join(name);
        match read_small(&path)? {
            Some(content) => found.push(Secret { name: name.to_owned(), setting: None, content }),
            None if name == OWN_FILES[0] => {
                let text = format!("there is no {}: say where the data directory is with --data-dir", path.display());
                return Err(BackupError::Refused(text));
            }
            None => {}
        }
    }
    for Elsewhere { name, setting, path } in elsewhere(config) {
        match read_small(&path)? {
            Some(content) => found.push(Secret { name, setting: Some(setting), content }),
            // Of webhooks there need be none.
            None if ["hooks.secrets_file", "rewards.shops_file"].contains(&&*setting) => {}
            None => {
                return Err(BackupError::Refused(format!("{setting} names {}, which is not there", path.display())));
            }
        }
    }
    Ok(found)
}

fn data_file(config: &Config) -> Result<PathBuf, BackupError> {
    match &config.store {
        StoreUrl::Sqlite(path) => Ok(path.clone()),
        StoreUrl::Scylla(_) => Err(BackupError::Refused(
            "the store is a CQL cluster, which is backed up with its own snapshots, and the data directory by copying it: \
             see docs/cql.md. This command is for the data file"
                .to_owned(),
        )),
    }
}

fn make_empty(dir: &Path, remedy: &'static str) -> Result<(), BackupError> {
    DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(at(dir))?;
    match fs::read_dir(dir).map_err(at(dir))?.next() {
        None => Ok(()),
        // What a file system puts at its root.
        Some(Ok(entry)) if entry.file_name() == "lost+found" => Ok(()),
        Some(_) => Err(BackupError::Occupied { path: dir.to_owned(), remedy }),
    }
}

fn read_small(path: &Path) -> Result<Option<Zeroizing<Vec<u8>>>, BackupError> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(at(path)(error)),
    };
    let mut bytes = Zeroizing::new(Vec::new());
    file.take(MAX_FILE + 1).read_to_end(&mut bytes).map_err(at(path))?;
    if bytes.len() as u64 > MAX_FILE {
        return Err(BackupError::Refused(format!("{}: it is longer than {MAX_FILE} bytes", path.display())));
    }
    Ok(Some(bytes))
}

fn create(path: &Path) -> Result<File, BackupError> {
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(at(path))
}

fn write_new(path: &Path, content: &[u8]) -> Result<(), BackupError> {
    let mut file = create(path)?;
    file.write_all(content).and_then(|()| file.sync_all()).map_err(at(path))
}

fn copy_new(from: &Path, to: &Path) -> Result<(), BackupError> {
    let mut source = File::open(from).map_err(at(from))?;
    let mut file = create(to)?;
    io::copy(&mut source, &mut file).and_then(|_| file.sync_all()).map_err(at(to))
}

fn restrict(path: &Path) -> Result<(), BackupError> {
    let mode = fs::Permissions::from_mode(0o600);
    fs::set_permissions(path, mode).and_then(|()| File::open(path)?.sync_all()).map_err(at(path))
}

fn sync(dir: &Path) -> Result<(), BackupError> {
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(at(dir))
}

fn digest(path: &Path) -> Result<(u64, String), BackupError> {
    let (mut file, mut hash) = (File::open(path).map_err(at(path))?, Sha256::new());
    let (mut buffer, mut bytes) = (vec![0; 1 << 16], 0);
    loop {
        let read = file.read(&mut buffer).map_err(at(path))?;
        if read == 0 {
            let hex = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
            return Ok((bytes, hex));
        }
        hash.update(&buffer[..read]);
        bytes += read as u64;
    }
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> BackupError {
    let path = path.to_owned();
    move |source| BackupError::Io { path, source }
}
