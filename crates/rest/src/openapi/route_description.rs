//! The description of a route: its callers, parameters and responses.

use axum::http::StatusCode;
use schemars::JsonSchema;

use super::schema::{Declared, Parameters, declared};

/// Who may call a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Caller {
    /// Anyone, without a token. Paths of the client API contain identifiers that serve as credentials.
    Anyone,
    /// Any user with a token, regardless of the account.
    User,
    /// Members of the account in the path; if the resource belongs to an inbox, those with access to the inbox.
    Member,
    /// Administrators of the account in the path.
    Administrator,
    /// The operator, with a platform token.
    Platform,
}

impl Caller {
    /// The name in the description.
    pub fn name(self) -> &'static str {
        match self {
            Self::Anyone => "anyone",
            Self::User => "user",
            Self::Member => "member",
            Self::Administrator => "administrator",
            Self::Platform => "platform",
        }
    }
}

/// An endpoint that `OpenAPI` cannot describe, because the first request is followed by a protocol of its own.
#[derive(Clone, Copy, Debug)]
pub struct Endpoint {
    /// The path.
    pub path: &'static str,
    /// Who may open it.
    pub caller: Caller,
    /// The credential it requires, and when.
    pub credential: &'static str,
}

/// The successful response of a route.
#[derive(Clone, Debug)]
pub(super) enum Success {
    /// 200 without a body.
    Empty,
    /// 200 with a JSON body.
    Json(Declared),
    /// 200 with a body of this content type.
    Bytes(&'static str),
    /// 204 without a body.
    NoContent,
    /// 302 to the location of the resource.
    Redirect,
    /// 308 to the new path of the route.
    Moved,
}

#[derive(Clone, Debug)]
pub(super) struct Parameter {
    pub name: &'static str,
    pub schema: Declared,
    /// The description of the parameter, unless the files in `texts/` contain one.
    pub comment: Option<&'static str>,
}

impl Parameter {
    fn new(name: &'static str, schema: Declared) -> Self {
        Self {
            name,
            schema,
            comment: None,
        }
    }
}

/// The description of a route. Path parameters, and the errors implied by the route's shape (see `responses`), are added when the document
/// is generated.
#[derive(Clone, Debug)]
pub struct RouteDescription {
    pub(super) operation: &'static str,
    pub(super) caller: Caller,
    pub(super) query: Vec<Parameter>,
    pub(super) body: Vec<Parameter>,
    /// The names of the required body parameters.
    pub(super) required: Vec<&'static str>,
    pub(super) root: Option<&'static str>,
    pub(super) success: Success,
    pub(super) failures: Vec<(StatusCode, &'static str)>,
    pub(super) rpc: &'static str,
    pub(super) reads: bool,
    pub(super) empty_not_found: bool,
}

/// Creates a description from the operation id (camelCase, unique) and the gRPC method (`Service.Method`, empty if none).
///
/// By default, members of the account may call the route, and it returns 200 without a body. The summary, the description and those of the
/// parameters are stored under the operation id in the tag's file in `texts/`; the examples are in `examples.json`.
pub fn describe(operation: &'static str, rpc: &'static str) -> RouteDescription {
    RouteDescription {
        operation,
        caller: Caller::Member,
        query: Vec::new(),
        body: Vec::new(),
        required: Vec::new(),
        root: None,
        success: Success::Empty,
        failures: Vec::new(),
        rpc,
        reads: false,
        empty_not_found: false,
    }
}

impl RouteDescription {
    /// Returns the gRPC method as `Service.Method`, or an empty string if there is none.
    pub fn rpc(&self) -> &'static str {
        self.rpc
    }

    /// The callers that the route accepts.
    pub fn required_caller(&self) -> Caller {
        self.caller
    }

    /// The names of the body parameters.
    pub fn body_names(&self) -> impl Iterator<Item = &'static str> {
        self.body.iter().map(|parameter| parameter.name)
    }

