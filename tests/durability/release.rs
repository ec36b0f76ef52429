//! The recorded releases that this version upgrades from, one folder each in `tests/releases`.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::support::database::Backend;

/// A recorded release.
#[derive(Clone, Debug)]
pub struct Release {
    folder: PathBuf,
}

impl Release {
    /// Every recorded release, sorted by name.
    pub fn all() -> Vec<Self> {
        let folders = fs::read_dir(root().join("releases")).expect("releases are recorded");
        let folders = folders.map(|entry| entry.expect("an entry").path());
        let mut all: Vec<Self> = folders
            .filter(|folder| folder.join("revision").exists())
            .map(|folder| Self { folder })
            .collect();
        assert!(!all.is_empty(), "no release is recorded");
        all.sort_by_key(Self::name);
        all
    }

    /// The release of the program that `TEST_PREVIOUS_BINARY` names, identified by `TEST_PREVIOUS_REVISION`. The last release if that
    /// variable is not set or names a revision that is not recorded.
    pub fn previous() -> Self {
        let last = fs::read_to_string(root().join("durability/released")).expect("it names a revision");
        let last = last
            .lines()
            .find(|line| !line.starts_with('#'))
            .expect("it names a revision")
            .to_owned();
        let asked = std::env::var("TEST_PREVIOUS_REVISION").unwrap_or_else(|_| last.clone());
        let of = |revision: &str| Self::all().into_iter().find(|release| release.revision() == revision);
        of(&asked)
            .or_else(|| of(&last))
            .expect("the last release has a folder in tests/releases")
    }

    /// The version, or `efb66ab` for the last release without a version.
    pub fn name(&self) -> String {
        self.folder.file_name().expect("a folder has a name").to_string_lossy().into_owned()
    }

    /// The full hash of its revision.
    pub fn revision(&self) -> String {
        self.text("revision").trim().to_owned()
    }

    /// The limits that tests turn off and that this release knows. A release does not start with settings that it does not know.
    pub fn limits_off(&self) -> Vec<String> {
        self.text("limits_off.txt").lines().map(ToOwned::to_owned).collect()
    }

    /// The folder of its recorded database.
    pub fn database(&self, backend: Backend) -> PathBuf {
        self.folder.join(match backend {
            Backend::Sqlite => "sqlite",
            Backend::Postgres => "postgres",
        })
    }

    /// Whether it has the limits and the tables of 0.1.0.
    pub fn has_limits(&self) -> bool {
        self.name() != "efb66ab"
    }

    fn text(&self, file: &str) -> String {
        let path = self.folder.join(file);
        fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests")
}
