//! Neither one address nor all callers without a token together can exhaust the request memory, and declared bodies that never arrive take
//! none.

use std::net::{Ipv4Addr, SocketAddr};

use parley_proto::{CreateClientSessionRequest, CreateContactRequest};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpSocket, TcpStream},
};
use tonic::Code;

use super::{BODY, CONTACTS};
use crate::support::{app::TestApp, clients::Clients, database::Backend, fault::refused, in_time};

const MIB: usize = 1024 * 1024;

/// A server whose request memory is four bodies of the largest size plus `more` bytes. One address may use one of them, all callers without
/// a token two.
async fn server(without: &str, more: usize) -> TestApp {
    TestApp::builder(Backend::Sqlite)
        .env("PARLEY_BOOTSTRAP_INBOX_IDENTIFIER", "inbox-a")
        .env("PARLEY_LIMITS_REQUEST_MEMORY_BYTES", &(8 * 4 * BODY + more).to_string())
        .env("PARLEY_FAULT_SWITCH", without)
        .start()
        .await
}

/// Sends the head of a request from 127.0.0.`last`. Returns the connection and the first response status, which is 100 if the server reads
/// the body.
async fn begun(listener: &str, last: u8, path: &str, content_type: &str, length: usize) -> (TcpStream, String) {
    let socket = TcpSocket::new_v4().expect("a socket");
    let from = SocketAddr::from((Ipv4Addr::new(127, 0, 0, last), 0));
    socket.bind(from).expect("an address of this machine");
    let address = listener.parse().expect("an address");
    let mut stream = in_time("a connection", socket.connect(address)).await.expect("the server listens");
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: test\r\nexpect: 100-continue\r\ncontent-type: {content_type}\r\ncontent-length: {length}\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.expect("the head is sent");
    let mut answer = vec![0; 4096];
    let read = in_time("an answer", stream.read(&mut answer)).await.expect("an answer");
    let status = String::from_utf8_lossy(&answer[..read]).get(9..12).unwrap_or_default().to_owned();
    (stream, status)
}

/// A request of the JSON API that declares a body of the largest size and has not sent any of it.
async fn by_json(app: &TestApp, last: u8) -> (TcpStream, String) {
    begun(&app.server.listeners.http, last, CONTACTS, "application/json", BODY).await
}

/// A gRPC call with the length prefix of the largest message.
async fn by_grpc(app: &TestApp, last: u8) -> (TcpStream, String) {
    let path = "/parley.v1.ClientService/CreateClientSession";
    let (mut stream, status) = begun(&app.server.listeners.grpc, last, path, "application/grpc-web+proto", BODY + 5).await;
    let [a, b, c, d] = u32::try_from(BODY).expect("small").to_be_bytes();
    stream.write_all(&[0, a, b, c, d]).await.expect("the prefix is sent");
    (stream, status)
}

/// Whether other requests are refused: from another address without a token and with one, over the JSON API and then over gRPC.
async fn refusals(app: &TestApp) -> [bool; 4] {
    let mut refusals = Vec::new();
    for (http, path) in [(app.http().with_token(""), CONTACTS), (app.http(), "/api/v1/accounts/1/contacts")] {
        let request = http.request("POST", path).header("content-type", "application/json");
        let answer = http.answer(request.body(" ".repeat(MIB))).await;
        if answer.status == 503 {
            assert!(answer.headers.contains_key("retry-after"));
        }
        refusals.push(answer.status == 503);
    }
    // The name is far too long, which the server reports if it has memory to read the request.
    let name = "x".repeat(MIB);
    let session = CreateClientSessionRequest {
        inbox_identifier: "inbox-a".to_owned(),
        name: Some(name.clone()),
        ..Default::default()
    };
    let contact = CreateContactRequest {
        account_id: 1,
        name,
        ..Default::default()
    };
    let mut anonymous = Clients::new(&app.server.listeners.grpc, None).client;
    for fault in [
        refused(anonymous.create_client_session(session).await),
        refused(app.clients().contacts.create_contact(contact).await),
    ] {
        assert!(matches!(fault.code, Code::InvalidArgument | Code::ResourceExhausted), "{fault:?}");
        refusals.push(fault.code == Code::ResourceExhausted);
    }
    refusals.try_into().expect("four")
}

