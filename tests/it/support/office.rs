//! Creates accounts, users, members and tokens, as an operator with a platform token does.

use parley_proto::{
    ApiChannel, CreateAccountRequest, CreateInboxRequest, CreateMembershipRequest, CreateTokenRequest, CreateUserRequest, Inbox, Role,
    SetInboxMembersRequest, TokenKind, inbox::Channel,
};

use super::{api_fixture::ApiFixture, app::TestApp, clients::Clients};

/// A user with a token.
#[derive(Clone, Debug)]
pub struct Worker {
    /// The id of the user.
    pub user: i64,
    /// The user's token.
    pub token: String,
    /// Clients with the user's token.
    pub clients: Clients,
}

/// Creates a second account with an administrator and an inbox.
pub async fn other_account(app: &TestApp, name: &str) -> ApiFixture {
    let request = CreateAccountRequest {
        name: name.to_owned(),
        ..CreateAccountRequest::default()
    };
    let answer = app
        .platform()
        .accounts
        .create_account(request)
        .await
        .expect("the account is made")
        .into_inner();
    let account = answer.account.expect("always set").id;
    let administrator = worker(app, account, Role::Administrator, &format!("administrator of {name}")).await;
    let inbox = inbox(&administrator.clients, account, "Theirs").await;
    ApiFixture::new(administrator.clients, account, inbox)
}

/// Creates a user who is a member of the account.
pub async fn worker(app: &TestApp, account: i64, role: Role, name: &str) -> Worker {
    let mut accounts = app.platform().accounts;
    let request = CreateUserRequest {
        name: name.to_owned(),
        email: format!("{}@example.org", uuid::Uuid::new_v4()),
        ..CreateUserRequest::default()
    };
    let user = accounts
        .create_user(request)
        .await
        .expect("the user is made")
        .into_inner()
        .user
        .expect("always set")
        .id;
    let request = CreateMembershipRequest {
        account_id: account,
        user_id: user,
        role: role.into(),
        ..CreateMembershipRequest::default()
    };
    accounts.create_membership(request).await.expect("the user becomes a member");
    let request = CreateTokenRequest {
        kind: TokenKind::User.into(),
        user_id: Some(user),
        ..CreateTokenRequest::default()
    };
    let token = accounts.create_token(request).await.expect("the token is made").into_inner();
    Worker {
        user,
        clients: app.clients_with(&token.secret),
        token: token.secret,
    }
}

/// Creates an API inbox.
pub async fn inbox(clients: &Clients, account: i64, name: &str) -> i64 {
    let request = CreateInboxRequest {
        account_id: account,
        inbox: Some(Inbox {
            name: name.to_owned(),
            channel: Some(Channel::ApiChannel(ApiChannel::default())),
            ..Inbox::default()
        }),
        ..CreateInboxRequest::default()
    };
    let answer = clients.inboxes.clone().create_inbox(request).await.expect("the inbox is made");
    answer.into_inner().inbox.expect("always set").id
}

/// Sets the members of an inbox.
pub async fn set_members(clients: &Clients, account: i64, inbox: i64, users: &[i64]) {
    let request = SetInboxMembersRequest {
        account_id: account,
        inbox_id: inbox,
        user_ids: users.to_vec(),
        ..SetInboxMembersRequest::default()
    };
    clients
        .inboxes
        .clone()
        .set_inbox_members(request)
        .await
        .expect("the members are set");
}
