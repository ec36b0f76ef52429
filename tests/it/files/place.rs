//! Blob locations as the tests see them.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use crate::support::{app::TestApp, http::client, in_time};

/// Where blobs are stored.
#[derive(Debug)]
pub enum Place {
    Folder(PathBuf),
    /// The URL of a bucket.
    Bucket(String),
}

impl Place {
    /// The default folder of a server.
    pub fn folder(app: &TestApp) -> Self {
        Self::Folder(app.home().join("files"))
    }

    /// The number of stored objects, including incomplete ones.
    pub async fn objects(&self) -> usize {
        match self {
            Self::Folder(folder) => files_in(folder),
            Self::Bucket(url) => {
                let mut count = 0;
                for list in ["list-type=2", "uploads"] {
                    let answer = client().get(format!("{url}?{list}")).send().await.expect("the store answers");
                    assert_eq!(answer.status(), 200);
                    let text = answer.text().await.expect("it arrives");
                    count += text.matches("<Key>").count();
                }
                count
            }
        }
    }

    /// Waits until nothing is stored.
    pub async fn empties(&self) {
        in_time("an empty place", async {
            while self.objects().await > 0 {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        })
        .await;
    }
}

fn files_in(folder: &Path) -> usize {
    let Ok(entries) = std::fs::read_dir(folder) else { return 0 };
    let count = |entry: std::io::Result<std::fs::DirEntry>| {
        let path = entry.expect("the directory is ours").path();
        if path.is_dir() { files_in(&path) } else { 1 }
    };
    entries.map(count).sum()
}
