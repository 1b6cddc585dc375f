//! Threads that have too much to do, and what the lane may not cost.

use std::{
    future::Future,
    io,
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, Waker},
    thread,
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf},
    net::TcpStream,
};

use async_trait::async_trait;
use bytes::Bytes;
use http_body_util::Full;
use hyper::{Request, Response};
use tokio_util::sync::CancellationToken;

use super::{
    lane::Lane,
    watch::{Timeouts, Watch},
    *,
};
use crate::{
    engine::Pressure,
    ingest::handler::tests::{beat_of_a_new_session, handler},
    telemetry::HttpListener,
    web::{
        admission::{Admission, Capacity},
        cors::CorsRules,
        peer::{Peer, Proxies},
    },
};

fn admission() -> Arc<Admission> {
    Admission::new(Capacity { total: 8, per_network: Some(4) })
}

/// Says yes to everything.
struct Yes;

#[async_trait]
impl Fallback for Yes {
    type Body = Full<Bytes>;
    type Memory = ();

    async fn answer(&self, _request: Request<RequestBody>) -> Response<Full<Bytes>> {
        Response::new(Full::from("{}"))
    }

    fn introspect(&self, (): &mut (), _question: &IntrospectionRequest<'_>, body: &mut Vec<u8>) -> bool {
        body.extend_from_slice(b"{}");
        true
    }
}

/// A request that the lane answers, or with a query one that hyper reads.
fn request(target: &str) -> String {
    format!("POST {target} HTTP/1.1\r\nhost: x\r\ncontent-length: 3\r\n\r\na=b")
}

async fn connect(addr: SocketAddr) -> TcpStream {
    TcpStream::connect(addr).await.unwrap()
}

async fn answer(stream: &mut TcpStream) -> String {
    let mut buffer = [0; 4096];
    let length = tokio::time::timeout(Duration::from_secs(10), stream.read(&mut buffer)).await.unwrap().unwrap();
    String::from_utf8_lossy(&buffer[..length]).into_owned()
}

