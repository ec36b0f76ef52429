//! What gRPC clients expect besides the calls: error details that can be decoded, a plain-text reason, and compressed requests.

use std::io::Write as _;

use bytes::{BufMut as _, BytesMut};
use flate2::{Compression, write::GzEncoder};
use parley_proto::{CreateContactRequest, CreateContactResponse, GetContactRequest, contacts_service_client::ContactsServiceClient};
use prost::Message as _;
use prost_reflect::DescriptorPool;
use tonic::{Code, Request, Status, codec::CompressionEncoding, transport::Channel};
use tonic_reflection::pb::v1::{
    ServerReflectionRequest, server_reflection_client::ServerReflectionClient, server_reflection_request::MessageRequest,
    server_reflection_response::MessageResponse,
};
use tonic_types::StatusExt as _;

use crate::support::{
    app::{ADMINISTRATOR, TestApp},
    database::Backend,
    in_time,
};

fn named(name: &str) -> CreateContactRequest {
    CreateContactRequest {
        account_id: 1,
        inbox_id: Some(1),
        name: name.to_owned(),
        ..CreateContactRequest::default()
    }
}

/// The errors of a few calls.
async fn refusals(app: &TestApp) -> Vec<Status> {
    let mut contacts = app.clients().contacts;
    let bad = CreateContactRequest {
        email: Some("nobody".to_owned()),
        ..named("")
    };
    let invalid = contacts.create_contact(bad).await.expect_err("no address");
    let missing = GetContactRequest {
        account_id: 1,
        contact_id: 1_000_000,
    };
    let not_found = contacts.get_contact(missing).await.expect_err("nobody");
    let stranger = app.clients_with("nobody's token").contacts.get_contact(missing).await;
    vec![invalid, not_found, stranger.expect_err("no such token")]
}

#[tokio::test]
async fn error_reason_is_also_a_trailer() {
    let app = TestApp::start(Backend::Sqlite).await;
    let reasons = ["INVALID_FIELD", "NOT_FOUND", "TOKEN_INVALID"];
    for (status, reason) in refusals(&app).await.iter().zip(reasons) {
        assert_eq!(status.get_details_error_info().expect("always").reason, reason);
        assert_eq!(
            status.metadata().get("parley-reason").expect("always").as_bytes(),
            reason.as_bytes()
        );
    }
}

/// Whether reflection knows a type.
async fn is_reflected(client: &mut ServerReflectionClient<Channel>, symbol: &str) -> bool {
    let request = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::FileContainingSymbol(symbol.to_owned())),
    };
    let mut answers = client
        .server_reflection_info(tokio_stream::once(request))
        .await
        .expect("reflection is answered")
        .into_inner();
    match in_time("reflection", answers.message()).await {
        Ok(answer) => matches!(
            answer.expect("one").message_response,
            Some(MessageResponse::FileDescriptorResponse(_))
        ),
        Err(status) => {
            assert_eq!(status.code(), Code::NotFound, "{status:?}");
            false
        }
    }
}

#[tokio::test]
async fn error_detail_types_are_in_the_contract_and_reflected() {
    let app = TestApp::start(Backend::Sqlite).await;
    let channel = Channel::from_shared(format!("http://{}", app.server.listeners.grpc))
        .expect("an address")
        .connect()
        .await
        .expect("the server is there");
    let mut reflection = ServerReflectionClient::new(channel);
    let pool = DescriptorPool::decode(parley_proto::DESCRIPTORS).expect("the program carries its own description");
    let published = pool.all_messages().filter(|message| message.package_name() == "google.rpc");
    let mut types: Vec<String> = published
        .filter(|message| message.parent_message().is_none())
        .map(|message| message.full_name().to_owned())
        .collect();
    assert!(types.len() > 5, "{types:?}");
    for status in refusals(&app).await {
        let details = tonic_types::Status::decode(status.details()).expect("details").details;
        assert!(!details.is_empty());
        types.extend(
            details
                .iter()
                .map(|detail| detail.type_url.rsplit('/').next().unwrap_or_default().to_owned()),
        );
    }
    for name in types {
        assert!(pool.get_message_by_name(&name).is_some(), "{name} is not in the contract");
        assert!(is_reflected(&mut reflection, &name).await, "{name} is not reflected");
    }
    assert!(!is_reflected(&mut reflection, "google.rpc.Nothing").await);
}

