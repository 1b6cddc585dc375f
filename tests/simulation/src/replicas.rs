//! Cells as a CQL server keeps them: three replicas, last write wins by timestamp, quorum reads and writes.
//!
//! A write that was acknowledged is on two of the three, so every quorum read sees it. One that was not may be on one of
//! them only: some reads see it and some do not, until it is read together with an older one and repaired.

use std::collections::BTreeMap;

use crate::chance::Chance;

const REPLICAS: usize = 3;

/// A table of cells.
#[derive(Debug)]
pub struct Cells<K, V> {
    replicas: [BTreeMap<K, (u64, Option<V>)>; REPLICAS],
}

impl<K, V> Default for Cells<K, V> {
    fn default() -> Self {
        Self { replicas: std::array::from_fn(|_| BTreeMap::new()) }
    }
}

impl<K: Ord + Clone, V: Clone + Ord> Cells<K, V> {
    /// Writes a cell; `None` deletes it. `reaches` says how many of the replicas get it: two are a quorum.
    pub fn write(&mut self, key: &K, timestamp: u64, value: Option<V>, reaches: usize, chance: &Chance) {
        let first = chance.place(REPLICAS);
        for step in 0..reaches.min(REPLICAS) {
            put(&mut self.replicas[(first + step) % REPLICAS], key, timestamp, value.clone());
        }
    }

    /// Reads a range of keys at quorum, and repairs what differs.
    pub fn read(&mut self, range: impl std::ops::RangeBounds<K> + Clone, chance: &Chance) -> Vec<(K, V)> {
        let absent = chance.place(REPLICAS);
        let asked: Vec<usize> = (0..REPLICAS).filter(|replica| *replica != absent).collect();
        let mut found: BTreeMap<K, (u64, Option<V>)> = BTreeMap::new();
        for replica in &asked {
            for (key, (timestamp, value)) in self.replicas[*replica].range(range.clone()) {
                put(&mut found, key, *timestamp, value.clone());
            }
        }
        for replica in asked {
            for (key, (timestamp, value)) in &found {
                put(&mut self.replicas[replica], key, *timestamp, value.clone());
            }
        }
        found.into_iter().filter_map(|(key, (_, value))| Some((key, value?))).collect()
    }
}

/// The newer wins; of two of the same time, one that deletes, or else the greater.
fn put<K: Ord + Clone, V: Ord>(cells: &mut BTreeMap<K, (u64, Option<V>)>, key: &K, timestamp: u64, value: Option<V>) {
    let wins = cells
        .get(key)
        .is_none_or(|(known, held)| (timestamp, value.is_none(), &value) > (*known, held.is_none(), held));
    if wins {
        cells.insert(key.clone(), (timestamp, value));
    }
}
