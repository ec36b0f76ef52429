//! The article.
