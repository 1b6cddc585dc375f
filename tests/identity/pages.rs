//! People sign in to the pages: with a foreign provider, `oidc-provider` from npm, and with the development provider.

use std::{fs, net::TcpListener, os::unix::fs::PermissionsExt};

use serde_json::{Value, json};

use super::{
    browser::Browser,
    real::{Real, node},
    start,
    support::{Home, Service},
};

/// A service whose people sign in with a real provider.
pub(super) fn hub_of_a_real_provider(home: &Home) -> (Real, Service) {
    hub_of_a_real_provider_with(home, &[])
}

/// With more variables.
pub(super) fn hub_of_a_real_provider_with(home: &Home, variables: &[(&str, &str)]) -> (Real, Service) {
    hub_that_shows(home, "a secret: of the tests+\n", variables)
}

/// The same, where the service shows the provider this client secret.
fn hub_that_shows(home: &Home, shown: &str, more: &[(&str, &str)]) -> (Real, Service) {
    // The provider has to know where the service will be.
    let free = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let http = free.local_addr().expect("an address").to_string();
    drop(free);
    let real = Real::start_for(&[&format!("http://{http}/sign-in/callback")]);
    let secret = home.data_dir().with_file_name("secret");
    fs::write(&secret, shown).expect("written");
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o600)).expect("a mode");
    let variables = [
        ("GASTANK_IDENTITY_ISSUER", real.issuer()),
        ("GASTANK_IDENTITY_HUB_CLIENT_ID", "hub"),
        ("GASTANK_IDENTITY_HUB_CLIENT_SECRET_FILE", secret.to_str().expect("a path")),
        ("GASTANK_IDENTITY_HUB_SCOPE", "openid profile email"),
    ];
    let addresses = [http, "127.0.0.1:0".to_owned(), "127.0.0.1:0".to_owned()];
    let variables = [&variables[..], more].concat();
    let service = tokio::task::block_in_place(|| Service::start_at(home, &addresses, &variables));
    (real, service)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_secret_that_the_provider_does_not_take_is_named_on_the_page_and_in_the_log() {
    let home = Home::new();
    let (real, service) = hub_that_shows(&home, "another secret\n", &[]);
    let output = tokio::task::block_in_place(|| {
        node("hub-sign-in.mjs").args([&service.http(), "ada"]).output().expect("node can be run")
    });
    let stopped_at = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(stopped_at.contains("503") && stopped_at.contains("Sign-in is not set up correctly"), "{stopped_at}");
    let said = home.said_once("does not take our client id and secret");
    assert!(said.contains(real.issuer()) && said.contains("client_id=\"hub\""), "{said}");
    assert!(!said.contains("another secret"), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn people_sign_in_to_the_pages_with_a_real_provider() {
    let home = Home::new();
    let (_real, service) = hub_of_a_real_provider(&home);
    let seen = tokio::task::block_in_place(|| {
        let output = node("hub-sign-in.mjs").args([&service.http(), "ada"]).output().expect("node can be run");
        assert!(output.status.success(), "{}\n{}", String::from_utf8_lossy(&output.stderr), home.said());
        serde_json::from_slice::<Value>(&output.stdout).expect("JSON")
    });
    assert_eq!(seen["who"], "ada of the tests", "what the userinfo endpoint says");
    assert_eq!(seen["again"], 303, "a page that is loaded again leads on, and the code is not redeemed twice");
    assert_eq!(seen["elsewhere"], 400, "another browser has begun no such sign-in");
    let ours: Vec<_> = seen["cookies"].as_array().expect("a list").iter().filter_map(Value::as_str).collect();
    let ours: Vec<_> = ours.into_iter().filter(|name| name.starts_with("__Host-")).collect();
    assert_eq!(ours, ["__Host-gastank"], "the sign-in is over, and its cookie gone");
    assert_eq!(
        (&seen["headers"]["cache-control"], &seen["headers"]["referrer-policy"]),
        (&json!("no-store"), &json!("no-referrer"))
    );
    let said = home.said();
    assert!(!said.contains("gts_1_") && !said.contains("code="), "secrets are in no log: {said}");
    assert!(service.stop().success());
}

/// A service with the development provider.
fn development(home: &Home) -> Service {
    development_with(home, &[])
}

/// With more variables.
pub(super) fn development_with(home: &Home, variables: &[(&str, &str)]) -> Service {
    start(home, &[&[("GASTANK_HUB_DEVELOPMENT_PROVIDER", "true")], variables].concat())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_form_of_another_page_or_session_changes_nothing() {
    let home = Home::new();
    let service = development(&home);
    let here = service.http();
    let (mut ada, mut eve) = (Browser::new(), Browser::new());
    ada.sign_in(&here, "", "ada").await;
    eve.sign_in(&here, "", "eve").await;
    let (of_ada, of_eve) = (ada.csrf(&here).await, eve.csrf(&here).await);
    for form in
        ["sessions/end-all", "sessions/end-others", "sessions/end", "sign-out", "keys/new", "keys/remove", "switch-off"]
    {
        let url = format!("{here}/account/{form}");
        assert_eq!(ada.post(&url, &[("csrf", &of_eve)]).await.status, 403, "{form}");
        assert_eq!(ada.post(&url, &[]).await.status, 403, "{form}");
        for site in ["cross-site", "same-site", "none"] {
            assert_eq!(ada.post_from(site, &url, &[("csrf", &of_ada)]).await.status, 403, "{form} {site}");
        }
        let nobody = Browser::new().post(&url, &[("csrf", &of_ada)]).await;
        assert!(nobody.status == 401 && nobody.page.contains("expired"), "{form}: {nobody:?}");
        assert_eq!(ada.get(&url).await.status, 405, "{form}");
    }
    assert_eq!(ada.get(&format!("{here}/account")).await.status, 200, "she is signed in");
    let made = ada.post(&format!("{here}/account/keys/new"), &[("csrf", &of_ada)]).await;
    assert!(made.status == 200 && made.page.contains("gtk_"), "{made:?}");
    let out = ada.post(&format!("{here}/account/sign-out"), &[("csrf", &of_ada)]).await;
    assert!(out.status == 200 && out.page.contains("You are signed out"), "{out:?}");
    assert_eq!(ada.get(&format!("{here}/account")).await.status, 303);
    assert_eq!(eve.get(&format!("{here}/account")).await.status, 200, "she is somebody else");
    assert!(ada.begin(&here, "").await.contains("prompt=login"), "who signed out is asked again");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sign_ins_of_four_tabs_and_of_another_person_in_one_browser() {
    let home = Home::new();
    let service = development(&home);
    let here = service.http();
    let mut browser = Browser::new();
    let asked = browser.begin(&here, "").await;
    let callback = browser.type_name(&here, &asked, "ada").await;
    assert_eq!(Browser::new().get(&callback).await.status, 400, "a browser that has not begun it");
    let mixed = browser.get(&callback.replace("development", "evil")).await;
    assert_eq!(mixed.status, 400, "the answer of another issuer");
    assert_eq!(browser.get(&callback).await.status, 400, "which ended this sign-in");
    let mut tabs = Vec::new();
    for _ in 0..4 {
        let asked = browser.begin(&here, "?next=/account/ledger").await;
        tabs.push(browser.type_name(&here, &asked, "ada").await);
    }
    for callback in tabs.iter().rev() {
        assert_eq!(browser.get(callback).await.to, format!("{here}/account/ledger"));
    }
    assert_eq!(browser.get(&tabs[0]).await.to, format!("{here}/account"), "a page that is loaded again");
    let of_ada = browser.cookies["__Host-gastank"].clone();
    assert_eq!(browser.get(&format!("{here}/sign-in")).await.to, format!("{here}/account"), "signed in already");
    for evil in
        ["//evil.example", "/%5Cevil.example", "https://evil.example", "/%252f%252fevil.example", "%09//evil.example"]
    {
        let back = browser.sign_in(&here, &format!("?prompt=login&next={evil}"), "eve").await;
        assert_eq!(back, format!("{here}/account"), "{evil}");
    }
    assert!(browser.get(&format!("{here}/account")).await.page.contains("<span>eve</span>"));
    browser.cookies.insert("__Host-gastank".to_owned(), of_ada);
    assert_eq!(browser.get(&format!("{here}/account")).await.status, 303, "the session before has ended");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn strangers_who_begin_sign_ins_write_nothing() {
    let home = Home::new();
    let service = development(&home);
    let here = service.http();
    let admin = |path: &'static str| {
        let (url, token) = (format!("{}{path}", service.admin()), home.admin_token());
        async move { super::client().get(url).bearer_auth(token).send().await.expect("an answer") }
    };
    let before = super::body(admin("/admin/audit").await).await;
    let mut begun = 0;
    for _ in 0..100 {
        let mut stranger = Browser::new();
        let seen = stranger.get(&format!("{here}/sign-in")).await;
        assert!([303, 429].contains(&seen.status), "{seen:?}");
        begun += u32::from(seen.status == 303);
        let forged = format!("{here}/sign-in/callback?state=AAAAAAAA&code=x&iss={here}/development");
        assert_eq!(stranger.get(&forged).await.status, 400);
    }
    assert!(begun >= 60, "one address may begin so many at once: {begun}");
    assert_eq!(super::body(admin("/admin/audit").await).await, before);
    let accounts = super::body(admin("/admin/accounts").await).await;
    assert!(accounts.contains("\"accounts\":[]"), "{accounts}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_provider_that_is_down_is_a_page_with_503() {
    let home = Home::new();
    let variables = [("GASTANK_IDENTITY_ISSUER", "http://127.0.0.1:9"), ("GASTANK_IDENTITY_HUB_CLIENT_ID", "hub")];
    let service = start(&home, &variables);
    let seen = Browser::new().get(&format!("{}/sign-in", service.http())).await;
    assert!(seen.status == 503 && seen.page.contains("does not answer"), "{seen:?}");
    assert!(home.said_once("does not tell its endpoints").contains("issuer=\"http://127.0.0.1:9\""), "{}", home.said());
    assert!(home.said_once("keys cannot be fetched").contains("of=\"http://127.0.0.1:9\""), "{}", home.said());
    let unset = Home::new();
    let service = start(&unset, &[]);
    let seen = Browser::new().get(&format!("{}/sign-in", service.http())).await;
    assert!(seen.status == 404 && seen.page.contains("not set up"), "{seen:?}");
}
