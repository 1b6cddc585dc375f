//! How two stores are compared without having all of either in memory.
//!
//! Each row leaves a [`Mark`]. A [`Tally`] adds the hashes up, in any order, in parts that the keys fall into by their own hash.
//! Where two tallies differ, only the parts that do are looked at row by row.

use std::{
    collections::{BTreeMap, BTreeSet, btree_map::Entry as Place},
    fmt::Write,
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use sha2::{Digest, Sha256};

use super::mark::{Mark, Say, Table};

/// Parts of a table.
const PARTS: usize = 256;
/// Parts of a table that are looked at row by row.
const PARTS_SEARCHED: usize = 4;
/// Rows that are named of each table.
const NAMED: usize = 5;

/// A part of a table: how many rows, and the sum of their hashes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Part {
    rows: u64,
    sum: [u64; 4],
}

/// What a store holds, added up.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally(BTreeMap<Table, Vec<Part>>);

impl Tally {
    /// Adds a mark.
    pub fn add(&mut self, mark: &Mark) {
        let parts = self.0.entry(mark.table).or_insert_with(|| vec![Part::default(); PARTS]);
        let part = &mut parts[mark.part()];
        part.rows += 1;
        for (sum, word) in part.sum.iter_mut().zip(mark.digest.as_chunks::<8>().0) {
            *sum = sum.wrapping_add(u64::from_le_bytes(*word));
        }
    }

    /// How many rows a table has.
    pub fn rows(&self, table: Table) -> u64 {
        self.0.get(&table).map_or(0, |parts| parts.iter().map(|part| part.rows).sum())
    }

    /// How many marks there are.
    pub fn marks(&self) -> u64 {
        self.0.keys().map(|table| self.rows(*table)).sum()
    }

    /// The tables that say something of their own, with how many rows they have.
    pub fn truths(&self) -> Vec<(Table, u64)> {
        self.0.keys().filter(|table| table.is_truth()).map(|table| (*table, self.rows(*table))).collect()
    }

    /// A hash of all of it.
    pub fn digest(&self) -> [u8; 32] {
        let mut sha = Sha256::new_with_prefix(b"gastank/moving/v1");
        for (table, parts) in &self.0 {
            table.name().say(&mut sha);
            for part in parts {
                part.rows.say(&mut sha);
                part.sum.iter().for_each(|word| word.say(&mut sha));
            }
        }
        sha.finalize().into()
    }

    /// Where it differs from another, to be searched.
    pub(super) fn differing(&self, other: &Self) -> Search {
        let empty = vec![Part::default(); PARTS];
        let mut search = Search::default();
        for table in self.0.keys().chain(other.0.keys()).copied().collect::<BTreeSet<_>>() {
            let (ours, theirs) = (self.0.get(&table).unwrap_or(&empty), other.0.get(&table).unwrap_or(&empty));
            let differ = ours.iter().zip(theirs).enumerate().filter(|(_, (one, two))| one != two);
            let parts: BTreeSet<_> = differ.map(|(part, _)| part).take(PARTS_SEARCHED).collect();
            if !parts.is_empty() {
                search.parts.insert(table, parts);
            }
        }
        search
    }
}

/// What is looked at row by row.
#[derive(Debug, Default)]
pub(super) struct Search {
    parts: BTreeMap<Table, BTreeSet<usize>>,
    /// Marks that one side has: whether it is the source, and the digest.
    odd: BTreeMap<(Table, Vec<u8>), (bool, [u8; 32])>,
    /// Rows that both have, and that say different things.
    changed: BTreeSet<(Table, Vec<u8>)>,
}

impl Search {
    pub(super) fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }

    /// Looks at a mark of the source, or of the target after all of the source.
    pub(super) fn see(&mut self, of_source: bool, mark: Mark) {
        if !self.parts.get(&mark.table).is_some_and(|parts| parts.contains(&mark.part())) {
            return;
        }
        match self.odd.entry((mark.table, mark.key)) {
            Place::Occupied(place) if place.get().0 != of_source => {
                let (key, (_, digest)) = place.remove_entry();
                if digest != mark.digest {
                    self.changed.insert(key);
                }
            }
            Place::Occupied(_) => {}
            Place::Vacant(place) => {
                place.insert((of_source, mark.digest));
            }
        }
    }

    /// What was found.
    pub(super) fn differences(&self, source: &Tally, target: &Tally) -> Vec<Difference> {
        let of = |table: Table| {
            let odd = self.odd.iter().filter(move |((of, _), _)| *of == table);
            let odd = odd.map(|((of, key), (of_source, _))| {
                format!("{} {}", named(*of, key), if *of_source { "is missing" } else { "is not in the source" })
            });
            let changed = self.changed.iter().filter(move |(of, _)| *of == table);
            odd.chain(changed.map(|(of, key)| format!("{} is not the same", named(*of, key)))).take(NAMED).collect()
        };
        let tables = self.parts.keys().copied();
        tables
            .map(|table| Difference { table, source: source.rows(table), target: target.rows(table), rows: of(table) })
            .collect()
    }
}

