//! `POST /v1/heartbeat`, over a few kept-alive HTTP/1.1 connections.
//!
//! A lane's frames wait in one queue for the first connection that is free. A beat that waits there is late, and its
//! latency says so.

use std::{
    io,
    sync::{
        Arc,
        mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel},
    },
    time::Duration,
};

use gastank::wire::FRAME_LEN;
use reqwest::{Client, StatusCode, Url, header::CONTENT_TYPE};
use tokio::{
    runtime::Handle,
    sync::{Mutex, mpsc},
};

use super::{Answer, Reply, SendError, Transport};
use crate::{clock::Clock, session::SessionIndex};

/// How many frames may wait for a free connection.
const QUEUE: usize = 1 << 16;

struct Request {
    seq: u32,
    frame: [u8; FRAME_LEN],
}

/// A few HTTP connections, driven by a runtime of their own.
pub struct HttpTransport {
    requests: mpsc::Sender<Request>,
    answers: Receiver<Answer>,
}

impl HttpTransport {
    /// `connections` connections to the service at `base`; an exchange fails after `timeout`.
    ///
    /// # Errors
    ///
    /// An address that cannot be used, or a client that cannot be made.
    pub fn new(
        clock: Clock,
        runtime: &Handle,
        base: &Url,
        connections: usize,
        timeout: Duration,
    ) -> anyhow::Result<Self> {
        let url = base.join("/v1/heartbeat")?;
        let client = Client::builder()
            .no_proxy()
            .http1_only()
            .pool_max_idle_per_host(connections)
            .tcp_nodelay(true)
            .timeout(timeout)
            .build()?;
        let (requests, queue) = mpsc::channel(QUEUE);
        let queue = Arc::new(Mutex::new(queue));
        // Every answer has its place: no more are under way than wait and are being exchanged.
        let (sender, answers) = sync_channel(QUEUE + connections);
        for _ in 0..connections.max(1) {
            runtime.spawn(work(clock, client.clone(), url.clone(), Arc::clone(&queue), sender.clone()));
        }
        Ok(Self { requests, answers })
    }
}

impl Transport for HttpTransport {
    fn send(&mut self, _session: SessionIndex, seq: u32, frame: &[u8; FRAME_LEN]) -> Result<(), SendError> {
        self.requests.try_send(Request { seq, frame: *frame }).map_err(|_| SendError::Full)
    }

    fn receive(&mut self, wait: Duration, answers: &mut Vec<Answer>) -> io::Result<()> {
        match self.answers.recv_timeout(wait) {
            Ok(answer) => answers.push(answer),
            Err(RecvTimeoutError::Timeout) => return Ok(()),
            Err(RecvTimeoutError::Disconnected) => return Err(io::ErrorKind::BrokenPipe.into()),
        }
        answers.extend(self.answers.try_iter().take(READS));
        Ok(())
    }
}

/// How many answers are taken over before it is time to send again.
const READS: usize = 256;

/// One connection: takes the frame that has waited longest, exchanges it, again.
async fn work(
    clock: Clock,
    client: Client,
    url: Url,
    queue: Arc<Mutex<mpsc::Receiver<Request>>>,
    answers: SyncSender<Answer>,
) {
    loop {
        let Some(request) = queue.lock().await.recv().await else { return };
        let reply = exchange(&client, &url, request.frame).await.unwrap_or(Reply::Failed);
        let answer = Answer { at: clock.now(), seq: Some(request.seq), reply };
        // A full queue is a lane that has stopped reading; its beats are lost, and counted so.
        if let Err(TrySendError::Disconnected(_)) = answers.try_send(answer) {
            return;
        }
    }
}

async fn exchange(client: &Client, url: &Url, frame: [u8; FRAME_LEN]) -> reqwest::Result<Reply> {
    let request = client.post(url.clone()).header(CONTENT_TYPE, "application/octet-stream").body(frame.to_vec());
    let mut response = request.send().await?;
    let status = response.status();
    let mut body = Vec::with_capacity(FRAME_LEN);
    while let Some(chunk) = response.chunk().await? {
        // What is beyond a problem document's size is not read, at the price of the connection.
        if body.len() + chunk.len() > MAX_BODY {
            return Ok(Reply::Odd);
        }
        body.extend_from_slice(&chunk);
    }
    if status != StatusCode::OK {
        return Ok(Reply::Refused(status.as_u16()));
    }
    Ok(body.as_slice().try_into().map_or(Reply::Odd, Reply::Frame))
}

const MAX_BODY: usize = 4096;
