//! The sessions a run beats for, and the file that keeps them between runs.

use std::{
    fs::{self, OpenOptions},
    io::{self, BufRead, BufReader, BufWriter, Write},
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::Path,
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use gastank::{
    engine::{parse_session, session_text},
    wire::{SessionId, SessionKey},
};
use serde::{Deserialize, Serialize};

/// A session's place among those of the run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionIndex(pub u32);

impl SessionIndex {
    /// As an index into a slice.
    pub const fn get(self) -> usize {
        self.0 as usize
    }
}

/// An account made for the run, and its open session.
#[derive(Clone)]
pub struct OpenSession {
    /// The account's id, as the service wrote it.
    pub account: Box<str>,
    /// The account's key: activates and deactivates.
    pub account_key: AccountKey,
    /// The session.
    pub id: SessionId,
    /// What signs its frames.
    pub key: SessionKey,
    /// Its token, where it is of use. Never shown.
    pub token: Option<Box<str>>,
}

/// An account's key (`gtk_…`). Never shown.
#[derive(Clone, Serialize, Deserialize)]
#[serde(transparent)]
pub struct AccountKey(Box<str>);

impl AccountKey {
    /// Wraps a key as the service gave it.
    pub fn new(text: String) -> Self {
        Self(text.into())
    }

    /// The key's text, for the `Authorization` header. Dangerous: never log it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for AccountKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("AccountKey(…)")
    }
}

/// Why a file of sessions cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SessionsFileError {
    /// It cannot be read or written.
    #[error("cannot use the sessions file: {0}")]
    Io(#[from] io::Error),
    /// It is not a file that this program wrote.
    #[error("line {0} of the sessions file is not a session")]
    Line(usize),
    /// Others may read it.
    #[error("the sessions file holds keys and others may read it: `chmod 600` it")]
    Open,
    /// It has more sessions than a run can have.
    #[error("the sessions file holds more than {MAX_SESSIONS} sessions")]
    TooMany,
}

/// The most sessions that a run may have.
pub const MAX_SESSIONS: u32 = 2_000_000;

/// One line of the file.
#[derive(Serialize, Deserialize)]
struct Line {
    account: Box<str>,
    account_key: AccountKey,
    session_id: String,
    heartbeat_key: String,
}

/// Reads the sessions that [`save`] wrote; none where there is no file.
///
/// # Errors
///
/// Any [`SessionsFileError`].
pub fn load(path: &Path) -> Result<Vec<OpenSession>, SessionsFileError> {
    let file = match fs::File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other?,
    };
    if file.metadata()?.permissions().mode() & 0o077 != 0 {
        return Err(SessionsFileError::Open);
    }
    let mut sessions = Vec::new();
    for (number, line) in BufReader::new(file).lines().enumerate() {
        if sessions.len() >= MAX_SESSIONS as usize {
            return Err(SessionsFileError::TooMany);
        }
        sessions.push(parse(&line?).ok_or(SessionsFileError::Line(number + 1))?);
    }
    Ok(sessions)
}

/// Writes the sessions, one JSON object a line, readable by the owner alone; the file is whole or not there.
///
/// # Errors
///
/// [`SessionsFileError::Io`].
pub fn save(path: &Path, sessions: &[OpenSession]) -> Result<(), SessionsFileError> {
    let mut draft = path.as_os_str().to_owned();
    draft.push(".new");
    let draft = Path::new(&draft);
    match fs::remove_file(draft) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
        _ => {}
    }
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(draft)?;
    let mut writer = BufWriter::new(file);
    for session in sessions {
        let line = Line {
            account: session.account.clone(),
            account_key: session.account_key.clone(),
            session_id: session_text(&session.id),
            heartbeat_key: URL_SAFE_NO_PAD.encode(session.key.expose_bytes()),
        };
        serde_json::to_writer(&mut writer, &line).map_err(io::Error::from)?;
        writer.write_all(b"\n")?;
    }
    writer.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()?;
    Ok(fs::rename(draft, path)?)
}

/// The key that base64url without padding spells out.
pub fn parse_key(text: &str) -> Option<SessionKey> {
    Some(SessionKey::from_bytes(URL_SAFE_NO_PAD.decode(text).ok()?.try_into().ok()?))
}

fn parse(line: &str) -> Option<OpenSession> {
    let line: Line = serde_json::from_str(line).ok()?;
    Some(OpenSession {
        account: line.account,
        account_key: line.account_key,
        id: parse_session(&line.session_id)?,
        key: parse_key(&line.heartbeat_key)?,
        token: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session(n: u8) -> OpenSession {
        OpenSession {
            account: format!("account-{n}").into(),
            account_key: AccountKey::new(format!("gtk_{n}")),
            id: SessionId::from_bytes([n; 16]),
            key: SessionKey::from_bytes([n; 32]),
            token: None,
        }
    }

    #[test]
    fn sessions_read_back_as_they_were_written_and_only_their_owner_can_read_them() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("sessions");
        assert!(load(&path).unwrap().is_empty());
        for count in [3u8, 2] {
            save(&path, &(0..count).map(session).collect::<Vec<_>>()).unwrap();
            let read = load(&path).unwrap();
            assert_eq!(read.len(), usize::from(count));
            assert_eq!(read[1].id, SessionId::from_bytes([1; 16]));
            assert_eq!(read[1].key.expose_bytes(), &[1; 32]);
            assert_eq!(read[1].account_key.expose(), "gtk_1");
        }
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        assert!(matches!(load(&path), Err(SessionsFileError::Open)));
    }

    #[test]
    fn a_line_that_is_no_session_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("sessions");
        save(&path, &[session(1)]).unwrap();
        let mut text = fs::read_to_string(&path).unwrap();
        text.push_str("{\"account\":1}\n");
        fs::write(&path, text).unwrap();
        assert!(matches!(load(&path), Err(SessionsFileError::Line(2))));
    }
}
