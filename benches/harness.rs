//! Processes and files that are started on first use and kept for all rounds.

use crate::{
    Options,
    support::{
        baseline,
        cluster::{Cluster, Durability},
        fixture::Fixture,
        server::Server,
        sql::OneByOne,
    },
};

/// The processes and files of a run.
#[derive(Debug)]
pub struct Harness {
    // Fields are dropped in this order: servers before the cluster that they use.
    postgres: Option<Fixture>,
    sqlite: Option<Fixture>,
    one_by_one: Option<OneByOne>,
    baseline: Option<baseline::Process>,
    files: tempfile::TempDir,
    pub cluster: Cluster,
}

impl Harness {
    /// Starts the cluster and creates the baselines' database.
    pub fn open() -> Self {
        let cluster = Cluster::start(Durability::Full);
        cluster.create_naive("naive");
        cluster.create("parley");
        Self {
            postgres: None,
            sqlite: None,
            one_by_one: None,
            baseline: None,
            files: tempfile::Builder::new()
                .prefix("parley-bench-")
                .tempdir()
                .expect("a temporary directory"),
            cluster,
        }
    }

    /// The server on PostgreSQL, filled with conversations.
    pub async fn postgres_fixture(&mut self, options: &Options) -> &Fixture {
        if self.postgres.is_none() {
            eprintln!("creating the fixture on PostgreSQL");
            let server = Server::start(&self.cluster.url("parley"));
            self.postgres = Some(Fixture::create(server, options.conversations).await);
            self.cluster.analyze("parley");
        }
        self.postgres.as_ref().expect("it was just created")
    }

    /// The server on a SQLite file, filled with conversations.
    pub async fn sqlite_fixture(&mut self, options: &Options) -> &Fixture {
        if self.sqlite.is_none() {
            eprintln!("creating the fixture on SQLite");
            let server = Server::start(&self.sqlite_url("parley.db"));
            self.sqlite = Some(Fixture::create(server, options.conversations).await);
        }
        self.sqlite.as_ref().expect("it was just created")
    }

    /// The URL of a SQLite file of this run.
    pub fn sqlite_url(&self, name: &str) -> String {
        format!("sqlite://{}?mode=rwc", self.files.path().join(name).display())
    }

    /// The SQLite baseline, with one message per transaction.
    pub async fn one_by_one(&mut self) -> &mut OneByOne {
        if self.one_by_one.is_none() {
            self.one_by_one = Some(OneByOne::create(&self.files.path().join("one_by_one.db")).await);
        }
        self.one_by_one.as_mut().expect("it was just created")
    }

    /// The baseline of tonic alone.
    pub fn baseline(&mut self) -> &baseline::Process {
        self.baseline.get_or_insert_with(baseline::Process::start)
    }
}
