//! Scopes of tokens, users of other tenants, and secrets in replies.
