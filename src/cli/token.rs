//! `parley token`: tokens of a running service, over gRPC.

use chrono::{DateTime, Utc};
use clap::{Subcommand, ValueEnum};
use tonic::transport::Channel;

use super::{Exit, complain, connect::Target};
use crate::client::Server;
use crate::pb::{self, accounts_service_client::AccountsServiceClient};
use crate::telemetry::escape::escaped;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    target: Target,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Make a token; its secret is printed this once
    Create(Create),
    /// List tokens, newest first, without their secrets
    List {
        /// Only tokens of this account
        #[arg(long)]
        account: Option<i64>,
    },
    /// Revoke a token; its open streams end within seconds
    Revoke {
        /// The token's id
        id: i64,
    },
}

#[derive(Debug, clap::Args)]
struct Create {
    /// Whom the token speaks for
    #[arg(long, value_enum, default_value = "service")]
    kind: Kind,
    /// The account; required for a service token
    #[arg(long, required_if_eq("kind", "service"))]
    account: Option<i64>,
    /// What it is for
    #[arg(long, default_value = "")]
    name: String,
    /// The user it speaks for; required for a user token
    #[arg(long, required_if_eq("kind", "user"))]
    user: Option<i64>,
    /// The bot it speaks for; required for an agent bot's token
    #[arg(long, required_if_eq("kind", "agent-bot"))]
    agent_bot: Option<i64>,
    /// It may only read
    #[arg(long)]
    read_only: bool,
    /// Limit it to this inbox; may be repeated
    #[arg(long = "inbox", value_name = "ID")]
    inboxes: Vec<i64>,
    /// When it stops being good, such as 2030-01-31T00:00:00Z
    #[arg(long, value_name = "TIME")]
    expires: Option<DateTime<Utc>>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Kind {
    User,
    Service,
    Platform,
    AgentBot,
}

pub(super) async fn run(args: Args) -> Exit {
    let server = match args.target.open() {
        Ok(opened) => opened,
        Err(sentence) => {
            complain(&sentence);
            return Exit::Usage;
        }
    };
    let client = AccountsServiceClient::new(server.channel());
    let done = match args.verb {
        Verb::Create(options) => create(client, &server, options).await,
        Verb::List { account } => list(client, &server, account).await,
        Verb::Revoke { id } => revoke(client, &server, id).await,
    };
    match done {
        Ok(()) => Exit::Ok,
        Err(status) => {
            complain(status.message());
            Exit::Failure
        }
    }
}

async fn create(mut client: AccountsServiceClient<Channel>, server: &Server, options: Create) -> Result<(), tonic::Status> {
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
    let answer = client.create_token(server.request(request)).await?.into_inner();
    let id = answer.token.map_or(0, |token| token.id);
    // Only the secret on standard output, so that a script can take it.
    eprintln!("token {id}; its secret is shown this once:");
    println!("{}", answer.secret);
    Ok(())
}

async fn list(mut client: AccountsServiceClient<Channel>, server: &Server, account: Option<i64>) -> Result<(), tonic::Status> {
    let mut page_token = String::new();
    loop {
        let request = pb::ListTokensRequest {
            account_id: account,
            page_size: 0,
            page_token,
        };
        let answer = client.list_tokens(server.request(request)).await?.into_inner();
        for token in &answer.tokens {
            println!("{}", line(token));
        }
        page_token = answer.next_page_token;
        if page_token.is_empty() {
            return Ok(());
        }
    }
}

async fn revoke(mut client: AccountsServiceClient<Channel>, server: &Server, id: i64) -> Result<(), tonic::Status> {
    let request = pb::RevokeTokenRequest {
        request_id: String::new(),
        token_id: id,
    };
    let answer = client.revoke_token(server.request(request)).await?.into_inner();
    if let Some(token) = &answer.token {
        println!("{}", line(token));
    }
    Ok(())
}

/// `  3  service   account 1  read-only  "importer"  revoked 2026-…`
fn line(token: &pb::Token) -> String {
    let kind = match token.kind() {
        pb::TokenKind::User => "user",
        pb::TokenKind::Service => "service",
        pb::TokenKind::Platform => "platform",
        pb::TokenKind::AgentBot => "agent bot",
        pb::TokenKind::Unspecified => "unknown",
    };
    let mut parts = vec![format!("{:>6}  {kind:<8}", token.id)];
    parts.extend(token.user_id.map(|id| format!("user {id}")));
    parts.extend(token.account_id.map(|id| format!("account {id}")));
    parts.extend(token.read_only.then(|| "read-only".to_owned()));
    if !token.inbox_ids.is_empty() {
        let ids: Vec<String> = token.inbox_ids.iter().map(i64::to_string).collect();
        parts.push(format!("inboxes {}", ids.join(",")));
    }
    parts.extend(token.expires_at.map(|time| format!("expires {time}")));
    parts.extend(token.revoked_at.map(|time| format!("revoked {time}")));
    if !token.name.is_empty() {
        parts.push(format!("\"{}\"", escaped(&token.name)));
    }
    parts.join("  ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_one_line_with_what_narrows_it() {
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
            line(&token),
            "     3  service   account 1  read-only  inboxes 4,5  revoked 1970-01-01T00:00:00Z  \"importer\""
        );
    }

    #[test]
    fn a_name_cannot_steer_the_terminal() {
        let token = pb::Token {
            name: "a\n\u{1b}[2J\u{202e}b".to_owned(),
            ..pb::Token::default()
        };
        assert!(line(&token).ends_with(r#""a\n\u{1b}[2J\u{202e}b""#), "{}", line(&token));
    }
}
