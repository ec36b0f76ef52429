//! File descriptors: how many the process can open, and how they are divided. Client connections never use the descriptors reserved for the
//! admin listener, the database and files.

use parley_fault::Protection;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::config::Config;

/// Maximum number of connections of the admin listener.
pub const ADMIN_CONNECTIONS: usize = 16;

/// Number of descriptors whose use does not depend on the configuration: standard streams, listeners, the runtime, certificates, collectors
/// and name lookups.
const FIXED: usize = 48;

/// Maximum number of concurrent reads from the file store. Must match `READS` in `parley_blobs`.
const FILE_READS: usize = 32;

/// Number of files that `SQLite` opens per connection: the database, its write-ahead log, and the log's index.
const PER_SQLITE_CONNECTION: usize = 3;

/// Minimum number of connections per listener, on average. A process without enough descriptors for these should not be started; `doctor`
/// reports this.
const MIN_CONNECTIONS: usize = 8;

/// Raises the soft limit on open files to the hard limit and returns it; `None` means unlimited. The soft limit is lower by default only
/// for the sake of programs that use `select`.
pub fn raise_limit() -> Option<u64> {
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
    let per_connection = if config.database.url.starts_with("sqlite:") {
        PER_SQLITE_CONNECTION
    } else {
        1
    };
    let database = per_connection * config.database.max_connections as usize;
    FIXED + ADMIN_CONNECTIONS + FILE_READS + config.files.concurrent_uploads + database
}

/// Connection limits of the two public listeners.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectionLimits {
    /// Maximum number of connections to each listener. It is lower than `total`, so that clients of one listener cannot use up the
    /// connections of the other.
    pub per_listener: usize,
    /// Maximum number of connections to both listeners together.
    pub total: usize,
}

/// Returns the connection limits of the two public listeners under a limit on open files, where `None` means unlimited.
pub fn connection_limits(config: &Config, limit: Option<u64>) -> ConnectionLimits {
    let configured = config.limits.connections;
    let limit = limit.filter(|_| parley_fault::is_on(Protection::DescriptorShares));
    let available = limit.map_or(usize::MAX, |limit| {
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        limit.saturating_sub(reserved(config)).max(2 * MIN_CONNECTIONS)
    });
    ConnectionLimits {
        per_listener: configured.min(available - available / 8),
        total: (2 * configured).min(available),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Sources;

    #[test]
    fn connections_leave_descriptors_for_other_uses() {
        let config = Config::load(&Sources::default()).unwrap();
        let configured = ConnectionLimits {
            per_listener: config.limits.connections,
            total: 2 * config.limits.connections,
        };
        assert_eq!(connection_limits(&config, None), configured);
        assert_eq!(connection_limits(&config, Some(1 << 20)), configured);
        assert_eq!(connection_limits(&config, Some(10)).total, 2 * MIN_CONNECTIONS);
        for limit in [256_u64, 1024, 4096] {
            let ConnectionLimits { per_listener, total } = connection_limits(&config, Some(limit));
            assert!(
                per_listener > MIN_CONNECTIONS && total - per_listener >= MIN_CONNECTIONS,
                "{limit}: {per_listener} of {total}"
            );
            assert!(total + reserved(&config) <= usize::try_from(limit).unwrap(), "{limit}: {total}");
        }
    }
}
