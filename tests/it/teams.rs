//! Teams, agents and inbox members: who may change them, and the events of each change.

use parley_proto::{
    AddInboxMembersRequest, AddTeamMembersRequest, CreateAgentRequest, CreateAgentsRequest, CreateMembershipRequest, CreateTeamRequest,
    DeleteMembershipRequest, DeleteTeamRequest, EventKind, GetTeamRequest, ListAssignableAgentsRequest, ListConversationsRequest,
    ListMembersRequest, ListTeamMembersRequest, RemoveInboxMembersRequest, Role, SetTeamMembersRequest, Team, UpdateAgentRequest,
    UpdateConversationAssigneeRequest, UpdateConversationTeamRequest, UpdateTeamRequest,
};
use prost_types::FieldMask;
use tonic::Code;

use crate::support::{
    app::TestApp,
    clients::Clients,
    database::Backend,
    fault::assert_refused,
    office::{other_account, set_members, worker},
    on_both,
    reader::{event, whole_log},
    told::Told,
};

on_both!(
    team_changes_leave_events,
    team_members_can_be_added_and_removed,
    agents_are_found_or_created,
    new_member_name_is_visible_in_its_account_only,
    assignable_agents_are_administrators_and_inbox_members,
    team_can_be_assigned_to_a_conversation
);

async fn team(clients: &Clients, name: &str) -> Team {
    let request = CreateTeamRequest {
        account_id: 1,
        team: Some(Team {
            name: name.to_owned(),
            ..Team::default()
        }),
        ..CreateTeamRequest::default()
    };
    let answer = clients.teams.clone().create_team(request).await.expect("the team is made");
    answer.into_inner().team.expect("always set")
}

async fn agent(clients: &Clients, email: &str) -> i64 {
    let request = CreateAgentRequest {
        account_id: 1,
        email: email.to_owned(),
        name: "Mina Okafor".to_owned(),
        ..CreateAgentRequest::default()
    };
    let answer = clients.accounts.clone().create_agent(request).await.expect("the agent is made");
    answer.into_inner().agent.expect("always set").id
}

/// The events of these kinds in an account's log, in order.
async fn kinds(clients: &Clients, of: &[EventKind]) -> Vec<EventKind> {
    let log = whole_log(clients, 1).await;
    log.iter()
        .map(|delivery| event(delivery).kind())
        .filter(|kind| of.contains(kind))
        .collect()
}

async fn team_changes_leave_events(backend: Backend) {
    let app = TestApp::builder(backend).platform().start().await;
    let clients = app.clients();
    let made = team(&clients, "Billing").await;
    assert_eq!(
        (made.name.as_str(), made.allow_auto_assign, made.is_member),
        ("billing", Some(true), false)
    );
    let request = UpdateTeamRequest {
        account_id: 1,
        team: Some(Team {
            id: made.id,
            name: "Sales".to_owned(),
            ..Team::default()
        }),
        update_mask: Some(FieldMask {
            paths: vec!["name".to_owned()],
        }),
        ..UpdateTeamRequest::default()
    };
    let changed = clients
        .teams
        .clone()
        .update_team(request.clone())
        .await
        .expect("the call succeeds")
        .into_inner();
    assert_eq!(changed.team.as_ref().map(|team| team.name.as_str()), Some("sales"));
    // Repeating the update changes nothing and leaves no event.
    let same = clients
        .teams
        .clone()
        .update_team(request)
        .await
        .expect("the call succeeds")
        .into_inner();
    assert_eq!(same.cursor, changed.cursor);
    let agents = worker(&app, 1, Role::Agent, "Ola").await.clients;
    let delete = DeleteTeamRequest {
        account_id: 1,
        team_id: made.id,
        ..DeleteTeamRequest::default()
    };
    let refused = agents.teams.clone().delete_team(delete.clone()).await;
    assert_refused(refused, Code::PermissionDenied, "NOT_ALLOWED");
    clients.teams.clone().delete_team(delete).await.expect("the call succeeds");
    let read = GetTeamRequest {
        account_id: 1,
        team_id: made.id,
    };
    let gone = clients.teams.clone().get_team(read).await;
    assert_refused(gone, Code::NotFound, "NOT_FOUND");
    let of = [EventKind::TeamCreated, EventKind::TeamUpdated, EventKind::TeamDeleted];
    assert_eq!(kinds(&clients, &of).await, of);
}