/// Where two stores differ.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// In which table.
    pub table: Table,
    /// How many rows the source has.
    pub source: u64,
    /// How many rows the target has.
    pub target: u64,
    /// Some of the rows that differ, and how.
    pub rows: Vec<String>,
}

impl std::fmt::Display for Difference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {} here, {} there", self.table.name(), self.source, self.target)?;
        self.rows.iter().try_for_each(|row| write!(f, "; {row}"))
    }
}

/// What people can find a row by.
fn named(table: Table, key: &[u8]) -> String {
    let id = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).escape_debug().take(100).collect::<String>();
    match (table, key.split_at_checked(16)) {
        (Table::Entry, Some((account, number))) => {
            let number = number.iter().fold(0_u64, |number, byte| number << 8 | u64::from(*byte));
            format!("entry {number} of account {}", id(account))
        }
        (Table::AccountKey, Some((account, key))) => format!("key {} of account {}", text(key), id(account)),
        (Table::EntryName, Some((account, _))) => format!("the name of an entry of account {}", id(account)),
        (Table::Audit | Table::AuditOfAccount, _) => format!("row {}", id(key)),
        (Table::Edge | Table::SigningKey | Table::Foreign, _) => text(key),
        (Table::Held, _) => {
            let (identity, name) = key.split_at(key.len().min(32));
            format!("{} of the identity with the hash {}", text(name), hex(identity))
        }
        (Table::Facts | Table::Identity | Table::KeyPointer, _) => format!("the one with the hash {}", hex(key)),
        (Table::Clock, _) => "it".to_owned(),
        _ => id(key),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a text cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{super::mark::Marked, *};

    fn mark(key: &[u8], says: u64) -> Mark {
        Marked::new(Table::Account, &[key]).with(says).done()
    }

    fn tally(rows: &BTreeMap<u16, u64>) -> Tally {
        let mut tally = Tally::default();
        rows.iter().for_each(|(key, says)| tally.add(&mark(&key.to_be_bytes(), *says)));
        tally
    }

    proptest! {
        #[test]
        fn tallies_are_the_same_only_of_the_same_rows(
            one: BTreeMap<u16, u64>,
            changes in prop::collection::btree_map(any::<u16>(), any::<Option<u64>>(), 0..3),
        ) {
            let mut two = one.clone();
            for (key, says) in changes {
                match says {
                    Some(says) => two.insert(key, says),
                    None => two.remove(&key),
                };
            }
            let (ours, theirs) = (tally(&one), tally(&two));
            prop_assert_eq!(one == two, ours == theirs);
            prop_assert_eq!(one == two, ours.digest() == theirs.digest());
            let mut search = ours.differing(&theirs);
            prop_assert_eq!(search.is_empty(), one == two);
            one.iter().for_each(|(key, says)| search.see(true, mark(&key.to_be_bytes(), *says)));
            two.iter().for_each(|(key, says)| search.see(false, mark(&key.to_be_bytes(), *says)));
            let named: usize = search.differences(&ours, &theirs).iter().map(|found| found.rows.len()).sum();
            let differing = one.keys().chain(two.keys()).collect::<BTreeSet<_>>();
            let differing = differing.into_iter().filter(|key| one.get(key) != two.get(key)).count();
            prop_assert_eq!(named, differing.min(NAMED));
        }
    }

    #[test]
    fn what_is_said_is_told_apart_by_its_lengths() {
        let says = |one: &str, two: Option<&str>| Marked::new(Table::Edge, &[b"x"]).with(one).with(two).done();
        assert_ne!(says("ab", Some("c")), says("a", Some("bc")));
        assert_ne!(says("a", Some("")), says("a", None));
    }
}
