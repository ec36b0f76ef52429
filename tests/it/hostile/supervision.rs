//! Every task has an owner that notices its end.