    /// The names of the query's parameters.
    pub fn query_names(&self) -> impl Iterator<Item = &'static str> {
        self.query.iter().map(|parameter| parameter.name)
    }

    /// The root key that may wrap the body.
    pub fn root_key(&self) -> Option<&'static str> {
        self.root
    }

    /// Sets the callers that the route accepts.
    #[must_use]
    pub fn caller(mut self, caller: Caller) -> Self {
        self.caller = caller;
        self
    }

    /// Adds a query parameter. Clients write a list as `name[]=a&name[]=b`.
    #[must_use]
    pub fn query<T: JsonSchema>(mut self, name: &'static str) -> Self {
        self.query.push(Parameter::new(name, declared::<T>()));
        self
    }

    /// Adds the parameters of the body that the handler reads as `P`, all of them optional.
    #[must_use]
    pub fn params<P: Parameters>(mut self) -> Self {
        let parameters = P::NAMES.iter().zip(P::schemas());
        self.body.extend(parameters.map(|(name, schema)| Parameter::new(name, schema)));
        self
    }

    /// Adds an optional parameter of the body that the handler reads on its own.
    #[must_use]
    pub fn body<T: JsonSchema>(mut self, name: &'static str) -> Self {
        self.body.push(Parameter::new(name, declared::<T>()));
        self
    }

    /// Adds a required parameter of the body that the handler reads on its own.
    #[must_use]
    pub fn required_body<T: JsonSchema>(self, name: &'static str) -> Self {
        self.body::<T>(name).required(&[name])
    }

    /// Adds an optional parameter of the body, which `comment` describes unless it has a text.
    #[must_use]
    pub fn commented_body<T: JsonSchema>(mut self, name: &'static str, comment: &'static str) -> Self {
        self.body.push(Parameter {
            comment: Some(comment),
            ..Parameter::new(name, declared::<T>())
        });
        self
    }

    /// Removes a parameter of the body, which is read but has no effect on this route.
    #[must_use]
    pub fn without(mut self, name: &str) -> Self {
        self.body.retain(|parameter| parameter.name != name);
        self
    }

    /// Moves parameters of the body to the end of the list in the error for an update without known parameters.
    #[must_use]
    pub fn listed_last(mut self, names: &[&str]) -> Self {
        self.body
            .sort_by_key(|parameter| names.iter().position(|name| *name == parameter.name).map_or(0, |at| at + 1));
        self
    }

    /// Marks the parameters of the body that are required.
    #[must_use]
    pub fn required(mut self, names: &[&'static str]) -> Self {
        self.required.extend(names);
        self
    }

    /// Sets the root key. A form must wrap its parameters in it; a JSON body may omit it.
    #[must_use]
    pub fn root(mut self, key: &'static str) -> Self {
        self.root = Some(key);
        self
    }

    /// Sets a 200 response with JSON.
    #[must_use]
    pub fn returns<T: JsonSchema>(mut self) -> Self {
        self.success = Success::Json(declared::<T>());
        self
    }

    /// Sets a 200 response with another content type.
    #[must_use]
    pub fn returns_bytes(mut self, content_type: &'static str) -> Self {
        self.success = Success::Bytes(content_type);
        self
    }

    /// Sets a 204 response.
    #[must_use]
    pub fn returns_no_content(mut self) -> Self {
        self.success = Success::NoContent;
        self
    }

    /// Sets a 302 response.
    #[must_use]
    pub fn redirects(mut self) -> Self {
        self.success = Success::Redirect;
        self
    }

    /// Sets a 308 response.
    #[must_use]
    pub fn moved(mut self) -> Self {
        self.success = Success::Moved;
        self
    }

    /// Adds an error, of shape A, that is not among the common ones. `when` describes its cause.
    #[must_use]
    pub fn fails_with(mut self, status: StatusCode, when: &'static str) -> Self {
        self.failures.push((status, when));
        self
    }

    /// Marks a route whose method is not GET but which changes nothing, so that read-only tokens may call it.
    #[must_use]
    pub fn reads(mut self) -> Self {
        self.reads = true;
        self
    }

    /// Marks a route that responds with 404 and no body if the resource does not exist.
    #[must_use]
    pub fn empty_not_found(mut self) -> Self {
        self.empty_not_found = true;
        self
    }
}
