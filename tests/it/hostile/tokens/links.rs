//! Links of files: the permanent link is a credential, and the other links expire.

use parley_proto::{GetFileLinkRequest, GetMessageRequest, files_service_client::FilesServiceClient};
use tonic::{Code, Status};

use crate::{
    files::{download, path, upload, with_uploads},
    support::{app::TestApp, clients::Clients, database::Backend, fault::assert_refused, http::client, on_both, server::program},
};

on_both!(
    expiring_link_cannot_be_exchanged,
    links_do_not_leak_through_the_referrer,
    rotating_the_link_key_invalidates_links_but_keeps_files
);

async fn exchange(app: &TestApp, link: &str) -> Result<String, Status> {
    let nobody = Clients::new(&app.server.listeners.grpc, None);
    let request = GetFileLinkRequest { link: link.to_owned() };
    let answer = FilesServiceClient::new(nobody.service).get_file_link(request).await?;
    Ok(answer.into_inner().link)
}

/// The permanent link of a file in a message.
async fn permanent(app: &TestApp) -> String {
    let file = upload(&app.clients(), "a.txt", b"hello").await;
    let talk = app.fixture().talk().await;
    let (message, _) = app.fixture().sent(talk, with_uploads(&[&file.upload_id])).await;
    message.attachments[0].data_url.clone()
}

async fn expiring_link_cannot_be_exchanged(backend: Backend) {
    for (switch, renews) in [("", false), ("link_expiry", true)] {
        let app = TestApp::builder(backend).env("PARLEY_FAULT_SWITCH", switch).start().await;
        let expiring = exchange(&app, &permanent(&app).await).await.expect("a link that expires");
        let (_, content) = download(&app.clients(), &expiring, 0, 0).await.expect("it is good for now");
        assert_eq!(content, b"hello");
        let again = exchange(&app, &expiring).await;
        if renews {
            again.expect("it renews itself");
        } else {
            assert_refused(again, Code::NotFound, "NOT_FOUND");
        }
    }
}

async fn links_do_not_leak_through_the_referrer(backend: Backend) {
    let app = TestApp::start(backend).await;
    let link = permanent(&app).await;
    let expiring = exchange(&app, &link).await.expect("a link that expires");
    for link in [link, expiring] {
        let path = path(&serde_json::Value::from(link));
        let url = format!("http://{}{path}", app.server.listeners.http);
        let answer = client().get(url).send().await.expect("an answer");
        assert!(answer.status().as_u16() < 400, "{answer:?}");
        assert_eq!(answer.headers()["referrer-policy"], "no-referrer");
    }
}

async fn rotating_the_link_key_invalidates_links_but_keeps_files(backend: Backend) {
    let mut app = TestApp::start(backend).await;
    let file = upload(&app.clients(), "a.txt", b"hello").await;
    let talk = app.fixture().talk().await;
    let (message, _) = app.fixture().sent(talk, with_uploads(&[&file.upload_id])).await;
    let before = message.attachments[0].data_url.clone();
    let expiring = exchange(&app, &before).await.expect("a link that expires");
    app.server.terminate();
    app.server.wait().await;
    let mut rotate = program();
    rotate
        .arg("rotate-link-key")
        .env("PARLEY_DATABASE_URL", app.database.url())
        .current_dir(app.home());
    let done = tokio::task::spawn_blocking(move || rotate.output())
        .await
        .expect("no panic")
        .expect("the program runs");
    assert!(done.status.success(), "{done:?}");
    app.start_again().await;
    for link in [&before, &expiring] {
        assert_refused(download(&app.clients(), link, 0, 0).await, Code::NotFound, "NOT_FOUND");
        assert_refused(exchange(&app, link).await, Code::NotFound, "NOT_FOUND");
    }
    let get = GetMessageRequest {
        account_id: 1,
        conversation_id: talk,
        message_id: message.id,
    };
    let message = app
        .clients()
        .messages
        .get_message(get)
        .await
        .expect("the message")
        .into_inner()
        .message
        .expect("always set");
    let after = &message.attachments[0].data_url;
    assert_ne!(*after, before);
    let (_, content) = download(&app.clients(), after, 0, 0).await.expect("the new link is good");
    assert_eq!(content, b"hello");
    exchange(&app, after).await.expect("and exchanged");
}
