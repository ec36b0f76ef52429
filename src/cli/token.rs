//! `parley token`: manages tokens of a running service over gRPC, or creates one directly in the database.

use chrono::{DateTime, Utc};
use clap::{Subcommand, ValueEnum};
use parley_client::Server;
use parley_domain::{auth::tokens::NewToken, kind::TokenKind};
use parley_proto::{self as pb, accounts_service_client::AccountsServiceClient};
use parley_types::{
    error::Error,
    id::{AccountId, AgentBotId, InboxId, UserId},
    time::Micros,
};
use tonic::transport::Channel;

use super::{Exit, Settings, call_error, connect::Target, exit, print_error, table::Table};
use crate::server;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    target: Target,
    #[command(subcommand)]
    command: TokenCommand,
}

#[derive(Debug, Subcommand)]
enum TokenCommand {
    /// Create a token; its secret is printed only once
    Create(Box<CreateArgs>),
    /// List tokens, newest first, without their secrets
    List {
        /// List only tokens of this account
        #[arg(long)]
        account: Option<i64>,
    },
    /// Revoke a token; its open streams end within seconds
    Revoke {
        /// ID of the token
        id: i64,
    },
}

#[derive(Debug, clap::Args)]
struct CreateArgs {
    /// Kind of token
    #[arg(long, value_enum, default_value = "service")]
    kind: Kind,
    /// ID of the account; required for a service token. A user token that an administrator creates is limited to this account
    #[arg(long)]
    account: Option<i64>,
    /// Description of what the token is for
    #[arg(long, default_value = "")]
    name: String,
    /// ID of the user; required for a user token, except with --offline, where it defaults to the first administrator
    #[arg(long)]
    user: Option<i64>,
    /// ID of the bot; required for a bot token
    #[arg(long)]
    agent_bot: Option<i64>,
    /// Permit only calls that read
    #[arg(long)]
    read_only: bool,
    /// Limit the token to this inbox; can be repeated
    #[arg(long = "inbox", value_name = "ID")]
    inboxes: Vec<i64>,
    /// When the token expires, such as 2030-01-31T00:00:00Z
    #[arg(long, value_name = "TIME")]
    expires: Option<DateTime<Utc>>,
    /// Create the token directly in the database, for example after every token was lost. A server on SQLite must be stopped first
    #[arg(long)]
    offline: bool,
    /// With --offline: settings of the server whose database receives the token
    #[command(flatten)]
    settings: Settings,
}

impl CreateArgs {
    /// Returns a message about a missing option that this kind of token requires, or `None` if no option is missing.
    fn missing_option(&self) -> Option<&'static str> {
        match self.kind {
            Kind::Service if self.account.is_none() => Some("--account is required for a service token"),
            Kind::User if self.user.is_none() && !self.offline => Some("--user is required for a user token"),
            Kind::AgentBot if self.agent_bot.is_none() => Some("--agent-bot is required for a bot token"),
            Kind::Service | Kind::User | Kind::AgentBot | Kind::Platform => None,
        }
    }
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Kind {
    User,
    Service,
    Platform,
    AgentBot,
}

pub(super) async fn run(args: Args) -> Exit {
    if let TokenCommand::Create(options) = &args.command
        && let Some(message) = options.missing_option()
    {
        print_error(message);
        return Exit::Usage;
    }
    let command = match args.command {
        TokenCommand::Create(options) if options.offline => return create_offline(*options).await,
        command => command,
    };
    let server = match args.target.open() {
        Ok(server) => server,
        Err(exit) => return exit,
    };
    let client = AccountsServiceClient::new(server.channel());
    let done = match command {
        TokenCommand::Create(options) => create(client, &server, *options).await,
        TokenCommand::List { account } => list(client, &server, account).await,
        TokenCommand::Revoke { id } => revoke(client, &server, id).await,
    };
    args.target.done(done).await
}

/// Creates a token directly in the database that the settings name.
async fn create_offline(options: CreateArgs) -> Exit {
    let config = match options.settings.load() {
        Ok(config) => config,
        Err(error) => {
            print_error(&error.to_string());
            return Exit::Config;
        }
    };
    let new = NewToken {
        kind: match options.kind {
            Kind::User => TokenKind::User,
            Kind::Service => TokenKind::Service,
            Kind::Platform => TokenKind::Platform,
            Kind::AgentBot => TokenKind::AgentBot,
        },
        name: options.name,
        account: options.account.map(AccountId),
        user: options.user.map(UserId),
        agent_bot: options.agent_bot.map(AgentBotId),
        read_only: options.read_only,
        inboxes: options.inboxes.into_iter().map(InboxId).collect(),
        expires_at: options.expires.map(|time| Micros(time.timestamp_micros())),
    };
    match server::create_token(&config, new).await {
        Ok(created) => {
            let of = created.user.map_or_else(String::new, |user| format!(" of user {user}"));
            let running = if created.is_shared {
                ", accepted by running servers immediately"
            } else {
                ""
            };
            eprintln!("created token {}{of}{running}; its secret is shown only once:", created.id);
            println!("{}", created.secret);
            Exit::Ok
        }
        Err(error) => {
            if let Some(Error::Invalid(violations)) = error.downcast_ref::<Error>() {
                call_error::print_violations(violations);
                return Exit::Usage;
            }
            let (exit, message) = exit::explain(&error);
            print_error(&message);
            if exit == Exit::DatabaseLocked {
                print_error("a running server can create tokens, too: omit --offline if you have a token, or stop it first");
            }
            exit
        }
    }
}