async fn team_members_can_be_added_and_removed(backend: Backend) {
    let app = TestApp::start(backend).await;
    let clients = app.clients();
    let (made, mina) = (team(&clients, "billing").await, agent(&clients, "mina@okafor.example").await);
    let add = AddTeamMembersRequest {
        account_id: 1,
        team_id: made.id,
        user_ids: vec![1, mina, mina],
        ..AddTeamMembersRequest::default()
    };
    let added = clients
        .teams
        .clone()
        .add_team_members(add.clone())
        .await
        .expect("the call succeeds")
        .into_inner();
    assert_eq!(added.added.len(), 2);
    assert!(
        clients
            .teams
            .clone()
            .add_team_members(add)
            .await
            .expect("the call succeeds")
            .into_inner()
            .added
            .is_empty()
    );
    let set = SetTeamMembersRequest {
        account_id: 1,
        team_id: made.id,
        user_ids: vec![mina],
        ..SetTeamMembersRequest::default()
    };
    let set = clients
        .teams
        .clone()
        .set_team_members(set)
        .await
        .expect("the call succeeds")
        .into_inner();
    assert_eq!(set.members.iter().map(|agent| agent.id).collect::<Vec<_>>(), [mina]);
    let stranger = AddTeamMembersRequest {
        account_id: 1,
        team_id: made.id,
        user_ids: vec![99],
        ..AddTeamMembersRequest::default()
    };
    let refused = clients.teams.clone().add_team_members(stranger).await;
    assert_refused(refused, Code::InvalidArgument, "INVALID_FIELD");
    // A user who leaves the account also leaves its teams.
    let leave = DeleteMembershipRequest {
        account_id: 1,
        user_id: mina,
        ..DeleteMembershipRequest::default()
    };
    clients.accounts.clone().delete_membership(leave).await.expect("the call succeeds");
    let list = ListTeamMembersRequest {
        account_id: 1,
        team_id: made.id,
        ..ListTeamMembersRequest::default()
    };
    let left = clients
        .teams
        .clone()
        .list_team_members(list)
        .await
        .expect("the call succeeds")
        .into_inner();
    assert!(left.members.is_empty());
    assert_eq!(kinds(&clients, &[EventKind::TeamUpdated]).await.len(), 2);
}

async fn agents_are_found_or_created(backend: Backend) {
    let app = TestApp::start(backend).await;
    let clients = app.clients();
    let mina = agent(&clients, "Mina@Okafor.example").await;
    let again = CreateAgentRequest {
        account_id: 1,
        email: "mina@okafor.example".to_owned(),
        name: "Another".to_owned(),
        ..CreateAgentRequest::default()
    };
    let refused = clients.accounts.clone().create_agent(again).await;
    assert_refused(refused, Code::AlreadyExists, "ALREADY_TAKEN");
    let many = CreateAgentsRequest {
        account_id: 1,
        emails: vec![
            "pia@okafor.example".to_owned(),
            "mina@okafor.example".to_owned(),
            "PIA@okafor.example".to_owned(),
        ],
        ..CreateAgentsRequest::default()
    };
    let made = clients
        .accounts
        .clone()
        .create_agents(many)
        .await
        .expect("the call succeeds")
        .into_inner()
        .agents;
    assert_eq!(made.iter().map(|agent| agent.name.as_str()).collect::<Vec<_>>(), ["pia"]);
    assert_ne!(made[0].id, mina);
    assert_eq!(kinds(&clients, &[EventKind::AgentAdded]).await.len(), 2);
}

