//! Inboxes, their API channel and their members.

use parley_proto::{
    ApiChannel, CreateInboxRequest, DeleteInboxRequest, GetInboxRequest, Inbox, ListInboxMembersRequest, ListInboxesRequest, Role,
    SetInboxMembersRequest, UpdateInboxRequest, inbox::Channel,
};
use prost_types::FieldMask;
use tonic::{Code, Status};

use crate::support::{
    api_fixture::ApiFixture,
    app::TestApp,
    chain::assert_whole_writes,
    clients::Clients,
    database::Backend,
    fault::{assert_bad_fields, assert_refused},
    office::{inbox, worker},
    on_both,
    reader::whole_log,
};

on_both!(
    inbox_is_returned_with_its_credentials,
    invalid_inbox_fields_are_reported,
    only_fields_in_the_mask_change,
    setting_inbox_members_replaces_them,
    deleting_an_inbox_deletes_its_conversations
);

fn channel(inbox: &Inbox) -> &ApiChannel {
    let Some(Channel::ApiChannel(channel)) = &inbox.channel else {
        panic!("an API channel: {inbox:?}");
    };
    channel
}

async fn get(clients: &Clients, inbox_id: i64) -> Result<Inbox, Status> {
    let request = GetInboxRequest { account_id: 1, inbox_id };
    let answer = clients.inboxes.clone().get_inbox(request).await?;
    Ok(answer.into_inner().inbox.expect("always set"))
}

async fn update(clients: &Clients, inbox: Inbox, paths: &[&str]) -> Result<Inbox, Status> {
    let request = UpdateInboxRequest {
        account_id: 1,
        inbox: Some(inbox),
        update_mask: Some(FieldMask {
            paths: paths.iter().map(|&path| path.to_owned()).collect(),
        }),
        ..UpdateInboxRequest::default()
    };
    let answer = clients.inboxes.clone().update_inbox(request).await?;
    Ok(answer.into_inner().inbox.expect("always set"))
}

async fn inbox_is_returned_with_its_credentials(backend: Backend) {
    let app = TestApp::start(backend).await;
    let clients = app.clients();
    let id = inbox(&clients, 1, "beta").await;
    let made = get(&clients, id).await.expect("it is there");
    let secrets = channel(&made);
    let length = |secret: &Option<String>| secret.as_ref().map(String::len);
    assert_eq!((length(&secrets.identifier), length(&secrets.hmac_token)), (Some(24), Some(24)));
    assert_eq!(
        (made.name.as_str(), made.timezone.as_str(), made.working_hours.len()),
        ("beta", "UTC", 7)
    );
    inbox(&clients, 1, "Alpha").await;
    let listed = ListInboxesRequest {
        account_id: 1,
        ..ListInboxesRequest::default()
    };
    let listed = clients
        .inboxes
        .clone()
        .list_inboxes(listed)
        .await
        .expect("listed")
        .into_inner()
        .inboxes;
    let names: Vec<String> = listed.into_iter().map(|inbox| inbox.name.to_lowercase()).collect();
    assert_eq!(names.len(), 3, "with the first one: {names:?}");
    assert!(names.is_sorted(), "by name; letter case does not count: {names:?}");
    assert_refused(get(&clients, 999).await, Code::NotFound, "NOT_FOUND");
}

async fn invalid_inbox_fields_are_reported(backend: Backend) {
    let app = TestApp::start(backend).await;
    let create = async |inbox: Option<Inbox>| {
        let request = CreateInboxRequest {
            account_id: 1,
            inbox,
            ..CreateInboxRequest::default()
        };
        app.clients().inboxes.create_inbox(request).await
    };
    assert_bad_fields(create(None).await, &["inbox: REQUIRED"]);
    let fault = assert_refused(create(Some(Inbox::default())).await, Code::InvalidArgument, "INVALID_FIELD");
    assert!(fault.fields.contains("inbox.name: REQUIRED"), "{fault:?}");
    assert_eq!(fault.fields.len(), 2, "name and channel are required: {fault:?}");
    let bad = Inbox {
        name: "n".repeat(256),
        timezone: "Mars/Olympus".to_owned(),
        greeting_message: Some("g".repeat(10_001)),
        channel: Some(Channel::ApiChannel(ApiChannel {
            webhook_url: Some("u".repeat(2_049)),
            ..ApiChannel::default()
        })),
        ..Inbox::default()
    };
    let fault = assert_refused(create(Some(bad)).await, Code::InvalidArgument, "INVALID_FIELD");
    for field in [
        "inbox.name: TOO_LONG",
        "inbox.greeting_message: TOO_LONG",
        "inbox.api_channel.webhook_url: TOO_LONG",
    ] {
        assert!(fault.fields.contains(field), "{field}: {fault:?}");
    }
    assert!(fault.fields.iter().any(|field| field.starts_with("inbox.timezone: ")), "{fault:?}");
}

