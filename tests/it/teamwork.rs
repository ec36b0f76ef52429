//! How members share conversations: presence, round-robin assignment, participants, snoozing and unsnoozing.

use parley_proto::{
    self as pb, AddParticipantsRequest, Availability, Conversation, ConversationStatus, CreateConversationRequest,
    DeleteConversationRequest, EventKind, GetConversationRequest, Inbox, ListConversationsRequest, MarkConversationSeenRequest,
    MarkConversationUnreadRequest, MuteConversationRequest, ReportPresenceRequest, Role, SetParticipantsRequest, UnmuteConversationRequest,
    UpdateConversationStatusRequest, UpdateInboxRequest, presence_service_client::PresenceServiceClient, subscribe_request::Start,
};
use prost_types::{FieldMask, Timestamp};
use tonic::Code;

use crate::support::{
    api_fixture::{ApiFixture, note},
    app::TestApp,
    clients::Clients,
    database::Backend,
    fault::assert_refused,
    in_time,
    office::{set_members, worker},
    on_both,
    reader::{Reader, event, everything, log_info, whole_log},
};

on_both!(
    online_agents_are_assigned_round_robin,
    no_agent_is_assigned_when_none_is_online,
    snoozed_conversation_reopens_once,
    locked_inbox_holds_under_concurrent_creation,
    participants_must_be_assignable_agents,
    mentions_and_participations_can_be_listed,
    conversation_can_be_muted_marked_unread_and_deleted
);

async fn there(clients: &Clients, contact_id: Option<i64>) {
    let request = ReportPresenceRequest {
        account_id: 1,
        contact_id,
        ..ReportPresenceRequest::default()
    };
    PresenceServiceClient::new(clients.service.clone())
        .report_presence(request)
        .await
        .expect("presence is noted");
}

async fn get(fixture: &ApiFixture, conversation_id: i64) -> Conversation {
    let request = GetConversationRequest {
        account_id: 1,
        conversation_id,
    };
    let answer = fixture.clients.conversations.clone().get_conversation(request).await;
    answer.expect("it is there").into_inner().conversation.expect("always set")
}

async fn set_status(fixture: &ApiFixture, conversation_id: i64, status: ConversationStatus, until: Option<Timestamp>) {
    let request = UpdateConversationStatusRequest {
        account_id: 1,
        conversation_id,
        status: status.into(),
        snoozed_until: until,
        ..UpdateConversationStatusRequest::default()
    };
    let answer = fixture.clients.conversations.clone().update_conversation_status(request).await;
    answer.expect("the status is set");
}

/// Creates a conversation. Returns its assignee.
async fn assignee_of_new(fixture: &ApiFixture) -> Option<i64> {
    let id = fixture.talk().await;
    get(fixture, id).await.assignee.map(|agent| agent.id)
}

async fn change_inbox(fixture: &ApiFixture, path: &str, inbox: Inbox) {
    let request = UpdateInboxRequest {
        account_id: 1,
        inbox: Some(Inbox { id: 1, ..inbox }),
        update_mask: Some(FieldMask {
            paths: vec![path.to_owned()],
        }),
        ..UpdateInboxRequest::default()
    };
    fixture
        .clients
        .inboxes
        .clone()
        .update_inbox(request)
        .await
        .expect("the inbox changes");
}

