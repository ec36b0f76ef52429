//! `parley consumers`: manages the durable consumers of a running service, over gRPC.

use chrono::{DateTime, Utc};
use clap::Subcommand;
use parley_client::Server;
use parley_proto::{self as pb, consumers_service_client::ConsumersServiceClient, reset_consumer_request::Start};
use parley_telemetry::escape::escaped;
use prost_types::Timestamp;
use tonic::{Status, transport::Channel};

use super::{Exit, connect::Target, table::Table};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    target: Target,
    /// ID of the account
    #[arg(long, default_value_t = 1, global = true)]
    account: i64,
    #[command(subcommand)]
    command: ConsumersCommand,
}

#[derive(Debug, Subcommand)]
enum ConsumersCommand {
    /// List consumers shard by shard, with their lag
    List,
    /// Move a consumer to another position, even if its current position was lost
    Reset {
        /// Name of the consumer
        name: String,
        /// New position: earliest, latest, or a time such as 2026-01-31T00:00:00Z
        #[arg(long, value_parser = start)]
        to: Start,
    },
    /// Delete a consumer, so that it no longer delays the trimming of the log
    Delete {
        /// Name of the consumer
        name: String,
    },
}

fn start(text: &str) -> Result<Start, String> {
    match text {
        "earliest" => Ok(Start::Earliest(())),
        "latest" => Ok(Start::Latest(())),
        _ => match text.parse::<DateTime<Utc>>() {
            Ok(time) => Ok(Start::At(Timestamp {
                seconds: time.timestamp(),
                nanos: i32::try_from(time.timestamp_subsec_nanos()).unwrap_or_default(),
            })),
            Err(_) => Err("must be earliest, latest, or a time such as 2026-01-31T00:00:00Z".to_owned()),
        },
    }
}

pub(super) async fn run(args: Args) -> Exit {
    let server = match args.target.open() {
        Ok(server) => server,
        Err(exit) => return exit,
    };
    let client = ConsumersServiceClient::new(server.channel());
    let done = match args.command {
        ConsumersCommand::List => list(client, &server, args.account).await,
        ConsumersCommand::Reset { name, to } => reset(client, &server, (args.account, name, to)).await,
        ConsumersCommand::Delete { name } => delete(client, &server, (args.account, name)).await,
    };
    args.target.done(done).await
}

async fn list(mut client: ConsumersServiceClient<Channel>, server: &Server, account_id: i64) -> Result<(), Status> {
    let mut table = Table::new("consumers", &["CONSUMER", "SHARD", "POSITION", "HEAD", "LAG", "STATE"]);
    let mut page_token = String::new();
    loop {
        let request = pb::ListConsumersRequest {
            account_id,
            page_size: 0,
            page_token,
        };
        let response = client.list_consumers(server.request(request)).await?.into_inner();
        table.rows(response.consumers.iter().flat_map(rows).collect());
        page_token = response.next_page_token;
        if page_token.is_empty() {
            table.finish();
            return Ok(());
        }
    }
}

/// Returns one row per shard, or a single row for a consumer whose shards were never opened.
fn rows(consumer: &pb::Consumer) -> Vec<Vec<String>> {
    let row = |shard: &str, position: &str, lag: u64, state: &str| {
        let state = if consumer.resumable { state } else { "position lost: reset it" };
        let (head, lag) = (consumer.head_seq.to_string(), lag.to_string());
        [&consumer.name, shard, position, &head, &lag, state].map(str::to_owned).to_vec()
    };
    if consumer.shards.is_empty() {
        return vec![row("-", "-", consumer.lag, "never opened")];
    }
    let of = |shard: &pb::ConsumerShard| {
        let number = format!("{}/{}", shard.shard, consumer.shard_count);
        let state = if shard.connected { "connected" } else { "away" };
        row(&number, &shard.seq.to_string(), shard.lag, state)
    };
    consumer.shards.iter().map(of).collect()
}

async fn reset(
    mut client: ConsumersServiceClient<Channel>,
    server: &Server,
    (account_id, name, to): (i64, String, Start),
) -> Result<(), Status> {
    let request = pb::ResetConsumerRequest {
        account_id,
        request_id: String::new(),
        name,
        start: Some(to),
    };
    let response = client.reset_consumer(server.request(request)).await?.into_inner();
    let consumer = response.consumer.unwrap_or_default();
    println!(
        "{} continues {} events before the head, {}",
        escaped(&consumer.name),
        consumer.lag,
        consumer.head_seq
    );
    Ok(())
}

async fn delete(mut client: ConsumersServiceClient<Channel>, server: &Server, (account_id, name): (i64, String)) -> Result<(), Status> {
    let request = pb::DeleteConsumerRequest {
        account_id,
        request_id: String::new(),
        name: name.clone(),
    };
    client.delete_consumer(server.request(request)).await?;
    println!("{} is deleted", escaped(&name));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_each_shard_and_reports_a_lost_position() {
        let shard = |shard, seq, connected| pb::ConsumerShard {
            shard,
            seq,
            lag: 100 - seq,
            connected,
            ..Default::default()
        };
        let mut consumer = pb::Consumer {
            name: "mailer".to_owned(),
            shard_count: 2,
            head_seq: 100,
            lag: 60,
            resumable: true,
            shards: vec![shard(0, 40, true), shard(1, 90, false)],
            ..Default::default()
        };
        assert_eq!(
            rows(&consumer),
            [
                ["mailer", "0/2", "40", "100", "60", "connected"],
                ["mailer", "1/2", "90", "100", "10", "away"]
            ]
        );
        consumer.resumable = false;
        assert_eq!(rows(&consumer)[0][5], "position lost: reset it");
    }
}
