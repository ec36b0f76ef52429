//! Access control: accounts are invisible to each other, agents work in their inboxes, and tokens have limits.

use parley_proto::{
    AccountStatus, CreateAccountRequest, CreateContactRequest, CreateTokenRequest, DeleteContactRequest, GetAccountRequest,
    GetContactRequest, GetConversationRequest, GetInboxRequest, ListConversationsRequest, ListInboxesRequest, Role, TokenKind,
    UpdateAccountRequest, UpdateInboxRequest, inbox::Channel, subscribe_request::Start,
};
use prost_types::{FieldMask, Timestamp};
use tonic::{Code, Request};

use crate::support::{
    api_fixture::{ApiFixture, incoming},
    app::{ADMINISTRATOR, TestApp},
    clients::Clients,
    database::Backend,
    fault::assert_refused,
    office::{inbox, other_account, set_members, worker},
    on_both,
    reader::{Reader, event, everything, log_info},
    told::Told as _,
};

on_both!(
    resources_of_another_account_are_not_found,
    accounts_have_separate_numbers_and_unique_values,
    agent_works_in_its_inboxes_only,
    agent_receives_events_of_its_inboxes_only,
    service_token_respects_its_limits,
    token_is_accepted_in_three_headers,
    suspended_account_is_inaccessible,
    only_the_platform_creates_accounts
);

async fn resources_of_another_account_are_not_found(backend: Backend) {
    let app = TestApp::builder(backend).platform().start().await;
    let (ours, theirs) = (app.fixture(), other_account(&app, "Other").await);
    let person = theirs.person("Theirs").await;
    let conversation = theirs.conversation(&person).await.id;
    theirs.hear(conversation, "secret").await;

    let mut contacts = ours.clients.contacts.clone();
    let read = contacts
        .get_contact(GetContactRequest {
            account_id: 1,
            contact_id: person.contact,
        })
        .await;
    assert_refused(read, Code::NotFound, "NOT_FOUND");
    let read = ours
        .clients
        .inboxes
        .clone()
        .get_inbox(GetInboxRequest {
            account_id: 1,
            inbox_id: theirs.inbox,
        })
        .await;
    assert_refused(read, Code::NotFound, "NOT_FOUND");
    let request = GetConversationRequest {
        account_id: 1,
        conversation_id: conversation,
    };
    assert_refused(
        ours.clients.conversations.clone().get_conversation(request).await,
        Code::NotFound,
        "NOT_FOUND",
    );
    assert_refused(ours.send(conversation, incoming("hello")).await, Code::NotFound, "NOT_FOUND");
    let request = CreateContactRequest {
        account_id: 1,
        inbox_id: Some(theirs.inbox),
        ..CreateContactRequest::default()
    };
    assert_refused(contacts.create_contact(request).await, Code::NotFound, "NOT_FOUND");
    let request = GetContactRequest {
        account_id: theirs.account,
        contact_id: person.contact,
    };
    let fault = assert_refused(contacts.get_contact(request).await, Code::PermissionDenied, "NOT_A_MEMBER");
    assert_eq!(fault.metadata["account_id"], theirs.account.to_string());
    let request = GetContactRequest {
        account_id: 999,
        contact_id: 1,
    };
    assert_refused(contacts.get_contact(request).await, Code::PermissionDenied, "NOT_A_MEMBER");
    let stream = Reader::refusal(&ours.clients, everything(theirs.account, Start::Earliest(()))).await;
    assert_refused::<()>(Err(stream), Code::PermissionDenied, "NOT_A_MEMBER");
}

async fn accounts_have_separate_numbers_and_unique_values(backend: Backend) {
    let app = TestApp::builder(backend).platform().start().await;
    let (ours, theirs) = (app.fixture(), other_account(&app, "Other").await);
    let made = |fixture: ApiFixture| async move {
        let request = CreateContactRequest {
            account_id: fixture.account,
            email: Some("same@example.org".to_owned()),
            ..CreateContactRequest::default()
        };
        fixture
            .clients
            .contacts
            .clone()
            .create_contact(request)
            .await
            .expect("unique in its account");
        (fixture.talk().await, fixture.talk().await)
    };
    assert_eq!((made(ours.clone()).await, made(theirs.clone()).await), ((1, 2), (1, 2)));
    for fixture in [&ours, &theirs] {
        let head = log_info(&fixture.clients, fixture.account).await.head_seq;
        let mut reader = Reader::open(&fixture.clients, everything(fixture.account, Start::Earliest(()))).await;
        let events = reader.until(head).await;
        crate::support::chain::assert_dense(&events, 1);
        assert!(events.iter().all(|delivery| event(delivery).account_id == fixture.account));
    }
}

