//! Limits the memory needed to decode a request, before the request is decoded.
//!
//! An element that takes two bytes on the wire (an empty `google.protobuf.Value`, or an empty message in a repeated field) takes 32 bytes
//! to 1 KiB in memory. So a large request is first walked according to its descriptor, and the elements that it would produce are counted.
//! Small requests need no walk: 32 KiB of empty elements stay below 8 MiB of memory. Nearly all requests are small.

use parley_fault::Protection;
use prost_reflect::{Kind, MessageDescriptor};

use super::description::POOL;

/// Requests up to this size in bytes are decoded without first walking their encoded fields to count elements.
const SMALL: usize = 32 * 1024;

/// Maximum number of elements in lists and maps. The JSON API accepts 50,000 values and adds a few of its own.
const ELEMENTS: usize = 51_000;

/// Maximum number of non-empty `google.protobuf.Struct`s. The JSON API accepts 5,000 objects and adds a few of its own.
const OBJECTS: usize = 5_100;

/// Maximum number of messages in one request, not counting attribute values and map entries.
const MESSAGES: usize = 10_000;

/// Maximum number of encoded fields. This limit bounds the time spent on counting a request's elements before the request is decoded.
const FIELDS: usize = 400_000;

/// Maximum depth to which the nested messages of a request are walked, which is the same as prost's recursion limit.
const DEPTH: usize = 100;

/// The limit that a request exceeds, as an error message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Excess(pub &'static str);

/// Returns the descriptor of a request type, or `None` if the type is not a request of the contract.
///
/// Responses are not limited: they come from this process, or from a server that the client trusts. `buf lint` checks that the names of
/// requests end with `Request`.
pub fn request<M: prost::Name>() -> Option<MessageDescriptor> {
    M::NAME
        .ends_with("Request")
        .then(|| POOL.as_ref()?.get_message_by_name(&M::full_name()))
        .flatten()
}

/// Checks an encoded request before it is decoded. Malformed bytes are not reported here, but by the decoder.
///
/// # Errors
/// Returns [`Excess`] if the request exceeds a limit.
pub fn check<M: prost::Name>(bytes: &[u8]) -> Result<(), Excess> {
    if bytes.len() <= SMALL || !parley_fault::is_on(Protection::WireBudget) {
        return Ok(());
    }
    let Some(descriptor) = request::<M>() else { return Ok(()) };
    let mut budget = Budget {
        elements: ELEMENTS,
        objects: OBJECTS,
        messages: MESSAGES,
        fields: FIELDS,
    };
    budget.walk(&descriptor, bytes, DEPTH)
}

struct Budget {
    elements: usize,
    objects: usize,
    messages: usize,
    fields: usize,
}

fn take(left: &mut usize, count: usize, excess: &'static str) -> Result<(), Excess> {
    *left = left.checked_sub(count).ok_or(Excess(excess))?;
    Ok(())
}

impl Budget {
    fn walk(&mut self, message: &MessageDescriptor, mut bytes: &[u8], depth: usize) -> Result<(), Excess> {
        if depth == 0 {
            return Ok(());
        }
        while let Some((key, rest)) = varint(bytes) {
            take(&mut self.fields, 1, "the request must have at most 400000 fields on the wire")?;
            let Ok(number) = u32::try_from(key >> 3) else { return Ok(()) };
            let Some((content, rest)) = content(key & 7, rest) else {
                return Ok(());
            };
            bytes = rest;
            // Skip unknown fields, as the decoder does.
            let Some(field) = message.get_field(number) else { continue };
            let is_repeated = field.is_list() || field.is_map();
            match field.kind() {
                Kind::Message(inner) => {
                    match inner.full_name() {
                        "google.protobuf.Struct" if !content.is_empty() => {
                            take(&mut self.objects, 1, "the request must have at most 5100 objects in its attributes")?;
                        }
                        "google.protobuf.Struct" | "google.protobuf.Value" | "google.protobuf.ListValue" => {}
                        _ if inner.is_map_entry() => {}
                        _ => take(&mut self.messages, 1, "the request must have at most 10000 messages")?,
                    }
                    if is_repeated {
                        self.elements(1)?;
                    }
                    self.walk(&inner, content, depth - 1)?;
                }
                Kind::String | Kind::Bytes if is_repeated => self.elements(1)?,
                // Repeated numbers may be packed: varints or fixed-size numbers, back to back.
                Kind::Double | Kind::Fixed64 | Kind::Sfixed64 if is_repeated => self.elements(1 + content.len() / 8)?,
                Kind::Float | Kind::Fixed32 | Kind::Sfixed32 if is_repeated => self.elements(1 + content.len() / 4)?,
                _ if is_repeated => self.elements(1 + content.iter().filter(|byte| **byte < 0x80).count())?,
                _ => {}
            }
        }
        Ok(())
    }

