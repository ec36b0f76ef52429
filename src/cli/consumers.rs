//! `parley consumers`: durable consumers of a running service, over gRPC.

use chrono::{DateTime, Utc};
use clap::Subcommand;
use prost_types::Timestamp;
use tonic::{Status, transport::Channel};

use super::{Exit, complain, connect::Target};
use crate::{
    client::Server,
    pb::{self, consumers_service_client::ConsumersServiceClient, reset_consumer_request::Start},
    telemetry::escape::escaped,
};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    target: Target,
    /// Whose consumers
    #[arg(long, default_value_t = 1, global = true)]
    account: i64,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// List them, shard by shard, with how many events each is behind
    List,
    /// Let one go on somewhere else, also after its position was lost
    Reset {
        /// The consumer
        name: String,
        /// Where: earliest, latest, or a time such as 2026-01-31T00:00:00Z
        #[arg(long, value_parser = start)]
        to: Start,
    },
    /// Delete one: it holds the log no longer
    Delete {
        /// The consumer
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
        Err(sentence) => {
            complain(&sentence);
            return Exit::Usage;
        }
    };
    let client = ConsumersServiceClient::new(server.channel());
    let done = match args.verb {
        Verb::List => list(client, &server, args.account).await,
        Verb::Reset { name, to } => reset(client, &server, (args.account, name, to)).await,
        Verb::Delete { name } => delete(client, &server, (args.account, name)).await,
    };
    match done {
        Ok(()) => Exit::Ok,
        Err(status) => {
            complain(status.message());
            Exit::Failure
        }
    }
}

async fn list(mut client: ConsumersServiceClient<Channel>, server: &Server, account_id: i64) -> Result<(), Status> {
    println!(
        "{:<24} {:>7} {:>12} {:>12} {:>10}  STATE",
        "CONSUMER", "SHARD", "POSITION", "HEAD", "LAG"
    );
    let mut page_token = String::new();
    loop {
        let request = pb::ListConsumersRequest {
            account_id,
            page_size: 0,
            page_token,
        };
        let answer = client.list_consumers(server.request(request)).await?.into_inner();
        for consumer in &answer.consumers {
            for line in lines(consumer) {
                println!("{line}");
            }
        }
        page_token = answer.next_page_token;
        if page_token.is_empty() {
            return Ok(());
        }
    }
}

/// A line a shard; one for a consumer of which none was opened yet.
fn lines(consumer: &pb::Consumer) -> Vec<String> {
    let line = |shard: &str, position: &str, lag: u64, state: &str| {
        let state = if consumer.resumable { state } else { "position lost: reset it" };
        format!(
            "{:<24} {shard:>7} {position:>12} {:>12} {lag:>10}  {state}",
            escaped(&consumer.name),
            consumer.head_seq
        )
    };
    if consumer.shards.is_empty() {
        return vec![line("-", "-", consumer.lag, "never opened")];
    }
    let of = |shard: &pb::ConsumerShard| {
        let number = format!("{}/{}", shard.shard, consumer.shard_count);
        let state = if shard.connected { "connected" } else { "away" };
        line(&number, &shard.seq.to_string(), shard.lag, state)
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
    let answer = client.reset_consumer(server.request(request)).await?.into_inner();
    let consumer = answer.consumer.unwrap_or_default();
    println!(
        "{} goes on {} events before the head, {}",
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
    fn every_shard_has_a_line_and_a_lost_position_is_plain() {
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
        let told: Vec<Vec<String>> = lines(&consumer)
            .iter()
            .map(|line| line.split_whitespace().map(str::to_owned).collect())
            .collect();
        assert_eq!(
            told,
            [
                ["mailer", "0/2", "40", "100", "60", "connected"],
                ["mailer", "1/2", "90", "100", "10", "away"]
            ]
        );
        consumer.name = "a\u{1b}[2J\nb".to_owned();
        assert!(lines(&consumer)[0].starts_with(r"a\u{1b}[2J\nb "));
        consumer.resumable = false;
        assert!(lines(&consumer)[0].ends_with("position lost: reset it"));
    }
}
