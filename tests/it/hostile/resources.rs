//! Rates, quotas, streams and descriptors that one stranger can use.
