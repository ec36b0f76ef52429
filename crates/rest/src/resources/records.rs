//! The routes of a record: list, create, show, update and delete. A record declares its parameters and its JSON ([`JsonRecord`]), and
//! [`RecordRoutes`] registers the routes that it has.

use std::marker::PhantomData;

use axum::response::Response;
use parley_proto::rpc::{
    AccountRequest as _, IdRequest as _, Record, ResourceRequest, ResourceResponse as _, UnaryRequest, UpdateRequest as _,
    WriteRequest as _,
};
use prost_types::FieldMask;
use schemars::JsonSchema;
use serde::Serialize;

use crate::{
    ApiResult,
    api_router::ApiRouter,
    call::Call,
    json,
    lists::rows::{self, Rows},
    openapi::{RouteDescription, describe},
    params::{Params, declaration::RequestParams, fields::ParamReader},
};

/// A record's parameters and its JSON.
pub trait JsonRecord: Record {
    /// The key that may wrap the parameters of the body.
    const ROOT: &'static str = <Self::Create as ResourceRequest>::FIELD;
    /// The parameter of the path with the id.
    const ID: &'static str = "id";

    /// The parameters of the body.
    type Params: RequestParams + Send;
    /// The JSON of the record.
    type Json: JsonSchema + Serialize + From<Self> + Send + 'static;
    /// The response of a list.
    type Rows: JsonSchema + Serialize;

    /// Converts the parameters of the body.
    fn from_params(params: Self::Params) -> Self;

    /// Returns the field that a body parameter sets, or `None` if the field cannot be changed.
    fn field(attribute: &str) -> Option<&str> {
        Some(attribute)
    }

    /// Parses the parameters of a list. By default, there are none.
    fn list(_fields: &mut ParamReader<'_>) -> Self::List {
        Self::List::default()
    }

    /// Wraps the rows of a list.
    fn frame(rows: Rows<Self::Json>) -> Self::Rows;

    /// The response to a deletion.
    fn deleted() -> Response {
        json::empty()
    }
}

/// The routes of a record, in the order in which they are added.
pub struct RecordRoutes<R> {
    router: ApiRouter,
    path: &'static str,
    record: PhantomData<R>,
}

impl<R: JsonRecord> RecordRoutes<R> {
    /// Starts without routes. `tag` is their tag, `path` the path of the list.
    pub fn new(tag: &'static str, path: &'static str) -> Self {
        Self {
            router: ApiRouter::new(tag),
            path,
            record: PhantomData,
        }
    }

    /// Adds the list. `complete` completes the description, as in the other methods.
    #[must_use]
    pub fn list(self, operation: &'static str, complete: fn(RouteDescription) -> RouteDescription) -> Self {
        let description = describe(operation, R::List::NAME).returns::<R::Rows>();
        self.with(|router, list, _| router.get(list, self::list::<R>, complete(description)))
    }

    /// Adds the creation.
    #[must_use]
    pub fn create(self, operation: &'static str, complete: fn(RouteDescription) -> RouteDescription) -> Self {
        let description = describe(operation, R::Create::NAME)
            .root(R::ROOT)
            .params::<R::Params>()
            .returns::<R::Json>();
        self.with(|router, list, _| router.post(list, create::<R>, complete(description)))
    }

    /// Adds the reading of one record.
    #[must_use]
    pub fn show(self, operation: &'static str, complete: fn(RouteDescription) -> RouteDescription) -> Self {
        let description = describe(operation, R::Get::NAME).returns::<R::Json>();
        self.with(|router, _, one| router.get(one, show::<R>, complete(description)))
    }

    /// Adds the change.
    #[must_use]
    pub fn update(self, operation: &'static str, complete: fn(RouteDescription) -> RouteDescription) -> Self {
        let description = describe(operation, R::Update::NAME)
            .root(R::ROOT)
            .params::<R::Params>()
            .returns::<R::Json>();
        self.with(|router, _, one| router.update(one, update::<R>, complete(description)))
    }

    /// Adds the deletion.
    #[must_use]
    pub fn delete(self, operation: &'static str, complete: fn(RouteDescription) -> RouteDescription) -> Self {
        let description = describe(operation, R::Delete::NAME);
        self.with(|router, _, one| router.delete(one, delete::<R>, complete(description)))
    }

    /// Returns the routes.
    pub fn into_router(self) -> ApiRouter {
        self.router
    }

    /// Adds a route. `add` gets the paths of the list and of one record.
    fn with(mut self, add: impl FnOnce(ApiRouter, &str, &str) -> ApiRouter) -> Self {
        self.router = add(self.router, self.path, &format!("{}/{{{}}}", self.path, R::ID));
        self
    }
}

async fn list<R: JsonRecord>(call: Call, params: Params) -> ApiResult {
    let mut outer = params.fields();
    let account_id = outer.account();
    let mut request = R::list(&mut outer);
    call.authorize_error(account_id, outer.finish()).await?;
    request.set_account_id(account_id);
    rows::all_rows(call, request, R::frame, R::Json::from).await
}

async fn create<R: JsonRecord>(call: Call, params: Params) -> ApiResult {
    let (record, _) = call.parse_root(&params, R::ROOT).await?;
    let mut request = R::Create::default();
    request.set_account_id(params.fields().account());
    request.set_request_id(call.request_id());
    *request.resource() = Some(R::from_params(record));
    Ok(json::ok(&R::Json::from(call.send(request).await?.into_resource())))
}

async fn show<R: JsonRecord>(call: Call, params: Params) -> ApiResult {
    let outer = params.fields();
    let mut request = R::Get::default();
    request.set_account_id(outer.account());
    request.set_id(outer.path_id(R::ID));
    Ok(json::ok(&R::Json::from(call.send(request).await?.into_resource())))
}

async fn update<R: JsonRecord>(call: Call, params: Params) -> ApiResult {
    let (record, sent) = call.parse_root(&params, R::ROOT).await?;
    let paths: Vec<_> = sent.iter().filter_map(|name| R::field(name)).map(str::to_owned).collect();
    if paths.is_empty() {
        return show::<R>(call, params).await;
    }
    let outer = params.fields();
    let mut record = R::from_params(record);
    record.set_id(outer.path_id(R::ID));
    let mut request = R::Update::default();
    request.set_account_id(outer.account());
    request.set_request_id(call.request_id());
    *request.resource() = Some(record);
    *request.update_mask() = Some(FieldMask { paths });
    Ok(json::ok(&R::Json::from(call.send(request).await?.into_resource())))
}

async fn delete<R: JsonRecord>(call: Call, params: Params) -> ApiResult {
    let outer = params.fields();
    let mut request = R::Delete::default();
    request.set_account_id(outer.account());
    request.set_request_id(call.request_id());
    request.set_id(outer.path_id(R::ID));
    call.send(request).await?;
    Ok(R::deleted())
}
