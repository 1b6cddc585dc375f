//! Clients of the hub, as operators register them.

use super::*;
use crate::web::body::at_once;

const REDIRECT: &str = "https://app.example/callback";

#[tokio::test]
async fn clients_of_the_hub_are_registered_listed_and_removed() {
    let rig = Rig::new().await;
    let add = |body: Value| ask("POST", "/admin/clients").json(&body);
    let made = rig.admin(add(json!({"name": "app", "redirect_uris": [REDIRECT], "tank": true}))).await;
    assert_eq!(made.status, StatusCode::CREATED);
    let (id, secret) = (made.text("client_id"), made.text("client_secret"));
    assert!(secret.starts_with("gts_"));
    let public =
        rig.admin(add(json!({"name": "page", "redirect_uris": ["http://127.0.0.1/cb"], "public": true}))).await;
    assert!(public.json().get("client_secret").is_none(), "a public client keeps no secret");
    let listed = rig.admin(ask("GET", "/admin/clients")).await.ok();
    assert!(!String::from_utf8_lossy(&listed.body).contains(&secret));
    let all = listed.json();
    let app = all["clients"].as_array().unwrap().iter().find(|client| client["client_id"] == *id).unwrap().clone();
    assert_eq!((&app["name"], &app["redirect_uris"][0], &app["tank"]), (&json!("app"), &json!(REDIRECT), &json!(true)));

    let at = format!("/admin/clients/{id}/secrets");
    let second = rig.admin(ask("POST", &at)).await.text("secret_id");
    rig.admin(ask("POST", &at)).await.is(ErrorCode::LimitReached);
    assert_eq!(rig.admin(ask("GET", &at)).await.ok().json()["secrets"].as_array().unwrap().len(), 2);
    assert_eq!(rig.admin(ask("DELETE", &format!("{at}/{second}"))).await.status, StatusCode::NO_CONTENT);
    rig.admin(ask("DELETE", &format!("{at}/{second}"))).await.is(ErrorCode::NotFound);
    let of_public = format!("/admin/clients/{}/secrets", public.text("client_id"));
    rig.admin(ask("POST", &of_public)).await.is(ErrorCode::BadRequest);

    let one = format!("/admin/clients/{id}");
    assert_eq!(rig.admin(ask("DELETE", &one)).await.status, StatusCode::NO_CONTENT);
    rig.admin(ask("DELETE", &one)).await.is(ErrorCode::NotFound);
    let log = rig.admin(ask("GET", "/admin/audit?limit=100")).await.ok().json();
    let acts: Vec<_> =
        log["rows"].as_array().unwrap().iter().map(|row| row["act"].as_str().unwrap().to_owned()).collect();
    for act in ["client_added", "client_secret_added", "client_secret_removed", "client_removed"] {
        assert!(acts.iter().any(|known| known == act), "{act}: {acts:?}");
    }
}

#[tokio::test]
async fn a_client_without_a_safe_redirect_uri_is_refused() {
    let rig = Rig::new().await;
    for redirects in [
        json!([]),
        json!(["http://app.example/cb"]),
        json!([REDIRECT, "https://app.example/#x"]),
        json!(["https://*.example/cb"]),
        json!(vec![REDIRECT; 17]),
    ] {
        let body = json!({"name": "app", "redirect_uris": redirects});
        rig.admin(ask("POST", "/admin/clients").json(&body)).await.is(ErrorCode::BadRequest);
    }
    assert_eq!(rig.admin(ask("GET", "/admin/clients")).await.ok().json(), json!({"clients": []}));
}

#[tokio::test]
async fn questions_of_one_client_about_handles_leave_room_for_others() {
    let rig = Rig::new().await;
    let (one, other) = (rig.edge("one").await, rig.edge("other").await);
    let ask_as = |(id, secret): &(String, String)| {
        let form = format!("token=gth_1_x&client_id={id}&client_secret={secret}");
        let asked = ask("POST", "/oauth/introspect").header("content-type", "application/x-www-form-urlencoded");
        Box::pin(rig.surface.clone().public(asked.body(form).request))
    };
    let mut waiting = Vec::new();
    let refused = loop {
        let mut question = ask_as(&one);
        match at_once(&mut question).await {
            None => waiting.push(question),
            Some(answer) => break answer,
        }
        assert!(waiting.len() < 1000, "there is no end to it");
    };
    assert_eq!((refused.status(), waiting.len()), (StatusCode::SERVICE_UNAVAILABLE, 256));
    assert!(at_once(&mut ask_as(&other)).await.is_none(), "others may ask");
    drop(waiting);
    assert!(at_once(&mut ask_as(&one)).await.is_none());
}

#[tokio::test]
async fn a_handle_that_is_for_something_else_is_told_what_it_lacks() {
    let rig = Rig::new().await;
    for (handle, says_so) in [("gth_1_other", true), ("gth_1_x", false)] {
        let got = rig.public(ask("GET", "/v1/account").bearer(handle)).await;
        let problem = got.is(ErrorCode::BadCredentials);
        assert_eq!(problem["detail"].as_str().unwrap().contains("`tank`"), says_so, "{problem}");
    }
}

#[tokio::test]
async fn refusals_of_every_endpoint_of_oauth_are_in_its_form() {
    let rig = Rig::new().await;
    for path in ["/oauth/introspect", "/oauth/revoke"] {
        let got = rig.public(ask("DELETE", path)).await;
        assert_eq!((got.status, &got.json()["error"]), (StatusCode::METHOD_NOT_ALLOWED, &json!("invalid_request")));
    }
    for (path, is_oauth) in [("/oauth/token", true), ("/oauth/userinfo", true), ("/oauth/authorize", false)] {
        assert_eq!(paths::is_oauth(path), is_oauth, "{path}");
    }
}

#[tokio::test]
async fn a_handle_of_the_tank_is_no_owner() {
    let rig = Rig::new().await;
    let (account, key) = rig.account(60).await;
    let handle = format!("gth_1_of_{account}");
    assert_eq!(rig.public(ask("GET", "/v1/account").bearer(&handle)).await.ok().json()["account"], *account);
    let of_owners = async |shown: &str| {
        let asked = ask("GET", "/v1/of-owners").bearer(shown);
        got(rig.surface.clone().public(asked.request).await).await
    };
    assert_eq!(String::from_utf8(of_owners(&key).await.ok().body.to_vec()).unwrap(), account);
    for handle in [&*handle, "gth_1_other", "gth_1_x"] {
        let refused = of_owners(handle).await;
        refused.is(ErrorCode::BadCredentials);
        assert!(refused.text("detail").starts_with("a handle opens the tank and nothing else"), "{handle}");
    }
}
