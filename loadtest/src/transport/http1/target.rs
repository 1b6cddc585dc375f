//! What connections are opened to.

use std::sync::Arc;

use rustls::{ClientConfig, pki_types::ServerName};

use super::super::{Call, Message, Method};

/// A server, and what is sent to it.
pub(super) struct Target {
    pub(super) server: std::net::SocketAddr,
    pub(super) tls: Option<(Arc<ClientConfig>, ServerName<'static>)>,
    pub(super) name: Arc<str>,
    /// All of a heartbeat but the frame.
    pub(super) heartbeat: Vec<u8>,
}

impl Target {
    pub(super) fn write(&self, out: &mut Vec<u8>, message: &Message) {
        match message {
            Message::Frame(frame) => {
                out.extend_from_slice(&self.heartbeat);
                out.extend_from_slice(frame);
            }
            Message::Call(Call { method, path, authorization, content_type, body }) => {
                write_head(out, *method, path, &self.name, authorization.as_deref(), *content_type, body);
                out.extend_from_slice(body);
            }
        }
    }
}

pub(super) fn write_head(
    out: &mut Vec<u8>,
    method: Method,
    path: &str,
    host: &str,
    authorization: Option<&str>,
    content_type: Option<&str>,
    body: &[u8],
) {
    let mut line = |parts: &[&str]| {
        parts.iter().for_each(|part| out.extend_from_slice(part.as_bytes()));
        out.extend_from_slice(b"\r\n");
    };
    line(&[method.name(), " ", path, " HTTP/1.1"]);
    line(&["host: ", host]);
    if let Some(value) = authorization {
        line(&["authorization: ", value]);
    }
    if let Some(value) = content_type {
        line(&["content-type: ", value]);
    }
    if method != Method::Get {
        line(&["content-length: ", &body.len().to_string()]);
    }
    line(&[]);
}
