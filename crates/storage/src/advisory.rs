//! The advisory locks of PostgreSQL that replicas and commands take of each other. Any constants that nothing else uses.

/// Held while tables are migrated, and while a backup is restored into them.
pub const MIGRATION: i64 = 0x7061_726c_6579;

/// Held while an empty database is filled, and while rows of a backup are loaded.
pub const BOOTSTRAP: i64 = 0x7061_726c_6578;
