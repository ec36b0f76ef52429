//! Authorization: the policy that each method declares, the page that is generated from it, and calls by every kind of caller that must be
//! refused.

pub mod ask;
pub mod policy;

use std::{fmt::Write as _, fs, path::Path};

use futures_util::StreamExt as _;
use parley_proto::{
    CreateAccountRequest, CreateAgentBotRequest, CreateInboxRequest, CreateMembershipRequest, CreateTokenRequest, CreateUserRequest, Inbox,
    Role, TokenKind, policy::METHODS,
};
use tonic::Code;

use crate::support::{api_fixture::ApiFixture, app::TestApp, clients::Clients, database::Backend};
use policy::Who;

/// The generated page.
const DOCUMENT: &str = "docs/permissions.md";

/// The compiled policy table contains exactly the methods of the contract's descriptors.
#[test]
fn every_method_has_a_policy() {
    let mut declared: Vec<_> = METHODS.iter().map(policy::name).collect();
    let mut calls: Vec<_> = ask::calls().iter().map(ask::name).collect();
    declared.sort_unstable();
    calls.sort_unstable();
    assert_eq!(declared, calls);
}

#[tokio::test]
async fn permissions_page_is_generated() {
    let mut text = String::from(
        "# Permissions\n\n\
         Every method of the gRPC API, who may call it, and what the server records of the call. A REST route has the permissions of the method\n\
         that it calls ([json-api.md](json-api.md)). Callers that may not see a resource get either PERMISSION_DENIED or NOT_FOUND.\n\n\
         - **Access**: whether the method changes anything. Every method that does refuses read-only tokens.\n\
         - **Bots**: whether agent bots may call it, for conversations and events of the inboxes that they are connected to. A bot has one durable\n\
         consumer, `agent_bot/ID`, with the bot's id.\n\
         - **Audited**: each call stores an audit event, including refused calls.\n\
         - **Repeatable**: a call that is repeated with the same `request_id` gets the stored response.\n\n\
         This page is generated from the options of the methods (`proto/parley/v1/options.proto`) by\n\
         `UPDATE_SNAPSHOTS=1 cargo test --test it roles`; tests make each call as every kind of caller that must be refused.\n\n\
         | Method | Who | Access | Bots | Audited | Repeatable |\n| --- | --- | --- | --- | --- | --- |\n",
    );
    let mut methods: Vec<_> = METHODS.iter().collect();
    methods.sort_by_key(|method| policy::name(method));
    let yes = |flag: bool| if flag { "yes" } else { "" };
    for method in methods {
        let (name, who, access) = (policy::name(method), policy::words(method), policy::effect(method));
        let (bots, audited, repeatable) = (yes(method.bots), yes(method.audited), yes(method.idempotent));
        let _ = writeln!(text, "| {name} | {who} | {access} | {bots} | {audited} | {repeatable} |");
    }
    text += &endpoints(&TestApp::start(Backend::Sqlite).await).await;
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(DOCUMENT);
    if std::env::var_os("UPDATE_SNAPSHOTS").is_some() {
        fs::write(&path, &text).expect("the documents can be written");
    }
    let written = fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(written, text, "{DOCUMENT} is not what UPDATE_SNAPSHOTS=1 would write");
}

/// The rows of endpoints that are not methods.
async fn endpoints(app: &TestApp) -> String {
    let mut text = String::from(
        "\n## Endpoints without a method\n\n\
         gRPC health and reflection are open to anyone who can connect. The admin listener requires no credential: do not expose it. The REST routes\n\
         that correspond to no single method:\n\n| Endpoint | Who | Credential |\n| --- | --- | --- |\n",
    );
    let http = app.http();
    let description = http.description().await;
    for (verb, path) in description.operations() {
        let operation = &description.document()["paths"][&path][verb.to_ascii_lowercase()];
        if operation["x-parley-rpc"].is_null() {
            let caller = operation["x-parley-caller"].as_str().unwrap_or_default();
            let credential = if caller == "anyone" { "none" } else { "a token" };
            let _ = writeln!(text, "| `{verb} {path}` | {caller} | {credential} |");
        }
    }
    for endpoint in description.document()["x-parley-endpoints"].as_array().into_iter().flatten() {
        let told = |key: &str| endpoint[key].as_str().unwrap_or_default();
        let _ = writeln!(text, "| `{}` | {} | {} |", told("path"), told("caller"), told("credential"));
    }
    text
}