async fn agent_works_in_its_inboxes_only(backend: Backend) {
    let app = TestApp::builder(backend).platform().start().await;
    let administrator = app.fixture();
    let second = ApiFixture::new(app.clients(), 1, inbox(&app.clients(), 1, "Second").await);
    let agent = worker(&app, 1, Role::Agent, "Ravi").await;
    set_members(&app.clients(), 1, second.inbox, &[agent.user]).await;
    let (hidden, open) = (administrator.talk().await, second.talk().await);

    let mine = second.through(agent.clients.clone());
    assert_eq!(mine.say(open, "hello").await.number, 1);
    assert_refused(mine.send(hidden, incoming("hello")).await, Code::PermissionDenied, "NOT_ALLOWED");
    let request = GetInboxRequest {
        account_id: 1,
        inbox_id: 1,
    };
    assert_refused(
        agent.clients.inboxes.clone().get_inbox(request).await,
        Code::PermissionDenied,
        "NOT_ALLOWED",
    );
    let request = GetInboxRequest {
        account_id: 1,
        inbox_id: second.inbox,
    };
    let seen = agent
        .clients
        .inboxes
        .clone()
        .get_inbox(request)
        .await
        .expect("a member sees it")
        .into_inner()
        .inbox;
    let Some(Channel::ApiChannel(channel)) = seen.expect("always set").channel else {
        panic!("an API channel");
    };
    assert_eq!(channel.hmac_token, None, "the signing key is for administrators");
    let listed = ListInboxesRequest {
        account_id: 1,
        ..ListInboxesRequest::default()
    };
    let listed = agent
        .clients
        .inboxes
        .clone()
        .list_inboxes(listed)
        .await
        .expect("listed")
        .into_inner()
        .inboxes;
    assert_eq!(listed.iter().map(|inbox| inbox.id).collect::<Vec<_>>(), [second.inbox]);
    let request = ListConversationsRequest {
        account_id: 1,
        ..ListConversationsRequest::default()
    };
    let listed = agent
        .clients
        .conversations
        .clone()
        .list_conversations(request)
        .await
        .expect("listed")
        .into_inner();
    assert_eq!(listed.conversations.iter().map(|one| one.id).collect::<Vec<_>>(), [open]);

    let request = DeleteContactRequest {
        account_id: 1,
        contact_id: 1,
        ..DeleteContactRequest::default()
    };
    assert_refused(
        agent.clients.contacts.clone().delete_contact(request).await,
        Code::PermissionDenied,
        "NOT_ALLOWED",
    );
    let request = UpdateInboxRequest {
        account_id: 1,
        inbox: Some(parley_proto::Inbox {
            id: second.inbox,
            name: "Mine".to_owned(),
            ..parley_proto::Inbox::default()
        }),
        update_mask: Some(FieldMask {
            paths: vec!["name".to_owned()],
        }),
        ..UpdateInboxRequest::default()
    };
    assert_refused(
        agent.clients.inboxes.clone().update_inbox(request).await,
        Code::PermissionDenied,
        "NOT_ALLOWED",
    );
}

async fn agent_receives_events_of_its_inboxes_only(backend: Backend) {
    let app = TestApp::builder(backend).platform().start().await;
    let administrator = app.fixture();
    let second = ApiFixture::new(app.clients(), 1, inbox(&app.clients(), 1, "Second").await);
    let agent = worker(&app, 1, Role::Agent, "Ravi").await;
    set_members(&app.clients(), 1, second.inbox, &[agent.user]).await;
    let (hidden, open) = (administrator.talk().await, second.talk().await);
    let mut reader = Reader::open(&agent.clients, everything(1, Start::Latest(()))).await;
    administrator.hear(hidden, "not for agents of the second inbox").await;
    second.hear(open, "for them").await;
    let head = log_info(&app.clients(), 1).await.head_seq;
    let events = reader.until(head).await;
    assert!(!events.is_empty());
    for delivery in &events {
        let inbox = event(delivery).inbox_id();
        assert!(
            inbox.is_none_or(|id| id == second.inbox),
            "an event of inbox {inbox:?}: {:?}",
            event(delivery).kind_name
        );
        assert_ne!(event(delivery).conversation_id(), Some(hidden));
    }
    assert!(events.iter().any(|delivery| event(delivery).conversation_id() == Some(open)));
}