async fn new_member_name_is_visible_in_its_account_only(backend: Backend) {
    let app = TestApp::builder(backend).platform().start().await;
    let clients = app.clients();
    let mina = agent(&clients, "mina@okafor.example").await;
    let other = other_account(&app, "Other").await;
    let join = CreateMembershipRequest {
        account_id: other.account,
        user_id: mina,
        role: Role::Agent.into(),
        ..CreateMembershipRequest::default()
    };
    app.platform()
        .accounts
        .clone()
        .create_membership(join)
        .await
        .expect("the call succeeds");
    let rename = UpdateAgentRequest {
        account_id: other.account,
        user_id: mina,
        name: Some("Mina O.".to_owned()),
        ..UpdateAgentRequest::default()
    };
    let administrator = other.clients.clone();
    let renamed = administrator
        .accounts
        .clone()
        .update_agent(rename)
        .await
        .expect("the call succeeds")
        .into_inner();
    assert_eq!(renamed.agent.map(|agent| agent.name).as_deref(), Some("Mina O."));
    assert_eq!(kinds(&clients, &[EventKind::AgentUpdated]).await.len(), 0);
    let list = ListMembersRequest {
        account_id: 1,
        ..ListMembersRequest::default()
    };
    let members = clients.accounts.clone().list_members(list).await.expect("the call succeeds");
    let members = members.into_inner().agents;
    let here = members.iter().find(|agent| agent.id == mina).expect("a member");
    assert_ne!(here.name, "Mina O.");
}

async fn assignable_agents_are_administrators_and_inbox_members(backend: Backend) {
    let app = TestApp::start(backend).await;
    let clients = app.clients();
    let mina = agent(&clients, "mina@okafor.example").await;
    let list = ListAssignableAgentsRequest {
        account_id: 1,
        inbox_ids: vec![1],
        ..ListAssignableAgentsRequest::default()
    };
    let mut inboxes = clients.inboxes.clone();
    let ids = |agents: Vec<parley_proto::Agent>| agents.into_iter().map(|agent| agent.id).collect::<Vec<_>>();
    let before = ids(inboxes
        .list_assignable_agents(list.clone())
        .await
        .expect("the call succeeds")
        .into_inner()
        .agents);
    assert!(before.contains(&1) && !before.contains(&mina), "{before:?}");
    let add = AddInboxMembersRequest {
        account_id: 1,
        inbox_id: 1,
        user_ids: vec![mina],
        ..AddInboxMembersRequest::default()
    };
    let members = ids(inboxes
        .add_inbox_members(add.clone())
        .await
        .expect("the call succeeds")
        .into_inner()
        .members);
    assert!(members.contains(&mina));
    let cursor = inboxes.add_inbox_members(add).await.expect("the call succeeds").into_inner().cursor;
    let after = ids(inboxes
        .list_assignable_agents(list.clone())
        .await
        .expect("the call succeeds")
        .into_inner()
        .agents);
    assert!(after.contains(&mina), "{after:?}");
    let remove = RemoveInboxMembersRequest {
        account_id: 1,
        inbox_id: 1,
        user_ids: vec![mina],
        ..RemoveInboxMembersRequest::default()
    };
    let removed = inboxes.remove_inbox_members(remove).await.expect("the call succeeds").into_inner();
    assert!(!ids(removed.members).contains(&mina));
    assert_ne!(removed.cursor, cursor);
    let missing = ListAssignableAgentsRequest {
        inbox_ids: vec![1, 99],
        ..list
    };
    let refused = inboxes.list_assignable_agents(missing).await;
    assert_refused(refused, Code::NotFound, "NOT_FOUND");
}

