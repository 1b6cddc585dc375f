//! A handler that panics is a mistake of ours, and its caller is told so.

use axum::{Router, routing::get};

use super::{super::surface::answer_of, *};

#[tokio::test]
async fn a_handler_that_panics_answers_500() {
    async fn broken() -> &'static str {
        panic!("this handler is broken")
    }
    let router = Router::new().route("/broken", get(broken)).route("/whole", get(async || "fine"));
    let asked = |path: &str| Request::get(path).body(Body::empty()).unwrap();
    let answer = answer_of(&router, asked("/broken")).await;
    assert_eq!(answer.status(), 500);
    assert_eq!(answer.headers()["content-type"], "application/problem+json");
    assert_eq!(answer_of(&router, asked("/whole")).await.status(), 200);
}
