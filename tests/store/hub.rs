//! The hub: people, their epochs and profiles, and their hub sessions.

use std::sync::Arc;

use gastank::store::{
    Added, Authentication, ClientKind, DeviceText, FoundHandle, FoundHubSession, HandleRecord, HubClient,
    HubSessionRecord, HubSighting, Person, Profile, Redeemed, Removed, Replaced, SecretDigest,
};

use super::*;

/// When hub sessions of these tests begin: rows of a server go by its own clock.
const BEGAN: u64 = 0;
/// How long they live.
const LIVES: u64 = 30 * 86_400_000;

fn digest(n: u8) -> SecretDigest {
    SecretDigest::of(&format!("gts_1_{n}"))
}

/// Hub session number `n`.
pub(crate) fn hub_session(account: AccountId, n: u8, epoch: u64) -> HubSessionRecord {
    HubSessionRecord {
        digest: digest(n),
        account,
        created_at: wall(BEGAN + u64::from(n)),
        ends_at: wall(BEGAN + u64::from(n) + LIVES),
        last_seen: wall(BEGAN + u64::from(n)),
        authentication: Authentication::new(Some(wall(3)), Some("urn:mfa"), &["pwd".to_owned(), "otp".to_owned()]),
        issuer: "https://id.example".to_owned(),
        provider_sid: (n % 2 == 1).then(|| format!("sid-{}", n / 4)),
        device: DeviceText::new("Firefox on Linux, größer"),
        epoch,
    }
}

fn profile(name: &str) -> Profile {
    Profile { name: Some(name.to_owned()), email_verified: Some(true), ..Profile::default() }
}

async fn added(store: &Subject, session: &HubSessionRecord) {
    assert_eq!(store.add_hub_session(session).await.expect("works"), Added::Done);
}

async fn digests(store: &Subject, account: &AccountId) -> Vec<SecretDigest> {
    store.hub_sessions(account).await.expect("works").into_iter().map(|session| session.digest).collect()
}

pub(crate) async fn a_profile_is_replaced_by_who_has_read_it(store: Subject) {
    let id = account_id(1);
    assert_eq!(store.person(&id).await.expect("works"), None, "there is no such account");
    assert_eq!(store.put_profile(&id, 0, &profile("A")).await.expect("works"), Replaced::Outdated);
    made(&store, 1).await;
    made(&store, 2).await;
    assert_eq!(store.person(&id).await.expect("works"), Some(Person::default()));
    assert_eq!(store.raise_epoch(&id).await.expect("works"), Some(1));
    assert_eq!(store.put_profile(&id, 0, &profile("A")).await.expect("works"), Replaced::Done);
    assert_eq!(store.put_profile(&id, 0, &profile("B")).await.expect("works"), Replaced::Outdated);
    assert_eq!(store.put_profile(&id, 2, &profile("B")).await.expect("works"), Replaced::Outdated);
    assert_eq!(store.put_profile(&id, 1, &profile("漢字")).await.expect("works"), Replaced::Done);
    let person = Person { epoch: 1, version: 2, profile: profile("漢字") };
    assert_eq!(store.person(&id).await.expect("works"), Some(person), "the epoch stays");
    assert_eq!(store.person(&account_id(2)).await.expect("works"), Some(Person::default()));
}

pub(crate) async fn of_fifty_racing_everywheres_each_raises_the_epoch(store: Subject) {
    let account = made(&store, 1).await.id;
    assert_eq!(store.raise_epoch(&account_id(9)).await.expect("works"), None);
    let racers: Vec<_> = (0..50)
        .map(|_| {
            let store = Arc::clone(&store);
            tokio::spawn(async move { store.raise_epoch(&account).await.expect("works").expect("it is there") })
        })
        .collect();
    let mut epochs = Vec::new();
    for racer in racers {
        epochs.push(racer.await.expect("no panic"));
    }
    epochs.sort_unstable();
    assert_eq!(epochs, (1..=50).collect::<Vec<u64>>());
    let person = store.person(&account).await.expect("works").expect("it is there");
    assert_eq!((person.epoch, person.version), (50, 0));
}

