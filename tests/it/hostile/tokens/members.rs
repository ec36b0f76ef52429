//! Users of other accounts can neither be read nor changed: each account has its own names for its members.

use parley_proto::{
    Agent, CreateAgentsRequest, CreateMembershipRequest, DeleteMembershipRequest, EventKind, GetProfileRequest, ListMembersRequest,
    ListMessagesRequest, ReportPresenceRequest, Role, UpdateAgentRequest, UpdateUserRequest, User,
    presence_service_client::PresenceServiceClient,
};
use prost::Message as _;
use prost_types::FieldMask;
use tonic::Code;

use super::{add_agent, of_user, secret, stranger};
use crate::support::{
    app::TestApp,
    clients::Clients,
    database::Backend,
    fault::{assert_refused, refused},
    office::{other_account, set_members},
    on_both,
    reader::{event, log_info, whole_log},
};

on_both!(
    adding_by_address_reveals_nothing_about_the_user,
    only_the_operator_adds_members_by_id,
    member_name_belongs_to_one_account,
    active_member_has_its_own_name,
    former_member_keeps_the_name_known_to_the_account,
    addresses_of_users_cannot_be_probed,
    without_the_view_an_account_reads_any_user,
    administrator_token_does_not_activate_the_member,
    user_ids_do_not_reveal_the_order_of_creation
);

/// The ids of all users except the first: exact in JavaScript, and in random order.
const RANDOM: std::ops::Range<i64> = (1 << 48)..(1 << 53);

async fn members(clients: &Clients, account_id: i64) -> Vec<Agent> {
    let request = ListMembersRequest {
        account_id,
        ..ListMembersRequest::default()
    };
    let answer = clients
        .accounts
        .clone()
        .list_members(request)
        .await
        .expect("the members are listed");
    answer.into_inner().agents
}

async fn member(clients: &Clients, account_id: i64, user: i64) -> Agent {
    let members = members(clients, account_id).await;
    members.into_iter().find(|agent| agent.id == user).expect("a member")
}

/// Adds a user to an account, as the operator.
pub async fn join(app: &TestApp, account_id: i64, user_id: i64, role: Role) {
    let request = CreateMembershipRequest {
        account_id,
        user_id,
        role: role.into(),
        ..CreateMembershipRequest::default()
    };
    app.platform()
        .accounts
        .create_membership(request)
        .await
        .expect("the user becomes a member");
}

fn change_user(user: User, path: &str) -> UpdateUserRequest {
    UpdateUserRequest {
        user: Some(user),
        update_mask: Some(FieldMask {
            paths: vec![path.to_owned()],
        }),
        ..UpdateUserRequest::default()
    }
}

/// Reports the presence of the user of these clients, which makes the user an active member from now on.
async fn be_active(clients: &Clients, account_id: i64) {
    let request = ReportPresenceRequest {
        account_id,
        ..ReportPresenceRequest::default()
    };
    let mut presence = PresenceServiceClient::new(clients.service.clone());
    presence.report_presence(request).await.expect("the presence is noted");
}

