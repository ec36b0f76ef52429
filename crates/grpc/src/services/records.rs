//! The five standard methods of a record: create, get, list, update and delete. A record declares its fields ([`RecordApi`]), and
//! [`record_service!`] serves the methods.

use parley_domain::records::record::{Record, Records, Row};
use parley_eventlog::conversion::{FromStored, ToProto as _};
use parley_proto::rpc::{self, IdRequest as _, ResourceRequest as _, ResourceResponse as _, UnaryRequest, UpdateRequest as _};
use parley_types::error::Result;
use tonic::{Request, Response};

use super::{
    accounts::mask,
    idempotency::IdempotentRequest,
    request::{account, authorize_write, caller, resource_call},
    response::resource_response,
};
use crate::validation::{
    fields::{Validator, required},
    page,
};

/// The default number of records in a page.
const PAGE: i32 = 1000;

/// A record's fields in requests.
pub trait RecordApi: Record {
    /// The message of the record.
    type Message: rpc::Record<Create: IdempotentRequest, Update: IdempotentRequest, Delete: IdempotentRequest>
        + for<'a> FromStored<&'a Row<Self>>;
    /// The fields that cannot be changed after the creation.
    const FIXED_FIELDS: &'static [&'static str] = &[];
    /// The other fields.
    const FIELDS: &'static [&'static str];

    /// Validates a field of a message and sets it in the patch.
    fn set(patch: &mut Self::Patch, field: &str, message: &Self::Message, fields: &mut Validator);

    /// Validates the conditions of a list. By default, there are none.
    fn query(_request: &<Self::Message as rpc::Record>::List, _fields: &mut Validator) -> Self::Query {
        Self::Query::default()
    }
}

/// Implements the service of a record.
#[derive(Debug)]
pub struct RecordsApi<R>(pub Records<R>);

type Create<R> = <<R as RecordApi>::Message as rpc::Record>::Create;
type Get<R> = <<R as RecordApi>::Message as rpc::Record>::Get;
type List<R> = <<R as RecordApi>::Message as rpc::Record>::List;
type Update<R> = <<R as RecordApi>::Message as rpc::Record>::Update;
type Delete<R> = <<R as RecordApi>::Message as rpc::Record>::Delete;
type Reply<R> = Result<Response<<R as UnaryRequest>::Response>>;

fn patch<'a, R: RecordApi>(fields: &mut Validator, message: &R::Message, paths: impl IntoIterator<Item = &'a str>) -> R::Patch {
    let mut patch = R::Patch::default();
    fields.within(Create::<R>::FIELD, |fields| {
        for path in paths {
            R::set(&mut patch, path, message, fields);
        }
    });
    patch
}

/// Creates a record.
pub async fn create<R: RecordApi>(records: &Records<R>, request: Request<Create<R>>) -> Reply<Create<R>> {
    records.authorize_create(&*caller(&request)?, account(&request))?;
    let mut fields = Validator::default();
    let call = resource_call(&mut fields, &request)?;
    let message = required(Create::<R>::FIELD, request.into_inner().resource().take())?;
    let new = patch::<R>(&mut fields, &message, R::FIXED_FIELDS.iter().chain(R::FIELDS).copied());
    fields.finish()?;
    resource_response(records.create(call, new).await?)
}

/// Returns a record.
pub async fn get<R: RecordApi>(records: &Records<R>, request: Request<Get<R>>) -> Reply<Get<R>> {
    let row = records.get(&*caller(&request)?, account(&request), request.get_ref().id()).await?;
    Ok(Response::new(<Get<R> as UnaryRequest>::Response::new(
        row.to_proto(),
        bytes::Bytes::new(),
    )))
}

/// Returns a page of records.
pub async fn list<R: RecordApi>(records: &Records<R>, request: Request<List<R>>) -> Reply<List<R>> {
    let (caller, account) = (caller(&request)?, account(&request));
    caller.access(account)?;
    let mut fields = Validator::default();
    let page = page::requested(&mut fields, request.get_ref(), PAGE);
    let query = R::query(request.get_ref(), &mut fields);
    fields.finish()?;
    let found = records.list(&caller, account, query, &page).await?;
    Ok(page::response(request.get_ref(), &found, FromStored::from_stored))
}

/// Changes the fields of a record that the mask names.
pub async fn update<R: RecordApi>(records: &Records<R>, request: Request<Update<R>>) -> Reply<Update<R>> {
    authorize_write(&request)?;
    let mut fields = Validator::default();
    let (call, account) = (resource_call(&mut fields, &request)?, account(&request));
    let mut request = request.into_inner();
    let message = required(Update::<R>::FIELD, request.resource().take())?;
    let id = rpc::Record::id(&message);
    records.authorize_change(&call.caller, account, id).await?;
    let paths = mask(&mut fields, request.update_mask().take());
    let (fixed, paths): (Vec<_>, Vec<_>) = paths.iter().map(String::as_str).partition(|path| R::FIXED_FIELDS.contains(path));
    fixed.into_iter().for_each(|path| fields.unknown_path(path));
    let patch = patch::<R>(&mut fields, &message, paths);
    fields.finish()?;
    resource_response(records.update(call, id, patch).await?)
}

/// Deletes a record.
pub async fn delete<R: RecordApi>(records: &Records<R>, request: Request<Delete<R>>) -> Reply<Delete<R>> {
    authorize_write(&request)?;
    let mut fields = Validator::default();
    let call = resource_call(&mut fields, &request)?;
    fields.finish()?;
    resource_response(records.delete(call, request.get_ref().id()).await?)
}

/// Implements the generated service of a record: names its five methods and their requests.
macro_rules! record_service {
    ($service:path => $record:path { $($operation:ident: $method:ident($request:ident)),+ $(,)? }) => {
        #[tonic::async_trait]
        impl $service for $crate::services::records::RecordsApi<$record> {
            $(async fn $method(
                &self,
                request: tonic::Request<parley_proto::$request>,
            ) -> Result<tonic::Response<<parley_proto::$request as parley_proto::rpc::UnaryRequest>::Response>, tonic::Status> {
                let response = $crate::services::records::$operation(&self.0, request).await;
                $crate::status::OrStatus::or_status(response)
            })+
        }
    };
}

pub(super) use record_service;
