//! Filters, merges and sessions do not cross accounts, and show agents only what belongs to their inboxes.

use parley_proto::{
    FilterContactsRequest, FilterConversationsRequest, GetContactBySessionRequest, ListContactableInboxesRequest, MergeContactsRequest,
    Role,
};
use tonic::Code;

use crate::support::{
    api_fixture::ApiFixture,
    app::TestApp,
    database::Backend,
    fault::assert_refused,
    office::{inbox, other_account, set_members, worker},
    on_both,
};

on_both!(other_accounts_are_unreachable, agents_see_only_their_inboxes);

async fn other_accounts_are_unreachable(backend: Backend) {
    let app = TestApp::builder(backend).platform().start().await;
    let (ours, theirs) = (app.fixture(), other_account(&app, "Other").await);
    let (mine, foreign) = (ours.person("Ana").await, theirs.person("Theirs").await);
    theirs.conversation(&foreign).await;
    let mut contacts = ours.clients.contacts.clone();
    for (base, other) in [(mine.contact, foreign.contact), (foreign.contact, mine.contact)] {
        let request = MergeContactsRequest {
            account_id: 1,
            base_contact_id: base,
            mergee_contact_id: other,
            ..MergeContactsRequest::default()
        };
        assert_refused(contacts.merge_contacts(request).await, Code::NotFound, "NOT_FOUND");
    }
    let request = GetContactBySessionRequest {
        account_id: 1,
        inbox_id: theirs.inbox,
        source_id: foreign.source.clone(),
    };
    assert_refused(contacts.get_contact_by_session(request).await, Code::NotFound, "NOT_FOUND");
    let request = ListContactableInboxesRequest {
        account_id: 1,
        contact_id: foreign.contact,
        ..ListContactableInboxesRequest::default()
    };
    assert_refused(contacts.list_contactable_inboxes(request).await, Code::NotFound, "NOT_FOUND");
    let request = FilterConversationsRequest {
        account_id: 1,
        ..FilterConversationsRequest::default()
    };
    let found = ours.clients.conversations.clone().filter_conversations(request).await;
    assert!(found.expect("ours").into_inner().conversations.is_empty());
    let request = FilterContactsRequest {
        account_id: theirs.account,
        ..FilterContactsRequest::default()
    };
    let stranger = worker(&app, 1, Role::Administrator, "Ravi").await;
    let refused = stranger.clients.contacts.clone().filter_contacts(request).await;
    assert_refused(refused, Code::PermissionDenied, "NOT_A_MEMBER");
}

async fn agents_see_only_their_inboxes(backend: Backend) {
    let app = TestApp::builder(backend).platform().start().await;
    let administrator = app.fixture();
    let second = ApiFixture::new(app.clients(), 1, inbox(&app.clients(), 1, "Second").await);
    let agent = worker(&app, 1, Role::Agent, "Ravi").await;
    set_members(&app.clients(), 1, second.inbox, &[agent.user]).await;
    administrator.talk().await;
    let person = second.person("Ana").await;
    let open = second.conversation(&person).await.id;

    let request = FilterConversationsRequest {
        account_id: 1,
        with_counts: true,
        ..FilterConversationsRequest::default()
    };
    let found = agent
        .clients
        .conversations
        .clone()
        .filter_conversations(request)
        .await
        .expect("a member")
        .into_inner();
    let ids: Vec<i64> = found.conversations.iter().map(|conversation| conversation.id).collect();
    assert_eq!((ids, found.counts.expect("asked for").all), (vec![open], 1));
    let request = ListContactableInboxesRequest {
        account_id: 1,
        contact_id: person.contact,
        ..ListContactableInboxesRequest::default()
    };
    let found = agent
        .clients
        .contacts
        .clone()
        .list_contactable_inboxes(request.clone())
        .await
        .expect("a member")
        .into_inner();
    let ids: Vec<_> = found
        .contactable_inboxes
        .iter()
        .filter_map(|one| Some(one.inbox.as_ref()?.id))
        .collect();
    assert_eq!(ids, [second.inbox]);
    let all = app
        .clients()
        .contacts
        .list_contactable_inboxes(request)
        .await
        .expect("an administrator")
        .into_inner();
    assert_eq!(all.contactable_inboxes.len(), 2);
}
