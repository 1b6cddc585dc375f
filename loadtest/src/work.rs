//! What a lane does: the messages of one kind of operation, and what their answers must say.

use std::time::Duration;

use crate::{
    record::Kind,
    transport::{Answer, Message},
    verify::Bad,
    window::Flavour,
};

/// One kind of operation.
pub trait Work {
    /// What an answer is held against.
    type Context: Copy;

    /// What its plain messages are.
    fn kind(&self) -> Kind;

    /// The message for a turn. `again`: what was asked before, and is to be sent once more as it was.
    /// `None`: there is nothing to be said now, and the turn counts as not sent.
    fn compose(&mut self, turn: &Turn, again: Option<&Self::Context>) -> Option<(Self::Context, Message)>;

    /// Judges the answer to a message, and learns from it if it is good.
    ///
    /// # Errors
    ///
    /// A [`Miss`]: it was no good answer.
    fn judge(&mut self, question: &Question<Self::Context>, answer: &Answer) -> Result<(), Miss>;
}

/// A turn of a session.
#[derive(Clone, Copy, Debug)]
pub struct Turn {
    /// The place of the session among the lane's.
    pub place: usize,
    /// The number of the message.
    pub seq: u32,
    /// The time, on the program's clock.
    pub at: Duration,
    /// What sort of message it is to be.
    pub flavour: Flavour,
    /// Drawn from the seed.
    pub draw: u64,
}

/// A message that has been answered.
#[derive(Clone, Copy, Debug)]
pub struct Question<A> {
    /// The place of its session among the lane's.
    pub place: usize,
    /// When it was sent, on the program's clock.
    pub sent: Duration,
    /// What was asked.
    pub asked: A,
}

/// Why an answer is not a good one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Miss {
    /// It says something wrong.
    Bad(Bad),
    /// The service said no, with this HTTP status.
    Refused(u16),
    /// There was none.
    Failed,
}

impl From<Bad> for Miss {
    fn from(bad: Bad) -> Self {
        Self::Bad(bad)
    }
}
