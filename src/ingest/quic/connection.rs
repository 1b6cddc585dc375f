//! A connection of HTTP/3, as its requests and its WebTransport sessions share it.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use bytes::Bytes;
use h3::server::RequestStream;
use parking_lot::Mutex;
use quinn::Connection;

use crate::{telemetry::Telemetry, web::admission::Sessions as SessionKind};

use super::{
    bounded::Stream,
    frames::{Tally, ValidFrames},
};

/// A stream with a request.
pub(super) type Exchange = RequestStream<Stream<h3_quinn::BidiStream<Bytes>>, Bytes>;

/// The state that the requests of a connection share.
pub(super) struct Http3Connection {
    pub(super) connection: Connection,
    pub(super) sessions: Sessions,
}

/// The valid frames of a session.
pub(super) type Valid = ValidFrames<SessionKind>;

/// The sessions of a connection.
#[derive(Default)]
pub(super) struct Sessions {
    /// By the number of its stream; a handful at most.
    pub(super) open: Mutex<Vec<(u64, Arc<Valid>)>>,
    /// Whether somebody reads the connection's datagrams.
    pub(super) read: AtomicBool,
}

impl Sessions {
    pub(super) fn find(&self, session: u64) -> Option<Arc<Valid>> {
        self.open.lock().iter().find(|(number, _)| *number == session).map(|(_, valid)| Arc::clone(valid))
    }

    /// At the end of a connection that never had a session: counts the datagrams it took, which nobody read.
    pub(super) fn tell_unread(&self, connection: &Connection, telemetry: &Telemetry) {
        if !self.read.swap(true, Ordering::AcqRel) {
            Tally::default().tell(connection, telemetry);
        }
    }
}
