//! Files over the JSON API.

use parley_proto::{
    AttachmentDraft, ContactCardDraft, CreateClientMessageRequest, CreateClientSessionRequest, FallbackDraft, LocationDraft, MessageDraft,
    attachment_draft::Kind,
};
use reqwest::multipart;
use serde_json::{Value, json};
use uuid::Uuid;

use super::{fetch, part, path, png, post_form};
use crate::support::{app::TestApp, database::Backend, fault::assert_bad_fields, on_both};

on_both!(
    files_are_uploaded_by_form_and_downloaded,
    repeated_form_creates_one_message,
    attachments_may_have_no_file,
    contacts_can_send_files,
    contacts_and_inboxes_have_avatars
);

async fn files_are_uploaded_by_form_and_downloaded(backend: Backend) {
    let app = TestApp::start(backend).await;
    let talk = app.fixture().talk().await;
    let messages = format!("/api/v1/accounts/1/conversations/{talk}/messages");
    let form = multipart::Form::new()
        .text("content", "two files")
        .part("attachments[]", part("a.png", "image/png", png(300, 30)))
        .text("content_attributes", "{}")
        .part(
            "attachments[]",
            part("page.html", "text/html", b"<script>alert(1)</script>".to_vec()),
        );
    let answer = post_form(&app, &messages, form, "").await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    let (image, page) = (&answer.body["attachments"][0], &answer.body["attachments"][1]);
    assert_eq!(
        (&image["file_type"], &image["width"], &image["height"]),
        (&json!("image"), &json!(300), &json!(30))
    );
    assert_eq!(
        (&page["file_type"], &page["file_size"], &page["thumb_url"]),
        (&json!("file"), &json!(25), &json!(""))
    );
    assert_eq!(page["message_id"], answer.body["id"]);

    let shown = fetch(&app, &path(&image["data_url"]), None).await;
    assert_eq!(
        shown.headers()["content-disposition"],
        "inline; filename=\"a.png\"; filename*=UTF-8''a%2Epng"
    );
    assert_eq!(shown.headers()["x-content-type-options"], "nosniff");
    assert_eq!(shown.bytes().await.expect("they arrive"), png(300, 30));
    let saved = fetch(&app, &path(&page["data_url"]), Some("bytes=1-6")).await;
    assert_eq!(saved.status(), 206);
    assert_eq!(saved.headers()["content-range"], "bytes 1-6/25");
    assert!(
        saved.headers()["content-disposition"]
            .to_str()
            .expect("ASCII")
            .starts_with("attachment")
    );
    assert_eq!(saved.bytes().await.expect("they arrive"), "script");
    let end = fetch(&app, &path(&page["data_url"]), Some("bytes=-9")).await;
    assert_eq!(end.bytes().await.expect("they arrive"), "</script>");
    assert_eq!(fetch(&app, &path(&page["data_url"]), Some("bytes=25-")).await.status(), 416);

    let (status, listed) = app.http().ask(&format!("/conversations/{talk}/attachments")).await;
    assert_eq!((status, &listed["meta"]["total_count"]), (200, &json!(2)));
    assert_eq!(listed["payload"][0]["data_url"], page["data_url"]);

    let mut form = multipart::Form::new();
    for nth in 0..16 {
        form = form.part("attachments[]", part(&format!("{nth}.txt"), "text/plain", vec![b'a']));
    }
    let answer = post_form(&app, &messages, form, "").await;
    assert_eq!(answer.status, 422);
    assert_eq!(answer.body["error"], "Validation failed: Attachments exceeded maximum allowed");
    let form = multipart::Form::new().part("avatar", part("a.png", "image/png", png(3, 3)));
    assert_eq!(post_form(&app, "/api/v1/accounts/1/labels", form, "").await.status, 422);
    let form = multipart::Form::new().part("attachments[]", part("a.txt", "text/plain", vec![b'a']));
    let stranger = app.http().with_token("nobody").request("POST", &messages).multipart(form);
    assert_eq!(app.http().answer(stranger).await.status, 401);
}

