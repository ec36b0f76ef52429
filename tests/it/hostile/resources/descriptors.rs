//! File descriptors for the admin listener are reserved, however many clients connect.

use tokio::{io::AsyncWriteExt as _, net::TcpStream};

use crate::support::{api_fixture::outgoing, app::TestApp, database::Backend, http::client, in_time, server::limited};

/// Opens more connections than there are file descriptors, and sends nothing on them after the preface.
async fn connect(app: &TestApp) -> Vec<TcpStream> {
    let mut clients = Vec::new();
    // What the server does not accept stays in the listen queues.
    for number in 0..250 {
        let address = if number % 2 == 0 {
            &app.server.listeners.grpc
        } else {
            &app.server.listeners.http
        };
        let mut client = in_time("a connection", TcpStream::connect(address))
            .await
            .expect("the queue takes it");
        // With the preface, the connection counts as started, so its silence does not end it during this test.
        client
            .write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0")
            .await
            .expect("it is taken");
        clients.push(client);
    }
    clients
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn admin_listener_responds_while_clients_take_all_connections() {
    let app = TestApp::builder(Backend::Sqlite).program(limited("ulimit -n 256")).start().await;
    let fixture = app.fixture();
    let talk = fixture.talk().await;
    fixture.say(talk, "before").await;
    let clients = connect(&app).await;
    for path in ["livez", "readyz", "metrics"] {
        let answer = in_time(path, client().get(format!("http://{}/{path}", app.server.listeners.admin)).send()).await;
        assert_eq!(answer.expect("an answer").status(), 200, "{path}");
    }
    // Existing connections are served, and descriptors are left for the database and for files.
    fixture.sent(talk, outgoing("beside them")).await;
    let log = app.server.log();
    assert!(!log.contains("Too many open files"), "{log}");
    drop(clients);
    fixture.say(talk, "after").await;
}

/// Shows what the reservation is for: without it, clients take every descriptor.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_shares_clients_take_all_descriptors() {
    let app = TestApp::builder(Backend::Sqlite)
        .program(limited("ulimit -n 256"))
        .env("PARLEY_FAULT_SWITCH", "descriptor_shares")
        .start()
        .await;
    let clients = connect(&app).await;
    in_time("the lack of descriptors", async {
        while !app.server.log().contains("Too many open files") {
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    })
    .await;
    drop(clients);
}
