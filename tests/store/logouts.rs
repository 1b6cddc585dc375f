//! Clients that take part in hub sessions, and the outbox of logouts.

use std::sync::Arc;

use gastank::store::{Added, ClientKind, HubClient, HubSessionId, LogoutRecord, Participant, Removed, Replaced};

use super::{hub::hub_session, *};

/// When any logout is due.
const LATER: u64 = 1 << 40;

fn participant(account: AccountId, session: u8, client_id: &str) -> Participant {
    let session = hub_session(account, session, 0);
    Participant { session: session.digest, account, client_id: client_id.to_owned(), ends_at: session.ends_at }
}

fn sid(account: AccountId, session: u8) -> Option<HubSessionId> {
    Some(HubSessionId::of(&hub_session(account, session, 0).digest))
}

/// Clients `a` and `b`; an account, its hub sessions 1 and 2, of which `a` takes part in both and `b` in the first.
async fn scene(store: &Subject) -> Account {
    for client_id in ["a", "b"] {
        let client = HubClient {
            client_id: client_id.to_owned(),
            name: client_id.to_owned(),
            kind: ClientKind::Public,
            secret_hashes: Vec::new(),
            redirect_uris: vec!["https://app.example/cb".to_owned()],
            post_logout_redirect_uris: Vec::new(),
            backchannel_logout_uri: Some("https://app.example/out".to_owned()),
            tank: false,
            created_at: wall(1),
        };
        store.put_hub_client(&client).await.expect("works");
    }
    let account = made(store, 1).await;
    for n in [1, 2] {
        assert_eq!(store.add_hub_session(&hub_session(account.id, n, 0)).await.expect("works"), Added::Done);
    }
    for (session, client) in [(1, "a"), (2, "a"), (1, "b"), (1, "a")] {
        let participant = participant(account.id, session, client);
        assert_eq!(store.add_participant(&participant, wall(0)).await.expect("works"), Added::Done);
    }
    account
}

async fn due(store: &Subject, client_id: &str) -> Vec<LogoutRecord> {
    store.due_logouts(client_id, wall(LATER), 100).await.expect("works")
}

/// The sessions that a client is owed a logout of, all of them last.
async fn owed(store: &Subject, client_id: &str) -> Vec<Option<HubSessionId>> {
    sorted(due(store, client_id).await.into_iter().map(|logout| logout.session).collect())
}

fn sorted(mut sessions: Vec<Option<HubSessionId>>) -> Vec<Option<HubSessionId>> {
    sessions.sort_by_key(|session| session.map_or((true, String::new()), |session| (false, session.to_string())));
    sessions
}

pub(crate) async fn the_end_of_a_hub_session_owes_its_participants_a_logout(store: Subject) {
    let account = scene(&store).await.id;
    assert_eq!(owed(&store, "a").await, [], "nothing has ended");
    let digest = |n| hub_session(account, n, 0).digest;
    assert_eq!(store.remove_hub_session(&account_id(2), &digest(1)).await.expect("works"), Removed::NotThere);
    assert_eq!(owed(&store, "a").await, [], "it is somebody else's");
    assert_eq!(store.remove_hub_session(&account, &digest(1)).await.expect("works"), Removed::Done);
    let [one] = &*due(&store, "a").await else { panic!("one has ended") };
    let expected = LogoutRecord {
        client_id: "a".to_owned(),
        account,
        session: sid(account, 1),
        due: UnixMs::from_ms(0),
        since: None,
        tries: 0,
    };
    assert_eq!(*one, expected);
    assert_eq!(owed(&store, "b").await, [sid(account, 1)]);
    assert_eq!(store.remove_hub_session(&account, &digest(1)).await.expect("works"), Removed::NotThere);
    assert_eq!(store.remove_hub_session(&account, &digest(2)).await.expect("works"), Removed::Done);
    assert_eq!(owed(&store, "a").await, sorted(vec![sid(account, 1), sid(account, 2)]));
    assert_eq!(store.due_logouts("a", wall(LATER), 1).await.expect("works").len(), 1);
    assert_eq!(owed(&store, "b").await.len(), 1, "it has no part in the second");
    assert_eq!(store.remove_hub_client("a").await.expect("works"), Removed::Done);
    assert_eq!((owed(&store, "a").await.len(), owed(&store, "b").await.len()), (0, 1), "who is gone is owed nothing");
}

