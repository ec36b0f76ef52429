//! Generates the implementations of the traits in `src/rpc.rs` for the requests and responses of all unary methods. The names and types of
//! a message's fields determine which traits it implements.

use std::fmt::Write as _;

use prost_reflect::{DescriptorPool, FieldDescriptor, Kind, MessageDescriptor, MethodDescriptor};

/// The Protobuf package for which trait implementations are generated.
const PACKAGE: &str = "parley.v1";

/// Returns the generated trait implementations as Rust source code.
pub fn implementations(pool: &DescriptorPool, is_audited: &dyn Fn(&MethodDescriptor) -> bool) -> String {
    let mut code = String::new();
    for service in pool.services().filter(|service| service.package_name() == PACKAGE) {
        let methods: Vec<_> = service.methods().collect();
        for method in &methods {
            write_request(&mut code, method, is_audited);
            if !method.is_client_streaming() && !method.is_server_streaming() {
                request(&mut code, method);
                response(&mut code, &method.output());
            }
        }
        records(&mut code, &methods);
    }
    code
}

fn implement(code: &mut String, name: &str, message: &str, items: &str) {
    let _ = writeln!(code, "impl crate::rpc::{name} for crate::{message} {{ {items} }}");
}

/// Returns the type of a field if its type is a message of the contract.
fn message_type(field: &FieldDescriptor) -> Option<String> {
    let Kind::Message(message) = field.kind() else { return None };
    (message.package_name() == PACKAGE).then(|| message.name().to_owned())
}

/// Whether a message has a field with this name and type that is neither repeated nor optional.
fn has(message: &MessageDescriptor, name: &str, kind: &Kind) -> bool {
    let field = message.get_field_by_name(name);
    field.is_some_and(|field| field.kind() == *kind && !field.is_list() && !field.supports_presence())
}

/// Returns the name and type of the only field whose type is a message of the contract, or `None` if there is no such field or more than
/// one.
fn resource(message: &MessageDescriptor) -> Option<(String, String)> {
    let mut parts = message
        .fields()
        .filter(|field| !field.is_list() && field.containing_oneof().is_none())
        .filter_map(|field| Some((field.name().to_owned(), message_type(&field)?)));
    parts.next().filter(|_| parts.next().is_none())
}

/// Converts a name in the contract to snake case: `GetLabel` becomes `get_label`.
fn snake_case(name: &str) -> String {
    let mut snake = String::new();
    for letter in name.chars() {
        if letter.is_uppercase() && !snake.is_empty() {
            snake.push('_');
        }
        snake.push(letter.to_ascii_lowercase());
    }
    snake
}

/// Returns the name of the field that contains the id of the resource after which a method is named, such as `label_id` for `GetLabel`.
fn id_field(method: &MethodDescriptor) -> Option<String> {
    let noun = method
        .name()
        .trim_start_matches(char::is_uppercase)
        .trim_start_matches(char::is_lowercase);
    let field = format!("{}_id", snake_case(noun));
    has(&method.input(), &field, &Kind::Int64).then_some(field)
}

