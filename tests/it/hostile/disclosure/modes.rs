//! Whatever the umask, only the owner can read the files that the program creates, and `parley doctor` reports files that others can read.

use std::{
    os::unix::fs::{DirBuilderExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use bytes::Bytes;
use parley_proto::{FileHeader, UploadFileRequest, files_service_client::FilesServiceClient, upload_file_request::Part};

use crate::support::{
    app::TestApp,
    database::{Backend, Database},
    in_time,
    server::{limited, program, run_to_end},
};

/// Every file and folder below a folder.
fn everything(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).expect("the folder is ours") {
        let path = entry.expect("the folder is ours").path();
        if path.is_dir() {
            found.extend(everything(&path));
        }
        found.push(path);
    }
    found
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).expect("it is there").permissions().mode() & 0o777
}

/// Fails if the group or others may read, write or enter any of these.
#[track_caller]
fn assert_private(paths: &[PathBuf]) {
    for path in paths {
        assert_eq!(mode(path) & 0o077, 0, "{} is {:o}", path.display(), mode(path));
    }
}

fn part(part: Part) -> UploadFileRequest {
    UploadFileRequest {
        account_id: 1,
        part: Some(part),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn created_files_are_private_whatever_the_umask() {
    let app = TestApp::builder(Backend::Sqlite)
        .database(Database::create(Backend::Sqlite).await)
        .program(limited("umask 000"))
        .start()
        .await;
    app.fixture().talk().await;
    // An incomplete upload, whose bytes are in a temporary file.
    let (sender, receiver) = tokio::sync::mpsc::channel(4);
    let header = FileHeader {
        file_name: "a.bin".to_owned(),
        content_type: String::new(),
    };
    sender.send(part(Part::Header(header))).await.expect("the call is open");
    sender
        .send(part(Part::Chunk(Bytes::from(vec![7; 3 << 20]))))
        .await
        .expect("the call is open");
    sender
        .send(part(Part::Chunk(Bytes::from(vec![7; 3 << 20]))))
        .await
        .expect("the call is open");
    let mut files = FilesServiceClient::new(app.clients().service);
    let upload = tokio::spawn(async move { files.upload_file(tokio_stream::wrappers::ReceiverStream::new(receiver)).await });
    let folder = app.home().join("files");
    in_time("the first piece", async {
        while !folder.exists() || everything(&folder).iter().all(|path| path.is_dir()) {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    })
    .await;
    assert_private(&everything(app.home()));
    drop(sender);
    upload.await.expect("no panic").expect("the upload ends");
    assert_private(&everything(app.home()));
    assert_eq!((mode(&folder), mode(&app.database.file())), (0o700, 0o600));
    let beside = everything(app.database.file().parent().expect("a folder"));
    assert!(
        beside.len() >= 4,
        "the file, its journal, its shared memory and its lock: {beside:?}"
    );
    assert_private(&beside);
}

#[tokio::test]
async fn doctor_reports_files_that_others_can_read() {
    let home = tempfile::tempdir().expect("a folder");
    let doctor = async || {
        let mut command = program();
        command.arg("doctor").current_dir(home.path());
        for listener in ["GRPC", "HTTP", "ADMIN"] {
            command.env(format!("PARLEY_{listener}_ADDR"), "127.0.0.1:0");
        }
        run_to_end(command).await.output
    };
    let mut migrate = program();
    migrate.arg("migrate").current_dir(home.path());
    let migrated = run_to_end(migrate).await;
    assert_eq!(migrated.code, Some(0), "{}", migrated.output);
    std::fs::DirBuilder::new()
        .mode(0o700)
        .create(home.path().join("files"))
        .expect("it is ours");
    let private = doctor().await;
    assert!(
        private.contains("only their owner can access the database and the files"),
        "{private}"
    );
    for (name, wide) in [("parley.db", 0o644), ("files", 0o755)] {
        std::fs::set_permissions(home.path().join(name), std::fs::Permissions::from_mode(wide)).expect("it is ours");
    }
    let wide = doctor().await;
    for line in [
        "parley.db has the mode 644",
        "chmod 600 parley.db",
        "files has the mode 755",
        "chmod 700 files",
    ] {
        assert!(wide.contains(line), "{line} is not in\n{wide}");
    }
}
