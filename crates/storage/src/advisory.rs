//! Keys of the PostgreSQL advisory locks with which replicas and commands exclude each other. The numbers are arbitrary; nothing else uses
//! them.

/// Key of the lock that is held while migrations run and while a backup is restored.
pub const MIGRATION: i64 = 0x7061_726c_6579;

/// Key of the lock that is held while an empty database is bootstrapped and while the rows of a backup are loaded.
pub const BOOTSTRAP: i64 = 0x7061_726c_6578;
