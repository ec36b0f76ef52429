//! What a hostile caller sends, and what bounds it: every case of the security review is a test here, by class.

mod answers;
mod cpu;
mod disclosure;
mod identity;
mod memory;
mod policy;
mod resources;
mod supervision;
mod tokens;
