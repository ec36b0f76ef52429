//! Canned responses: texts that agents send often.

use parley_eventlog::{kind::EventKind, pending_event::Subject};
use parley_storage::entity::canned_response::{self, Column, Entity, Model};
use sea_orm::Select;

use super::{patch::record_patch, record::Record, search::best_matches};
use crate::page::Sort;

record_patch! {
    /// The fields of a canned response.
    pub struct CannedResponsePatch for canned_response { short_code: String, content: String }
}

impl Record for Entity {
    type Patch = CannedResponsePatch;
    type Query = String;
    const KIND: &'static str = "canned_response";
    const UNIQUE: Column = Column::ShortCode;
    const CREATED: EventKind = EventKind::CannedResponseCreated;
    const UPDATED: EventKind = EventKind::CannedResponseUpdated;
    const DELETED: EventKind = EventKind::CannedResponseDeleted;
    const SUBJECT: fn(Model) -> Subject = Subject::CannedResponse;

    fn list(rows: Select<Self>, query: String) -> (Select<Self>, Sort) {
        best_matches(rows, [Column::ShortCode, Column::Content], &query)
    }
}
