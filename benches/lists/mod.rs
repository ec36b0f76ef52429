//! Lists, filters and searches of a large account, and of one a tenth of its size: calls whose cost should not grow with the tables have a
//! ratio near 1.
//!
//! The accounts are generated with bulk inserts (`generate`); the calls use the gRPC API, one after another. On PostgreSQL, the plans of
//! each call are read from `auto_explain` after the timing; this also counts its statements.

mod generate;
mod plans;
mod queries;

use std::{path::Path, time::Instant};

use parley_proto::{self as pb, inboxes_service_client::InboxesServiceClient};

use crate::support::{
    cluster::{Cluster, Durability},
    measurements::median,
    server::{Server, authorized},
};
use queries::{Clients, Query};

/// How often each call is timed, after one warm-up call.
const REPETITIONS: usize = 9;

/// Number of contacts in the large account, with as many conversations and ten times as many messages.
const CONTACTS: i64 = 100_000;

/// A filled service and the calls to time.
struct Dataset {
    // Dropped before the database that it uses.
    _server: Server,
    clients: Clients,
    queries: Vec<Query>,
}

impl Dataset {
    async fn open(server: Server, fill: impl AsyncFnOnce(i64), contacts: i64) -> Self {
        let channel = server.connect().await;
        let inbox = pb::Inbox {
            name: "Filled".to_owned(),
            channel: Some(pb::inbox::Channel::ApiChannel(pb::ApiChannel::default())),
            ..Default::default()
        };
        let request = pb::CreateInboxRequest {
            account_id: 1,
            inbox: Some(inbox),
            ..Default::default()
        };
        let response = InboxesServiceClient::new(channel.clone()).create_inbox(authorized(request)).await;
        let inbox = response
            .expect("an administrator can create inboxes")
            .into_inner()
            .inbox
            .expect("always set")
            .id;
        let started = Instant::now();
        fill(inbox).await;
        eprintln!("  created {contacts} contacts in {:.1} s", started.elapsed().as_secs_f64());
        let clients = Clients::new(channel);
        let started = Instant::now();
        queries::wait_until_indexed(&clients).await;
        eprintln!("  indexed their messages in {:.1} s", started.elapsed().as_secs_f64());
        let queries = queries::all(&clients, contacts).await;
        Self {
            _server: server,
            clients,
            queries,
        }
    }

    /// Returns the median duration of each call in milliseconds.
    async fn medians(&self) -> Vec<f64> {
        let mut medians = Vec::with_capacity(self.queries.len());
        for query in &self.queries {
            query.call(&self.clients).await;
            let mut millis = Vec::with_capacity(REPETITIONS);
            for _ in 0..REPETITIONS {
                let started = Instant::now();
                query.call(&self.clients).await;
                millis.push(started.elapsed().as_secs_f64() * 1000.0);
            }
            medians.push(median(&millis));
        }
        medians
    }
}

/// Times all calls at a tenth of the size and at full size, on both databases. Prints Markdown tables and the plans.
pub async fn run() {
    let cluster = Cluster::start(Durability::None);
    let files = tempfile::tempdir().expect("a temporary directory");
    let mut columns = Vec::new();
    let mut names = Vec::new();
    for contacts in [CONTACTS / 10, CONTACTS] {
        eprintln!("PostgreSQL, {contacts} contacts");
        let database = format!("lists_{contacts}");
        cluster.create(&database);
        let url = cluster.url(&database);
        let fill = async |inbox| generate::postgres(&url, inbox, contacts).await;
        let dataset = Dataset::open(Server::start(&url), fill, contacts).await;
        columns.push(dataset.medians().await);
        names = dataset.queries.iter().map(|query| query.name.clone()).collect();
        if contacts == CONTACTS {
            plans::log(&cluster, &database);
            let server = Server::start(&url);
            plans::print(&cluster, &dataset.queries, &Clients::new(server.connect().await)).await;
        }
    }
    for contacts in [CONTACTS / 10, CONTACTS] {
        eprintln!("SQLite, {contacts} contacts");
        columns.push(on_sqlite(files.path(), contacts).await);
    }
    println!("\n| | PostgreSQL, 1/10 | full | ratio | SQLite, 1/10 | full | ratio |\n|---|---|---|---|---|---|---|");
    for (nth, name) in names.iter().enumerate() {
        let at = |column: usize| columns[column][nth];
        println!(
            "| {name} | {:.2} ms | {:.2} ms | {:.1} | {:.2} ms | {:.2} ms | {:.1} |",
            at(0),
            at(1),
            at(1) / at(0),
            at(2),
            at(3),
            at(3) / at(2)
        );
    }
}

async fn on_sqlite(directory: &Path, contacts: i64) -> Vec<f64> {
    let url = format!("sqlite://{}?mode=rwc", directory.join(format!("lists_{contacts}.db")).display());
    let fill = async |inbox| generate::sqlite(&url, inbox, contacts).await;
    Dataset::open(Server::start(&url), fill, contacts).await.medians().await
}
