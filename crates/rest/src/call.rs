//! Makes the gRPC calls for a REST request, whose headers become metadata of the calls.

use std::{convert::Infallible, net::SocketAddr};

use axum::{
    extract::{ConnectInfo, FromRef, FromRequestParts},
    http::{HeaderMap, HeaderName, HeaderValue, request::Parts},
};
use parley_admission::{client_address::ClientAddress, credential::secret, rate_limit::Charged};
use parley_proto::{
    self as pb, client_service_client::ClientServiceClient, codec::SmallCodec, contacts_service_client::ContactsServiceClient,
    conversations_service_client::ConversationsServiceClient, events_service_client::EventsServiceClient,
    files_service_client::FilesServiceClient, pubsub_service_client::PubsubServiceClient, rpc::UnaryRequest,
};
use sha2::{Digest as _, Sha256};
use tonic::{
    GrpcMethod, Status,
    client::Grpc,
    codegen::http::uri::PathAndQuery,
    metadata::{Ascii, MetadataValue},
    service::Routes,
};
use uuid::Uuid;

use crate::{
    errors::ApiError,
    layers::response_metadata::{CursorRecorder, ResponseMetadata},
};

/// The metadata key of the token, whichever header contained the token.
const TOKEN: &str = "api_access_token";
/// The header that makes a write idempotent. Its value may be any string.
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// Headers that are forwarded unchanged: the W3C trace context and baggage, and the log position that a read waits for.
const FORWARDED_HEADERS: [HeaderName; 4] = [
    HeaderName::from_static("traceparent"),
    HeaderName::from_static("tracestate"),
    HeaderName::from_static("baggage"),
    HeaderName::from_static("parley-min-cursor"),
];

/// The context of one REST request, from which its gRPC calls are made. It is created from the request and from the router's state, which
/// contains the gRPC services with their middleware.
#[derive(Debug)]
pub struct Call {
    routes: Routes,
    headers: HeaderMap,
    /// The peer address, if a listener set it.
    from: Option<ConnectInfo<SocketAddr>>,
    /// The client address that rate limits are charged to, if a listener set it.
    address: Option<ClientAddress>,
    /// Present if the request has already been charged to its address.
    charged: Option<Charged>,
    response_metadata: ResponseMetadata,
    rpc_method: RpcMethod,
}

