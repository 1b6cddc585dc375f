//! A bare server on every transport: it sends frames back as they came.

use std::{
    net::{SocketAddr, UdpSocket},
    sync::Arc,
    thread,
};

use bytes::{Buf, Bytes, BytesMut};
use h3::{ext::Protocol, server::RequestStream};
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
};
use quinn::{Connection, Endpoint, crypto::rustls::QuicServerConfig};
use rustls::{
    ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer},
};
use tokio::{
    net::TcpListener,
    runtime::{Builder, Runtime},
};
use tokio_rustls::TlsAcceptor;

/// The server, for as long as it is not dropped.
pub(crate) struct Echo {
    pub(crate) udp: SocketAddr,
    pub(crate) quic: SocketAddr,
    pub(crate) http: SocketAddr,
    pub(crate) https: SocketAddr,
    pub(crate) certificate: CertificateDer<'static>,
    _runtime: Runtime,
}

impl Echo {
    pub(crate) fn start() -> Self {
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let _inside = runtime.enter();
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned(), "127.0.0.1".to_owned()]).unwrap();
        let certificate = made.cert.der().clone();
        let tls = |alpn: &[&[u8]]| {
            let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
            let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
            let builder = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
            let mut config = builder.with_no_client_auth().with_single_cert(vec![certificate.clone()], key).unwrap();
            config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
            config
        };
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let udp = socket.local_addr().unwrap();
        thread::spawn(move || {
            let mut frame = [0; 64];
            while let Ok((length, from)) = socket.recv_from(&mut frame) {
                let _ = socket.send_to(&frame[..length], from);
            }
        });
        let config = QuicServerConfig::try_from(tls(&[b"gastank/1", b"h3"])).unwrap();
        let config = quinn::ServerConfig::with_crypto(Arc::new(config));
        let endpoint = Endpoint::server(config, "127.0.0.1:0".parse().unwrap()).unwrap();
        let quic = endpoint.local_addr().unwrap();
        runtime.spawn(async move {
            while let Some(incoming) = endpoint.accept().await {
                tokio::spawn(async move {
                    if let Ok(connection) = incoming.await {
                        answer(connection).await;
                    }
                });
            }
        });
        let listen = || runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let (plain, secure) = (listen(), listen());
        let (http, https) = (plain.local_addr().unwrap(), secure.local_addr().unwrap());
        runtime.spawn(accept(plain, None));
        runtime.spawn(accept(secure, Some(TlsAcceptor::from(Arc::new(tls(&[b"h2", b"http/1.1"]))))));
        drop(_inside);
        Self { udp, quic, http, https, certificate, _runtime: runtime }
    }
}

async fn accept(listener: TcpListener, tls: Option<TlsAcceptor>) {
    while let Ok((stream, _)) = listener.accept().await {
        let tls = tls.clone();
        tokio::spawn(async move {
            let builder = auto::Builder::new(TokioExecutor::new());
            match tls {
                None => drop(builder.serve_connection(TokioIo::new(stream), service_fn(mirror)).await),
                Some(tls) => {
                    let Ok(stream) = tls.accept(stream).await else { return };
                    drop(builder.serve_connection(TokioIo::new(stream), service_fn(mirror)).await);
                }
            }
        });
    }
}

async fn mirror(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, hyper::Error> {
    #[expect(clippy::disallowed_methods, reason = "the client is ours")]
    let body = request.into_body().collect().await?.to_bytes();
    Ok(Response::new(Full::new(body)))
}

async fn answer(connection: Connection) {
    let data = connection.handshake_data().unwrap().downcast::<quinn::crypto::rustls::HandshakeData>().unwrap();
    if data.protocol.as_deref() == Some(b"h3") {
        return answer_h3(connection).await;
    }
    while let Ok(datagram) = connection.read_datagram().await {
        let _ = connection.send_datagram(datagram);
    }
}

async fn answer_h3(connection: Connection) {
    let datagrams = connection.clone();
    // Each goes back with what it starts with: the number of its session.
    tokio::spawn(async move {
        while let Ok(datagram) = datagrams.read_datagram().await {
            let _ = datagrams.send_datagram(datagram);
        }
    });
    let mut h3 = h3::server::builder()
        .enable_webtransport(true)
        .enable_extended_connect(true)
        .enable_datagram(true)
        .max_webtransport_sessions(4)
        .build::<_, Bytes>(h3_quinn::Connection::new(connection))
        .await
        .unwrap();
    while let Ok(Some(resolver)) = h3.accept().await {
        tokio::spawn(async move {
            let Ok((request, stream)) = resolver.resolve_request().await else { return };
            answer_request(&request, stream).await;
        });
    }
}

async fn answer_request(request: &Request<()>, mut stream: RequestStream<h3_quinn::BidiStream<Bytes>, Bytes>) {
    let session = request.method() == Method::CONNECT;
    if session {
        assert_eq!(request.extensions().get::<Protocol>(), Some(&Protocol::WEB_TRANSPORT));
        assert_eq!(request.uri().path(), "/v1/webtransport");
    }
    let ok = Response::builder().status(StatusCode::OK).body(()).unwrap();
    if session {
        let _ = stream.send_response(ok).await;
        while let Ok(Some(_)) = stream.recv_data().await {}
        return;
    }
    let mut body = BytesMut::new();
    while let Ok(Some(chunk)) = stream.recv_data().await {
        body.extend_from_slice(chunk.chunk());
    }
    let _ = stream.send_response(ok).await;
    let _ = stream.send_data(body.freeze()).await;
    let _ = stream.finish().await;
}