pub(crate) async fn hub_sessions_come_and_go(store: Subject) {
    let (ada, bob) = (made(&store, 1).await.id, made(&store, 2).await.id);
    assert_eq!(store.hub_session(&digest(1)).await.expect("works"), None);
    let gone = hub_session(account_id(9), 9, 0);
    assert_eq!(store.add_hub_session(&gone).await.expect("works"), Added::AccountGone);
    assert_eq!(store.hub_session(&gone.digest).await.expect("works"), None);

    let sessions = [hub_session(ada, 3, 0), hub_session(ada, 1, 7), hub_session(bob, 2, 0)];
    for session in &sessions {
        added(&store, session).await;
        added(&store, session).await;
    }
    assert_eq!(store.put_profile(&ada, 0, &profile("Ada")).await.expect("works"), Replaced::Done);
    let person = Person { epoch: 0, version: 1, profile: profile("Ada") };
    let found = FoundHubSession { session: sessions[1].clone(), person, identity: identity(1) };
    assert_eq!(store.hub_session(&digest(1)).await.expect("works"), Some(found));
    assert_eq!(store.hub_sessions(&ada).await.expect("works"), [sessions[1].clone(), sessions[0].clone()]);
    assert_eq!(store.hub_sessions(&bob).await.expect("works"), [sessions[2].clone()]);

    assert_eq!(store.remove_hub_session(&bob, &digest(1)).await.expect("works"), Removed::NotThere, "not theirs");
    assert_eq!(store.remove_hub_session(&ada, &digest(1)).await.expect("works"), Removed::Done);
    assert_eq!(store.remove_hub_session(&ada, &digest(1)).await.expect("works"), Removed::NotThere);
    assert_eq!(store.hub_session(&digest(1)).await.expect("works"), None);
    assert_eq!(digests(&store, &ada).await, [digest(3)]);
}

pub(crate) async fn a_sighting_is_a_maximum_and_revives_no_hub_session(store: Subject) {
    let account = made(&store, 1).await.id;
    let sessions = [hub_session(account, 1, 0), hub_session(account, 2, 0)];
    for session in &sessions {
        added(&store, session).await;
    }
    let seen = |session: &HubSessionRecord, at: u64| HubSighting {
        account,
        digest: session.digest,
        at: wall(at),
        ends_at: session.ends_at,
    };
    for at in [5_000, 9_000, 7_000] {
        let both = [seen(&sessions[0], at), seen(&sessions[1], at)];
        store.see_hub_sessions(&both).await.expect("works");
    }
    let kept = store.hub_sessions(&account).await.expect("works");
    assert!(kept.iter().all(|session| session.last_seen == wall(9_000)), "{kept:?}");
    assert_eq!(store.remove_hub_session(&account, &digest(1)).await.expect("works"), Removed::Done);
    store.see_hub_sessions(&[seen(&sessions[0], 11_000)]).await.expect("works");
    assert_eq!(store.hub_session(&digest(1)).await.expect("works"), None);
    assert_eq!(digests(&store, &account).await, [digest(2)]);
}

pub(crate) async fn hub_sessions_are_found_by_the_providers_own(store: Subject) {
    let (ada, bob) = (made(&store, 1).await.id, made(&store, 2).await.id);
    // Numbers 5 and 7 began from one session of the provider; 6 from none that it named.
    for session in [hub_session(ada, 5, 0), hub_session(bob, 7, 0), hub_session(ada, 6, 0), hub_session(ada, 1, 0)] {
        added(&store, &session).await;
    }
    let found = async |issuer: &str, sid: &str| {
        let mut found: Vec<_> =
            store.hub_sessions_of_provider(issuer, sid).await.expect("works").into_iter().map(|s| s.digest).collect();
        found.sort();
        found
    };
    let mut both = vec![digest(5), digest(7)];
    both.sort();
    assert_eq!(found("https://id.example", "sid-1").await, both);
    assert_eq!(found("https://other.example", "sid-1").await, []);
    assert_eq!(found("https://id.examples", "id-1").await, [], "texts are told apart by their lengths");
    assert_eq!(store.remove_hub_session(&ada, &digest(5)).await.expect("works"), Removed::Done);
    assert_eq!(found("https://id.example", "sid-1").await, [digest(7)]);
}

