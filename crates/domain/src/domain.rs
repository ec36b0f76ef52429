//! Combines all domain types, which are built from one context.

use std::sync::Arc;

use crate::{
    Config,
    audit::list::AuditEvents,
    auth::{logins::Logins, pubsub::Pubsub},
    client::{PublicInboxes, conversations::VisitorConversations, messages::VisitorMessages, sessions::VisitorSessions},
    consumers::Consumers,
    contacts::{Contacts, notes::ContactNotes, sessions::Sessions},
    context::Context,
    conversations::{Conversations, participants::Participants, transcripts::Transcripts},
    inboxes::{Inboxes, agent_bots::AgentBots, members::InboxMembers},
    messages::Messages,
    people::{
        accounts::Accounts, agents::Agents, members::Members, outbox::Outbox, presence::Presence, self_service::OwnMembership,
        team_members::TeamMembers, teams::Teams, users::Users,
    },
    record::{canned_response, custom_attribute_definition, label},
    records::record::Records,
    search::Search,
};

/// The domain operations, in one type per resource. Clones share the context.
#[derive(Clone, Debug)]
#[allow(missing_docs)] // each type has its own documentation
pub struct Domain {
    /// The dependencies that all domain types share.
    pub context: Arc<Context>,
    pub accounts: Accounts,
    pub agent_bots: AgentBots,
    pub agents: Agents,
    pub audit_events: AuditEvents,
    pub canned_responses: Records<canned_response::Entity>,
    pub consumers: Consumers,
    pub contact_notes: ContactNotes,
    pub contacts: Contacts,
    pub conversations: Conversations,
    pub custom_attribute_definitions: Records<custom_attribute_definition::Entity>,
    pub inbox_members: InboxMembers,
    pub inboxes: Inboxes,
    pub labels: Records<label::Entity>,
    pub logins: Logins,
    pub members: Members,
    pub messages: Messages,
    pub outbox: Outbox,
    pub own_membership: OwnMembership,
    pub participants: Participants,
    pub presence: Presence,
    pub public_inboxes: PublicInboxes,
    pub pubsub: Pubsub,
    pub search: Search,
    pub sessions: Sessions,
    pub team_members: TeamMembers,
    pub teams: Teams,
    pub transcripts: Transcripts,
    pub users: Users,
    pub visitor_conversations: VisitorConversations,
    pub visitor_messages: VisitorMessages,
    pub visitor_sessions: VisitorSessions,
}

impl Domain {
    /// Builds all domain types from a context.
    pub fn new(context: Context, config: Config) -> Self {
        let context = &Arc::new(context);
        let search = Search::new(context, config.concurrent_searches);
        let conversations = Conversations::new(context, search.clone());
        let messages = Messages::new(context);
        let pubsub = Pubsub::new(context);
        Self {
            context: Arc::clone(context),
            accounts: Accounts::new(context),
            agent_bots: AgentBots::new(context),
            agents: Agents::new(context),
            audit_events: AuditEvents::new(context),
            canned_responses: Records::new(context),
            consumers: Consumers::new(context),
            contact_notes: ContactNotes::new(context),
            contacts: Contacts::new(context),
            custom_attribute_definitions: Records::new(context),
            inbox_members: InboxMembers::new(context),
            inboxes: Inboxes::new(context),
            labels: Records::new(context),
            logins: Logins::new(context),
            members: Members::new(context),
            outbox: Outbox::new(context),
            own_membership: OwnMembership::new(context),
            participants: Participants::new(context),
            presence: Presence::new(context),
            public_inboxes: PublicInboxes::new(context),
            sessions: Sessions::new(context),
            team_members: TeamMembers::new(context),
            teams: Teams::new(context),
            transcripts: Transcripts::new(context, config.mails),
            users: Users::new(context, pubsub.clone()),
            visitor_conversations: VisitorConversations::new(context, conversations.clone()),
            visitor_messages: VisitorMessages::new(messages.clone()),
            visitor_sessions: VisitorSessions::new(context),
            conversations,
            messages,
            pubsub,
            search,
        }
    }
}
