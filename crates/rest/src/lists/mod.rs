//! Lists: pagination by number and by cursor, and responses that are streamed row by row.

pub(crate) mod paging;
pub(crate) mod rows;