async fn create(mut client: AccountsServiceClient<Channel>, server: &Server, options: CreateArgs) -> Result<(), tonic::Status> {
    let kind = match options.kind {
        Kind::User => pb::TokenKind::User,
        Kind::Service => pb::TokenKind::Service,
        Kind::Platform => pb::TokenKind::Platform,
        Kind::AgentBot => pb::TokenKind::AgentBot,
    };
    let request = pb::CreateTokenRequest {
        account_id: options.account,
        request_id: String::new(),
        kind: kind.into(),
        name: options.name,
        user_id: options.user,
        agent_bot_id: options.agent_bot,
        read_only: options.read_only,
        inbox_ids: options.inboxes,
        expires_at: options.expires.map(|time| prost_types::Timestamp {
            seconds: time.timestamp(),
            nanos: 0,
        }),
    };
    let response = client.create_token(server.request(request)).await?.into_inner();
    let id = response.token.map_or(0, |token| token.id);
    // Print only the secret to standard output, for scripts.
    eprintln!("created token {id}; its secret is shown only once:");
    println!("{}", response.secret);
    Ok(())
}

async fn list(mut client: AccountsServiceClient<Channel>, server: &Server, account: Option<i64>) -> Result<(), tonic::Status> {
    let mut table = Table::new("tokens", &["ID", "KIND", "USER OR BOT", "LIMITS", "STATE", "NAME"]);
    let mut page_token = String::new();
    loop {
        let request = pb::ListTokensRequest {
            account_id: account,
            page_size: 0,
            page_token,
        };
        let response = client.list_tokens(server.request(request)).await?.into_inner();
        table.rows(response.tokens.iter().map(row).collect());
        page_token = response.next_page_token;
        if page_token.is_empty() {
            table.finish();
            return Ok(());
        }
    }
}

async fn revoke(mut client: AccountsServiceClient<Channel>, server: &Server, id: i64) -> Result<(), tonic::Status> {
    let request = pb::RevokeTokenRequest {
        request_id: String::new(),
        token_id: id,
    };
    client.revoke_token(server.request(request)).await?;
    println!("token {id} is revoked");
    Ok(())
}

fn row(token: &pb::Token) -> Vec<String> {
    let (kind, speaks_for) = match token.kind() {
        pb::TokenKind::User => ("user", token.user_id.map(|id| format!("user {id}"))),
        pb::TokenKind::Service => ("service", None),
        pb::TokenKind::Platform => ("platform", None),
        pb::TokenKind::AgentBot => ("agent-bot", token.agent_bot_id.map(|id| format!("agent bot {id}"))),
        pb::TokenKind::Unspecified => ("unknown", None),
    };
    let mut limits: Vec<String> = token.account_id.map(|id| format!("account {id}")).into_iter().collect();
    if !token.inbox_ids.is_empty() {
        let ids: Vec<String> = token.inbox_ids.iter().map(i64::to_string).collect();
        limits.push(format!("inboxes {}", ids.join(",")));
    }
    limits.extend(token.read_only.then(|| "read-only".to_owned()));
    let state = match (&token.revoked_at, &token.expires_at) {
        (Some(time), _) => format!("revoked {time}"),
        (None, Some(time)) => format!("expires {time}"),
        (None, None) => "valid".to_owned(),
    };
    let or_dash = |text: String| if text.is_empty() { "-".to_owned() } else { text };
    vec![
        token.id.to_string(),
        kind.to_owned(),
        or_dash(speaks_for.unwrap_or_default()),
        or_dash(limits.join(", ")),
        state,
        token.name.clone(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn token_row_lists_its_limits() {
        let token = pb::Token {
            id: 3,
            kind: pb::TokenKind::Service.into(),
            name: "importer".to_owned(),
            account_id: Some(1),
            read_only: true,
            inbox_ids: vec![4, 5],
            revoked_at: Some(prost_types::Timestamp { seconds: 0, nanos: 0 }),
            ..pb::Token::default()
        };
        assert_eq!(
            row(&token),
            [
                "3",
                "service",
                "-",
                "account 1, inboxes 4,5, read-only",
                "revoked 1970-01-01T00:00:00Z",
                "importer"
            ]
        );
    }
}
