//! `parley account`, `user`, `agent`, `inbox` and `bot`: who and what tokens are made for, over gRPC.

use clap::{Subcommand, ValueEnum};
use tonic::{Status, transport::Channel};

use super::{Exit, connect::Target, table::Table};
use crate::{
    client::Server,
    pb::{
        self, accounts_service_client::AccountsServiceClient, agent_bots_service_client::AgentBotsServiceClient,
        inboxes_service_client::InboxesServiceClient,
    },
    telemetry::escape::escaped,
};

/// A noun with its verbs.
#[derive(Debug, clap::Args)]
pub(super) struct Args<V: Subcommand> {
    #[command(flatten)]
    target: Target,
    #[command(subcommand)]
    verb: V,
}

#[derive(Debug, Subcommand)]
pub(super) enum AccountVerb {
    /// Make an account; needs a platform token
    Create {
        /// Its name
        #[arg(long)]
        name: String,
        /// Its language, such as pt-BR
        #[arg(long, default_value = "en")]
        locale: String,
    },
    /// List the accounts that the token reaches
    List,
}

#[derive(Debug, Subcommand)]
pub(super) enum UserVerb {
    /// Make a user, who is a member of no account yet; needs a platform token
    Create {
        /// The full name
        #[arg(long)]
        name: String,
        /// The e-mail address
        #[arg(long)]
        email: String,
    },
    /// Make a user a member of an account; needs a platform token
    Join {
        /// The user's id
        id: i64,
        /// The account
        #[arg(long)]
        account: i64,
        /// What the user may do in it
        #[arg(long, value_enum, default_value = "agent")]
        role: RoleName,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum AgentVerb {
    /// Add a member to an account by an e-mail address
    Create {
        /// The account
        #[arg(long, default_value_t = 1)]
        account: i64,
        /// The full name
        #[arg(long)]
        name: String,
        /// The e-mail address
        #[arg(long)]
        email: String,
        /// What the member may do
        #[arg(long, value_enum, default_value = "agent")]
        role: RoleName,
        /// Make it a member of this inbox too; may be repeated
        #[arg(long = "inbox", value_name = "ID")]
        inboxes: Vec<i64>,
    },
    /// List the members of an account
    List {
        /// The account
        #[arg(long, default_value_t = 1)]
        account: i64,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum InboxVerb {
    /// Make an API inbox
    Create {
        /// The account
        #[arg(long, default_value_t = 1)]
        account: i64,
        /// Its name
        #[arg(long)]
        name: String,
    },
    /// List the inboxes of an account that the token reaches
    List {
        /// The account
        #[arg(long, default_value_t = 1)]
        account: i64,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum BotVerb {
    /// Make an agent bot
    Create {
        /// The account that it belongs to
        #[arg(long, default_value_t = 1)]
        account: i64,
        /// Its name
        #[arg(long)]
        name: String,
        /// Connect it to this inbox, so that it answers first there
        #[arg(long)]
        inbox: Option<i64>,
    },
    /// List the bots that an account may use
    List {
        /// The account
        #[arg(long, default_value_t = 1)]
        account: i64,
    },
    /// Connect a bot to an inbox
    Connect {
        /// The bot's id
        id: i64,
        /// The account
        #[arg(long, default_value_t = 1)]
        account: i64,
        /// The inbox
        #[arg(long)]
        inbox: i64,
    },
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum RoleName {
    Agent,
    Administrator,
}

impl From<RoleName> for i32 {
    fn from(role: RoleName) -> Self {
        match role {
            RoleName::Agent => pb::Role::Agent,
            RoleName::Administrator => pb::Role::Administrator,
        }
        .into()
    }
}

pub(super) async fn account(args: Args<AccountVerb>) -> Exit {
    let server = match args.target.open() {
        Ok(server) => server,
        Err(exit) => return exit,
    };
    let client = AccountsServiceClient::new(server.channel());
    let done = match args.verb {
        AccountVerb::Create { name, locale } => create_account(client, &server, name, locale).await,
        AccountVerb::List => list_accounts(client, &server).await,
    };
    args.target.done(done).await
}

async fn create_account(mut client: AccountsServiceClient<Channel>, server: &Server, name: String, locale: String) -> Result<(), Status> {
    let request = pb::CreateAccountRequest {
        name,
        locale,
        ..Default::default()
    };
    let made = client
        .create_account(server.request(request))
        .await?
        .into_inner()
        .account
        .unwrap_or_default();
    created("account", made.id, &made.name);
    Ok(())
}

async fn list_accounts(mut client: AccountsServiceClient<Channel>, server: &Server) -> Result<(), Status> {
    let mut table = Table::new("accounts", &["ID", "STATUS", "LOCALE", "NAME"]);
    let mut page_token = String::new();
    loop {
        let request = pb::ListAccountsRequest { page_size: 0, page_token };
        let answer = client.list_accounts(server.request(request)).await?.into_inner();
        let row = |account: &pb::Account| {
            let status = short(account.status().as_str_name(), "ACCOUNT_STATUS_");
            vec![account.id.to_string(), status, account.locale.clone(), account.name.clone()]
        };
        table.rows(answer.accounts.iter().map(row).collect());
        page_token = answer.next_page_token;
        if page_token.is_empty() {
            table.finish();
            return Ok(());
        }
    }
}

pub(super) async fn user(args: Args<UserVerb>) -> Exit {
    let server = match args.target.open() {
        Ok(server) => server,
        Err(exit) => return exit,
    };
    let mut client = AccountsServiceClient::new(server.channel());
    let done = async {
        match args.verb {
            UserVerb::Create { name, email } => {
                let request = pb::CreateUserRequest {
                    name,
                    email,
                    ..Default::default()
                };
                let made = client
                    .create_user(server.request(request))
                    .await?
                    .into_inner()
                    .user
                    .unwrap_or_default();
                created("user", made.id, &made.name);
            }
            UserVerb::Join { id, account, role } => {
                let request = pb::CreateMembershipRequest {
                    account_id: account,
                    user_id: id,
                    role: role.into(),
                    ..Default::default()
                };
                client.create_membership(server.request(request)).await?;
                println!("user {id} is a member of account {account}");
            }
        }
        Ok(())
    };
    args.target.done(done.await).await
}

pub(super) async fn agent(args: Args<AgentVerb>) -> Exit {
    let server = match args.target.open() {
        Ok(server) => server,
        Err(exit) => return exit,
    };
    let done = match args.verb {
        AgentVerb::Create {
            account,
            name,
            email,
            role,
            inboxes,
        } => {
            let request = pb::CreateAgentRequest {
                account_id: account,
                name,
                email,
                role: role.into(),
                ..Default::default()
            };
            create_agent(&server, request, &inboxes).await
        }
        AgentVerb::List { account } => list_agents(&server, account).await,
    };
    args.target.done(done).await
}

async fn create_agent(server: &Server, request: pb::CreateAgentRequest, inboxes: &[i64]) -> Result<(), Status> {
    let account_id = request.account_id;
    let mut accounts = AccountsServiceClient::new(server.channel());
    let made = accounts
        .create_agent(server.request(request))
        .await?
        .into_inner()
        .agent
        .unwrap_or_default();
    created("agent", made.id, &made.name);
    let mut client = InboxesServiceClient::new(server.channel());
    for inbox in inboxes {
        let request = pb::AddInboxMembersRequest {
            account_id,
            inbox_id: *inbox,
            user_ids: vec![made.id],
            ..Default::default()
        };
        client.add_inbox_members(server.request(request)).await?;
    }
    Ok(())
}

async fn list_agents(server: &Server, account_id: i64) -> Result<(), Status> {
    let mut client = AccountsServiceClient::new(server.channel());
    let mut table = Table::new("agents", &["ID", "ROLE", "E-MAIL", "NAME"]);
    let mut page_token = String::new();
    loop {
        let request = pb::ListMembersRequest {
            account_id,
            page_size: 0,
            page_token,
        };
        let answer = client.list_members(server.request(request)).await?.into_inner();
        let row = |agent: &pb::Agent| {
            let role = short(agent.role().as_str_name(), "ROLE_");
            vec![agent.id.to_string(), role, agent.email.clone(), agent.name.clone()]
        };
        table.rows(answer.agents.iter().map(row).collect());
        page_token = answer.next_page_token;
        if page_token.is_empty() {
            table.finish();
            return Ok(());
        }
    }
}

pub(super) async fn inbox(args: Args<InboxVerb>) -> Exit {
    let server = match args.target.open() {
        Ok(server) => server,
        Err(exit) => return exit,
    };
    let client = InboxesServiceClient::new(server.channel());
    let done = match args.verb {
        InboxVerb::Create { account, name } => create_inbox(client, &server, account, name).await,
        InboxVerb::List { account } => list_inboxes(client, &server, account).await,
    };
    args.target.done(done).await
}

async fn create_inbox(mut client: InboxesServiceClient<Channel>, server: &Server, account_id: i64, name: String) -> Result<(), Status> {
    let request = pb::CreateInboxRequest {
        account_id,
        inbox: Some(pb::Inbox {
            name,
            channel: Some(pb::inbox::Channel::ApiChannel(pb::ApiChannel::default())),
            ..Default::default()
        }),
        ..Default::default()
    };
    let made = client
        .create_inbox(server.request(request))
        .await?
        .into_inner()
        .inbox
        .unwrap_or_default();
    created("inbox", made.id, &made.name);
    Ok(())
}

async fn list_inboxes(mut client: InboxesServiceClient<Channel>, server: &Server, account_id: i64) -> Result<(), Status> {
    let mut table = Table::new("inboxes", &["ID", "IDENTIFIER", "NAME"]);
    let mut page_token = String::new();
    loop {
        let request = pb::ListInboxesRequest {
            account_id,
            page_size: 0,
            page_token,
        };
        let answer = client.list_inboxes(server.request(request)).await?.into_inner();
        let row = |inbox: &pb::Inbox| {
            let identifier = match &inbox.channel {
                Some(pb::inbox::Channel::ApiChannel(channel)) => channel.identifier.clone(),
                None => None,
            };
            vec![inbox.id.to_string(), identifier.unwrap_or_default(), inbox.name.clone()]
        };
        table.rows(answer.inboxes.iter().map(row).collect());
        page_token = answer.next_page_token;
        if page_token.is_empty() {
            table.finish();
            return Ok(());
        }
    }
}

pub(super) async fn bot(args: Args<BotVerb>) -> Exit {
    let server = match args.target.open() {
        Ok(server) => server,
        Err(exit) => return exit,
    };
    let client = AgentBotsServiceClient::new(server.channel());
    let done = match args.verb {
        BotVerb::Create { account, name, inbox } => create_bot(client, &server, account, name, inbox).await,
        BotVerb::List { account } => list_bots(client, &server, account).await,
        BotVerb::Connect { id, account, inbox } => connect_bot(client, &server, (account, inbox, id)).await,
    };
    args.target.done(done).await
}

async fn create_bot(
    mut client: AgentBotsServiceClient<Channel>,
    server: &Server,
    account_id: i64,
    name: String,
    inbox: Option<i64>,
) -> Result<(), Status> {
    let request = pb::CreateAgentBotRequest {
        account_id: Some(account_id),
        name,
        ..Default::default()
    };
    let made = client
        .create_agent_bot(server.request(request))
        .await?
        .into_inner()
        .agent_bot
        .unwrap_or_default();
    created("agent bot", made.id, &made.name);
    match inbox {
        Some(inbox) => connect_bot(client, server, (account_id, inbox, made.id)).await,
        None => Ok(()),
    }
}

async fn list_bots(mut client: AgentBotsServiceClient<Channel>, server: &Server, account_id: i64) -> Result<(), Status> {
    let mut table = Table::new("agent bots", &["ID", "BELONGS TO", "NAME"]);
    let mut page_token = String::new();
    loop {
        let request = pb::ListAgentBotsRequest {
            account_id: Some(account_id),
            page_size: 0,
            page_token,
        };
        let answer = client.list_agent_bots(server.request(request)).await?.into_inner();
        let row = |bot: &pb::AgentBot| {
            let owner = bot
                .account_id
                .map_or_else(|| "installation".to_owned(), |id| format!("account {id}"));
            vec![bot.id.to_string(), owner, bot.name.clone()]
        };
        table.rows(answer.agent_bots.iter().map(row).collect());
        page_token = answer.next_page_token;
        if page_token.is_empty() {
            table.finish();
            return Ok(());
        }
    }
}

async fn connect_bot(
    mut client: AgentBotsServiceClient<Channel>,
    server: &Server,
    (account_id, inbox_id, bot): (i64, i64, i64),
) -> Result<(), Status> {
    let request = pb::SetInboxAgentBotRequest {
        account_id,
        inbox_id,
        agent_bot_id: Some(bot),
        ..Default::default()
    };
    client.set_inbox_agent_bot(server.request(request)).await?;
    eprintln!("agent bot {bot} is connected to inbox {inbox_id}");
    Ok(())
}

/// The id on standard output, so that a script can take it; what it is of, beside it, for people.
fn created(noun: &str, id: i64, name: &str) {
    eprintln!("{noun} {id}, \"{}\", is created:", escaped(name));
    println!("{id}");
}

/// `ROLE_AGENT` as `agent`.
fn short(name: &str, prefix: &str) -> String {
    name.strip_prefix(prefix).unwrap_or(name).to_lowercase()
}
