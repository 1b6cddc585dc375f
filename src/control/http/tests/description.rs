use std::collections::BTreeSet;

use crate::telemetry::Route;

use super::*;

const HEARTBEAT: &str = "POST /v1/heartbeat";

async fn document(rig: &Rig) -> Value {
    rig.public(ask("GET", "/openapi.json")).await.ok().json()
}

fn calls(document: &Value) -> BTreeSet<String> {
    let paths = document["paths"].as_object().unwrap();
    let of = |(path, item): (&String, &Value)| {
        let methods: Vec<_> = item.as_object().unwrap().keys().cloned().collect();
        methods.into_iter().map(|method| format!("{} {path}", method.to_uppercase())).collect::<Vec<_>>()
    };
    paths.iter().flat_map(of).collect()
}

#[tokio::test]
async fn every_call_is_described() {
    let rig = Rig::new().await;
    let document = document(&rig).await;
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1"));
    let wanted = [
        "DELETE /admin/accounts/{id}",
        "DELETE /admin/accounts/{id}/keys/{key_id}",
        "DELETE /admin/clients/{client_id}",
        "DELETE /admin/clients/{client_id}/secrets/{secret_id}",
        "DELETE /admin/edges/{client_id}",
        "DELETE /admin/edges/{client_id}/secrets/{secret_id}",
        "GET /.well-known/jwks.json",
        "GET /.well-known/oauth-authorization-server",
        "GET /admin/accounts",
        "GET /admin/accounts/{id}",
        "GET /admin/accounts/{id}/entries",
        "GET /admin/accounts/{id}/keys",
        "GET /admin/audit",
        "GET /admin/clients",
        "GET /admin/clients/{client_id}/secrets",
        "GET /admin/edges",
        "GET /admin/edges/{client_id}/secrets",
        "GET /admin/keys",
        "GET /admin/sessions/{id}",
        "GET /admin/sessions/{id}/history",
        "GET /admin/status",
        "GET /errors/{code}",
        "GET /health/live",
        "GET /health/ready",
        "GET /metrics",
        "GET /oauth/status",
        "GET /oauth/status/{list}",
        "GET /openapi.json",
        "GET /v1/account",
        "GET /v1/account/entries",
        "GET /v1/client",
        "POST /admin/accounts",
        "POST /admin/accounts/{id}/credit",
        "POST /admin/accounts/{id}/keys",
        "POST /admin/clients",
        "POST /admin/clients/{client_id}/secrets",
        "POST /admin/edges",
        "POST /admin/edges/{client_id}/secrets",
        "POST /admin/keys/rotate",
        "POST /admin/keys/rotate-secret",
        "POST /admin/sessions/{id}/revoke",
        "POST /hooks/account-events",
        "POST /hooks/credit",
        "POST /oauth/introspect",
        "POST /oauth/revoke",
        "POST /v1/activate",
        "POST /v1/deactivate",
        HEARTBEAT,
        "POST /v1/renew",
    ];
    let described: Vec<_> = calls(&document).into_iter().collect();
    assert_eq!(described, wanted);
}

#[tokio::test]
async fn every_described_call_has_a_route_and_a_name_in_the_figures() {
    let rig = Rig::new().await;
    let document = document(&rig).await;
    // Heartbeats are answered before this surface is asked.
    for call in calls(&document).into_iter().filter(|call| call != HEARTBEAT) {
        let (method, path) = call.split_once(' ').unwrap();
        assert_ne!(Route::of(path), Route::Other, "{path}");
        rig.stub.routes.lock().clear();
        let concrete = path.replace("{code}", "not_found").replace(['{', '}'], "");
        let at_admin = document["paths"][path][method.to_lowercase()]["tags"][0] == "admin";
        let got =
            if at_admin { rig.admin(ask(method, &concrete)).await } else { rig.public(ask(method, &concrete)).await };
        assert_ne!(got.status, StatusCode::METHOD_NOT_ALLOWED, "{call}");
        assert_eq!(*rig.stub.routes.lock(), [path], "{call}");
    }
}

#[tokio::test]
async fn every_reference_leads_somewhere_and_every_lock_has_a_key() {
    fn references(value: &Value, found: &mut BTreeSet<String>) {
        match value {
            Value::Object(members) => members.iter().for_each(|(name, value)| match (name.as_str(), value) {
                ("$ref", Value::String(to)) => drop(found.insert(to.clone())),
                _ => references(value, found),
            }),
            Value::Array(items) => items.iter().for_each(|item| references(item, found)),
            _ => {}
        }
    }
    let rig = Rig::new().await;
    let document = document(&rig).await;
    let mut found = BTreeSet::new();
    references(&document, &mut found);
    assert!(found.contains("#/components/schemas/Problem"));
    for reference in found {
        assert!(document.pointer(&reference[1..]).is_some(), "{reference}");
    }
    let schemes: Vec<_> = document["components"]["securitySchemes"].as_object().unwrap().keys().collect();
    assert_eq!(
        schemes,
        ["account_key", "admin_token", "client", "event_token", "handle", "identity_token", "session_token"]
    );
}

#[tokio::test]
async fn the_page_of_every_error_is_served_where_its_type_leads() {
    let rig = Rig::new().await;
    for code in ErrorCode::ALL {
        let got = rig.public(ask("GET", &code.uri())).await.ok();
        assert_eq!(&got.body[..], code.page().as_bytes());
    }
    rig.public(ask("GET", "/errors/nothing")).await.is(ErrorCode::NotFound);
}
