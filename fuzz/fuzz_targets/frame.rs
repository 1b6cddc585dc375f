//! Frames from outside: no bytes may crash the readers, what is read must write the same bytes, and nothing is
//! believed under a wrong tag.
//!
//! The input is tried as it came, as it would be received, and once more with the right tag put under it, since no
//! fuzzer finds a tag by itself.

#![no_main]

use libfuzzer_sys::fuzz_target;
use wire_no_std::wire::{Ack, BODY_LEN, BodyMac, FRAME_LEN, FrameError, SessionKey, SignedHeartbeat};

const KEY: [u8; 32] = [0x5a; 32];

fuzz_target!(|bytes: &[u8]| {
    let mac = SessionKey::from_bytes(KEY).body_mac();
    let tagged_right = tagged_right(bytes, &mac);
    read_as_heartbeat(bytes, &mac, tagged_right);
    read_as_ack(bytes, &mac, tagged_right);
    if let Some(body) = bytes.first_chunk::<BODY_LEN>() {
        let mut frame = [0; FRAME_LEN];
        frame[..BODY_LEN].copy_from_slice(body);
        frame[BODY_LEN..].copy_from_slice(mac.tag(body).as_bytes());
        let heartbeat = read_as_heartbeat(&frame, &mac, true);
        let ack = read_as_ack(&frame, &mac, true);
        assert!(!(heartbeat && ack), "one frame is a heartbeat and an ack");
    }
});

fn tagged_right(bytes: &[u8], mac: &BodyMac) -> bool {
    match bytes.first_chunk::<BODY_LEN>() {
        Some(body) => &bytes[BODY_LEN..] == mac.tag(body).as_bytes(),
        None => false,
    }
}

/// Whether it is one.
fn read_as_heartbeat(bytes: &[u8], mac: &BodyMac, tagged_right: bool) -> bool {
    let parsed = match SignedHeartbeat::parse(bytes) {
        Ok(parsed) => parsed,
        Err(FrameError::Length) => {
            assert_ne!(bytes.len(), FRAME_LEN);
            return false;
        }
        Err(_) => return false,
    };
    assert_eq!(parsed.session().as_bytes(), &bytes[8..24]);
    match parsed.verify(mac) {
        Ok(heartbeat) => {
            assert!(tagged_right, "believed under a wrong tag");
            assert_eq!(heartbeat.sign(mac), bytes);
            true
        }
        Err(error) => {
            assert!(!tagged_right, "refused under its right tag");
            assert_eq!(error, FrameError::Tag);
            false
        }
    }
}

/// Whether it is one.
fn read_as_ack(bytes: &[u8], mac: &BodyMac, tagged_right: bool) -> bool {
    match Ack::verify(bytes, mac) {
        Ok(ack) => {
            assert!(tagged_right, "believed under a wrong tag");
            assert_eq!(ack.sign(mac).as_bytes(), bytes);
            true
        }
        Err(FrameError::Length) => {
            assert_ne!(bytes.len(), FRAME_LEN);
            false
        }
        Err(FrameError::Tag) => {
            assert!(!tagged_right, "refused under its right tag");
            false
        }
        Err(FrameError::Version | FrameError::Kind | FrameError::Value) => false,
    }
}
