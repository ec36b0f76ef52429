//! List responses: pagination by page number and by cursor, and lists that are streamed row by row.

pub(crate) mod pagination;
pub(crate) mod rows;
