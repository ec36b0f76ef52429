//! Transcripts: the email arrives, even if the mail server is unavailable at first.

use parley_proto::SendTranscriptRequest;
use serde_json::json;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader},
    net::TcpListener,
    sync::mpsc,
};
use tonic::Code;
use uuid::Uuid;

use crate::support::{
    api_fixture::note,
    app::TestApp,
    database::Backend,
    fault::{assert_bad_fields, assert_refused},
    in_time, on_both,
};

on_both!(
    transcript_arrives_by_email,
    email_waits_for_the_mail_server,
    transcript_is_refused_without_a_mail_server,
    transcripts_are_limited_to_thirty_per_hour
);

/// An SMTP server that sends the text of each email it receives to `mails`.
async fn post_office(listener: TcpListener, mails: mpsc::Sender<String>) {
    while let Ok((stream, _)) = listener.accept().await {
        let (read, mut write) = stream.into_split();
        let mut lines = BufReader::new(read).lines();
        write.write_all(b"220 here\r\n").await.expect("the client listens");
        while let Ok(Some(line)) = lines.next_line().await {
            let answer = match line.split([' ', ':']).next().unwrap_or_default() {
                "DATA" => {
                    write.write_all(b"354 go on\r\n").await.expect("the client listens");
                    let mut text = String::new();
                    while let Ok(Some(line)) = lines.next_line().await {
                        if line == "." {
                            break;
                        }
                        text.push_str(&line);
                        text.push('\n');
                    }
                    mails.send(text).await.expect("the test waits");
                    "250 taken"
                }
                "QUIT" => "221 bye",
                _ => "250 ok",
            };
            if write.write_all(format!("{answer}\r\n").as_bytes()).await.is_err() {
                break;
            }
        }
    }
}

fn request(conversation_id: i64, email: &str) -> SendTranscriptRequest {
    SendTranscriptRequest {
        account_id: 1,
        conversation_id,
        email: email.to_owned(),
        ..SendTranscriptRequest::default()
    }
}

async fn transcript_arrives_by_email(backend: Backend) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("smtp://{}", listener.local_addr().expect("bound"));
    let (sender, mut mails) = mpsc::channel(8);
    tokio::spawn(post_office(listener, sender));
    let app = TestApp::builder(backend).env("PARLEY_MAIL_URL", &url).start().await;
    let fixture = app.fixture();
    let talk = fixture.talk().await;
    fixture.hear(talk, "where is my kettle?").await;
    fixture.say(talk, "on its way").await;
    fixture.sent(talk, note("a difficult one")).await;
    let path = format!("/conversations/{talk}/transcript");
    let (status, body) = app.http().try_post(&path, &json!({"email": "asha@example.org"})).await;
    assert_eq!((status, body), (200, json!(null)));
    let mail = in_time("the mail", mails.recv()).await.expect("one arrives");
    assert!(
        mail.contains("To: asha@example.org") && mail.contains(&format!("Subject: [#{talk}] Conversation transcript")),
        "{mail}"
    );
    let (asked, answered) = (mail.find("where is my kettle?"), mail.find("on its way"));
    assert!(asked.is_some() && asked < answered, "{mail}");
    assert!(!mail.contains("difficult"), "{mail}");

    // The same request twice sends one email.
    let clients = app.clients();
    let once = SendTranscriptRequest {
        request_id: Uuid::new_v4().to_string(),
        ..request(talk, "ravi@example.org")
    };
    for _ in 0..2 {
        clients
            .conversations
            .clone()
            .send_transcript(once.clone())
            .await
            .expect("it is stored");
    }
    clients
        .conversations
        .clone()
        .send_transcript(request(talk, "last@example.org"))
        .await
        .expect("it is stored");
    let mut to = Vec::new();
    for _ in 0..2 {
        let mail = in_time("the mail", mails.recv()).await.expect("one arrives");
        to.push(mail.lines().find(|line| line.starts_with("To: ")).expect("it has one").to_owned());
    }
    to.sort_unstable();
    assert_eq!(to, ["To: last@example.org", "To: ravi@example.org"]);

    let (status, body) = app.http().try_post(&path, &json!({})).await;
    assert_eq!((status, body), (422, json!({"error": "email param missing"})));
    let wrong = clients.conversations.clone().send_transcript(request(talk, "nobody")).await;
    assert_bad_fields(wrong, &["email: INVALID"]);
    let missing = clients.conversations.clone().send_transcript(request(99, "asha@example.org")).await;
    assert_refused(missing, Code::NotFound, "NOT_FOUND");
}

async fn email_waits_for_the_mail_server(backend: Backend) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("bound");
    drop(listener);
    let mut app = TestApp::builder(backend)
        .env("PARLEY_MAIL_URL", &format!("smtp://{address}"))
        .start()
        .await;
    let fixture = app.fixture();
    let talk = fixture.talk().await;
    fixture.hear(talk, "hello").await;
    app.clients()
        .conversations
        .clone()
        .send_transcript(request(talk, "asha@example.org"))
        .await
        .expect("it is stored");
    app.crash_and_restart().await;
    tokio::time::sleep(std::time::Duration::from_secs(3)).await;
    let (sender, mut mails) = mpsc::channel(8);
    tokio::spawn(post_office(TcpListener::bind(address).await.expect("it is free again"), sender));
    app.database.run("UPDATE mails SET next_try_at = 0").await;
    let mail = in_time("the mail", mails.recv()).await.expect("one arrives");
    assert!(mail.contains("hello"), "{mail}");
}

async fn transcript_is_refused_without_a_mail_server(backend: Backend) {
    let app = TestApp::start(backend).await;
    let talk = app.fixture().talk().await;
    let refused = app
        .clients()
        .conversations
        .clone()
        .send_transcript(request(talk, "asha@example.org"))
        .await;
    assert_refused(refused, Code::FailedPrecondition, "FAILED_PRECONDITION");
}

async fn transcripts_are_limited_to_thirty_per_hour(backend: Backend) {
    let app = TestApp::builder(backend).env("PARLEY_MAIL_URL", "smtp://127.0.0.1:9").start().await;
    let talk = app.fixture().talk().await;
    let http = app.http();
    let path = format!("/api/v1/accounts/1/conversations/{talk}/transcript");
    for _ in 0..30 {
        assert_eq!(http.send("POST", &path, Some(&json!({"email": "a@example.org"}))).await.status, 200);
    }
    let answer = http.send("POST", &path, Some(&json!({"email": "a@example.org"}))).await;
    assert_eq!((answer.status, answer.body), (429, json!("Retry later")));
    assert_eq!(answer.headers["retry-after"], "600");
}
