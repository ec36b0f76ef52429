//! Every method that takes the id of a user, a bot or a token, called by one tenant with another tenant's id.

use futures_util::StreamExt as _;
use parley_proto::{
    CreateAgentBotRequest, CreateTokenRequest, GetAgentBotRequest, GetProfileRequest, ListMembersRequest, ListTokensRequest, Role,
    TokenKind, UpdateUserRequest, User,
};
use prost_reflect::{Kind, MessageDescriptor};
use prost_types::FieldMask;

use super::{create, of_user, secret, service_clients, stranger};
use crate::{
    roles::ask,
    support::{app::TestApp, clients::Clients, database::Backend, office::other_account, on_both, reader::log_info},
};

on_both!(ids_of_another_tenant_give_no_access);

/// Ids that belong to another tenant.
#[derive(Clone, Copy)]
struct Foreign {
    user: i64,
    bot: i64,
    token: i64,
}

impl Foreign {
    /// The id for a field that names a user, a bot or a token; `None` for other fields.
    fn number(self, message: &MessageDescriptor, field: &str) -> Option<i64> {
        match (message.full_name(), field) {
            (_, "user_id" | "user_ids" | "assignee_id" | "inviter_id") | ("parley.v1.User" | "parley.v1.Agent", "id") => Some(self.user),
            (_, "agent_bot_id") | ("parley.v1.AgentBot", "id") => Some(self.bot),
            (_, "token_id") | ("parley.v1.Token", "id") => Some(self.token),
            _ => None,
        }
    }

    /// Whether a request contains such a field.
    fn is_named_in(self, message: &MessageDescriptor, depth: usize) -> bool {
        message.fields().any(|field| match field.kind() {
            Kind::Message(nested) => depth < 3 && nested.package_name() == "parley.v1" && self.is_named_in(&nested, depth + 1),
            _ => self.number(message, field.name()).is_some(),
        })
    }
}

/// Everything that the other tenant sees of its own data.
async fn state(clients: &Clients, account: i64, user: &Clients, bot: i64) -> String {
    let members = ListMembersRequest {
        account_id: account,
        ..ListMembersRequest::default()
    };
    let tokens = ListTokensRequest {
        account_id: Some(account),
        ..ListTokensRequest::default()
    };
    let bot = GetAgentBotRequest {
        account_id: Some(account),
        agent_bot_id: bot,
    };
    let (mut accounts, mut bots) = (clients.accounts.clone(), clients.agent_bots.clone());
    format!(
        "{:?} {:?} {:?} {:?} {}",
        accounts.list_members(members).await.expect("members").into_inner(),
        accounts.list_tokens(tokens).await.expect("tokens").into_inner(),
        bots.get_agent_bot(bot).await.expect("a bot").into_inner(),
        user.accounts
            .clone()
            .get_profile(GetProfileRequest {})
            .await
            .expect("its token is good")
            .into_inner(),
        log_info(clients, account).await.head_seq,
    )
}

async fn ids_of_another_tenant_give_no_access(backend: Backend) {
    let app = TestApp::builder(backend).platform().start().await;
    let talk = app.fixture().talk().await;
    app.fixture().say(talk, "hello").await;
    let other = other_account(&app, "Other").await;
    let user = stranger(&app, "planted@example.org").await;
    let picture = UpdateUserRequest {
        user: Some(User {
            avatar_url: "https://planted.example.org/a.png".to_owned(),
            ..user.clone()
        }),
        update_mask: Some(FieldMask {
            paths: vec!["avatar_url".to_owned()],
        }),
        ..UpdateUserRequest::default()
    };
    app.platform().accounts.update_user(picture).await.expect("a picture");
    super::members::join(&app, other.account, user.id, Role::Administrator).await;
    let theirs = app.clients_with(&secret(&app.platform(), of_user(user.id)).await);
    let bot = CreateAgentBotRequest {
        account_id: Some(other.account),
        name: "Planted Bot".to_owned(),
        ..CreateAgentBotRequest::default()
    };
    let bot = theirs
        .agent_bots
        .clone()
        .create_agent_bot(bot)
        .await
        .expect("a bot")
        .into_inner()
        .agent_bot
        .expect("always set");
    let token = CreateTokenRequest {
        kind: TokenKind::Service.into(),
        account_id: Some(other.account),
        name: "Planted Token".to_owned(),
        ..CreateTokenRequest::default()
    };
    let token = create(&theirs, token).await.expect("a token").token.expect("always set");
    let foreign = Foreign {
        user: user.id,
        bot: bot.id,
        token: token.id,
    };
    let before = state(&theirs, other.account, &theirs, bot.id).await;
    let calls: Vec<_> = ask::calls()
        .into_iter()
        .filter(|call| foreign.is_named_in(&call.input(), 0))
        .collect();
    assert!(calls.len() > 20, "only {} calls name a user, a bot or a token", calls.len());
    let callers = [
        ("the administrator", app.clients()),
        ("a service", service_clients(&app, false, vec![]).await),
        ("a service of an inbox", service_clients(&app, false, vec![1]).await),
    ];
    let mut leaks = Vec::new();
    for (who, clients) in &callers {
        let answers = futures_util::stream::iter(calls.clone()).map(|call| async move {
            let number = |message: &MessageDescriptor, field: &str| foreign.number(message, field);
            let text = match ask::ask_about(clients, &call, &number).await {
                Ok(bytes) => String::from_utf8_lossy(&bytes).to_lowercase(),
                Err(status) => format!("{status:?}").to_lowercase(),
            };
            text.contains("planted")
                .then(|| format!("{who}: {} was answered {text}", ask::name(&call)))
        });
        leaks.extend(answers.buffer_unordered(8).filter_map(std::future::ready).collect::<Vec<_>>().await);
    }
    assert!(leaks.is_empty(), "{leaks:#?}");
    assert_eq!(state(&theirs, other.account, &theirs, bot.id).await, before);
}
