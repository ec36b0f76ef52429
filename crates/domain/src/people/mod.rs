//! People and accounts: who works where, in which teams, and who is there.

pub mod accounts;
pub mod agents;
pub mod members;
pub mod outbox;
pub mod presence;
pub mod removal;
pub mod self_service;
pub mod team_members;
pub mod teams;
pub mod users;