async fn online_agents_are_assigned_round_robin(backend: Backend) {
    let app = TestApp::builder(backend).platform().start().await;
    let fixture = app.fixture();
    let enabled = Inbox {
        enable_auto_assignment: true,
        ..Inbox::default()
    };
    change_inbox(&fixture, "enable_auto_assignment", enabled).await;
    let (ana, bea) = (worker(&app, 1, Role::Agent, "Ana").await, worker(&app, 1, Role::Agent, "Bea").await);
    let away = worker(&app, 1, Role::Agent, "Cora").await;
    set_members(&fixture.clients, 1, 1, &[ana.user, bea.user, away.user]).await;
    there(&ana.clients, None).await;
    there(&bea.clients, None).await;
    let mut turns = Vec::new();
    for _ in 0..4 {
        turns.push(assignee_of_new(&fixture).await.expect("somebody is there"));
    }
    assert_eq!(turns, [ana.user, bea.user, ana.user, bea.user], "in turns, and never who is away");
    let id = fixture.talk().await;
    let taken = get(&fixture, id).await.assignee.expect("it is assigned");
    assert_eq!((taken.id, taken.availability_status()), (ana.user, Availability::Online));

    // A message that opens a conversation triggers automatic assignment too, after the batch.
    let person = fixture.person("Asha Rao").await;
    let request = CreateConversationRequest {
        account_id: 1,
        inbox_id: Some(1),
        contact_id: Some(person.contact),
        source_id: Some(person.source.clone()),
        status: ConversationStatus::Resolved.into(),
        ..CreateConversationRequest::default()
    };
    let made = fixture
        .clients
        .conversations
        .clone()
        .create_conversation(request)
        .await
        .expect("it is made");
    let resolved = made.into_inner().conversation.expect("always set");
    assert_eq!(resolved.assignee, None, "what is resolved waits for nobody");
    fixture.hear(resolved.id, "hello again").await;
    let mut reader = Reader::open(&fixture.clients, everything(1, Start::Earliest(()))).await;
    let assigned = in_time("an assignment", async {
        loop {
            let delivery = reader.next().await;
            let event = event(&delivery);
            if let (EventKind::AssigneeChanged, Some(pb::event::Resource::Conversation(of))) = (event.kind(), &event.resource)
                && of.conversation.as_ref().is_some_and(|conversation| conversation.id == resolved.id)
            {
                return event.clone();
            }
        }
    })
    .await;
    assert_eq!(assigned.actor, None, "Parley itself did it");
    assert_eq!(get(&fixture, resolved.id).await.assignee.map(|agent| agent.id), Some(bea.user));
}

async fn no_agent_is_assigned_when_none_is_online(backend: Backend) {
    let app = TestApp::builder(backend).platform().start().await;
    let fixture = app.fixture();
    let ana = worker(&app, 1, Role::Agent, "Ana").await;
    set_members(&fixture.clients, 1, 1, &[ana.user]).await;
    assert_eq!(assignee_of_new(&fixture).await, None);
    let person = fixture.person("Asha Rao").await;
    let before = fixture.conversation(&person).await.contact.expect("always set");
    there(&fixture.clients, Some(person.contact)).await;
    let after = fixture.conversation(&person).await.contact.expect("always set");
    assert_eq!((before.is_online, after.is_online), (false, true));
    let service = PresenceServiceClient::new(fixture.clients.service.clone())
        .report_presence(ReportPresenceRequest {
            account_id: 1,
            contact_id: Some(999),
            ..ReportPresenceRequest::default()
        })
        .await;
    assert_refused(service, Code::NotFound, "NOT_FOUND");
}

async fn snoozed_conversation_reopens_once(backend: Backend) {
    let app = TestApp::builder(backend)
        .replicas(usize::from(backend == Backend::Postgres))
        .start()
        .await;
    let fixture = app.fixture();
    let (soon, later) = (fixture.talk().await, fixture.talk().await);
    let now = chrono::Utc::now().timestamp();
    let at = |seconds| Some(Timestamp { seconds, nanos: 0 });
    set_status(&fixture, later, ConversationStatus::Snoozed, at(now + 3600)).await;
    set_status(&fixture, soon, ConversationStatus::Snoozed, at(now - 1)).await;
    let mut reader = Reader::open(&fixture.clients, everything(1, Start::Earliest(()))).await;
    in_time("the conversation wakes", async {
        loop {
            let delivery = reader.next().await;
            let event = event(&delivery);
            if event.kind() == EventKind::ConversationStatusChanged && event.actor.is_none() {
                return;
            }
        }
    })
    .await;
    let awake = get(&fixture, soon).await;
    assert_eq!((awake.status(), awake.snoozed_until), (ConversationStatus::Open, None));
    assert_eq!(get(&fixture, later).await.status(), ConversationStatus::Snoozed);
    let log = whole_log(&fixture.clients, 1).await;
    let woken = log
        .iter()
        .map(event)
        .filter(|event| event.kind() == EventKind::ConversationStatusChanged && event.actor.is_none());
    assert_eq!(woken.count(), 1);
}