pub(crate) async fn hub_sessions_that_are_over_are_dropped_in_pieces(store: Subject) {
    let account = made(&store, 1).await.id;
    for n in 1..=5 {
        added(&store, &hub_session(account, n, 0)).await;
    }
    // A store whose rows go by themselves drops none, and says so.
    let mut dropped = 0;
    for _ in 0..3 {
        let now = store.prune_hub_sessions(wall(LIVES + 4), 2).await.expect("works");
        assert!(now <= 2);
        dropped += now;
    }
    assert!(dropped == 3 || dropped == 0, "one that is not over stays: {dropped}");
    let left: Vec<_> = (1..=5).skip(dropped).map(digest).collect();
    assert_eq!(digests(&store, &account).await, left);
}

pub(crate) async fn deletion_erases_the_hubs_rows(store: Subject) {
    let account = made(&store, 1).await;
    let bystander = made(&store, 2).await.id;
    for session in [hub_session(account.id, 1, 0), hub_session(account.id, 2, 0), hub_session(bystander, 3, 0)] {
        added(&store, &session).await;
    }
    assert_eq!(store.put_profile(&account.id, 0, &profile("Ada")).await.expect("works"), Replaced::Done);
    assert_eq!(store.add_handle(&handle(account.id, 1, 1)).await.expect("works"), Added::Done);
    done(&store, &account, &Act { deletes: true, ..account.nothing() }).await;
    assert_eq!(store.person(&account.id).await.expect("works"), None);
    assert_eq!(store.hub_session(&digest(1)).await.expect("works"), None);
    assert_eq!(store.hub_sessions(&account.id).await.expect("works"), []);
    assert_eq!(store.handle(&handle(account.id, 1, 1).digest).await.expect("works"), None);
    assert_eq!(store.handles(&account.id).await.expect("works"), []);
    assert_eq!(store.add_handle(&handle(account.id, 2, 1)).await.expect("works"), Added::AccountGone);
    assert_eq!(store.hub_sessions_of_provider("https://id.example", "sid-0").await.expect("works").len(), 1);
    assert_eq!(store.put_profile(&account.id, 1, &profile("B")).await.expect("works"), Replaced::Outdated);
    assert_eq!(store.raise_epoch(&account.id).await.expect("works"), None);
    let late = hub_session(account.id, 4, 0);
    assert_eq!(store.add_hub_session(&late).await.expect("works"), Added::AccountGone);
    assert_eq!(digests(&store, &bystander).await, [digest(3)]);
    // Whoever returns is somebody new.
    let (owned, _) = store.create_account(account_id(7), &identity(1), wall(9)).await.expect("works");
    assert_eq!(store.person(&owned.account.id).await.expect("works"), Some(Person::default()));
}

/// Handle number `n` of a hub session.
fn handle(account: AccountId, n: u8, session: u8) -> HandleRecord {
    HandleRecord {
        digest: SecretDigest::of(&format!("gth_1_{n}")),
        account,
        session: digest(session),
        client_id: "5882386c6d801776".to_owned(),
        scope: "openid profile".to_owned(),
        created_at: wall(BEGAN + u64::from(n)),
        ends_at: wall(BEGAN + LIVES),
    }
}

pub(crate) async fn hub_clients_come_and_go(store: Subject) {
    let client = |client_id: &str, hashes: &[u8]| HubClient {
        client_id: client_id.to_owned(),
        name: format!("größer {client_id}"),
        kind: if hashes.is_empty() { ClientKind::Public } else { ClientKind::Confidential },
        secret_hashes: hashes.iter().map(|byte| [*byte; 32]).collect(),
        redirect_uris: vec!["https://app.example/cb".to_owned(), "http://127.0.0.1/cb".to_owned()],
        post_logout_redirect_uris: hashes.iter().map(|byte| format!("https://app.example/bye/{byte}")).collect(),
        tank: hashes.len() > 1,
        backchannel_logout_uri: (hashes.len() > 1).then(|| "https://app.example/out".to_owned()),
        created_at: wall(1),
    };
    assert_eq!(store.hub_clients().await.expect("works"), []);
    for client in [client("b", &[1]), client("a", &[2, 3]), client("b", &[1]), client("c", &[])] {
        store.put_hub_client(&client).await.expect("works");
    }
    let changed = HubClient { name: "another".to_owned(), ..client("b", &[1, 4]) };
    store.put_hub_client(&changed).await.expect("works");
    let mut found = store.hub_clients().await.expect("works");
    found.sort_by(|a, b| a.client_id.cmp(&b.client_id));
    assert_eq!(found, [client("a", &[2, 3]), changed, client("c", &[])]);
    assert_eq!(store.remove_hub_client("b").await.expect("works"), Removed::Done);
    assert_eq!(store.remove_hub_client("b").await.expect("works"), Removed::NotThere);
    assert_eq!(store.hub_clients().await.expect("works").len(), 2);
}

