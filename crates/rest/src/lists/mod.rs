//! Lists: pages by number and by cursor, and answers that are written row by row.

pub(crate) mod paging;
pub(crate) mod rows;
