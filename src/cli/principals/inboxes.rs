//! `parley inbox` and `parley bot`: manage API inboxes and agent bots.

use clap::Subcommand;
use parley_client::Server;
use parley_proto::{self as pb, agent_bots_service_client::AgentBotsServiceClient, inboxes_service_client::InboxesServiceClient};
use tonic::{Status, transport::Channel};

use super::{Args, print_created};
use crate::cli::{Exit, table::Table};

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum InboxCommand {
    /// Create an API inbox
    Create {
        /// ID of the account
        #[arg(long, default_value_t = 1)]
        account: i64,
        /// Name of the inbox
        #[arg(long)]
        name: String,
    },
    /// List the inboxes of an account that are visible to the token
    List {
        /// ID of the account
        #[arg(long, default_value_t = 1)]
        account: i64,
    },
}

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum BotCommand {
    /// Create an agent bot
    Create {
        /// ID of the account that owns the bot
        #[arg(long, default_value_t = 1)]
        account: i64,
        /// Name of the bot
        #[arg(long)]
        name: String,
        /// Connect the bot to this inbox, so that it answers new conversations first
        #[arg(long)]
        inbox: Option<i64>,
    },
    /// List the bots that an account may use
    List {
        /// ID of the account
        #[arg(long, default_value_t = 1)]
        account: i64,
    },
    /// Connect a bot to an inbox
    Connect {
        /// ID of the bot
        id: i64,
        /// ID of the account
        #[arg(long, default_value_t = 1)]
        account: i64,
        /// ID of the inbox
        #[arg(long)]
        inbox: i64,
    },
}

pub(in crate::cli) async fn inbox(args: Args<InboxCommand>) -> Exit {
    let server = match args.target.open() {
        Ok(server) => server,
        Err(exit) => return exit,
    };
    let client = InboxesServiceClient::new(server.channel());
    let done = match args.command {
        InboxCommand::Create { account, name } => create_inbox(client, &server, account, name).await,
        InboxCommand::List { account } => list_inboxes(client, &server, account).await,
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
    let created = client
        .create_inbox(server.request(request))
        .await?
        .into_inner()
        .inbox
        .unwrap_or_default();
    print_created("inbox", created.id, &created.name);
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
        let response = client.list_inboxes(server.request(request)).await?.into_inner();
        let row = |inbox: &pb::Inbox| {
            let identifier = match &inbox.channel {
                Some(pb::inbox::Channel::ApiChannel(channel)) => channel.identifier.clone(),
                None => None,
            };
            vec![inbox.id.to_string(), identifier.unwrap_or_default(), inbox.name.clone()]
        };
        table.rows(response.inboxes.iter().map(row).collect());
        page_token = response.next_page_token;
        if page_token.is_empty() {
            table.finish();
            return Ok(());
        }
    }
}

pub(in crate::cli) async fn bot(args: Args<BotCommand>) -> Exit {
    let server = match args.target.open() {
        Ok(server) => server,
        Err(exit) => return exit,
    };
    let client = AgentBotsServiceClient::new(server.channel());
    let done = match args.command {
        BotCommand::Create { account, name, inbox } => create_bot(client, &server, account, name, inbox).await,
        BotCommand::List { account } => list_bots(client, &server, account).await,
        BotCommand::Connect { id, account, inbox } => connect_bot(client, &server, (account, inbox, id)).await,
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
    let created = client
        .create_agent_bot(server.request(request))
        .await?
        .into_inner()
        .agent_bot
        .unwrap_or_default();
    print_created("agent bot", created.id, &created.name);
    match inbox {
        Some(inbox) => connect_bot(client, server, (account_id, inbox, created.id)).await,
        None => Ok(()),
    }
}

async fn list_bots(mut client: AgentBotsServiceClient<Channel>, server: &Server, account_id: i64) -> Result<(), Status> {
    let mut table = Table::new("agent bots", &["ID", "OWNER", "NAME"]);
    let mut page_token = String::new();
    loop {
        let request = pb::ListAgentBotsRequest {
            account_id: Some(account_id),
            page_size: 0,
            page_token,
        };
        let response = client.list_agent_bots(server.request(request)).await?.into_inner();
        let row = |bot: &pb::AgentBot| {
            let owner = bot
                .account_id
                .map_or_else(|| "installation".to_owned(), |id| format!("account {id}"));
            vec![bot.id.to_string(), owner, bot.name.clone()]
        };
        table.rows(response.agent_bots.iter().map(row).collect());
        page_token = response.next_page_token;
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
