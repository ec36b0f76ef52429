//! Accounts and people: users, members, agents, teams and presence.

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