pub(crate) async fn handles_live_and_end_with_their_hub_session(store: Subject) {
    let (ada, bob) = (made(&store, 1).await.id, made(&store, 2).await.id);
    for session in [hub_session(ada, 1, 0), hub_session(ada, 2, 0), hub_session(bob, 3, 0)] {
        added(&store, &session).await;
    }
    let handles = [handle(ada, 2, 1), handle(ada, 1, 1), handle(ada, 3, 2), handle(bob, 4, 3)];
    for handle in &handles {
        assert_eq!(store.add_handle(handle).await.expect("works"), Added::Done);
        assert_eq!(store.add_handle(handle).await.expect("works"), Added::Done);
    }
    let gone = handle(account_id(9), 9, 1);
    assert_eq!(store.add_handle(&gone).await.expect("works"), Added::AccountGone);
    assert_eq!(store.handle(&gone.digest).await.expect("works"), None);
    let session = store.hub_session(&digest(1)).await.expect("works").expect("it is there");
    let found = FoundHandle { handle: handles[0].clone(), session };
    assert_eq!(store.handle(&handles[0].digest).await.expect("works"), Some(found));
    let of_ada = [handles[1].clone(), handles[0].clone(), handles[2].clone()];
    assert_eq!(store.handles(&ada).await.expect("works"), of_ada, "the oldest first");

    assert_eq!(store.remove_handle(&bob, &handles[0].digest).await.expect("works"), Removed::NotThere, "not theirs");
    assert_eq!(store.remove_handle(&ada, &handles[0].digest).await.expect("works"), Removed::Done);
    assert_eq!(store.remove_handle(&ada, &handles[0].digest).await.expect("works"), Removed::NotThere);
    assert_eq!(store.handle(&handles[0].digest).await.expect("works"), None);
    assert_eq!(store.remove_hub_session(&ada, &digest(1)).await.expect("works"), Removed::Done);
    assert_eq!(store.handle(&handles[1].digest).await.expect("works"), None, "its session is gone");
    assert_eq!(store.handles(&ada).await.expect("works"), [handles[2].clone()], "and so are its handles");
    assert!(store.handle(&handles[2].digest).await.expect("works").is_some());
    assert!(store.handle(&handles[3].digest).await.expect("works").is_some());
}

pub(crate) async fn of_fifty_racing_redemptions_of_a_code_one_wins(store: Subject) {
    let (account, code) = (made(&store, 1).await.id, SecretDigest::of("code"));
    let (now, until) = (wall(0), wall(600_000));
    let racers: Vec<_> = (0..50)
        .map(|n| {
            let store = Arc::clone(&store);
            let handle = handle(account, n, 1).digest;
            tokio::spawn(async move {
                (handle, store.redeem_code(&code, &account, &handle, now, until).await.expect("works"))
            })
        })
        .collect();
    let (mut won, mut lost) = (Vec::new(), Vec::new());
    for racer in racers {
        match racer.await.expect("no panic") {
            (handle, Redeemed::Now) => won.push(handle),
            (_, Redeemed::Before(of, handle)) => lost.push((of, handle)),
        }
    }
    assert_eq!((won.len(), lost.len()), (1, 49));
    assert!(lost.iter().all(|lost| *lost == (account, won[0])), "each is told for which handle");
    let again = store.redeem_code(&code, &account, &won[0], now, until).await.expect("works");
    assert_eq!(again, Redeemed::Now, "who asks again for the same is told the same");
    assert!(store.is_redeemed(&code).await.expect("works"));
    assert!(!store.is_redeemed(&SecretDigest::of("another")).await.expect("works"));
}
