//! Follows an account for good: `cargo run --example follow -- http://127.0.0.1:50051 TOKEN`.

use parley::{
    client::{Error, Server, Step, Subscriber},
    pb::{EventFilter, subscribe_request::Start},
};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut words = std::env::args().skip(1);
    let (Some(address), Some(token)) = (words.next(), words.next()) else {
        return Err("an address and a token are needed".into());
    };
    let server = Server::connect(&address, &token)?;
    let mut subscriber = Subscriber::new(server, 1, Some(Start::Earliest(())), EventFilter::default());
    loop {
        match subscriber.next().await {
            Ok(Step::Response(response)) => {
                for delivery in response.events {
                    let event = delivery.event.unwrap_or_default();
                    println!("{} {}", event.seq, event.kind_name);
                }
                // Store subscriber.cursor() together with what you did.
            }
            Ok(Step::Resuming { why, pause }) => eprintln!("{why}; trying again in {pause:?}"),
            // What you hold is not the beginning of this log any more: throw it away, and begin again.
            Err(Error::Lost(lost)) => {
                eprintln!("{lost}");
                subscriber.restart(Start::Snapshot(()));
            }
            Err(error) => return Err(error.into()),
        }
    }
}
