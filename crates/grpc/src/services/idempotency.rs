//! Fingerprints of idempotent requests, which tell apart different requests with the same request id.

use std::any::Any;

use parley_domain::files::signed::content_of;
use parley_proto::{self as pb, rpc::WriteRequest};
use sha2::{Digest as _, Sha256};

/// Computes the fingerprint of a request from its type and all fields except its request id. Each upload id is replaced by the hash of the
/// upload's content, because a client that retries a request may have uploaded the same file again under a new id.
///
/// The name of the request type is part of the fingerprint, so it must not change: stored responses outlive the version of the program that
/// stored them.
pub fn fingerprint<R: WriteRequest>(request: &R) -> [u8; 32] {
    let mut rest = request.clone();
    rest.set_request_id(String::new());
    for id in upload_ids(&mut rest) {
        *id = content_of(id);
    }
    Sha256::new()
        .chain_update(R::NAME)
        .chain_update(rest.encode_to_vec())
        .finalize()
        .into()
}

/// Returns mutable references to the upload ids in a request, so that the ids can be replaced.
fn upload_ids(request: &mut dyn Any) -> Vec<&mut String> {
    macro_rules! uploads {
        ($($request:ident => |$name:ident| $ids:expr),+ $(,)?) => {
            $(if request.is::<pb::$request>() {
                return request.downcast_mut::<pb::$request>().into_iter().flat_map(|$name| $ids).collect();
            })+
        };
    }
    uploads! {
        BatchCreateMessagesRequest => |batch| batch.messages.iter_mut().filter_map(|item| item.message.as_mut()).flat_map(of_draft),
        CreateClientMessageRequest => |request| request.upload_ids.iter_mut(),
        CreateContactRequest => |request| std::iter::once(&mut request.avatar_url),
        CreateConversationRequest => |request| request.message.iter_mut().flat_map(of_draft),
        CreateInboxRequest => |request| request.inbox.iter_mut().map(|inbox| &mut inbox.avatar_url),
        CreateMessageRequest => |request| request.message.iter_mut().flat_map(of_draft),
        SendMessagesRequest => |request| request.message.iter_mut().flat_map(of_draft),
        UpdateContactRequest => |request| request.contact.iter_mut().map(|contact| &mut contact.avatar_url),
        UpdateInboxRequest => |request| request.inbox.iter_mut().map(|inbox| &mut inbox.avatar_url),
    }
    Vec::new()
}

fn of_draft(draft: &mut pb::MessageDraft) -> impl Iterator<Item = &mut String> {
    draft.attachments.iter_mut().filter_map(|attachment| match &mut attachment.kind {
        Some(pb::attachment_draft::Kind::UploadId(id)) => Some(id),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(request_id: &str, upload_id: &str) -> pb::CreateClientMessageRequest {
        pb::CreateClientMessageRequest {
            request_id: request_id.to_owned(),
            upload_ids: vec![upload_id.to_owned()],
            ..Default::default()
        }
    }

    #[test]
    fn fingerprints_ignore_the_request_id() {
        assert_eq!(fingerprint(&request("a", "x")), fingerprint(&request("b", "x")));
        assert_ne!(fingerprint(&request("a", "x")), fingerprint(&request("a", "y")));
    }

    #[test]
    fn finds_upload_ids() {
        assert_eq!(upload_ids(&mut request("a", "x")), ["x"]);
        assert_eq!(upload_ids(&mut pb::CreateContactRequest::default()), [""]);
        assert!(upload_ids(&mut pb::CreateLabelRequest::default()).is_empty());
    }
}
