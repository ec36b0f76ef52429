//! Method policies, owners of idempotency keys, and stored audit events.

mod audit;
#[allow(dead_code, reason = "the build script also asks which methods are audited")]
#[path = "../../../crates/proto/build/policy.rs"]
mod declarations;
mod idempotency;

use http::uri::PathAndQuery;
use parley_proto::{self as pb, CreateTokenRequest, MethodCaller, MethodEffect, RevokeTokenRequest, TokenKind};
use prost::Message as _;
use prost_reflect::{DescriptorPool, DynamicMessage, Value};
use tonic::{Code, Request, client::Grpc};

use crate::{
    roles::policy,
    support::{app::TestApp, clients::Clients, database::Backend},
};

/// The messages in a repeated field.
fn each<'m>(message: &'m mut DynamicMessage, field: &'static str) -> impl Iterator<Item = &'m mut DynamicMessage> {
    let list = message.get_field_by_name_mut(field).and_then(Value::as_list_mut);
    list.into_iter().flatten().filter_map(Value::as_message_mut)
}

fn is_named(message: &DynamicMessage, name: &str) -> bool {
    message.get_field_by_name("name").is_some_and(|value| value.as_str() == Some(name))
}

/// The descriptors of the contract with one method changed.
fn with_method(path: &str, change: impl Fn(&mut DynamicMessage)) -> DescriptorPool {
    let set = DescriptorPool::global()
        .get_message_by_name("google.protobuf.FileDescriptorSet")
        .expect("a well-known type");
    let mut set = DynamicMessage::decode(set, pb::DESCRIPTORS).expect("the program carries its own description");
    let (service, call) = path.split_once('.').expect("a service and a call");
    let mut changed = 0;
    for file in each(&mut set, "file") {
        for service in each(file, "service").filter(|found| is_named(found, service)) {
            for method in each(service, "method").filter(|found| is_named(found, call)) {
                change(method);
                changed += 1;
            }
        }
    }
    assert_eq!(changed, 1, "the contract has one {path}");
    DescriptorPool::decode(set.encode_to_vec().as_slice()).expect("descriptors")
}

/// Runs the check of the build script on the contract, and on the contract with a method that declares no policy.
#[test]
fn build_refuses_method_without_policy() {
    let whole = DescriptorPool::decode(pb::DESCRIPTORS).expect("the program carries its own description");
    declarations::table(&whole).expect("every method declares its policy");
    let without = with_method("FilesService.GetFileLink", |method| method.clear_field_by_name("options"));
    assert_eq!(
        declarations::table(&without),
        Err(vec!["parley.v1.FilesService.GetFileLink: declares no policy".to_owned()])
    );
}

/// A policy that contradicts its method does not build either: this method gets the request of a method that writes.
#[test]
fn build_refuses_contradicting_policy() {
    let changed = with_method("LabelsService.ListLabels", |method| {
        method.set_field_by_name("input_type", Value::String(".parley.v1.CreateLabelRequest".to_owned()));
    });
    assert_eq!(
        declarations::table(&changed),
        Err(vec![
            "parley.v1.LabelsService.ListLabels: a method with a request_id must write".to_owned()
        ])
    );
}

/// Every method that the contract declares idempotent has the id by which a repeated request is recognised.
#[test]
fn idempotent_methods_have_request_ids() {
    let pool = DescriptorPool::decode(pb::DESCRIPTORS).expect("the program carries its own description");
    let mut checked = 0;
    for method in pool.services().flat_map(|service| service.methods().collect::<Vec<_>>()) {
        let path = method
            .full_name()
            .rsplit_once('.')
            .map(|(service, call)| format!("{service}/{call}"));
        if path
            .and_then(|path| pb::policy::method(&path))
            .is_some_and(|policy| policy.idempotent)
        {
            let id = method.input().get_field_by_name("request_id");
            assert!(
                id.is_some(),
                "{} is idempotent, and its request has no request_id",
                method.full_name()
            );
            checked += 1;
        }
    }
    assert!(checked > 50, "{checked} methods are idempotent");
}

/// Paths that begin or end like a method without authentication require a token.
#[tokio::test]
async fn unknown_methods_need_a_token() {
    let app = TestApp::start(Backend::Sqlite).await;
    let nobody = Clients::new(&app.server.listeners.grpc, None);
    for path in [
        "/parley.v1.FilesService/GetFileLinkStats",
        "/parley.v1.ClientService/ListEverything",
        "/parley.v1.PubsubService/",
        "/parley.v1.Whatever/Subscribe",
        "/x/UploadFile",
    ] {
        assert_eq!(call(&nobody, path).await, Code::Unauthenticated, "{path}");
        assert_eq!(call(&app.clients(), path).await, Code::Unimplemented, "{path}");
    }
}

