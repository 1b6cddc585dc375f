//! What goes wrong.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use tokio::time::sleep;

use crate::{link::Weather, world::World};

/// Lets things go wrong until it is to be calm.
pub(crate) async fn rage(world: Arc<World>) {
    sleep(Duration::from_millis(3_000)).await;
    let wildness = 1 + world.chance.within(0, 4);
    while !world.calm.load(Ordering::SeqCst) {
        sleep(Duration::from_millis(world.chance.within(500, 9_000 / wildness))).await;
        if world.calm.load(Ordering::SeqCst) {
            break;
        }
        let slot = world.chance.place(world.slots.len());
        let kind = world.chance.within(0, 20);
        let for_all = kind >= 16;
        if !for_all && world.slots[slot].busy.swap(true, Ordering::SeqCst) {
            continue;
        }
        let until_calm = Arc::clone(&world);
        tokio::spawn(async move {
            let world = until_calm;
            let concerned: Vec<usize> = if for_all { (0..world.slots.len()).collect() } else { vec![slot] };
            concerned.iter().for_each(|slot| world.trouble_begins(*slot));
            befall(&world, slot, kind).await;
            concerned.iter().for_each(|slot| world.trouble_ends(*slot));
            if !for_all {
                world.slots[slot].busy.store(false, Ordering::SeqCst);
            }
        });
    }
}

async fn befall(world: &Arc<World>, slot: usize, kind: u64) {
    let place = &world.slots[slot];
    match kind {
        0..=3 => {
            world.note(&format!("node {slot} is killed"));
            world.watch.count("killed");
            world.kill(slot);
            pause(world, 100, 12_000).await;
            world.start(slot).await;
        }
        4..=5 => {
            let running = place.running.lock().take();
            if let Some(running) = running {
                world.note(&format!("node {slot} is told to stop"));
                world.watch.count("left");
                let left = running.leave().await;
                world.note(&format!("node {slot} has stopped, all written: {left}"));
                pause(world, 0, 3_000).await;
                world.start(slot).await;
            }
        }
        6..=7 => {
            world.note(&format!("node {slot} stands still"));
            world.watch.count("stopped");
            let link = place.link.lock().clone();
            link.stopped.store(true, Ordering::SeqCst);
            pause(world, 300, 25_000).await;
            link.stopped.store(false, Ordering::SeqCst);
            world.note(&format!("node {slot} goes on"));
        }
        8 => {
            world.note(&format!("the machine of node {slot} is suspended"));
            world.watch.count("suspended");
            let link = place.link.lock().clone();
            link.stopped.store(true, Ordering::SeqCst);
            place.machine.suspend();
            pause(world, 300, 25_000).await;
            place.machine.resume();
            link.stopped.store(false, Ordering::SeqCst);
            world.note(&format!("the machine of node {slot} goes on"));
        }
        9..=12 => {
            world.note(&format!("node {slot} is cut off from the store"));
            world.watch.count("cut");
            set(world, slot, Weather { cut: true, ..Weather::default() });
            pause(world, 300, 16_000).await;
            set(world, slot, Weather::default());
            world.note(&format!("node {slot} reaches the store again"));
        }
        13..=15 => {
            let weather = Weather { cut: false, loses: world.chance.within(2, 40), slow: world.chance.within(0, 400) };
            world.note(&format!("node {slot} has a bad way to the store: {weather:?}"));
            world.watch.count("bad way");
            set(world, slot, weather);
            pause(world, 1_000, 10_000).await;
            set(world, slot, Weather::default());
            world.note(&format!("node {slot} has a good way to the store again"));
        }
        16 => {
            world.note("the store is away");
            world.watch.count("store away");
            world.common.server.weather.lock().cut = true;
            pause(world, 500, 18_000).await;
            world.common.server.weather.lock().cut = false;
            world.note("the store is back");
        }
        17..=18 => {
            let weather = Weather { cut: false, loses: world.chance.within(2, 30), slow: world.chance.within(0, 300) };
            world.note(&format!("the store is bad: {weather:?}"));
            world.watch.count("store bad");
            *world.common.server.weather.lock() = weather;
            pause(world, 1_000, 8_000).await;
            *world.common.server.weather.lock() = Weather::default();
            world.note("the store is good again");
        }
        _ => {
            world.note("all nodes are killed");
            world.watch.count("all killed");
            for slot in 0..world.slots.len() {
                if !world.slots[slot].busy.swap(true, Ordering::SeqCst) {
                    world.kill(slot);
                    let world = Arc::clone(world);
                    world.trouble_begins(slot);
                    tokio::spawn(async move {
                        pause(&world, 0, 6_000).await;
                        world.start(slot).await;
                        world.trouble_ends(slot);
                        world.slots[slot].busy.store(false, Ordering::SeqCst);
                    });
                }
            }
        }
    }
}

fn set(world: &World, slot: usize, weather: Weather) {
    let link = world.slots[slot].link.lock().clone();
    *link.weather.lock() = weather;
}

/// Waits, but not for long once it is to be calm.
async fn pause(world: &World, from: u64, to: u64) {
    let mut left = world.chance.within(from, to);
    while left > 0 && !world.calm.load(Ordering::SeqCst) {
        let step = left.min(250);
        sleep(Duration::from_millis(step)).await;
        left -= step;
    }
}
