//! A sender of one frame, over and over, as fast as it can.

use std::{
    net::UdpSocket,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
};

/// Sends until it is stopped.
pub(crate) struct Flood {
    over: Arc<AtomicBool>,
    sender: Option<JoinHandle<u64>>,
}

impl Flood {
    /// From several ports, so that every thread of the service gets its part.
    pub(crate) fn start(to: &str, frame: [u8; 48]) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let sockets: Vec<UdpSocket> = (0..16).map(|_| UdpSocket::bind("127.0.0.1:0").unwrap()).collect();
        for socket in &sockets {
            socket.connect(to).unwrap();
        }
        let stop = Arc::clone(&over);
        let sender = thread::spawn(move || {
            let mut sent = 0;
            for socket in sockets.iter().cycle() {
                if stop.load(Ordering::Relaxed) {
                    break;
                }
                // Refused once the service is gone.
                sent += u64::from(socket.send(&frame).is_ok());
            }
            sent
        });
        Self { over, sender: Some(sender) }
    }

    /// Stops; answers how many were sent.
    pub(crate) fn stop(mut self) -> u64 {
        self.over.store(true, Ordering::Relaxed);
        self.sender.take().expect("it is stopped once").join().unwrap()
    }
}

impl Drop for Flood {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
    }
}
