//! The unary methods and their messages as traits, for code that treats all methods of one shape alike. The build script implements the traits
//! (`build/rpc.rs`): which ones a message has follows from the names and types of its fields.

use bytes::Bytes;
use prost::{Message, Name};
use prost_types::FieldMask;
use tonic::{Request, Response, Status};

/// The request of a unary method. Each method has a request of its own.
pub trait UnaryRequest: Message + Name + Default + Clone + 'static {
    /// The response of the method.
    type Response: Message + Name + Default + 'static;
    /// The full name of the service.
    const SERVICE: &'static str;
    /// The name of the method, without the service.
    const METHOD: &'static str;
    /// The service and the method without the package: `LabelsService.GetLabel`.
    const NAME: &'static str;
    /// The path of the method in HTTP, with its first slash.
    const PATH: &'static str;
}

/// A request about one account: it has an `account_id`.
pub trait AccountRequest: UnaryRequest {
    /// The account of the request.
    fn account_id(&self) -> i64;
    /// Sets the account of the request.
    fn set_account_id(&mut self, id: i64);
}

/// A request that changes something: it has a `request_id`, which makes it idempotent.
pub trait WriteRequest: Message + Name + Default + Clone + 'static {
    /// The request id as sent by the client.
    fn request_id(&self) -> &str;
    /// Sets the request id.
    fn set_request_id(&mut self, id: String);

    /// The field that names the resource of the call, and its value, for the audit event. `None` if the method is not audited or has no such
    /// field.
    fn audit_target(&self) -> Option<(&'static str, i64)> {
        None
    }
}

/// A request about one resource, by its id.
pub trait IdRequest: UnaryRequest {
    /// The id of the resource.
    fn id(&self) -> i64;
    /// Sets the id of the resource.
    fn set_id(&mut self, id: i64);
}

/// A request that contains a resource to create or change.
pub trait ResourceRequest: UnaryRequest {
    /// The message of the resource.
    type Resource: Message + Default;
    /// The name of its field in the request.
    const FIELD: &'static str;
    /// The resource in the request.
    fn resource(&mut self) -> &mut Option<Self::Resource>;
}

/// A request that changes the fields of a resource that its mask names.
pub trait UpdateRequest: ResourceRequest {
    /// The mask of the request.
    fn update_mask(&mut self) -> &mut Option<FieldMask>;
}

/// A request for a page of rows.
pub trait PagedRequest: UnaryRequest {
    /// The requested number of rows; 0 for the default.
    fn page_size(&self) -> i32;
    /// The token of the page; empty for the first page.
    fn page_token(&self) -> &str;
    /// The number of rows to skip; 0 if the request has no such field.
    fn skip(&self) -> i32;
    /// Sets the requested number of rows and the token.
    fn set_page(&mut self, size: i32, token: String);
    /// The request without everything that may differ between the pages of one list: size, token, skip, and what is returned beside the rows.
    #[must_use]
    fn without_paging(&self) -> Self;
}

/// A response that contains one resource, or nothing (`()`), and the cursor of a write.
pub trait ResourceResponse: Message {
    /// The message of the resource.
    type Resource;
    /// Creates a response. The cursor is dropped if the response has no such field.
    fn new(resource: Self::Resource, cursor: Bytes) -> Self;
    /// Returns the resource; an empty one if it is absent.
    fn into_resource(self) -> Self::Resource;
}

/// A response that contains a page of rows and nothing else.
pub trait PageResponse: Message {
    /// The message of a row.
    type Row: Message;
    /// Creates a response.
    fn new(rows: Vec<Self::Row>, next_page_token: String) -> Self;
    /// Returns the rows and the token of the next page.
    fn into_page(self) -> (Vec<Self::Row>, String);
}

