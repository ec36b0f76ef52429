pub mod gateway;
pub mod pb;
