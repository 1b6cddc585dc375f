//! How many files and sockets may be open at once. Each connection holds one, and where none is left nobody is answered.

use nix::sys::resource::{Resource, getrlimit, setrlimit};

use crate::web::admission::Capacity;

/// What stays free for the store, the listeners, the outgoing connections and the log.
const RESERVE: usize = 256;

/// Raises the soft limit to the hard one. Answers the limit that holds; `None` if the system does not say.
pub(super) fn raise_limit() -> Option<usize> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).ok()?;
    let raised = soft < hard && setrlimit(Resource::RLIMIT_NOFILE, hard, hard).is_ok();
    usize::try_from(if raised { hard } else { soft }).ok()
}

/// `wanted` connections of each of so many listeners, as far as the limit on descriptors has room for them. The share of one network shrinks
/// with the total.
pub(super) fn fit(wanted: Capacity, listeners: usize, limit: usize) -> Capacity {
    let room = limit.saturating_sub(RESERVE).max(limit / 2) / listeners.max(1);
    if wanted.total <= room {
        return wanted;
    }
    let shrunk = |share: usize| (share * room / wanted.total).max(1);
    Capacity { total: room, per_network: wanted.per_network.map(shrunk) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_network_cannot_take_all_descriptors() {
        let wanted = Capacity { total: 16_384, per_network: Some(4096) };
        assert_eq!(fit(wanted, 1, 65_536), wanted);
        assert_eq!(fit(wanted, 2, 65_536), wanted);
        for limit in [64, 256, 1024, 4096, 20_000] {
            for listeners in [1, 2] {
                let given = fit(wanted, listeners, limit);
                assert!(given.total * listeners < limit.max(2), "{limit}: {given:?}");
                assert!(given.per_network.expect("a share") * 3 < limit, "{limit}: {given:?}");
            }
        }
        assert_eq!(fit(Capacity { total: 16_384, per_network: None }, 1, 1024).per_network, None);
    }

    #[test]
    fn the_limit_of_this_process_is_raised_to_what_it_may_be() {
        let limit = raise_limit().expect("the system says");
        let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).expect("the system says");
        assert_eq!((soft, usize::try_from(soft).ok()), (hard, Some(limit)));
    }
}
