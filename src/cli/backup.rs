//! The commands `parley backup` and `parley restore`.

use std::{path::PathBuf, pin::pin};

use clap::Args;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::Settings;
use crate::{server::backup, telemetry::Telemetry};

#[derive(Debug, Args)]
pub(super) struct BackupArgs {
    /// The archive to write; an existing file is replaced once the archive is complete; - for standard output
    #[arg(value_name = "FILE")]
    archive: PathBuf,
    #[command(flatten)]
    settings: Settings,
}

#[derive(Debug, Args)]
pub(super) struct RestoreArgs {
    /// The archive to read; - for standard input
    #[arg(value_name = "FILE")]
    archive: PathBuf,
    /// Replace a database that contains data or has other connections
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    settings: Settings,
}

/// Writes an archive and reports its contents on standard error, because the archive itself might be written to standard output.
pub(super) async fn backup(args: BackupArgs) -> anyhow::Result<()> {
    let config = args.settings.load()?;
    let telemetry = Telemetry::start(&config.log, &config.trace)?;
    let ended = unless_signalled(Box::pin(backup::backup(&config, &args.archive)))
        .await
        .map(|counts| {
            eprintln!("The backup is complete: the database and {} files.", counts.files);
            report_missing_files(counts);
        });
    telemetry.shutdown().await;
    ended
}

pub(super) async fn restore(args: RestoreArgs) -> anyhow::Result<()> {
    let config = args.settings.load()?;
    let telemetry = Telemetry::start(&config.log, &config.trace)?;
    let stop = CancellationToken::new();
    let ended = stopped_by_signal(&stop, Box::pin(backup::restore(&config, &args.archive, args.force, &stop)))
        .await
        .map(|restored| {
            println!(
                "Restored the database and {} files. Started a new epoch in the logs of {} accounts: cursors issued before are rejected with EPOCH_CHANGED.",
                restored.files.files, restored.logs
            );
            report_missing_files(restored.files);
        });
    telemetry.shutdown().await;
    ended
}

/// Waits for SIGINT or SIGTERM.
async fn signalled() -> anyhow::Result<()> {
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    tokio::select! { _ = interrupt.recv() => {} _ = terminate.recv() => {} }
    Ok(())
}

/// Runs a command until it ends or a signal arrives. On a signal, the command is dropped, and its copies of the database are removed.
async fn unless_signalled<T>(command: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    tokio::select! {
        ended = command => ended,
        signalled = signalled() => {
            signalled?;
            Err(backup::BackupError::Stopped.into())
        }
    }
}

/// Runs a command to completion. When a signal arrives, asks the command to stop and waits until it has.
async fn stopped_by_signal<T>(stop: &CancellationToken, command: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    let mut command = pin!(command);
    tokio::select! {
        ended = &mut command => return ended,
        signalled = signalled() => {
            signalled?;
            stop.cancel();
        }
    }
    command.await
}

fn report_missing_files(files: backup::FileCounts) {
    if files.missing > 0 {
        eprintln!(
            "{} files of messages were missing from the file store when the backup was made.",
            files.missing
        );
    }
    if files.damaged > 0 {
        eprintln!(
            "{} files of messages were damaged in the file store when the backup was made and are not part of it.",
            files.damaged
        );
    }
}
