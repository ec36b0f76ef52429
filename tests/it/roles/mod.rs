//! Who may call what: every call of the contract has a row, and is made by those who may not make it.

pub mod ask;

use std::{collections::BTreeMap, fmt::Write as _, fs, path::Path};

use futures_util::StreamExt as _;
use parley::pb::{CreateAccountRequest, CreateMembershipRequest, CreateTokenRequest, CreateUserRequest, Role, TokenKind};
use tonic::Code;

use crate::support::{app::TestApp, clients::Clients, database::Backend, scene::Scene};

/// The rows: a call, and who may make it, a line each.
const TABLE: &str = include_str!("table.txt");

/// Where users read it.
const DOCUMENT: &str = "docs/permissions.md";

/// Who may make a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Class {
    /// Whoever knows a session's name, or a link that was signed or is good once.
    Anyone,
    /// The user itself.
    Own,
    /// Members of the account.
    Reads,
    /// Administrators, also with a token that only reads.
    ReadsAsAdministrator,
    /// Members of the account and the operator.
    ReadsOrOperates,
    /// Members of the account, unless their token only reads.
    Writes,
    /// Members of the inbox and administrators.
    ReadsInbox,
    /// As before, unless their token only reads.
    WritesInbox,
    /// Administrators.
    Administers,
    /// Administrators and the operator.
    AdministersOrOperates,
    /// The operator.
    Operates,
}

impl Class {
    fn named(name: &str) -> Self {
        match name {
            "anyone" => Self::Anyone,
            "own" => Self::Own,
            "reads" => Self::Reads,
            "reads-as-administrator" => Self::ReadsAsAdministrator,
            "reads-or-operates" => Self::ReadsOrOperates,
            "writes" => Self::Writes,
            "reads-inbox" => Self::ReadsInbox,
            "writes-inbox" => Self::WritesInbox,
            "administers" => Self::Administers,
            "administers-or-operates" => Self::AdministersOrOperates,
            "operates" => Self::Operates,
            other => panic!("{other} is no class of callers"),
        }
    }

    /// In words, for the document.
    fn words(self) -> &'static str {
        match self {
            Self::Anyone => "anybody: the session, the signed link, the pubsub token or the secret in the request is the credential",
            Self::Own => "the user itself, for what is its own; the operator for all",
            Self::Reads => "members of the account, services, tokens that only read",
            Self::ReadsAsAdministrator => "administrators, services, tokens of theirs that only read",
            Self::ReadsOrOperates => "members of the account, services, tokens that only read, the operator",
            Self::Writes => "members of the account, services",
            Self::ReadsInbox => "members of the inbox, administrators, services, tokens that only read",
            Self::WritesInbox => "members of the inbox, administrators, services",
            Self::Administers => "administrators, services without a list of inboxes",
            Self::AdministersOrOperates => "administrators, services without a list of inboxes, the operator",
            Self::Operates => "the operator",
        }
    }

    fn refuses(self, caller: &str) -> bool {
        match caller {
            "nobody" | "a wrong token" => self != Self::Anyone,
            "one of another account" => !matches!(self, Self::Anyone | Self::Own),
            "one that only reads" => matches!(
                self,
                Self::Writes | Self::WritesInbox | Self::Administers | Self::AdministersOrOperates | Self::Operates
            ),
            "an agent outside of the inbox" => matches!(
                self,
                Self::ReadsAsAdministrator
                    | Self::ReadsInbox
                    | Self::WritesInbox
                    | Self::Administers
                    | Self::AdministersOrOperates
                    | Self::Operates
            ),
            "the administrator" => self == Self::Operates,
            "the operator" => matches!(
                self,
                Self::Reads | Self::ReadsAsAdministrator | Self::Writes | Self::ReadsInbox | Self::WritesInbox | Self::Administers
            ),
            other => panic!("who is {other}?"),
        }
    }
}

fn rows() -> BTreeMap<&'static str, Class> {
    TABLE
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(|line| {
            let (call, class) = line.split_once(' ').expect("a call and a class");
            (call, Class::named(class.trim()))
        })
        .collect()
}

/// What administrators and the operator alone may do leaves a line in the audit log, but for reading.
#[test]
fn what_administers_is_audited() {
    for (call, class) in rows() {
        let (service, name) = call.split_once('.').expect("a service and a call");
        let reads = name.starts_with("Get") || name.starts_with("List") || call == "EventsService.Consume";
        let administers = matches!(class, Class::Administers | Class::AdministersOrOperates | Class::Operates);
        if administers && !reads {
            assert!(
                parley::api::is_told(&format!("parley.v1.{service}/{name}")),
                "{call} leaves no line"
            );
        }
        if reads {
            assert!(
                !parley::api::is_told(&format!("parley.v1.{service}/{name}")),
                "{call} changes nothing"
            );
        }
    }
}

