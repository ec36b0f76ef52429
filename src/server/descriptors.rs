//! File descriptors: how many this process may have open, and who may use which share. Clients never take those that the admin listener,
//! the database and files need.

use parley_fault::Protection;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::config::Config;

/// Connections of the admin listener.
pub const ADMIN: usize = 16;

/// What is open whatever happens: standard streams, listeners, the runtime's own, certificates, collectors, look-ups of names.
const ALWAYS: usize = 48;

/// Pieces of files that are read at once, see `storage`.
const READS: usize = 32;

/// Files that `SQLite` has open for a connection: the database, its log, and the log's index.
const OF_SQLITE: usize = 3;

/// The fewest connections that a listener has on average. With less room the process should not be started: `doctor` says so.
const LEAST: usize = 8;

/// How many descriptors this process may have open; `None` without a limit. Raises the soft limit to the hard one: the soft limit is for
/// programs that use `select`.
pub fn raise() -> Option<u64> {
    let limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        let raised = Rlimit {
            current: limit.maximum,
            maximum: limit.maximum,
        };
        if setrlimit(Resource::Nofile, raised).is_ok() {
            return limit.maximum;
        }
    }
    limit.current
}

/// Descriptors that are kept free of connections.
pub fn reserved(config: &Config) -> usize {
    let of_one = if config.database.url.starts_with("sqlite:") { OF_SQLITE } else { 1 };
    let database = of_one * config.database.max_connections as usize;
    ALWAYS + ADMIN + READS + config.files.concurrent_uploads + database
}

/// Connections of the two public listeners.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Connections {
    /// Of one of them. Whatever clients one has, the other has room for some.
    pub each: usize,
    /// Of both together.
    pub together: usize,
}

/// Connections that the two public listeners may have.
pub fn connections(config: &Config, limit: Option<u64>) -> Connections {
    let most = config.limits.connections;
    let limit = limit.filter(|_| parley_fault::is_on(Protection::DescriptorShares));
    let free = limit.map_or(usize::MAX, |limit| {
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        limit.saturating_sub(reserved(config)).max(2 * LEAST)
    });
    Connections {
        each: most.min(free - free / 8),
        together: (2 * most).min(free),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Sources;

    #[test]
    fn connections_leave_room_for_the_rest() {
        let config = Config::load(&Sources::default()).unwrap();
        let most = Connections {
            each: config.limits.connections,
            together: 2 * config.limits.connections,
        };
        assert_eq!(connections(&config, None), most);
        assert_eq!(connections(&config, Some(1 << 20)), most);
        assert_eq!(connections(&config, Some(10)).together, 2 * LEAST);
        for limit in [256_u64, 1024, 4096] {
            let Connections { each, together } = connections(&config, Some(limit));
            assert!(each > LEAST && together - each >= LEAST, "{limit}: {each} of {together}");
            assert!(
                together + reserved(&config) <= usize::try_from(limit).unwrap(),
                "{limit}: {together}"
            );
        }
    }
}
