//! A node whose wall clock is an hour off.

use std::{
    ops::RangeInclusive,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use crate::{
    HANGS,
    client::Api,
    load::{At, Load},
    nodes::{another, claims},
    preload::Wall,
    settings, store,
    support::{Home, Service},
};

const HOUR: i64 = 3600;

fn about(skew: f64) -> RangeInclusive<f64> {
    skew - 3.0..=skew + 3.0
}

/// How far a token's `iat` is from the time, in seconds.
fn dated(token: &str) -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs().cast_signed();
    claims(token)["iat"].as_i64().unwrap() - now
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wall_clock_that_is_an_hour_off_charges_nobody_and_is_told_of() {
    let _calm = HANGS.read().await;
    let (home, store, wall) = (Home::new(), store("clocks").await, Wall::new());
    wall.set(HOUR);
    let (settings, off) = (settings(&store), wall.variables());
    let mut of_first = settings.to_vec();
    of_first.extend(off.iter().map(|(name, value)| (*name, value.as_str())));
    let first = Service::start_with(&home, &of_first);
    let other = another(&home);
    let second = Service::start_with(&other, &settings);
    let apis = [Api::new(&first, &home), Api::new(&second, &other)];
    let [a, b] = &apis;
    let load = Load::begin(&apis, &[At::Node(0), At::Node(1), At::All]).await;

    let is_off_by = async |ahead: f64| {
        let what = "the clocks are compared";
        let during = load.go_on_until(what, async |_| {
            about(ahead).contains(&a.metric("gastank_clock_skew_seconds", "").await)
                && about(-ahead).contains(&b.metric("gastank_clock_skew_seconds", "").await)
        });
        during.await
    };
    is_off_by(3600.0).await;
    // An hour ahead: its tokens are of the future, and others' last an hour less there.
    let (rich, poor) = (b.owner(10_000).await, b.owner(600).await);
    let (long, short) = (b.open(&rich).await, b.open(&poor).await);
    assert!((HOUR - 60..=HOUR + 60).contains(&dated(&a.open(&rich).await.token)), "tokens are dated by the wall clock");
    assert!(dated(&long.token).abs() < 60);
    let edge = a.edge().await;
    crate::nodes::until("the edge is known", async || b.introspect(&edge, "no token").await.unwrap().status == 200)
        .await;
    assert!(b.is_active(&edge, &short.token).await);
    assert!(!a.is_active(&edge, &short.token).await, "it has expired, by that clock");
    load.go_on_for(Duration::from_secs(3)).await;

    // It steps back by two hours while the node runs.
    wall.set(-HOUR);
    is_off_by(-3600.0).await;
    assert!((-HOUR - 60..=60 - HOUR).contains(&dated(&a.open(&rich).await.token)));
    load.go_on_for(Duration::from_secs(3)).await;

    wall.set(0);
    is_off_by(0.0).await;
    for home in [&home, &other] {
        let said = home.said_once("this node's wall clock is that of the other nodes again");
        assert!(said.contains("this node's wall clock is not that of the other nodes"), "{said}");
        assert!(!said.contains("ERROR"), "{said}");
    }
    load.go_on_for(Duration::from_secs(1)).await;
    let all = load.tally();
    all.beats_went_on();
    all.nobody_was_turned_away();
    assert!(all.acts > all.put_off + all.unknown, "{all:?}");
    load.ends_well().await;
    assert!(first.stop().success());
    assert!(second.stop().success());
}
