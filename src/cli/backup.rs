//! `parley backup` and `parley restore`.

use std::path::PathBuf;

use clap::Args;
use tokio::signal::unix::{SignalKind, signal};

use super::Settings;
use crate::{server::backup, telemetry::Telemetry};

/// The command line of `parley backup`.
#[derive(Debug, Args)]
pub(super) struct BackupArgs {
    /// The archive to write; it is replaced when it is complete. - is the standard output
    #[arg(value_name = "FILE")]
    archive: PathBuf,
    #[command(flatten)]
    settings: Settings,
}

/// The command line of `parley restore`.
#[derive(Debug, Args)]
pub(super) struct RestoreArgs {
    /// The archive to read. - is the standard input
    #[arg(value_name = "FILE")]
    archive: PathBuf,
    /// Replace a database that holds data, or has other connections
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    settings: Settings,
}

/// Writes an archive, and says what is in it. The standard output may be the archive, so it says so on the other one.
pub(super) async fn backup(args: BackupArgs) -> anyhow::Result<()> {
    let config = args.settings.load()?;
    let telemetry = Telemetry::start(&config.log, &config.trace)?;
    let ended = until_signal(Box::pin(backup::backup(&config, &args.archive)))
        .await
        .map(|complete| {
            eprintln!("The backup is complete: the database and {} files.", complete.files);
            missing(complete.missing);
        });
    telemetry.shutdown().await;
    ended
}

/// Puts an archive back.
pub(super) async fn restore(args: RestoreArgs) -> anyhow::Result<()> {
    let config = args.settings.load()?;
    let telemetry = Telemetry::start(&config.log, &config.trace)?;
    let ended = until_signal(Box::pin(backup::restore(&config, &args.archive, args.force)))
        .await
        .map(|restored| {
            println!(
                "Restored the database and {} files. {} logs have another epoch: cursors from before are refused with EPOCH_CHANGED.",
                restored.files.files, restored.logs
            );
            missing(restored.files.missing);
        });
    telemetry.shutdown().await;
    ended
}

/// Runs a command until it ends or a signal comes. Dropped, it removes its copies of the database.
async fn until_signal<T>(command: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    tokio::select! {
        ended = command => ended,
        _ = interrupt.recv() => anyhow::bail!("interrupted: nothing was changed"),
        _ = terminate.recv() => anyhow::bail!("terminated: nothing was changed"),
    }
}

fn missing(files: u64) {
    if files > 0 {
        eprintln!("{files} files that messages have were missing in the store when the backup was made.");
    }
}
