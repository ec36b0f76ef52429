//! The unary methods and their messages as traits, for code that treats all methods of the same form alike. The build script generates the
//! implementations (`build/rpc.rs`): the names and types of a message's fields determine which traits it implements.

use bytes::Bytes;
use prost::{Message, Name};
use prost_types::FieldMask;
use tonic::{Request, Response, Status};

/// The request of a unary method. Each method has its own request type.
pub trait UnaryRequest: Message + Name + Default + Clone + 'static {
    /// The response message of the method.
    type Response: Message + Name + Default + 'static;
    /// The full name of the service that contains the method.
    const SERVICE: &'static str;
    /// The name of the method, without the service.
    const METHOD: &'static str;
    /// The names of the service and the method without the package: `LabelsService.GetLabel`.
    const NAME: &'static str;
    /// The HTTP path of the method, with its leading slash.
    const PATH: &'static str;
}

/// A request about one account, which it identifies by its `account_id`.
pub trait AccountRequest: UnaryRequest {
    /// Returns the id of the account.
    fn account_id(&self) -> i64;
    /// Sets the id of the account.
    fn set_account_id(&mut self, id: i64);
}

/// A request that changes something. Its `request_id` makes it idempotent.
pub trait WriteRequest: Message + Name + Default + Clone + 'static {
    /// Returns the request id as sent by the client.
    fn request_id(&self) -> &str;
    /// Sets the request id.
    fn set_request_id(&mut self, id: String);

    /// Returns the name and value of the field that identifies the resource of the call, for the audit event. Returns `None` if the method
    /// is not audited or has no such field.
    fn audit_target(&self) -> Option<(&'static str, i64)> {
        None
    }
}

/// A request that identifies one resource by its id.
pub trait IdRequest: UnaryRequest {
    /// Returns the id of the resource.
    fn id(&self) -> i64;
    /// Sets the id of the resource.
    fn set_id(&mut self, id: i64);
}

/// A request that contains the resource to create or change.
pub trait ResourceRequest: UnaryRequest {
    /// The message type of the resource.
    type Resource: Message + Default;
    /// The name of the request field that contains the resource.
    const FIELD: &'static str;
    /// Returns the resource in the request, so that it can be set or changed.
    fn resource(&mut self) -> &mut Option<Self::Resource>;
}

/// A request that changes the fields of a resource that are named in the request's update mask.
pub trait UpdateRequest: ResourceRequest {
    /// Returns the update mask of the request, so that it can be set or changed.
    fn update_mask(&mut self) -> &mut Option<FieldMask>;
}

/// A request for one page of rows.
pub trait PagedRequest: UnaryRequest {
    /// Returns the requested number of rows; 0 selects the default.
    fn page_size(&self) -> i32;
    /// Returns the token of the requested page; empty for the first page.
    fn page_token(&self) -> &str;
    /// Returns the number of rows to skip; 0 if the request has no such field.
    fn skip(&self) -> i32;
    /// Sets the requested number of rows and the page token.
    fn set_page(&mut self, size: i32, token: String);
    /// Returns the request without everything that may differ between the pages of one list: size, token, skip, and the fields that
    /// determine what is returned besides the rows.
    #[must_use]
    fn without_paging(&self) -> Self;
}

/// A response that contains the cursor of a write and one resource, or only the cursor if the resource type is `()`.
pub trait ResourceResponse: Message {
    /// The message type of the resource.
    type Resource;
    /// Creates a response. The cursor is dropped if the response has no field for it.
    fn new(resource: Self::Resource, cursor: Bytes) -> Self;
    /// Returns the resource, or an empty one if the response does not contain it.
    fn into_resource(self) -> Self::Resource;
}

/// A response that contains only a page of rows and the token of the next page.
pub trait PageResponse: Message {
    /// The message type of a row.
    type Row: Message;
    /// Creates a response from the rows of a page and the token of the next page.
    fn new(rows: Vec<Self::Row>, next_page_token: String) -> Self;
    /// Returns the rows and the token of the next page.
    fn into_page(self) -> (Vec<Self::Row>, String);
}

/// A resource in an account that has the five standard methods.
pub trait Record: Message + Default + 'static {
    /// The request of the method that creates the resource.
    type Create: AccountRequest
        + WriteRequest
        + ResourceRequest<Resource = Self>
        + UnaryRequest<Response: ResourceResponse<Resource = Self>>;
    /// The request of the method that returns the resource.
    type Get: AccountRequest + IdRequest + UnaryRequest<Response: ResourceResponse<Resource = Self>>;
    /// The request of the method that lists the resources of this type.
    type List: AccountRequest + PagedRequest + UnaryRequest<Response: PageResponse<Row = Self>>;
    /// The request of the method that changes the resource.
    type Update: AccountRequest + WriteRequest + UpdateRequest<Resource = Self> + UnaryRequest<Response: ResourceResponse<Resource = Self>>;
    /// The request of the method that deletes the resource.
    type Delete: AccountRequest + WriteRequest + IdRequest + UnaryRequest<Response: ResourceResponse<Resource = ()>>;

    /// Returns the id of the resource.
    fn id(&self) -> i64;
    /// Sets the id of the resource.
    fn set_id(&mut self, id: i64);
}

/// The result of handling a request: the response or a status.
pub type Reply<R> = Result<Response<<R as UnaryRequest>::Response>, Status>;

/// Handles the create, get, list, update and delete methods of a record type.
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

/// Implements the gRPC service of a record by passing each call to a handler.
#[derive(Clone, Debug)]
pub struct RecordServer<H>(pub H);

/// The generated trait implementations for the Protobuf messages of the API.
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
    fn page_tokens_ignore_paging_fields() {
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
