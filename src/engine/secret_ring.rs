//! The cluster secrets, from which the keys of sessions are derived.

use crate::wire::{ClusterSecret, SecretId, SessionId, SessionKey};

/// The cluster secrets that are live, and the one that new sessions use.
#[derive(Clone)]
pub struct SecretRing {
    current: SecretId,
    secrets: [Option<ClusterSecret>; SecretId::COUNT],
}

impl SecretRing {
    /// A ring of one secret.
    pub fn new(current: SecretId, secret: ClusterSecret) -> Self {
        let mut secrets = [const { None }; SecretId::COUNT];
        secrets[usize::from(current.get())] = Some(secret);
        Self { current, secrets }
    }

    /// The same ring with one more secret, which new sessions use from now on.
    #[must_use]
    pub fn with_current(mut self, current: SecretId, secret: ClusterSecret) -> Self {
        self.secrets[usize::from(current.get())] = Some(secret);
        Self { current, ..self }
    }

    /// The same ring without one of its secrets. The current one stays whatever is asked.
    #[must_use]
    pub fn without(mut self, id: SecretId) -> Self {
        if id != self.current {
            self.secrets[usize::from(id.get())] = None;
        }
        self
    }

    /// The live secrets; the current one last.
    pub fn iter(&self) -> impl Iterator<Item = (SecretId, &ClusterSecret)> {
        let ids = (0..).map_while(SecretId::new).filter(|id| *id != self.current).chain([self.current]);
        ids.filter_map(|id| Some((id, self.find(id)?)))
    }

    /// An id that no live secret has: the next one after the current one's, so that ids are used again as late as can be.
    pub fn free(&self) -> Option<SecretId> {
        let count = SecretId::COUNT;
        let after = (1..count).map(|step| (usize::from(self.current.get()) + step) % count);
        after.filter_map(|id| SecretId::new(u8::try_from(id).ok()?)).find(|id| self.find(*id).is_none())
    }

    /// The id and the secret that new sessions use.
    pub fn current(&self) -> (SecretId, &ClusterSecret) {
        let secret = self.find(self.current).expect("`new` puts the current secret in");
        (self.current, secret)
    }

    /// The secret with this id, if it is live.
    pub fn find(&self, id: SecretId) -> Option<&ClusterSecret> {
        self.secrets[usize::from(id.get())].as_ref()
    }

    /// The heartbeat key of a session, if the secret it names is live.
    pub fn session_key(&self, session: &SessionId) -> Option<SessionKey> {
        Some(self.find(session.secret())?.session_key(session))
    }
}
