//! A private NATS server with JetStream, from Debian's package.

use std::{
    process::{Child, Command, Stdio},
    time::Duration,
};

use super::{cluster::free_port, in_time};

/// A running server, which is stopped when it is dropped.
#[derive(Debug)]
pub struct Nats {
    home: tempfile::TempDir,
    port: u16,
    process: Child,
    arguments: Vec<&'static str>,
}

impl Nats {
    /// Starts a server.
    pub async fn start() -> Self {
        Self::with(&[]).await
    }

    /// Starts a server that accepts only one user.
    #[allow(dead_code)] // used only by the behaviour tests
    pub async fn start_for(user: &'static str, password: &'static str) -> Self {
        Self::with(&["--user", user, "--pass", password]).await
    }

    async fn with(arguments: &[&'static str]) -> Self {
        let home = tempfile::tempdir().expect("a temporary directory");
        let port = free_port();
        let process = launch(&home, port, arguments);
        let nats = Self {
            home,
            port,
            process,
            arguments: arguments.to_vec(),
        };
        nats.until_ready().await;
        nats
    }

    /// The URL of the server.
    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    /// The process id.
    #[allow(dead_code)] // used by the durability tests
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// Kills the server (SIGKILL).
    pub fn kill(&mut self) {
        self.process.kill().expect("the server is our child");
        self.process.wait().expect("the server is our child");
    }

    /// Restarts the server on the same port with the same data.
    pub async fn start_again(&mut self) {
        self.process = launch(&self.home, self.port, &self.arguments);
        self.until_ready().await;
    }

    async fn until_ready(&self) {
        in_time("NATS", async {
            while tokio::net::TcpStream::connect(("127.0.0.1", self.port)).await.is_err() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        })
        .await;
    }
}

fn launch(home: &tempfile::TempDir, port: u16, arguments: &[&str]) -> Child {
    // Debian installs it in a directory that is not on every user's path.
    let known = ["/usr/sbin/nats-server", "/usr/bin/nats-server"];
    let program = known
        .iter()
        .find(|path| std::path::Path::new(path).exists())
        .unwrap_or(&"nats-server");
    Command::new(program)
        .args(["-js", "-sd"])
        .arg(home.path())
        .args(["-a", "127.0.0.1", "-p", &port.to_string()])
        .args(arguments)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("nats-server is installed: ./test sees to it")
}

impl Drop for Nats {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