/// Clients of a new user with a role in an account.
async fn member(app: &TestApp, account: i64, email: &str, role: Role) -> Clients {
    let mut accounts = app.platform().accounts;
    let request = CreateUserRequest {
        name: "Somebody".to_owned(),
        email: email.to_owned(),
        ..CreateUserRequest::default()
    };
    let user = accounts
        .create_user(request)
        .await
        .expect("a user")
        .into_inner()
        .user
        .expect("always set");
    let request = CreateMembershipRequest {
        account_id: account,
        user_id: user.id,
        role: role.into(),
        ..CreateMembershipRequest::default()
    };
    accounts.create_membership(request).await.expect("a member");
    let request = CreateTokenRequest {
        kind: TokenKind::User.into(),
        user_id: Some(user.id),
        ..CreateTokenRequest::default()
    };
    let made = accounts.create_token(request).await.expect("a token").into_inner();
    app.clients_with(&made.secret)
}

async fn with_token(app: &TestApp, request: CreateTokenRequest) -> Clients {
    let made = app.platform().accounts.create_token(request).await.expect("a token").into_inner();
    app.clients_with(&made.secret)
}

/// A service token of the first account.
fn service(read_only: bool, inbox_ids: Vec<i64>) -> CreateTokenRequest {
    CreateTokenRequest {
        kind: TokenKind::Service.into(),
        account_id: Some(1),
        name: "reports".to_owned(),
        read_only,
        inbox_ids,
        ..CreateTokenRequest::default()
    }
}

async fn bot(app: &TestApp) -> Clients {
    let request = CreateAgentBotRequest {
        account_id: Some(1),
        name: "Helper".to_owned(),
        ..CreateAgentBotRequest::default()
    };
    let made = app
        .platform()
        .agent_bots
        .create_agent_bot(request)
        .await
        .expect("a bot")
        .into_inner();
    let request = CreateTokenRequest {
        kind: TokenKind::AgentBot.into(),
        agent_bot_id: made.agent_bot.map(|bot| bot.id),
        ..CreateTokenRequest::default()
    };
    with_token(app, request).await
}

/// A second inbox, which nothing else in these tests uses.
async fn other_inbox(app: &TestApp) -> i64 {
    let request = CreateInboxRequest {
        account_id: 1,
        inbox: Some(Inbox {
            name: "Elsewhere".to_owned(),
            channel: Some(parley_proto::inbox::Channel::ApiChannel(parley_proto::ApiChannel::default())),
            ..Inbox::default()
        }),
        ..CreateInboxRequest::default()
    };
    let made = app.clients().inboxes.create_inbox(request).await.expect("an inbox").into_inner();
    made.inbox.expect("always set").id
}

/// A client for each kind of caller.
async fn callers(app: &TestApp) -> Vec<(Who, Clients)> {
    let request = CreateAccountRequest {
        name: "Another".to_owned(),
        ..CreateAccountRequest::default()
    };
    app.platform().accounts.create_account(request).await.expect("an account");
    let of_user = CreateTokenRequest {
        kind: TokenKind::User.into(),
        user_id: Some(1),
        read_only: true,
        ..CreateTokenRequest::default()
    };
    let of_operator = CreateTokenRequest {
        kind: TokenKind::Platform.into(),
        name: "reports".to_owned(),
        read_only: true,
        ..CreateTokenRequest::default()
    };
    let inbox = other_inbox(app).await;
    vec![
        (Who::Nobody, Clients::new(&app.server.listeners.grpc, None)),
        (Who::Unknown, app.clients_with("a-token-that-nobody-ever-made")),
        (Who::ReadOnlyService, with_token(app, service(true, Vec::new())).await),
        (Who::ReadOnlyAdministrator, with_token(app, of_user).await),
        (Who::ScopedService, with_token(app, service(false, vec![inbox])).await),
        (Who::Stranger, member(app, 2, "other@example.org", Role::Administrator).await),
        (Who::Agent, member(app, 1, "agent@example.org", Role::Agent).await),
        (Who::Administrator, app.clients()),
        (Who::Bot, bot(app).await),
        (Who::Operator, app.platform()),
        (Who::ReadOnlyOperator, with_token(app, of_operator).await),
    ]
}

