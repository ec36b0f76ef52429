//! Benchmarks: compares Parley with baselines in interleaved rounds and prints one table. See `./bench --help` for the options.
//!
//! The server under test is the binary of the profile `dist` in a process of its own, on a private PostgreSQL with default durability or on a SQLite
//! file. The clients run in this process and share the machine with it. Each round measures a baseline and Parley directly after one
//! another; the result is the median of the rounds' ratios.

#![allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)] // figures are printed with three digits
#![allow(clippy::expect_used)] // a benchmark that cannot continue stops with the reason

mod create_message;
mod fanout;
mod gateway;
mod harness;
mod lists;
mod memory;
mod overload;
mod send_messages;
mod stream;
mod subscriber_group;
mod support;
mod telemetry;

use clap::{Parser, ValueEnum};

use crate::{
    harness::Harness,
    support::{baseline, measurements::fdatasync_per_second, table::Table},
};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The measurements to run and their duration.
#[derive(Debug, Parser)]
#[command(name = "./bench", about = "Measures Parley against baselines")]
struct Options {
    /// Number of rounds; medians are taken over them
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Duration of each throughput measurement, in seconds
    #[arg(long, default_value_t = 4)]
    seconds: u64,
    /// Number of calls per round of the latency from response to event
    #[arg(long, default_value_t = 300)]
    samples: usize,
    /// Number of conversations in each of the 16 accounts
    #[arg(long, default_value_t = 1000)]
    conversations: usize,
    /// Run only these groups
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = [Group::Create, Group::Send, Group::Fanout, Group::Latency, Group::Gateway, Group::Memory])]
    only: Vec<Group>,
    /// Passed by cargo to every benchmark
    #[arg(long, hide = true)]
    bench: bool,
}

/// Rows that are measured together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Group {
    /// `CreateMessage` with 64 calls in flight
    Create,
    /// `SendMessages`
    Send,
    /// Bursts to subscribers
    Fanout,
    /// `CreateMessage` one call at a time, and the latency from response to event
    Latency,
    /// The REST gateway compared with the gRPC API
    Gateway,
    /// Resident memory
    Memory,
    /// Lists, filters and searches of a large account; run separately, not in rounds
    Lists,
    /// Catching up, and latency to a subscriber on another replica; run separately
    Stream,
    /// Four times the calls that can be served; run separately
    Overload,
    /// The overhead of telemetry; run separately
    Telemetry,
}

impl Group {
    fn runs_separately(self) -> bool {
        matches!(self, Self::Lists | Self::Stream | Self::Overload | Self::Telemetry)
    }
}

#[tokio::main]
async fn main() {
    if std::env::args().nth(1).as_deref() == Some(baseline::ARGUMENT) {
        baseline::serve().await;
        return;
    }
    let options = Options::parse();
    if options.only.contains(&Group::Lists) {
        lists::run().await;
    }
    if options.only.contains(&Group::Stream) {
        stream::run(&options).await;
    }
    if options.only.contains(&Group::Overload) {
        overload::run(&options).await;
    }
    if options.only.contains(&Group::Telemetry) {
        telemetry::run(&options).await;
    }
    if options.only.iter().all(|group| group.runs_separately()) {
        return;
    }
    let mut harness = Harness::open();
    let mut table = Table::default();
    for number in 1..=options.rounds {
        eprintln!("round {number} of {}", options.rounds);
        for group in &options.only {
            table.disk_probe(fdatasync_per_second(harness.cluster.directory()));
            match group {
                Group::Create => create_message::throughput_round(&mut harness, &options, &mut table).await,
                Group::Send => send_messages::round(&mut harness, &options, &mut table).await,
                Group::Fanout => fanout::round(&mut harness, &options, &mut table).await,
                Group::Latency => {
                    create_message::latency_round(&mut harness, &options, &mut table).await;
                    fanout::latency_round(&mut harness, &options, &mut table).await;
                }
                Group::Gateway => gateway::round(&mut harness, &options, &mut table).await,
                Group::Memory => memory::round(&mut harness, number, &mut table).await,
                Group::Lists | Group::Stream | Group::Overload | Group::Telemetry => {}
            }
        }
    }
    table.print();
}
