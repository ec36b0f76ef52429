//! The policies of all methods, as the contract declares them (`proto/parley/v1/options.proto`): who may call a method, and how the server
//! treats the call. The build script checks the declarations and generates the table; no other code makes decisions based on the name of a
//! method.

use std::{collections::HashMap, sync::LazyLock};

use super::{MethodCaller, MethodCredential, MethodEffect};

/// A gRPC method and its policy, as declared in the `.proto` files.
#[derive(Debug, PartialEq, Eq)]
// The flags are independent of each other, so they cannot be combined into an enum.
#[allow(clippy::struct_excessive_bools)]
pub struct Method {
    /// The path of the method without its leading slash: `parley.v1.Service/Call`.
    pub path: &'static str,
    /// The full name of the method's service.
    pub service: &'static str,
    /// The name of the method, without the service.
    pub call: &'static str,
    /// The name of the request message, without the package.
    pub request: &'static str,
    /// The kind of caller that may call the method.
    pub caller: MethodCaller,
    /// Whether the method changes anything.
    pub effect: MethodEffect,
    /// The credential that the caller authenticates with. `Unspecified` means a token.
    pub credential: MethodCredential,
    /// Whether agent bots may call the method.
    pub bots: bool,
    /// Whether each call to the method is recorded as an audit event.
    pub audited: bool,
    /// Whether a repeated call with the same `request_id` receives the stored response.
    pub idempotent: bool,
    /// Whether the request is a stream.
    pub client_streaming: bool,
    /// Whether the response is a stream.
    pub server_streaming: bool,
}

/// All methods, in the order of the `.proto` files.
pub static METHODS: &[Method] = include!(concat!(env!("OUT_DIR"), "/policy.rs"));

static BY_PATH: LazyLock<HashMap<&'static str, &'static Method>> =
    LazyLock::new(|| METHODS.iter().map(|method| (method.path, method)).collect());

/// Returns the method with this HTTP path, with or without its leading slash. Returns `None` if the contract has no such path.
pub fn method(path: &str) -> Option<&'static Method> {
    BY_PATH.get(path.strip_prefix('/').unwrap_or(path)).copied()
}

/// Returns the method with this name, such as `CreateMessage`. Scans the table; prefer [`method`] if the path is known.
pub fn called(call: &str) -> Option<&'static Method> {
    METHODS.iter().find(|method| method.call == call)
}

/// Returns the full name of each service once.
pub fn services() -> impl Iterator<Item = &'static str> {
    METHODS
        .chunk_by(|one, next| one.service == next.service)
        .map(|methods| methods[0].service)
}

impl Method {
    /// Whether the caller authenticates with a token, as opposed to a credential in the request.
    pub fn needs_token(&self) -> bool {
        self.credential == MethodCredential::Unspecified
    }

    /// Whether a read-only token is sufficient to call the method.
    pub fn is_read(&self) -> bool {
        self.effect == MethodEffect::Read
    }

    /// Whether the response is open-ended: once it has begun, it is not ended by a server deadline.
    pub fn is_stream(&self) -> bool {
        self.server_streaming
    }

    /// Whether a call to the method without a token waits for a processing slot. A call with a pubsub token does not wait, because it comes
    /// from a member's dashboard, and waiting would delay the member's presence. A stream does not wait either, because its processing is
    /// open-ended.
    pub fn takes_turn(&self) -> bool {
        !self.is_stream() && !self.is_upload() && self.credential != MethodCredential::PubsubToken
    }

    /// Whether the request is a stream that gets a single response after its last message.
    pub fn is_upload(&self) -> bool {
        self.client_streaming && !self.server_streaming
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_methods_by_path() {
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
