//! What ends sign-ins from the provider's side: a sign-out there, and a change of the password. The provider is `oidc-provider` from
//! npm, which sends the logout tokens itself.

use serde_json::{Value, json};

use super::{
    handmade::now_s,
    pages::{hub_of_a_real_provider, hub_of_a_real_provider_with},
    real::{Real, node},
    support::{Home, Service},
};

/// Two browsers of ada are signed in, and something happens in the first, or at the provider.
fn happens(real: &Real, service: &Service, event: Option<&Value>) -> Value {
    let mut command = node("hub-sign-out.mjs");
    command.args([&service.http(), real.issuer(), "ada"]).args(event.map(Value::to_string));
    let output = tokio::task::block_in_place(|| command.output().expect("node can be run"));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("JSON")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_signs_out_at_their_provider_is_signed_out_here_in_that_browser() {
    let home = Home::new();
    let (real, service) = hub_of_a_real_provider(&home);
    let seen = happens(&real, &service, None);
    assert_eq!(seen["before"], json!([200, 200]));
    assert_eq!(seen["after"], json!([303, 200]), "the other browser has another session at the provider");
    assert_eq!(seen["again"], 200, "they may sign in again at once");
    let said = home.said_once("a session of the identity provider has ended");
    assert!(said.contains("ended=1") && !said.contains("logout_token"), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_changes_their_password_at_their_provider_is_signed_out_everywhere() {
    let home = Home::new();
    let (real, service) = hub_of_a_real_provider_with(&home, &[("GASTANK_IDENTITY_EVENT_CLIENT_ID", "hub")]);
    // In the past: a sign-in after it is not outdated.
    let event = "https://schemas.accounts.firefox.com/event/password-change";
    let claims = json!({
        "iss": real.issuer(), "aud": "hub", "iat": now_s(), "jti": "one", "sub": "ada",
        "events": {event: {"changeTime": 1_700_000_000_000_u64}},
    });
    let to = format!("{}/hooks/account-events", service.http());
    let told = json!({"alg": "RS256", "form": "push", "to": to, "claims": claims});
    let seen = happens(&real, &service, Some(&told));
    assert_eq!(seen, json!({"before": [200, 200], "after": [303, 303], "again": 200}));
}
