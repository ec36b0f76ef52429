//! The programs that the checks need, and their installation: Debian, npm and Python packages. A function installs its tool unless it is there already.

pub mod client_libraries;
pub mod debian;
pub mod node;
pub mod python;