/// The status code of a call with an empty message.
async fn call(clients: &Clients, path: &str) -> Code {
    let mut grpc = Grpc::new(clients.service.clone());
    grpc.ready().await.expect("the server is there");
    let path = PathAndQuery::try_from(path.to_owned()).expect("a path");
    let codec = tonic_prost::ProstCodec::<pb::GetAccessRequest, pb::GetAccessResponse>::default();
    let answer = grpc.unary(Request::new(pb::GetAccessRequest::default()), path, codec).await;
    answer.map_or_else(|status| status.code(), |_| Code::Ok)
}

/// The policy of the method refuses a read-only token, whatever its handler checks. With that protection turned off, the token revokes
/// another token.
#[tokio::test]
async fn read_only_token_revokes_nothing() {
    for (switch, is_refused) in [("", true), ("read_only", false)] {
        let app = TestApp::builder(Backend::Sqlite)
            .platform()
            .env("PARLEY_FAULT_SWITCH", switch)
            .start()
            .await;
        let of_user = |read_only| CreateTokenRequest {
            kind: TokenKind::User.into(),
            user_id: Some(1),
            read_only,
            ..CreateTokenRequest::default()
        };
        let mut platform = app.platform().accounts;
        let reader = platform.create_token(of_user(true)).await.expect("a token").into_inner();
        let other = platform.create_token(of_user(false)).await.expect("a token").into_inner();
        let request = RevokeTokenRequest {
            token_id: other.token.expect("always set").id,
            ..RevokeTokenRequest::default()
        };
        let revoked = app.clients_with(&reader.secret).accounts.revoke_token(request).await;
        let code = revoked.map_or_else(|status| status.code(), |_| Code::Ok);
        assert_eq!(code == Code::PermissionDenied, is_refused, "{switch:?}: {code:?}");
    }
}

/// The callers that a JSON route admits are those of the method behind it, or fewer.
#[tokio::test]
async fn routes_agree_with_methods() {
    use MethodCaller as Caller;
    let app = TestApp::start(Backend::Sqlite).await;
    let http = app.http();
    let description = http.description().await;
    let mut wrong = Vec::new();
    let mut checked = 0;
    for (verb, path) in description.operations() {
        let operation = &description.document()["paths"][&path][verb.to_ascii_lowercase()];
        let Some(rpc) = operation["x-parley-rpc"].as_str() else { continue };
        let (method, caller) = (policy::named(rpc), operation["x-parley-caller"].as_str().expect("it is told"));
        let admitted: &[Caller] = match caller {
            "anyone" => &[Caller::CredentialHolder],
            // The profile holds the credential that such a method takes. Members change their own availability with the account in the body
            // instead of the path.
            "user" => &[
                Caller::Owner,
                Caller::OwnerOrAdministrator,
                Caller::CredentialHolder,
                Caller::Member,
            ],
            "member" => &[Caller::Member, Caller::MemberOrOperator, Caller::InboxMember],
            // As in Chatwoot, only administrators delete conversations over the JSON API; the method admits members of the inbox.
            "administrator" => &[Caller::Administrator, Caller::AdministratorOrOperator, Caller::InboxMember],
            // The routes of operators are a subset of what other callers may use.
            "platform" => &[
                Caller::Operator,
                Caller::AdministratorOrOperator,
                Caller::MemberOrOperator,
                Caller::Owner,
                Caller::OwnerOrAdministrator,
            ],
            other => panic!("{path}: {other} is no caller"),
        };
        let writes = operation["x-parley-writes"] == true;
        // Chatwoot creates login links with GET. A visitor's typing is not stored, so its route takes no Idempotency-Key.
        let differs = writes != (method.effect == MethodEffect::Write) && method.needs_token() && method.call != "CreateLoginLink";
        if !admitted.contains(&method.caller) || differs {
            wrong.push(format!(
                "{verb} {path} ({caller}, writes: {writes}): {rpc} is for {:?}, {:?}",
                method.caller, method.effect
            ));
        }
        checked += 1;
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(checked > 100, "only {checked} routes have a method");
}
