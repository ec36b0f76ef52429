//! The descriptors of the contract, through which the fields of any message can be accessed by name.

use std::sync::LazyLock;

use bytes::Bytes;
use prost_reflect::{DescriptorPool, DynamicMessage};

/// The decoded descriptors, or `None` if the descriptors in the program are invalid.
pub static POOL: LazyLock<Option<DescriptorPool>> = LazyLock::new(|| DescriptorPool::decode(super::DESCRIPTORS).ok());

/// Returns the field `cursor` of a response, or an empty value if the response has no such field.
pub fn cursor_of<M: prost::Message + prost::Name>(answer: &M) -> Bytes {
    let descriptor = POOL.as_ref().and_then(|pool| pool.get_message_by_name(&M::full_name()));
    let decoded = descriptor.and_then(|descriptor| DynamicMessage::decode(descriptor, answer.encode_to_vec().as_slice()).ok());
    let cursor = decoded.and_then(|decoded| decoded.get_field_by_name("cursor")?.as_bytes().cloned());
    cursor.unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate as pb;

    #[test]
    fn reads_the_cursor_of_a_response() {
        let answer = pb::DeleteLabelResponse {
            cursor: Bytes::from_static(b"cursor"),
        };
        assert_eq!(cursor_of(&answer), "cursor");
        assert_eq!(cursor_of(&pb::GetLabelRequest::default()), "");
    }
}