#[tokio::test]
async fn compressed_requests_are_limited_by_message_size() {
    let app = TestApp::builder(Backend::Sqlite)
        .env("PARLEY_GRPC_MAX_MESSAGE_BYTES", "65536")
        .start()
        .await;
    let mut contacts = ContactsServiceClient::new(app.clients().service).send_compressed(CompressionEncoding::Gzip);
    let name = "a".repeat(200);
    let made = contacts.create_contact(named(&name)).await.expect("it is accepted");
    assert!(made.metadata().get("grpc-encoding").is_none(), "responses are not compressed");
    assert_eq!(made.into_inner().contact.expect("always set").name, name);
    let bomb = contacts.create_contact(named(&"a".repeat(10_000_000))).await;
    let refused = bomb.expect_err("it is larger than a message may be");
    assert_eq!(refused.code(), Code::ResourceExhausted, "{refused:?}");
    app.fixture().talk().await;
}

#[tokio::test]
async fn unknown_encoding_error_names_the_supported_one() {
    let app = TestApp::start(Backend::Sqlite).await;
    let mut request = Request::new(named("Asha"));
    request.metadata_mut().insert("grpc-encoding", "deflate".parse().expect("ASCII"));
    let refused = app.clients().contacts.create_contact(request).await.expect_err("it is not known");
    assert_eq!(refused.code(), Code::Unimplemented, "{refused:?}");
    let accepted = refused.metadata().get("grpc-accept-encoding").expect("the protocol asks for it");
    assert!(accepted.to_str().expect("ASCII").contains("gzip"), "{accepted:?}");
}

/// Makes a gRPC-Web call with one compressed message.
async fn web(app: &TestApp, message: &CreateContactRequest) -> (BytesMut, String) {
    let mut gzip = GzEncoder::new(Vec::new(), Compression::best());
    gzip.write_all(&message.encode_to_vec()).expect("it is in memory");
    let compressed = gzip.finish().expect("it is in memory");
    let mut body = BytesMut::new();
    body.put_u8(1);
    body.put_u32(u32::try_from(compressed.len()).expect("small"));
    body.put_slice(&compressed);
    let path = "parley.v1.ContactsService/CreateContact";
    let answer = reqwest::Client::new()
        .post(format!("http://{}/{path}", app.server.listeners.grpc))
        .header("content-type", "application/grpc-web+proto")
        .header("grpc-encoding", "gzip")
        .header("api_access_token", ADMINISTRATOR)
        .body(body.freeze())
        .send()
        .await
        .expect("an answer");
    let status = answer
        .headers()
        .get("grpc-status")
        .map(|status| status.to_str().expect("ASCII").to_owned());
    let body = BytesMut::from(&answer.bytes().await.expect("a body")[..]);
    (body, status.unwrap_or_default())
}

#[tokio::test]
async fn compressed_requests_are_accepted_over_grpc_web() {
    let app = TestApp::builder(Backend::Sqlite)
        .env("PARLEY_GRPC_MAX_MESSAGE_BYTES", "65536")
        .start()
        .await;
    let (mut body, _) = web(&app, &named("Asha")).await;
    let _ = body.split_to(1);
    let length = u32::from_be_bytes(body.split_to(4)[..].try_into().expect("four bytes"));
    let message = body.split_to(usize::try_from(length).expect("small"));
    let made = CreateContactResponse::decode(message).expect("a response");
    assert_eq!(made.contact.expect("always set").name, "Asha");
    let (body, status) = web(&app, &named(&"a".repeat(10_000_000))).await;
    let trailers = String::from_utf8_lossy(&body).into_owned();
    // RESOURCE_EXHAUSTED, in the headers or in the body.
    assert!(status == "8" || trailers.contains("grpc-status:8"), "{status} {trailers}");
}