/// The method of the contract that a route calls, in the form `Service.Method`, as in the route's description.
#[derive(Clone, Copy, Debug, Default)]
pub struct RpcMethod(pub &'static str);

impl RpcMethod {
    fn method(self) -> &'static str {
        self.0.rsplit('.').next().unwrap_or_default()
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Call
where
    Routes: FromRef<S>,
{
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Infallible> {
        Ok(Self {
            routes: Routes::from_ref(state),
            headers: parts.headers.clone(),
            from: parts.extensions.get().copied(),
            address: parts.extensions.get().copied(),
            charged: parts.extensions.get().copied(),
            response_metadata: parts.extensions.get().cloned().unwrap_or_default(),
            rpc_method: parts.extensions.get().copied().unwrap_or_default(),
        })
    }
}

macro_rules! clients {
    ($($(#[$doc:meta])* $name:ident: $client:ident),+ $(,)?) => {$(
        $(#[$doc])*
        pub fn $name(&self) -> $client<CursorRecorder> {
            $client::new(self.services()).max_decoding_message_size(usize::MAX)
        }
    )+};
}

impl Call {
    clients! {
        /// Creates a client of `EventsService`.
        events: EventsServiceClient,
        /// Creates a client of `ClientService`, the API of contact sessions.
        client: ClientServiceClient,
        /// Creates a client of `ContactsService`.
        contacts: ContactsServiceClient,
        /// Creates a client of `ConversationsService`.
        conversations: ConversationsServiceClient,
        /// Creates a client of `PubsubService`.
        pubsub: PubsubServiceClient,
        /// Creates a client of `FilesService`.
        files: FilesServiceClient,
    }

    /// Returns the caller's token, or `None` if it is missing or empty.
    pub fn token(&self) -> Option<&str> {
        secret(&self.headers)
    }

    /// Returns the client address that rate limits are charged to, if a listener set it.
    pub fn address(&self) -> Option<ClientAddress> {
        self.address
    }

    /// Returns the caller's `Idempotency-Key` as a request id: a UUID is used as is, and any other string is hashed to a UUID. Returns an
    /// empty string without the header.
    pub fn request_id(&self) -> String {
        let key = self.headers.get(IDEMPOTENCY_KEY).map(HeaderValue::as_bytes).unwrap_or_default();
        if key.is_empty() {
            return String::new();
        }
        Uuid::try_parse_ascii(key).unwrap_or_else(|_| hash_to_uuid(key)).to_string()
    }

    /// Returns the request id for an additional write by the same REST request. Returns an empty string without an `Idempotency-Key`
    /// header.
    pub fn request_id_of(&self, part: &str) -> String {
        let whole = self.request_id();
        if whole.is_empty() {
            return whole;
        }
        hash_to_uuid(format!("{whole} {part}").as_bytes()).to_string()
    }

    /// Wraps a message in a gRPC request with the caller's token and the headers that are forwarded as metadata.
    pub fn request<T>(&self, message: T) -> tonic::Request<T> {
        let mut request = tonic::Request::new(message);
        if let Some(from) = self.from {
            request.extensions_mut().insert(from);
        }
        if let Some(address) = self.address {
            request.extensions_mut().insert(address);
        }
        if let Some(charged) = self.charged {
            request.extensions_mut().insert(charged);
        }
        let metadata = request.metadata_mut();
        if let Some(token) = self.token().and_then(|token| MetadataValue::try_from(token).ok()) {
            metadata.insert(TOKEN, token);
        }
        for name in FORWARDED_HEADERS {
            if let Some(value) = self.headers.get(&name).and_then(metadata_value)
                && let Ok(key) = tonic::metadata::MetadataKey::from_bytes(name.as_str().as_bytes())
            {
                metadata.insert(key, value);
            }
        }
        request
    }

    /// Calls a unary method with the caller's metadata, and returns its response.
    ///
    /// # Errors
    /// Returns the status of the call if it fails.
    pub fn send<R: UnaryRequest>(&self, message: R) -> impl Future<Output = Result<R::Response, Status>> + Send + use<R> {
        let (mut client, mut request) = (
            Grpc::new(self.services()).max_decoding_message_size(usize::MAX),
            self.request(message),
        );
        request.extensions_mut().insert(GrpcMethod::new(R::SERVICE, R::METHOD));
        async move {
            let Ok(()) = client.ready().await;
            let codec = SmallCodec::<R, R::Response>::default();
            Ok(client.unary(request, PathAndQuery::from_static(R::PATH), codec).await?.into_inner())
        }
    }

    /// Returns the gRPC services of this process. Clients do not limit the size of their responses, because the services already bound it.
    fn services(&self) -> CursorRecorder {
        CursorRecorder {
            routes: self.routes.clone(),
            response_metadata: self.response_metadata.clone(),
        }
    }

    /// Returns `result`. An error that the gateway itself found is revealed only to callers with access to the account; other callers get
    /// the authorization error instead.
    ///
    /// # Errors
    /// Returns the error of the access check if it fails, and otherwise the error in `result`.
    pub async fn authorize_error<T>(&self, account_id: i64, result: Result<T, ApiError>) -> Result<T, ApiError> {
        if result.is_err() {
            self.authorize(account_id).await?;
        }
        result
    }

    /// Checks that the caller may access the account and use this route. Needed if the response requires no other gRPC call, because
    /// nothing else would authorize the caller.
    ///
    /// # Errors
    /// Returns the error of the access check if it fails.
    pub async fn authorize(&self, account_id: i64) -> Result<(), ApiError> {
        Ok(self.access(account_id).await?)
    }

    /// Like [`Self::authorize`], but returns the gRPC status.
    ///
    /// # Errors
    /// Returns the status of the access check if it fails.
    pub async fn access(&self, account_id: i64) -> Result<(), Status> {
        let request = pb::GetAccessRequest {
            account_id,
            method: self.rpc_method.method().to_owned(),
        };
        self.send(request).await.map(drop)
    }
}

fn metadata_value(value: &HeaderValue) -> Option<MetadataValue<Ascii>> {
    MetadataValue::try_from(value.as_bytes()).ok()
}

/// Hashes a key to a UUID: equal keys yield equal UUIDs.
fn hash_to_uuid(key: &[u8]) -> Uuid {
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&Sha256::digest(key)[..16]);
    uuid::Builder::from_custom_bytes(bytes).into_uuid()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(headers: &[(&'static str, &'static str)]) -> Call {
        Call {
            routes: Routes::default(),
            response_metadata: ResponseMetadata::default(),
            from: None,
            address: None,
            charged: None,
            rpc_method: RpcMethod::default(),
            headers: headers
                .iter()
                .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
                .collect(),
        }
    }

    #[test]
    fn forwards_the_token_under_one_key() {
        for (name, value) in [
            ("api_access_token", "secret"),
            ("api-access-token", "secret"),
            ("authorization", "Bearer secret"),
        ] {
            let request = call(&[(name, value)]).request(());
            assert_eq!(request.metadata().get(TOKEN).unwrap(), "secret");
            assert_eq!(request.metadata().len(), 1);
        }
        assert!(call(&[("authorization", "Basic secret")]).request(()).metadata().is_empty());
    }

    #[test]
    fn forwards_trace_context() {
        let sent = [("traceparent", "00-1-2-01"), ("tracestate", "a=1"), ("baggage", "b=2")];
        let request = call(&[&sent[..], &[("x-other", "no")]].concat()).request(());
        for (name, value) in sent {
            assert_eq!(request.metadata().get(name).unwrap(), value);
        }
        assert_eq!(request.metadata().len(), sent.len());
    }

    #[test]
    fn any_text_is_an_idempotency_key() {
        let id = |key| call(&[("idempotency-key", key)]).request_id();
        assert_eq!(id("0b8a7f0e-58a4-4d53-8b6e-3b4cf3e0a2b1"), "0b8a7f0e-58a4-4d53-8b6e-3b4cf3e0a2b1");
        assert_eq!(id("order-7"), id("order-7"));
        assert_ne!(id("order-7"), id("order-8"));
        assert!(Uuid::parse_str(&id("order-7")).is_ok());
        assert_eq!((id(""), call(&[]).request_id()), (String::new(), String::new()));
    }
}