async fn adding_by_address_reveals_nothing_about_the_user(backend: Backend) {
    let app = TestApp::builder(backend).platform().start().await;
    let known = stranger(&app, "known@example.org").await;
    let other = other_account(&app, "Other").await;
    join(&app, other.account, known.id, Role::Agent).await;
    let theirs = member(&other.clients, other.account, known.id).await;
    let head = log_info(&other.clients, other.account).await.head_seq;

    let added = add_agent(&app, "known@example.org", "Typed Name").await;
    let fresh = add_agent(&app, "fresh@example.org", "Typed Name").await;
    assert_eq!(added.id, known.id);
    assert!(
        RANDOM.contains(&known.id) && RANDOM.contains(&fresh.id),
        "{} and {}",
        known.id,
        fresh.id
    );
    let like = |agent: &Agent| Agent {
        id: 0,
        email: String::new(),
        ..agent.clone()
    };
    assert_eq!(like(&added), like(&fresh), "a known and an unknown address are answered the same");
    assert_eq!(
        (added.email.as_str(), added.available_name.as_str()),
        ("known@example.org", "Typed Name")
    );
    assert_eq!(member(&app.clients(), 1, known.id).await, added);
    // A change of a field that the account cannot see leaves no event there.
    let renamed = User {
        display_name: Some("Planted Again".to_owned()),
        ..known.clone()
    };
    app.platform()
        .accounts
        .update_user(change_user(renamed, "display_name"))
        .await
        .expect("the operator changes the user");
    let log = whole_log(&app.clients(), 1).await;
    let updated = log.iter().filter(|delivery| event(delivery).kind() == EventKind::AgentUpdated);
    assert_eq!(updated.count(), 0);
    for delivery in &log {
        let bytes = delivery.encode_to_vec();
        for planted in ["Planted", "planted-attribute"] {
            assert!(!contains(&bytes, planted), "{planted} in {delivery:?}");
        }
    }
    // The user's own account received the operator's changes, and none of those of account 1.
    let log = whole_log(&other.clients, other.account).await;
    let after = log
        .iter()
        .filter(|delivery| event(delivery).seq > head)
        .map(|delivery| event(delivery).kind());
    assert_eq!(after.collect::<Vec<_>>(), [EventKind::AgentUpdated]);
    let now = member(&other.clients, other.account, known.id).await;
    assert_eq!(
        now,
        Agent {
            available_name: "Planted Again".to_owned(),
            ..theirs
        }
    );
}

fn contains(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}

async fn only_the_operator_adds_members_by_id(backend: Backend) {
    let app = TestApp::builder(backend).platform().start().await;
    let known = stranger(&app, "known@example.org").await;
    let mut answers = Vec::new();
    for user_id in [known.id, known.id + 1000] {
        let request = CreateMembershipRequest {
            account_id: 1,
            user_id,
            role: Role::Agent.into(),
            ..CreateMembershipRequest::default()
        };
        answers.push(refused(app.clients().accounts.create_membership(request).await));
    }
    assert_eq!(answers[0].code, Code::PermissionDenied);
    assert_eq!(answers[0], answers[1], "ids of users cannot be tried");
    join(&app, 1, known.id, Role::Agent).await;
}

async fn member_name_belongs_to_one_account(backend: Backend) {
    let app = TestApp::builder(backend).platform().start().await;
    let other = other_account(&app, "Other").await;
    let known = stranger(&app, "known@example.org").await;
    join(&app, other.account, known.id, Role::Agent).await;
    join(&app, 1, known.id, Role::Agent).await;
    let theirs = member(&other.clients, other.account, known.id).await;
    let head = log_info(&other.clients, other.account).await.head_seq;

    let rename = UpdateAgentRequest {
        account_id: 1,
        user_id: known.id,
        name: Some("RENAMED BY STRANGER".to_owned()),
        ..UpdateAgentRequest::default()
    };
    let renamed = app
        .clients()
        .accounts
        .update_agent(rename)
        .await
        .expect("the account renames its member");
    assert_eq!(renamed.into_inner().agent.expect("always set").name, "RENAMED BY STRANGER");
    assert_eq!(member(&app.clients(), 1, known.id).await.name, "RENAMED BY STRANGER");
    assert_eq!(member(&other.clients, other.account, known.id).await, theirs);
    assert_eq!(log_info(&other.clients, other.account).await.head_seq, head);

    // Messages of the user carry the name that belongs to their account.
    let token = secret(&app.platform(), of_user(known.id)).await;
    let user = app.clients_with(&token);
    let profile = user.accounts.clone().get_profile(GetProfileRequest {}).await.expect("a profile");
    assert_eq!(profile.into_inner().user.expect("always set").name, "Planted Name");
    set_members(&app.clients(), 1, 1, &[known.id]).await;
    let talk = app.fixture().talk().await;
    let said = app.fixture().through(user.clone()).say(talk, "hello").await;
    assert_eq!(said.sender.expect("the user").name, "RENAMED BY STRANGER");
    let list = ListMessagesRequest {
        account_id: 1,
        conversation_id: talk,
        ..ListMessagesRequest::default()
    };
    let listed = app.clients().messages.list_messages(list).await.expect("listed").into_inner();
    let names: Vec<_> = listed
        .messages
        .into_iter()
        .filter_map(|message| message.sender)
        .map(|sender| sender.name)
        .collect();
    assert_eq!(names, ["RENAMED BY STRANGER"]);
    let log = whole_log(&app.clients(), 1).await;
    let created = log
        .iter()
        .map(event)
        .find(|event| event.kind() == EventKind::MessageCreated)
        .expect("a message");
    assert_eq!(created.actor.as_ref().expect("the user").name, "RENAMED BY STRANGER");
}