/// A resource of an account with the five standard methods.
pub trait Record: Message + Default + 'static {
    /// The request of the method that creates it.
    type Create: AccountRequest
        + WriteRequest
        + ResourceRequest<Resource = Self>
        + UnaryRequest<Response: ResourceResponse<Resource = Self>>;
    /// The request of the method that returns it.
    type Get: AccountRequest + IdRequest + UnaryRequest<Response: ResourceResponse<Resource = Self>>;
    /// The request of the method that lists such resources.
    type List: AccountRequest + PagedRequest + UnaryRequest<Response: PageResponse<Row = Self>>;
    /// The request of the method that changes it.
    type Update: AccountRequest + WriteRequest + UpdateRequest<Resource = Self> + UnaryRequest<Response: ResourceResponse<Resource = Self>>;
    /// The request of the method that deletes it.
    type Delete: AccountRequest + WriteRequest + IdRequest + UnaryRequest<Response: ResourceResponse<Resource = ()>>;

    /// Its id.
    fn id(&self) -> i64;
    /// Sets its id.
    fn set_id(&mut self, id: i64);
}

/// The reply to a request.
pub type Reply<R> = Result<Response<<R as UnaryRequest>::Response>, Status>;

/// Handles the standard methods of a record.
pub trait RecordHandler<R: Record>: Send + Sync + 'static {
    /// Handles the method that creates a record.
    fn create(&self, request: Request<R::Create>) -> impl Future<Output = Reply<R::Create>> + Send;
    /// Handles the method that returns a record.
    fn get(&self, request: Request<R::Get>) -> impl Future<Output = Reply<R::Get>> + Send;
    /// Handles the method that lists records.
    fn list(&self, request: Request<R::List>) -> impl Future<Output = Reply<R::List>> + Send;
    /// Handles the method that changes a record.
    fn update(&self, request: Request<R::Update>) -> impl Future<Output = Reply<R::Update>> + Send;
    /// Handles the method that deletes a record.
    fn delete(&self, request: Request<R::Delete>) -> impl Future<Output = Reply<R::Delete>> + Send;
}

/// Implements the service of a record by a handler.
#[derive(Clone, Debug)]
pub struct RecordServer<H>(pub H);

/// The implementations for the contract.
#[allow(clippy::needless_update, reason = "generated for messages with and without other fields")]
mod implementations {
    include!(concat!(env!("OUT_DIR"), "/rpc.rs"));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate as pb;

    #[test]
    fn requests_name_their_method() {
        assert_eq!(pb::GetLabelRequest::PATH, "/parley.v1.LabelsService/GetLabel");
        assert_eq!(<pb::GetLabelRequest as UnaryRequest>::NAME, "LabelsService.GetLabel");
        let mut request = pb::GetLabelRequest::default();
        request.set_id(7);
        assert_eq!(request.label_id, 7);
    }

    #[test]
    fn audited_requests_name_their_resource() {
        let label = pb::Label {
            id: 7,
            ..Default::default()
        };
        let update = pb::UpdateLabelRequest {
            label: Some(label),
            ..Default::default()
        };
        assert_eq!(update.audit_target(), Some(("label.id", 7)));
        let delete = pb::DeleteLabelRequest {
            label_id: 8,
            ..Default::default()
        };
        assert_eq!(delete.audit_target(), Some(("label_id", 8)));
        assert_eq!(pb::CreateLabelRequest::default().audit_target(), None);
        assert_eq!(pb::UpdateAccountRequest::default().audit_target(), None);
        assert_eq!(pb::DeleteCannedResponseRequest::default().audit_target(), None, "is not audited");
    }

    #[test]
    fn page_tokens_ignore_the_extent_of_a_page() {
        let mut request = pb::ListConversationsRequest {
            account_id: 1,
            skip: 3,
            with_counts: true,
            unattended: true,
            ..Default::default()
        };
        request.set_page(20, "token".to_owned());
        assert_eq!((request.page_size(), request.page_token(), request.skip()), (20, "token", 3));
        let rest = pb::ListConversationsRequest {
            account_id: 1,
            unattended: true,
            ..Default::default()
        };
        assert_eq!(request.without_paging(), rest);
    }

    #[test]
    fn records_have_the_standard_methods() {
        fn methods<R: Record>() -> [&'static str; 2] {
            [R::Create::METHOD, R::Delete::METHOD]
        }
        assert_eq!(methods::<pb::CannedResponse>(), ["CreateCannedResponse", "DeleteCannedResponse"]);
        assert_eq!(methods::<pb::ContactNote>(), ["CreateContactNote", "DeleteContactNote"]);
    }
}
