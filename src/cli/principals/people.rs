//! `parley account`, `parley user` and `parley agent`: manage accounts, users and members of accounts.

use clap::{Subcommand, ValueEnum};
use parley_client::Server;
use parley_proto::{self as pb, accounts_service_client::AccountsServiceClient, inboxes_service_client::InboxesServiceClient};
use tonic::{Status, transport::Channel};

use super::{Args, enum_label, print_created};
use crate::cli::{Exit, table::Table};

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum AccountCommand {
    /// Create an account; requires a platform token
    Create {
        /// Name of the account
        #[arg(long)]
        name: String,
        /// Language of the account, such as pt-BR
        #[arg(long, default_value = "en")]
        locale: String,
    },
    /// List the accounts that are visible to the token
    List,
}

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum UserCommand {
    /// Create a user who is not yet a member of any account; requires a platform token
    Create {
        /// Full name of the user
        #[arg(long)]
        name: String,
        /// Email address of the user
        #[arg(long)]
        email: String,
    },
    /// Make a user a member of an account; requires a platform token
    Join {
        /// ID of the user
        id: i64,
        /// ID of the account
        #[arg(long)]
        account: i64,
        /// Role of the user in the account
        #[arg(long, value_enum, default_value = "agent")]
        role: RoleName,
    },
}

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum AgentCommand {
    /// Add a member to an account by email address
    Create {
        /// ID of the account
        #[arg(long, default_value_t = 1)]
        account: i64,
        /// Full name of the member
        #[arg(long)]
        name: String,
        /// Email address of the member
        #[arg(long)]
        email: String,
        /// Role of the member
        #[arg(long, value_enum, default_value = "agent")]
        role: RoleName,
        /// Also add the member to this inbox; can be repeated
        #[arg(long = "inbox", value_name = "ID")]
        inboxes: Vec<i64>,
    },
    /// List the members of an account
    List {
        /// ID of the account
        #[arg(long, default_value_t = 1)]
        account: i64,
    },
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(in crate::cli) enum RoleName {
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

pub(in crate::cli) async fn account(args: Args<AccountCommand>) -> Exit {
    let server = match args.target.open() {
        Ok(server) => server,
        Err(exit) => return exit,
    };
    let client = AccountsServiceClient::new(server.channel());
    let done = match args.command {
        AccountCommand::Create { name, locale } => create_account(client, &server, name, locale).await,
        AccountCommand::List => list_accounts(client, &server).await,
    };
    args.target.done(done).await
}

async fn create_account(mut client: AccountsServiceClient<Channel>, server: &Server, name: String, locale: String) -> Result<(), Status> {
    let request = pb::CreateAccountRequest {
        name,
        locale,
        ..Default::default()
    };
    let created = client
        .create_account(server.request(request))
        .await?
        .into_inner()
        .account
        .unwrap_or_default();
    print_created("account", created.id, &created.name);
    Ok(())
}

async fn list_accounts(mut client: AccountsServiceClient<Channel>, server: &Server) -> Result<(), Status> {
    let mut table = Table::new("accounts", &["ID", "STATUS", "LOCALE", "NAME"]);
    let mut page_token = String::new();
    loop {
        let request = pb::ListAccountsRequest { page_size: 0, page_token };
        let response = client.list_accounts(server.request(request)).await?.into_inner();
        let row = |account: &pb::Account| {
            let status = enum_label(account.status().as_str_name(), "ACCOUNT_STATUS_");
            vec![account.id.to_string(), status, account.locale.clone(), account.name.clone()]
        };
        table.rows(response.accounts.iter().map(row).collect());
        page_token = response.next_page_token;
        if page_token.is_empty() {
            table.finish();
            return Ok(());
        }
    }
}

pub(in crate::cli) async fn user(args: Args<UserCommand>) -> Exit {
    let server = match args.target.open() {
        Ok(server) => server,
        Err(exit) => return exit,
    };
    let mut client = AccountsServiceClient::new(server.channel());
    let done = async {
        match args.command {
            UserCommand::Create { name, email } => {
                let request = pb::CreateUserRequest {
                    name,
                    email,
                    ..Default::default()
                };
                let created = client
                    .create_user(server.request(request))
                    .await?
                    .into_inner()
                    .user
                    .unwrap_or_default();
                print_created("user", created.id, &created.name);
            }
            UserCommand::Join { id, account, role } => {
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

pub(in crate::cli) async fn agent(args: Args<AgentCommand>) -> Exit {
    let server = match args.target.open() {
        Ok(server) => server,
        Err(exit) => return exit,
    };
    let done = match args.command {
        AgentCommand::Create {
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
        AgentCommand::List { account } => list_agents(&server, account).await,
    };
    args.target.done(done).await
}

async fn create_agent(server: &Server, request: pb::CreateAgentRequest, inboxes: &[i64]) -> Result<(), Status> {
    let account_id = request.account_id;
    let mut accounts = AccountsServiceClient::new(server.channel());
    let created = accounts
        .create_agent(server.request(request))
        .await?
        .into_inner()
        .agent
        .unwrap_or_default();
    print_created("agent", created.id, &created.name);
    let mut client = InboxesServiceClient::new(server.channel());
    for inbox in inboxes {
        let request = pb::AddInboxMembersRequest {
            account_id,
            inbox_id: *inbox,
            user_ids: vec![created.id],
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
        let response = client.list_members(server.request(request)).await?.into_inner();
        let row = |agent: &pb::Agent| {
            let role = enum_label(agent.role().as_str_name(), "ROLE_");
            vec![agent.id.to_string(), role, agent.email.clone(), agent.name.clone()]
        };
        table.rows(response.agents.iter().map(row).collect());
        page_token = response.next_page_token;
        if page_token.is_empty() {
            table.finish();
            return Ok(());
        }
    }
}
