//! A token cannot create, see or revoke anything beyond its own limits, and a read-only token changes nothing.

use futures_util::StreamExt as _;
use parley_proto::{
    AgentBot, CreateAgentBotRequest, CreateAgentRequest, CreateLoginLinkRequest, CreateTokenRequest, ListTokensRequest, RedeemLoginRequest,
    RevokeTokenRequest, RevokeTokenResponse, Role, Token, TokenKind, logins_service_client::LoginsServiceClient,
};
use prost_types::Timestamp;
use tonic::{Code, Status};

use super::{create, from_now, of_user, secret, service, service_clients};
use crate::{
    roles::ask,
    support::{
        app::TestApp,
        clients::Clients,
        database::Backend,
        fault::assert_refused,
        office::{other_account, worker},
        on_both,
        reader::log_info,
    },
};

on_both!(
    token_cannot_create_a_token_with_more_access,
    token_sees_and_revokes_only_tokens_within_its_limits,
    login_expires_with_the_token_that_created_its_link,
    administrator_creates_tokens_limited_to_the_account,
    read_only_token_changes_nothing,
    without_the_protection_a_limited_token_gains_access
);

async fn list(by: &Clients, account_id: Option<i64>) -> Result<Vec<Token>, Status> {
    let request = ListTokensRequest {
        account_id,
        ..ListTokensRequest::default()
    };
    let answer = by.accounts.clone().list_tokens(request).await?;
    Ok(answer.into_inner().tokens)
}

async fn revoke(by: &Clients, token_id: i64) -> Result<RevokeTokenResponse, Status> {
    let request = RevokeTokenRequest {
        token_id,
        ..RevokeTokenRequest::default()
    };
    by.accounts.clone().revoke_token(request).await.map(tonic::Response::into_inner)
}

/// A token of the user that is limited to an account, and its expiry.
async fn limited(app: &TestApp, user: i64, account: i64) -> (Clients, Token, Timestamp) {
    let end = from_now(3600);
    let request = CreateTokenRequest {
        account_id: Some(account),
        expires_at: Some(end),
        ..of_user(user)
    };
    let made = create(&app.platform(), request).await.expect("the token is created");
    (app.clients_with(&made.secret), made.token.expect("always set"), end)
}

async fn token_cannot_create_a_token_with_more_access(backend: Backend) {
    let app = TestApp::builder(backend).platform().start().await;
    let other = other_account(&app, "Other").await;
    let user = worker(&app, other.account, Role::Administrator, "Both").await.user;
    let (clients, _, end) = limited(&app, user, other.account).await;
    let inherited = create(&clients, of_user(user)).await.expect("its own").token.expect("always set");
    assert_eq!((inherited.account_id, inherited.expires_at), (Some(other.account), Some(end)));
    let of_service = CreateTokenRequest {
        account_id: Some(other.account),
        ..service(false, vec![])
    };
    let inherited = create(&clients, of_service.clone())
        .await
        .expect("administered")
        .token
        .expect("always set");
    assert_eq!(inherited.expires_at, Some(end));
    let narrower = CreateTokenRequest {
        account_id: Some(other.account),
        expires_at: Some(from_now(60)),
        read_only: true,
        ..of_user(user)
    };
    let narrower = create(&clients, narrower).await.expect("narrower").token.expect("always set");
    assert!(narrower.read_only && narrower.expires_at.expect("asked for").seconds < end.seconds);
    for wider in [
        CreateTokenRequest {
            account_id: Some(1),
            ..of_user(user)
        },
        CreateTokenRequest {
            expires_at: Some(from_now(7200)),
            ..of_user(user)
        },
        CreateTokenRequest {
            expires_at: Some(from_now(7200)),
            ..of_service.clone()
        },
    ] {
        assert_refused(create(&clients, wider).await, Code::PermissionDenied, "NOT_ALLOWED");
    }
    // A token that is limited to inboxes or read-only creates no tokens at all.
    let only_reads = app.clients_with(
        &secret(
            &app.platform(),
            CreateTokenRequest {
                read_only: true,
                ..of_user(user)
            },
        )
        .await,
    );
    assert_refused(create(&only_reads, of_user(user)).await, Code::PermissionDenied, "NOT_ALLOWED");
    let scoped = service_clients(&app, false, vec![1]).await;
    for request in [service(false, vec![1]), service(true, vec![1]), service(false, vec![])] {
        assert_refused(create(&scoped, request).await, Code::PermissionDenied, "NOT_ALLOWED");
    }
}

