use std::{
    pin::Pin,
    task::{Context, Poll},
};

use hyper::body::Frame;

use super::*;

#[tokio::test]
async fn bodies_that_are_not_what_they_should_be_are_refused_and_change_nothing() {
    let rig = Rig::new().await;
    let (_, key) = rig.account(600).await;
    let with =
        |kind: &str, body: Vec<u8>| ask("POST", "/v1/activate").bearer(&key).header("content-type", kind).body(body);
    let json = "application/json";
    rig.public(with(json, b"{\"audience\":\"\xff\"}".to_vec())).await.is(ErrorCode::BadRequest);
    rig.public(with(json, b"{".to_vec())).await.is(ErrorCode::BadRequest);
    rig.public(with(json, b"[]]".to_vec())).await.is(ErrorCode::BadRequest);
    rig.public(with(json, b"{\"audience\":7}".to_vec())).await.is(ErrorCode::BadRequest);
    rig.public(with(json, "[".repeat(60_000).into_bytes())).await.is(ErrorCode::BadRequest);
    rig.public(with("text/plain", b"{}".to_vec())).await.is(ErrorCode::UnsupportedMediaType);
    rig.public(with(json, vec![b' '; 64 * 1024 + 1])).await.is(ErrorCode::BodyTooLarge);
    assert_eq!(rig.engine.live(), 0);
    rig.public(with("Application/JSON; charset=utf-8", b"{\"nobody\":[{}]}".to_vec())).await.ok();
}

/// Sends bytes for ever, or never.
pub(super) struct Endless {
    pub(super) chunk: Option<Bytes>,
}

impl hyper::body::Body for Endless {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        self.chunk.clone().map_or(Poll::Pending, |chunk| Poll::Ready(Some(Ok(Frame::data(chunk)))))
    }
}

#[tokio::test]
async fn a_body_without_end_is_cut_by_its_length_or_by_time() {
    let rig = Rig::new().await;
    let (_, key) = rig.account(600).await;
    let send = async |chunk: Option<Bytes>| {
        let request = Request::post("/v1/activate").header("authorization", format!("Bearer {key}"));
        let request = request.header(CONTENT_TYPE, "application/json").body(Endless { chunk }).unwrap();
        got(rig.surface.clone().public(request).await).await
    };
    send(Some(Bytes::from_static(&[b' '; 1000]))).await.is(ErrorCode::BodyTooLarge);
    send(None).await.is(ErrorCode::RequestTimeout);
}

#[tokio::test]
async fn what_the_router_refuses_is_a_problem_too() {
    let rig = Rig::new().await;
    rig.public(ask("GET", "/nothing")).await.is(ErrorCode::NotFound);
    rig.public(ask("GET", "/")).await.is(ErrorCode::NotFound);
    let got = rig.public(ask("DELETE", "/v1/account")).await;
    got.is(ErrorCode::MethodNotAllowed);
    assert!(got.header("allow").is_some_and(|allow| allow.contains("GET")));
    assert_eq!(*rig.stub.routes.lock(), ["other", "other", "/v1/account"]);
}
