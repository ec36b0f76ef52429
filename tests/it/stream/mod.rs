//! The stream's contract: a validator for each numbered statement, with its number in its name.
//!
//! Not here: 12 to 14 and 17 to 19 and 21 and 22, which this version does not serve yet.

mod ends;
mod envelope;
mod filters;
mod order;
mod replicas;
mod resume;
mod slow;
mod snapshot;
mod snapshot_parts;
mod start;
mod writes;
