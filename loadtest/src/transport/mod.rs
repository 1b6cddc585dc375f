//! How frames travel.
//!
//! A transport belongs to one lane. It sends without waiting and hands over whatever has come back; it believes nothing
//! it receives. A further transport is one more file here and one more arm in [`crate::run`].

mod http;
mod udp;

use std::{io, time::Duration};

use gastank::wire::FRAME_LEN;

use crate::session::SessionIndex;

pub use http::HttpTransport;
pub use udp::UdpTransport;

/// Sends the frames of a lane and receives the answers.
pub trait Transport: Send {
    /// Sends a frame without waiting for anything.
    ///
    /// # Errors
    ///
    /// [`SendError`]: the frame has not been sent.
    fn send(&mut self, session: SessionIndex, seq: u32, frame: &[u8; FRAME_LEN]) -> Result<(), SendError>;

    /// Appends the answers that have come to `answers`; waits for the first one for at most `wait`.
    ///
    /// # Errors
    ///
    /// An error that no later call will get over.
    fn receive(&mut self, wait: Duration, answers: &mut Vec<Answer>) -> io::Result<()>;

    /// Answers that this machine received and dropped before the generator read them.
    fn dropped(&self) -> u64 {
        0
    }
}

/// Why a frame has not been sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// Too many frames wait to be sent.
    #[error("too many frames wait to be sent")]
    Full,
    /// The system refused.
    #[error("the system refused to send")]
    Refused,
}

/// Something that came back.
#[derive(Clone, Copy, Debug)]
pub struct Answer {
    /// When, on the program's clock.
    pub at: Duration,
    /// The frame it answers, where the transport knows; else the answer itself has to say.
    pub seq: Option<u32>,
    /// What it is.
    pub reply: Reply,
}

/// What came back.
#[derive(Clone, Copy, Debug)]
pub enum Reply {
    /// As many bytes as a frame has.
    Frame([u8; FRAME_LEN]),
    /// Bytes of another length.
    Odd,
    /// An HTTP status other than 200.
    Refused(u16),
    /// The exchange failed.
    Failed,
}

impl<T: Transport + ?Sized> Transport for Box<T> {
    fn send(&mut self, session: SessionIndex, seq: u32, frame: &[u8; FRAME_LEN]) -> Result<(), SendError> {
        (**self).send(session, seq, frame)
    }

    fn receive(&mut self, wait: Duration, answers: &mut Vec<Answer>) -> io::Result<()> {
        (**self).receive(wait, answers)
    }

    fn dropped(&self) -> u64 {
        (**self).dropped()
    }
}