#[tokio::test]
async fn a_thread_that_is_late_refuses_beats_and_verdicts_and_acks_ask_for_patience() {
    let (engine, handler, telemetry) = handler();
    let timeouts = Duration::from_secs(30);
    let limits = HttpLimits {
        connections: Capacity { total: 100, per_network: None },
        head: timeouts,
        body: timeouts,
        idle: timeouts,
    };
    let here = "127.0.0.1:0".parse().unwrap();
    let listener = Listener::bind(here, HttpListener::Public, limits, telemetry.clone()).await.unwrap();
    let addr = listener.local_addr().unwrap();
    let threads = Threads::start(1).unwrap();
    let pools = WorkerPools { clients: Arc::clone(&threads.clients), edges: None };
    let site = Arc::new(Site {
        heartbeats: Some(handler),
        fallback: Yes,
        body: timeouts,
        cors: CorsRules::none(),
        proxies: Proxies::default(),
        h3: None,
        admission: admission(),
        max_body_bytes: 1024,
    });
    let stop = CancellationToken::new();
    let running = tokio::spawn(listener.run(site, pools, stop.clone()));

    let targets = ["/v1/heartbeat", "/v1/heartbeat?", "/oauth/introspect", "/oauth/introspect?", "/v1/activate"];
    let mut streams = Vec::new();
    for target in targets {
        let mut stream = connect(addr).await;
        stream.write_all(request(target).as_bytes()).await.unwrap();
        let status = if target.contains("heartbeat") { "HTTP/1.1 400" } else { "HTTP/1.1 200" };
        assert!(answer(&mut stream).await.starts_with(status), "{target}");
        streams.push(stream);
    }
    assert_eq!(engine.pressure(), Pressure::NONE);

    // What comes while the thread is busy finds it late. On a machine that is busy itself it may come after that: once more.
    let busy = |time| drop(threads.clients.least_busy().0.runtime.spawn(async move { thread::sleep(time) }));
    let mut said = Vec::new();
    for _ in 0..5 {
        busy(Duration::from_millis(1200));
        for (target, stream) in targets.into_iter().zip(&mut streams) {
            stream.write_all(request(target).as_bytes()).await.unwrap();
        }
        said.clear();
        for stream in &mut streams {
            said.push(answer(stream).await.to_lowercase());
        }
        if said[..4].iter().all(|said| said.starts_with("http/1.1 503")) {
            break;
        }
    }
    for (target, said) in targets.into_iter().zip(&said) {
        if target == "/v1/activate" {
            assert!(said.starts_with("http/1.1 200"), "acts have a budget of their own: {said}");
        } else {
            assert!(said.starts_with("http/1.1 503") && said.contains("retry-after"), "{target}: {said}");
        }
    }
    let page = telemetry.render();
    for surface in ["beats", "verdicts"] {
        let name = format!("gastank_http_requests_shed_total{{surface=\"{surface}\"}} ");
        let shed = page.lines().find_map(|line| line.strip_prefix(&name)?.parse::<u32>().ok());
        assert!(shed.is_some_and(|shed| shed >= 2), "{surface}: {shed:?}");
    }
    // They are told apart from failures.
    for route in ["/v1/heartbeat", "/oauth/introspect"] {
        let count = |class: &str| {
            let name = format!("gastank_http_requests_total{{route=\"{route}\",class=\"{class}\"}} ");
            page.lines().find_map(|line| line.strip_prefix(&name)?.parse::<f64>().ok()).unwrap_or(0.0)
        };
        assert!(count("shed") >= 2.0 && count("5xx") == 0.0, "{route}: {} {}", count("shed"), count("5xx"));
    }

    // It is looked at now and then: again until it is seen.
    let mut pressed = Pressure::NONE;
    for _ in 0..5 {
        busy(Duration::from_millis(1200));
        for _ in 0..150 {
            pressed = pressed.max(engine.pressure());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        if pressed == Pressure::FULL {
            break;
        }
    }
    assert_eq!(pressed, Pressure::FULL);
    for _ in 0..100 {
        if engine.pressure() == Pressure::NONE {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(engine.pressure(), Pressure::NONE, "it has caught up");
    let mut stream = connect(addr).await;
    stream.write_all(request("/oauth/introspect").as_bytes()).await.unwrap();
    assert!(answer(&mut stream).await.starts_with("HTTP/1.1 200"));

    drop((stream, streams));
    stop.cancel();
    running.await.unwrap();
    threads.end().await;
}

/// A line on which a peer says the same again as often as it is told to, and takes every answer.
struct Line {
    request: Vec<u8>,
    turns: Arc<AtomicUsize>,
    answers: Arc<AtomicUsize>,
}

impl AsyncRead for Line {
    fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let more = |turns: usize| turns.checked_sub(1);
        if self.turns.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).is_err() {
            return Poll::Pending;
        }
        buffer.put_slice(&self.request);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Line {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        assert!(bytes.starts_with(b"HTTP/1.1 200"), "{:?}", String::from_utf8_lossy(bytes));
        self.answers.fetch_add(1, Ordering::Relaxed);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[test]
fn a_request_in_the_lane_allocates_nothing() {
    let (engine, handler, _telemetry) = handler();
    let beat = beat_of_a_new_session(&engine, 1);
    let timeouts = Duration::from_secs(30);
    let site = Arc::new(Site {
        heartbeats: Some(handler),
        fallback: Yes,
        body: timeouts,
        cors: CorsRules::none(),
        proxies: Proxies::default(),
        h3: None,
        admission: admission(),
        max_body_bytes: 1024,
    });
    for (path, body) in [("/v1/heartbeat", &beat[..]), ("/oauth/introspect", b"token=x")] {
        let head = format!("POST {path} HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n", body.len());
        let (turns, answers) = (Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default());
        let request = [head.as_bytes(), body].concat();
        let line = Line { request, turns: Arc::clone(&turns), answers: Arc::clone(&answers) };
        let watch = Watch::new(Timeouts { head: timeouts, body: timeouts, idle: timeouts });
        let from = Peer(SocketAddr::from(([127, 0, 0, 1], 1)));
        let mut lane = Lane::new(line, Arc::clone(&site), from, watch);
        let mut cx = Context::from_waker(Waker::noop());
        let mut turn = || {
            turns.store(1, Ordering::Relaxed);
            assert!(Pin::new(&mut lane).poll(&mut cx).is_pending());
        };
        // The thread's buffers are made once.
        turn();
        for _ in 0..10 {
            let info = allocation_counter::measure(&mut turn);
            assert_eq!((info.count_total, info.bytes_total), (0, 0), "{path}");
        }
        assert_eq!(answers.load(Ordering::Relaxed), 11, "{path}");
    }
}

/// Panics at everything it is asked.
struct Broken;

#[async_trait]
impl Fallback for Broken {
    type Body = Full<Bytes>;
    type Memory = ();

    async fn answer(&self, request: Request<RequestBody>) -> Response<Full<Bytes>> {
        panic!("a mistake in answering {}", request.uri().path())
    }

    fn introspect(&self, (): &mut (), question: &IntrospectionRequest<'_>, _body: &mut Vec<u8>) -> bool {
        assert!(question.form != b"a=b", "a mistake in the lane");
        false
    }
}

#[tokio::test]
async fn a_request_whose_answering_panics_is_answered_500_and_the_connection_goes_on() {
    let (_engine, handler, telemetry) = handler();
    let timeouts = Duration::from_secs(30);
    let limits = HttpLimits {
        connections: Capacity { total: 100, per_network: None },
        head: timeouts,
        body: timeouts,
        idle: timeouts,
    };
    let here = "127.0.0.1:0".parse().unwrap();
    let listener = Listener::bind(here, HttpListener::Public, limits, telemetry).await.unwrap();
    let addr = listener.local_addr().unwrap();
    let (proxies, h3) = (Proxies::default(), None);
    let site = Arc::new(Site {
        heartbeats: Some(handler),
        fallback: Broken,
        body: timeouts,
        cors: CorsRules::none(),
        proxies,
        h3,
        admission: admission(),
        max_body_bytes: 1024,
    });
    let pools = WorkerPools { clients: Arc::new(WorkerPool::here()), edges: None };
    let stop = CancellationToken::new();
    let running = tokio::spawn(listener.run(site, pools, stop.clone()));
    let mut stream = connect(addr).await;
    let asked = request("/oauth/introspect");
    // In the lane; on the way that the lane asks; by hyper.
    for request in [asked.clone(), asked.replace("a=b", "a=c"), request("/oauth/introspect?"), request("/v1/activate")]
    {
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut said = answer(&mut stream).await;
        // Hyper sends head and body together, the lane too; a slow machine may read them apart.
        while !said.contains("its log says why") {
            said += &answer(&mut stream).await;
        }
        assert!(said.starts_with("HTTP/1.1 500") && said.contains(r#""code":"internal""#), "{said}");
    }
    drop(stream);
    stop.cancel();
    running.await.unwrap();
}