    fn elements(&mut self, count: usize) -> Result<(), Excess> {
        take(
            &mut self.elements,
            count,
            "the request must have at most 51000 elements in its lists and attributes",
        )
    }
}

/// Splits off the content of a length-delimited field. For other fields, which are skipped, the content is empty. Returns `None` if the
/// bytes cannot be walked.
fn content(wire_type: u64, bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let skip = |count: usize| Some((&bytes[..0], bytes.get(count..)?));
    match wire_type {
        0 => Some((&bytes[..0], varint(bytes)?.1)),
        1 => skip(8),
        5 => skip(4),
        2 => {
            let (length, rest) = varint(bytes)?;
            rest.split_at_checked(usize::try_from(length).ok()?)
        }
        _ => None,
    }
}

fn varint(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let mut number = 0;
    for (index, byte) in bytes.iter().enumerate().take(10) {
        number |= u64::from(byte & 0x7f) << (7 * index);
        if *byte < 0x80 {
            return Some((number, &bytes[index + 1..]));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use prost::Message as _;
    use prost_types::{ListValue, Struct, Value, value::Kind as Is};

    use super::*;
    use crate as pb;

    fn value(kind: Is) -> Value {
        Value { kind: Some(kind) }
    }

    fn contact(attributes: Struct) -> Result<(), Excess> {
        let contact = pb::CreateContactRequest {
            custom_attributes: Some(attributes),
            // Large enough to be walked.
            name: "x".repeat(SMALL),
            ..Default::default()
        };
        check::<pb::CreateContactRequest>(&contact.encode_to_vec())
    }

    fn list(values: Vec<Value>) -> Struct {
        let list = value(Is::ListValue(ListValue { values }));
        Struct {
            fields: [("a".to_owned(), list)].into(),
        }
    }

    #[test]
    fn limits_elements_and_objects() {
        assert_eq!(contact(list(vec![value(Is::BoolValue(true)); 50_000])), Ok(()));
        assert_eq!(
            contact(list(vec![Value::default(); ELEMENTS])),
            Err(Excess("the request must have at most 51000 elements in its lists and attributes"))
        );
        let object = || value(Is::StructValue(list(vec![])));
        assert_eq!(contact(list(vec![object(); 5000])), Ok(()));
        assert!(contact(list(vec![object(); OBJECTS])).is_err());
    }

    #[test]
    fn limits_messages_and_packed_numbers() {
        let mut bytes = pb::BatchCreateMessagesRequest::default().encode_to_vec();
        // Field 3, `messages`, empty.
        bytes.extend_from_slice(&[0x1a, 0].repeat(MESSAGES + 10_000));
        assert_eq!(
            check::<pb::BatchCreateMessagesRequest>(&bytes),
            Err(Excess("the request must have at most 10000 messages"))
        );
        let many = pb::AddInboxMembersRequest {
            user_ids: vec![1; ELEMENTS + 1],
            ..Default::default()
        };
        assert!(check::<pb::AddInboxMembersRequest>(&many.encode_to_vec()).is_err());
        // Fields that the contract does not have are skipped, whatever they contain.
        assert_eq!(check::<pb::BatchCreateMessagesRequest>(&[0xfa, 0x7f, 0].repeat(20_000)), Ok(()));
    }

    #[test]
    fn texts_and_responses_are_not_scanned() {
        let text = pb::CreateContactRequest {
            name: " ".repeat(1_000_000),
            ..Default::default()
        };
        assert_eq!(check::<pb::CreateContactRequest>(&text.encode_to_vec()), Ok(()));
        assert!(request::<pb::ListMessagesResponse>().is_none());
        assert!(request::<pb::CreateContactRequest>().is_some());
    }

    proptest::proptest! {
        #[test]
        fn arbitrary_bytes_do_not_panic(bytes in proptest::collection::vec(proptest::num::u8::ANY, SMALL + 1..SMALL + 200)) {
            let _ = check::<pb::BatchCreateMessagesRequest>(&bytes);
        }
    }
}
