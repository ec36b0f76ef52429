//! File descriptors: how many the process can open, and how they are divided. Client connections never use the descriptors reserved for the
//! admin listener, the database and files.

use parley_fault::Protection;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::config::Config;

/// Maximum number of connections of the admin listener.
pub const ADMIN: usize = 16;

/// Descriptors that are always open: standard streams, listeners, those of the runtime, certificates, collectors, name lookups.
const ALWAYS: usize = 48;

/// Number of file chunks that are read concurrently, see `storage`.
const READS: usize = 32;

/// Files that `SQLite` opens per connection: the database, its write-ahead log, and the log's index.
const OF_SQLITE: usize = 3;

/// Minimum number of connections per listener on average. With fewer descriptors, the process should not be started; `doctor` reports this.
const LEAST: usize = 8;

/// Raises the soft limit of open files to the hard limit and returns it; `None` means unlimited. The soft limit exists for programs that
/// use `select`.
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

/// Returns the number of descriptors that are reserved, that is, not available to connections.
pub fn reserved(config: &Config) -> usize {
    let of_one = if config.database.url.starts_with("sqlite:") { OF_SQLITE } else { 1 };
    let database = of_one * config.database.max_connections as usize;
    ALWAYS + ADMIN + READS + config.files.concurrent_uploads + database
}

/// Connection limits of the two public listeners.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Connections {
    /// Of each listener. Lower than `together`, so that clients of one listener cannot exhaust the other.
    pub each: usize,
    /// Of both together.
    pub together: usize,
}

/// Returns the connection limits of the two public listeners under a limit of open files.
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