async fn active_member_has_its_own_name(backend: Backend) {
    let app = TestApp::builder(backend).platform().start().await;
    let added = add_agent(&app, "new@example.org", "Typed Name").await;
    let token = secret(&app.platform(), of_user(added.id)).await;
    let user = app.clients_with(&token);
    let named = |name: &str| User {
        id: added.id,
        name: name.to_owned(),
        ..User::default()
    };
    let mut accounts = user.accounts.clone();
    accounts
        .update_user(change_user(named("First"), "name"))
        .await
        .expect("its own name");
    assert_eq!(member(&app.clients(), 1, added.id).await.name, "Typed Name");
    be_active(&user, 1).await;
    accounts
        .update_user(change_user(named("Second"), "name"))
        .await
        .expect("its own name");
    assert_eq!(member(&app.clients(), 1, added.id).await.name, "Second");
}

async fn former_member_keeps_the_name_known_to_the_account(backend: Backend) {
    let app = TestApp::builder(backend).platform().start().await;
    let known = stranger(&app, "known@example.org").await;
    let added = add_agent(&app, "known@example.org", "Typed Name").await;
    set_members(&app.clients(), 1, 1, &[added.id]).await;
    let user = app.clients_with(&secret(&app.platform(), of_user(known.id)).await);
    let talk = app.fixture().talk().await;
    app.fixture().through(user.clone()).say(talk, "hello").await;
    let leave = DeleteMembershipRequest {
        account_id: 1,
        user_id: known.id,
        ..DeleteMembershipRequest::default()
    };
    app.clients().accounts.delete_membership(leave).await.expect("the member leaves");
    let list = ListMessagesRequest {
        account_id: 1,
        conversation_id: talk,
        ..ListMessagesRequest::default()
    };
    let listed = app.clients().messages.list_messages(list).await.expect("listed").into_inner();
    let sender = listed.messages.into_iter().find_map(|message| message.sender).expect("the user");
    assert_eq!((sender.name.as_str(), sender.email()), ("Typed Name", "known@example.org"));
    assert_eq!(sender.available_name(), "Typed Name");
}

/// Shows what the view is for: without it, an email address suffices to read its user.
async fn without_the_view_an_account_reads_any_user(backend: Backend) {
    for (switch, name) in [("", "Typed Name"), ("member_view", "Planted Name")] {
        let app = TestApp::builder(backend)
            .platform()
            .env("PARLEY_FAULT_SWITCH", switch)
            .start()
            .await;
        let known = stranger(&app, "known@example.org").await;
        let added = add_agent(&app, "known@example.org", "Typed Name").await;
        assert_eq!((added.id, added.name.as_str()), (known.id, name), "{switch}");
        assert_eq!(member(&app.clients(), 1, known.id).await.name, name, "{switch}");
    }
}

/// The ids of users in the order of creation, alternating between users that the operator created and users that account 1 created, one at
/// a time and concurrently.
async fn ids_of_users(app: &TestApp) -> Vec<i64> {
    let mut ids = Vec::new();
    for nth in 0..8 {
        ids.push(stranger(app, &format!("operator-{nth}@example.org")).await.id);
        ids.push(add_agent(app, &format!("account-{nth}@example.org"), "Typed Name").await.id);
    }
    let request = CreateAgentsRequest {
        account_id: 1,
        emails: (0..8).map(|nth| format!("many-{nth}@example.org")).collect(),
        ..CreateAgentsRequest::default()
    };
    let made = app
        .clients()
        .accounts
        .create_agents(request)
        .await
        .expect("they are added")
        .into_inner();
    ids.extend(made.agents.iter().map(|agent| agent.id));
    assert_eq!(ids.len(), 24);
    ids
}

