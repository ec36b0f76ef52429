//! The limit of connections per client address: counted across both public listeners, and enforced by closing further connections.

use std::net::{Ipv4Addr, SocketAddr};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpSocket, TcpStream},
};

use super::Visitor;
use crate::support::{app::TestApp, database::Backend, http::client, in_time};

/// The limit of connections.
const MOST: usize = 5;

/// Connects from 127.0.0.`last` and sends a request. Returns the connection if it gets a response.
async fn connected(address: &str, last: u8) -> Option<TcpStream> {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket
        .bind(SocketAddr::from((Ipv4Addr::new(127, 0, 0, last), 0)))
        .expect("an address of this machine");
    let address = address.parse().expect("an address");
    let mut stream = in_time("a connection", socket.connect(address)).await.expect("the queue takes it");
    // An error means that the server has closed the connection.
    let _ = stream.write_all(b"GET /nowhere HTTP/1.1\r\nhost: test\r\n\r\n").await;
    let mut head = [0; 9];
    let read = in_time("an answer, or the end", stream.read_exact(&mut head)).await;
    (read.is_ok() && head == *b"HTTP/1.1 ").then_some(stream)
}

/// Opens `tries` connections, alternating between the two listeners, and returns those that got a response.
async fn held(app: &TestApp, last: u8, tries: usize) -> Vec<TcpStream> {
    let mut open = Vec::new();
    for number in 0..tries {
        let listener = if number % 2 == 0 {
            &app.server.listeners.http
        } else {
            &app.server.listeners.grpc
        };
        open.extend(connected(listener, last).await);
    }
    open
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_of_an_address_are_limited() {
    for (switch, answered) in [("", MOST), ("connections_per_address", 3 * MOST)] {
        let app = TestApp::builder(Backend::Sqlite)
            .env("PARLEY_LIMITS_CONNECTIONS_PER_ADDRESS", &MOST.to_string())
            .env("PARLEY_LIMITS_TRUSTED_PROXIES", "127.0.0.30")
            .env("PARLEY_FAULT_SWITCH", switch)
            .start()
            .await;
        let mut open = held(&app, 20, 3 * MOST).await;
        assert_eq!(open.len(), answered, "{switch:?}");
        if !switch.is_empty() {
            continue;
        }
        // Other addresses are served; operators and trusted proxies have no limit.
        let other = Visitor::at(&app, 21).send("GET", "/openapi.json", None).await;
        assert_eq!(other.status(), 200);
        let admin = client().get(format!("http://{}/livez", app.server.listeners.admin)).send().await;
        assert_eq!(admin.expect("an answer").status(), 200);
        assert_eq!(held(&app, 30, 3 * MOST).await.len(), 3 * MOST);
        let log = app.server.log();
        assert_eq!(log.matches("limits.connections_per_address").count(), 1, "one line a minute: {log}");
        // A closed connection frees its place.
        drop(open.pop());
        in_time("room for a connection", async {
            while connected(&app.server.listeners.http, 20).await.is_none() {
                tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            }
        })
        .await;
    }
}
