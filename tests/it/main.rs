//! Behaviour, through the doors: every test starts the real program with a database of its own and speaks to it with real clients.

mod support;

mod arrows;
mod article;
mod contacts;
mod messages;
mod python;
mod stream;