fn request(code: &mut String, method: &MethodDescriptor) {
    let (request, service) = (method.input(), method.parent_service());
    let (name, call) = (request.name().to_owned(), method.name());
    let items = format!(
        "type Response = crate::{}; const SERVICE: &'static str = \"{PACKAGE}.{service}\"; const METHOD: &'static str = \"{call}\"; \
         const NAME: &'static str = \"{service}.{call}\"; const PATH: &'static str = \"/{PACKAGE}.{service}/{call}\";",
        method.output().name(),
        service = service.name(),
    );
    implement(code, "UnaryRequest", &name, &items);
    if has(&request, "account_id", &Kind::Int64) {
        let items = "fn account_id(&self) -> i64 { self.account_id } fn set_account_id(&mut self, id: i64) { self.account_id = id; }";
        implement(code, "AccountRequest", &name, items);
    }
    if let Some(field) = id_field(method) {
        let items = format!("fn id(&self) -> i64 {{ self.{field} }} fn set_id(&mut self, id: i64) {{ self.{field} = id; }}");
        implement(code, "IdRequest", &name, &items);
    }
    if has(&request, "page_size", &Kind::Int32) && has(&request, "page_token", &Kind::String) {
        paged(code, &request);
    }
    if let Some((field, kind)) = resource(&request) {
        let items = format!(
            "type Resource = crate::{kind}; const FIELD: &'static str = \"{field}\"; \
             fn resource(&mut self) -> &mut Option<Self::Resource> {{ &mut self.{field} }}"
        );
        implement(code, "ResourceRequest", &name, &items);
        if request.get_field_by_name("update_mask").is_some() {
            let items = "fn update_mask(&mut self) -> &mut Option<prost_types::FieldMask> { &mut self.update_mask }";
            implement(code, "UpdateRequest", &name, items);
        }
    }
}

/// Returns the path of the field of an audited request that identifies the resource: the first id field other than `account_id`, or else
/// the id in the resource to update.
fn audit_field(method: &MethodDescriptor) -> Option<String> {
    let request = method.input();
    let id = |field: &FieldDescriptor| {
        field.name().ends_with("_id") && field.name() != "account_id" && has(&request, field.name(), &Kind::Int64)
    };
    if let Some(field) = request.fields().find(id) {
        return Some(field.name().to_owned());
    }
    let (field, _) = resource(&request).filter(|(field, _)| method.name().starts_with("Update") && field != "account")?;
    Some(format!("{field}.id"))
}

fn write_request(code: &mut String, method: &MethodDescriptor, is_audited: &dyn Fn(&MethodDescriptor) -> bool) {
    if !has(&method.input(), "request_id", &Kind::String) {
        return;
    }
    let mut items = String::from(
        "fn request_id(&self) -> &str { &self.request_id } fn set_request_id(&mut self, id: String) { self.request_id = id; } ",
    );
    if let Some(field) = audit_field(method).filter(|_| is_audited(method)) {
        let value = match field.split_once('.') {
            Some((part, id)) => format!("self.{part}.as_ref().map(|part| (\"{field}\", part.{id}))"),
            None => format!("Some((\"{field}\", self.{field}))"),
        };
        let _ = write!(items, "fn audit_target(&self) -> Option<(&'static str, i64)> {{ {value} }}");
    }
    implement(code, "WriteRequest", method.input().name(), &items);
}

fn paged(code: &mut String, request: &MessageDescriptor) {
    let is_extent = |name: &str| name == "skip" || name.starts_with("with_") || name.starts_with("without_");
    let mut rest = String::from("page_size: 0, page_token: String::new(), ");
    for field in request.fields().filter(|field| is_extent(field.name())) {
        let _ = write!(rest, "{}: Default::default(), ", field.name());
    }
    let skip = if has(request, "skip", &Kind::Int32) { "self.skip" } else { "0" };
    let items = format!(
        "fn page_size(&self) -> i32 {{ self.page_size }} fn page_token(&self) -> &str {{ &self.page_token }} fn skip(&self) -> i32 {{ {skip} }} \
         fn set_page(&mut self, size: i32, token: String) {{ self.page_size = size; self.page_token = token; }} \
         fn without_paging(&self) -> Self {{ Self {{ {rest}..self.clone() }} }}"
    );
    implement(code, "PagedRequest", request.name(), &items);
}

