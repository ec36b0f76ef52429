//! A caller of the JSON API as a caller of the gRPC services: what its headers say goes along as metadata.

use std::{convert::Infallible, net::SocketAddr};

use axum::{
    extract::{ConnectInfo, FromRef, FromRequestParts},
    http::{HeaderMap, HeaderName, HeaderValue, request::Parts},
};
use parley_admission::{client_address::ClientAddress, credential::secret, rate_limit::Charged};
use parley_proto::{
    self as pb, accounts_service_client::AccountsServiceClient, agent_bots_service_client::AgentBotsServiceClient,
    audit_service_client::AuditServiceClient, canned_responses_service_client::CannedResponsesServiceClient,
    client_service_client::ClientServiceClient, contact_notes_service_client::ContactNotesServiceClient,
    contacts_service_client::ContactsServiceClient, conversations_service_client::ConversationsServiceClient,
    custom_attribute_definitions_service_client::CustomAttributeDefinitionsServiceClient, events_service_client::EventsServiceClient,
    files_service_client::FilesServiceClient, inboxes_service_client::InboxesServiceClient, labels_service_client::LabelsServiceClient,
    logins_service_client::LoginsServiceClient, messages_service_client::MessagesServiceClient,
    participants_service_client::ParticipantsServiceClient, pubsub_service_client::PubsubServiceClient,
    teams_service_client::TeamsServiceClient,
};
use sha2::{Digest as _, Sha256};
use tonic::{
    Status,
    metadata::{Ascii, MetadataValue},
    service::Routes,
};
use uuid::Uuid;

use crate::{
    errors::Failure,
    layers::position::{Noting, Position},
};

/// The metadata key of the token, in whichever header it came.
const TOKEN: &str = "api_access_token";
/// Makes a write repeatable; any text.
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// Passed on as they are: W3C trace context and baggage, and the position that a read waits for.
const PASSED_ON: [HeaderName; 4] = [
    HeaderName::from_static("traceparent"),
    HeaderName::from_static("tracestate"),
    HeaderName::from_static("baggage"),
    HeaderName::from_static("parley-min-cursor"),
];

/// One request of one caller. The state of the router is the services with their layers, prepared.
#[derive(Debug)]
pub struct Call {
    routes: Routes,
    headers: HeaderMap,
    /// Where it came from, where a listener said so.
    from: Option<ConnectInfo<SocketAddr>>,
    /// What its rates are charged to, where a listener said so.
    address: Option<ClientAddress>,
    /// Whether it was charged for being a request.
    charged: Option<Charged>,
    position: Position,
    behind: Behind,
}

/// The call of the contract that a route stands for, as it is described: `Service.Method`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Behind(pub &'static str);

impl Behind {
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
            position: parts.extensions.get().cloned().unwrap_or_default(),
            behind: parts.extensions.get().copied().unwrap_or_default(),
        })
    }
}

