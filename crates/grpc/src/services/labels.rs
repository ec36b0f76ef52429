//! `LabelsService`.

use bytes::Bytes;
use parley_domain::{
    Domain,
    record::label,
    records::labels::{LabelPatch, Labels, NewLabel},
};
use parley_eventlog::conversion::{FromStored as _, ToProto as _};
use parley_proto::{self as pb, labels_service_server::LabelsService};
use parley_types::{
    error::{Result, Rule},
    id::{AccountId, LabelId},
};
use tonic::{Request, Response, Status};

use super::{
    accounts::mask,
    request::{caller, idempotent_call},
    response::to_response,
};
use crate::{
    status::OrStatus as _,
    validation::{
        fields::{SHORT_TEXT, Validator, required},
        page,
    },
};

/// Maximum characters of a description.
const TEXT: usize = 20_000;
/// The default color of a label.
const COLOR: &str = "#1f93ff";

/// Implements `LabelsService`.
#[derive(Clone, Debug)]
pub struct LabelsApi {
    labels: Labels,
}

impl LabelsApi {
    pub fn new(domain: &Domain) -> Self {
        Self {
            labels: domain.labels.clone(),
        }
    }
}

#[tonic::async_trait]
impl LabelsService for LabelsApi {
    async fn create_label(&self, request: Request<pb::CreateLabelRequest>) -> Result<Response<pb::CreateLabelResponse>, Status> {
        let account = AccountId(request.get_ref().account_id);
        caller(&request).or_status()?.administer(account).or_status()?;
        let respond = |row: &label::Model, cursor: Bytes| pb::CreateLabelResponse {
            label: Some(row.to_proto()),
            cursor,
        };
        let mut fields = Validator::default();
        let call = idempotent_call(&mut fields, &request, account, respond).or_status()?;
        let req = request.into_inner();
        let label = required("label", req.label).or_status()?;
        let new = fields.within("label", |fields| NewLabel {
            title: title(fields, &label.title),
            description: fields.optional("description", label.description.clone(), TEXT),
            color: color(fields, &label.color),
            show_on_sidebar: label.show_on_sidebar,
        });
        fields.finish().or_status()?;
        to_response(self.labels.create(call, new).await.or_status()?, respond)
    }

    async fn get_label(&self, request: Request<pb::GetLabelRequest>) -> Result<Response<pb::GetLabelResponse>, Status> {
        let req = request.get_ref();
        let (account, id) = (AccountId(req.account_id), LabelId(req.label_id));
        let row = self.labels.get(&*caller(&request).or_status()?, account, id).await.or_status()?;
        Ok(Response::new(pb::GetLabelResponse {
            label: Some(row.to_proto()),
        }))
    }

    async fn list_labels(&self, request: Request<pb::ListLabelsRequest>) -> Result<Response<pb::ListLabelsResponse>, Status> {
        let req = request.get_ref();
        let without_paging = pb::ListLabelsRequest {
            page_size: 0,
            page_token: String::new(),
            ..req.clone()
        };
        let (caller, account) = (caller(&request).or_status()?, AccountId(req.account_id));
        caller.access(account).or_status()?;
        let mut fields = Validator::default();
        let page = page::read(&mut fields, &without_paging, (req.page_size, 1000), &req.page_token, 0);
        fields.finish().or_status()?;
        let found = self.labels.list(&caller, account, &page).await.or_status()?;
        let (labels, next_page_token) = page::fill(&without_paging, &found, pb::Label::from_stored);
        Ok(Response::new(pb::ListLabelsResponse { labels, next_page_token }))
    }

    async fn update_label(&self, request: Request<pb::UpdateLabelRequest>) -> Result<Response<pb::UpdateLabelResponse>, Status> {
        let account = AccountId(request.get_ref().account_id);
        caller(&request).or_status()?.write_access(account).or_status()?;
        let respond = |row: &label::Model, cursor: Bytes| pb::UpdateLabelResponse {
            label: Some(row.to_proto()),
            cursor,
        };
        let mut fields = Validator::default();
        let call = idempotent_call(&mut fields, &request, account, respond).or_status()?;
        let req = request.into_inner();
        let label = required("label", req.label).or_status()?;
        self.labels
            .authorize_change(&call.caller, account, LabelId(label.id))
            .await
            .or_status()?;
        let paths = mask(&mut fields, req.update_mask);
        let patch = fields.within("label", |fields| patch(fields, &label, &paths));
        fields.finish().or_status()?;
        to_response(self.labels.update(call, LabelId(label.id), patch).await.or_status()?, respond)
    }

    async fn delete_label(&self, request: Request<pb::DeleteLabelRequest>) -> Result<Response<pb::DeleteLabelResponse>, Status> {
        let req = request.get_ref();
        caller(&request).or_status()?.write_access(AccountId(req.account_id)).or_status()?;
        let respond = |(): &(), cursor: Bytes| pb::DeleteLabelResponse { cursor };
        let mut fields = Validator::default();
        let call = idempotent_call(&mut fields, &request, AccountId(req.account_id), respond).or_status()?;
        fields.finish().or_status()?;
        to_response(self.labels.delete(call, LabelId(req.label_id)).await.or_status()?, respond)
    }
}

fn patch(fields: &mut Validator, label: &pb::Label, paths: &[String]) -> LabelPatch {
    let mut patch = LabelPatch::default();
    for path in paths {
        match path.as_str() {
            "title" => patch.title = Some(title(fields, &label.title)),
            "description" => patch.description = Some(fields.optional(path, label.description.clone(), TEXT)),
            "color" => patch.color = Some(color(fields, &label.color)),
            "show_on_sidebar" => patch.show_on_sidebar = Some(label.show_on_sidebar),
            other => fields.unknown_path(other),
        }
    }
    patch
}

/// Validates a title and converts it to lower case. Titles may contain letters and digits of any script, hyphens and underscores, like the
/// label names of conversations.
fn title(fields: &mut Validator, title: &str) -> String {
    fields.required("title", title, SHORT_TEXT);
    let fits = |letter: char| letter.is_alphanumeric() || matches!(letter, '-' | '_');
    let begins = title.chars().next().is_some_and(char::is_alphanumeric);
    if !title.trim().is_empty() && (!begins || title.chars().nth(1).is_none() || !title.chars().all(fits)) {
        let text = "must be two or more letters, digits, hyphens or underscores, the first a letter or digit";
        fields.add_violation("title", Rule::Invalid, text);
    }
    title.to_lowercase()
}

fn color(fields: &mut Validator, color: &str) -> String {
    fields.text("color", color, SHORT_TEXT);
    if color.is_empty() { COLOR.to_owned() } else { color.to_owned() }
}
