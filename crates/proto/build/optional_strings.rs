//! Generates code that accesses the optional strings of some messages by field name. Update masks, parameters of the REST API and columns
//! all use the field names of the contract, so code that copies such fields between them need not list each field.

use std::fmt::Write as _;

use prost_reflect::{
    Cardinality, DescriptorPool, FieldDescriptor, Kind, MessageDescriptor,
    prost_types::{FileDescriptorProto, source_code_info::Location},
};

/// The messages whose optional strings can be accessed by name.
const MESSAGES: [&str; 2] = ["parley.v1.Contact", "parley.v1.CreateContactRequest"];

/// Returns an implementation of `OptionalStrings` for each message in [`MESSAGES`].
///
/// # Errors
/// Returns an error if the contract does not define one of the messages. The error names that message.
pub fn implementations(pool: &DescriptorPool) -> Result<String, String> {
    let mut code = String::new();
    for name in MESSAGES {
        let message = pool.get_message_by_name(name).ok_or_else(|| format!("no message {name}"))?;
        implementation(&mut code, &message);
    }
    Ok(code)
}

fn implementation(code: &mut String, message: &MessageDescriptor) {
    let file = message.parent_file();
    let strings: Vec<FieldDescriptor> = message.fields().filter(is_optional_string).collect();
    // Writing to a `String` cannot fail.
    let _ = writeln!(
        code,
        "impl OptionalStrings for crate::{} {{\n    const OPTIONAL_STRINGS: &'static [OptionalString] = &[",
        message.name()
    );
    for field in &strings {
        let comment = comment(file.file_descriptor_proto(), field.path());
        let _ = writeln!(code, "        OptionalString {{ name: {:?}, comment: {comment:?} }},", field.name());
    }
    code.push_str("    ];\n");
    by_name(code, &strings, "fn optional_string(&self, name: &str) -> Option<&str>", |name| {
        format!("self.{name}.as_deref()")
    });
    let signature = "fn optional_string_mut(&mut self, name: &str) -> Option<&mut Option<String>>";
    by_name(code, &strings, signature, |name| format!("Some(&mut self.{name})"));
    code.push_str("}\n");
}

/// Generates a method that looks up a field by name and evaluates the expression generated for that field.
fn by_name(code: &mut String, strings: &[FieldDescriptor], signature: &str, expression: impl Fn(&str) -> String) {
    let _ = writeln!(code, "    {signature} {{\n        match name {{");
    for field in strings {
        let _ = writeln!(code, "            {:?} => {},", field.name(), expression(field.name()));
    }
    code.push_str("            _ => None,\n        }\n    }\n");
}

fn is_optional_string(field: &FieldDescriptor) -> bool {
    field.kind() == Kind::String && field.cardinality() == Cardinality::Optional && field.supports_presence() && is_alone(field)
}

/// Whether the field is not a member of a `oneof`. The contract's `optional` is a synthetic `oneof` with a single field, which does not
/// count.
fn is_alone(field: &FieldDescriptor) -> bool {
    field.containing_oneof().is_none_or(|oneof| oneof.is_synthetic())
}

/// Returns the comment above the element at `path`, joined into one line.
fn comment(file: &FileDescriptorProto, path: &[i32]) -> String {
    let mut locations = file.source_code_info.iter().flat_map(|info| &info.location);
    let text = locations.find(|location| location.path == path).map(Location::leading_comments);
    text.unwrap_or_default().split_whitespace().collect::<Vec<_>>().join(" ")
}
