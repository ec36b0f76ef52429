//! Visitors and sessions: what an unproved identity reaches, reads and changes.