async fn locked_inbox_holds_under_concurrent_creation(backend: Backend) {
    let app = TestApp::builder(backend)
        .replicas(usize::from(backend == Backend::Postgres))
        .start()
        .await;
    let fixture = app.fixture();
    let locked = Inbox {
        lock_to_single_conversation: true,
        ..Inbox::default()
    };
    change_inbox(&fixture, "lock_to_single_conversation", locked).await;
    let person = fixture.person("Asha Rao").await;
    let fixtures: Vec<ApiFixture> = (0..64)
        .map(|nth| match nth % 2 {
            1 if !app.replicas.is_empty() => fixture.through(app.clients_of_replica(0)),
            _ => fixture.clone(),
        })
        .collect();
    let made = futures_util::future::join_all(fixtures.iter().map(|fixture| fixture.conversation(&person))).await;
    assert!(made.iter().all(|conversation| conversation.id == made[0].id), "{made:?}");
    let log = whole_log(&fixture.clients, 1).await;
    let created = log
        .iter()
        .filter(|delivery| event(delivery).kind() == EventKind::ConversationCreated);
    assert_eq!(created.count(), 1);
}

async fn participants_must_be_assignable_agents(backend: Backend) {
    let app = TestApp::builder(backend).platform().start().await;
    let fixture = app.fixture();
    let (inside, outside) = (worker(&app, 1, Role::Agent, "Ana").await, worker(&app, 1, Role::Agent, "Bea").await);
    let chief = worker(&app, 1, Role::Administrator, "Cora").await;
    set_members(&fixture.clients, 1, 1, &[inside.user]).await;
    let conversation_id = fixture.talk().await;
    let add = |user_ids: Vec<i64>| AddParticipantsRequest {
        account_id: 1,
        conversation_id,
        user_ids,
        ..AddParticipantsRequest::default()
    };
    let mut client = pb::participants_service_client::ParticipantsServiceClient::new(fixture.clients.service.clone());
    let added = client
        .add_participants(add(vec![inside.user, outside.user]))
        .await
        .expect("added")
        .into_inner();
    assert_eq!(added.added.iter().map(|agent| agent.id).collect::<Vec<_>>(), [inside.user]);
    let again = client
        .add_participants(add(vec![inside.user, chief.user]))
        .await
        .expect("added")
        .into_inner();
    assert_eq!(
        again.added.iter().map(|agent| agent.id).collect::<Vec<_>>(),
        [chief.user],
        "only who is new"
    );
    assert_refused(
        client.add_participants(add(vec![999])).await,
        Code::InvalidArgument,
        "INVALID_FIELD",
    );
    let head = log_info(&fixture.clients, 1).await.head_seq;
    client.add_participants(add(vec![inside.user])).await.expect("nothing to do");
    assert_eq!(
        log_info(&fixture.clients, 1).await.head_seq,
        head,
        "what changes nothing leaves no event"
    );
    let set = SetParticipantsRequest {
        account_id: 1,
        conversation_id,
        user_ids: vec![chief.user, outside.user, 999],
        ..SetParticipantsRequest::default()
    };
    let set = client.set_participants(set).await.expect("set").into_inner();
    assert_eq!(set.participants.iter().map(|agent| agent.id).collect::<Vec<_>>(), [chief.user]);
    let log = whole_log(&fixture.clients, 1).await;
    let last = event(log.last().expect("events"));
    assert_eq!(
        (last.kind(), last.changes[0].field.as_str()),
        (EventKind::ConversationUpdated, "participant_ids")
    );
}

