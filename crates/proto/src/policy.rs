//! The policy of every method, as the contract declares it (`proto/parley/v1/options.proto`): who may call it, and how the server treats the
//! call. The build script checks the declarations and writes the table; nothing else decides by the name of a method.

use std::{collections::HashMap, sync::LazyLock};

use super::{MethodCaller, MethodCredential, MethodEffect};

/// A method of the contract with its policy.
#[derive(Debug, PartialEq, Eq)]
// Independent facts of a method, not states of one thing.
#[allow(clippy::struct_excessive_bools)]
pub struct Method {
    /// `parley.v1.Service/Call`: the path without its first slash.
    pub path: &'static str,
    /// The service by its full name.
    pub service: &'static str,
    /// The call by its name alone.
    pub call: &'static str,
    /// The request by its name alone.
    pub request: &'static str,
    /// Who may call it.
    pub caller: MethodCaller,
    /// Whether it changes anything.
    pub effect: MethodEffect,
    /// What the caller shows; unspecified: a token.
    pub credential: MethodCredential,
    /// Whether agent bots may call it.
    pub bots: bool,
    /// Whether each call leaves an audit event.
    pub audited: bool,
    /// Whether a repetition under the same `request_id` is answered with the stored reply.
    pub idempotent: bool,
    /// Whether the request is a stream.
    pub client_streaming: bool,
    /// Whether the reply is a stream.
    pub server_streaming: bool,
}

/// All methods, in the order of the contract's files.
pub static METHODS: &[Method] = include!(concat!(env!("OUT_DIR"), "/policy.rs"));

static BY_PATH: LazyLock<HashMap<&'static str, &'static Method>> =
    LazyLock::new(|| METHODS.iter().map(|method| (method.path, method)).collect());

/// The method of an HTTP path, with or without its first slash. None for a path that the contract does not name.
pub fn method(path: &str) -> Option<&'static Method> {
    BY_PATH.get(path.strip_prefix('/').unwrap_or(path)).copied()
}

/// The method of a call by its name alone, such as `CreateMessage`. Scans the table: use [`method`] where there is a path.
pub fn called(call: &str) -> Option<&'static Method> {
    METHODS.iter().find(|method| method.call == call)
}

/// The services by their full names, each once.
pub fn services() -> impl Iterator<Item = &'static str> {
    METHODS
        .chunk_by(|one, next| one.service == next.service)
        .map(|methods| methods[0].service)
}

impl Method {
    /// Whether the caller shows a token, as opposed to a credential in the request.
    pub fn needs_token(&self) -> bool {
        self.credential == MethodCredential::Unspecified
    }

    /// Whether a token that may only read may be used for it.
    pub fn is_read(&self) -> bool {
        self.effect == MethodEffect::Read
    }

    /// Whether the reply is open-ended: once it has begun, no deadline of the server ends it.
    pub fn is_stream(&self) -> bool {
        self.server_streaming
    }

    /// Whether a call without a token waits for its turn among those. What shows a pubsub token is a member's dashboard, whose presence would be
    /// late, and a stream is not worked on until an end.
    pub fn takes_turn(&self) -> bool {
        !self.is_stream() && !self.is_upload() && self.credential != MethodCredential::PubsubToken
    }

    /// Whether the request is a stream that is answered after its last byte.
    pub fn is_upload(&self) -> bool {
        self.client_streaming && !self.server_streaming
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn methods_are_found_by_their_paths() {
        let method = |path| super::method(path).map(|method| (method.path, method.needs_token()));
        let label = Some(("parley.v1.LabelsService/GetLabel", true));
        assert_eq!(method("/parley.v1.LabelsService/GetLabel"), label);
        assert_eq!(method("parley.v1.LabelsService/GetLabel"), label);
        assert_eq!(
            method("/parley.v1.ClientService/GetClientInbox").map(|(_, token)| token),
            Some(false)
        );
        for unknown in ["/parley.v1.ClientService/", "/parley.v1.FilesService/GetFileLinkStats", "//", ""] {
            assert_eq!(method(unknown), None, "{unknown:?}");
        }
    }

    #[test]
    fn every_service_is_listed_once() {
        let mut services: Vec<_> = services().collect();
        let count = services.len();
        services.sort_unstable();
        services.dedup();
        assert_eq!(services.len(), count, "{services:?}");
        assert!(services.contains(&"parley.v1.EventsService"));
    }
}
