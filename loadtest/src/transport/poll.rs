//! Waiting for many sockets at once, to the microsecond.

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
    time::Duration,
};

use rustix::{
    buffer::spare_capacity,
    event::{PollFd, PollFlags, Timespec, epoll, poll},
};

/// What a socket is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Interest {
    /// Something to read.
    Read,
    /// Something to read, or room to write.
    ReadWrite,
}

impl Interest {
    const fn flags(self) -> epoll::EventFlags {
        match self {
            Self::Read => epoll::EventFlags::IN,
            Self::ReadWrite => epoll::EventFlags::IN.union(epoll::EventFlags::OUT),
        }
    }
}

/// A set of sockets, each with a number.
pub(super) struct Poller {
    epoll: OwnedFd,
    events: Vec<epoll::Event>,
}

/// How many sockets are looked after in one turn.
const EVENTS: usize = 256;

impl Poller {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self { epoll: epoll::create(epoll::CreateFlags::CLOEXEC)?, events: Vec::with_capacity(EVENTS) })
    }

    pub(super) fn add(&self, socket: impl AsFd, number: usize, interest: Interest) -> io::Result<()> {
        Ok(epoll::add(&self.epoll, socket, epoll::EventData::new_u64(number as u64), interest.flags())?)
    }

    pub(super) fn modify(&self, socket: impl AsFd, number: usize, interest: Interest) -> io::Result<()> {
        Ok(epoll::modify(&self.epoll, socket, epoll::EventData::new_u64(number as u64), interest.flags())?)
    }

    /// Appends the numbers of the sockets that are ready to `ready`; waits for the first for at most `wait`.
    pub(super) fn wait(&mut self, wait: Duration, ready: &mut Vec<usize>) -> io::Result<()> {
        if self.look(ready)? || wait.is_zero() {
            return Ok(());
        }
        // `epoll_wait` counts in milliseconds on older systems; `ppoll` counts in nanoseconds everywhere.
        let timeout = Timespec::try_from(wait).map_err(io::Error::other)?;
        match poll(&mut [PollFd::new(&self.epoll, PollFlags::IN)], Some(&timeout)) {
            Ok(0) | Err(rustix::io::Errno::INTR) => Ok(()),
            Ok(_) => self.look(ready).map(|_| ()),
            Err(error) => Err(error.into()),
        }
    }

    fn look(&mut self, ready: &mut Vec<usize>) -> io::Result<bool> {
        self.events.clear();
        match epoll::wait(&self.epoll, spare_capacity(&mut self.events), Some(&Timespec::default())) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let number =
            |event: &epoll::Event| usize::try_from(event.data.u64()).expect("it was a usize when it was added");
        ready.extend(self.events.iter().map(number));
        Ok(!self.events.is_empty())
    }
}