async fn repeated_form_creates_one_message(backend: Backend) {
    let app = TestApp::start(backend).await;
    let talk = app.fixture().talk().await;
    let messages = format!("/api/v1/accounts/1/conversations/{talk}/messages");
    let form = |content: &str| {
        let part = part("a.txt", "text/plain", content.as_bytes().to_vec());
        multipart::Form::new().text("content", "see").part("attachments[]", part)
    };
    let first = post_form(&app, &messages, form("same"), "order-1").await;
    let again = post_form(&app, &messages, form("same"), "order-1").await;
    assert_eq!((first.status, &first.body), (200, &again.body));
    assert_eq!(post_form(&app, &messages, form("other"), "order-1").await.status, 409);
}

async fn attachments_may_have_no_file(backend: Backend) {
    let app = TestApp::start(backend).await;
    let fixture = app.fixture();
    let talk = fixture.talk().await;
    let draft = |kinds: Vec<Kind>| MessageDraft {
        attachments: kinds.into_iter().map(|kind| AttachmentDraft { kind: Some(kind) }).collect(),
        ..MessageDraft::default()
    };
    let place = LocationDraft {
        latitude: 38.7,
        longitude: -9.1,
        title: "Lisboa".to_owned(),
        ..LocationDraft::default()
    };
    let card = ContactCardDraft {
        title: "+351912345678".to_owned(),
        meta: None,
    };
    let link = FallbackDraft {
        title: "A page".to_owned(),
        url: "https://shop.example.org/a".to_owned(),
    };
    let kinds = vec![Kind::Location(place), Kind::Contact(card), Kind::Fallback(link)];
    let (message, _) = fixture.sent(talk, draft(kinds)).await;
    let (_, shown) = app.http().ask(&format!("/conversations/{talk}/messages")).await;
    let shown = &shown["payload"][0]["attachments"];
    let id = |nth: usize| message.attachments[nth].id;
    let same = |nth: usize, kind: &str| json!({"id": id(nth), "message_id": message.id, "file_type": kind, "account_id": 1});
    let merged = |mut one: Value, more: Value| {
        let object = one.as_object_mut().expect("an object");
        object.extend(more.as_object().expect("an object").clone());
        one
    };
    assert_eq!(
        *shown,
        json!([
            merged(
                same(0, "location"),
                json!({"coordinates_lat": 38.7, "coordinates_long": -9.1, "fallback_title": "Lisboa", "data_url": ""})
            ),
            merged(same(1, "contact"), json!({"fallback_title": "+351912345678", "meta": {}})),
            merged(
                same(2, "fallback"),
                json!({"fallback_title": "A page", "data_url": "https://shop.example.org/a"})
            ),
        ])
    );
    let far = LocationDraft {
        latitude: 91.0,
        ..LocationDraft::default()
    };
    let wrong = vec![Kind::Location(far), Kind::Fallback(FallbackDraft::default())];
    assert_bad_fields(
        fixture.send(talk, draft(wrong)).await,
        &[
            "message.attachments[0].location.latitude: OUT_OF_RANGE",
            "message.attachments[1].fallback.title: REQUIRED",
        ],
    );
}

async fn contacts_can_send_files(backend: Backend) {
    let app = TestApp::start(backend).await;
    let identifier = app.http().ask("/inboxes/1").await.1["inbox_identifier"].clone();
    let identifier = identifier.as_str().expect("an API inbox has one");
    let clients = app.clients();
    let request = CreateClientSessionRequest {
        inbox_identifier: identifier.to_owned(),
        name: Some("Asha".to_owned()),
        ..CreateClientSessionRequest::default()
    };
    let session = clients
        .client
        .clone()
        .create_client_session(request)
        .await
        .expect("it is made")
        .into_inner();
    let source = session.session.expect("always set").source_id;
    let http = app.http().with_token("");
    let root = format!("/public/api/v1/inboxes/{identifier}/contacts/{source}/conversations");
    let talk = http.send("POST", &root, Some(&json!({}))).await.body["id"].clone();
    let form = multipart::Form::new()
        .text("content", "my receipt")
        .part("attachments[]", part("receipt.png", "image/png", png(400, 400)));
    let answer = http
        .answer(http.request("POST", &format!("{root}/{talk}/messages")).multipart(form))
        .await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    let shown = &answer.body["attachments"][0];
    assert_eq!((&shown["file_type"], &shown["width"]), (&json!("image"), &json!(400)));
    assert_eq!(
        fetch(&app, &path(&shown["data_url"]), None)
            .await
            .bytes()
            .await
            .expect("they arrive"),
        png(400, 400)
    );
    // Without a valid session, uploading is refused as well.
    let form = multipart::Form::new().part("attachments[]", part("a.txt", "text/plain", vec![b'a']));
    let elsewhere = root.replace(&source, &Uuid::new_v4().to_string());
    let answer = http
        .answer(http.request("POST", &format!("{elsewhere}/{talk}/messages")).multipart(form))
        .await;
    assert_eq!(answer.status, 404);
    let request = CreateClientMessageRequest {
        session: Some(parley_proto::ClientSession {
            inbox_identifier: identifier.to_owned(),
            source_id: source,
        }),
        conversation_id: talk.as_i64().expect("a number"),
        upload_ids: vec!["made up".to_owned()],
        ..CreateClientMessageRequest::default()
    };
    assert_bad_fields(
        clients.client.clone().create_client_message(request).await,
        &["message.attachments[0]: UNKNOWN"],
    );
}

