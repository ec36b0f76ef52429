//! The five standard methods of a record: create, get, list, update and delete. The fields of a record are declared by implementing
//! [`RecordApi`].

use parley_domain::records::record::{Record, Records, Row};
use parley_eventlog::conversion::FromStored;
use parley_proto::rpc::{self, IdRequest as _, RecordHandler, RecordServer, Reply, ResourceRequest as _, UnaryRequest, UpdateRequest as _};
use parley_types::error::Result;
use tonic::{Request, Response};

use super::{
    accounts::mask,
    request::{account, authorize_write, caller, reader, resource_call},
    response::{found, resource_response},
};
use crate::{
    status::OrStatus as _,
    validation::{
        fields::{Validator, required},
        page,
    },
};

/// The default number of records in a page.
const PAGE: i32 = 1000;

/// Declares and validates the fields of a record in requests.
pub trait RecordApi: Record {
    /// The protobuf message of the record.
    type Message: rpc::Record + for<'a> FromStored<&'a Row<Self>>;
    /// The fields that are set on creation and cannot be changed afterwards.
    const FIXED_FIELDS: &'static [&'static str] = &[];
    /// The fields that can be both set on creation and changed afterwards.
    const FIELDS: &'static [&'static str];

    /// Validates a field of a message and sets it in the patch.
    fn set(patch: &mut Self::Patch, field: &str, message: &Self::Message, fields: &mut Validator);

    /// Validates the conditions of a list request. By default, a list has no conditions.
    fn query(_request: &<Self::Message as rpc::Record>::List, _fields: &mut Validator) -> Self::Query {
        Self::Query::default()
    }
}

/// Handles the create, get, list, update and delete methods of a record type.
#[derive(Debug)]
pub struct RecordsApi<R>(Records<R>);

/// Creates the gRPC server for a record.
pub fn server<R: Clone>(records: &Records<R>) -> RecordServer<RecordsApi<R>> {
    RecordServer(RecordsApi(records.clone()))
}

impl<R: RecordApi> RecordHandler<R::Message> for RecordsApi<R> {
    async fn create(&self, request: Request<Create<R>>) -> Reply<Create<R>> {
        create(&self.0, request).await.or_status()
    }

    async fn get(&self, request: Request<Get<R>>) -> Reply<Get<R>> {
        get(&self.0, request).await.or_status()
    }

    async fn list(&self, request: Request<List<R>>) -> Reply<List<R>> {
        list(&self.0, request).await.or_status()
    }

    async fn update(&self, request: Request<Update<R>>) -> Reply<Update<R>> {
        update(&self.0, request).await.or_status()
    }

    async fn delete(&self, request: Request<Delete<R>>) -> Reply<Delete<R>> {
        delete(&self.0, request).await.or_status()
    }
}

type Create<R> = <<R as RecordApi>::Message as rpc::Record>::Create;
type Get<R> = <<R as RecordApi>::Message as rpc::Record>::Get;
type List<R> = <<R as RecordApi>::Message as rpc::Record>::List;
type Update<R> = <<R as RecordApi>::Message as rpc::Record>::Update;
type Delete<R> = <<R as RecordApi>::Message as rpc::Record>::Delete;
type Handled<R> = Result<Response<<R as UnaryRequest>::Response>>;

fn patch<'a, R: RecordApi>(fields: &mut Validator, message: &R::Message, paths: impl IntoIterator<Item = &'a str>) -> R::Patch {
    let mut patch = R::Patch::default();
    fields.within(Create::<R>::FIELD, |fields| {
        for path in paths {
            R::set(&mut patch, path, message, fields);
        }
    });
    patch
}

/// Validates the fields of a new record and creates it.
async fn create<R: RecordApi>(records: &Records<R>, request: Request<Create<R>>) -> Handled<Create<R>> {
    records.authorize_create(&*caller(&request)?, account(&request))?;
    let mut fields = Validator::default();
    let call = resource_call(&mut fields, &request)?;
    let message = required(Create::<R>::FIELD, request.into_inner().resource().take())?;
    let new = patch::<R>(&mut fields, &message, R::FIXED_FIELDS.iter().chain(R::FIELDS).copied());
    fields.finish()?;
    resource_response(records.create(call, new).await?)
}

/// Returns the record with the requested id.
async fn get<R: RecordApi>(records: &Records<R>, request: Request<Get<R>>) -> Handled<Get<R>> {
    let row = records.get(&*caller(&request)?, account(&request), request.get_ref().id()).await?;
    Ok(found(&row))
}

/// Returns the requested page of records.
async fn list<R: RecordApi>(records: &Records<R>, request: Request<List<R>>) -> Handled<List<R>> {
    let (caller, account) = reader(&request)?;
    let mut fields = Validator::default();
    let page = page::requested(&mut fields, request.get_ref(), PAGE);
    let query = R::query(request.get_ref(), &mut fields);
    fields.finish()?;
    let found = records.list(&caller, account, query, &page).await?;
    Ok(page::response(request.get_ref(), &found, FromStored::from_stored))
}

/// Changes the fields of a record that the update mask names.
async fn update<R: RecordApi>(records: &Records<R>, request: Request<Update<R>>) -> Handled<Update<R>> {
    authorize_write(&request)?;
    let mut fields = Validator::default();
    let (call, account) = (resource_call(&mut fields, &request)?, account(&request));
    let mut request = request.into_inner();
    let message = required(Update::<R>::FIELD, request.resource().take())?;
    let id = rpc::Record::id(&message);
    records.authorize_change(&call.caller, account, id).await?;
    let paths = mask(&mut fields, request.update_mask().take());
    let (fixed, paths): (Vec<_>, Vec<_>) = paths.iter().map(String::as_str).partition(|path| R::FIXED_FIELDS.contains(path));
    for path in fixed {
        fields.unknown_path(path);
    }
    let patch = patch::<R>(&mut fields, &message, paths);
    fields.finish()?;
    resource_response(records.update(call, id, patch).await?)
}

/// Deletes the record with the requested id.
async fn delete<R: RecordApi>(records: &Records<R>, request: Request<Delete<R>>) -> Handled<Delete<R>> {
    authorize_write(&request)?;
    let mut fields = Validator::default();
    let call = resource_call(&mut fields, &request)?;
    fields.finish()?;
    resource_response(records.delete(call, request.get_ref().id()).await?)
}