fn response(code: &mut String, response: &MessageDescriptor) {
    let fields: Vec<_> = response.fields().collect();
    let (cursor, others): (Vec<_>, Vec<_>) = fields.iter().partition(|field| field.name() == "cursor");
    let cursor = if cursor.is_empty() { "" } else { ", cursor" };
    match others.as_slice() {
        [] if !cursor.is_empty() => {
            let items = "type Resource = (); fn new((): (), cursor: bytes::Bytes) -> Self { Self { cursor } } fn into_resource(self) {}";
            implement(code, "ResourceResponse", response.name(), items);
        }
        [field] if !field.is_list() && field.containing_oneof().is_none() => {
            if let Some(kind) = message_type(field) {
                let field = field.name();
                let items = format!(
                    "type Resource = crate::{kind}; \
                     fn new({field}: crate::{kind}, {}cursor: bytes::Bytes) -> Self {{ Self {{ {field}: Some({field}){cursor} }} }} \
                     fn into_resource(self) -> crate::{kind} {{ self.{field}.unwrap_or_default() }}",
                    if cursor.is_empty() { "_" } else { "" },
                );
                implement(code, "ResourceResponse", response.name(), &items);
            }
        }
        [rows, token] if rows.is_list() && token.name() == "next_page_token" => {
            if let Some(kind) = message_type(rows) {
                let rows = rows.name();
                let items = format!(
                    "type Row = crate::{kind}; \
                     fn new({rows}: Vec<crate::{kind}>, next_page_token: String) -> Self {{ Self {{ {rows}, next_page_token }} }} \
                     fn into_page(self) -> (Vec<crate::{kind}>, String) {{ (self.{rows}, self.next_page_token) }}"
                );
                implement(code, "PageResponse", response.name(), &items);
            }
        }
        _ => {}
    }
}

/// Generates the `Record` implementation for each message that has all five standard methods in its service.
fn records(code: &mut String, methods: &[MethodDescriptor]) {
    let is_in_account = |method: &MethodDescriptor| has(&method.input(), "account_id", &Kind::Int64);
    let named = |name: &str| methods.iter().find(|method| method.name() == name && is_in_account(method));
    for create in methods {
        let Some(noun) = create.name().strip_prefix("Create") else {
            continue;
        };
        let is_noun = |(_, kind): &(String, String)| kind == noun;
        let is_standard = resource(&create.input()).is_some_and(|part| is_noun(&part)) && is_in_account(create);
        let [Some(get), Some(list), Some(update), Some(delete)] = [
            format!("Get{noun}"),
            format!("List{noun}s"),
            format!("Update{noun}"),
            format!("Delete{noun}"),
        ]
        .map(|name| named(&name)) else {
            continue;
        };
        if !is_standard || id_field(get).is_none() || id_field(delete).is_none() {
            continue;
        }
        let standard = [
            ("Create", create),
            ("Get", get),
            ("List", list),
            ("Update", update),
            ("Delete", delete),
        ];
        let mut items = String::from("fn id(&self) -> i64 { self.id } fn set_id(&mut self, id: i64) { self.id = id; } ");
        for (role, method) in standard {
            let _ = write!(items, "type {role} = crate::{}; ", method.input().name());
        }
        implement(code, "Record", noun, &items);
        if methods.len() == standard.len() {
            record_service(code, noun, &standard);
        }
    }
}

/// Generates the implementation of the gRPC service for a record whose service has only the standard methods.
fn record_service(code: &mut String, noun: &str, standard: &[(&str, &MethodDescriptor)]) {
    let mut methods = String::new();
    for (role, method) in standard {
        let _ = write!(
            methods,
            "async fn {}(&self, request: tonic::Request<crate::{}>) -> Result<tonic::Response<crate::{}>, tonic::Status> \
             {{ self.0.{}(request).await }} ",
            snake_case(method.name()),
            method.input().name(),
            method.output().name(),
            snake_case(role),
        );
    }
    let service = standard[0].1.parent_service();
    let _ = writeln!(
        code,
        "#[tonic::async_trait] impl<H: crate::rpc::RecordHandler<crate::{noun}>> crate::{}_server::{} for crate::rpc::RecordServer<H> {{ {methods} }}",
        snake_case(service.name()),
        service.name(),
    );
}
