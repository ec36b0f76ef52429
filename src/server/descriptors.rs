//! File descriptors: how many this process may have open, and who may use which share. Clients never take those that the admin listener,
//! the database and files need.

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

/// The fewest connections of a listener. With less room the process should not be started: `doctor` says so.
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

/// Connections that each of the two public listeners may have.
pub fn connections(config: &Config, limit: Option<u64>) -> usize {
    let Some(limit) = limit else { return config.limits.connections };
    let free = usize::try_from(limit).unwrap_or(usize::MAX).saturating_sub(reserved(config));
    config.limits.connections.min((free / 2).max(LEAST))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Sources;

    #[test]
    fn connections_leave_room_for_the_rest() {
        let config = Config::load(&Sources::default()).unwrap();
        assert_eq!(connections(&config, None), config.limits.connections);
        assert_eq!(connections(&config, Some(1 << 20)), config.limits.connections);
        assert_eq!(connections(&config, Some(10)), LEAST);
        for limit in [256_u64, 1024, 4096] {
            let each = connections(&config, Some(limit));
            assert!(each > LEAST, "{limit}: {each}");
            assert!(2 * each + reserved(&config) <= usize::try_from(limit).unwrap(), "{limit}: {each}");
        }
    }
}