pub(crate) async fn everywhere_owes_each_client_a_logout_of_all_and_of_each_session(store: Subject) {
    let account = scene(&store).await.id;
    assert_eq!(store.raise_epoch(&account).await.expect("works"), Some(1));
    assert_eq!(owed(&store, "a").await, sorted(vec![sid(account, 1), sid(account, 2), None]));
    assert_eq!(owed(&store, "b").await, [sid(account, 1), None]);
    for logout in due(&store, "a").await {
        assert_eq!(store.remove_logout(&logout).await.expect("works"), Removed::Done);
    }
    assert_eq!(store.raise_epoch(&account).await.expect("works"), Some(2));
    assert_eq!(owed(&store, "a").await, [], "nobody takes part any more");
    let later = hub_session(account, 3, 2);
    assert_eq!(store.add_hub_session(&later).await.expect("works"), Added::Done);
    assert_eq!(store.add_participant(&participant(account, 3, "a"), wall(0)).await.expect("works"), Added::Done);
    assert_eq!(store.remove_hub_session(&account, &later.digest).await.expect("works"), Removed::Done);
    assert_eq!(owed(&store, "a").await, [sid(account, 3)]);
}

pub(crate) async fn deletion_owes_logouts_that_outlive_the_account(store: Subject) {
    let account = scene(&store).await;
    done(&store, &account, &Act { deletes: true, ..account.nothing() }).await;
    assert_eq!(owed(&store, "a").await, sorted(vec![sid(account.id, 1), sid(account.id, 2), None]));
    assert_eq!(owed(&store, "b").await, [sid(account.id, 1), None]);
    let late = participant(account.id, 2, "b");
    assert_eq!(store.add_participant(&late, wall(0)).await.expect("works"), Added::AccountGone);
}

pub(crate) async fn of_fifty_racing_nodes_one_postpones_a_logout(store: Subject) {
    let account = scene(&store).await.id;
    let session = hub_session(account, 1, 0).digest;
    assert_eq!(store.remove_hub_session(&account, &session).await.expect("works"), Removed::Done);
    let first = due(&store, "a").await.remove(0);
    let racers: Vec<_> = (1..=50)
        .map(|n| {
            let (store, from) = (Arc::clone(&store), first.clone());
            let to = from.postponed(wall(5), wall(1_000 + n));
            tokio::spawn(async move {
                let replaced = store.postpone_logout(&from, &to).await.expect("works");
                (replaced == Replaced::Done).then_some(to)
            })
        })
        .collect();
    let mut won = Vec::new();
    for racer in racers {
        won.extend(racer.await.expect("no panic"));
    }
    let [postponed] = &*won else { panic!("{} have won", won.len()) };
    assert_eq!((postponed.tries, postponed.since), (1, Some(wall(5))));
    assert_eq!(store.due_logouts("a", wall(1_000), 9).await.expect("works"), [], "it is not due");
    assert_eq!(store.due_logouts("a", postponed.due, 9).await.expect("works"), won);
    let again = postponed.postponed(wall(2_000), wall(9_000));
    assert_eq!((again.tries, again.since), (2, Some(wall(5))));
    assert_eq!(store.postpone_logout(postponed, &again).await.expect("works"), Replaced::Done);
    assert_eq!(store.remove_logout(postponed).await.expect("works"), Removed::NotThere, "it is due later now");
    assert_eq!(store.remove_logout(&again).await.expect("works"), Removed::Done);
    assert_eq!(store.remove_logout(&again).await.expect("works"), Removed::NotThere);
    assert_eq!(store.postpone_logout(&first, &again).await.expect("works"), Replaced::Outdated, "it is delivered");
    assert_eq!(due(&store, "a").await, []);
}
