//! The data in the service before anything is measured: accounts with an inbox and conversations each, as in `sql/schema.sql`.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use parley_proto::{
    self as pb, accounts_service_client::AccountsServiceClient, contacts_service_client::ContactsServiceClient,
    conversations_service_client::ConversationsServiceClient, inboxes_service_client::InboxesServiceClient,
    messages_service_client::MessagesServiceClient,
};
use rand::Rng as _;
use tokio::task::JoinSet;

use super::{
    CONTENT,
    server::{Server, authorized, with_platform_token},
};

/// Number of accounts, as in `sql/schema.sql`.
const ACCOUNTS: usize = 16;

/// A server filled with accounts and conversations.
#[derive(Debug)]
pub struct Fixture {
    pub server: Server,
    pub conversations: Arc<Conversations>,
}

/// The conversations, as account and conversation number.
#[derive(Debug)]
pub struct Conversations(Vec<(i64, i64)>);

impl Conversations {
    /// Returns a random conversation.
    pub fn any(&self) -> (i64, i64) {
        self.0[rand::rng().random_range(0..self.0.len())]
    }

    /// Returns a random conversation of account 1.
    pub fn random_in_first_account(&self) -> i64 {
        self.0[rand::rng().random_range(0..self.0.len() / ACCOUNTS)].1
    }
}

impl Fixture {
    /// Fills a new server through its API, and creates one message in every conversation.
    pub async fn create(server: Server, conversations: usize) -> Self {
        let mut inboxes = vec![(1, 1)];
        let channel = server.connect().await;
        for number in 1..ACCOUNTS {
            inboxes.push(account(channel.clone(), number).await);
        }
        let work: Arc<Vec<(i64, i64)>> = Arc::new(
            inboxes
                .iter()
                .flat_map(|inbox| std::iter::repeat_n(*inbox, conversations))
                .collect(),
        );
        let next = Arc::new(AtomicUsize::new(0));
        let mut tasks = JoinSet::new();
        for channel in server.connections(4).await {
            for _ in 0..16 {
                let (work, next, channel) = (work.clone(), next.clone(), channel.clone());
                tasks.spawn(async move {
                    let mut response = Vec::new();
                    while let Some((account, inbox)) = work.get(next.fetch_add(1, Ordering::Relaxed)) {
                        response.push((*account, conversation(channel.clone(), *account, *inbox).await));
                    }
                    response
                });
            }
        }
        let mut conversations: Vec<(i64, i64)> = tasks.join_all().await.into_iter().flatten().collect();
        conversations.sort_unstable();
        Self {
            server,
            conversations: Arc::new(Conversations(conversations)),
        }
    }
}

async fn account(channel: tonic::transport::Channel, number: usize) -> (i64, i64) {
    let mut accounts = AccountsServiceClient::new(channel.clone());
    let request = pb::CreateAccountRequest {
        name: format!("Bench {number}"),
        ..Default::default()
    };
    let response = accounts
        .create_account(with_platform_token(request))
        .await
        .expect("the operator can create accounts")
        .into_inner();
    let account_id = response.account.expect("always set").id;
    let request = pb::CreateMembershipRequest {
        account_id,
        user_id: 1,
        role: pb::Role::Administrator.into(),
        ..Default::default()
    };
    accounts
        .create_membership(with_platform_token(request))
        .await
        .expect("the operator can create memberships");
    let inbox = pb::Inbox {
        name: "API".to_owned(),
        channel: Some(pb::inbox::Channel::ApiChannel(pb::ApiChannel::default())),
        ..Default::default()
    };
    let request = pb::CreateInboxRequest {
        account_id,
        inbox: Some(inbox),
        ..Default::default()
    };
    let response = InboxesServiceClient::new(channel).create_inbox(authorized(request)).await;
    (
        account_id,
        response
            .expect("an administrator can create inboxes")
            .into_inner()
            .inbox
            .expect("always set")
            .id,
    )
}

async fn conversation(channel: tonic::transport::Channel, account_id: i64, inbox_id: i64) -> i64 {
    let request = pb::CreateContactRequest {
        account_id,
        name: "Ana Sousa".to_owned(),
        inbox_id: Some(inbox_id),
        ..Default::default()
    };
    let contact = ContactsServiceClient::new(channel.clone())
        .create_contact(authorized(request))
        .await;
    let contact_id = contact.expect("the contact is new").into_inner().contact.expect("always set").id;
    let request = pb::CreateConversationRequest {
        account_id,
        inbox_id: Some(inbox_id),
        contact_id: Some(contact_id),
        ..Default::default()
    };
    let response = ConversationsServiceClient::new(channel.clone())
        .create_conversation(authorized(request))
        .await;
    let conversation_id = response
        .expect("the contact has a session")
        .into_inner()
        .conversation
        .expect("always set")
        .id;
    // The first outgoing message of a conversation appends more events than later ones, so create it before measuring.
    let request = message(account_id, conversation_id);
    MessagesServiceClient::new(channel)
        .create_message(authorized(request))
        .await
        .expect("the conversation is open");
    conversation_id
}

/// The message that all benchmarks send: outgoing, about 200 bytes, without an idempotency key.
pub fn message(account_id: i64, conversation_id: i64) -> pb::CreateMessageRequest {
    pb::CreateMessageRequest {
        account_id,
        conversation_id,
        message: Some(draft()),
        ..Default::default()
    }
}

pub fn draft() -> pb::MessageDraft {
    pb::MessageDraft {
        content: Some(CONTENT.to_owned()),
        ..Default::default()
    }
}