async fn token_sees_and_revokes_only_tokens_within_its_limits(backend: Backend) {
    let app = TestApp::builder(backend).platform().start().await;
    let other = other_account(&app, "Other").await;
    let user = worker(&app, other.account, Role::Agent, "Somebody").await.user;
    let (clients, within, _) = limited(&app, user, other.account).await;
    let beyond = create(&app.platform(), of_user(user)).await.expect("without limits");
    let (whole, beyond) = (app.clients_with(&beyond.secret), beyond.token.expect("always set"));
    let seen = list(&clients, None).await.expect("its own");
    assert_eq!(seen.iter().map(|token| token.id).collect::<Vec<_>>(), [within.id]);
    assert!(list(&whole, None).await.expect("its own").iter().any(|token| token.id == beyond.id));
    assert_refused(revoke(&clients, beyond.id).await, Code::NotFound, "NOT_FOUND");
    list(&whole, None).await.expect("it is still good");
    revoke(&clients, within.id).await.expect("itself");
    assert_refused(list(&clients, None).await, Code::Unauthenticated, "TOKEN_INVALID");
}

async fn login_expires_with_the_token_that_created_its_link(backend: Backend) {
    let app = TestApp::builder(backend).platform().start().await;
    let user = worker(&app, 1, Role::Agent, "Somebody").await;
    let end = from_now(120);
    let request = CreateTokenRequest {
        kind: TokenKind::Platform.into(),
        expires_at: Some(end),
        ..CreateTokenRequest::default()
    };
    let operator = app.clients_with(&secret(&app.platform(), request).await);
    let mut logins = LoginsServiceClient::new(operator.service.clone());
    let request = CreateLoginLinkRequest {
        user_id: user.user,
        ..CreateLoginLinkRequest::default()
    };
    let link = logins.create_login_link(request).await.expect("a link").into_inner();
    assert!(link.expires_at.expect("always set").seconds <= end.seconds);
    let profile = user.clients.accounts.clone().get_profile(parley_proto::GetProfileRequest {}).await;
    let email = profile.expect("a profile").into_inner().user.expect("always set").email;
    let request = RedeemLoginRequest {
        email,
        secret: link.secret,
        ..RedeemLoginRequest::default()
    };
    let token = logins
        .redeem_login(request)
        .await
        .expect("logged in")
        .into_inner()
        .token
        .expect("always set");
    assert_eq!(token.expires_at.expect("a login ends").seconds, end.seconds);
}

async fn administrator_creates_tokens_limited_to_the_account(backend: Backend) {
    let app = TestApp::builder(backend).platform().start().await;
    let other = other_account(&app, "Other").await;
    let member = CreateAgentRequest {
        account_id: 1,
        email: "new@example.org".to_owned(),
        name: "New".to_owned(),
        ..CreateAgentRequest::default()
    };
    let added = app.clients().accounts.create_agent(member).await.expect("a member");
    let added = added.into_inner().agent.expect("always set").id;
    // A member's token is limited to the account, whether or not the request says so.
    for request in [
        of_user(added),
        CreateTokenRequest {
            account_id: Some(1),
            ..of_user(added)
        },
    ] {
        let made = create(&app.clients(), request)
            .await
            .expect("a token of a member")
            .token
            .expect("always set");
        assert_eq!((made.user_id, made.account_id), (Some(added), Some(1)));
        revoke(&app.clients(), made.id).await.expect("and revokes it");
    }
    let stranger = worker(&app, other.account, Role::Agent, "Theirs").await.user;
    for (request, code) in [
        (of_user(stranger), Code::InvalidArgument),
        (
            CreateTokenRequest {
                account_id: Some(other.account),
                ..of_user(stranger)
            },
            Code::PermissionDenied,
        ),
        (
            CreateTokenRequest {
                account_id: Some(other.account),
                ..service(false, vec![])
            },
            Code::PermissionDenied,
        ),
        (
            CreateTokenRequest {
                kind: TokenKind::Platform.into(),
                ..CreateTokenRequest::default()
            },
            Code::PermissionDenied,
        ),
    ] {
        let refused = create(&app.clients(), request).await.expect_err("it is refused");
        assert_eq!(refused.code(), code, "{refused:?}");
    }
    let agent = worker(&app, 1, Role::Agent, "Agent").await.clients;
    assert_refused(create(&agent, of_user(added)).await, Code::PermissionDenied, "NOT_ALLOWED");
    let bot = CreateAgentBotRequest {
        account_id: Some(1),
        name: "Helper".to_owned(),
        ..CreateAgentBotRequest::default()
    };
    let bot: AgentBot = app
        .clients()
        .agent_bots
        .create_agent_bot(bot)
        .await
        .expect("a bot")
        .into_inner()
        .agent_bot
        .expect("always set");
    let request = CreateTokenRequest {
        kind: TokenKind::AgentBot.into(),
        agent_bot_id: Some(bot.id),
        ..CreateTokenRequest::default()
    };
    let made = create(&app.clients(), request).await.expect("a token of its own bot");
    assert_eq!(made.token.expect("always set").account_id, Some(1));
}

