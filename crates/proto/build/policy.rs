//! Reads the policy that each method declares (`proto/parley/v1/options.proto`), checks it, and generates the table in which the program
//! looks it up. This module is part of the build script, so a method without a policy fails the build.

use std::fmt::Write as _;

use prost_reflect::{DescriptorPool, DynamicMessage, MethodDescriptor, ReflectMessage as _, Value};

/// The package whose methods must declare a policy.
const PACKAGE: &str = "parley.v1";

/// The full name of the method option that declares a policy.
const OPTION: &str = "parley.v1.policy";

/// The request field that makes a call idempotent.
const REQUEST_ID: &str = "request_id";

/// The policy that a method declares. Enum values are represented by their names, without the prefix of the enum.
struct Policy {
    caller: String,
    effect: String,
    credential: String,
    bots: bool,
    audited: bool,
    idempotent: bool,
}

/// Returns the table of all methods as a Rust expression, which is an array of `Method`.
///
/// # Errors
/// Returns a list with one error for each method that declares no policy, or whose policy contradicts itself or the method's request.
pub fn table(pool: &DescriptorPool) -> Result<String, Vec<String>> {
    let mut faults = Vec::new();
    let mut table = String::from("&[\n");
    let services = pool.services().filter(|service| service.package_name() == PACKAGE);
    for method in services.flat_map(|service| service.methods().collect::<Vec<_>>()) {
        let declared = declared(pool, &method).and_then(|policy| check(&method, &policy).map(|()| policy));
        match declared {
            Ok(policy) => entry(&mut table, &method, &policy),
            Err(fault) => faults.push(format!("{}: {fault}", method.full_name())),
        }
    }
    table.push_str("]\n");
    if faults.is_empty() { Ok(table) } else { Err(faults) }
}

/// Whether each call to a method is recorded as an audit event.
pub fn is_audited(pool: &DescriptorPool, method: &MethodDescriptor) -> bool {
    declared(pool, method).is_ok_and(|policy| policy.audited)
}

fn declared(pool: &DescriptorPool, method: &MethodDescriptor) -> Result<Policy, String> {
    let extension = pool
        .get_extension_by_name(OPTION)
        .ok_or_else(|| format!("the option {OPTION} is not defined"))?;
    let options = method.options();
    if !options.has_extension(&extension) {
        return Err("declares no policy".to_owned());
    }
    let value = options.get_extension(&extension).into_owned();
    let policy = value.as_message().ok_or("the policy is not a message")?;
    Ok(Policy {
        caller: name(policy, "caller", "METHOD_CALLER_")?,
        effect: name(policy, "effect", "METHOD_EFFECT_")?,
        credential: name(policy, "credential", "METHOD_CREDENTIAL_")?,
        bots: flag(policy, "bots")?,
        audited: flag(policy, "audited")?,
        idempotent: flag(policy, "idempotent")?,
    })
}

fn flag(policy: &DynamicMessage, field: &str) -> Result<bool, String> {
    let value = policy.get_field_by_name(field);
    value
        .and_then(|value| value.as_bool())
        .ok_or_else(|| format!("{field} is not a flag"))
}

fn name(policy: &DynamicMessage, field: &str, prefix: &str) -> Result<String, String> {
    let descriptor = policy
        .descriptor()
        .get_field_by_name(field)
        .ok_or_else(|| format!("no field {field}"))?;
    let kind = descriptor.kind();
    let values = kind.as_enum().ok_or_else(|| format!("{field} is not an enum"))?;
    let Value::EnumNumber(number) = policy.get_field(&descriptor).into_owned() else {
        return Err(format!("{field} is not an enum"));
    };
    let value = values.get_value(number).ok_or_else(|| format!("{field} has no value {number}"))?;
    let name = value.name().strip_prefix(prefix).unwrap_or(value.name());
    Ok(name.to_owned())
}

/// Checks that a policy is complete and does not contradict its method.
fn check(method: &MethodDescriptor, policy: &Policy) -> Result<(), String> {
    let streams = method.is_client_streaming() || method.is_server_streaming();
    let writes = policy.effect == "WRITE";
    let with_token = policy.credential == "UNSPECIFIED";
    let administers = matches!(
        policy.caller.as_str(),
        "ADMINISTRATOR" | "ADMINISTRATOR_OR_OPERATOR" | "OPERATOR" | "OWNER_OR_ADMINISTRATOR"
    );
    let has_request_id = method.input().get_field_by_name(REQUEST_ID).is_some();
    let rules = [
        (policy.caller != "UNSPECIFIED", "declares no caller"),
        (policy.effect != "UNSPECIFIED", "declares no effect"),
        (
            (policy.caller == "CREDENTIAL_HOLDER") != with_token,
            "CREDENTIAL_HOLDER needs a credential other than a token, and every other caller shows a token",
        ),
        (with_token || !policy.bots, "bots show a token, and this method takes none"),
        (writes || !policy.audited, "an audited method must write"),
        (
            policy.audited || streams || !(administers && writes),
            "a unary method by which administrators or the operator change something must be audited",
        ),
        (writes || !has_request_id, "a method with a request_id must write"),
        (
            has_request_id || streams || !writes,
            "a unary method that writes must take a request_id",
        ),
        (has_request_id || !policy.idempotent, "an idempotent method must take a request_id"),
    ];
    match rules.into_iter().find(|(holds, _)| !holds) {
        Some((_, fault)) => Err(fault.to_owned()),
        None => Ok(()),
    }
}

fn entry(table: &mut String, method: &MethodDescriptor, policy: &Policy) {
    let service = method.parent_service();
    // Writing to a `String` cannot fail.
    let _ = writeln!(
        table,
        "    Method {{ path: \"{service}/{call}\", service: \"{service}\", call: \"{call}\", request: \"{request}\", \
         caller: MethodCaller::{caller}, effect: MethodEffect::{effect}, credential: MethodCredential::{credential}, \
         bots: {bots}, audited: {audited}, idempotent: {idempotent}, \
         client_streaming: {client_streaming}, server_streaming: {server_streaming} }},",
        service = service.full_name(),
        call = method.name(),
        request = method.input().name(),
        caller = variant(&policy.caller),
        effect = variant(&policy.effect),
        credential = variant(&policy.credential),
        bots = policy.bots,
        audited = policy.audited,
        idempotent = policy.idempotent,
        client_streaming = method.is_client_streaming(),
        server_streaming = method.is_server_streaming(),
    );
}

/// Returns the name of a variant in the generated enum: `INBOX_MEMBER` becomes `InboxMember`.
fn variant(name: &str) -> String {
    let word = |word: &str| match word.split_at_checked(1) {
        Some((first, rest)) => first.to_uppercase() + &rest.to_lowercase(),
        None => word.to_owned(),
    };
    name.split('_').map(word).collect()
}
