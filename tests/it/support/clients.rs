//! The generated clients, with a token on every call.

use parley_proto::{
    accounts_service_client::AccountsServiceClient, agent_bots_service_client::AgentBotsServiceClient,
    client_service_client::ClientServiceClient, consumers_service_client::ConsumersServiceClient,
    contacts_service_client::ContactsServiceClient, conversations_service_client::ConversationsServiceClient,
    events_service_client::EventsServiceClient, inboxes_service_client::InboxesServiceClient,
    messages_service_client::MessagesServiceClient, teams_service_client::TeamsServiceClient,
};
use tonic::{
    Request, Status,
    metadata::{Ascii, MetadataValue},
    service::{Interceptor, interceptor::InterceptedService},
    transport::{Channel, Endpoint},
};

/// An interceptor that adds the token to the metadata.
#[derive(Clone, Debug)]
pub struct Token(Option<MetadataValue<Ascii>>);

impl Interceptor for Token {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(token) = &self.0 {
            request.metadata_mut().insert("api_access_token", token.clone());
        }
        Ok(request)
    }
}

type Service = InterceptedService<Channel, Token>;

/// A client of every service, over one connection. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Clients {
    /// The connection and the token, for creating other clients.
    pub service: Service,
    /// Accounts, users, memberships, tokens.
    pub accounts: AccountsServiceClient<Service>,
    pub agent_bots: AgentBotsServiceClient<Service>,
    /// The client API, which contacts themselves use.
    pub client: ClientServiceClient<Service>,
    /// Durable consumers.
    pub consumers: ConsumersServiceClient<Service>,
    pub inboxes: InboxesServiceClient<Service>,
    pub contacts: ContactsServiceClient<Service>,
    pub conversations: ConversationsServiceClient<Service>,
    pub messages: MessagesServiceClient<Service>,
    pub teams: TeamsServiceClient<Service>,
    /// The event stream.
    pub events: EventsServiceClient<Service>,
}

impl Clients {
    /// Clients of the server at `address` (`host:port`), with or without a token.
    pub fn new(address: &str, token: Option<&str>) -> Self {
        let channel = Endpoint::from_shared(format!("http://{address}"))
            .expect("an address is a URI")
            .connect_lazy();
        let token = Token(token.map(|token| token.parse().expect("a token is ASCII")));
        let service = InterceptedService::new(channel, token);
        Self {
            accounts: AccountsServiceClient::new(service.clone()),
            agent_bots: AgentBotsServiceClient::new(service.clone()),
            client: ClientServiceClient::new(service.clone()),
            consumers: ConsumersServiceClient::new(service.clone()),
            inboxes: InboxesServiceClient::new(service.clone()),
            contacts: ContactsServiceClient::new(service.clone()),
            conversations: ConversationsServiceClient::new(service.clone()),
            messages: MessagesServiceClient::new(service.clone()),
            teams: TeamsServiceClient::new(service.clone()),
            events: EventsServiceClient::new(service.clone()),
            service,
        }
    }
}