async fn team_can_be_assigned_to_a_conversation(backend: Backend) {
    let app = TestApp::builder(backend).platform().start().await;
    let (clients, fixture) = (app.clients(), app.fixture());
    let conversation = fixture.talk().await;
    let (made, mina) = (team(&clients, "billing").await, worker(&app, 1, Role::Agent, "Mina").await);
    let mut conversations = clients.conversations.clone();
    let assign = UpdateConversationAssigneeRequest {
        account_id: 1,
        conversation_id: conversation,
        assignee_id: Some(1),
        ..UpdateConversationAssigneeRequest::default()
    };
    conversations.update_conversation_assignee(assign).await.expect("the call succeeds");
    set_members(&clients, 1, 1, &[mina.user]).await;
    let add = AddTeamMembersRequest {
        account_id: 1,
        team_id: made.id,
        user_ids: vec![mina.user],
        ..AddTeamMembersRequest::default()
    };
    clients.teams.clone().add_team_members(add).await.expect("the call succeeds");
    let there = UpdateAgentRequest {
        account_id: 1,
        user_id: mina.user,
        auto_offline: Some(false),
        ..UpdateAgentRequest::default()
    };
    clients.accounts.clone().update_agent(there).await.expect("the call succeeds");
    // The assignee is not a member of the team and is unassigned; the available member of the team is assigned.
    let hand = UpdateConversationTeamRequest {
        account_id: 1,
        conversation_id: conversation,
        team_id: Some(made.id),
        ..UpdateConversationTeamRequest::default()
    };
    let handed = conversations
        .update_conversation_team(hand.clone())
        .await
        .expect("the call succeeds")
        .into_inner();
    let seen = handed.conversation.expect("always set");
    assert_eq!(seen.assignee.map(|agent| agent.id), Some(mina.user));
    assert_eq!(seen.team.map(|team| (team.id, team.is_member)), Some((made.id, false)));
    let list = ListConversationsRequest {
        account_id: 1,
        team_id: Some(made.id),
        ..ListConversationsRequest::default()
    };
    let found = mina
        .clients
        .conversations
        .clone()
        .list_conversations(list.clone())
        .await
        .expect("the call succeeds");
    let found = found.into_inner().conversations;
    assert_eq!(found.iter().map(|one| one.id).collect::<Vec<_>>(), [conversation]);
    assert_eq!(found[0].team.as_ref().map(|team| team.is_member), Some(true));
    let unknown = ListConversationsRequest { team_id: Some(99), ..list };
    assert_refused(conversations.list_conversations(unknown).await, Code::NotFound, "NOT_FOUND");
    let stranger = UpdateConversationTeamRequest { team_id: Some(99), ..hand };
    assert_refused(
        conversations.update_conversation_team(stranger).await,
        Code::InvalidArgument,
        "INVALID_FIELD",
    );
    let log = whole_log(&clients, 1).await;
    let told = log
        .iter()
        .map(event)
        .rfind(|event| event.kind() == EventKind::TeamChanged)
        .expect("it is told");
    assert!(told.changes.iter().any(|change| change.field == "team_id"), "{told:?}");
    let line = log
        .iter()
        .map(event)
        .filter_map(|event| event.message()?.message.clone()?.content)
        .next_back();
    assert!(
        line.as_deref()
            .is_some_and(|line| line.starts_with("Assigned to Mina via billing by ")),
        "{line:?}"
    );
    // Deleting the team removes it from its conversations. Later messages show that, even if a writer shard had the conversation cached.
    fixture.hear(conversation, "hello").await;
    let delete = DeleteTeamRequest {
        account_id: 1,
        team_id: made.id,
        ..DeleteTeamRequest::default()
    };
    clients.teams.clone().delete_team(delete).await.expect("the call succeeds");
    fixture.hear(conversation, "again").await;
    let log = whole_log(&clients, 1).await;
    let newest = log.iter().map(event).filter_map(Told::message).next_back().expect("a message");
    let told = newest.conversation.as_ref().expect("its conversation");
    assert!(told.team.is_none(), "{told:?}");
    assert_eq!(told.assignee.as_ref().map(|agent| agent.id), Some(mina.user));
}