/// Creates one of everything that calls refer to by the id 1.
async fn furnish(fixture: &ApiFixture) {
    let conversation = fixture.talk().await;
    fixture.say(conversation, "hello").await;
    let made = [
        "LabelsService.CreateLabel",
        "TeamsService.CreateTeam",
        "CannedResponsesService.CreateCannedResponse",
        "ContactNotesService.CreateContactNote",
        "CustomAttributeDefinitionsService.CreateCustomAttributeDefinition",
        "AgentBotsService.CreateAgentBot",
        "ParticipantsService.AddParticipants",
    ];
    for call in ask::calls().iter().filter(|call| made.contains(&ask::name(call).as_str())) {
        if let Err(status) = ask::ask(&fixture.clients, call).await {
            panic!("{}: {status:?}", ask::name(call));
        }
    }
}

/// Each method with every kind of caller that its policy refuses. Streams are opened like calls, with one message.
#[tokio::test]
async fn policy_refuses_callers() {
    let app = TestApp::builder(Backend::Sqlite).platform().start().await;
    furnish(&app.fixture()).await;
    let callers = callers(&app).await;
    let mut wrong = Vec::new();
    let mut asked = 0;
    for (who, clients) in &callers {
        let known = !matches!(who, Who::Nobody | Who::Unknown);
        let calls: Vec<_> = ask::calls()
            .into_iter()
            .filter(|call| policy::refuses(policy::named(&ask::name(call)), *who))
            .collect();
        asked += calls.len();
        let calls = futures_util::stream::iter(calls).map(|call| async move {
            let answer = ask::ask(clients, &call)
                .await
                .map_err(|status| (status.code(), status.message().to_owned()));
            let refused = match &answer {
                // A resource that the caller cannot see may be reported as missing.
                Err((code, _)) if known => matches!(code, Code::PermissionDenied | Code::NotFound),
                Err((code, _)) => *code == Code::Unauthenticated,
                Ok(()) => false,
            };
            (!refused).then(|| format!("{who:?}: {} was answered {answer:?}", ask::name(&call)))
        });
        wrong.extend(calls.buffer_unordered(8).filter_map(std::future::ready).collect::<Vec<_>>().await);
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(asked > 600, "only {asked} calls were made");
}

/// Callers that may read are admitted: a policy that refused everyone would pass the other test.
#[tokio::test]
async fn policy_admits_readers() {
    let app = TestApp::builder(Backend::Sqlite).platform().start().await;
    furnish(&app.fixture()).await;
    let callers = callers(&app).await;
    let mut wrong = Vec::new();
    for call in ask::calls() {
        let method = policy::named(&ask::name(&call));
        for (who, clients) in &callers {
            let reads = matches!(
                who,
                Who::ReadOnlyService | Who::ReadOnlyAdministrator | Who::Agent | Who::Administrator | Who::ReadOnlyOperator
            );
            // A user's own resources do not belong to a service.
            let owns =
                method.caller == parley_proto::MethodCaller::Owner && !matches!(who, Who::Administrator | Who::ReadOnlyAdministrator);
            if !reads || !method.is_read() || !method.needs_token() || owns || policy::refuses(method, *who) {
                continue;
            }
            if let Err(status) = ask::ask(clients, &call).await
                && matches!(
                    status.code(),
                    Code::PermissionDenied | Code::Unauthenticated | Code::InvalidArgument
                )
            {
                wrong.push(format!(
                    "{who:?}: {} was answered {:?}, {}",
                    method.path,
                    status.code(),
                    status.message()
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}