async fn mentions_and_participations_can_be_listed(backend: Backend) {
    let app = TestApp::start(backend).await;
    let fixture = app.fixture();
    let (mentioned, part, neither) = (fixture.talk().await, fixture.talk().await, fixture.talk().await);
    fixture.sent(mentioned, note("ask [@Chief](mention://user/1/Chief)")).await;
    fixture.sent(neither, note("ask [@Other](mention://user/12/Other)")).await;
    fixture.say(neither, "mention://user/1/in-public").await;
    let mut client = pb::participants_service_client::ParticipantsServiceClient::new(fixture.clients.service.clone());
    let add = AddParticipantsRequest {
        account_id: 1,
        conversation_id: part,
        user_ids: vec![1],
        ..AddParticipantsRequest::default()
    };
    client.add_participants(add).await.expect("added");
    let list = async |participating: bool, mentioned: bool| {
        let request = ListConversationsRequest {
            account_id: 1,
            participating,
            mentioned,
            with_counts: true,
            ..ListConversationsRequest::default()
        };
        let page = fixture
            .clients
            .conversations
            .clone()
            .list_conversations(request)
            .await
            .expect("a page")
            .into_inner();
        let ids: Vec<i64> = page.conversations.iter().map(|conversation| conversation.id).collect();
        (ids, page.counts.expect("asked for").all)
    };
    assert_eq!(list(false, true).await, (vec![mentioned], 1));
    assert_eq!(list(true, false).await, (vec![part], 1));
    assert_eq!(list(true, true).await, (vec![], 0));
}

async fn conversation_can_be_muted_marked_unread_and_deleted(backend: Backend) {
    let app = TestApp::builder(backend).platform().start().await;
    let fixture = app.fixture();
    let conversation_id = fixture.talk().await;
    fixture.hear(conversation_id, "first").await;
    let mut client = fixture.clients.conversations.clone();
    let seen = MarkConversationSeenRequest {
        account_id: 1,
        conversation_id,
        ..MarkConversationSeenRequest::default()
    };
    let seen = client.mark_conversation_seen(seen).await.expect("seen").into_inner();
    assert_eq!(seen.conversation.expect("always set").unread_count, 0);
    let unread = MarkConversationUnreadRequest {
        account_id: 1,
        conversation_id,
        ..MarkConversationUnreadRequest::default()
    };
    let unread = client.mark_conversation_unread(unread).await.expect("unread").into_inner();
    assert_eq!(unread.conversation.expect("always set").unread_count, 1);

    let mute = MuteConversationRequest {
        account_id: 1,
        conversation_id,
        ..MuteConversationRequest::default()
    };
    let muted = client
        .mute_conversation(mute.clone())
        .await
        .expect("muted")
        .into_inner()
        .conversation
        .expect("always set");
    let contact = muted.contact.as_ref().expect("always set");
    assert_eq!((muted.status(), contact.blocked), (ConversationStatus::Resolved, true));
    let line = muted.last_message.and_then(|message| message.content).unwrap_or_default();
    assert!(line.ends_with("has muted the conversation"), "{line}");
    let head = log_info(&fixture.clients, 1).await.head_seq;
    client.mute_conversation(mute).await.expect("muted already");
    assert_eq!(log_info(&fixture.clients, 1).await.head_seq, head);
    fixture.hear(conversation_id, "hello?").await;
    assert_eq!(
        get(&fixture, conversation_id).await.status(),
        ConversationStatus::Resolved,
        "nobody hears it"
    );
    let unmute = UnmuteConversationRequest {
        account_id: 1,
        conversation_id,
        ..UnmuteConversationRequest::default()
    };
    client.unmute_conversation(unmute).await.expect("unmuted");
    fixture.hear(conversation_id, "now?").await;
    assert_eq!(get(&fixture, conversation_id).await.status(), ConversationStatus::Open);

    let agent = worker(&app, 1, Role::Agent, "Ana").await;
    set_members(&fixture.clients, 1, 1, &[agent.user]).await;
    let delete = DeleteConversationRequest {
        account_id: 1,
        conversation_id,
        ..DeleteConversationRequest::default()
    };
    let refused = agent.clients.conversations.clone().delete_conversation(delete.clone()).await;
    assert_refused(refused, Code::PermissionDenied, "NOT_ALLOWED");
    client.delete_conversation(delete.clone()).await.expect("deleted");
    assert_refused(client.delete_conversation(delete).await, Code::NotFound, "NOT_FOUND");
    let log = whole_log(&fixture.clients, 1).await;
    assert_eq!(event(log.last().expect("events")).kind(), EventKind::ConversationDeleted);
    let lost = fixture.send(conversation_id, note("is it gone?")).await;
    assert_refused(lost, Code::NotFound, "NOT_FOUND");
}
