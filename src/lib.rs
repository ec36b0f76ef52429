pub mod config;
pub mod pb;
