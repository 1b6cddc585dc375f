//! Proxies in front: whose address counts, and who may say so.

use std::net::SocketAddr;

use tokio::net::TcpSocket;

use crate::{
    raw::Raw,
    support::{Home, Service},
};

/// Connections from here are those of a proxy.
const PROXY: &str = "127.0.0.2";
const LIMITS: [(&str, &str); 3] = [
    ("GASTANK_HTTP_TRUSTED_PROXIES", "127.0.0.2 10.0.0.0/8"),
    ("GASTANK_LIMITS_ACTS_PER_ADDRESS_PER_S", "1"),
    ("GASTANK_LIMITS_ACTS_PER_ADDRESS_BURST", "5"),
];

async fn from(address: &str, service: &Service, listener: &str) -> Raw {
    let to = service.listener(listener);
    let mut raw = Raw::connect(to).await;
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(format!("{address}:0").parse::<SocketAddr>().unwrap()).unwrap();
    raw.stream = socket.connect(to.parse().unwrap()).await.unwrap();
    raw
}

/// What so many wrong keys in a row come to.
async fn guess(raw: &mut Raw, times: usize, headers: impl Fn(usize) -> String) -> Vec<u16> {
    let mut statuses = Vec::new();
    for n in 0..times {
        let headers = headers(n);
        raw.send(format!(
            "POST /v1/activate HTTP/1.1\r\nhost: x\r\nauthorization: Bearer gtk_no\r\n{headers}content-length: 0\r\n\r\n"
        ))
        .await;
        statuses.push(raw.response().await.unwrap().status);
    }
    statuses
}

#[tokio::test]
async fn behind_a_proxy_each_client_has_limits_of_its_own_and_nobody_can_take_anothers_name() {
    for (header, line) in [
        ("x-forwarded-for", (|client| format!("x-forwarded-for: {client}\r\n")) as fn(&str) -> String),
        ("forwarded", |client| {
            let hops: Vec<_> = client.split(", ").map(|hop| format!("for={hop}")).collect();
            format!("forwarded: {}\r\n", hops.join(", "))
        }),
    ] {
        let home = Home::new();
        let settings = [&LIMITS[..], &[("GASTANK_HTTP_PROXY_HEADER", header)]].concat();
        let service = Service::start_with(&home, &settings);
        let mut proxy = from(PROXY, &service, "http").await;
        // One client with wrong keys, which writes another address before its own every time.
        let statuses = guess(&mut proxy, 12, |n| line(&format!("198.51.100.{n}, 192.0.2.1, 10.0.0.9"))).await;
        assert!(statuses[..5].iter().all(|status| *status == 401), "{header}: {statuses:?}");
        assert!(statuses.contains(&429), "{header}: {statuses:?}");
        // Others on the same connection of the proxy are not locked out.
        let statuses = guess(&mut proxy, 4, |n| line(&format!("192.0.2.{}", 10 + n))).await;
        assert_eq!(statuses, [401; 4], "{header}");
        // Who is no proxy is not believed, whatever it says.
        let mut direct = from("127.0.0.3", &service, "http").await;
        let statuses = guess(&mut direct, 12, |n| line(&format!("203.0.113.{n}"))).await;
        assert!(statuses.contains(&429), "{header}: {statuses:?}");
        // The header that is not configured is not read, also from the proxy.
        let other = if header == "forwarded" { "x-forwarded-for: " } else { "forwarded: for=" };
        let statuses = guess(&mut proxy, 12, |n| format!("{other}203.0.113.{n}\r\n")).await;
        assert!(statuses.contains(&429), "{header}: {statuses:?}");
    }
}

#[tokio::test]
async fn by_default_nobody_is_believed() {
    let home = Home::new();
    let service = Service::start_with(&home, &LIMITS[1..]);
    let mut proxy = from(PROXY, &service, "http").await;
    let statuses = guess(&mut proxy, 12, |n| format!("x-forwarded-for: 192.0.2.{n}\r\n")).await;
    assert!(statuses.contains(&429), "{statuses:?}");
}

#[tokio::test]
async fn edges_behind_a_proxy_guess_for_themselves() {
    let home = Home::new();
    let service = Service::start_with(&home, &LIMITS);
    let mut proxy = from(PROXY, &service, "http").await;
    for (client, most) in [("192.0.2.1", 30), ("192.0.2.2", 3)] {
        let mut statuses = Vec::new();
        for n in 0..most {
            // Those that the express lane reads, and those that hyper reads.
            let more = if n % 2 == 0 { "" } else { "te: trailers\r\n" };
            proxy
                .send(format!(
                    "POST /oauth/introspect HTTP/1.1\r\nhost: x\r\nx-forwarded-for: {client}\r\n{more}\
                     content-type: application/x-www-form-urlencoded\r\ncontent-length: 37\r\n\r\n\
                     token=x&client_id=a&client_secret=b&c"
                ))
                .await;
            statuses.push(proxy.response().await.unwrap().status);
        }
        assert_eq!(statuses.contains(&429), most == 30, "{client}: {statuses:?}");
    }
}

#[tokio::test]
async fn a_proxy_that_speaks_the_proxy_protocol_is_heard_and_nobody_else() {
    let home = Home::new();
    let settings = [&LIMITS[..], &[("GASTANK_HTTP_PROXY_HEADER", "proxy-protocol")]].concat();
    let service = Service::start_with(&home, &settings);
    let two = |last: u8| {
        let addresses = [192, 0, 2, last, 127, 0, 0, 1, 0x12, 0x67, 0x1b, 0xa8];
        [&b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c"[..], &addresses].concat()
    };
    let one = |last: u8| format!("PROXY TCP4 192.0.2.{last} 127.0.0.1 4711 7080\r\n").into_bytes();
    // The same client, in both versions and in pieces: the limit is its own.
    let mut statuses = Vec::new();
    for header in [one(1), two(1), one(1), two(1)] {
        let mut proxy = from(PROXY, &service, "http").await;
        proxy.send(&header[..7]).await;
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        proxy.send(&header[7..]).await;
        statuses.extend(guess(&mut proxy, 3, |_| "x-forwarded-for: 198.51.100.1\r\n".to_owned()).await);
    }
    assert!(statuses[..5].iter().all(|status| *status == 401) && statuses.contains(&429), "{statuses:?}");
    let mut other = from(PROXY, &service, "http").await;
    other.send(&two(2)).await;
    assert_eq!(guess(&mut other, 3, |_| String::new()).await, [401; 3]);

    // A proxy that does not announce is not guessed at; who is no proxy need not announce, and is not heard if it does.
    let mut silent = from(PROXY, &service, "http").await;
    silent.send("GET /.well-known/jwks.json HTTP/1.1\r\nhost: x\r\n\r\n").await;
    assert!(silent.response().await.is_none());
    // The log is written by the way.
    for n in 0.. {
        if home.said().contains("PROXY protocol") {
            break;
        }
        assert!(n < 250, "the log does not tell why: {}", home.said());
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    let mut direct = from("127.0.0.3", &service, "http").await;
    assert_eq!(guess(&mut direct, 2, |_| String::new()).await, [401; 2]);
    let mut spoofing = from("127.0.0.4", &service, "http").await;
    spoofing.send(&one(3)).await;
    spoofing.send("GET /.well-known/jwks.json HTTP/1.1\r\nhost: x\r\n\r\n").await;
    assert!(spoofing.response().await.is_none_or(|answer| answer.status == 400));
}