#[test]
fn every_call_has_a_row() {
    let calls: Vec<String> = ask::calls().iter().map(ask::name).collect();
    let rows = rows();
    let without: Vec<_> = calls.iter().filter(|call| !rows.contains_key(call.as_str())).collect();
    let gone: Vec<_> = rows.keys().filter(|row| !calls.iter().any(|call| call == *row)).collect();
    assert!(
        without.is_empty() && gone.is_empty(),
        "without a row: {without:#?}\nwithout a call: {gone:#?}"
    );
}

#[test]
fn the_document_is_the_table() {
    let mut text = String::from(
        "# Who may call what\n\n\
         Every call of the contract, and the tokens that may make it. A JSON route asks for what the call behind it asks\n\
         ([json-api.md](json-api.md)); bots may make only what is listed for them there. Whoever may not see a thing is told either that it\n\
         is not allowed or that there is no such thing. This file is made from `tests/it/roles/table.txt`, whose rows a test tries\n\
         (`UPDATE_SNAPSHOTS=1 cargo test --test it roles`).\n\n| call | who |\n| --- | --- |\n",
    );
    for (call, class) in rows() {
        let _ = writeln!(text, "| {call} | {} |", class.words());
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(DOCUMENT);
    if std::env::var_os("UPDATE_SNAPSHOTS").is_some() {
        fs::write(&path, &text).expect("the documents can be written");
    }
    let written = fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(written, text, "{DOCUMENT} is not what UPDATE_SNAPSHOTS=1 would write");
}

/// A user with a role in an account, and a client of its own.
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

async fn only_reading(app: &TestApp) -> Clients {
    let request = CreateTokenRequest {
        kind: TokenKind::Service.into(),
        account_id: Some(1),
        name: "reports".to_owned(),
        read_only: true,
        ..CreateTokenRequest::default()
    };
    let made = app.platform().accounts.create_token(request).await.expect("a token").into_inner();
    app.clients_with(&made.secret)
}

/// One of everything that calls name by the id 1.
async fn furnish(scene: &Scene) {
    let conversation = scene.talk().await;
    scene.say(conversation, "hello").await;
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
        if let Err(status) = ask::ask(&scene.clients, call).await {
            panic!("{}: {status:?}", ask::name(call));
        }
    }
}

#[tokio::test]
async fn who_may_not_is_refused() {
    let app = TestApp::builder(Backend::Sqlite).platform().start().await;
    furnish(&app.scene()).await;
    let request = CreateAccountRequest {
        name: "Another".to_owned(),
        ..CreateAccountRequest::default()
    };
    app.platform().accounts.create_account(request).await.expect("an account");
    let callers = [
        ("nobody", Clients::new(&app.server.doors.grpc, None)),
        ("a wrong token", app.clients_with("a-token-that-nobody-ever-made")),
        ("one that only reads", only_reading(&app).await),
        (
            "one of another account",
            member(&app, 2, "other@example.org", Role::Administrator).await,
        ),
        (
            "an agent outside of the inbox",
            member(&app, 1, "agent@example.org", Role::Agent).await,
        ),
        ("the administrator", app.clients()),
        ("the operator", app.platform()),
    ];
    let rows = rows();
    let mut wrong = Vec::new();
    for (who, clients) in &callers {
        let known = !matches!(*who, "nobody" | "a wrong token");
        let calls = futures_util::stream::iter(ask::calls()).map(|call| {
            let rows = &rows;
            async move {
                let name = ask::name(&call);
                let class = *rows.get(name.as_str())?;
                if !class.refuses(who) {
                    return None;
                }
                let answer = ask::ask(clients, &call)
                    .await
                    .map_err(|status| (status.code(), status.message().to_owned()));
                let refused = match &answer {
                    // What may not be seen may be said not to exist.
                    Err((code, _)) if known => matches!(code, Code::PermissionDenied | Code::NotFound),
                    Err((code, _)) => *code == Code::Unauthenticated,
                    Ok(()) => false,
                };
                (!refused).then(|| format!("{who}: {name} ({class:?}) was answered {answer:?}"))
            }
        });
        wrong.extend(calls.buffer_unordered(8).filter_map(std::future::ready).collect::<Vec<_>>().await);
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// And who may read is let in: a table that refused everybody would pass the other test.
#[tokio::test]
async fn who_may_read_is_let_in() {
    let app = TestApp::builder(Backend::Sqlite).platform().start().await;
    furnish(&app.scene()).await;
    let reader = only_reading(&app).await;
    let agent = member(&app, 1, "agent@example.org", Role::Agent).await;
    let mut wrong = Vec::new();
    for call in ask::calls() {
        let name = ask::name(&call);
        let class = rows()[name.as_str()];
        for (who, clients) in [("one that only reads", &reader), ("an agent outside of the inbox", &agent)] {
            if !matches!(
                class,
                Class::Reads | Class::ReadsInbox | Class::ReadsAsAdministrator | Class::ReadsOrOperates
            ) || class.refuses(who)
            {
                continue;
            }
            if let Err(status) = ask::ask(clients, &call).await
                && matches!(
                    status.code(),
                    Code::PermissionDenied | Code::Unauthenticated | Code::InvalidArgument
                )
            {
                wrong.push(format!("{who}: {name} was answered {:?}, {}", status.code(), status.message()));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}