async fn service_token_respects_its_limits(backend: Backend) {
    let app = TestApp::start(backend).await;
    let second = inbox(&app.clients(), 1, "Second").await;
    let token = async |read_only: bool, inbox_ids: Vec<i64>| {
        let request = CreateTokenRequest {
            account_id: Some(1),
            kind: TokenKind::Service.into(),
            read_only,
            inbox_ids,
            ..CreateTokenRequest::default()
        };
        app.clients()
            .accounts
            .create_token(request)
            .await
            .expect("the token is made")
            .into_inner()
            .secret
    };
    let first_scene = app.fixture();
    let second_scene = ApiFixture::new(app.clients(), 1, second);
    let (one, two) = (first_scene.talk().await, second_scene.talk().await);

    let reader = first_scene.through(app.clients_with(&token(true, vec![]).await));
    assert_refused(reader.send(one, incoming("hello")).await, Code::PermissionDenied, "NOT_ALLOWED");
    let request = GetConversationRequest {
        account_id: 1,
        conversation_id: one,
    };
    reader
        .clients
        .conversations
        .clone()
        .get_conversation(request)
        .await
        .expect("it may read");

    let narrow = second_scene.through(app.clients_with(&token(false, vec![second]).await));
    let message = narrow
        .sent(
            two,
            parley_proto::MessageDraft {
                content: Some("hello".to_owned()),
                ..Default::default()
            },
        )
        .await
        .0;
    assert_eq!(message.sender, None, "a service is no person");
    assert_refused(narrow.send(one, incoming("hello")).await, Code::PermissionDenied, "NOT_ALLOWED");

    let expired = CreateTokenRequest {
        account_id: Some(1),
        kind: TokenKind::Service.into(),
        expires_at: Some(Timestamp {
            seconds: 1_000_000_000,
            nanos: 0,
        }),
        ..CreateTokenRequest::default()
    };
    let fault = assert_refused(
        app.clients().accounts.create_token(expired).await,
        Code::InvalidArgument,
        "INVALID_FIELD",
    );
    assert!(fault.fields.iter().any(|field| field.starts_with("expires_at: ")), "{fault:?}");
}

async fn token_is_accepted_in_three_headers(backend: Backend) {
    let app = TestApp::start(backend).await;
    let nobody = Clients::new(&app.server.listeners.grpc, None);
    let with = |name: &'static str, value: String| {
        let mut request = Request::new(GetAccountRequest { account_id: 1 });
        request.metadata_mut().insert(name, value.parse().expect("it is ASCII"));
        request
    };
    let mut accounts = nobody.accounts.clone();
    for (name, value) in [
        ("api_access_token", ADMINISTRATOR.to_owned()),
        ("api-access-token", ADMINISTRATOR.to_owned()),
        ("authorization", format!("Bearer {ADMINISTRATOR}")),
    ] {
        accounts
            .get_account(with(name, value))
            .await
            .unwrap_or_else(|status| panic!("{name}: {status:?}"));
    }
    let missing = accounts.get_account(GetAccountRequest { account_id: 1 }).await;
    assert_refused(missing, Code::Unauthenticated, "TOKEN_MISSING");
    for (name, value) in [
        ("api_access_token", "unknown-unknown-unknown-unknown".to_owned()),
        ("authorization", format!("Bearer {ADMINISTRATOR}x")),
    ] {
        assert_refused(
            accounts.get_account(with(name, value)).await,
            Code::Unauthenticated,
            "TOKEN_INVALID",
        );
    }
}

async fn suspended_account_is_inaccessible(backend: Backend) {
    let app = TestApp::builder(backend).platform().start().await;
    let theirs = other_account(&app, "Other").await;
    let conversation = theirs.talk().await;
    let request = UpdateAccountRequest {
        account: Some(parley_proto::Account {
            id: theirs.account,
            status: AccountStatus::Suspended.into(),
            ..parley_proto::Account::default()
        }),
        update_mask: Some(FieldMask {
            paths: vec!["status".to_owned()],
        }),
        ..UpdateAccountRequest::default()
    };
    let own = theirs.clients.accounts.clone().update_account(request.clone()).await;
    assert_refused(own, Code::PermissionDenied, "NOT_ALLOWED");
    app.platform().accounts.update_account(request).await.expect("the operator may");
    let fault = assert_refused(
        theirs.send(conversation, incoming("hello")).await,
        Code::PermissionDenied,
        "ACCOUNT_SUSPENDED",
    );
    assert_eq!(fault.metadata["account_id"], theirs.account.to_string());
    app.fixture().talk().await;
}

async fn only_the_platform_creates_accounts(backend: Backend) {
    let app = TestApp::builder(backend).platform().start().await;
    let request = CreateAccountRequest {
        name: "Mine".to_owned(),
        ..CreateAccountRequest::default()
    };
    let own = app.clients().accounts.create_account(request.clone()).await;
    assert_refused(own, Code::PermissionDenied, "NOT_ALLOWED");
    let made = app
        .platform()
        .accounts
        .create_account(request)
        .await
        .expect("the operator may")
        .into_inner();
    assert!(!made.cursor.is_empty(), "account.created is the first entry of its log");
    let nameless = app.platform().accounts.create_account(CreateAccountRequest::default()).await;
    crate::support::fault::assert_bad_fields(nameless, &["name: REQUIRED"]);
    let request = GetConversationRequest {
        account_id: 1,
        conversation_id: 1,
    };
    let peeking = app.platform().conversations.get_conversation(request).await;
    assert_refused(peeking, Code::PermissionDenied, "WRONG_TOKEN_KIND");
}
