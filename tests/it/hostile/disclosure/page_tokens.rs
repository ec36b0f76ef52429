//! Page tokens have a checksum but no signature, so anyone can forge one. Every list refuses values of the wrong type as `INVALID_ARGUMENT`
//! on both databases. Forged cursors are refused as well.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use bytes::BufMut as _;
use parley_proto::subscribe_request::Start;
use prost::Message as _;
use prost_reflect::{DynamicMessage, MethodDescriptor, Value};
use tonic::Code;

use crate::{
    roles::ask::{calls, filled, name, send},
    support::{
        app::TestApp,
        clients::Clients,
        database::Backend,
        on_both,
        reader::{Reader, everything},
    },
};

on_both!(
    every_list_refuses_page_tokens_with_wrong_types,
    without_the_check_forged_page_tokens_are_not_refused,
    forged_cursor_is_refused
);

/// A value in a page token, encoded as in `crates/grpc/src/validation/page_token.rs`.
#[derive(Clone, Debug)]
enum Part {
    Null,
    Int(i64),
    Text(&'static str),
    Many(Vec<Part>),
}

impl Part {
    fn put(&self, out: &mut Vec<u8>) {
        match self {
            Self::Null => out.put_u8(0),
            Self::Int(value) => {
                out.put_u8(1);
                out.put_i64(*value);
            }
            Self::Text(text) => {
                out.put_u8(2);
                out.put_u32(u32::try_from(text.len()).expect("a short text"));
                out.put_slice(text.as_bytes());
            }
            Self::Many(parts) => {
                out.put_u8(3);
                out.put_u8(u8::try_from(parts.len()).expect("few parts"));
                for part in parts {
                    part.put(out);
                }
            }
        }
    }
}

/// A forged token with a correct checksum, for a request without its page fields.
fn forged(request: &DynamicMessage, value: &Part, id: i64) -> String {
    let mut bytes = Vec::new();
    bytes.put_u32(crc32fast::hash(&request.encode_to_vec()));
    bytes.put_i64(id);
    value.put(&mut bytes);
    let sum = crc32fast::hash(&bytes);
    bytes.put_u32(sum);
    URL_SAFE_NO_PAD.encode(bytes)
}

fn values() -> Vec<Part> {
    use Part::{Int, Many, Null, Text};
    vec![
        Null,
        Int(0),
        Int(i64::MIN),
        Int(i64::MAX),
        Text("0"),
        Text("a\0b"),
        Text("not a number"),
        Many(vec![]),
        Many(vec![Int(1), Text("a")]),
        Many(vec![Text("a"), Int(1)]),
        Many(vec![Null, Null, Null]),
    ]
}

/// A request for every list, for some in several orders.
fn lists() -> Vec<(MethodDescriptor, DynamicMessage)> {
    let mut lists = Vec::new();
    for call in calls() {
        if call.input().get_field_by_name("page_token").is_none() {
            continue;
        }
        let mut request = filled(&call.input(), 0);
        // Filters need conditions and searches need a text; both have their own tests.
        request.clear_field_by_name("filter");
        if let Some(Value::Message(session)) = request.get_field_by_name("session").map(std::borrow::Cow::into_owned) {
            let mut session = session;
            session.set_field_by_name("inbox_identifier", Value::String("inbox-a".to_owned()));
            request.set_field_by_name("session", Value::Message(session));
        }
        if call.input().get_field_by_name("order_by").is_some() {
            for order in ["name", "-last_activity_at", "company", "city,name"] {
                let mut ordered = request.clone();
                ordered.set_field_by_name("order_by", Value::String(order.to_owned()));
                lists.push((call.clone(), ordered));
            }
        }
        lists.push((call, request));
    }
    lists
}

/// An account with one row of most kinds.
async fn start(backend: Backend, switch: &str) -> TestApp {
    let app = TestApp::builder(backend)
        .platform()
        .env("PARLEY_BOOTSTRAP_INBOX_IDENTIFIER", "inbox-a")
        .env("PARLEY_FAULT_SWITCH", switch)
        .start()
        .await;
    let fixture = app.fixture();
    fixture.hear(fixture.talk().await, "hello").await;
    app
}

/// Sends a forged token with a correct checksum. Returns the code of the refusal.
async fn page(clients: [&Clients; 2], call: &MethodDescriptor, request: &DynamicMessage, value: &Part) -> Result<(), Code> {
    let mut asked = request.clone();
    asked.set_field_by_name("page_token", Value::String(forged(request, value, 1)));
    match send(clients[0], call, &asked).await {
        Err(status) if status.code() == Code::PermissionDenied => send(clients[1], call, &asked).await,
        answer => answer,
    }
    .map_err(|status| status.code())
}

async fn every_list_refuses_page_tokens_with_wrong_types(backend: Backend) {
    let app = start(backend, "").await;
    let (clients, platform) = (app.clients(), app.platform());
    let (mut refused, mut taken) = (0, 0);
    for (call, request) in lists() {
        let mut codes = Vec::new();
        for value in values() {
            let answered = page([&clients, &platform], &call, &request, &value).await;
            let code = answered.err().unwrap_or(Code::Ok);
            assert!(
                matches!(code, Code::Ok | Code::InvalidArgument | Code::NotFound),
                "{} with {value:?} in {request}: {code:?}",
                name(&call)
            );
            codes.push(code);
        }
        refused += codes.iter().filter(|code| **code == Code::InvalidArgument).count();
        // At least one value must be accepted: otherwise the checksum is wrong and nothing was tested.
        taken += usize::from(codes.contains(&Code::Ok));
        if codes.contains(&Code::Ok) {
            assert!(codes.contains(&Code::InvalidArgument), "{} takes anything: {codes:?}", name(&call));
        }
    }
    assert!(
        taken >= 18 && refused >= 180,
        "{taken} lists took a token, {refused} tokens were refused"
    );
}

async fn without_the_check_forged_page_tokens_are_not_refused(backend: Backend) {
    let app = start(backend, "typed_page_tokens").await;
    let (clients, platform) = (app.clients(), app.platform());
    let mut wrong = 0;
    for (call, request) in lists().into_iter().filter(|(call, _)| name(call) == "ContactsService.ListContacts") {
        for value in [Part::Int(0), Part::Text("0"), Part::Text("a\0b")] {
            let answered = page([&clients, &platform], &call, &request, &value).await;
            wrong += usize::from(!matches!(answered, Err(Code::InvalidArgument)));
        }
    }
    assert!(wrong > 5, "{wrong}");
}

async fn forged_cursor_is_refused(backend: Backend) {
    let app = start(backend, "").await;
    let good = crate::support::reader::log_info(&app.clients(), 1).await.head_cursor;
    let mut forged: Vec<Vec<u8>> = vec![vec![0], vec![1], vec![0xff; 40], good[..good.len() - 1].to_vec()];
    for byte in 0..good.len() {
        let mut changed = good.to_vec();
        changed[byte] ^= 0x40;
        forged.push(changed);
    }
    // Numbers beyond 63 bits, with a correct checksum.
    let mut wide = vec![1];
    for _ in 0..3 {
        wide.extend([0xff; 9]);
        wide.push(1);
    }
    wide.extend(crc32fast::hash(&wide).to_be_bytes());
    forged.push(wide);
    for cursor in forged {
        let refused = Reader::refusal(&app.clients(), everything(1, Start::After(cursor.clone().into()))).await;
        assert_eq!(refused.code(), Code::InvalidArgument, "{cursor:?}");
    }
}
