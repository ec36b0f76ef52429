//! Attacks of hostile callers, and what bounds them: a test for every case of the security review, grouped by class.

mod answers;
mod cpu;
mod disclosure;
mod identity;
mod memory;
mod policy;
mod resources;
mod supervision;
mod tokens;