/// Whether a method changes something and needs a token.
fn changes(call: &str) -> bool {
    let (service, name) = call.split_once('.').expect("a service and a call");
    let reads = ["Get", "List", "Search", "Filter", "Subscribe", "Download"];
    let by_itself = ["ClientService", "PubsubService"].contains(&service) || name == "RedeemLogin";
    !by_itself && !reads.iter().any(|read| name.starts_with(read))
}

/// The changing calls that a read-only token of any kind may make.
async fn accepted(app: &TestApp) -> Vec<String> {
    let talk = app.fixture().talk().await;
    app.fixture().say(talk, "hello").await;
    let platform = CreateTokenRequest {
        kind: TokenKind::Platform.into(),
        ..CreateTokenRequest::default()
    };
    let bot = CreateAgentBotRequest {
        account_id: Some(1),
        name: "Helper".to_owned(),
        ..CreateAgentBotRequest::default()
    };
    let bot = app
        .clients()
        .agent_bots
        .create_agent_bot(bot)
        .await
        .expect("a bot")
        .into_inner()
        .agent_bot;
    let of_bot = CreateTokenRequest {
        kind: TokenKind::AgentBot.into(),
        agent_bot_id: bot.map(|bot| bot.id),
        ..CreateTokenRequest::default()
    };
    let kinds = [
        ("user", of_user(1)),
        ("service", service(true, vec![])),
        ("service of an inbox", service(true, vec![1])),
        ("operator", platform),
        ("bot", of_bot),
    ];
    let head = log_info(&app.clients(), 1).await.head_seq;
    let mut accepted = Vec::new();
    let mut callers = Vec::new();
    for (kind, request) in kinds {
        let request = CreateTokenRequest {
            read_only: true,
            ..request
        };
        callers.push((kind, app.clients_with(&secret(&app.platform(), request).await)));
    }
    for (kind, clients) in callers {
        let calls = ask::calls().into_iter().filter(|call| changes(&ask::name(call)));
        let answers = futures_util::stream::iter(calls).map(|call| {
            let clients = clients.clone();
            async move {
                let code = ask::ask(&clients, &call).await.err().map(|status| status.code());
                let refused = matches!(code, Some(Code::PermissionDenied | Code::NotFound));
                (!refused).then(|| format!("{kind}: {} {code:?}", ask::name(&call)))
            }
        });
        accepted.extend(answers.buffer_unordered(8).filter_map(std::future::ready).collect::<Vec<_>>().await);
    }
    if accepted.is_empty() {
        // The administrator's token has the id 1, which every call with a token id used.
        assert_eq!(log_info(&app.clients(), 1).await.head_seq, head, "nothing was written");
    }
    accepted
}

async fn read_only_token_changes_nothing(backend: Backend) {
    let app = TestApp::builder(backend).platform().start().await;
    let accepted = accepted(&app).await;
    assert!(accepted.is_empty(), "{accepted:#?}");
    let only_reads = CreateTokenRequest {
        read_only: true,
        ..of_user(1)
    };
    let clients = app.clients_with(&secret(&app.platform(), only_reads).await);
    assert_refused(revoke(&clients, 1).await, Code::PermissionDenied, "NOT_ALLOWED");
}

/// With a protection turned off, a limited token extends its own access, and a read-only token revokes another.
async fn without_the_protection_a_limited_token_gains_access(backend: Backend) {
    for (switch, widens) in [("", false), ("token_limits", true)] {
        let app = TestApp::builder(backend)
            .platform()
            .env("PARLEY_FAULT_SWITCH", switch)
            .start()
            .await;
        let (clients, ..) = limited(&app, 1, 1).await;
        let made = create(&clients, of_user(1)).await.expect("its own").token.expect("always set");
        assert_eq!(made.account_id.is_none() && made.expires_at.is_none(), widens, "{switch}");
    }
    let app = TestApp::builder(backend)
        .platform()
        .env("PARLEY_FAULT_SWITCH", "read_only")
        .start()
        .await;
    assert!(!accepted(&app).await.is_empty());
}
