//! Method policy, idempotency keys by caller and stored audit events.
