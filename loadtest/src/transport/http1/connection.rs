//! One connection: opening, at most one exchange, closing.

use std::{
    io::{self, Read, Write},
    net::TcpStream,
    time::Duration,
};

use rustls::ClientConnection;
use socket2::{Domain, Protocol, Socket, Type};

use super::{
    super::{
        HttpReply, Message,
        poll::{Interest, Poller},
    },
    response::Response,
    target::Target,
};

/// A connection, or the place of one.
pub(super) struct Connection {
    link: Option<Link>,
    /// When to try again, once a try has failed.
    open_again: Option<Duration>,
}

struct Link {
    socket: TcpStream,
    tls: Option<Box<ClientConnection>>,
    state: State,
    out: Vec<u8>,
    interest: Interest,
    response: Response,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Opening,
    Idle,
    Sent { seq: u32, at: Duration },
}

/// What came of looking at a connection.
pub(super) enum Progress {
    /// Nothing to tell yet.
    Nothing,
    /// It has just been opened.
    Open,
    /// The server has closed it while nothing was asked.
    Closed,
    /// The answer has come. After the `last` one the server closes.
    Answer { seq: u32, reply: HttpReply, last: bool },
}

impl Connection {
    pub(super) const fn new() -> Self {
        Self { link: None, open_again: None }
    }

    /// Starts opening it. It is open when [`Self::progress`] says so.
    pub(super) fn open(&mut self, target: &Target, poller: &Poller, number: usize) -> io::Result<()> {
        self.open_again = None;
        let socket = Socket::new(Domain::for_address(target.server), Type::STREAM, Some(Protocol::TCP))?;
        socket.set_tcp_nodelay(true)?;
        socket.set_nonblocking(true)?;
        match socket.connect(&target.server.into()) {
            Err(error) if error.raw_os_error() != Some(nix::libc::EINPROGRESS) => return Err(error),
            _ => {}
        }
        let tls = match &target.tls {
            Some((config, name)) => {
                let client = ClientConnection::new(std::sync::Arc::clone(config), name.clone());
                Some(Box::new(client.map_err(io::Error::other)?))
            }
            None => None,
        };
        poller.add(&socket, number, Interest::ReadWrite)?;
        self.link = Some(Link {
            socket: socket.into(),
            tls,
            state: State::Opening,
            out: Vec::new(),
            interest: Interest::ReadWrite,
            response: Response::default(),
        });
        Ok(())
    }

    /// Closes it. Answers what was under way.
    pub(super) fn close(&mut self, open_again: Option<Duration>) -> Option<u32> {
        self.open_again = open_again;
        match self.link.take()?.state {
            State::Sent { seq, .. } => Some(seq),
            State::Opening | State::Idle => None,
        }
    }

    /// Whether it is time to try again.
    pub(super) fn opens_again(&self, now: Duration) -> bool {
        self.open_again.is_some_and(|at| now >= at)
    }

    /// Whether its exchange has taken too long.
    pub(super) fn is_stuck(&self, now: Duration, give_up: Duration) -> bool {
        matches!(&self.link, Some(Link { state: State::Sent { at, .. }, .. }) if now > *at + give_up)
    }

    /// Sends a request; the connection must be idle.
    pub(super) fn request(
        &mut self,
        target: &Target,
        poller: &Poller,
        number: usize,
        seq: u32,
        at: Duration,
        message: &Message,
    ) -> io::Result<()> {
        let link = self.link.as_mut().ok_or(io::ErrorKind::NotConnected)?;
        link.state = State::Sent { seq, at };
        match &mut link.tls {
            None => target.write(&mut link.out, message),
            Some(tls) => {
                let mut plain = Vec::new();
                target.write(&mut plain, message);
                tls.writer().write_all(&plain)?;
            }
        }
        link.write(poller, number)
    }

    /// Moves what can be moved.
    ///
    /// # Errors
    ///
    /// The connection is of no use any more.
    pub(super) fn progress(&mut self, poller: &Poller, number: usize) -> io::Result<Progress> {
        // A socket that has been replaced may have been ready as well.
        let Some(link) = &mut self.link else { return Ok(Progress::Nothing) };
        if link.state == State::Opening {
            return link.finish_opening(poller, number);
        }
        link.write(poller, number)?;
        let over = link.read()?;
        link.write(poller, number)?;
        match (link.response.take(over)?, link.state) {
            (Some((reply, last)), State::Sent { seq, .. }) => {
                link.state = State::Idle;
                Ok(Progress::Answer { seq, reply, last: last || over })
            }
            (Some(_), _) => Err(io::ErrorKind::InvalidData.into()),
            (None, State::Idle) if over => Ok(Progress::Closed),
            (None, _) if over => Err(io::ErrorKind::UnexpectedEof.into()),
            (None, _) => Ok(Progress::Nothing),
        }
    }
}

impl Link {
    fn finish_opening(&mut self, poller: &Poller, number: usize) -> io::Result<Progress> {
        if let Some(error) = self.socket.take_error()? {
            return Err(error);
        }
        match self.socket.peer_addr() {
            Err(error) if error.kind() == io::ErrorKind::NotConnected => return Ok(Progress::Nothing),
            other => other?,
        };
        self.write(poller, number)?;
        if self.tls.is_some() {
            self.read()?;
            self.write(poller, number)?;
        }
        if self.tls.as_ref().is_some_and(|tls| tls.is_handshaking()) {
            return Ok(Progress::Nothing);
        }
        self.state = State::Idle;
        Ok(Progress::Open)
    }

    /// Writes what waits, and asks to be woken when there is room for what is left.
    fn write(&mut self, poller: &Poller, number: usize) -> io::Result<()> {
        if let Some(tls) = &mut self.tls {
            while tls.wants_write() {
                match tls.write_tls(&mut self.socket) {
                    Ok(_) => {}
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                    Err(error) => return Err(error),
                }
            }
        }
        while !self.out.is_empty() {
            match self.socket.write(&self.out) {
                Ok(written) => drop(self.out.drain(..written)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        let more = !self.out.is_empty() || self.tls.as_ref().is_some_and(|tls| tls.wants_write());
        let interest = if more { Interest::ReadWrite } else { Interest::Read };
        if interest != self.interest {
            self.interest = interest;
            poller.modify(&self.socket, number, interest)?;
        }
        Ok(())
    }

    /// Reads what has come. Answers whether the server has closed.
    fn read(&mut self) -> io::Result<bool> {
        let mut chunk = [0; 16 << 10];
        loop {
            let read = match &mut self.tls {
                None => self.socket.read(&mut chunk),
                Some(tls) => match tls.read_tls(&mut self.socket) {
                    Ok(0) => Ok(0),
                    Ok(_) => {
                        tls.process_new_packets().map_err(io::Error::other)?;
                        loop {
                            match tls.reader().read(&mut chunk) {
                                Ok(0) => return Ok(true),
                                Ok(read) => self.response.push(&chunk[..read])?,
                                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                                Err(error) => return Err(error),
                            }
                        }
                        continue;
                    }
                    Err(error) => Err(error),
                },
            };
            match read {
                Ok(0) => return Ok(true),
                Ok(read) => {
                    self.response.push(&chunk[..read])?;
                    // A short read has emptied the socket: the next call would say so at the price of a system call.
                    if read < chunk.len() {
                        return Ok(false);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}