async fn only_fields_in_the_mask_change(backend: Backend) {
    let app = TestApp::start(backend).await;
    let clients = app.clients();
    let before = get(&clients, 1).await.expect("it is there");
    let wanted = Inbox {
        id: 1,
        name: "Mobile app".to_owned(),
        greeting_enabled: true,
        channel: Some(Channel::ApiChannel(ApiChannel {
            webhook_url: Some("https://example.org/hook".to_owned()),
            ..ApiChannel::default()
        })),
        ..Inbox::default()
    };
    let changed = update(&clients, wanted.clone(), &["name", "api_channel.webhook_url"])
        .await
        .expect("it is updated");
    assert_eq!(changed.name, "Mobile app");
    assert_eq!(changed.greeting_enabled, before.greeting_enabled, "not in the mask");
    assert_eq!(channel(&changed).webhook_url.as_deref(), Some("https://example.org/hook"));
    assert_eq!(channel(&changed).identifier, channel(&before).identifier, "credentials stay");
    let fault = assert_refused(update(&clients, wanted, &["id"]).await, Code::InvalidArgument, "INVALID_FIELD");
    assert!(fault.fields.iter().any(|field| field.starts_with("update_mask")), "{fault:?}");
}

async fn setting_inbox_members_replaces_them(backend: Backend) {
    let app = TestApp::builder(backend).platform().start().await;
    let clients = app.clients();
    let first = worker(&app, 1, Role::Agent, "Zoe").await;
    let second = worker(&app, 1, Role::Agent, "Ben").await;
    let set = async |users: &[i64]| {
        let request = SetInboxMembersRequest {
            account_id: 1,
            inbox_id: 1,
            user_ids: users.to_vec(),
            ..SetInboxMembersRequest::default()
        };
        let answer = clients.inboxes.clone().set_inbox_members(request).await?.into_inner();
        Ok::<_, Status>(answer.members.into_iter().map(|member| member.id).collect::<Vec<_>>())
    };
    assert_eq!(
        set(&[first.user, second.user]).await.expect("set"),
        [second.user, first.user],
        "by name"
    );
    let fault = assert_refused(set(&[second.user, 999]).await, Code::InvalidArgument, "INVALID_FIELD");
    assert!(
        fault
            .fields
            .iter()
            .any(|field| field.starts_with("user_ids") && field.ends_with(": UNKNOWN")),
        "{fault:?}"
    );
    let request = ListInboxMembersRequest {
        account_id: 1,
        inbox_id: 1,
        ..ListInboxMembersRequest::default()
    };
    let members = clients
        .inboxes
        .clone()
        .list_inbox_members(request)
        .await
        .expect("listed")
        .into_inner()
        .members;
    assert_eq!(members.len(), 2, "a refused change changes nothing");
    assert_eq!(set(&[]).await.expect("set"), Vec::<i64>::new());
}

async fn deleting_an_inbox_deletes_its_conversations(backend: Backend) {
    let app = TestApp::start(backend).await;
    let clients = app.clients();
    let id = inbox(&clients, 1, "short-lived").await;
    let fixture = ApiFixture::new(clients.clone(), 1, id);
    let conversation = fixture.talk().await;
    fixture.hear(conversation, "hello").await;
    let request = DeleteInboxRequest {
        account_id: 1,
        inbox_id: id,
        ..DeleteInboxRequest::default()
    };
    clients.inboxes.clone().delete_inbox(request).await.expect("it is deleted");
    assert_refused(get(&clients, id).await, Code::NotFound, "NOT_FOUND");
    let gone = fixture
        .send(conversation, crate::support::api_fixture::incoming("still there?"))
        .await;
    assert_refused(gone, Code::NotFound, "NOT_FOUND");
    assert_whole_writes(&whole_log(&clients, 1).await);
    // The number is not reused.
    assert_eq!(app.fixture().talk().await, conversation + 1);
}
