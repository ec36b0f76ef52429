//! Canned responses: texts that agents send often.

use std::sync::Arc;

use parley_eventlog::{
    kind::EventKind,
    pending_event::{Change, PendingEvent, Subject},
};
use parley_storage::entity::canned_response::{self, Column, Entity, Model as CannedResponse};
use parley_types::{
    error::Result,
    id::{AccountId, CannedResponseId},
};
use sea_orm::{
    ActiveModelTrait, ColumnTrait, Condition, ExprTrait, IntoActiveModel, ModelTrait, QueryFilter, Set,
    sea_query::{CaseStatement, Expr, Func, LikeExpr, SimpleExpr},
};

use crate::{
    auth::caller::Caller,
    context::Context,
    page::{Page, PageRequest, Sort},
    records,
    write::{
        Write,
        call::{Answer, Call},
    },
};

/// The name of the resource in errors.
const KIND: &str = "canned_response";

/// Changes to a canned response; `None` leaves a value unchanged.
#[derive(Clone, Debug, Default)]
pub struct CannedResponsePatch {
    /// What agents type to insert it.
    pub short_code: Option<String>,
    /// The text.
    pub content: Option<String>,
}

async fn free(write: &Write, short_code: &str, own: Option<CannedResponseId>) -> Result<()> {
    let same = records::of_account::<Entity>(write.account().id).filter(Column::ShortCode.eq(short_code));
    let field = "canned_response.short_code";
    records::free(&write.txn, same, own.map(i64::from), |row| row.id.0, (KIND, field)).await
}

/// A condition for a column that contains `text`, ignoring case. If `first` is set, the column must start with it.
fn has(column: Column, text: &str, first: bool) -> SimpleExpr {
    let mut pattern = String::from(if first { "" } else { "%" });
    for letter in text.to_lowercase().chars() {
        if matches!(letter, '%' | '_' | '\\') {
            pattern.push('\\');
        }
        pattern.push(letter);
    }
    pattern.push('%');
    Expr::expr(Func::lower(Expr::col((Entity, column)))).like(LikeExpr::new(pattern).escape('\\'))
}

/// Operations on canned responses.
#[derive(Clone, Debug)]
pub struct CannedResponses {
    context: Arc<Context>,
}

impl CannedResponses {
    pub(crate) fn new(context: &Arc<Context>) -> Self {
        Self {
            context: Arc::clone(context),
        }
    }

    /// Creates a canned response.
    ///
    /// # Errors
    /// Returns [`parley_types::error::Error::Taken`] if another one has the short code.
    pub async fn create(&self, call: Call<CannedResponse>, short_code: String, content: String) -> Result<Answer<CannedResponse>> {
        call.caller.write_access(call.account)?;
        self.context
            .writer
            .write(call, move |write| {
                Box::pin(async move {
                    let at = write.set.at;
                    free(write, &short_code, None).await?;
                    let row = canned_response::ActiveModel {
                        account_id: Set(write.account().id),
                        short_code: Set(short_code),
                        content: Set(content),
                        created_at: Set(at),
                        updated_at: Set(at),
                        ..Default::default()
                    };
                    let row = row.insert(&write.txn).await?;
                    let subject = Subject::CannedResponse(row.clone());
                    write.set.emit(PendingEvent::new(EventKind::CannedResponseCreated, subject));
                    Ok(row)
                })
            })
            .await
    }

    /// Returns one canned response.
    ///
    /// # Errors
    /// Returns [`parley_types::error::Error::NotFound`] if there is no such canned response.
    pub async fn get(&self, caller: &Caller, account: AccountId, id: CannedResponseId) -> Result<CannedResponse> {
        caller.access(account)?;
        records::one::<Entity>(self.context.db.read(), account, id.0, KIND).await
    }

    /// Returns a page of the canned responses of an account. If `query` is not empty, only those that contain it, the best matches first.
    ///
    /// # Errors
    /// Returns [`parley_types::error::Error::NotMember`] if the caller has no access to the account.
    pub async fn list(&self, caller: &Caller, account: AccountId, query: &str, page: &PageRequest) -> Result<Page<CannedResponse>> {
        caller.access(account)?;
        let mut rows = records::of_account::<Entity>(account);
        let mut sort = Sort::by_id(false);
        if !query.is_empty() {
            let code = has(Column::ShortCode, query, false);
            rows = rows.filter(Condition::any().add(code.clone()).add(has(Column::Content, query, false)));
            let nearness = CaseStatement::new()
                .case(has(Column::ShortCode, query, true), 0_i64)
                .case(code, 1_i64)
                .finally(2_i64);
            sort.by = Some(nearness.into());
        }
        let key = (Column::Id, (|row| row.id.0) as records::IdOf<Entity>);
        records::rows(self.context.db.read(), rows, key, &sort, page).await
    }

    /// Changes a canned response.
    ///
    /// # Errors
    /// Returns [`parley_types::error::Error::NotFound`] if there is no such canned response, and [`parley_types::error::Error::Taken`] if
    /// another one has the short code.
    pub async fn update(
        &self,
        call: Call<CannedResponse>,
        id: CannedResponseId,
        patch: CannedResponsePatch,
    ) -> Result<Answer<CannedResponse>> {
        call.caller.write_access(call.account)?;
        self.context
            .writer
            .write(call, move |write| {
                Box::pin(async move {
                    let before = records::one::<Entity>(&write.txn, write.account().id, id.0, KIND).await?;
                    let mut row = before.clone();
                    row.short_code = patch.short_code.unwrap_or(row.short_code);
                    row.content = patch.content.unwrap_or(row.content);
                    let changes: Vec<Change> = [
                        Change::new("short_code", before.short_code.clone(), row.short_code.clone()),
                        Change::new("content", before.content, row.content.clone()),
                    ]
                    .into_iter()
                    .flatten()
                    .collect();
                    if changes.is_empty() {
                        return Ok(row);
                    }
                    if row.short_code != before.short_code {
                        free(write, &row.short_code, Some(id)).await?;
                    }
                    row.updated_at = write.set.at;
                    let row = row.into_active_model().reset_all().update(&write.txn).await?;
                    write.set.emit(PendingEvent {
                        kind: EventKind::CannedResponseUpdated,
                        subject: Subject::CannedResponse(row.clone()),
                        changes,
                    });
                    Ok(row)
                })
            })
            .await
    }

    /// Deletes a canned response.
    ///
    /// # Errors
    /// Returns [`parley_types::error::Error::NotFound`] if there is no such canned response.
    pub async fn delete(&self, call: Call<()>, id: CannedResponseId) -> Result<Answer<()>> {
        call.caller.write_access(call.account)?;
        self.context
            .writer
            .write(call, move |write| {
                Box::pin(async move {
                    let row = records::one::<Entity>(&write.txn, write.account().id, id.0, KIND).await?;
                    row.clone().delete(&write.txn).await?;
                    let subject = Subject::CannedResponse(row);
                    write.set.emit(PendingEvent::new(EventKind::CannedResponseDeleted, subject));
                    Ok(())
                })
            })
            .await
    }
}
