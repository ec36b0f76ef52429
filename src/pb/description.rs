//! The contract's own description, for what is done to any message by its fields' names.

use std::{collections::HashSet, sync::LazyLock};

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

/// The methods of the contract, `parley.v1.Service/Method`.
static METHODS: LazyLock<HashSet<String>> = LazyLock::new(|| {
    let services = POOL.iter().flat_map(DescriptorPool::services);
    services
        .flat_map(|service| {
            let name = service.full_name().to_owned();
            service
                .methods()
                .map(move |method| format!("{name}/{}", method.name()))
                .collect::<Vec<_>>()
        })
        .collect()
});

/// A method by its path without the first slash, if the contract names it.
pub fn method_named(path: &str) -> Option<&'static str> {
    METHODS.get(path).map(String::as_str)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pb;

    #[test]
    fn methods_are_known_by_their_paths() {
        assert_eq!(
            method_named("parley.v1.LabelsService/GetLabel"),
            Some("parley.v1.LabelsService/GetLabel")
        );
        assert_eq!(method_named("parley.v1.LabelsService/Whatever"), None);
    }

    #[test]
    fn an_answer_is_asked_for_its_cursor() {
        let answer = pb::DeleteLabelResponse {
            cursor: Bytes::from_static(b"cursor"),
        };
        assert_eq!(cursor_of(&answer), "cursor");
        assert_eq!(cursor_of(&pb::GetLabelRequest::default()), "");
    }
}
