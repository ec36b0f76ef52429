//! What is told of a route: who may call it, what it takes, what it answers.

use axum::http::StatusCode;

use super::schema::Schema;

/// Who may call a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Caller {
    /// Anybody, without a token: paths of the client side say by their identifiers what they open.
    Anyone,
    /// Every user with a token, in whatever account.
    User,
    /// Members of the account of the path; where an inbox is concerned, those who may see it.
    Member,
    /// Administrators of the account of the path.
    Administrator,
    /// The operator, with a platform token.
    Platform,
}

impl Caller {
    /// The word for it in the description.
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

/// An endpoint that `OpenAPI` cannot describe, because what follows its first request is a protocol of its own.
#[derive(Clone, Copy, Debug)]
pub struct Endpoint {
    /// The path.
    pub path: &'static str,
    /// Who may open it.
    pub caller: Caller,
    /// What is shown for it, and when.
    pub credential: &'static str,
}

/// What a route answers when it does what it was asked to.
#[derive(Clone, Debug)]
pub(super) enum Success {
    /// 200 without a byte.
    Empty,
    /// 200 with JSON.
    Json(Schema),
    /// 200 with bytes of another type; which one is told.
    Bytes(&'static str),
    /// 204.
    NoContent,
    /// 302 to where it lies.
    Elsewhere,
}

/// One parameter.
#[derive(Clone, Debug)]
pub(super) struct Parameter {
    pub name: &'static str,
    pub schema: Schema,
    pub required: bool,
}

/// The description of a route. Path parameters and the errors that follow from its shape (see `responses`) are added to the document.
#[derive(Clone, Debug)]
pub struct About {
    pub(super) operation: &'static str,
    pub(super) caller: Caller,
    pub(super) query: Vec<Parameter>,
    pub(super) body: Vec<Parameter>,
    pub(super) root: Option<&'static str>,
    pub(super) success: Success,
    pub(super) refusals: Vec<(StatusCode, &'static str)>,
    pub(super) rpc: &'static str,
    pub(super) reads: bool,
    pub(super) finds_nothing: bool,
}

/// Begins a description: the operation's id (camelCase, unique) and the gRPC method behind it (`Service.Method`, empty if none).
///
/// By default members of the account may call it, and it answers 200 without a body. Its summary, its description and those of its
/// parameters are under its id in the file of its tag in `texts/`; its examples are in `examples.json`.
pub fn about(operation: &'static str, rpc: &'static str) -> About {
    About {
        operation,
        caller: Caller::Member,
        query: Vec::new(),
        body: Vec::new(),
        root: None,
        success: Success::Empty,
        refusals: Vec::new(),
        rpc,
        reads: false,
        finds_nothing: false,
    }
}

impl About {
    /// The call of the contract behind it: `Service.Method`, or nothing.
    pub fn rpc(&self) -> &'static str {
        self.rpc
    }

    /// Who may call it.
    pub fn required_caller(&self) -> Caller {
        self.caller
    }

    /// The names of what it takes in the body.
    pub fn body_names(&self) -> impl Iterator<Item = &'static str> {
        self.body.iter().map(|parameter| parameter.name)
    }

    /// The names of what it takes in the query.
    pub fn query_names(&self) -> impl Iterator<Item = &'static str> {
        self.query.iter().map(|parameter| parameter.name)
    }

    /// The key that may be around the body.
    pub fn root_key(&self) -> Option<&'static str> {
        self.root
    }

    /// Says who may call it.
    #[must_use]
    pub fn caller(mut self, caller: Caller) -> Self {
        self.caller = caller;
        self
    }

    /// Takes a parameter of the query. A list is written `name[]=a&name[]=b`.
    #[must_use]
    pub fn query(mut self, name: &'static str, schema: Schema) -> Self {
        self.query.push(Parameter {
            name,
            schema,
            required: false,
        });
        self
    }

    /// Takes a parameter of the body that may be left out.
    #[must_use]
    pub fn body(mut self, name: &'static str, schema: Schema) -> Self {
        self.body.push(Parameter {
            name,
            schema,
            required: false,
        });
        self
    }

    /// Takes several parameters of the body of one shape that may be left out.
    #[must_use]
    pub fn bodies(self, names: &[&'static str], schema: &Schema) -> Self {
        names.iter().fold(self, |about, name| about.body(name, schema.clone()))
    }

    /// Takes a parameter of the body that must be there.
    #[must_use]
    pub fn needs(mut self, name: &'static str, schema: Schema) -> Self {
        self.body.push(Parameter {
            name,
            schema,
            required: true,
        });
        self
    }

    /// The body may lie under this key; in JSON it may also be left out.
    #[must_use]
    pub fn root(mut self, key: &'static str) -> Self {
        self.root = Some(key);
        self
    }

    /// Answers 200 with JSON.
    #[must_use]
    pub fn answers(mut self, schema: Schema) -> Self {
        self.success = Success::Json(schema);
        self
    }

    /// Answers 200 with something else than JSON.
    #[must_use]
    pub fn answers_bytes(mut self, content_type: &'static str) -> Self {
        self.success = Success::Bytes(content_type);
        self
    }

    /// Answers 204.
    #[must_use]
    pub fn answers_nothing(mut self) -> Self {
        self.success = Success::NoContent;
        self
    }

    /// Answers 302.
    #[must_use]
    pub fn leads_elsewhere(mut self) -> Self {
        self.success = Success::Elsewhere;
        self
    }

    /// Adds a refusal beside the common ones, in shape A, and says when it comes.
    #[must_use]
    pub fn refuses(mut self, status: StatusCode, when: &'static str) -> Self {
        self.refusals.push((status, when));
        self
    }

    /// Changes nothing though its method is none of reading: tokens that may only read may call it.
    #[must_use]
    pub fn reads(mut self) -> Self {
        self.reads = true;
        self
    }

    /// What it does not find it answers with 404 and no body.
    #[must_use]
    pub fn finds_nothing(mut self) -> Self {
        self.finds_nothing = true;
        self
    }
}
