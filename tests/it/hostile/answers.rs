//! Answers, events and pages stay within what a default client accepts.
