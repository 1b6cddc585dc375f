//! A load of requests and answers over TCP connections that stay open: any protocol whose answers are all of one length.
//!
//! Every connection has one request under way. All requests of a turn are written, then all answers read, so that the
//! server finds as many requests waiting as there are connections, whoever the server is.

use std::{
    fs,
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    path::Path,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use serde_json::json;

/// The longest answer.
const MAX_ANSWER: usize = 4 << 20;
/// How long the first answer may take to come whole.
const FIRST: Duration = Duration::from_millis(300);

/// Asks for `duration`, and prints how many answers came.
pub(crate) fn run(
    addr: SocketAddr,
    request: &Path,
    expect: &[u8],
    connections: usize,
    duration: Duration,
) -> anyhow::Result<()> {
    let request = fs::read(request).with_context(|| format!("{}", request.display()))?;
    let connect = || {
        let stream = TcpStream::connect(addr).with_context(|| format!("cannot connect to {addr}"))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        Ok(stream)
    };
    let mut streams = (0..connections).map(|_| connect()).collect::<anyhow::Result<Vec<_>>>()?;
    let length = length_of_an_answer(streams.first_mut().context("there are no connections")?, &request)?;
    let mut answer = vec![0; length];
    let (began, mut answers) = (now(), 0u64);
    while now() - began < duration {
        for stream in &mut streams {
            stream.write_all(&request)?;
        }
        for stream in &mut streams {
            stream.read_exact(&mut answer).context("an answer did not come")?;
            ensure!(
                answer.starts_with(expect),
                "an answer was: {}",
                String::from_utf8_lossy(&answer[..length.min(500)])
            );
            answers += 1;
        }
    }
    let report = json!({ "operations": answers, "seconds": (now() - began).as_secs_f64(), "answer_bytes": length });
    serde_json::to_writer(std::io::stdout(), &report)?;
    Ok(())
}

/// How long the answers are: as long as the first one.
fn length_of_an_answer(stream: &mut TcpStream, request: &[u8]) -> anyhow::Result<usize> {
    stream.write_all(request)?;
    thread::sleep(FIRST);
    let mut answer = vec![0; MAX_ANSWER];
    let mut length = 0;
    stream.set_nonblocking(true)?;
    while let Ok(more @ 1..) = stream.read(&mut answer[length..]) {
        length += more;
        // What the window held back follows when there is room.
        thread::sleep(Duration::from_millis(5));
    }
    stream.set_nonblocking(false)?;
    ensure!(length > 0, "the first answer did not come");
    Ok(length)
}

#[expect(clippy::disallowed_methods, reason = "a load is an edge of the program: it measures time")]
fn now() -> Instant {
    Instant::now()
}
