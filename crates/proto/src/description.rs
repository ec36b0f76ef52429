//! The contract's own description, for what is done to any message by its fields' names.

use std::sync::LazyLock;

use bytes::Bytes;
use prost_reflect::{DescriptorPool, DynamicMessage};

/// The description, decoded once. None only if the program carries a broken one.
pub static POOL: LazyLock<Option<DescriptorPool>> = LazyLock::new(|| DescriptorPool::decode(super::DESCRIPTORS).ok());

/// The position that an answer holds; empty if it holds none.
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
    fn an_answer_is_asked_for_its_cursor() {
        let answer = pb::DeleteLabelResponse {
            cursor: Bytes::from_static(b"cursor"),
        };
        assert_eq!(cursor_of(&answer), "cursor");
        assert_eq!(cursor_of(&pb::GetLabelRequest::default()), "");
    }
}
