//! Where is decided: one datacenter's majority, or all of theirs. Two nodes that do not agree on it would each find a
//! majority, and one account would have two truths.

use std::collections::{BTreeSet, HashMap};

use scylla::client::session::Session;

use crate::store::{Result, StoreError};

use super::{Consistency, ScyllaOptions, ScyllaStore};

/// With fewer rows on different servers, nothing works while one is away.
pub(super) const REPLICAS: usize = 3;

/// What makes decisions on a keyspace, as the keyspace says it: `global`, or `local` and the datacenter.
pub(super) fn scope(options: &ScyllaOptions, session: &Session) -> Result<String> {
    let state = session.get_cluster_state();
    let known = state.get_nodes_info().iter().filter_map(|node| node.datacenter.clone()).collect();
    scope_among(options, &known)
}

fn scope_among(options: &ScyllaOptions, known: &BTreeSet<String>) -> Result<String> {
    let all = || known.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
    if let Some(named) = &options.datacenter
        && !known.is_empty()
        && !known.contains(named)
    {
        return Err(StoreError::Refused(format!(
            "scylla.datacenter is {named}, and the cluster has no datacenter of this name; it has {}",
            all()
        )));
    }
    match (options.consistency, &options.datacenter, known.first()) {
        (Consistency::Global, ..) => Ok("global".to_owned()),
        (Consistency::Local, Some(named), _) => Ok(format!("local {named}")),
        (Consistency::Local, None, Some(only)) if known.len() == 1 => Ok(format!("local {only}")),
        (Consistency::Local, None, None) => Err(StoreError::Unavailable("no server tells its datacenter".to_owned())),
        (Consistency::Local, None, Some(_)) => Err(StoreError::Refused(format!(
            "the cluster has several datacenters ({}), and scylla.consistency is local: each would decide by itself. Set \
             scylla.datacenter to the one that all gastank nodes are in, or scylla.consistency to global",
            all()
        ))),
    }
}

/// How many servers of a datacenter have each row, if the server says so in a way that is known.
pub(super) fn replicas(replication: &HashMap<String, String>, datacenter: Option<&str>) -> Option<usize> {
    let of = |name: &str| replication.get(name).and_then(|count| count.parse().ok());
    match datacenter {
        Some(name) => of(name).or_else(|| of("replication_factor")),
        // The fewest of any.
        None => replication.keys().filter(|key| *key != "class").filter_map(|key| of(key)).min(),
    }
}

impl ScyllaStore {
    /// Refuses a keyspace that others decide on elsewhere. The first says where.
    pub(super) async fn agree_on(&self, scope: &str) -> Result<()> {
        let statements = &self.cluster.statements;
        let known: Option<(Option<String>,)> = self.cluster.row(&statements.scope, ()).await?;
        match known.and_then(|(known,)| known) {
            Some(known) if known == scope => Ok(()),
            Some(known) => Err(StoreError::Refused(format!(
                "decisions on this keyspace are `{known}`, and this node is configured for `{scope}`: two nodes would find \
                 two majorities. Configure all nodes alike (scylla.consistency, scylla.datacenter). To change it for \
                 all, stop all of them and see docs/operations/datacenters.md"
            ))),
            None => self.cluster.write(&statements.keep_scope, (scope,)).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn among(consistency: Consistency, datacenter: Option<&str>, known: &[&str]) -> Result<String> {
        let options = ScyllaOptions {
            consistency,
            datacenter: datacenter.map(str::to_owned),
            ..ScyllaOptions::new(Vec::new(), "k".to_owned())
        };
        scope_among(&options, &known.iter().map(|name| (*name).to_owned()).collect())
    }

    #[test]
    fn one_of_several_datacenters_decides_only_if_it_is_named() {
        use Consistency::{Global, Local};
        assert_eq!(among(Local, None, &["a"]), Ok("local a".to_owned()));
        assert_eq!(among(Local, Some("a"), &["a", "b"]), Ok("local a".to_owned()));
        assert_eq!(among(Global, None, &["a", "b"]), Ok("global".to_owned()));
        assert_eq!(among(Global, Some("b"), &["a", "b"]), Ok("global".to_owned()));
        for (datacenter, known) in [(None, ["a", "b"]), (Some("c"), ["a", "b"])] {
            let Err(StoreError::Refused(why)) = among(Local, datacenter, &known) else { panic!("{datacenter:?}") };
            assert!(why.contains("a, b") && why.contains("scylla.datacenter"), "{why}");
        }
    }

    #[test]
    fn replicas_are_counted_where_is_decided() {
        let map = |rows: &[(&str, &str)]| rows.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        let class = ("class", "org.apache.cassandra.locator.NetworkTopologyStrategy");
        let two = map(&[class, ("a", "3"), ("b", "1")]);
        assert_eq!(replicas(&two, Some("a")), Some(3));
        assert_eq!(replicas(&two, Some("b")), Some(1));
        assert_eq!(replicas(&two, None), Some(1));
        let simple = map(&[("class", "SimpleStrategy"), ("replication_factor", "2")]);
        assert_eq!(replicas(&simple, Some("a")), Some(2));
        assert_eq!(replicas(&map(&[class]), None), None);
    }
}