async fn user_ids_do_not_reveal_the_order_of_creation(backend: Backend) {
    let app = TestApp::builder(backend).platform().start().await;
    let ids = ids_of_users(&app).await;
    assert!(ids.iter().all(|id| RANDOM.contains(id)), "{ids:?}");
    // The probability of an ordered list is 1 in 24!.
    assert!(!ids.is_sorted(), "{ids:?}");
    let administrator = app.clients().accounts.get_profile(GetProfileRequest {}).await.expect("a profile");
    assert_eq!(
        administrator.into_inner().user.expect("always set").id,
        1,
        "the first user is known anyway"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_protection_user_ids_are_sequential() {
    let app = TestApp::builder(Backend::Sqlite)
        .platform()
        .env("PARLEY_FAULT_SWITCH", "user_ids")
        .start()
        .await;
    let ids = ids_of_users(&app).await;
    assert!(ids.is_sorted() && ids.iter().all(|id| *id < 100), "{ids:?}");
}

/// Otherwise a user could probe one address after another, and take an address before its owner does.
async fn addresses_of_users_cannot_be_probed(backend: Backend) {
    let app = TestApp::builder(backend).platform().start().await;
    let known = stranger(&app, "known@example.org").await;
    let user = stranger(&app, "user@example.org").await;
    let clients = app.clients_with(&secret(&app.platform(), of_user(user.id)).await);
    for email in [known.email.as_str(), "free@example.org"] {
        let asked = User {
            id: user.id,
            email: email.to_owned(),
            ..User::default()
        };
        let answer = clients.accounts.clone().update_user(change_user(asked, "email")).await;
        assert_refused(answer, Code::PermissionDenied, "NOT_ALLOWED");
    }
}

/// An administrator may add any user by email address and create a token for the member. The token shows no more of the user than the
/// account knows, and its use does not make the user an active member.
async fn administrator_token_does_not_activate_the_member(backend: Backend) {
    for switch in ["", "token_limits"] {
        let app = TestApp::builder(backend)
            .platform()
            .env("PARLEY_FAULT_SWITCH", switch)
            .start()
            .await;
        let known = stranger(&app, "known@example.org").await;
        let other = other_account(&app, "Other").await;
        join(&app, other.account, known.id, Role::Administrator).await;
        add_agent(&app, "known@example.org", "Typed Name").await;
        let token = app.clients_with(&secret(&app.clients(), of_user(known.id)).await);
        be_active(&token, 1).await;
        let profile = token
            .accounts
            .clone()
            .get_profile(GetProfileRequest::default())
            .await
            .expect("a profile")
            .into_inner();
        let renamed = User {
            name: "Renamed".to_owned(),
            ..known.clone()
        };
        let renaming = token.accounts.clone().update_user(change_user(renamed, "name")).await;
        let shown = [profile.encode_to_vec(), member(&app.clients(), 1, known.id).await.encode_to_vec()];
        let planted = shown
            .iter()
            .any(|bytes| contains(bytes, "Planted") || contains(bytes, "planted-attribute"));
        let reaches = log_reaches(&token, other.account).await;
        if switch.is_empty() {
            assert_refused(renaming, Code::PermissionDenied, "NOT_ALLOWED");
            assert!(!planted, "{profile:?}");
            assert_eq!(profile.memberships.len(), 1);
            assert!(!reaches);
        } else {
            assert!(
                renaming.is_ok() && planted && reaches,
                "without the protection the token is the user"
            );
        }
    }
}

/// Whether a token can read the log of an account.
async fn log_reaches(clients: &Clients, account_id: i64) -> bool {
    let request = parley_proto::GetLogInfoRequest { account_id };
    clients.events.clone().get_log_info(request).await.is_ok()
}