macro_rules! clients {
    ($($(#[$doc:meta])* $name:ident: $client:ident),+ $(,)?) => {$(
        $(#[$doc])*
        pub fn $name(&self) -> $client<Noting> {
            // The answer comes from this very process: its size is bounded where it is made.
            let services = Noting {
                routes: self.routes.clone(),
                position: self.position.clone(),
            };
            $client::new(services).max_decoding_message_size(usize::MAX)
        }
    )+};
}

impl Call {
    clients! {
        /// A client of the accounts.
        accounts: AccountsServiceClient,
        /// A client of the agent bots.
        agent_bots: AgentBotsServiceClient,
        /// A client of the audit events.
        audit: AuditServiceClient,
        /// A client of the stream of events.
        events: EventsServiceClient,
        /// A client of the inboxes.
        inboxes: InboxesServiceClient,
        /// A client of what contacts themselves may do.
        client: ClientServiceClient,
        /// A client of the contacts.
        contacts: ContactsServiceClient,
        /// A client of the conversations.
        conversations: ConversationsServiceClient,
        /// A client of the participants.
        participants: ParticipantsServiceClient,
        /// A client of the messages.
        messages: MessagesServiceClient,
        /// A client of the login links.
        logins: LoginsServiceClient,
        /// A client of the labels.
        labels: LabelsServiceClient,
        /// A client of what custom attributes mean.
        definitions: CustomAttributeDefinitionsServiceClient,
        /// A client of the canned responses.
        canned_responses: CannedResponsesServiceClient,
        /// A client of the notes about contacts.
        contact_notes: ContactNotesServiceClient,
        /// A client of what pubsub tokens may hear.
        pubsub: PubsubServiceClient,
        /// A client of the files.
        files: FilesServiceClient,
        /// A client of the teams.
        teams: TeamsServiceClient,
    }

    /// The token that the caller showed; an empty one is none.
    pub fn token(&self) -> Option<&str> {
        secret(&self.headers)
    }

    /// What its rates are charged to, where a listener said so.
    pub fn address(&self) -> Option<ClientAddress> {
        self.address
    }

    /// The caller's `Idempotency-Key` as a request id: a UUID is taken as it is, another text stands for one that follows from it. Empty
    /// without the header.
    pub fn request_id(&self) -> String {
        let key = self.headers.get(IDEMPOTENCY_KEY).map(HeaderValue::as_bytes).unwrap_or_default();
        if key.is_empty() {
            return String::new();
        }
        Uuid::try_parse_ascii(key).unwrap_or_else(|_| derived(key)).to_string()
    }

    /// The request id of one more write that the same request leads to. Empty without the header.
    pub fn request_id_of(&self, part: &str) -> String {
        let whole = self.request_id();
        if whole.is_empty() {
            return whole;
        }
        derived(format!("{whole} {part}").as_bytes()).to_string()
    }

    /// A request to a service in the caller's name.
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
        for name in PASSED_ON {
            if let Some(value) = self.headers.get(&name).and_then(metadata_value)
                && let Ok(key) = tonic::metadata::MetadataKey::from_bytes(name.as_str().as_bytes())
            {
                metadata.insert(key, value);
            }
        }
        request
    }

    /// Lets a refusal of the gateway's own through only to callers who may enter the account: others learn that first.
    ///
    /// # Errors
    /// The service's refusal of the caller, or else the verdict's.
    pub async fn admit<T>(&self, account_id: i64, verdict: Result<T, Failure>) -> Result<T, Failure> {
        if verdict.is_err() {
            self.enter(account_id).await?;
        }
        verdict
    }

    /// Asks the service whether the caller may enter the account and use this route, for answers that need no other call.
    ///
    /// # Errors
    /// The service's refusal.
    pub async fn enter(&self, account_id: i64) -> Result<(), Failure> {
        Ok(self.access(account_id).await?)
    }

    /// As [`Self::enter`], with the refusal as the service spells it.
    ///
    /// # Errors
    /// The service's refusal.
    pub async fn access(&self, account_id: i64) -> Result<(), Status> {
        let request = pb::GetAccessRequest {
            account_id,
            method: self.behind.method().to_owned(),
        };
        self.accounts().get_access(self.request(request)).await?;
        Ok(())
    }
}

fn metadata_value(value: &HeaderValue) -> Option<MetadataValue<Ascii>> {
    MetadataValue::try_from(value.as_bytes()).ok()
}

/// A UUID that is the same for the same key.
fn derived(key: &[u8]) -> Uuid {
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
            position: Position::default(),
            from: None,
            address: None,
            charged: None,
            behind: Behind::default(),
            headers: headers
                .iter()
                .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
                .collect(),
        }
    }

    #[test]
    fn the_token_goes_on_under_one_key() {
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
    fn traces_go_on() {
        let sent = [("traceparent", "00-1-2-01"), ("tracestate", "a=1"), ("baggage", "b=2")];
        let request = call(&[&sent[..], &[("x-other", "no")]].concat()).request(());
        for (name, value) in sent {
            assert_eq!(request.metadata().get(name).unwrap(), value);
        }
        assert_eq!(request.metadata().len(), sent.len());
    }

    #[test]
    fn any_key_makes_a_request_repeatable() {
        let id = |key| call(&[("idempotency-key", key)]).request_id();
        assert_eq!(id("0b8a7f0e-58a4-4d53-8b6e-3b4cf3e0a2b1"), "0b8a7f0e-58a4-4d53-8b6e-3b4cf3e0a2b1");
        assert_eq!(id("order-7"), id("order-7"));
        assert_ne!(id("order-7"), id("order-8"));
        assert!(Uuid::parse_str(&id("order-7")).is_ok());
        assert_eq!((id(""), call(&[]).request_id()), (String::new(), String::new()));
    }
}