async fn until(app: &TestApp, what: &str, expected: [bool; 4]) {
    in_time(what, async {
        while refusals(app).await != expected {
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    })
    .await;
}

/// Four requests whose bodies never arrive, and how many of them the server was ready to read. Each is from its own address: the share of
/// an address holds one such body, so a second one would be refused at once.
async fn idle(app: &TestApp, is_grpc: bool) -> (Vec<TcpStream>, usize) {
    let (mut streams, mut begun) = (Vec::new(), 0);
    for last in 20..24 {
        let (stream, status) = if is_grpc {
            by_grpc(app, last).await
        } else {
            by_json(app, last).await
        };
        begun += usize::from(status == "100");
        streams.push(stream);
    }
    (streams, begun)
}

/// The declared bodies would fill the budget, but never arrive.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bodies_that_never_arrive_take_no_memory() {
    for switch in ["", "memory_shares"] {
        // The extra bytes cover memory that an earlier request has not released yet, and are fewer than a request needs whose refusal is
        // expected.
        let app = server(switch, 4 * MIB).await;
        for is_grpc in [false, true] {
            let idle = in_time("bodies that never come", async {
                loop {
                    let (idle, begun) = idle(&app, is_grpc).await;
                    let refusals = refusals(&app).await;
                    if switch.is_empty() {
                        assert_eq!((begun, refusals), (4, [false; 4]), "gRPC: {is_grpc}");
                        return idle;
                    }
                    // Without the protection the bodies need everything that is left, so one of them is refused if an earlier request has
                    // not released its memory yet: try again.
                    if refusals == [true; 4] {
                        return idle;
                    }
                    drop(idle);
                    until(&app, "room again", [false; 4]).await;
                }
            })
            .await;
            drop(idle);
            until(&app, "room again", [false; 4]).await;
        }
    }
}

/// An address in the notation of `/proc/net/tcp`.
fn written(address: SocketAddr) -> String {
    let SocketAddr::V4(address) = address else {
        unreachable!("the listeners of tests are at 127.0.0.1")
    };
    let ip = u32::from_ne_bytes(address.ip().octets());
    format!("{ip:08X}:{:04X}", address.port())
}

/// Waits until the server has read everything that was sent to it.
async fn is_read(stream: &TcpStream) {
    let ours = written(stream.local_addr().expect("it is connected"));
    in_time("the server to read", async {
        loop {
            let table = std::fs::read_to_string("/proc/net/tcp").expect("the kernel's table");
            let waits = table.lines().any(|line| {
                let fields: Vec<&str> = line.split_whitespace().collect();
                fields.len() > 4 && (fields[1] == ours || fields[2] == ours) && fields[4] != "00000000:00000000"
            });
            if !waits {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    })
    .await;
}

/// Sends a body except for its last byte, and checks who is refused while the server holds it.
async fn held(app: &TestApp, last: u8) -> (TcpStream, [bool; 4]) {
    in_time("a body that is held", async {
        loop {
            let (mut stream, status) = by_json(app, last).await;
            if status == "100" && stream.write_all(&vec![b' '; BODY - 1]).await.is_ok() {
                is_read(&stream).await;
                let refusals = refusals(app).await;
                let own = by_json(app, last).await.1;
                // Another request of the test may have held the memory that the rest of the body needed, so that the body was refused: try
                // again.
                if own == "503" && stream.try_read(&mut [0; 16]).is_err() {
                    return (stream, refusals);
                }
            }
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    })
    .await
}

/// Bodies that lack their last byte fill the share of their address, and then that of all callers without a token.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bodies_of_anonymous_callers_leave_memory_for_others() {
    let app = server("", 0).await;
    let (first, refused) = held(&app, 20).await;
    assert_eq!(refused, [false; 4], "one address has one share");
    let (second, refused) = held(&app, 21).await;
    assert_eq!(refused, [true, false, true, false], "two addresses have all that strangers have");
    drop((first, second));
    until(&app, "room again", [false; 4]).await;
}