async fn contacts_and_inboxes_have_avatars(backend: Backend) {
    let app = TestApp::start(backend).await;
    let contacts = "/api/v1/accounts/1/contacts";
    let form = |kind: &str, content: Vec<u8>| {
        let part = part("me.png", kind, content);
        multipart::Form::new().text("name", "Asha").part("avatar", part)
    };
    let made = post_form(&app, contacts, form("image/png", png(500, 500)), "asha-1").await;
    assert_eq!(made.status, 200, "{}", made.body);
    let contact = &made.body["payload"]["contact"];
    let shown = fetch(&app, &path(&contact["thumbnail"]), None)
        .await
        .bytes()
        .await
        .expect("they arrive");
    assert_eq!(image::load_from_memory(&shown).expect("a picture").width(), 250);
    let again = post_form(&app, contacts, form("image/png", png(500, 500)), "asha-1").await;
    assert_eq!(again.body, made.body);

    let refused = post_form(&app, contacts, form("text/plain", b"no picture".to_vec()), "").await;
    assert_eq!(
        (refused.status, &refused.body["message"]),
        (422, &json!("Avatar filetype not supported"))
    );
    let strange = multipart::Form::new().part("name", part("a.txt", "text/plain", vec![b'a']));
    assert_eq!(post_form(&app, contacts, strange, "").await.status, 422);

    // Another contact cannot use the same file and take it away.
    let other = json!({"name": "Ravi", "avatar_url": contact["thumbnail"]});
    let stolen = app.http().try_post("/contacts", &other).await;
    assert_eq!(stolen.0, 422, "{}", stolen.1);
    let one = format!("{contacts}/{}", contact["id"]);
    let kept = app
        .http()
        .send("PUT", &one, Some(&json!({"avatar_url": contact["thumbnail"], "name": "Asha Rao"})))
        .await;
    assert_eq!(kept.body["payload"]["thumbnail"], contact["thumbnail"]);
    // The new picture is small, so it serves as its own thumbnail, and the old picture is deleted.
    let next = app.http().request("PUT", &one).multipart(form("image/png", png(50, 50)));
    let next = app.http().answer(next).await;
    assert_ne!(next.body["payload"]["thumbnail"], contact["thumbnail"]);
    let gone = app.http().with_token("").send("GET", &path(&contact["thumbnail"]), None).await;
    assert_eq!(gone.status, 404);

    let inbox = app.http().request("PATCH", "/api/v1/accounts/1/inboxes/1");
    let inbox = app.http().answer(inbox.multipart(form("image/png", png(50, 50)))).await;
    assert_eq!(inbox.status, 200, "{}", inbox.body);
    let shown = fetch(&app, &path(&inbox.body["avatar_url"]), None).await;
    assert_eq!(shown.bytes().await.expect("they arrive"), png(50, 50));
    // The picture of a contact that was merged into another is deleted.
    let merged = post_form(&app, contacts, form("image/png", png(60, 60)), "").await;
    let merged = &merged.body["payload"]["contact"];
    let merge = json!({"base_contact_id": contact["id"], "mergee_contact_id": merged["id"]});
    app.http().post("/actions/contact_merge", &merge).await;
    let gone = app.http().with_token("").send("GET", &path(&merged["thumbnail"]), None).await;
    assert_eq!(gone.status, 404);
    assert_eq!(app.http().send("DELETE", &one, None).await.status, 200);
    let gone = app
        .http()
        .with_token("")
        .send("GET", &path(&next.body["payload"]["thumbnail"]), None)
        .await;
    assert_eq!(gone.status, 404);
}
